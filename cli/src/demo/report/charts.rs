//! The report's charts: prediction against truth, error over time, jobs over time, detection by
//! observer.
//!
//! Each is drawn 560 pixels wide with text that stays legible when a phone shows it at 60 per cent.
//! Colours, fonts and line widths are the style sheet's.

use super::super::record::{Outcome, quantile};
use super::{add, count, duration, escape, percent};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 340.0;
/// Where the plot area ends: left, top, right, bottom.
const PLOT: [f64; 4] = [52.0, 16.0, 544.0, 296.0];

/// One axis: values to pixels.
pub(super) struct Axis {
    from: f64,
    to: f64,
    pub pixels: [f64; 2],
    logarithmic: bool,
}

impl Axis {
    pub fn linear(from: f64, to: f64, pixels: [f64; 2]) -> Axis {
        Axis { from, to: to.max(from + 1e-9), pixels, logarithmic: false }
    }

    fn logarithmic(from: f64, to: f64, pixels: [f64; 2]) -> Axis {
        Axis { from, to, pixels, logarithmic: true }
    }

    pub fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.from, self.to);
        let share = if self.logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.pixels[0] + share * (self.pixels[1] - self.pixels[0])
    }

    /// Round values along the axis, about as many as asked for.
    pub fn ticks(&self, wanted: f64) -> Vec<f64> {
        if self.logarithmic {
            let decades = (-2..=4).flat_map(|e| [1.0, 3.0].map(|d| d * 10f64.powi(e)));
            return decades.filter(|tick| (self.from..=self.to).contains(tick)).collect();
        }
        let rough = (self.to - self.from) / wanted;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * power >= rough);
        let step = step.unwrap_or(10.0) * power;
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }
}

fn open(height: f64, title: &str) -> String {
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"{title}\">\n"
    )
}

/// Grid lines and tick labels of both axes.
fn frame(
    x: &Axis,
    y: &Axis,
    label_x: impl Fn(f64) -> String,
    label_y: impl Fn(f64) -> String,
) -> String {
    let [left, top, right, bottom] = PLOT;
    let mut svg = String::from("<g class=\"grid\">");
    for tick in y.ticks(5.0) {
        add(&mut svg, format_args!("<path d=\"M{left} {:.1}H{right}\"/>", y.place(tick)));
    }
    for tick in x.ticks(7.0) {
        add(&mut svg, format_args!("<path d=\"M{:.1} {top}V{bottom}\"/>", x.place(tick)));
    }
    svg.push_str("</g>\n<g class=\"ticks\">");
    for tick in y.ticks(5.0) {
        let at = y.place(tick) + 4.5;
        add(
            &mut svg,
            format_args!(
                "<text text-anchor=\"end\" x=\"{:.1}\" y=\"{at:.1}\">{}</text>",
                left - 7.0,
                label_y(tick)
            ),
        );
    }
    for tick in x.ticks(7.0) {
        add(
            &mut svg,
            format_args!(
                "<text text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                x.place(tick),
                bottom + 19.0,
                label_x(tick)
            ),
        );
    }
    svg.push_str("</g>\n");
    svg
}

fn caption_x(text: &str, height: f64) -> String {
    let middle = (PLOT[0] + PLOT[2]) / 2.0;
    format!(
        "<text class=\"axis\" text-anchor=\"middle\" x=\"{middle}\" y=\"{:.0}\">{text}</text>\n",
        height - 6.0
    )
}

fn plain(value: f64) -> String {
    format!("{value}")
}

/// Predicted against emulated round trips, the error over time, and a table by pair of datacenters.
pub fn accuracy(outcome: &Outcome) -> String {
    format!(
        "<div class=\"columns\">\n<figure class=\"card\"><figcaption>Predicted and real round trip \
         of every pair</figcaption>\n{}</figure>\n<figure class=\"card\"><figcaption>Prediction \
         error while coordinates converge</figcaption>\n{}</figure>\n</div>\n{}",
        scatter(outcome),
        error_curve(outcome),
        pair_table(outcome)
    )
}

