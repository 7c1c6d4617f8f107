//! How far an estimate can be trusted: upper bound, quality, convergence (AD-35).
//!
//! A prediction's sigma is the relative error of both ends times the prediction, in milliseconds:
//! 1 ms and 150 ms stay apart however uncertain both are. A measured round trip has the sigma of its own
//! samples. Quality is a product of three factors, one each for the number of samples, for the
//! error and for the age, so that any of them alone can spoil it.

use super::config::VivaldiConfig;
use crate::time::Duration;

/// What is known about the round trip to a peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rtt {
    /// The best estimate, in milliseconds.
    pub ms: f64,
    /// A bound that the round trip rarely exceeds, in milliseconds.
    pub upper_ms: f64,
    /// How much to trust it, from 0 (a guess) to 1 (measured, fresh, consistent).
    pub quality: f64,
}

/// The smallest sigma of a measured round trip, as a share of it: samples that agree today may
/// differ by this much tomorrow.
const MEASURED_SHARE_MIN: f64 = 0.05;
/// The same in milliseconds, for round trips so short that the hosts' own jitter decides.
const MEASURED_MS_MIN: f64 = 0.05;
/// Measured samples after which their number no longer lowers the quality.
const MEASURED_GOOD: f64 = 3.0;

/// What a measurement says: the median of a peer's samples and their deviation, in seconds, their
/// number, and the age of the newest.
pub(super) fn measured(
    config: &VivaldiConfig,
    median: f64,
    deviation: f64,
    count: u8,
    age: Duration,
) -> Rtt {
    let ms = median * 1e3;
    let sigma_ms = (deviation * 1e3).max(ms * MEASURED_SHARE_MIN).max(MEASURED_MS_MIN);
    let samples = (f64::from(count) / MEASURED_GOOD).min(1.0);
    let error = error_factor(config, deviation / median);
    // One measurement is worth more than any number of predictions.
    let samples = 0.5 + 0.5 * samples;
    let quality = samples * error.max(0.5) * age_factor(config, age);
    Rtt { ms, upper_ms: ms + config.sigma_count * sigma_ms, quality }
}

/// What a prediction in seconds says, between two ends with these relative errors, after so many samples
/// of this node's, from a coordinate of this age.
pub(super) fn predicted(
    config: &VivaldiConfig,
    seconds: f64,
    own_error: f64,
    peer_error: f64,
    sigma: f64,
    sample_count: u64,
    age: Duration,
) -> Rtt {
    let ms = seconds * 1e3;
    let error = own_error.max(peer_error);
    let upper_ms = ms * (1.0 + sigma * (own_error + peer_error)) + MEASURED_MS_MIN;
    let quality = samples_factor(config, sample_count)
        * error_factor(config, error)
        * age_factor(config, age)
        // However good, it is no measurement.
        * 0.75;
    Rtt { ms, upper_ms, quality }
}

/// How much the number of samples is worth, 0 to 1.
pub(super) fn samples_factor(config: &VivaldiConfig, sample_count: u64) -> f64 {
    (sample_count as f64 / f64::from(config.samples_good)).min(1.0)
}

/// How much a relative error is worth, 0 to 1.
pub(super) fn error_factor(config: &VivaldiConfig, error: f64) -> f64 {
    config.error_good / error.max(config.error_good)
}

/// How much an age is worth, 0 to 1.
pub(super) fn age_factor(config: &VivaldiConfig, age: Duration) -> f64 {
    let good = f64::from(config.age_seconds_good);
    // Whole seconds are exact enough and cost no division of nanoseconds.
    good / (age.as_secs() as f64).max(good)
}

/// Whether a node with this relative error and so many samples has settled.
pub(super) fn is_converged(config: &VivaldiConfig, error: f64, sample_count: u64) -> bool {
    error <= config.convergence_error && sample_count >= u64::from(config.convergence_samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Duration = Duration::ZERO;

    #[test]
    fn near_and_far_stay_apart_however_uncertain() {
        let config = VivaldiConfig::default();
        let near = predicted(&config, 0.001, 1.0, 1.0, 2.0, 100, FRESH);
        let far = predicted(&config, 0.150, 1.0, 1.0, 2.0, 100, FRESH);
        assert!(near.upper_ms < 10.0 && far.upper_ms > 150.0, "{near:?} {far:?}");
    }

    #[test]
    fn each_factor_alone_lowers_the_quality() {
        let config = VivaldiConfig::default();
        let quality =
            |error, count, age| predicted(&config, 0.05, error, error, 2.0, count, age).quality;
        let best = quality(0.1, 100, FRESH);
        assert_eq!(best, 0.75);
        assert!(quality(0.8, 100, FRESH) < best / 3.0);
        assert!(quality(0.1, 2, FRESH) < best / 3.0);
        assert!(quality(0.1, 100, Duration::from_secs(3_000)) < best / 3.0);
        assert_eq!(quality(0.1, 0, FRESH), 0.0);
    }

    #[test]
    fn a_measurement_is_better_than_any_prediction() {
        let config = VivaldiConfig::default();
        let steady = measured(&config, 0.040, 0.0, 3, FRESH);
        assert_eq!(steady.quality, 1.0);
        assert!((steady.ms - 40.0).abs() < 1e-9);
        assert!((steady.upper_ms - 44.0).abs() < 1e-9);
        let noisy = measured(&config, 0.040, 0.020, 3, FRESH);
        assert!(noisy.upper_ms > 79.0 && noisy.quality < steady.quality);
        assert!(measured(&config, 0.040, 0.0, 1, FRESH).quality < steady.quality);
    }
}
