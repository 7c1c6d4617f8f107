//! Counters for Python: a dictionary for programs, OpenMetrics text for monitoring.

use std::fmt::Write;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use shoal_core::{Member, MemberState, Stats};

/// The value of every counter by its name.
pub(crate) fn stats_dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let values = PyDict::new(py);
    for (counter, value) in stats.iter() {
        values.set_item(counter.name(), value)?;
    }
    Ok(values)
}

/// Counters, members by state, local health and coordinate error in the OpenMetrics text format.
pub(crate) fn open_metrics(stats: &Stats, members: &[Member]) -> String {
    let mut text = String::with_capacity(8_192);
    for (counter, value) in stats.iter() {
        let (name, help) = (counter.name(), counter.help());
        metric(&mut text, name, "counter", help);
        line(&mut text, format_args!("shoal_{name}_total {value}"));
    }
    metric(&mut text, "members", "gauge", "Members this node knows, itself included, by state.");
    // A removed member is gone, so nobody is ever counted in that state.
    for state in MemberState::ALL.into_iter().filter(|state| *state != MemberState::Removed) {
        let count = members.iter().filter(|member| member.state == state).count();
        line(&mut text, format_args!("shoal_members{{state=\"{state}\"}} {count}"));
    }
    if let Some(own) = members.first() {
        let help = "How much this node distrusts its own view, 0 to 8.";
        metric(&mut text, "health_score", "gauge", help);
        line(&mut text, format_args!("shoal_health_score {}", own.health_score));
        if let Some(coordinate) = own.coordinate {
            let help = "How wrong predictions from this node's coordinate are, relative.";
            metric(&mut text, "coordinate_error", "gauge", help);
            line(&mut text, format_args!("shoal_coordinate_error {}", coordinate.error));
        }
    }
    text.push_str("# EOF\n");
    text
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# TYPE shoal_{name} {kind}"));
    line(text, format_args!("# HELP shoal_{name} {help}"));
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a string does not fail");
}
