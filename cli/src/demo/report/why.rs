//! Decisions of gates, weighed: what each datacenter's score is made of, and who could not take the job.

use super::super::record::{Explained, Outcome, Refused, Weighed};
use super::{add, count, escape};

/// How to read the decisions.
pub fn introduction(outcome: &Outcome) -> String {
    let jobs: u32 = outcome.routing.reasons.values().sum();
    format!(
        "Every one of the {} decisions comes with what it was made of. The best health goes before any \
         score. Among its datacenters the lowest score takes the job: the upper bound of the round trip \
         to the leader, in milliseconds, times what load and doubt about that bound make of it. Gates \
         have no list of datacenters and nobody feeds them figures: leaders tell their load, membership \
         says who answers, coordinates how far they are. What a gate has sent since a leader last spoke \
         counts as waiting there, so that a burst spreads.",
        count(u64::from(jobs))
    )
}

/// One card per decision.
pub fn decisions(outcome: &Outcome) -> String {
    let decisions = &outcome.routing.decisions;
    if decisions.is_empty() {
        return "<p>No decision was kept.</p>\n".to_owned();
    }
    let cards: String = decisions.iter().map(|decision| card(outcome, decision)).collect();
    format!("<div class=\"columns\">\n{cards}</div>\n")
}

fn card(outcome: &Outcome, decision: &Explained) -> String {
    let mut html = format!(
        "<figure class=\"card scroll why\"><figcaption>Gate of {}, job {}, {:.1} s: \
         <i>{}</i></figcaption>\n<table>\n<thead><tr><th></th><th>ms</th><th>load</th>\
         <th>doubt</th>{}<th>score</th></tr></thead>\n<tbody>\n",
        name(outcome, decision.gate),
        decision.job,
        decision.at_ms / 1e3,
        escape(&decision.reason.replace('_', " ")),
        if has_history(decision) { "<th>job</th>" } else { "" }
    );
    for (rank, weighed) in decision.weighed.iter().enumerate() {
        html.push_str(&row(outcome, decision, rank, weighed));
    }
    for refused in &decision.refused {
        html.push_str(&refusal(outcome, decision, refused));
    }
    html.push_str("</tbody></table>\n");
    if let Some(previous) = decision.previous {
        let manager = outcome.nodes.get(decision.manager).map_or("", |node| &node.name);
        add(
            &mut html,
            format_args!(
                "<p class=\"note\">Before it was sent to {}; now {} has it.</p>\n",
                name(outcome, previous),
                escape(manager)
            ),
        );
    }
    html.push_str("</figure>\n");
    html
}

/// Whether the job itself made any datacenter better or worse.
fn has_history(decision: &Explained) -> bool {
    decision.weighed.iter().any(|weighed| weighed.multiplier != 1.0)
}

fn row(outcome: &Outcome, decision: &Explained, rank: usize, weighed: &Weighed) -> String {
    let job = match has_history(decision) {
        true => format!("<td>×{:.2}</td>", weighed.multiplier),
        false => String::new(),
    };
    format!(
        "<tr{}><td>{} <small>{}</small></td><td>{:.1}</td><td>×{:.2}</td><td>×{:.2}</td>{job}<td>{:.1}</td></tr>\n",
        if rank == 0 { " class=\"chosen\"" } else { "" },
        name(outcome, weighed.datacenter),
        weighed.bucket,
        weighed.latency_ms,
        weighed.load_factor,
        weighed.quality_penalty,
        weighed.score
    )
}

fn refusal(outcome: &Outcome, decision: &Explained, refused: &Refused) -> String {
    format!(
        "<tr><td>{}</td><td class=\"killed\" colspan=\"{}\">excluded: {}</td></tr>\n",
        name(outcome, refused.datacenter),
        if has_history(decision) { 5 } else { 4 },
        in_words(refused.reason)
    )
}

/// The reasons of exclusion that a demo can meet, as people say them.
fn in_words(reason: &'static str) -> String {
    match reason {
        "unhealthy_status" => "no manager answers".to_owned(),
        other => escape(&other.replace('_', " ")),
    }
}

fn name(outcome: &Outcome, datacenter: usize) -> String {
    let name = outcome.datacenters.get(datacenter).map_or("", String::as_str);
    format!("<b class=\"dc{datacenter}\">{}</b>", escape(name))
}
