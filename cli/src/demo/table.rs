//! The table that ends a demo on a terminal.

use std::path::Path;

use super::record::{Explained, Outcome, quantile};

/// The whole table, without a line break at its end.
pub fn summary(outcome: &Outcome, page: &Path) -> String {
    let mut lines = vec![format!(
        "Shoal demo: {} nodes, {} datacenters, backend {}, {:.1} s",
        outcome.nodes.len(),
        outcome.datacenters.len(),
        outcome.backend,
        outcome.duration_ms / 1e3
    )];
    lines.push(String::new());
    lines.push("  phase        took   found".to_owned());
    for phase in &outcome.phases {
        let took = (phase.end_ms - phase.start_ms) / 1e3;
        lines.push(format!("  {:<9} {took:5.1} s   {}", phase.name, phase.summary));
    }
    lines.push(String::new());
    lines.push("  between                        real  predicted   within".to_owned());
    for a in 0..outcome.datacenters.len() {
        for b in a + 1..outcome.datacenters.len() {
            lines.push(pair(outcome, a, b));
        }
    }
    lines.push(String::new());
    lines.push("  gate of       jobs before the failure       and after".to_owned());
    for (gate, name) in outcome.datacenters.iter().enumerate() {
        let before = choices(outcome, &outcome.routing.before[gate]);
        let after = choices(outcome, &outcome.routing.after[gate]);
        lines.push(format!("  {name:<13} {before:<29} {after}"));
    }
    lines.push(String::new());
    lines.push("  why".to_owned());
    lines.extend(outcome.routing.decisions.iter().map(|decision| why(outcome, decision)));
    lines.push(String::new());
    lines.push(format!("  report        {}", page.display()));
    lines.join("\n")
}

/// What one decision was made of.
fn why(outcome: &Outcome, decision: &Explained) -> String {
    let name = |datacenter: usize| &outcome.datacenters[datacenter];
    let weighed = decision.weighed.iter().map(|one| {
        format!(
            "{} {:.1} = {:.1} ms x {:.2} x {:.2}",
            name(one.datacenter),
            one.score,
            one.latency_ms,
            one.load_factor * one.multiplier,
            one.quality_penalty
        )
    });
    let refused = decision.refused.iter();
    let refused = refused.map(|one| format!("not {}: {}", name(one.datacenter), one.reason));
    format!(
        "  {:<13} job {:<4} {}: {}",
        name(decision.gate),
        decision.job,
        decision.reason.replace('_', " "),
        weighed.take(2).chain(refused).collect::<Vec<_>>().join("; ")
    )
}

/// Medians of one pair of datacenters.
fn pair(outcome: &Outcome, a: usize, b: usize) -> String {
    let place = |node: usize| outcome.nodes[node].datacenter;
    let pairs = outcome.coordinates.pairs.iter();
    let pairs: Vec<_> = pairs.filter(|pair| [place(pair.from), place(pair.to)] == [a, b]).collect();
    let median = |value: &dyn Fn(&super::record::PairRecord) -> f64| {
        quantile(&mut pairs.iter().map(|pair| value(pair)).collect::<Vec<_>>(), 0.5)
    };
    let actual = median(&|pair| pair.actual_ms);
    let predicted = median(&|pair| pair.predicted_ms);
    let error = median(&|pair| (pair.predicted_ms - pair.actual_ms).abs() / pair.actual_ms);
    let names = format!("{} and {}", outcome.datacenters[a], outcome.datacenters[b]);
    format!("  {names:<24} {actual:7.1} ms {predicted:7.1} ms {:6.1} %", error * 100.0)
}

/// Where one gate's jobs went, most first.
fn choices(outcome: &Outcome, row: &[u32]) -> String {
    let mut order: Vec<usize> = (0..row.len()).filter(|index| row[*index] > 0).collect();
    order.sort_by_key(|index| std::cmp::Reverse(row[*index]));
    let text =
        order.into_iter().map(|index| format!("{} {}", row[index], outcome.datacenters[index]));
    text.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_phase_pair_and_gate() {
        let text = summary(&super::super::report::tests::invented(), Path::new("page.html"));
        for wanted in [
            "form        1.3 s   15 nodes",
            "us-east and eu-west         70.9 ms",
            "eu-west       333 eu-west                   160 us-east, 7 ap-south",
            "eu-west       job 998  initial selection: eu-west 3.3 = 2.9 ms x 1.10 x 1.02; us-east 90.9",
            "not eu-west: unhealthy_status",
            "report        page.html",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
        }
    }
}
