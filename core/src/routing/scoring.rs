//! The score of a datacenter or a manager: how far, how loaded, how surely known (AD-36, part 4).
//!
//! ```text
//! queue_share     = queue / (queue + QUEUE_SMOOTHING)
//! load_factor     = 1 + A_UTIL x utilization + A_QUEUE x queue_share + A_CB x circuit_pressure
//! quality_penalty = 1 + A_QUALITY x (1 - quality)
//! score           = latency_ms x load_factor x quality_penalty x severity     (lower is better)
//! ```
//!
//! The latency is the upper bound of the round trip, not its estimate, so a guess has to be better
//! than a measurement to win. Where the round trip is unknown a stand-in takes its place: the
//! cautious default, but never less than the farthest round trip that is known among the
//! candidates, and with the full penalty for quality. At equal load a datacenter of unknown
//! distance therefore ranks behind every one of known distance, and with the default weights it
//! ranks behind those nearer than half the stand-in whatever the load.

use super::{Range, check_ranges};
use crate::error::ConfigError;

/// The largest severity that a candidate may carry.
pub const SEVERITY_MAX: f64 = 1_000.0;

/// The weights and limits of the score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoringConfig {
    /// Weight of the share of cores in use; 0 to 100. (AD-36: `A_UTIL`.)
    pub utilization_weight: f64,
    /// Weight of the queue; 0 to 100. (AD-36: `A_QUEUE`.)
    pub queue_weight: f64,
    /// Weight of open circuit breakers; 0 to 100. (AD-36: `A_CB`.)
    pub circuit_weight: f64,
    /// The queue depth that counts half; 1e-9 to 1e9. (AD-36: `QUEUE_SMOOTHING`.)
    pub queue_smoothing: f64,
    /// The largest load factor; 1 to 1,000. (AD-36: `LOAD_FACTOR_MAX`.)
    pub load_factor_max: f64,
    /// Weight of what is not known about the round trip; 0 to 100. (AD-36: `A_QUALITY`.)
    pub quality_weight: f64,
    /// The largest quality penalty; 1 to 1,000. (AD-36: `QUALITY_PENALTY_MAX`.)
    pub quality_penalty_max: f64,
    /// What the score of a preferred datacenter is multiplied by; 0.1 to 1. (AD-36:
    /// `PREFERENCE_MULT`.)
    pub preference_multiplier: f64,
    /// Whether a preference also reorders the buckets that are only fallback. AD-36 keeps it within
    /// the primary bucket; hyperscale's own router applies it everywhere.
    pub prefer_in_fallback: bool,
    /// Shorter round trips count as this, in ms, so that on a local network load decides; 1e-6 to
    /// 1,000.
    pub rtt_min_ms: f64,
    /// Longer round trips count as this, in ms; at least the shortest, up to 1e6.
    pub rtt_max_ms: f64,
    /// The least that an unknown round trip counts as, in ms; within the two above. (AD-36:
    /// `RTT_DEFAULT_MS`.)
    pub rtt_default_ms: f64,
}

impl Default for ScoringConfig {
    fn default() -> ScoringConfig {
        ScoringConfig {
            utilization_weight: 0.5,
            queue_weight: 0.3,
            circuit_weight: 0.2,
            queue_smoothing: 10.0,
            load_factor_max: 5.0,
            quality_weight: 0.5,
            quality_penalty_max: 2.0,
            preference_multiplier: 0.9,
            prefer_in_fallback: false,
            rtt_min_ms: 1.0,
            rtt_max_ms: 10_000.0,
            rtt_default_ms: 100.0,
        }
    }
}

impl ScoringConfig {
    /// The scores as hyperscale's own router computes them: a preference counts in every bucket.
    pub fn hyperscale() -> ScoringConfig {
        ScoringConfig { prefer_in_fallback: true, ..ScoringConfig::default() }
    }

