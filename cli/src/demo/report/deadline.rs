//! The chart of the job that ran out of time: what it was granted, and when it ended where.

use super::super::record::{JobSite, Outcome};
use super::charts::Axis;
use super::{add, duration, escape};

const LEFT: f64 = 158.0;
const RIGHT: f64 = 408.0;
const TOP: f64 = 14.0;
const PITCH: f64 = 34.0;

/// A row for the gate and one for each datacenter.
pub fn deadline(outcome: &Outcome) -> String {
    let timeout = &outcome.timeout;
    let bottom = TOP + PITCH * (timeout.sites.len() + 1) as f64;
    let height = bottom + 26.0;
    let x = Axis::linear(0.0, timeout.ended_ms.max(1.0) * 1.04 / 1e3, [LEFT, RIGHT]);
    let mut svg = format!(
        "<svg class=\"chart observers\" viewBox=\"0 0 420 {height:.0}\" role=\"img\" \
         aria-label=\"When the job ended where\">\n<g class=\"grid\">"
    );
    for tick in x.ticks(5.0) {
        add(&mut svg, format_args!("<path d=\"M{:.1} {TOP}V{bottom:.1}\"/>", x.place(tick)));
    }
    svg.push_str("</g>\n<g class=\"ticks\">");
    for tick in x.ticks(5.0) {
        let (at, y) = (x.place(tick), bottom + 18.0);
        add(
            &mut svg,
            format_args!("<text text-anchor=\"middle\" x=\"{at:.1}\" y=\"{y:.1}\">{tick} s</text>"),
        );
    }
    svg.push_str("</g>\n");
    svg.push_str(&row(outcome, &x, timeout.gate, TOP, timeout.decided_ms, "global timeout"));
    for (number, site) in timeout.sites.iter().enumerate() {
        let y = TOP + PITCH * (number + 1) as f64;
        svg.push_str(&granted(outcome, &x, site, y));
        svg.push_str(&row(outcome, &x, site.manager, y, site.ended_ms, "ended"));
    }
    svg.push_str("</svg>\n");
    format!(
        "<figure class=\"card\">\n{svg}<p class=\"note\">Since its start. Pale: its timeout; darker: the \
         extension; line: when workers asked for it; dot: the end.</p>\n</figure>\n"
    )
}

/// What the job was granted in one datacenter: its timeout, the extension, and when that was asked for.
fn granted(outcome: &Outcome, x: &Axis, site: &JobSite, y: f64) -> String {
    let timeout = &outcome.timeout;
    let datacenter = outcome.nodes.get(site.manager).map_or(0, |node| node.datacenter);
    let place = |ms: f64| x.place(ms / 1e3);
    let (start, limit) = (place(0.0), place(timeout.limit_ms));
    let end = place(timeout.limit_ms + timeout.extension_ms);
    let asked = place(site.extended_ms);
    format!(
        "<g class=\"dc{datacenter}\"><rect class=\"granted\" x=\"{start:.1}\" y=\"{:.1}\" \
         width=\"{:.1}\" height=\"12\"/><rect class=\"extension\" x=\"{limit:.1}\" y=\"{:.1}\" \
         width=\"{:.1}\" height=\"12\"/><path class=\"asked\" d=\"M{asked:.1} {:.1}v18\"/></g>\n",
        y + 11.0,
        limit - start,
        y + 11.0,
        end - limit,
        y + 8.0
    )
}

/// The name of a node and a dot for what happened there.
fn row(outcome: &Outcome, x: &Axis, node: usize, y: f64, at_ms: f64, what: &str) -> String {
    let Some(node) = outcome.nodes.get(node) else { return String::new() };
    let name = escape(&node.name);
    format!(
        "<text class=\"row dc{}\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>\n<circle \
         class=\"dead\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"><title>{name}: {what} after \
         {}</title></circle>\n",
        node.datacenter,
        LEFT - 9.0,
        y + 21.0,
        x.place(at_ms / 1e3),
        y + 17.0,
        duration(at_ms)
    )
}