fn scatter(outcome: &Outcome) -> String {
    let [left, top, right, bottom] = PLOT;
    let values =
        outcome.coordinates.pairs.iter().flat_map(|pair| [pair.actual_ms, pair.predicted_ms]);
    let (low, high) = values.fold((1.0, 100.0), |(low, high): (f64, f64), value| {
        (low.min(value.max(0.1)), high.max(value))
    });
    let x = Axis::logarithmic(low * 0.8, high * 1.25, [left, right]);
    let y = Axis::logarithmic(low * 0.8, high * 1.25, [bottom, top]);
    let mut svg = open(HEIGHT, "Predicted against real round trips");
    svg.push_str(&frame(&x, &y, plain, plain));
    add(&mut svg, format_args!("<path class=\"ideal\" d=\"M{left} {bottom}L{right} {top}\"/>\n"));
    for pair in &outcome.coordinates.pairs {
        let (from, to) = (&outcome.nodes[pair.from], &outcome.nodes[pair.to]);
        add(
            &mut svg,
            format_args!(
                "<circle class=\"dot dc{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{} to {}: \
                 real {:.1} ms, predicted {:.1} ms</title></circle>\n",
                from.datacenter,
                x.place(pair.actual_ms),
                y.place(pair.predicted_ms),
                escape(&from.name),
                escape(&to.name),
                pair.actual_ms,
                pair.predicted_ms
            ),
        );
    }
    svg.push_str(&caption_x(
        "real round trip, ms (both axes logarithmic; on the line is right)",
        HEIGHT,
    ));
    svg.push_str("</svg>\n");
    svg
}

fn error_curve(outcome: &Outcome) -> String {
    let [left, top, right, bottom] = PLOT;
    let samples = &outcome.coordinates.samples;
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return "<p>No samples.</p>\n".to_owned();
    };
    let x = Axis::linear(first.at_ms / 1e3, last.at_ms / 1e3, [left, right]);
    let y = Axis::linear(0.0, 100.0, [bottom, top]);
    let mut svg = open(HEIGHT, "Relative prediction error over time");
    svg.push_str(&frame(&x, &y, plain, |tick| format!("{tick} %")));
    let point = |at_ms: f64, error: f64| (x.place(at_ms / 1e3), y.place(error * 100.0));
    let mut band = String::new();
    let mut line = String::new();
    for (index, sample) in samples.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        let (at, p90) = point(sample.at_ms, sample.p90);
        let (_, median) = point(sample.at_ms, sample.median);
        add(&mut band, format_args!("{command}{at:.1} {p90:.1}"));
        add(&mut line, format_args!("{command}{at:.1} {median:.1}"));
    }
    for sample in samples.iter().rev() {
        let (at, median) = point(sample.at_ms, sample.median);
        add(&mut band, format_args!("L{at:.1} {median:.1}"));
    }
    add(
        &mut svg,
        format_args!("<path class=\"band\" d=\"{band}z\"/>\n<path class=\"line\" d=\"{line}\"/>\n"),
    );
    let (at, median) = point(last.at_ms, last.median);
    add(
        &mut svg,
        format_args!(
            "<circle class=\"tip\" cx=\"{at:.1}\" cy=\"{median:.1}\" r=\"4.5\"/>\n\
             <text class=\"callout\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">median \
             {}</text>\n",
            at - 4.0,
            (median - 14.0).max(top + 12.0),
            percent(last.median)
        ),
    );
    svg.push_str(&caption_x(
        "seconds since start; the band reaches up to the 90th percentile",
        HEIGHT,
    ));
    svg.push_str("</svg>\n");
    svg
}

