//! How far an estimate can be trusted: upper bound, quality, convergence (AD-35).
//!
//! A prediction's sigma is the relative error of both ends times the prediction, in milliseconds: 1
//! ms and 150 ms stay apart however uncertain both are. A measured round trip has the sigma of its
//! own samples. Quality is a product of three factors, one each for the number of samples, for the
//! error and for the age, so that any of them alone can spoil it.

use super::config::VivaldiConfig;
use super::{Coordinate, greater};
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
/// The quality of a prediction at its best: it is no measurement.
const PREDICTED_QUALITY_MAX: f64 = 0.75;
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

/// A prediction and what bears on its worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prediction {
    pub seconds: f64,
    /// The relative errors of both ends.
    pub own_error: f64,
    pub peer_error: f64,
    /// How many sigmas the upper bound lies above it.
    pub sigma_count: f64,
    /// Samples that this node has taken.
    pub sample_count: u64,
    /// How long ago the peer's coordinate was heard.
    pub age: Duration,
    /// Whether the peer's coordinate has proved consistent.
    pub is_trusted: bool,
}

/// What a prediction says.
pub(super) fn predicted(config: &VivaldiConfig, prediction: &Prediction) -> Rtt {
    let ms = prediction.seconds * 1e3;
    let error_sum = prediction.own_error + prediction.peer_error;
    let upper_ms = ms + prediction.sigma_count * greater(ms * error_sum, MEASURED_MS_MIN);
    let error = greater(prediction.own_error, prediction.peer_error);
    let quality = samples_factor(config, prediction.sample_count)
        * error_factor(config, error)
        * age_factor(config, prediction.age)
        * if prediction.is_trusted { PREDICTED_QUALITY_MAX } else { 0.0 };
    Rtt { ms, upper_ms, quality }
}

/// What two nodes' coordinates say about the round trip between them, to a third that knows both. It
/// takes them as fresh, settled and honest, which the third cannot check.
pub fn between_peers(near: &Coordinate, far: &Coordinate) -> Rtt {
    let config = VivaldiConfig::default();
    let prediction = Prediction {
        seconds: near.distance(far),
        own_error: near.error,
        peer_error: far.error,
        sigma_count: config.sigma_count,
        sample_count: u64::from(config.samples_good),
        age: Duration::ZERO,
        is_trusted: true,
    };
    predicted(&config, &prediction)
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

    const GOOD: Prediction = Prediction {
        seconds: 0.050,
        own_error: 0.1,
        peer_error: 0.1,
        sigma_count: 2.0,
        sample_count: 100,
        age: FRESH,
        is_trusted: true,
    };

    #[test]
    fn near_and_far_stay_apart_however_uncertain() {
        let config = VivaldiConfig::default();
        let upper_ms = |seconds| {
            let guess = Prediction { seconds, own_error: 1.0, peer_error: 1.0, ..GOOD };
            predicted(&config, &guess).upper_ms
        };
        assert!(upper_ms(0.001) < 10.0 && upper_ms(0.150) > 150.0);
    }

    #[test]
    fn a_third_node_sees_both_ends_errors() {
        let at = |x: f64, error| {
            let mut vector = [0.0; super::super::DIMENSIONS];
            vector[0] = x;
            Coordinate { vector, height: 0.001, adjustment: 0.0, error }
        };
        let rtt = between_peers(&at(0.0, 0.1), &at(0.048, 0.2));
        assert!((rtt.ms - 50.0).abs() < 1e-9);
        assert!((rtt.upper_ms - (50.0 + 2.0 * 50.0 * 0.3)).abs() < 1e-9);
        assert!(rtt.quality > 0.0 && rtt.quality <= PREDICTED_QUALITY_MAX);
    }

    #[test]
    fn each_factor_alone_lowers_the_quality() {
        let config = VivaldiConfig::default();
        let quality = |prediction| predicted(&config, &prediction).quality;
        let best = quality(GOOD);
        assert_eq!(best, 0.75);
        assert!(quality(Prediction { own_error: 0.8, ..GOOD }) < best / 3.0);
        assert!(quality(Prediction { peer_error: 0.8, ..GOOD }) < best / 3.0);
        assert!(quality(Prediction { sample_count: 2, ..GOOD }) < best / 3.0);
        assert!(quality(Prediction { age: Duration::from_secs(3_000), ..GOOD }) < best / 3.0);
        assert_eq!(quality(Prediction { sample_count: 0, ..GOOD }), 0.0);
        assert_eq!(quality(Prediction { is_trusted: false, ..GOOD }), 0.0);
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
