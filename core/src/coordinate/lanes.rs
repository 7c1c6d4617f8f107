//! Eight peers at a time.
//!
//! The two loops that touch many peers, prediction over the whole [`table`](super::table) and
//! relaxation against the [`springs`](super::springs), work on blocks of eight `f32`, one per
//! peer. Each loop is written once over an abstract row and compiled twice: over arrays, for any
//! processor, and over the registers of AVX2. Both do the same exactly rounded operations in the same
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

impl Add for Force {
    type Output = Force;
    fn add(self, other: Force) -> Force {
        Force {
            vector: std::array::from_fn(|d| self.vector[d] + other.vector[d]),
            offset: self.offset + other.offset,
            weight: self.weight + other.weight,
        }
    }
}

/// The bounds of a spring's weight, so that neither the nearest peer nor the farthest decides alone.
const WEIGHT_MIN: f32 = 0.25;
const WEIGHT_MAX: f32 = 3.0;
/// Below this Euclidean distance, in seconds, a direction is only noise.
const DIRECTION_MIN: f32 = 1e-9;

impl Lanes {
    pub(crate) const ZERO: Lanes = Lanes([0.0; LANE_COUNT]);

    pub(crate) const fn splat(value: f32) -> Lanes {
        Lanes([value; LANE_COUNT])
    }
}

impl Block {
    pub(crate) const EMPTY: Block = Block {
        vector: [Lanes::ZERO; DIMENSIONS],
        // An unknown peer is infinitely far, so that no sweep has to ask whether it is known.
        offset: Lanes::splat(f32::INFINITY),
    };
}

/// A row of eight `f32` in whatever the processor keeps it in. Every operation is exactly rounded, so
/// two implementations cannot differ.
trait Row:
    Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self>
{
    fn splat(value: f32) -> Self;
    fn load(lanes: &Lanes) -> Self;
    fn store(self) -> Lanes;
    /// The greater of two; the other one where either is NaN.
    fn max(self, other: Self) -> Self;
    /// The smaller of two; the other one where either is NaN.
    fn min(self, other: Self) -> Self;
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    /// `value` where this is above zero, zero elsewhere.
    fn if_positive(self, value: Self) -> Self;
    /// The sums over the lanes of eight rows. The order is fixed, halves onto each other, as a wide register
    /// folds: `((0+4)+(2+6)) + ((1+5)+(3+7))`.
    fn sums(rows: [Self; LANE_COUNT]) -> Lanes;
}

#[inline(always)]
fn difference<R: Row>(origin: &Origin, peers: &Block) -> [R; DIMENSIONS] {
    std::array::from_fn(|d| R::splat(origin.vector[d]) - R::load(&peers.vector[d]))
}

#[inline(always)]
fn length<R: Row>(vector: &[R; DIMENSIONS]) -> R {
    let [a, b, c, d, e, f, g, h] = vector.map(|row| row * row);
    (((a + b) + (c + d)) + ((e + f) + (g + h))).sqrt()
}

#[inline(always)]
fn predict<R: Row>(origin: &Origin, euclidean: R, offset: R) -> R {
    let adjusted = euclidean + (R::splat(origin.offset) + offset);
    let least = R::splat(origin.euclidean_share) * euclidean;
    adjusted.max(least).max(R::splat(origin.minimum))
}

