//! What a node measures of itself, as OpenMetrics text (version 1.0.0), for Prometheus and its kin.
//!
//! A pure function of counters, gauges and members: hosts in any language get the same text, and
//! how it is served is theirs to decide. Names are those of AD-35 part 10 and AD-36 part 11 where
//! they have one, with `shoal_` in front, the unit behind, and `_total` where the format asks for
//! it. No label holds an address: the number of lines does not grow with the members, so a scrape
//! of 10,000 of them is as short as one of ten. Datacenters have lines on gates, a bounded number of
//! them.

use std::fmt::{self, Write};

use crate::engine::Member;
use crate::node::{MemberState, Role};
use crate::routing::{Bucket, Reason, RouterStats, RoutingOverview};
use crate::stats::{Distribution, Gauges, Histogram, Stats};

/// The media type to serve the text as.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many members there are of each kind, and what the node knows of its own place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Census {
    by_state: [u64; MemberState::ALL.len()],
    by_role: [u64; Role::ALL.len()],
    coordinate_error: Option<f64>,
}

impl Census {
    /// Counts members, of whom the first is the node itself.
    pub fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Census {
        let mut census = Census::default();
        for (index, member) in members.enumerate() {
            census.by_state[member.state as usize] += 1;
            census.by_role[member.role as usize - 1] += u64::from(member.state.is_active());
            if index == 0 {
                census.coordinate_error = member.coordinate.map(|coordinate| coordinate.error);
            }
        }
        census
    }

    /// Members in this state, the node itself included.
    pub fn count(&self, state: MemberState) -> u64 {
        self.by_state[state as usize]
    }
}

/// What the text is made of.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// Counters and distributions.
    pub stats: &'a Stats,
    /// What waits and what is open.
    pub gauges: &'a Gauges,
    /// The members, counted.
    pub members: &'a Census,
    /// The name of the backend that does I/O, for a node that has one.
    pub backend: Option<&'a str>,
}

/// Appends the whole text, its end mark included.
pub fn write(text: &mut String, sources: &Sources<'_>) {
    write_node(text, sources);
    finish(text);
}

/// Appends what a node measures, without the end mark, so that a host may add families of its own.
pub fn write_node(text: &mut String, sources: &Sources<'_>) {
    // Grown once: the text has some 25,000 bytes.
    text.reserve(32_768);
    for (counter, value) in sources.stats.iter() {
        let name = counter.name();
        family(text, name, "counter", "", counter.help());
        line(text, format_args!("shoal_{name}_total {value}"));
    }
    for &distribution in Distribution::ALL {
        let unit = if distribution.name().ends_with("_seconds") { "seconds" } else { "" };
        family(text, distribution.name(), "histogram", unit, distribution.help());
        write_histogram(text, distribution, sources.stats.histogram(distribution));
    }
    write_members(text, sources.members);
    write_gauges(text, sources.gauges);
    if let Some(backend) = sources.backend {
        family(text, "backend", "info", "", "The way the node does I/O, and its version.");
        let version = env!("CARGO_PKG_VERSION");
        line(
            text,
            format_args!("shoal_backend_info{{backend=\"{backend}\",version=\"{version}\"}} 1"),
        );
    }
}

/// Appends what a router decided, without the end mark. (AD-36, part 11.)
pub fn write_routing(text: &mut String, stats: &RouterStats, overview: &RoutingOverview) {
    let help = "Routing decisions by bucket of the primaries and by reason.";
    family(text, "routing_decisions", "counter", "", help);
    let mut decided = |bucket: &str, reason: Reason, count: u64| {
        line(
            text,
            format_args!(
                "shoal_routing_decisions_total{{bucket=\"{bucket}\",reason=\"{reason}\"}} {count}"
            ),
        );
    };
    let chosen = Reason::ALL.into_iter().filter(|reason| *reason != Reason::NoCandidate);
    for reason in chosen {
        for bucket in Bucket::ALL {
            decided(bucket.name(), reason, stats.decisions(bucket, reason));
        }
    }
    decided("none", Reason::NoCandidate, stats.no_candidate);

    family(text, "routing_switch", "counter", "", "Jobs moved to another primary, by reason.");
    let moves = |reason: &Reason| {
        !reason.is_retained() && !matches!(reason, Reason::InitialSelection | Reason::NoCandidate)
    };
    for reason in Reason::ALL.into_iter().filter(moves) {
        let count = stats.decisions_for(reason);
        line(text, format_args!("shoal_routing_switch_total{{reason=\"{reason}\"}} {count}"));
    }
    let single = [
        (
            "routing_hold_down_blocks",
            "Better datacenters not taken because the job had moved a moment ago.",
            stats.decisions_for(Reason::HoldDownRetained),
        ),
        ("routing_jobs_evicted", "Jobs forgotten to make room.", stats.jobs_evicted),
        ("routing_jobs_expired", "Jobs forgotten because they were silent.", stats.jobs_expired),
    ];
    for (name, help, value) in single {
        family(text, name, "counter", "", help);
        line(text, format_args!("shoal_{name}_total {value}"));
    }
    write_overview(text, overview);
}

