//! One node's place in the latency space, and the step that one measured round trip makes it take.
//!
//! Vivaldi with height vectors (SIGCOMM 2004, sections 3.4 and 5.4): a node is tied to its peer by a spring
//! whose rest length is the measured round trip, and moves a fraction of the way to where the
//! spring is at rest. The fraction follows the confidence of both nodes.

use super::{Coordinate, DIMENSIONS, ERROR_MAX};
use crate::error::ConfigError;
use crate::random::Random;

/// The constants of the coordinate system. Start from `default()` and change fields.
#[derive(Clone, Debug, PartialEq)]
pub struct VivaldiConfig {
    /// Share of the way to rest that one sample may move the node; 0.01 to 1. (Vivaldi: `c_c`.)
    pub step: f64,
    /// Share of one sample in the running relative error; 0.01 to 1. (Vivaldi: `c_e`.)
    pub error_gain: f64,
    /// The smallest relative error a node admits to; 0.001 to 0.5.
    pub error_min: f64,
    /// The smallest height, in seconds; 0 to 0.1.
    pub height_min_seconds: f64,
    /// The longest move that one sample can cause, in seconds; 0.0001 to 10.
    pub move_max_seconds: f64,
    /// How long a measured round trip is preferred to a prediction, in seconds; 1 to 1e6.
    pub measured_ttl_seconds: f64,
    /// How many sigmas the upper bound lies above the estimate; 0 to 10.
    pub sigma_count: f64,
}

impl Default for VivaldiConfig {
    fn default() -> VivaldiConfig {
        VivaldiConfig {
            step: 0.25,
            error_gain: 0.25,
            error_min: 0.01,
            height_min_seconds: 10e-6,
            move_max_seconds: 0.1,
            measured_ttl_seconds: 300.0,
            sigma_count: 2.0,
        }
    }
}

impl VivaldiConfig {
    /// Says whether a tracker can run with this.
    ///
    /// # Errors
    /// The first constant that is out of its range, with its name, value and range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let ranges = [
            ("step", self.step, 0.01, 1.0),
            ("error_gain", self.error_gain, 0.01, 1.0),
            ("error_min", self.error_min, 0.001, 0.5),
            ("height_min_seconds", self.height_min_seconds, 0.0, 0.1),
            ("move_max_seconds", self.move_max_seconds, 1e-4, 10.0),
            ("measured_ttl_seconds", self.measured_ttl_seconds, 1.0, 1e6),
            ("sigma_count", self.sigma_count, 0.0, 10.0),
        ];
        for (setting, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                return Err(ConfigError::OutOfRange { setting, value, min, max });
            }
        }
        Ok(())
    }
}

/// A direction of length one, drawn evenly enough: no component of a cube corner is favoured.
fn random_direction(random: &mut Random) -> [f64; DIMENSIONS] {
    loop {
        let vector: [f64; DIMENSIONS] = std::array::from_fn(|_| 2.0 * random.unit() - 1.0);
        let length = vector.iter().map(|component| component * component).sum::<f64>().sqrt();
        if (0.1..=1.0).contains(&length) {
            return vector.map(|component| component / length);
        }
    }
}

/// The node's own coordinate and how it moves.
#[derive(Clone, Debug)]
pub struct Vivaldi {
    config: VivaldiConfig,
    own: Coordinate,
    random: Random,
}

impl Vivaldi {
    /// A node that knows nothing yet: next to the origin, in a random direction, so that all
    /// dimensions come into use.
    pub fn new(config: VivaldiConfig, mut random: Random) -> Vivaldi {
        let vector = random_direction(&mut random).map(|component| component * 1e-4);
        let height = config.height_min_seconds;
        let own = Coordinate { vector, height, adjustment: 0.0, error: ERROR_MAX };
        Vivaldi { config, own, random }
    }

    /// The coordinate that peers are told.
    pub fn coordinate(&self) -> &Coordinate {
        &self.own
    }

    /// The constants in use.
    pub fn config(&self) -> &VivaldiConfig {
        &self.config
    }

    /// Moves by one sample: a valid coordinate of a peer and the round trip to it in seconds.
    pub fn update(&mut self, peer: &Coordinate, round_trip: f64) {
        debug_assert!(peer.is_valid() && round_trip > 0.0);
        let config = &self.config;
        let distance = self.own.raw_distance(peer);
        let mismatch = round_trip - distance;
        let relative = (mismatch.abs() / round_trip).min(ERROR_MAX);
        let weight = self.own.error / (self.own.error + peer.error);
        let gain = config.error_gain * weight;
        let error = relative * gain + self.own.error * (1.0 - gain);
        self.own.error = error.clamp(config.error_min, ERROR_MAX);

        let limit = config.move_max_seconds;
        let force = (config.step * weight * mismatch).clamp(-limit, limit);
        let euclidean = self.own.euclidean_distance(peer);
        let towards = if euclidean > 1e-9 {
            std::array::from_fn(|d| (self.own.vector[d] - peer.vector[d]) / distance)
        } else {
            random_direction(&mut self.random)
        };
        for (component, direction) in self.own.vector.iter_mut().zip(towards) {
            *component += force * direction;
        }
        let height = self.own.height + force * (self.own.height + peer.height) / distance;
        self.own.height = height.clamp(config.height_min_seconds, super::HEIGHT_SECONDS_MAX);
        assert!(self.own.is_valid(), "a bounded step between valid coordinates is valid");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_settle_at_their_round_trip() {
        let mut left = Vivaldi::new(VivaldiConfig::default(), Random::new(1));
        let mut right = Vivaldi::new(VivaldiConfig::default(), Random::new(2));
        for _ in 0..200 {
            left.update(&right.coordinate().clone(), 0.050);
            right.update(&left.coordinate().clone(), 0.050);
        }
        let distance = left.coordinate().distance(right.coordinate());
        assert!((distance - 0.050).abs() < 1e-4, "{distance}");
        assert!(left.coordinate().error < 0.05);
    }
}
