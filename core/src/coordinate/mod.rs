//! Network coordinates: where nodes are in a latency space, so that a round trip can be predicted.
//!
//! Every node places itself by the round trips it measures (Vivaldi: Dabek, Cox, Kaashoek and
//! Morris, SIGCOMM 2004) and tells its coordinate with every probe and ack (AD-35). The prediction
//! for a pair is the Euclidean distance of their vectors, plus both heights, plus both adjustments.
//! A measured round trip, where there is a recent one, wins over the prediction.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | every constant, its range, and the two profiles |
//! | `vivaldi` | the node's own place and how samples move it |
//! | `springs` | the remembered samples that it relaxes against |
//! | `lanes` | eight peers at a time: the arithmetic that runs wide |
//! | [`table`] | what is known of every peer, by member slot |
//! | [`filter`] | one round trip out of several noisy ones |
//! | [`guard`] | what is believed of a peer, and how far |
//! | [`quality`] | upper bounds, trust and convergence |
//! | [`tracker`] | all of it behind one door |
//! | [`hyperscale`] | the arithmetic of the Python node, for comparison and mixed clusters |
//!
//! What the parts are worth, as medians over five seeds after 1,000 probes per node on measured
//! round trips: 490 PlanetLab hosts, 20 regions of one public cloud, 19 of another. Errors are
//! relative and judged over all pairs from coordinates alone; stretch is how much farther than the
//! nearest node the one predicted to be nearest is. (`cargo run --release -p shoal-simulator
//! --example accuracy`)
//!
//! | | median, 90th percentile, stretch | cloud one | cloud two |
//! |---|---|---|---|
//! | as it is | .043 .160 1.3 | .0038 .017 | .019 .123 |
//! | newest springs only (8) | .050 .180 2.7 | .0043 .020 | .023 .118 |
//! | springs without limit and cutoff | .054 .182 1.9 | .0047 .018 | .039 .120 |
//! | springs without cutoff | .045 .159 1.2 | .0040 .018 | .021 .126 |
//! | no adjustment below zero | .048 .179 2.1 | .0050 .023 | .046 .205 |
//! | inner coordinate published | .044 .166 1.4 | .0040 .020 | .020 .124 |
//! | Serf's algorithm | .069 .30 30 | .016 .10 | .054 .17 |
//! | as it is, a tenth of the nodes lie | .046 .168 1.5 | | |
//! | no limit, cutoff, distrust; a tenth lie | .104 .48 71 | | |
//!
//! Tried and left out, because predictions became no better or worse: limits in shares of the round
//! trip, a pull that gives way smoothly from the start, a step that shrinks to nothing, adjustments
//! from the first sample on, believing peers that claim to be surer than oneself, refusing peers
//! that jump (the limit already makes jumps harmless), neighbour sets beyond 128.
//!
//! Nothing here reads a clock or calls a library function on floats: state is computed with
//! `+ - * /` and square roots, which round the same way on every machine.

pub mod config;
pub mod filter;
pub mod guard;
pub mod hyperscale;
mod lanes;
pub mod quality;
mod springs;
pub mod table;
pub mod tracker;
mod vivaldi;

pub use config::{Profile, VivaldiConfig};
pub use guard::Refusal;
pub use quality::Rtt;
pub use tracker::{Metrics, Snapshot, Tracker};

/// Euclidean dimensions of a coordinate.
pub const DIMENSIONS: usize = 8;
/// The largest magnitude of one Euclidean component, of a height and of an adjustment, in seconds.
/// No two hosts on Earth are 10 s apart, so a coordinate beyond this is a mistake or a lie.
pub const COMPONENT_SECONDS_MAX: f64 = 10.0;
/// The longest round trip that is believed, in seconds.
pub const ROUND_TRIP_SECONDS_MAX: f64 = 10.0;
/// The largest relative error, which a node also starts with.
pub const ERROR_MAX: f64 = 1.5;
/// A prediction is never less than this share of the Euclidean distance, however far the
/// adjustments would shorten it: otherwise the pair whose adjustments happen to cancel its distance
/// would look like the nearest of all. All nodes must agree on it, so it is no setting.
pub const EUCLIDEAN_SHARE_MIN: f64 = 0.4;
/// The shortest prediction, in seconds.
pub const PREDICTION_SECONDS_MIN: f64 = 1e-6;

/// A place in the latency space. All fields are in seconds but `error`, which is relative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinate {
    /// The Euclidean part; each component within [`COMPONENT_SECONDS_MAX`] of zero.
    pub vector: [f64; DIMENSIONS],
    /// The access link, paid by every path; 0 to [`COMPONENT_SECONDS_MAX`].
    pub height: f64,
    /// A correction of every prediction from here, for a node whose paths are shorter than the
    /// space can show; within [`COMPONENT_SECONDS_MAX`] of zero, in the default profile never
    /// positive.
    pub adjustment: f64,
    /// How wrong predictions from here are, relative to the round trip; in (0, 1.5]. The profile
    /// `hyperscale` puts an absolute error in seconds here, in (0, 10].
    pub error: f64,
}

impl Coordinate {
    /// Takes a coordinate from a format that does not fix the number of dimensions.
    ///
    /// # Errors
    /// [`Refusal::Dimension`] for another number of dimensions than [`DIMENSIONS`].
    pub fn from_parts(
        vector: &[f64],
        height: f64,
        adjustment: f64,
        error: f64,
    ) -> Result<Coordinate, Refusal> {
        let vector = vector.try_into().map_err(|_| Refusal::Dimension)?;
        Ok(Coordinate { vector, height, adjustment, error })
    }

    /// Whether every field is finite and inside its range. Nothing else may enter a computation.
    pub fn is_valid(&self) -> bool {
        guard::is_coordinate_valid(self, ERROR_MAX)
    }

    /// The length of the difference of the vectors, in seconds.
    pub fn euclidean_distance(&self, other: &Coordinate) -> f64 {
        length(&std::array::from_fn(|d| self.vector[d] - other.vector[d]))
    }

    /// Height and adjustment together: what this end adds to every prediction, in seconds.
    pub fn offset(&self) -> f64 {
        self.height + self.adjustment
    }

    /// The predicted round trip, in seconds; never below [`PREDICTION_SECONDS_MIN`].
    pub fn distance(&self, other: &Coordinate) -> f64 {
        let euclidean = self.euclidean_distance(other);
        let adjusted = euclidean + (self.offset() + other.offset());
        greater(greater(adjusted, EUCLIDEAN_SHARE_MIN * euclidean), PREDICTION_SECONDS_MIN)
    }
}

/// The Euclidean length. Added up in pairs, which is exact enough and does not make each addition
/// wait for the one before.
fn length(vector: &[f64; DIMENSIONS]) -> f64 {
    let [a, b, c, d, e, f, g, h] = vector.map(|component| component * component);
    (((a + b) + (c + d)) + ((e + f) + (g + h))).sqrt()
}

/// The greater of two numbers that are not NaN: one instruction, where `f64::max` takes several.
#[inline(always)]
fn greater(left: f64, right: f64) -> f64 {
    if left > right { left } else { right }
}

/// The smaller of two numbers that are not NaN.
#[inline(always)]
fn smaller(left: f64, right: f64) -> f64 {
    if left < right { left } else { right }
}

#[cfg(test)]
mod tests;