fn write_overview(text: &mut String, overview: &RoutingOverview) {
    let help = "Latest score of a datacenter, the less the better; the 32 best.";
    family(text, "routing_score", "gauge", "", help);
    for (name, score) in overview.scores() {
        line(text, format_args!("shoal_routing_score{{dc_id=\"{name}\"}} {}", score.base));
    }
    let help = "What the score is made of: milliseconds, and two factors.";
    family(text, "routing_score_component", "gauge", "", help);
    for (name, score) in overview.scores() {
        for (component, value) in [
            ("rtt_ucb", score.latency_ms),
            ("load", score.load_factor),
            ("quality", score.quality_penalty),
        ] {
            line(
                text,
                format_args!(
                    "shoal_routing_score_component{{dc_id=\"{name}\",component=\"{component}\"}} \
                     {value}"
                ),
            );
        }
    }
    let help =
        "Jobs sent elsewhere after their primary failed them, by both; 32 pairs and the rest.";
    family(text, "routing_fallback_used", "counter", "", help);
    let mut used = |from: &dyn fmt::Display, to: &dyn fmt::Display, count: u64| {
        line(
            text,
            format_args!(
                "shoal_routing_fallback_used_total{{from_dc=\"{from}\",to_dc=\"{to}\"}} {count}"
            ),
        );
    };
    for fallback in overview.fallbacks() {
        used(&fallback.from, &fallback.to, fallback.count);
    }
    // No name of a datacenter is empty, so this is none.
    if overview.other_fallbacks() > 0 {
        used(&"", &"", overview.other_fallbacks());
    }
}

/// Appends the end mark, after which nothing may follow.
pub fn finish(text: &mut String) {
    text.push_str("# EOF\n");
}

fn write_histogram(text: &mut String, distribution: Distribution, histogram: &Histogram) {
    let name = distribution.name();
    let buckets = histogram.buckets(distribution);
    let mut below = 0;
    for (bound, count) in distribution.bounds().iter().zip(buckets) {
        below += count;
        line(text, format_args!("shoal_{name}_bucket{{le=\"{bound:?}\"}} {below}"));
    }
    let count = histogram.count();
    line(text, format_args!("shoal_{name}_bucket{{le=\"+Inf\"}} {count}"));
    line(text, format_args!("shoal_{name}_count {count}"));
    line(text, format_args!("shoal_{name}_sum {}", histogram.sum()));
}

fn write_members(text: &mut String, census: &Census) {
    family(text, "members", "gauge", "", "Members this node knows, itself included, by state.");
    // A removed member is gone, so nobody is ever counted in that state.
    for state in MemberState::ALL.into_iter().filter(|state| *state != MemberState::Removed) {
        line(text, format_args!("shoal_members{{state=\"{state}\"}} {}", census.count(state)));
    }
    let help = "Alive and suspect members, this node included, by role.";
    family(text, "members_active", "gauge", "", help);
    for (role, count) in Role::ALL.into_iter().zip(census.by_role) {
        line(text, format_args!("shoal_members_active{{role=\"{role}\"}} {count}"));
    }
    let peers = [
        ("peers_unconfirmed", "Members heard of and not heard from.", MemberState::Unconfirmed),
        ("peers_alive", "Members alive, this node included.", MemberState::Alive),
        ("peers_suspect", "Members under suspicion.", MemberState::Suspect),
        ("peers_dead", "Members dead and remembered.", MemberState::Dead),
    ];
    for (name, help, state) in peers {
        family(text, name, "gauge", "", help);
        line(text, format_args!("shoal_{name} {}", census.count(state)));
    }
    if let Some(error) = census.coordinate_error {
        let help = "How wrong predictions from this node's coordinate are, relative.";
        family(text, "coordinate_error", "gauge", "", help);
        line(text, format_args!("shoal_coordinate_error {error}"));
    }
}