/// Predictions in milliseconds from `origin` to every peer of the blocks.
#[inline(always)]
fn predict_all_body<R: Row>(origin: &Origin, blocks: &[Block], predictions_ms: &mut [f32]) {
    let row = |block: &Block| {
        let euclidean = length(&difference::<R>(origin, block));
        (predict(origin, euclidean, R::load(&block.offset)) * R::splat(1e3)).store()
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
fn relax_body<R: Row>(origin: &Origin, springs: &SpringBlock, pull: &Pull) -> Force {
    let difference = difference::<R>(origin, &springs.peers);
    let euclidean = length(&difference);
    let predicted = predict(origin, euclidean, R::load(&springs.peers.offset));
    let mismatch = R::load(&springs.rest) - predicted;

    let cutoff = R::splat(pull.cutoff);
    let bounded = mismatch.min(R::splat(pull.limit)).max(R::splat(-pull.limit));
    let giving_way = cutoff / mismatch.abs().max(cutoff);

    let own_error = R::splat(pull.error);
    let confidence = own_error / (own_error + R::load(&springs.error));
    let stiffness = R::load(&springs.stiffness);
    let weight = (stiffness * R::splat(pull.stiffness_scale))
        .max(R::splat(WEIGHT_MIN))
        .min(R::splat(WEIGHT_MAX));
    let weight = R::splat(pull.evenness) + R::splat(1.0 - pull.evenness) * weight;
    let weight = stiffness.if_positive(weight);

    let force = bounded * (giving_way * giving_way) * (confidence * weight);
    let along = force / euclidean.max(R::splat(DIRECTION_MIN));
    let nothing = R::splat(0.0);
    let both = [force, weight, nothing, nothing, nothing, nothing, nothing, nothing];
    let [offset, weight, ..] = R::sums(both).0;
    Force { vector: R::sums(difference.map(|row| row * along)).0, offset, weight }
}

impl Lanes {
    #[inline(always)]
    fn zip(self, other: Lanes, function: impl Fn(f32, f32) -> f32) -> Lanes {
        let mut result = self;
        for (left, right) in result.0.iter_mut().zip(other.0) {
            *left = function(*left, right);
        }
        result
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

impl Row for Lanes {
    #[inline(always)]
    fn splat(value: f32) -> Lanes {
        Lanes::splat(value)
    }

    #[inline(always)]
    fn load(lanes: &Lanes) -> Lanes {
        *lanes
    }

    #[inline(always)]
    fn store(self) -> Lanes {
        self
    }

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
        Lanes(self.0.map(f32::abs))
    }

    #[inline(always)]
    fn sqrt(self) -> Lanes {
        Lanes(self.0.map(f32::sqrt))
    }

    #[inline(always)]
    fn if_positive(self, value: Lanes) -> Lanes {
        self.zip(value, |lane, value| if lane > 0.0 { value } else { 0.0 })
    }

    #[inline(always)]
    fn sums(rows: [Lanes; LANE_COUNT]) -> Lanes {
        Lanes(rows.map(|Lanes([a, b, c, d, e, f, g, h])| ((a + e) + (c + g)) + ((b + f) + (d + h))))
    }
}

/// The same rows in the registers of AVX2.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;
    use std::arch::x86_64::*;

    /// One register. Values of this type exist only inside the two functions at the end of this
    /// module, which are compiled for AVX2 and called only where the processor has it: that is
    /// what every `unsafe` below relies on.
    #[derive(Clone, Copy)]
    struct Register(__m256);

    macro_rules! operator {
        ($trait:ident, $method:ident, $intrinsic:ident) => {
            impl $trait for Register {
                type Output = Register;
                #[inline(always)]
                fn $method(self, other: Register) -> Register {
                    // SAFETY: a `Register` exists only where AVX2 does.
                    Register(unsafe { $intrinsic(self.0, other.0) })
                }
            }
        };
    }

    operator!(Add, add, _mm256_add_ps);
    operator!(Sub, sub, _mm256_sub_ps);
    operator!(Mul, mul, _mm256_mul_ps);
    operator!(Div, div, _mm256_div_ps);

    impl Row for Register {
        #[inline(always)]
        fn splat(value: f32) -> Register {
            // SAFETY: only called where AVX2 exists, see `Register`.
            Register(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        fn load(lanes: &Lanes) -> Register {
            // SAFETY: `Lanes` is 32 bytes and aligned to as many; AVX2 as above.
            Register(unsafe { _mm256_load_ps(lanes.0.as_ptr()) })
        }

        #[inline(always)]
        fn store(self) -> Lanes {
            let mut lanes = Lanes::ZERO;
            // SAFETY: `Lanes` is 32 bytes and aligned to as many; AVX2 as above.
            unsafe { _mm256_store_ps(lanes.0.as_mut_ptr(), self.0) };
            lanes
        }

        #[inline(always)]
        fn max(self, other: Register) -> Register {
            // SAFETY: a `Register` exists only where AVX2 does.
            Register(unsafe { _mm256_max_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn min(self, other: Register) -> Register {
            // SAFETY: a `Register` exists only where AVX2 does.
            Register(unsafe { _mm256_min_ps(self.0, other.0) })
        }

        #[inline(always)]
        fn abs(self) -> Register {
            // SAFETY: a `Register` exists only where AVX2 does.
            Register(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
        }

        #[inline(always)]
        fn sqrt(self) -> Register {
            // SAFETY: a `Register` exists only where AVX2 does.
            Register(unsafe { _mm256_sqrt_ps(self.0) })
        }

        #[inline(always)]
        fn if_positive(self, value: Register) -> Register {
            // SAFETY: a `Register` exists only where AVX2 does.
            Register(unsafe {
                let positive = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, _mm256_setzero_ps());
                _mm256_and_ps(positive, value.0)
            })
        }

        #[inline(always)]
        fn sums(rows: [Register; LANE_COUNT]) -> Lanes {
            // Three rounds, each of which folds two registers into one: upper half onto lower, then
            // within each half the upper pair onto the lower, then odd lanes onto even ones.
            // SAFETY: a `Register` exists only where AVX2 does.
            let halves = |left: Register, right: Register| unsafe {
                let low = _mm256_permute2f128_ps::<0x20>(left.0, right.0);
                let high = _mm256_permute2f128_ps::<0x31>(left.0, right.0);
                _mm256_add_ps(low, high)
            };
            // SAFETY: as above.
            let pairs = |left: __m256, right: __m256| unsafe {
                let low = _mm256_shuffle_ps::<0x44>(left, right);
                let high = _mm256_shuffle_ps::<0xee>(left, right);
                _mm256_add_ps(low, high)
            };
            let [a, b, c, d, e, f, g, h] = rows;
            let left = pairs(halves(a, b), halves(c, d));
            let right = pairs(halves(e, f), halves(g, h));
            // SAFETY: as above.
            let folded = unsafe {
                let even = _mm256_shuffle_ps::<0x88>(left, right);
                let odd = _mm256_shuffle_ps::<0xdd>(left, right);
                _mm256_add_ps(even, odd)
            };
            let Lanes([a, c, e, g, b, d, f, h]) = Register(folded).store();
            Lanes([a, b, c, d, e, f, g, h])
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn predict_all(origin: &Origin, blocks: &[Block], predictions_ms: &mut [f32]) {
        predict_all_body::<Register>(origin, blocks, predictions_ms);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn relax(origin: &Origin, springs: &SpringBlock, pull: &Pull) -> Force {
        relax_body::<Register>(origin, springs, pull)
    }
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
            Width::Portable => predict_all_body::<Lanes>(origin, blocks, predictions_ms),
            // SAFETY: an `Avx2` exists only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Width::Avx2(_) => unsafe { avx2::predict_all(origin, blocks, predictions_ms) },
        }
    }

    /// The force of one block of springs on a node at `origin`.
    #[inline]
    pub(crate) fn relax(self, origin: &Origin, springs: &SpringBlock, pull: &Pull) -> Force {
        match self {
            Width::Portable => relax_body::<Lanes>(origin, springs, pull),
            // SAFETY: an `Avx2` exists only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Width::Avx2(_) => unsafe { avx2::relax(origin, springs, pull) },
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
