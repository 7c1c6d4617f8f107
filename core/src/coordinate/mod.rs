//! Network coordinates: where nodes are in a latency space, so that a round trip can be predicted.
//!
//! Every node places itself by the round trips it measures (Vivaldi: Dabek, Cox, Kaashoek and Morris,
//! SIGCOMM 2004) and tells its coordinate with every probe and ack (AD-35). The prediction for a pair is the
//! Euclidean distance of their vectors plus both heights, corrected by both adjustments. A measured
//! round trip, where there is a recent one, wins over the prediction.
//!
//! Nothing here reads a clock or calls a library function on floats: state is computed with
//! `+ - * /` and square roots, which round the same way on every machine.

pub mod tracker;
pub mod vivaldi;

pub use tracker::Tracker;
pub use vivaldi::VivaldiConfig;

/// Euclidean dimensions of a coordinate.
pub const DIMENSIONS: usize = 8;
/// The longest round trip that is believed, in seconds.
pub const ROUND_TRIP_SECONDS_MAX: f64 = 10.0;
/// The largest magnitude of one Euclidean component that is believed, in seconds.
pub const COMPONENT_SECONDS_MAX: f64 = 10.0;
/// The largest magnitude of a height or an adjustment that is believed, in seconds.
pub const HEIGHT_SECONDS_MAX: f64 = 10.0;
/// The largest relative error, which a node also starts with.
pub const ERROR_MAX: f64 = 1.5;

/// A place in the latency space. All fields are in seconds but `error`, which is relative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinate {
    /// The Euclidean part; each component within [`COMPONENT_SECONDS_MAX`] of zero.
    pub vector: [f64; DIMENSIONS],
    /// The access link, paid by every path; 0 to [`HEIGHT_SECONDS_MAX`].
    pub height: f64,
    /// A read-side correction of the prediction; within [`HEIGHT_SECONDS_MAX`] of zero.
    pub adjustment: f64,
    /// How wrong predictions from here are, relative to the round trip; in (0, 1.5].
    pub error: f64,
}

impl Coordinate {
    /// Whether every field is finite and inside its range. Nothing else may enter a computation.
    pub fn is_valid(&self) -> bool {
        // A NaN is in no range, so each comparison is written the way that refuses it.
        let inside = |value: f64, limit: f64| (-limit..=limit).contains(&value);
        self.vector.iter().all(|&component| inside(component, COMPONENT_SECONDS_MAX))
            && (0.0..=HEIGHT_SECONDS_MAX).contains(&self.height)
            && inside(self.adjustment, HEIGHT_SECONDS_MAX)
            && self.error > 0.0
            && self.error <= ERROR_MAX
    }

    /// The Euclidean distance plus both heights, in seconds.
    pub fn raw_distance(&self, other: &Coordinate) -> f64 {
        self.euclidean_distance(other) + self.height + other.height
    }

    /// The predicted round trip, in seconds. The adjustments count only while they leave it positive.
    pub fn distance(&self, other: &Coordinate) -> f64 {
        let raw = self.raw_distance(other);
        let adjusted = raw + self.adjustment + other.adjustment;
        if adjusted > 0.0 { adjusted } else { raw }
    }

    /// The length of the difference of the vectors, in seconds.
    pub fn euclidean_distance(&self, other: &Coordinate) -> f64 {
        let mut sum = 0.0;
        for (own, peer) in self.vector.iter().zip(&other.vector) {
            sum += (own - peer) * (own - peer);
        }
        sum.sqrt()
    }
}

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

/// Why a coordinate or a round trip of a peer was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A field is not finite or outside its range.
    Coordinate,
    /// The round trip is zero, negative or longer than any network's.
    RoundTrip,
}
