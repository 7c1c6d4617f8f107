//! What is believed of a peer, and how far.
//!
//! Four fences, from the outside in. Each holds alone:
//!
//! 1. *Range.* Fields that are not finite or outside their range are refused, as are round trips
//!    that no network has, samples that come too fast and samples from before the last one.
//! 2. *Limit.* A spring pulls with at most a fraction of the node's usual mismatch, so one datagram
//!    moves the coordinate by no more than [`VivaldiConfig::sample_move_max`] and a minority of
//!    liars shifts a median, not a mean.
//! 3. *Giving way.* A spring far beyond its limit pulls ever less: a blatant lie is worth less than
//!    a small one.
//! 4. *Contradiction.* Seibert and others (Newton, ICDCS 2012) check coordinates
//!    against the laws of motion: between two nodes that are at rest no force remains. A peer whose
//!    coordinate contradicts the round trips to it again and again, by far more than this node's
//!    springs usually do, is no longer listened to, until it has been consistent for as long.

use super::config::VivaldiConfig;
use super::{COMPONENT_SECONDS_MAX, Coordinate, ROUND_TRIP_SECONDS_MAX, greater};
use crate::time::Duration;

/// Why a coordinate or a round trip of a peer was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Refusal {
    /// A field is not finite or outside its range. Nothing was taken.
    Coordinate,
    /// The number of dimensions is not [`DIMENSIONS`](super::DIMENSIONS). Nothing was taken.
    Dimension,
    /// The round trip is zero or longer than any network's. Nothing was taken.
    RoundTrip,
    /// The sample is older than the peer's last. Nothing was taken.
    Time,
    /// The peer's last sample was taken too short a time ago. Nothing was taken.
    Rate,
    /// The peer's coordinates have contradicted their round trips or each other too often. The
    /// round trip was taken, the coordinate did not move this node.
    Contradiction,
}

impl Refusal {
    /// Every reason, in declaration order.
    pub const ALL: [Refusal; 6] = [
        Refusal::Coordinate,
        Refusal::Dimension,
        Refusal::RoundTrip,
        Refusal::Time,
        Refusal::Rate,
        Refusal::Contradiction,
    ];

    /// The name in snake case, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Coordinate => "coordinate",
            Refusal::Dimension => "dimension",
            Refusal::RoundTrip => "round_trip",
            Refusal::Time => "time",
            Refusal::Rate => "rate",
            Refusal::Contradiction => "contradiction",
        }
    }
}

/// Whether every field is finite and inside its range.
pub(super) fn is_coordinate_valid(coordinate: &Coordinate, error_max: f64) -> bool {
    // A NaN is in no range, so each comparison is written the way that refuses it. All are made,
    // without branches: a valid coordinate is the usual case.
    let limit = COMPONENT_SECONDS_MAX;
    let mut valid = true;
    for component in coordinate.vector {
        valid &= component.abs() <= limit;
    }
    valid
        & (coordinate.height >= 0.0)
        & (coordinate.height <= limit)
        & (coordinate.adjustment.abs() <= limit)
        & (coordinate.error > 0.0)
        & (coordinate.error <= error_max)
}

/// The round trip in seconds, if a network can have it.
pub(super) fn round_trip_seconds(round_trip: Duration) -> Result<f64, Refusal> {
    let seconds = round_trip.as_secs() as f64 + f64::from(round_trip.subsec_nanos()) * 1e-9;
    if seconds <= 0.0 || seconds > ROUND_TRIP_SECONDS_MAX {
        return Err(Refusal::RoundTrip);
    }
    Ok(seconds)
}

impl VivaldiConfig {
    /// The farthest that one sample moves a settled node, in seconds: its vector by no more than
    /// this, and its height by no more than this, so that no estimate changes by more than twice as
    /// much. `mismatch_seconds` and `round_trip_seconds` are the node's usual ones, as a
    /// [`Snapshot`](super::Snapshot) has them.
    ///
    /// A new node moves by up to `2 x gain_start x limit_seconds_max`.
    pub fn sample_move_max(&self, mismatch_seconds: f64, round_trip_seconds: f64) -> f64 {
        self.gain
            * (self.limit_factor * limit_scale(mismatch_seconds, round_trip_seconds))
                .min(self.limit_seconds_max)
    }
}

/// The usual mismatch counts as at least this share of the usual round trip. A small network fits
/// perfectly, and must not take the next change of a path for a lie.
const SCALE_SHARE_MIN: f64 = 0.01;

/// The usual mismatch as limits see it, in seconds.
pub(super) fn limit_scale(mismatch_seconds: f64, round_trip_seconds: f64) -> f64 {
    greater(mismatch_seconds, SCALE_SHARE_MIN * round_trip_seconds)
}

/// How often a peer has contradicted itself lately: up with each contradiction, down with each
/// sample that fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Distrust(u8);

impl Distrust {
    pub(super) const NONE: Distrust = Distrust(0);

    /// Counts one sample. The count stops at twice the threshold, so that a peer that became honest
    /// is heard again after as many honest samples.
    pub(super) fn count(&mut self, contradicts: bool, threshold: u8) {
        self.0 = if contradicts {
            (self.0 + 1).min(2 * threshold.min(100))
        } else {
            self.0.saturating_sub(1)
        };
    }

    /// Whether the peer is listened to.
    pub(super) fn is_trusted(self, threshold: u8) -> bool {
        self.0 < threshold
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DIMENSIONS, ERROR_MAX};
    use super::*;

    const VALID: Coordinate =
        Coordinate { vector: [0.01; DIMENSIONS], height: 0.001, adjustment: 0.0, error: 0.2 };

    fn is_valid(coordinate: &Coordinate) -> bool {
        is_coordinate_valid(coordinate, ERROR_MAX)
    }

    #[test]
    fn every_field_has_a_range() {
        assert!(is_valid(&VALID));
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 10.1, -10.1] {
            for dimension in 0..DIMENSIONS {
                let mut broken = VALID;
                broken.vector[dimension] = value;
                assert!(!is_valid(&broken));
            }
            assert!(!is_valid(&Coordinate { height: value, ..VALID }));
            assert!(!is_valid(&Coordinate { adjustment: value, ..VALID }));
            assert!(!is_valid(&Coordinate { error: value, ..VALID }));
        }
        assert!(!is_valid(&Coordinate { height: -1e-9, ..VALID }));
        assert!(!is_valid(&Coordinate { error: 0.0, ..VALID }));
        assert!(!is_valid(&Coordinate { error: 1.6, ..VALID }));
        assert!(is_coordinate_valid(&Coordinate { error: 1.6, ..VALID }, 10.0));
    }

    #[test]
    fn round_trips_have_a_range() {
        let refused = Err(Refusal::RoundTrip);
        assert_eq!(round_trip_seconds(Duration::ZERO), refused);
        assert_eq!(round_trip_seconds(Duration::from_millis(10_001)), refused);
        assert_eq!(round_trip_seconds(Duration::MAX), refused);
        assert!((round_trip_seconds(Duration::from_millis(250)).unwrap() - 0.25).abs() < 1e-15);
    }

    #[test]
    fn distrust_rises_and_falls() {
        let mut distrust = Distrust::default();
        for _ in 0..4 {
            assert!(distrust.is_trusted(4));
            distrust.count(true, 4);
        }
        assert!(!distrust.is_trusted(4));
        for _ in 0..100 {
            distrust.count(true, 4);
        }
        for _ in 0..4 {
            assert!(!distrust.is_trusted(4));
            distrust.count(false, 4);
        }
        distrust.count(false, 4);
        assert!(distrust.is_trusted(4));
    }
}
