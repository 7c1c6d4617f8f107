//! Network coordinates (Vivaldi): where nodes are, so that a round trip can be predicted.

pub mod tracker;

pub use tracker::Tracker;

/// Euclidean dimensions of a coordinate.
pub const DIMENSIONS: usize = 8;

/// A place in the latency space. All fields are in seconds but `error`, which is relative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinate {
    /// The Euclidean part.
    pub vector: [f64; DIMENSIONS],
    /// The access link, paid by every path; at least zero.
    pub height: f64,
    /// A read-side correction of the prediction.
    pub adjustment: f64,
    /// How wrong predictions from here are, relative to the round trip; in (0, 1.5].
    pub error: f64,
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
