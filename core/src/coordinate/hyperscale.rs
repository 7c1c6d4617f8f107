//! The coordinate arithmetic of the Python node, operation for operation.
//!
//! It is here to be compared with, and for clusters in which Python nodes take part. Its weaknesses
//! are its own: the error is in seconds and never falls below 50 ms, every update shrinks the
//! vector by one per cent, and nodes that start at the same place spread along the first dimension
//! only. Nothing bounds a step, so peers' coordinates must have passed the [`guard`](super::guard).

use super::config::check_ranges;
use super::{Coordinate, DIMENSIONS};
use crate::error::ConfigError;

/// The largest error of this profile, in seconds.
pub const ERROR_SECONDS_MAX: f64 = 10.0;

/// The constants of the Python `VivaldiConfig`, with its names where they say enough.
#[derive(Clone, Debug, PartialEq)]
pub struct HyperscaleConfig {
    /// Share of the way to rest that one sample moves a node; 0 to 1.
    pub ce: f64,
    /// Share of one sample in the error; 0 to 1.
    pub error_decay: f64,
    /// Share of the vector that every sample takes away; 0 to 1.
    pub gravity: f64,
    /// Share of the mismatch that goes into the height; 0 to 1.
    pub height_adjustment: f64,
    /// Share of the mismatch that goes into the adjustment; 0 to 1.
    pub adjustment_smoothing: f64,
    /// The smallest error, in seconds; 0 to the largest.
    pub min_error: f64,
    /// The largest error, in seconds; up to [`ERROR_SECONDS_MAX`].
    pub max_error: f64,
    /// How many sigmas the upper bound lies above the estimate; 0 to 100.
    pub k_sigma: f64,
    /// The estimate for a peer without coordinate, in ms; 0 to 10,000,000.
    pub rtt_default_ms: f64,
    /// Its sigma, in ms; 0 to 10,000,000.
    pub sigma_default_ms: f64,
    /// The smallest sigma, in ms; 0 to the largest.
    pub sigma_min_ms: f64,
    /// The largest sigma, in ms; up to 10,000,000.
    pub sigma_max_ms: f64,
    /// The smallest upper bound, in ms; 0 to the largest.
    pub rtt_min_ms: f64,
    /// The largest upper bound, in ms; up to 10,000,000.
    pub rtt_max_ms: f64,
    /// Samples from which on their number no longer lowers the quality; 1 to 1,000,000.
    pub min_samples_for_routing: u32,
    /// The error up to which it does not lower the quality, in ms; 0 to 10,000,000.
    pub error_good_ms: f64,
    /// The age up to which it does not lower the quality, in seconds; 0 to 10,000,000.
    pub coord_ttl_seconds: f64,
    /// The error at which a node counts as converged, in seconds; 0 to [`ERROR_SECONDS_MAX`].
    pub convergence_error_threshold: f64,
    /// Samples it needs besides; 0 to 1,000,000.
    pub convergence_min_samples: u32,
}

impl Default for HyperscaleConfig {
    fn default() -> HyperscaleConfig {
        HyperscaleConfig {
            ce: 0.25,
            error_decay: 0.25,
            gravity: 0.01,
            height_adjustment: 0.25,
            adjustment_smoothing: 0.05,
            min_error: 0.05,
            max_error: 10.0,
            k_sigma: 2.0,
            rtt_default_ms: 100.0,
            sigma_default_ms: 50.0,
            sigma_min_ms: 1.0,
            sigma_max_ms: 500.0,
            rtt_min_ms: 1.0,
            rtt_max_ms: 10_000.0,
            min_samples_for_routing: 10,
            error_good_ms: 20.0,
            coord_ttl_seconds: 300.0,
            convergence_error_threshold: 0.5,
            convergence_min_samples: 10,
        }
    }
}

