//! Counters, distributions and gauges by name. Every datagram or update that is not used has a counter, so
//! nothing is lost silently.
//!
//! The names are those of AD-35 part 10 where it has one. [`metrics`](crate::metrics) writes all of them as
//! text.

/// Declares the counters once: the enum, its list, its metric names and its help texts.
macro_rules! counters {
    ($($variant:ident, $name:literal, $help:literal;)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        impl Counter {
            /// Every counter, in declaration order.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)*];

            /// The name in snake case, without prefix and suffix.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)* }
            }

            /// One sentence about it.
            pub const fn help(self) -> &'static str {
                match self { $(Counter::$variant => $help,)* }
            }
        }
    };
}

counters! {
    DatagramsReceived, "datagrams_received", "Datagrams handed to the engine.";
    DatagramsSent, "datagrams_sent", "Datagrams written for the host to send.";
    BytesReceived, "bytes_received", "Bytes of all datagrams received.";
    BytesSent, "bytes_sent", "Bytes of all datagrams sent.";

    DroppedOversized, "dropped_oversized", "Datagrams larger than the limit.";
    DroppedTruncated, "dropped_truncated", "Datagrams too short for an envelope.";
    DroppedForeign, "dropped_foreign", "Datagrams that are not of this protocol or version.";
    DroppedUnknownKey, "dropped_unknown_key", "Datagrams sealed with a secret this node does not have.";
    DroppedForged, "dropped_forged", "Datagrams whose seal is broken.";
    DroppedReplayed, "dropped_replayed", "Datagrams seen before or too old to tell.";
    DroppedMalformed, "dropped_malformed", "Sealed datagrams whose content breaks the format.";
    DroppedUnpackedSize, "dropped_unpacked_size", "Sealed datagrams that would unpack to more than is allowed.";
    DroppedMisdirected, "dropped_misdirected", "Sealed datagrams meant for another node or run of this one.";
    DroppedOwn, "dropped_own", "Datagrams this node sent to itself.";
    DroppedStaleSender, "dropped_stale_sender", "Datagrams from an earlier run of a known peer.";
    DroppedLeaving, "dropped_leaving", "Datagrams received after this node left.";

    ProbesSent, "probes_sent", "Direct probes sent.";
    ProbesAcked, "probes_acked", "Own probes answered, directly or through a helper.";
    ProbesFailed, "probes_failed", "Own probes that nobody answered in time.";
    ProbesReceived, "probes_received", "Probes answered for others.";
    IndirectProbesSent, "indirect_probes_sent", "Requests to helpers sent.";
    IndirectProbesReceived, "indirect_probes_received", "Requests of others to help.";
    NacksReceived, "nacks_received", "Helpers that reported no answer either.";
    UnmatchedAcks, "unmatched_acks", "Acks of no probe in flight: late, repeated or invented.";
    DroppedProbes, "dropped_probes", "Probes not made because too many were in flight.";

    RoundTripsRefused, "round_trips_refused", "Round trips outside what a network can do.";
    CoordinatesUpdated, "vivaldi_coordinate_updates", "Coordinate updates applied.";
    CoordinatesExpired, "coordinates_expired", "Coordinates of peers forgotten because they were too old.";
    CoordinatesRefused, "coordinates_refused", "Coordinates of peers that were not finite or out of range.";

    UpdatesReceived, "updates_received", "Member updates read from gossip and tables.";
    UpdatesStale, "updates_stale", "Member updates that told nothing new.";
    UpdatesRefused, "updates_refused", "Member updates with an impossible jump or unusable address.";
    UpdatesSent, "updates_sent", "Member updates written into datagrams.";
    MembersRefused, "members_refused", "Newcomers refused because the member table was full.";
    MembersEvicted, "members_evicted", "Dead or departed records dropped early to make room.";
    SessionsEvicted, "sessions_evicted", "Senders whose keys were forgotten to make room.";

    ReadingsDeferred, "readings_deferred", "Tables of peers of which only the first page was read because too many were being read.";
    ReadingsFailed, "readings_failed", "Tables of peers not read to their end because a page never came or led back.";

    ConfirmationAttempts, "confirmation_attempts", "Unconfirmed peers asked to show themselves.";
    ConfirmationsLate, "confirmation_attempts_success", "Unconfirmed peers confirmed after being asked.";
    UnconfirmedGatesRemoved, "unconfirmed_peers_removed_gate", "Gates forgotten because nothing confirmed them.";
    UnconfirmedManagersRemoved, "unconfirmed_peers_removed_manager", "Managers forgotten because nothing confirmed them.";
    UnconfirmedWorkersRemoved, "unconfirmed_peers_removed_worker", "Workers forgotten because nothing confirmed them.";
    UnconfirmedToAlive, "transitions_unconfirmed_to_alive", "Unconfirmed peers that a two-way exchange made alive.";
    UnconfirmedToRemoved, "transitions_unconfirmed_to_removed", "Unconfirmed peers that were forgotten, for whatever reason.";

    SuspicionsStarted, "suspicions_started", "Members this node began to suspect.";
    SuspicionsRefuted, "suspicions_refuted", "Suspicions that ended with the member alive.";
    SuspicionsExpired, "suspicions_expired", "Suspicions that ended with the member dead.";
    Refutations, "refutations", "Times this node refuted news of its own failure.";

    StatesDeferred, "states_deferred", "Readings of a member's state put off because too many were under way.";
    StatesRefused, "states_refused", "States of members larger than allowed or not as large as told.";
    BroadcastsRepeated, "broadcasts_repeated", "Broadcasts received again.";
    BroadcastsRefused, "broadcasts_refused", "Broadcasts of this node or of runs not known here.";
    BroadcastsNotRelayed, "broadcasts_not_relayed", "Broadcasts delivered but not passed on because the queue was full.";

    Elections, "elections", "Elections this node stood in, after a majority said it would vote.";
    ElectionsWon, "elections_won", "Elections this node won, with a lease.";
    ElectionRoundsFailed, "election_rounds_failed", "Rounds of votes that ended without a majority.";
    StepDowns, "step_downs", "Leaderships of this node that ended.";
    StaleTerms, "stale_terms", "Messages of earlier terms that were refused.";
    TermConflicts, "term_conflicts", "Messages of a second leader in one term that were refused.";
    DatacenterProbesSent, "datacenter_probes_sent", "Probes of datacenters sent.";
    DatacenterProbesAcked, "datacenter_probes_acked", "Probes of datacenters answered in time.";
    DatacenterProbesFailed, "datacenter_probes_failed", "Probes of datacenters not answered in time.";
    NetworkSuspicions, "network_suspicions", "Times that so many datacenters fell silent together that the own network was blamed.";
    FederationRefused, "federation_refused", "Federation messages whose sender's role or datacenter does not fit, or that answer no probe in flight.";
    FederationOverflows, "federation_overflows", "Managers, datacenters, messages or events of the federation for which there was no room.";

    JobsRouted, "jobs_routed", "Routing decisions made, each with a reason.";
    JobsUnroutable, "jobs_unroutable", "Routing decisions without an eligible datacenter.";
    JobSwitches, "job_switches", "Routing decisions that moved a job from one primary to another.";
    JobRoutesReset, "job_routes_reset", "Jobs that lost their primary because its datacenter was cut off or has a new leader.";
    JobRoutesForgotten, "job_routes_forgotten", "Jobs forgotten by the router before they were over, for lack of room or because nothing was heard of them.";

    Stalls, "stalls", "Times this node was not run for so long that it began its observations anew.";

    DroppedTransmits, "dropped_transmits", "Datagrams not sent because the queue was full.";
    DroppedEvents, "dropped_events", "Events lost because the host did not take them.";

    RequestsRepeated, "requests_repeated", "Requests in the Python node's format that were seen within the last seconds.";
    RequestsLimited, "requests_limited", "Requests refused because their source sent too many.";
    RequestsRefused, "requests_refused", "Requests in the Python node's format that break it, answered with a nack.";
    UnmatchedReplies, "unmatched_replies", "Replies in the Python node's format to no request of this node.";
    EntriesRefused, "entries_refused", "Entries of sections in the Python node's format that break their form.";
    ClocksRefused, "clocks_refused", "Lamport times of peers beyond what any count of messages reaches.";
    Untranslatable, "untranslatable", "Datagrams not sent because the Python node's format has no such message.";

    SendErrors, "send_errors", "Datagrams that the system refused to send.";
    SendsDeferred, "sends_deferred", "Times that sending waited for room in the socket or the send slots.";
    ReceiveErrors, "receive_errors", "Receive calls that the system failed.";
    SocketOverflows, "socket_overflows", "Datagrams lost because the socket's receive buffer was full.";
}