    /// Says whether scores can be computed with this.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_ranges(&[
            Range("utilization_weight", self.utilization_weight, 0.0, 100.0),
            Range("queue_weight", self.queue_weight, 0.0, 100.0),
            Range("circuit_weight", self.circuit_weight, 0.0, 100.0),
            Range("queue_smoothing", self.queue_smoothing, 1e-9, 1e9),
            Range("load_factor_max", self.load_factor_max, 1.0, 1_000.0),
            Range("quality_weight", self.quality_weight, 0.0, 100.0),
            Range("quality_penalty_max", self.quality_penalty_max, 1.0, 1_000.0),
            Range("preference_multiplier", self.preference_multiplier, 0.1, 1.0),
            Range("rtt_min_ms", self.rtt_min_ms, 1e-6, 1_000.0),
            Range("rtt_max_ms", self.rtt_max_ms, self.rtt_min_ms, 1e6),
            Range("rtt_default_ms", self.rtt_default_ms, self.rtt_min_ms, self.rtt_max_ms),
        ])
    }

    /// How much worse load makes a candidate: 1 when idle, up to
    /// [`load_factor_max`](ScoringConfig::load_factor_max).
    pub fn load_factor(&self, utilization: f64, queue_depth: u32, circuit_pressure: f64) -> f64 {
        let factor = 1.0
            + self.utilization_weight * utilization
            + self.queue_weight * self.queue_share(queue_depth)
            + self.circuit_weight * pessimistic_share(circuit_pressure);
        factor.min(self.load_factor_max)
    }

    /// A queue as a share: 0 when empty, half at
    /// [`queue_smoothing`](ScoringConfig::queue_smoothing), below 1.
    pub fn queue_share(&self, queue_depth: u32) -> f64 {
        let depth = f64::from(queue_depth);
        depth / (depth + self.queue_smoothing)
    }

    /// How much worse it makes a candidate that its round trip is not well known: 1 at quality 1.
    pub fn quality_penalty(&self, quality: f64) -> f64 {
        let quality = clamp_or(quality, 0.0, 1.0, 0.0);
        (1.0 + self.quality_weight * (1.0 - quality)).min(self.quality_penalty_max)
    }

    /// A known round trip as it is scored.
    pub fn known_rtt_ms(&self, upper_ms: f64) -> f64 {
        upper_ms.max(self.rtt_min_ms).min(self.rtt_max_ms)
    }

    /// What an unknown round trip is scored as, when `farthest_ms` is the longest that is known
    /// among the candidates (0 when none is).
    pub fn unknown_rtt_ms(&self, farthest_ms: f64) -> f64 {
        farthest_ms.max(self.rtt_default_ms)
    }
}

/// The share of cores in use: 1 when there are none.
pub fn utilization(available_cores: u32, total_cores: u32) -> f64 {
    // More free cores than cores is a heartbeat between two updates: nothing is in use.
    let free = f64::from(available_cores.min(total_cores)) / f64::from(total_cores.max(1));
    1.0 - free
}

/// A share as reported, with everything that is none read as the worst.
pub(crate) fn pessimistic_share(share: f64) -> f64 {
    clamp_or(share, 0.0, 1.0, 1.0)
}

/// A severity as reported, with everything below one read as one and a NaN as the worst.
pub(crate) fn pessimistic_severity(severity: f64) -> f64 {
    clamp_or(severity, 1.0, SEVERITY_MAX, SEVERITY_MAX)
}

fn clamp_or(value: f64, min: f64, max: f64, if_no_number: f64) -> f64 {
    if value.is_nan() { if_no_number } else { value.clamp(min, max) }
}

/// The score of one candidate with everything it was computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The latency that was scored, in ms: the upper bound of the round trip or its stand-in,
    /// corrected by what was observed of jobs (AD-45).
    pub latency_ms: f64,
    /// How much worse load makes it, from 1.
    pub load_factor: f64,
    /// How much worse it makes it that the round trip is not well known, from 1.
    pub quality_penalty: f64,
    /// The candidate's own weight, from 1.
    pub severity: f64,
    /// The score of the datacenter as such. In a bootstrap decision one plus the share of cores in
    /// use, otherwise the product of the four above.
    pub base: f64,
    /// What this job makes of it: below 1 where it prefers the datacenter, above 1 where it failed
    /// there lately.
    pub multiplier: f64,
}

