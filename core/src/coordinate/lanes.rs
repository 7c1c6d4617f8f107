//! Eight peers at a time.
//!
//! The two loops that touch many peers, prediction over the whole [`table`](super::table) and
//! relaxation against the [`springs`](super::springs), work on blocks of eight `f32`, one per
//! peer. The bodies are plain Rust over arrays and are compiled twice: for any processor, and for those
//! with AVX2, where one instruction serves a whole row. Both do the same operations in the same
//! order, and nothing is fused, so their results are equal to the last bit.
//!
//! This is the only file of the module with `unsafe`: calling code built for AVX2 is sound only
//! where the processor has it, which [`Width::detect`] finds out.
#![allow(unsafe_code)]

use super::DIMENSIONS;
use std::ops::{Add, Div, Mul, Sub};

/// How many peers one block holds.
pub(crate) const LANE_COUNT: usize = 8;

/// One `f32` of each of eight peers.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(32))]
pub(crate) struct Lanes(pub [f32; LANE_COUNT]);

/// The vector of eight peers, one row per dimension, and what their ends add to a prediction.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(crate) struct Block {
    pub vector: [Lanes; DIMENSIONS],
    /// Height plus adjustment.
    pub offset: Lanes,
}

/// The end that predictions start from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub vector: [f32; DIMENSIONS],
    pub offset: f32,
    /// The least share of the Euclidean distance, and the least prediction in seconds.
    pub euclidean_share: f32,
    pub minimum: f32,
}

/// Eight springs: where their far ends are, how long they are at rest, and how much they count.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(crate) struct SpringBlock {
    pub peers: Block,
    /// The measured round trips in seconds.
    pub rest: Lanes,
    /// One over the square root of the round trip, zero for a spring that does not count.
    pub stiffness: Lanes,
    /// The peers' relative errors.
    pub error: Lanes,
}

/// How one relaxation treats its springs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pull {
    /// The own relative error.
    pub error: f32,
    /// Turns `stiffness` into a weight: the square root of the typical round trip.
    pub stiffness_scale: f32,
    /// Share of the weight that is the same for all springs.
    pub evenness: f32,
    /// The most that one spring pulls, in seconds of mismatch.
    pub limit: f32,
    /// The mismatch in seconds from which on a spring gives way.
    pub cutoff: f32,
}

/// What the springs of one block add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Force {
    pub vector: [f32; DIMENSIONS],
    pub offset: f32,
    /// The sum of the springs' weights; zero when none counts.
    pub weight: f32,
}

/// The bounds of a spring's weight, so that neither the nearest peer nor the farthest decides alone.
const WEIGHT_MIN: f32 = 0.25;
const WEIGHT_MAX: f32 = 3.0;
/// Below this Euclidean distance, in seconds, a direction is only noise.
const DIRECTION_MIN: f32 = 1e-9;

impl Lanes {
    pub(crate) const ZERO: Lanes = Lanes([0.0; LANE_COUNT]);

    #[inline(always)]
    pub(crate) const fn splat(value: f32) -> Lanes {
        Lanes([value; LANE_COUNT])
    }

    #[inline(always)]
    fn map(self, function: impl Fn(f32) -> f32) -> Lanes {
        Lanes(self.0.map(function))
    }

    #[inline(always)]
    fn zip(self, other: Lanes, function: impl Fn(f32, f32) -> f32) -> Lanes {
        let mut result = self;
        for (left, right) in result.0.iter_mut().zip(other.0) {
            *left = function(*left, right);
        }
        result
    }

    // Written as comparisons and not as f32::max, whose care for NaN costs two more instructions.
    #[inline(always)]
    fn max(self, other: Lanes) -> Lanes {
        self.zip(other, |left, right| if left > right { left } else { right })
    }

    #[inline(always)]
    fn min(self, other: Lanes) -> Lanes {
        self.zip(other, |left, right| if left < right { left } else { right })
    }

    #[inline(always)]
    fn abs(self) -> Lanes {
        self.map(f32::abs)
    }

    #[inline(always)]
    fn sqrt(self) -> Lanes {
        self.map(f32::sqrt)
    }

    /// The sum over the lanes. The order is fixed: halves onto each other, as a wide register folds.
    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

impl Add for Lanes {
    type Output = Lanes;
    #[inline(always)]
    fn add(self, other: Lanes) -> Lanes {
        self.zip(other, |left, right| left + right)
    }
}

impl Sub for Lanes {
    type Output = Lanes;
    #[inline(always)]
    fn sub(self, other: Lanes) -> Lanes {
        self.zip(other, |left, right| left - right)
    }
}

impl Mul for Lanes {
    type Output = Lanes;
    #[inline(always)]
    fn mul(self, other: Lanes) -> Lanes {
        self.zip(other, |left, right| left * right)
    }
}

impl Div for Lanes {
    type Output = Lanes;
    #[inline(always)]
    fn div(self, other: Lanes) -> Lanes {
        self.zip(other, |left, right| left / right)
    }
}

impl Block {
    pub(crate) const EMPTY: Block = Block {
        vector: [Lanes::ZERO; DIMENSIONS],
        // An unknown peer is infinitely far, so that no sweep has to ask whether it is known.
        offset: Lanes::splat(f32::INFINITY),
    };