/// Bounds that suit times from a fraction of a local round trip to a slow timeout, in seconds.
const SECONDS: &[f64] =
    &[0.0001, 0.000_5, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds for times that take from seconds to minutes, in seconds.
const LONG_SECONDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
/// Bounds for factors that lengthen a time.
const FACTORS: &[f64] = &[1.0, 1.01, 1.02, 1.05, 1.1, 1.5, 2.0, 3.0, 5.0, 7.5, 9.0, 10.0];
/// The most bounds of a distribution.
const BOUND_COUNT_MAX: usize = 13;

/// Declares the distributions once, as the counters above.
macro_rules! distributions {
    ($($variant:ident, $name:literal, $bounds:expr, $help:literal;)*) => {
        /// What is measured often, and kept as a histogram.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Distribution {
            $(#[doc = $help] $variant,)*
        }

        impl Distribution {
            /// Every distribution, in declaration order.
            pub const ALL: &'static [Distribution] = &[$(Distribution::$variant,)*];

            /// The name in snake case with its unit, without prefix.
            pub const fn name(self) -> &'static str {
                match self { $(Distribution::$variant => $name,)* }
            }

            /// One sentence about it.
            pub const fn help(self) -> &'static str {
                match self { $(Distribution::$variant => $help,)* }
            }

            /// The upper ends of its buckets, rising. One more bucket takes what is above the last.
            pub const fn bounds(self) -> &'static [f64] {
                match self { $(Distribution::$variant => $bounds,)* }
            }
        }
    };
}