impl Score {
    /// The score that ranks: `base x multiplier`, lower is better.
    pub fn value(&self) -> f64 {
        self.base * self.multiplier
    }

    /// The product of latency, load, quality and severity.
    pub(crate) fn product(&self) -> f64 {
        self.latency_ms * self.load_factor * self.quality_penalty * self.severity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn factors_follow_the_formula() {
        let config = ScoringConfig::default();
        assert_eq!(config.load_factor(0.0, 0, 0.0), 1.0);
        assert!((config.load_factor(0.5, 10, 0.25) - 1.45).abs() < 1e-12);
        assert!((config.load_factor(1.0, u32::MAX, 1.0) - 2.0).abs() < 1e-6);
        assert_eq!(config.quality_penalty(1.0), 1.0);
        assert_eq!(config.quality_penalty(0.0), 1.5);
        let capped = ScoringConfig {
            load_factor_max: 1.2,
            quality_penalty_max: 1.1,
            ..ScoringConfig::default()
        };
        assert_eq!(capped.load_factor(1.0, 100, 1.0), 1.2);
        assert_eq!(capped.quality_penalty(0.0), 1.1);
    }

    #[test]
    fn no_cores_means_all_in_use() {
        assert_eq!(utilization(0, 0), 1.0);
        assert_eq!(utilization(5, 0), 1.0);
        assert_eq!(utilization(0, 8), 1.0);
        assert_eq!(utilization(6, 8), 0.25);
        assert_eq!(utilization(9, 8), 0.0);
    }

    #[test]
    fn what_is_no_number_is_the_worst() {
        let config = ScoringConfig::default();
        let nan = f64::NAN;
        assert_eq!(config.quality_penalty(nan), config.quality_penalty(0.0));
        assert_eq!(config.load_factor(0.0, 0, nan), config.load_factor(0.0, 0, 1.0));
        assert_eq!(pessimistic_severity(nan), SEVERITY_MAX);
        assert_eq!(pessimistic_severity(0.0), 1.0);
        assert_eq!(pessimistic_share(-1.0), 0.0);
        assert_eq!(pessimistic_share(7.0), 1.0);
    }

    #[test]
    fn factors_are_monotonic_and_bounded() {
        let config = ScoringConfig::default();
        let mut random = Random::new(11);
        for _ in 0..10_000 {
            let (utilization, circuit, quality) = (random.unit(), random.unit(), random.unit());
            let queue = random.below(10_000);
            let load = config.load_factor(utilization, queue, circuit);
            assert!((1.0..=config.load_factor_max).contains(&load));
            assert!(config.load_factor(utilization, queue + 1, circuit) >= load);
            assert!(config.load_factor((utilization + 0.1).min(1.0), queue, circuit) >= load);
            let penalty = config.quality_penalty(quality);
            assert!((1.0..=config.quality_penalty_max).contains(&penalty));
            assert!(config.quality_penalty(quality * 0.5) >= penalty);
        }
    }

    #[test]
    fn an_unknown_round_trip_is_the_default_or_the_farthest() {
        let config = ScoringConfig::default();
        assert_eq!(config.unknown_rtt_ms(0.0), 100.0);
        assert_eq!(config.unknown_rtt_ms(40.0), 100.0);
        assert_eq!(config.unknown_rtt_ms(240.0), 240.0);
        assert_eq!(config.known_rtt_ms(0.05), 1.0);
        assert_eq!(config.known_rtt_ms(1e9), 10_000.0);
    }

    #[test]
    fn check_names_what_is_wrong() {
        ScoringConfig::default().check().unwrap();
        ScoringConfig::hyperscale().check().unwrap();
        let broken = ScoringConfig { preference_multiplier: 1.5, ..ScoringConfig::default() };
        assert_eq!(
            broken.check().unwrap_err().to_string(),
            "preference_multiplier is 1.5, expected 0.1 to 1"
        );
        let broken = ScoringConfig { rtt_default_ms: f64::NAN, ..ScoringConfig::default() };
        assert!(broken.check().is_err());
    }
}
