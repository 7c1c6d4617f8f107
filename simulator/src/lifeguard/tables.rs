//! The results of the Lifeguard experiment as the paper's tables IV to VI, as data and as text.

use std::fmt;

use serde::Serialize;
use shoal_core::Duration;

use super::{ANOMALOUS_COUNTS, DURATIONS_MS, INTERVALS_MS, LifeguardOptions, Outcome, Trial};
use crate::report::percentile;

/// A row of table IV: failure events about healthy agents in all interval experiments.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Which configuration.
    pub configuration: &'static str,
    /// Failure events about agents that were not anomalous.
    pub false_positives: u64,
    /// Those of them that were raised by agents that were not anomalous either (FP-).
    pub healthy_false_positives: u64,
    /// In percent of plain SWIM.
    pub false_positive_percent: f64,
    /// In percent of plain SWIM.
    pub healthy_false_positive_percent: f64,
}

/// A row of table V: how long anomalous agents remain undetected in all threshold experiments, in
/// seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Which configuration.
    pub configuration: &'static str,
    /// How many anomalous agents were detected at all.
    pub detected: u64,
    /// From the anomaly to the first failure event: median, 99 % and 99.9 %.
    pub first_seconds: [Option<f64>; 3],
    /// From the anomaly to the last failure event of a healthy agent: median, 99 % and 99.9 %.
    pub full_seconds: [Option<f64>; 3],
    /// The median of the first detection in percent of plain SWIM.
    pub median_first_percent: Option<f64>,
}

/// A row of table VI: what all interval experiments cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Which configuration.
    pub configuration: &'static str,
    /// Messages sent.
    pub messages: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// In percent of plain SWIM.
    pub message_percent: f64,
    /// In percent of plain SWIM.
    pub byte_percent: f64,
}

/// The experiment's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LifeguardReport {
    /// What decided everything.
    pub seed: u64,
    /// Which part of the paper's grid was run, and how often.
    pub part: String,
    /// Runs of interval experiments, per configuration.
    pub interval_runs: u64,
    /// Runs of threshold experiments, per configuration.
    pub threshold_runs: u64,
    /// Table IV.
    pub accuracy: Vec<Accuracy>,
    /// Table V.
    pub latency: Vec<Latency>,
    /// Table VI.
    pub load: Vec<Load>,
}

fn percent(value: u64, of: u64) -> f64 {
    match of {
        0 => 0.0,
        _ => 100.0 * value as f64 / of as f64,
    }
}

fn seconds(durations: impl Iterator<Item = Duration>) -> [Option<f64>; 3] {
    let mut values: Vec<f64> = durations.map(|duration| duration.as_secs_f64()).collect();
    values.sort_by(f64::total_cmp);
    [50.0, 99.0, 99.9].map(|share| percentile(&values, share))
}

pub(super) fn report(options: &LifeguardOptions, results: &[(&Trial, Outcome)]) -> LifeguardReport {
    let of = |configuration: usize, has_interval: bool| {
        results.iter().filter_map(move |(trial, outcome)| {
            let fits = trial.configuration == configuration;
            (fits && trial.interval.is_some() == has_interval).then_some(outcome)
        })
    };
    let sum = |configuration, value: fn(&Outcome) -> u64| -> u64 {
        of(configuration, true).map(value).sum()
    };
    let numbered = || options.configurations.iter().map(|c| c.name).enumerate();
    let accuracy = numbered().map(|(number, configuration)| {
        let all = |number| sum(number, |outcome| outcome.false_positives);
        let healthy = |number| sum(number, |outcome| outcome.healthy_false_positives);
        Accuracy {
            configuration,
            false_positives: all(number),
            healthy_false_positives: healthy(number),
            false_positive_percent: percent(all(number), all(0)),
            healthy_false_positive_percent: percent(healthy(number), healthy(0)),
        }
    });
    let latency = numbered().map(|(number, configuration)| {
        let first = |number| of(number, false).flat_map(|outcome| &outcome.first).copied();
        let first_seconds = seconds(first(number));
        let swim_median = seconds(first(0))[0];
        Latency {
            configuration,
            detected: first(number).count() as u64,
            first_seconds,
            full_seconds: seconds(of(number, false).flat_map(|outcome| &outcome.full).copied()),
            median_first_percent: first_seconds[0]
                .zip(swim_median)
                .map(|(median, swim)| 100.0 * median / swim),
        }
    });
    let load = numbered().map(|(number, configuration)| {
        let messages = |number| sum(number, |outcome| outcome.messages);
        let bytes = |number| sum(number, |outcome| outcome.bytes);
        Load {
            configuration,
            messages: messages(number),
            bytes: bytes(number),
            message_percent: percent(messages(number), messages(0)),
            byte_percent: percent(bytes(number), bytes(0)),
        }
    });
    LifeguardReport {
        seed: options.seed,
        part: part(options),
        interval_runs: of(0, true).count() as u64,
        threshold_runs: of(0, false).count() as u64,
        accuracy: accuracy.collect(),
        latency: latency.collect(),
        load: load.collect(),
    }
}