    #[inline(always)]
    fn difference(&self, origin: &[f32; DIMENSIONS]) -> [Lanes; DIMENSIONS] {
        let mut difference = self.vector;
        for (row, &component) in difference.iter_mut().zip(origin) {
            *row = Lanes::splat(component) - *row;
        }
        difference
    }
}

#[inline(always)]
fn length(vector: &[Lanes; DIMENSIONS]) -> Lanes {
    let mut sum = Lanes::ZERO;
    for row in vector {
        sum = sum + *row * *row;
    }
    sum.sqrt()
}

#[inline(always)]
fn predict(origin: &Origin, euclidean: Lanes, offset: Lanes) -> Lanes {
    let adjusted = euclidean + (Lanes::splat(origin.offset) + offset);
    let least = Lanes::splat(origin.euclidean_share) * euclidean;
    adjusted.max(least).max(Lanes::splat(origin.minimum))
}

/// Predictions in milliseconds from `origin` to every peer of the blocks.
#[inline(always)]
fn predict_all_body(origin: &Origin, blocks: &[Block], predictions_ms: &mut [f32]) {
    let row = |block: &Block| {
        let euclidean = length(&block.difference(&origin.vector));
        predict(origin, euclidean, block.offset) * Lanes::splat(1e3)
    };
    let mut rows = predictions_ms.chunks_exact_mut(LANE_COUNT);
    for (out, block) in (&mut rows).zip(blocks) {
        out.copy_from_slice(&row(block).0);
    }
    let rest = rows.into_remainder();
    if let Some(block) = blocks.last().filter(|_| !rest.is_empty()) {
        rest.copy_from_slice(&row(block).0[..rest.len()]);
    }
}

/// What the springs of one block do to a node at `origin`. Each pulls or pushes along its
/// direction in proportion to its mismatch, up to a limit, and less again when the mismatch is so
/// large that the peer must be wrong, slow or lying.
#[inline(always)]
fn relax_body(origin: &Origin, springs: &SpringBlock, pull: &Pull) -> Force {
    let difference = springs.peers.difference(&origin.vector);
    let euclidean = length(&difference);
    let mismatch = springs.rest - predict(origin, euclidean, springs.peers.offset);

    let limit = Lanes::splat(pull.limit);
    let cutoff = Lanes::splat(pull.cutoff);
    let bounded = mismatch.min(limit).max(Lanes::splat(-pull.limit));
    let giving_way = cutoff / mismatch.abs().max(cutoff);

    let own_error = Lanes::splat(pull.error);
    let confidence = own_error / (own_error + springs.error);
    let weight = (springs.stiffness * Lanes::splat(pull.stiffness_scale))
        .max(Lanes::splat(WEIGHT_MIN))
        .min(Lanes::splat(WEIGHT_MAX));
    let counts = springs.stiffness.map(|stiffness| if stiffness > 0.0 { 1.0 } else { 0.0 });

    let even = Lanes::splat(pull.evenness);
    let weight = (even + Lanes::splat(1.0 - pull.evenness) * weight) * counts;
    let force = bounded * (giving_way * giving_way) * (confidence * weight);
    let along = force / euclidean.max(Lanes::splat(DIRECTION_MIN));
    let mut result = Force { vector: [0.0; DIMENSIONS], offset: force.sum(), weight: weight.sum() };
    for (sum, row) in result.vector.iter_mut().zip(difference) {
        *sum = (row * along).sum();
    }
    result
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn predict_all_avx2(origin: &Origin, blocks: &[Block], predictions_ms: &mut [f32]) {
    predict_all_body(origin, blocks, predictions_ms);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn relax_avx2(origin: &Origin, springs: &SpringBlock, pull: &Pull) -> Force {
    relax_body(origin, springs, pull)
}

/// Which of the two builds runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// Whatever every processor of the architecture has.
    Portable,
    /// AVX2. Made only by [`Width::detect`], which is what makes the calls below sound.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

/// Proof that this processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Width {
    /// The widest build that this processor runs.
    pub(crate) fn detect() -> Width {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Width::Avx2(Avx2(()));
        }
        Width::Portable
    }

    /// Fills `predictions_ms` with one prediction per peer; it is at most as long as the blocks hold
    /// peers, and less than a block shorter.
    pub(crate) fn predict_all(self, origin: &Origin, blocks: &[Block], predictions_ms: &mut [f32]) {
        assert_eq!(predictions_ms.len().div_ceil(LANE_COUNT), blocks.len());
        match self {
            Width::Portable => predict_all_body(origin, blocks, predictions_ms),
            // SAFETY: an `Avx2` exists only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Width::Avx2(_) => unsafe { predict_all_avx2(origin, blocks, predictions_ms) },
        }
    }

    /// The force of one block of springs on a node at `origin`.
    #[inline]
    pub(crate) fn relax(self, origin: &Origin, springs: &SpringBlock, pull: &Pull) -> Force {
        match self {
            Width::Portable => relax_body(origin, springs, pull),
            // SAFETY: an `Avx2` exists only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Width::Avx2(_) => unsafe { relax_avx2(origin, springs, pull) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn lanes(random: &mut Random, scale: f32) -> Lanes {
        Lanes(std::array::from_fn(|_| (random.unit() as f32 - 0.5) * scale))
    }

    fn block(random: &mut Random) -> Block {
        let vector = std::array::from_fn(|_| lanes(random, 0.4));
        Block { vector, offset: lanes(random, 0.02) }
    }

    fn origin(random: &mut Random) -> Origin {
        let vector = std::array::from_fn(|_| (random.unit() as f32 - 0.5) * 0.4);
        Origin { vector, offset: 0.003, euclidean_share: 0.4, minimum: 1e-6 }
    }

    #[test]
    fn wide_and_portable_results_are_equal_to_the_last_bit() {
        let mut random = Random::new(11);
        let wide = Width::detect();
        for _ in 0..500 {
            let origin = origin(&mut random);
            let blocks: Vec<Block> = (0..3).map(|_| block(&mut random)).collect();
            for count in 17..=24 {
                let mut left = vec![0.0; count];
                let mut right = vec![0.0; count];
                Width::Portable.predict_all(&origin, &blocks, &mut left);
                wide.predict_all(&origin, &blocks, &mut right);
                let bits = |row: &[f32]| row.iter().map(|ms| ms.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&left), bits(&right));
            }
            let springs = SpringBlock {
                peers: blocks[0],
                rest: lanes(&mut random, 0.3).abs(),
                stiffness: lanes(&mut random, 8.0).max(Lanes::ZERO),
                error: lanes(&mut random, 1.0).abs().max(Lanes::splat(0.01)),
            };
            let pull = Pull {
                error: 0.1,
                stiffness_scale: 0.4,
                evenness: 0.3,
                limit: 0.004,
                cutoff: 0.020,
            };
            let left = Width::Portable.relax(&origin, &springs, &pull);
            assert_eq!(left, wide.relax(&origin, &springs, &pull));
        }
    }

    #[test]
    fn predictions_agree_with_double_precision() {
        let mut random = Random::new(5);
        let origin = origin(&mut random);
        let blocks = [block(&mut random)];
        let mut predictions = [0.0; LANE_COUNT];
        Width::detect().predict_all(&origin, &blocks, &mut predictions);
        for (lane, &ms) in predictions.iter().enumerate() {
            let mut sum = 0.0f64;
            for (row, &component) in blocks[0].vector.iter().zip(&origin.vector) {
                sum += (f64::from(component) - f64::from(row.0[lane])).powi(2);
            }
            let offset = f64::from(origin.offset) + f64::from(blocks[0].offset.0[lane]);
            let expected = 1e3 * (sum.sqrt() + offset).max(0.4 * sum.sqrt()).max(1e-6);
            assert!((f64::from(ms) - expected).abs() <= 1e-5 * expected, "{ms} {expected}");
        }
    }

    #[test]
    fn unknown_peers_are_infinitely_far() {
        let origin = origin(&mut Random::new(1));
        let mut predictions = [0.0; 3];
        Width::detect().predict_all(&origin, &[Block::EMPTY], &mut predictions);
        assert_eq!(predictions, [f32::INFINITY; 3]);
    }

    #[test]
    fn one_spring_pulls_no_harder_than_its_limit() {
        let mut random = Random::new(2);
        let origin = origin(&mut random);
        let peers = block(&mut random);
        let pull =
            Pull { error: 1.0, stiffness_scale: 1.0, evenness: 0.0, limit: 0.004, cutoff: 0.020 };
        let pulled_by = |rest: f32| {
            let mut springs = SpringBlock {
                peers,
                rest: Lanes::splat(rest),
                stiffness: Lanes::ZERO,
                error: Lanes::splat(1e-3),
            };
            springs.stiffness.0[3] = 1.0;
            Width::detect().relax(&origin, &springs, &pull).offset.abs()
        };
        assert!(pulled_by(10.0) < pulled_by(0.8));
        assert!(pulled_by(0.8) <= 0.004);
    }
}