/// Medians for each pair of datacenters.
fn pair_table(outcome: &Outcome) -> String {
    let mut html = String::from(
        "<div class=\"card \
         scroll\"><table>\n<thead><tr><th>Between, in ms</th><th>real</th><th>predicted</th>\
         <th>error</th><th>bound</th></tr></thead>\n<tbody>\n",
    );
    let names = &outcome.datacenters;
    for a in 0..names.len() {
        for b in a..names.len() {
            let pairs = outcome.coordinates.pairs.iter().filter(|pair| {
                let places = [pair.from, pair.to].map(|node| outcome.nodes[node].datacenter);
                places == [a, b] || places == [b, a]
            });
            let pairs: Vec<_> = pairs.collect();
            let median = |value: &dyn Fn(&super::super::record::PairRecord) -> f64| {
                quantile(&mut pairs.iter().map(|pair| value(pair)).collect::<Vec<_>>(), 0.5)
            };
            let between = if a == b {
                format!("<b class=\"dc{a}\">{}</b>, inside", escape(&names[a]))
            } else {
                format!(
                    "<b class=\"dc{a}\">{}</b> and <b class=\"dc{b}\">{}</b>",
                    escape(&names[a]),
                    escape(&names[b])
                )
            };
            add(
                &mut html,
                format_args!(
                    "<tr><td>{between}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td></tr>\n",
                    median(&|pair| pair.actual_ms),
                    median(&|pair| pair.predicted_ms),
                    median(&|pair| (pair.predicted_ms - pair.actual_ms).abs()),
                    median(&|pair| pair.upper_ms)
                ),
            );
        }
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// Jobs over time, and each gate's choices before and after the failure.
pub fn routing(outcome: &Outcome) -> String {
    format!(
        "<figure class=\"card\">{}<figcaption>Jobs by chosen datacenter, over \
         time</figcaption>\n{}</figure>\n\
         <div class=\"columns\">\n{}{}</div>\n",
        legend(outcome),
        job_columns(outcome),
        shares(outcome, "Before the failure", &outcome.routing.before),
        shares(outcome, "After it", &outcome.routing.after)
    )
}

fn legend(outcome: &Outcome) -> String {
    let mut html = String::from("<ul class=\"legend\">");
    for (index, name) in outcome.datacenters.iter().enumerate() {
        add(&mut html, format_args!("<li class=\"dc{index}\">{}</li>", escape(name)));
    }
    html.push_str("</ul>\n");
    html
}

fn job_columns(outcome: &Outcome) -> String {
    // The last bin ended with the phase, not with its time.
    let bins = outcome.routing.bins.split_last().map_or(&[][..], |(_, whole)| whole);
    let (Some(first), Some(last)) = (bins.first(), bins.last()) else {
        return "<p>No jobs were routed.</p>\n".to_owned();
    };
    let pitch = bins.get(1).map_or(250.0, |second| second.at_ms - first.at_ms);
    let height = 250.0;
    let [left, top, right, _] = PLOT;
    let bottom = height - 44.0;
    let top = top + 18.0;
    let tallest = bins.iter().map(|bin| bin.jobs.iter().sum::<u32>()).max().unwrap_or(1);
    let x = Axis::linear(first.at_ms / 1e3, (last.at_ms + pitch) / 1e3, [left, right]);
    let y = Axis::linear(0.0, f64::from(tallest) * 1.05, [bottom, top]);
    let mut svg = open(height, "Jobs over time by chosen datacenter");
    svg.push_str("<g class=\"ticks\">");
    for tick in x.ticks(7.0) {
        add(
            &mut svg,
            format_args!(
                "<text text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{tick} s</text>",
                x.place(tick),
                bottom + 19.0
            ),
        );
    }
    svg.push_str("</g>\n");
    for bin in bins {
        let from = x.place(bin.at_ms / 1e3) + 0.75;
        let width = (x.place((bin.at_ms + pitch) / 1e3) - from - 0.75).max(1.0);
        let mut base = 0;
        for (datacenter, &jobs) in bin.jobs.iter().enumerate().filter(|(_, jobs)| **jobs > 0) {
            let (low, high) = (y.place(f64::from(base)), y.place(f64::from(base + jobs)));
            base += jobs;
            add(
                &mut svg,
                format_args!(
                    "<rect class=\"bar dc{datacenter}\" x=\"{from:.1}\" y=\"{high:.1}\" \
                     width=\"{width:.1}\" height=\"{:.1}\"><title>{jobs} jobs to \
                     {}</title></rect>\n",
                    low - high,
                    escape(&outcome.datacenters[datacenter])
                ),
            );
        }
    }
    let failure = x.place(outcome.detection.at_ms / 1e3);
    let anchor = if failure > WIDTH / 2.0 { "end" } else { "start" };
    add(
        &mut svg,
        format_args!(
            "<path class=\"failure\" d=\"M{failure:.1} {:.1}V{bottom}\"/>\n<text class=\"failure\" \
             text-anchor=\"{anchor}\" x=\"{failure:.1}\" y=\"{:.1}\">managers of {} \
             killed</text>\n",
            top - 6.0,
            top - 12.0,
            escape(&outcome.datacenters[outcome.detection.datacenter])
        ),
    );
    svg.push_str(&caption_x("seconds since start", height));
    svg.push_str("</svg>\n");
    svg
}

/// One bar per gate, divided by where its jobs went.
fn shares(outcome: &Outcome, title: &str, table: &[Vec<u32>]) -> String {
    let mut html = format!("<figure class=\"card\"><figcaption>{title}</figcaption>\n");
    for (gate, row) in table.iter().enumerate() {
        let total = row.iter().sum::<u32>().max(1);
        add(
            &mut html,
            format_args!(
                "<div class=\"share\"><span>gate of <b class=\"dc{gate}\">{}</b></span><div \
                 class=\"bars\">",
                escape(&outcome.datacenters[gate])
            ),
        );
        for (datacenter, &jobs) in row.iter().enumerate().filter(|(_, jobs)| **jobs > 0) {
            let share = f64::from(jobs) / f64::from(total);
            let text = if share > 0.09 { count(u64::from(jobs)) } else { String::new() };
            add(
                &mut html,
                format_args!(
                    "<i class=\"dc{datacenter}\" style=\"flex:{jobs}\" title=\"{jobs} jobs to \
                     {}\">{text}</i>",
                    escape(&outcome.datacenters[datacenter])
                ),
            );
        }
        html.push_str("</div></div>\n");
    }
    html.push_str("</figure>\n");
    html
}

/// One row per survivor: when it began to suspect each victim and when it knew.
pub fn detection(outcome: &Outcome) -> String {
    let detection = &outcome.detection;
    let mut observers: Vec<usize> =
        detection.observations.iter().map(|seen| seen.observer).collect();
    observers.sort_unstable();
    observers.dedup();
    let mut victims: Vec<usize> = detection.observations.iter().map(|seen| seen.subject).collect();
    victims.sort_unstable();
    victims.dedup();
    let pitch = 13.0 * victims.len().max(1) as f64 + 5.0;
    // Narrower than the others: its text is the rows' names, which a phone has to show.
    let (left, right, top) = (158.0, 408.0, 14.0);
    let bottom = top + pitch * observers.len() as f64;
    let height = bottom + 44.0;
    let x = Axis::linear(0.0, detection.all_dead_ms.max(1.0) * 1.04 / 1e3, [left, right]);
    let mut svg = format!(
        "<svg class=\"chart observers\" viewBox=\"0 0 420 {height:.0}\" role=\"img\" \
         aria-label=\"When each survivor noticed\">\n"
    );
    svg.push_str("<g class=\"grid\">");
    for tick in x.ticks(5.0) {
        add(&mut svg, format_args!("<path d=\"M{:.1} {top}V{bottom:.1}\"/>", x.place(tick)));
    }
    svg.push_str("</g>\n<g class=\"ticks\">");
    for tick in x.ticks(5.0) {
        let label = format!("{} s", (tick * 100.0).round() / 100.0);
        add(
            &mut svg,
            format_args!(
                "<text text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                x.place(tick),
                bottom + 18.0
            ),
        );
    }
    svg.push_str("</g>\n");
    for (row, &observer) in observers.iter().enumerate() {
        let y = top + pitch * row as f64;
        svg.push_str(&detection_row(outcome, &x, observer, &victims, [y, pitch]));
    }
    add(
        &mut svg,
        format_args!(
            "<text class=\"axis\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">since the failure; \
             bar: suspected, dot: dead</text>\n</svg>\n",
            (left + right) / 2.0,
            height - 6.0
        ),
    );
    format!("<figure class=\"card\">\n{svg}</figure>\n")
}

/// What one survivor saw: a lane per victim, between `y` and `y + pitch`.
fn detection_row(
    outcome: &Outcome,
    x: &Axis,
    observer: usize,
    victims: &[usize],
    [y, pitch]: [f64; 2],
) -> String {
    let node = &outcome.nodes[observer];
    let name = escape(&node.name);
    let mut svg = format!(
        "<text class=\"row dc{}\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>\n",
        node.datacenter,
        x.pixels[0] - 9.0,
        y + pitch / 2.0 + 4.0
    );
    let seen = outcome.detection.observations.iter().filter(|seen| seen.observer == observer);
    for seen in seen {
        let lane = victims.iter().position(|victim| *victim == seen.subject).unwrap_or(0);
        let y = y + 13.0 * lane as f64 + 8.0;
        let dead = x.place(seen.dead_ms / 1e3);
        if let Some(suspect) = seen.suspect_ms {
            let suspect = x.place(suspect / 1e3);
            add(
                &mut svg,
                format_args!("<path class=\"suspect\" d=\"M{suspect:.1} {y:.1}H{dead:.1}\"/>"),
            );
        }
        add(
            &mut svg,
            format_args!(
                "<circle class=\"dead\" cx=\"{dead:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{name}: {} \
                 dead after {}</title></circle>\n",
                escape(&outcome.nodes[seen.subject].name),
                duration(seen.dead_ms)
            ),
        );
    }
    svg
}