distributions! {
    ProbeRoundTrip, "probe_round_trip_seconds", SECONDS, "Round trips of direct probes that were answered.";
    PredictionError, "vivaldi_prediction_error_seconds", SECONDS, "How far the prediction was from the round trip measured next.";
    ConvergenceTime, "vivaldi_convergence_time_seconds", LONG_SECONDS, "Time from the first sample to a settled coordinate.";
    SuspicionTime, "adaptive_timeout_applied_seconds", LONG_SECONDS, "Longest time given to a member when it became suspect.";
    LatencyMultiplier, "latency_multiplier", FACTORS, "By how much distance lengthened that time.";
    LoadMultiplier, "load_multiplier", FACTORS, "By how much this node's own ill health lengthened that time.";
    ConfidenceAdjustment, "confidence_adjustment", FACTORS, "By how much an uncertain coordinate lengthened that time.";
    LoopLag, "loop_lag_seconds", SECONDS, "How late the node was for its deadlines.";
}

/// How often the values of one [`Distribution`] fell between which bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; BOUND_COUNT_MAX + 1],
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, bounds: &[f64], value: f64) {
        let index = bounds.iter().position(|&bound| value <= bound).unwrap_or(bounds.len());
        self.counts[index] = self.counts[index].wrapping_add(1);
        self.sum += value;
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values, in the distribution's unit.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many values fell into each bucket, by itself; of as many buckets as the distribution has
    /// bounds and one more.
    pub fn buckets(&self, distribution: Distribution) -> &[u64] {
        &self.counts[..=distribution.bounds().len()]
    }
}

/// What waits and what is open inside an engine at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// How much the node distrusts its own view, 0 (not at all) to 8.
    pub health_score: u8,
    /// Member updates that gossip has still to spread.
    pub updates_waiting: usize,
    /// User broadcasts that gossip has still to spread.
    pub broadcasts_waiting: usize,
    /// Events that the host has not taken.
    pub events_waiting: usize,
    /// Probes in flight, own and for others.
    pub probes_open: usize,
    /// Members under suspicion.
    pub suspicions_open: usize,
}

/// The value of every [`Counter`] and [`Distribution`].
#[derive(Clone, Debug)]
pub struct Stats {
    values: [u64; Counter::ALL.len()],
    histograms: [Histogram; Distribution::ALL.len()],
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            values: [0; Counter::ALL.len()],
            histograms: [Histogram::default(); Distribution::ALL.len()],
        }
    }
}

impl Stats {
    /// The present value of one counter.
    pub fn value(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// What was measured of one distribution.
    pub fn histogram(&self, distribution: Distribution) -> &Histogram {
        &self.histograms[distribution as usize]
    }

    /// Counts one.
    pub(crate) fn count(&mut self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Takes over what another part counted.
    pub(crate) fn set(&mut self, counter: Counter, value: u64) {
        self.values[counter as usize] = value;
    }

    /// Counts several.
    pub(crate) fn add(&mut self, counter: Counter, amount: u64) {
        let value = &mut self.values[counter as usize];
        *value = value.wrapping_add(amount);
    }

    /// Takes one measurement, in the distribution's unit.
    pub(crate) fn observe(&mut self, distribution: Distribution, value: f64) {
        self.histograms[distribution as usize].observe(distribution.bounds(), value);
    }

    /// All counters with their values, in declaration order.
    pub fn iter(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        Counter::ALL.iter().map(|&counter| (counter, self.value(counter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_snake_case() {
        let mut names: Vec<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Counter::ALL.len());
    }

    #[test]
    fn counts_by_name() {
        let mut stats = Stats::default();
        stats.count(Counter::ProbesSent);
        stats.add(Counter::BytesSent, 100);
        assert_eq!(stats.value(Counter::ProbesSent), 1);
        assert_eq!(stats.iter().map(|(_, value)| value).sum::<u64>(), 101);
    }

    #[test]
    fn bounds_rise_and_fit() {
        for distribution in Distribution::ALL {
            let bounds = distribution.bounds();
            assert!(bounds.len() <= BOUND_COUNT_MAX, "{}", distribution.name());
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{}", distribution.name());
        }
    }

    #[test]
    fn values_fall_into_the_bucket_below_their_bound() {
        let mut stats = Stats::default();
        for value in [0.0001, 0.0002, 99.0] {
            stats.observe(Distribution::LoopLag, value);
        }
        let histogram = stats.histogram(Distribution::LoopLag);
        let buckets = histogram.buckets(Distribution::LoopLag);
        assert_eq!((buckets[0], buckets[1], buckets[buckets.len() - 1]), (1, 1, 1));
        assert_eq!(histogram.count(), 3);
        assert!((histogram.sum() - 99.0003).abs() < 1e-9);
    }
}