impl HyperscaleConfig {
    /// Says whether an engine can run with this.
    ///
    /// # Errors
    /// The first constant that is out of its range, with its name, value and range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let ms_max = 1e7;
        check_ranges(&[
            ("ce", self.ce, 0.0, 1.0),
            ("error_decay", self.error_decay, 0.0, 1.0),
            ("gravity", self.gravity, 0.0, 1.0),
            ("height_adjustment", self.height_adjustment, 0.0, 1.0),
            ("adjustment_smoothing", self.adjustment_smoothing, 0.0, 1.0),
            ("min_error", self.min_error, 0.0, self.max_error),
            ("max_error", self.max_error, f64::MIN_POSITIVE, ERROR_SECONDS_MAX),
            ("k_sigma", self.k_sigma, 0.0, 100.0),
            ("rtt_default_ms", self.rtt_default_ms, 0.0, ms_max),
            ("sigma_default_ms", self.sigma_default_ms, 0.0, ms_max),
            ("sigma_min_ms", self.sigma_min_ms, 0.0, self.sigma_max_ms),
            ("sigma_max_ms", self.sigma_max_ms, 0.0, ms_max),
            ("rtt_min_ms", self.rtt_min_ms, 0.0, self.rtt_max_ms),
            ("rtt_max_ms", self.rtt_max_ms, 0.0, ms_max),
            ("min_samples_for_routing", f64::from(self.min_samples_for_routing), 1.0, 1e6),
            ("error_good_ms", self.error_good_ms, 0.0, ms_max),
            ("coord_ttl_seconds", self.coord_ttl_seconds, 0.0, ms_max),
            (
                "convergence_error_threshold",
                self.convergence_error_threshold,
                0.0,
                ERROR_SECONDS_MAX,
            ),
            ("convergence_min_samples", f64::from(self.convergence_min_samples), 0.0, 1e6),
        ])
    }
}

impl HyperscaleConfig {
    /// The upper bound of the round trip between two places, in ms; for `None` that of an unknown
    /// peer.
    pub fn upper_ms(&self, own: &Coordinate, peer: Option<&Coordinate>) -> f64 {
        match peer {
            None => self.bound(self.rtt_default_ms, self.sigma_default_ms),
            Some(peer) => {
                self.upper_of(estimate_seconds(own, peer) * 1000.0, own.error + peer.error)
            }
        }
    }

    /// The upper bound of an estimate in ms when the errors of both ends have this sum, in seconds.
    fn upper_of(&self, estimate_ms: f64, error_sum: f64) -> f64 {
        let sigma_ms = (error_sum * 1000.0).clamp(self.sigma_min_ms, self.sigma_max_ms);
        self.bound(estimate_ms, sigma_ms)
    }

    fn bound(&self, estimate_ms: f64, sigma_ms: f64) -> f64 {
        (estimate_ms + self.k_sigma * sigma_ms).clamp(self.rtt_min_ms, self.rtt_max_ms)
    }
}

/// The Python node's coordinate engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Hyperscale {
    config: HyperscaleConfig,
    coordinate: Coordinate,
    sample_count: u64,
}

impl Hyperscale {
    /// A node at the origin with an error of one second.
    ///
    /// # Panics
    /// When the constants do not pass [`HyperscaleConfig::check`].
    pub fn new(config: HyperscaleConfig) -> Hyperscale {
        config.check().expect("the constants were checked by the caller");
        let coordinate =
            Coordinate { vector: [0.0; DIMENSIONS], height: 0.0, adjustment: 0.0, error: 1.0 };
        Hyperscale { config, coordinate, sample_count: 0 }
    }

    /// The node's coordinate.
    pub fn coordinate(&self) -> &Coordinate {
        &self.coordinate
    }

    /// How many samples moved it.
    pub fn sample_count(&self) -> u64 {
        self.sample_count
    }

    /// The constants in use.
    pub fn config(&self) -> &HyperscaleConfig {
        &self.config
    }

