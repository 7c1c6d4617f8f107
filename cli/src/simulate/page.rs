//! A simulation's report as a page that needs nothing but itself, in the look of the demo's page.

use crate::markup::{add, escape};
use shoal_simulator::Report;
use shoal_simulator::accuracy::CoordinateReport;
use shoal_simulator::report::{Percentiles, RoutingReport};

/// The look of all pages of this program.
const STYLE: &str = include_str!("../demo/report/style.css");

/// A whole page. `command` makes the same run again.
pub fn page(report: &Report, command: &str) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Shoal simulation</title>\n",
    );
    add(&mut page, format_args!("<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"));
    match &report.coordinate {
        None => detection(&mut page, report),
        Some(coordinate) => {
            coordinates(&mut page, report, coordinate);
            if let Some(routing) = &report.routing {
                routes(&mut page, routing);
            }
        }
    }
    add(
        &mut page,
        format_args!(
            "<footer>\n<p>Real engines on a virtual clock and network; the same seed gives the same run, bit for \
             bit. Again:</p>\n<div class=\"scroll\"><code>{}</code></div>\n<p>Trace {}.</p>\n</footer>\n\
             </main>\n</body>\n</html>\n",
            escape(command),
            escape(&report.trace_hash)
        ),
    );
    page
}

fn detection(page: &mut String, report: &Report) {
    let Percentiles { p50: all, .. } = report.detect_all_ms;
    let verdict = match (report.undetected, report.false_positives) {
        (0, 0) => "every crash was known to all, and nobody was thought dead who lived",
        (0, _) => "every crash was known to all",
        _ => "some crashes were not known to all in time",
    };
    head(
        page,
        "How soon a crash is known",
        &format!(
            "{} nodes for {:.0} virtual seconds, seed {}: {verdict}.",
            report.nodes, report.virtual_seconds, report.seed
        ),
    );
    figures(
        page,
        &[
            (seconds(report.detect_first_ms.p50), "first noticed", "median over the crashes"),
            (seconds(all), "known to all", "median over the crashes"),
            (report.false_positives.to_string(), "false deaths", "of members that lived"),
            (report.datagrams.to_string(), "datagrams", "sent in all"),
        ],
    );
    let mut rows = Vec::new();
    for (name, value) in [
        ("first noticed, median", report.detect_first_ms.p50),
        ("first noticed, 99th percentile", report.detect_first_ms.p99),
        ("known to all, median", report.detect_all_ms.p50),
        ("known to all, 99th percentile", report.detect_all_ms.p99),
    ] {
        if let Some(ms) = value {
            rows.push((name, ms, format!("{:.2} s", ms / 1e3)));
        }
    }
    bars(page, "From crash to knowledge", "", &rows);
}

fn coordinates(page: &mut String, report: &Report, coordinate: &CoordinateReport) {
    head(
        page,
        "How well distance is known",
        &format!(
            "{} places of a matrix of round trips, probed for {:.0} virtual seconds each, seed {}.",
            report.nodes, report.virtual_seconds, report.seed
        ),
    );
    figures(
        page,
        &[
            (
                format!("{:.1} %", coordinate.median_rel_err * 100.0),
                "prediction error",
                "relative, median over all pairs",
            ),
            (
                format!("{:.1} %", coordinate.p90_rel_err * 100.0),
                "at the 90th percentile",
                "of the same pairs",
            ),
            (
                format!("{:.2} ms", coordinate.median_abs_err_ms),
                "prediction error",
                "absolute, median over all pairs",
            ),
            (
                format!("{:.2} x", coordinate.nearest_stretch_measured_median),
                "as far as the nearest",
                "is the node that seems nearest, with own measurements",
            ),
        ],
    );
}

fn routes(page: &mut String, routing: &RoutingReport) {
    let introduction = format!(
        "{} gates route jobs to {} datacenters: {} decisions. A job moved in {:.2} % of the decisions \
         about a known job; after the loss of a datacenter its jobs were elsewhere within {:.1} s (99th \
         percentile); load varied by {:.3}.",
        routing.gates,
        routing.datacenters,
        routing.decisions,
        routing.switch_rate * 100.0,
        routing.failover_ms_p99 / 1e3,
        routing.load_cv
    );
    let row = |name, ms: f64| (name, ms, format!("{ms:.1} ms"));
    bars(
        page,
        "Round trip to the chosen datacenter",
        &introduction,
        &[
            row("Shoal, median", routing.median_rtt_ms),
            row("at random, median", routing.random_median_rtt_ms),
            row("at best, median", routing.oracle_median_rtt_ms),
        ],
    );
}

fn head(page: &mut String, title: &str, text: &str) {
    add(page, format_args!("<header>\n<h1>{title}</h1>\n<p>{}</p>\n</header>\n", escape(text)));
}

fn figures(page: &mut String, figures: &[(String, &str, &str)]) {
    page.push_str("<ul class=\"figures\">\n");
    for (figure, name, meaning) in figures {
        add(
            page,
            format_args!(
                "<li><strong>{figure}</strong><span>{name}</span><small>{meaning}</small></li>\n"
            ),
        );
    }
    page.push_str("</ul>\n");
}

/// Horizontal bars on one scale that begins at nothing.
fn bars(page: &mut String, title: &str, introduction: &str, rows: &[(&str, f64, String)]) {
    let longest = rows.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    if longest <= 0.0 {
        return;
    }
    add(page, format_args!("<section>\n<h2>{title}</h2>\n"));
    if !introduction.is_empty() {
        add(page, format_args!("<p class=\"introduction\">{}</p>\n", escape(introduction)));
    }
    page.push_str("<div class=\"card\">\n");
    for (index, (name, value, text)) in rows.iter().enumerate() {
        let (share, colour) = (value / longest * 100.0, index % 3);
        add(
            page,
            format_args!(
                "<div class=\"share\"><span>{name}: {text}</span><div class=\"bars\">\
                 <i class=\"dc{colour}\" style=\"width:{share:.1}%\"></i></div></div>\n"
            ),
        );
    }
    page.push_str("</div>\n</section>\n");
}

fn seconds(ms: Option<f64>) -> String {
    ms.map_or("-".to_owned(), |ms| format!("{:.2} s", ms / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_was_found_and_how_to_find_it_again() {
        let options = shoal_simulator::SimulationOptions::new(5, 7);
        let report = shoal_simulator::run(&options).unwrap();
        let page = page(&report, "shoal simulate --nodes 5 --seed 7 <again>");
        assert!(
            page.contains("5 nodes for 60 virtual seconds, seed 7: every crash was known to all")
        );
        assert!(page.contains("--seed 7 &lt;again&gt;") && page.contains(&report.trace_hash));
        assert_eq!(page.matches("class=\"share\"").count(), 4);
        assert!(!page.contains("http"), "it needs nothing but itself");
    }
}
