//! What a simulation found out, as one JSON object and as words.

use serde::Serialize;
use shoal_core::Duration;

use crate::accuracy::CoordinateReport;

/// The middle and the far end of a set of values, `null` when there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the values are at most this.
    pub p50: Option<f64>,
    /// 99 of 100 values are at most this.
    pub p99: Option<f64>,
}

impl Percentiles {
    /// The percentiles of some durations, in milliseconds.
    pub fn of_durations(durations: &[Duration]) -> Percentiles {
        let mut values: Vec<f64> =
            durations.iter().map(|duration| duration.as_secs_f64() * 1e3).collect();
        values.sort_by(f64::total_cmp);
        Percentiles { p50: percentile(&values, 50.0), p99: percentile(&values, 99.0) }
    }
}

/// The nearest-rank percentile of sorted values; `share` in percent.
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

/// How well jobs are routed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoutingReport {
    /// Median round trip to the chosen datacenter, in ms.
    pub median_rtt_ms: f64,
    /// The same for a random choice.
    pub random_median_rtt_ms: f64,
    /// The same for the best choice.
    pub oracle_median_rtt_ms: f64,
    /// Share of decisions that changed the datacenter of a job, 0 to 1.
    pub switch_rate: f64,
    /// Coefficient of variation of a datacenter's load over time, under steady arrivals.
    pub load_cv: f64,
    /// 99th percentile of the time from a datacenter's failure to routing around it, in ms.
    pub failover_ms_p99: f64,
    /// Gates that routed.
    pub gates: u32,
    /// Datacenters that they could choose from.
    pub datacenters: u32,
    /// Decisions made. In none did an eligible datacenter of a better bucket go without: a run in which
    /// one does has no report.
    pub decisions: u64,
    /// Share of the decisions under steady arrivals that ranked by capacity because distances were not
    /// known yet.
    pub bootstrap_rate: f64,
}

/// The result of one simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What decided everything.
    pub seed: u64,
    /// Nodes at the start.
    pub nodes: u32,
    /// How long the cluster ran on its own clock, in seconds.
    pub virtual_seconds: f64,
    /// Datagrams that engines have been given.
    pub datagrams: u64,
    /// When every node had confirmed every other, in ms; `null` when that never was so.
    pub formed_ms: Option<f64>,
    /// Times that a node declared another dead that ran.
    pub false_positives: u64,
    /// Crashed nodes that not every running node held for dead at the end.
    pub undetected: u64,
    /// From a crash until the first node declared it.
    pub detect_first_ms: Percentiles,
    /// From a crash until the last running node knew.
    pub detect_all_ms: Percentiles,
    /// How well coordinates predict, where that was measured.
    pub coordinate: Option<CoordinateReport>,
    /// How well jobs were routed, where that was measured.
    pub routing: Option<RoutingReport>,
    /// A digest of all that was sent and told; equal for equal runs.
    pub trace_hash: String,
}

impl Report {
    /// The report of a run that only judged coordinates: no engine ran.
    pub fn of_coordinates(
        seed: u64,
        nodes: u32,
        virtual_seconds: f64,
        coordinate: CoordinateReport,
    ) -> Report {
        Report {
            seed,
            nodes,
            virtual_seconds,
            datagrams: 0,
            formed_ms: None,
            false_positives: 0,
            undetected: 0,
            detect_first_ms: Percentiles::default(),
            detect_all_ms: Percentiles::default(),
            coordinate: Some(coordinate),
            routing: None,
            trace_hash: hash_text(0),
        }
    }
}

/// A trace hash as text, so that no reader rounds it.
pub fn hash_text(hash: u64) -> String {
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 50.0), Some(100.0));
        assert_eq!(percentile(&values, 99.0), Some(198.0));
        assert_eq!(percentile(&values[..1], 99.0), Some(1.0));
        assert_eq!(percentile(&[], 50.0), None);
        let durations = [3, 1, 2].map(Duration::from_millis);
        assert_eq!(Percentiles::of_durations(&durations).p50, Some(2.0));
    }
}