fn write_gauges(text: &mut String, gauges: &Gauges) {
    let help = "How much this node distrusts its own view, 0 to 8.";
    family(text, "health_score", "gauge", "", help);
    line(text, format_args!("shoal_health_score {}", gauges.health_score));
    let help = "What waits or is open inside the engine, by kind.";
    family(text, "queue_depth", "gauge", "", help);
    let depths = [
        ("updates", gauges.updates_waiting),
        ("broadcasts", gauges.broadcasts_waiting),
        ("events", gauges.events_waiting),
        ("probes", gauges.probes_open),
        ("suspicions", gauges.suspicions_open),
    ];
    for (queue, depth) in depths {
        line(text, format_args!("shoal_queue_depth{{queue=\"{queue}\"}} {depth}"));
    }
}

/// Opens a family. A unit has to be the end of its name.
fn family(text: &mut String, name: &str, kind: &str, unit: &str, help: &str) {
    line(text, format_args!("# TYPE shoal_{name} {kind}"));
    if !unit.is_empty() {
        line(text, format_args!("# UNIT shoal_{name} {unit}"));
    }
    line(text, format_args!("# HELP shoal_{name} {help}"));
}

fn line(text: &mut String, content: fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counter;

    fn text_of(stats: &Stats) -> String {
        let (gauges, members) = (Gauges::default(), Census::default());
        let mut text = String::new();
        write(&mut text, &Sources { stats, gauges: &gauges, members: &members, backend: None });
        text
    }

    #[test]
    fn every_family_is_told_once_and_ends_well() {
        let mut stats = Stats::default();
        stats.add(Counter::DroppedForged, 7);
        let mut text = String::new();
        let (gauges, members) = (Gauges::default(), Census::default());
        let backend = Some("poll");
        let sources = Sources { stats: &stats, gauges: &gauges, members: &members, backend };
        write_node(&mut text, &sources);
        write_routing(&mut text, &RouterStats::default(), &RoutingOverview::default());
        finish(&mut text);
        assert!(text.contains("\nshoal_dropped_forged_total 7\n"));
        assert!(text.ends_with("\n# EOF\n"));
        let mut types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), count);
        assert!(text.capacity() <= 32_768, "{} bytes", text.len());
    }

    #[test]
    fn buckets_add_up() {
        let mut stats = Stats::default();
        for seconds in [0.0001, 0.003, 0.003, 77.0] {
            stats.observe(Distribution::ProbeRoundTrip, seconds);
        }
        let text = text_of(&stats);
        for wanted in [
            "_bucket{le=\"0.0001\"} 1",
            "_bucket{le=\"0.005\"} 3",
            "_bucket{le=\"10.0\"} 3",
            "_bucket{le=\"+Inf\"} 4",
            "_count 4",
        ] {
            let line = format!("shoal_probe_round_trip_seconds{wanted}\n");
            assert!(text.contains(&line), "{wanted} is missing in {text}");
        }
    }

    #[test]
    fn the_names_of_the_documents_are_kept() {
        let mut text = text_of(&Stats::default());
        write_routing(&mut text, &RouterStats::default(), &RoutingOverview::default());
        for name in [
            "vivaldi_coordinate_updates",
            "vivaldi_prediction_error",
            "vivaldi_convergence_time",
            "unconfirmed_peers_removed_gate",
            "unconfirmed_peers_removed_manager",
            "unconfirmed_peers_removed_worker",
            "confirmation_attempts_total",
            "confirmation_attempts_success",
            "peers_unconfirmed",
            "peers_alive",
            "peers_suspect",
            "peers_dead",
            "transitions_unconfirmed_to_alive",
            "transitions_unconfirmed_to_removed",
            "adaptive_timeout_applied",
            "latency_multiplier",
            "load_multiplier",
            "confidence_adjustment",
            "routing_decisions_total{bucket=",
            "routing_switch_total{reason=",
            "routing_hold_down_blocks_total",
        ] {
            assert!(text.contains(&format!("\nshoal_{name}")), "{name}");
        }
        // Those whose samples come with the first decision.
        for name in ["routing_score", "routing_score_component", "routing_fallback_used"] {
            assert!(text.contains(&format!("\n# TYPE shoal_{name} ")), "{name}");
        }
    }
}
