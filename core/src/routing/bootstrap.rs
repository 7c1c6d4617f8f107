//! Routing before round trips are known: by capacity alone (AD-36, part 6).
//!
//! While the gate's own coordinate is young, predicted round trips are noise. Until it has taken
//! enough samples and its error is small enough, datacenters rank by free capacity, then queue,
//! then circuit pressure. The score is one plus the share of cores in use: a number of its own
//! scale that is never compared with milliseconds, and never zero, so that the penalty of a failed
//! datacenter bites on the best one too.

use super::candidate::DatacenterCandidate;
use super::scoring::{ScoringConfig, pessimistic_share, utilization};
use super::{Range, check_ranges};
use crate::error::ConfigError;

/// When predicted round trips are good enough to route by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BootstrapConfig {
    /// Samples that the gate's own coordinate must have taken; 0 to 1,000,000. (AD-36:
    /// `MIN_SAMPLES_FOR_ROUTING`.)
    pub samples_min: u32,
    /// The largest relative error of the gate's own coordinate; 0 to 10. (AD-36:
    /// `ERROR_MAX_FOR_ROUTING`.)
    pub error_max: f64,
}

impl Default for BootstrapConfig {
    fn default() -> BootstrapConfig {
        BootstrapConfig { samples_min: 10, error_max: 0.5 }
    }
}

/// Where the round trips of the candidates come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RttSource {
    /// The host measured them, or trusts them for a reason of its own.
    Measured,
    /// They are predicted from the gate's own coordinate.
    Predicted {
        /// Samples that the coordinate has taken.
        sample_count: u32,
        /// Its relative error.
        error: f64,
    },
}

impl BootstrapConfig {
    /// Says whether this can decide anything.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_ranges(&[
            Range("samples_min", f64::from(self.samples_min), 0.0, 1e6),
            Range("error_max", self.error_max, 0.0, 10.0),
        ])
    }

    /// Whether round trips from this source are good enough to route by.
    pub fn is_mature(&self, source: RttSource) -> bool {
        match source {
            RttSource::Measured => true,
            // Written so that an error that is no number is not small enough.
            RttSource::Predicted { sample_count, error } => {
                sample_count >= self.samples_min && error <= self.error_max
            }
        }
    }
}

/// What ranks a datacenter while round trips are unknown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapacityScore {
    /// One plus the share of cores in use, 1 to 2; lower is better.
    pub base: f64,
    /// Breaks ties: queue first, then circuit pressure, in steps of a millionth; below 2^40.
    pub tie_break: u64,
}

/// Ranks a datacenter by free capacity, then queue, then circuit pressure.
pub fn capacity_score(scoring: &ScoringConfig, candidate: &DatacenterCandidate) -> CapacityScore {
    let steps = |share: f64| (share * f64::from((1 << 20) - 1)) as u64;
    let queue = steps(scoring.queue_share(candidate.queue_depth));
    let circuit = steps(pessimistic_share(candidate.circuit_pressure));
    let base = 1.0 + utilization(candidate.available_cores, candidate.total_cores);
    CapacityScore { base, tie_break: queue << 20 | circuit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::DatacenterId;
    use crate::time::Instant;

    fn score(available_cores: u32, queue_depth: u32, circuit_pressure: f64) -> (f64, u64) {
        let datacenter = DatacenterId::from_index(0).unwrap();
        let candidate = DatacenterCandidate {
            available_cores,
            total_cores: 100,
            queue_depth,
            circuit_pressure,
            ..DatacenterCandidate::new(datacenter, Instant::ZERO)
        };
        let score = capacity_score(&ScoringConfig::default(), &candidate);
        (score.base, score.tie_break)
    }

    #[test]
    fn matures_with_samples_and_a_small_error() {
        let config = BootstrapConfig::default();
        let mature =
            |sample_count, error| config.is_mature(RttSource::Predicted { sample_count, error });
        assert!(mature(10, 0.5));
        assert!(!mature(9, 0.1));
        assert!(!mature(1_000, 0.51));
        assert!(!mature(1_000, f64::NAN));
        assert!(config.is_mature(RttSource::Measured));
    }

    #[test]
    fn capacity_first_then_queue_then_circuit() {
        assert!(score(80, 100, 1.0) < score(79, 0, 0.0));
        assert!(score(80, 1, 1.0) < score(80, 2, 0.0));
        assert!(score(80, 2, 0.1) < score(80, 2, 0.2));
        assert!(score(80, 2, f64::NAN) >= score(80, 2, 1.0));
        assert_eq!(score(100, 0, 0.0), (1.0, 0));
        assert!(score(0, u32::MAX, 1.0).1 < 1 << 40);
    }

    #[test]
    fn check_names_what_is_wrong() {
        BootstrapConfig::default().check().unwrap();
        let broken = BootstrapConfig { error_max: -1.0, ..BootstrapConfig::default() };
        assert_eq!(broken.check().unwrap_err().to_string(), "error_max is -1, expected 0 to 10");
    }
}
