//! Every constant of the coordinate system, with its meaning, unit, range and source.
//!
//! The defaults were chosen on measured matrices (PlanetLab, two public clouds) and on generated
//! ones, all with one set of values: none of them knows how large the network is, because limits
//! and weights follow what the node itself measures.

use super::hyperscale::HyperscaleConfig;
use crate::error::ConfigError;
use crate::time::Duration;

/// Whose arithmetic moves the coordinate. All nodes of a cluster must use the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Profile {
    /// Bounded springs over a remembered neighbour set; the error is relative.
    #[default]
    Native,
    /// What the Python node computes, for comparison and for clusters that contain such nodes; the
    /// error is in seconds.
    Hyperscale(HyperscaleConfig),
}

/// The constants of the coordinate system. Start from `default()` and change fields.
#[derive(Clone, Debug, PartialEq)]
pub struct VivaldiConfig {
    /// Whose arithmetic moves the coordinate.
    pub profile: Profile,

    /// Share of the way to rest that one relaxation goes while the node is new; `gain` to 1.
    /// (Vivaldi: the adaptive timestep delta, section 3.4.)
    pub gain_start: f64,
    /// The same once it has settled; 0.01 to 1. (Vivaldi: `c_c`.)
    pub gain: f64,
    /// Share of its heat that the node loses with each sample, on the way from `gain_start` to
    /// `gain`; 0.001 to 1.
    pub cooling: f64,
    /// Share of one sample in the running averages of error and scale; 0.005 to 1. (Vivaldi:
    /// `c_e`.)
    pub error_gain: f64,
    /// The smallest relative error a node admits to; 0.001 to 0.5.
    pub error_min: f64,
    /// The most one spring pulls, as a multiple of the node's usual mismatch; 0.1 to 10. A spring
    /// beyond it pulls no harder, which makes the node rest at a median rather than at a mean.
    pub limit_factor: f64,
    /// The most one spring pulls in any case, in seconds; 0.0001 to 1. Bounds what the first
    /// datagrams do to a new node.
    pub limit_seconds_max: f64,
    /// The mismatch at which a spring gives way, as a multiple of its limit; 1 to 100. Its pull
    /// then falls with the square of the mismatch.
    pub cutoff_factor: f64,
    /// How many springs are remembered, a multiple of 8; 8 to 4,096. When full the oldest makes
    /// room.
    pub spring_capacity: u32,
    /// The smallest height, in seconds; 0 to 0.1.
    pub height_seconds_min: f64,
    /// How far an adjustment may go below zero, as a share of the typical round trip; 0 to 1.
    pub adjustment_share_max: f64,
    /// Samples before adjustments begin to go below zero; 0 to 1,000,000. They reach their full
    /// range after five times as many.
    pub adjustment_after: u32,
    /// The distance from the origin, in seconds, at which gravity pulls by that same distance; 1 to
    /// 100,000. Keeps the whole space from drifting. (Serf: `GravityRho`.)
    pub gravity_radius_seconds: f64,
    /// Share of the way that the published coordinate follows the inner one with each sample, once
    /// settled; 0.01 to 1.
    pub publish_share: f64,

    /// Samples of one peer that follow each other faster than this are refused, in ms; 0 to 60,000.
    pub sample_interval_ms_min: u32,
    /// Contradictions after which a peer's coordinate is no longer used; 1 to 100.
    pub distrust_after: u8,
    /// How long a measured round trip is preferred to a prediction, in seconds; 1 to 10,000,000.
    pub measured_seconds_max: u32,
    /// How long a coordinate is used after it was last heard, in seconds; 1 to 10,000,000. (AD-35.)
    pub coordinate_seconds_max: u32,

    /// How many sigmas the upper bound of a measured round trip lies above it; 0.5 to 10. (AD-35:
    /// k.) That of predictions begins here too and adapts until it holds for 97 samples of 100.
    pub sigma_count: f64,
    /// Samples from which on their number no longer lowers the quality; 1 to 1,000. (AD-35.)
    pub samples_good: u32,
    /// The relative error up to which it does not lower the quality; 0.01 to 1.5. (AD-35.)
    pub error_good: f64,
    /// The age in seconds up to which it does not lower the quality; 1 to 10,000,000. (AD-35.)
    pub age_seconds_good: u32,
    /// The relative error at which a node counts as converged; 0.01 to 1.5. (AD-35.)
    pub convergence_error: f64,
    /// Samples it needs besides; 0 to 1,000,000. (AD-35.)
    pub convergence_samples: u32,
}