    /// Puts a known coordinate in place of the own one, as after a restart.
    pub fn set(&mut self, coordinate: Coordinate, sample_count: u64) {
        self.coordinate = coordinate;
        self.sample_count = sample_count;
    }

    /// Moves by one sample, the round trip in seconds. One that is not positive changes nothing.
    pub fn update(&mut self, peer: &Coordinate, round_trip: f64) {
        if round_trip.is_nan() || round_trip <= 0.0 {
            return;
        }
        let config = &self.config;
        let own = &mut self.coordinate;
        let mut direction = difference(own, peer);
        let length = euclidean(&direction);
        let mismatch = round_trip - with_ends(length, own, peer);
        if length > 0.0 {
            for component in &mut direction {
                *component /= length;
            }
        } else {
            direction[0] = 1.0;
        }

        let error_sum = own.error + peer.error;
        let weight = if error_sum > 0.0 { own.error / error_sum } else { 1.0 };
        let step = config.ce * weight;
        for (component, direction) in own.vector.iter_mut().zip(direction) {
            *component = (*component + step * mismatch * direction) * (1.0 - config.gravity);
        }
        own.height = (own.height + config.height_adjustment * step * mismatch).max(0.0);
        let adjustment = own.adjustment + config.adjustment_smoothing * mismatch;
        own.adjustment = adjustment.clamp(-1.0, 1.0);
        let error = own.error + config.error_decay * (mismatch.abs() - own.error);
        own.error = error.clamp(config.min_error, config.max_error);
        self.sample_count += 1;
    }

    /// The estimate for a peer, in ms.
    pub fn estimate_ms(&self, peer: &Coordinate) -> f64 {
        estimate_seconds(&self.coordinate, peer) * 1000.0
    }

    /// The upper bound for a peer, in ms; for `None` that of an unknown peer.
    pub fn upper_ms(&self, peer: Option<&Coordinate>) -> f64 {
        self.config.upper_ms(&self.coordinate, peer)
    }

    /// The upper bound of an estimate in ms for a peer with this error in seconds.
    pub(super) fn upper_of(&self, estimate_ms: f64, peer_error: f64) -> f64 {
        self.config.upper_of(estimate_ms, self.coordinate.error + peer_error)
    }

    /// How good a coordinate is, 0 to 1, from its samples, its error in seconds and its age in
    /// seconds.
    pub fn quality(&self, sample_count: u64, error: f64, age_seconds: f64) -> f64 {
        let config = &self.config;
        let wanted = f64::from(config.min_samples_for_routing);
        let samples = (sample_count as f64 / wanted).min(1.0);
        let error = (config.error_good_ms / (error * 1000.0).max(1.0)).min(1.0);
        let fresh = if age_seconds > config.coord_ttl_seconds {
            config.coord_ttl_seconds / age_seconds
        } else {
            1.0
        };
        (samples * error * fresh).clamp(0.0, 1.0)
    }

    /// Whether the coordinate has settled, by this profile's measure.
    pub fn is_converged(&self) -> bool {
        self.coordinate.error <= self.config.convergence_error_threshold
            && self.sample_count >= u64::from(self.config.convergence_min_samples)
    }
}

/// The predicted round trip in seconds.
pub fn estimate_seconds(own: &Coordinate, peer: &Coordinate) -> f64 {
    with_ends(euclidean(&difference(own, peer)), own, peer)
}

fn difference(own: &Coordinate, peer: &Coordinate) -> [f64; DIMENSIONS] {
    let mut difference = own.vector;
    for (component, peer) in difference.iter_mut().zip(peer.vector) {
        *component -= peer;
    }
    difference
}

fn with_ends(distance: f64, own: &Coordinate, peer: &Coordinate) -> f64 {
    let ends = own.height + peer.height + own.adjustment + peer.adjustment;
    (distance + ends).max(0.0)
}

fn euclidean(vector: &[f64; DIMENSIONS]) -> f64 {
    vector.iter().map(|component| component * component).sum::<f64>().sqrt()
}