/// Which cells of the grid the options name, in words.
fn part(options: &LifeguardOptions) -> String {
    let LifeguardOptions { counts, durations_ms, intervals_ms, repetitions, .. } = options;
    let is_whole = *counts == ANOMALOUS_COUNTS
        && *durations_ms == DURATIONS_MS
        && *intervals_ms == INTERVALS_MS;
    let share = if is_whole { "the whole grid" } else { "a sample of the grid" };
    let times = if *repetitions == 1 { "once each" } else { &format!("{repetitions} times each") };
    let list = |values: &[u64]| values.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
    let counts: Vec<u64> = counts.iter().copied().map(u64::from).collect();
    format!(
        "{share}, {times}: C in {}; D in {} ms; I in {} ms",
        list(&counts),
        list(durations_ms),
        list(intervals_ms)
    )
}

impl fmt::Display for LifeguardReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "Seed {}, {}\n", self.seed, self.part)?;
        let runs = self.interval_runs;
        writeln!(formatter, "Table IV. False positives, {runs} interval experiments")?;
        writeln!(formatter, "{:<14} {:>9} {:>9} {:>8} {:>8}", "", "FP", "FP-", "FP %", "FP- %")?;
        for row in &self.accuracy {
            writeln!(
                formatter,
                "{:<14} {:>9} {:>9} {:>8.2} {:>8.2}",
                row.configuration,
                row.false_positives,
                row.healthy_false_positives,
                row.false_positive_percent,
                row.healthy_false_positive_percent
            )?;
        }
        let runs = self.threshold_runs;
        writeln!(formatter, "\nTable V. Detection in seconds, {runs} threshold experiments")?;
        writeln!(
            formatter,
            "{:<14} {:>8} {:>22} {:>22} {:>9}",
            "", "detected", "first 50/99/99.9 %", "full 50/99/99.9 %", "median %"
        )?;
        for row in &self.latency {
            writeln!(
                formatter,
                "{:<14} {:>8} {:>22} {:>22} {:>9}",
                row.configuration,
                row.detected,
                triple(&row.first_seconds),
                triple(&row.full_seconds),
                number(row.median_first_percent)
            )?;
        }
        writeln!(formatter, "\nTable VI. Load of the interval experiments")?;
        writeln!(
            formatter,
            "{:<14} {:>12} {:>9} {:>8} {:>8}",
            "", "messages", "GiB", "%", "bytes %"
        )?;
        for row in &self.load {
            writeln!(
                formatter,
                "{:<14} {:>12} {:>9.2} {:>8.1} {:>8.1}",
                row.configuration,
                row.messages,
                row.bytes as f64 / f64::from(1 << 30),
                row.message_percent,
                row.byte_percent
            )?;
        }
        Ok(())
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

fn triple(values: &[Option<f64>; 3]) -> String {
    values.map(number).join(" / ")
}
