//! The demo's report: one self-contained HTML page, without scripts and without anything to
//! download.
//!
//! Drawings are inline SVG whose colours come from the style sheet, so that they follow the
//! reader's light or dark scheme; what has to reflow on a phone is HTML. Every figure on the page
//! is computed from the [`Outcome`]; nothing is typed in.

mod charts;
mod deadline;
mod map;
mod prose;
mod why;

use super::record::Outcome;
use crate::markup::{add, escape};

const STYLE: &str = include_str!("style.css");

/// Writes the page.
pub fn page(outcome: &Outcome) -> String {
    let sections = [
        prose::headline(outcome),
        prose::figures(outcome),
        section(
            "The map",
            "Nobody told the nodes where they are. Each one timed its own probes and moved its \
             coordinate until distances matched round trips. The faint lines are their paths from \
             a common start.",
            &map::map(outcome),
        ),
        section(
            "How good the predictions are",
            &prose::accuracy(outcome),
            &charts::accuracy(outcome),
        ),
        section("Where the jobs went", &prose::routing(outcome), &charts::routing(outcome)),
        section("Why they went there", &why::introduction(outcome), &why::decisions(outcome)),
        section(
            "How the failure was noticed",
            &prose::detection(outcome),
            &charts::detection(outcome),
        ),
        section(
            "The job that ran out of time",
            &prose::deadline(outcome),
            &deadline::deadline(outcome),
        ),
        section("What happened when", "", &prose::timeline(outcome)),
        section("The nodes", "", &prose::nodes(outcome)),
    ];
    let mut page = String::with_capacity(160_000);
    page.push_str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str(
        "<meta name=\"color-scheme\" content=\"light dark\">\n<title>Shoal demo</title>\n",
    );
    add(&mut page, format_args!("<link rel=\"icon\" href=\"{}\">\n", prose::ICON));
    add(&mut page, format_args!("<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"));
    for part in sections {
        page.push_str(&part);
    }
    page.push_str(&prose::footer(outcome));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn section(title: &str, introduction: &str, content: &str) -> String {
    let introduction = match introduction {
        "" => String::new(),
        text => format!("<p class=\"introduction\">{text}</p>\n"),
    };
    format!("<section>\n<h2>{title}</h2>\n{introduction}{content}</section>\n")
}

/// A duration as people say it.
fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 9_995.0 => format!("{:.2} s", ms / 1e3),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

/// A share in per cent.
fn percent(share: f64) -> String {
    if share < 0.0995 {
        format!("{:.1} %", share * 100.0)
    } else {
        format!("{:.0} %", share * 100.0)
    }
}

/// A count with separated thousands.
fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub mod tests;