impl Default for VivaldiConfig {
    fn default() -> VivaldiConfig {
        VivaldiConfig {
            profile: Profile::Native,
            gain_start: 0.75,
            gain: 0.6,
            cooling: 0.02,
            error_gain: 0.05,
            error_min: 0.01,
            limit_factor: 0.7,
            limit_seconds_max: 0.2,
            cutoff_factor: 5.0,
            spring_capacity: 128,
            height_seconds_min: 1e-6,
            adjustment_share_max: 0.2,
            adjustment_after: 100,
            gravity_radius_seconds: 100.0,
            publish_share: 0.2,
            sample_interval_ms_min: 20,
            distrust_after: 4,
            measured_seconds_max: 3_600,
            coordinate_seconds_max: 3_600,
            sigma_count: 2.0,
            samples_good: 10,
            error_good: 0.2,
            age_seconds_good: 300,
            convergence_error: 0.3,
            convergence_samples: 10,
        }
    }
}

impl VivaldiConfig {
    /// The Python node's arithmetic with the Python node's constants.
    pub fn hyperscale() -> VivaldiConfig {
        let profile = Profile::Hyperscale(HyperscaleConfig::default());
        VivaldiConfig { profile, ..VivaldiConfig::default() }
    }

    /// Says whether a tracker can run with this.
    ///
    /// # Errors
    /// The first constant that is out of its range, with its name, value and range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Profile::Hyperscale(config) = &self.profile {
            config.check()?;
        }
        let count = f64::from;
        // A capacity that is no multiple of the block size would leave lanes that never fill.
        let capacity = count(self.spring_capacity);
        let capacity_max = if self.spring_capacity.is_multiple_of(8) { 4_096.0 } else { f64::NAN };
        check_ranges(&[
            ("gain", self.gain, 0.01, 1.0),
            ("gain_start", self.gain_start, self.gain, 1.0),
            ("cooling", self.cooling, 0.001, 1.0),
            ("error_gain", self.error_gain, 0.005, 1.0),
            ("error_min", self.error_min, 0.001, 0.5),
            ("limit_factor", self.limit_factor, 0.1, 10.0),
            ("limit_seconds_max", self.limit_seconds_max, 1e-4, 1.0),
            ("cutoff_factor", self.cutoff_factor, 1.0, 100.0),
            ("spring_capacity", capacity, 8.0, capacity_max),
            ("height_seconds_min", self.height_seconds_min, 0.0, 0.1),
            ("adjustment_share_max", self.adjustment_share_max, 0.0, 1.0),
            ("adjustment_after", count(self.adjustment_after), 0.0, 1e6),
            ("gravity_radius_seconds", self.gravity_radius_seconds, 1.0, 1e5),
            ("publish_share", self.publish_share, 0.01, 1.0),
            ("sample_interval_ms_min", count(self.sample_interval_ms_min), 0.0, 60_000.0),
            ("distrust_after", f64::from(self.distrust_after), 1.0, 100.0),
            ("measured_seconds_max", count(self.measured_seconds_max), 1.0, 1e7),
            ("coordinate_seconds_max", count(self.coordinate_seconds_max), 1.0, 1e7),
            ("sigma_count", self.sigma_count, 0.5, 10.0),
            ("samples_good", count(self.samples_good), 1.0, 1_000.0),
            ("error_good", self.error_good, 0.01, 1.5),
            ("age_seconds_good", count(self.age_seconds_good), 1.0, 1e7),
            ("convergence_error", self.convergence_error, 0.01, 1.5),
            ("convergence_samples", count(self.convergence_samples), 0.0, 1e6),
        ])
    }

    /// [`VivaldiConfig::measured_seconds_max`] as a duration.
    pub fn measured_age_max(&self) -> Duration {
        Duration::from_secs(u64::from(self.measured_seconds_max))
    }

    /// [`VivaldiConfig::coordinate_seconds_max`] as a duration.
    pub fn coordinate_age_max(&self) -> Duration {
        Duration::from_secs(u64::from(self.coordinate_seconds_max))
    }
}

/// Finds the first setting, given as name, value, smallest and largest, that is out of its range.
pub(super) fn check_ranges(ranges: &[(&'static str, f64, f64, f64)]) -> Result<(), ConfigError> {
    for &(setting, value, min, max) in ranges {
        // A NaN is in no range, so the comparison is written the way that refuses it.
        if !(min..=max).contains(&value) {
            return Err(ConfigError::OutOfRange { setting, value, min, max });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass() {
        VivaldiConfig::default().check().unwrap();
        VivaldiConfig::hyperscale().check().unwrap();
    }

    #[test]
    fn refuses_what_is_out_of_range() {
        let refused = |change: fn(&mut VivaldiConfig)| {
            let mut config = VivaldiConfig::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert_eq!(refused(|c| c.gain = 3.0), "gain is 3, expected 0.01 to 1");
        assert!(refused(|c| c.gain = f64::NAN).starts_with("gain is NaN"));
        assert!(refused(|c| c.gain_start = 0.1).starts_with("gain_start is 0.1"));
        assert!(refused(|c| c.spring_capacity = 12).starts_with("spring_capacity is 12"));
        assert!(refused(|c| c.spring_capacity = 8_192).starts_with("spring_capacity is 8192"));
        assert!(refused(|c| c.measured_seconds_max = 0).starts_with("measured_seconds_max is 0"));
    }
}
