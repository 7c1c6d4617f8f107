//! Eight peers at a time.
//!
//! The two loops that touch many peers, prediction over the whole [`table`](super::table) and
//! relaxation against the [`springs`](super::springs), work on blocks of eight `f32`, one per peer.
//! Each loop is written once over an abstract row and compiled twice: over arrays, for any
//! processor, and over the registers of AVX2. Both do the same exactly rounded operations in the
//! same order, and nothing is fused, so their results are equal to the last bit.
//!
//! This is the only file of the module with `unsafe`: calling code built for AVX2 is sound only
//! where the processor has it, which [`Width::detect`] finds out.
#![allow(unsafe_code)]

use super::{
    COMPONENT_SECONDS_MAX, Coordinate, DIMENSIONS, EUCLIDEAN_SHARE_MIN, PREDICTION_SECONDS_MIN,
};
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

/// One peer, as it goes into a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub vector: [f32; DIMENSIONS],
    /// Height plus adjustment.
    pub offset: f32,
    pub error: f32,
}

/// The end that predictions start from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub vector: [f32; DIMENSIONS],
    pub offset: f32,
    /// The least share of the Euclidean distance that a prediction may be, and the least in
    /// seconds.
    pub euclidean_share: f32,
    pub seconds_min: f32,
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

/// How one relaxation treats its springs and the node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pull {
    /// Share of the way to rest that the node goes.
    pub gain: f32,
    /// The own relative error.
    pub error: f32,
    /// Turns `stiffness` into a weight: the square root of the typical round trip.
    pub stiffness_scale: f32,
    /// Share of the weight that is the same for all springs.
    pub evenness: f32,
    /// The most that one spring pulls, in seconds of mismatch; above zero.
    pub limit: f32,
    /// The mismatch in seconds from which on a spring gives way.
    pub cutoff: f32,
    /// Share of its distance from the origin, per second of that distance, that the node falls
    /// back.
    pub gravity: f32,
    /// Share of the way that the told place follows the inner one.
    pub publish_share: f32,
}

/// Where a node is, and where it tells its peers that it is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(32))]
pub(crate) struct Place {
    pub inner: Lanes,
    pub told: Lanes,
    /// The inner height plus adjustment.
    pub offset: f32,
}

// One register holds a row of one number per peer here and a vector of one per dimension there.
const _: () = assert!(LANE_COUNT == DIMENSIONS);

/// The bounds of a spring's weight, so that neither the nearest peer nor the farthest decides
/// alone.
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

    /// Puts a peer into a lane.
    #[inline]
    pub(crate) fn set(&mut self, lane: usize, peer: &Peer) {
        // Checked once, so that the nine stores below need no checks of their own.
        assert!(lane < LANE_COUNT);
        for (row, component) in self.vector.iter_mut().zip(peer.vector) {
            row.0[lane] = component;
        }
        self.offset.0[lane] = peer.offset;
    }
}

impl Peer {
    #[inline]
    pub(crate) fn of(coordinate: &Coordinate) -> Peer {
        let vector = coordinate.vector.map(|component| component as f32);
        let (offset, error) = (coordinate.offset() as f32, coordinate.error as f32);
        // The smallest errors would round to zero, which means that there is none.
        let error = if error > 0.0 { error } else { f32::MIN_POSITIVE };
        Peer { vector, offset, error }
    }
}

/// A row of eight `f32` in whatever the processor keeps it in. Every operation is exactly rounded,
/// so two implementations cannot differ.
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
    /// The sums over the lanes of eight rows. The order is fixed, halves onto each other, as a wide
    /// register folds: `((0+4)+(2+6)) + ((1+5)+(3+7))`.
    fn sums(rows: [Self; LANE_COUNT]) -> Lanes;
}

// The loops below are written out: closures handed to library functions are not compiled for AVX2
// when those are not inlined.

#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn difference<R: Row>(origin: &Origin, peers: &Block) -> [R; DIMENSIONS] {
    let mut difference = [R::splat(0.0); DIMENSIONS];
    for d in 0..DIMENSIONS {
        difference[d] = R::splat(origin.vector[d]) - R::load(&peers.vector[d]);
    }
    difference
}

#[inline(always)]
fn length<R: Row>(vector: &[R; DIMENSIONS]) -> R {
    let [a, b, c, d, e, f, g, h] = *vector;
    let (left, right) = ((a * a + b * b) + (c * c + d * d), (e * e + f * f) + (g * g + h * h));
    (left + right).sqrt()
}

#[inline(always)]
fn predict<R: Row>(origin: &Origin, euclidean: R, offset: R) -> R {
    let adjusted = euclidean + (R::splat(origin.offset) + offset);
    let least = R::splat(origin.euclidean_share) * euclidean;
    adjusted.max(least).max(R::splat(origin.seconds_min))
}

#[inline(always)]
fn predict_block<R: Row>(origin: &Origin, block: &Block) -> Lanes {
    let euclidean = length(&difference::<R>(origin, block));
    (predict(origin, euclidean, R::load(&block.offset)) * R::splat(1e3)).store()
}

/// Predictions in milliseconds from `origin` to every peer of the blocks.
#[inline(always)]
fn predict_all_body<R: Row>(origin: &Origin, blocks: &[Block], predictions_ms: &mut [f32]) {
    let mut rows = predictions_ms.chunks_exact_mut(LANE_COUNT);
    for (out, block) in (&mut rows).zip(blocks) {
        out.copy_from_slice(&predict_block::<R>(origin, block).0);
    }
    let rest = rows.into_remainder();
    if let Some(block) = blocks.last().filter(|_| !rest.is_empty()) {
        rest.copy_from_slice(&predict_block::<R>(origin, block).0[..rest.len()]);
    }
}

/// Moves a node along the springs of one block and gives their mismatches. Each spring pulls or
/// pushes along its direction in proportion to its mismatch, up to a limit, and less again when the
/// mismatch is so large that the peer must be wrong, slow or lying. The node goes a share of the
/// way that they pull on average, so that this is never longer than that share of the limit.
#[inline(always)]
fn relax_body<R: Row>(place: &mut Place, springs: &SpringBlock, pull: &Pull) -> Lanes {
    let origin = Origin {
        vector: place.inner.0,
        offset: place.offset,
        euclidean_share: EUCLIDEAN_SHARE_MIN as f32,
        seconds_min: PREDICTION_SECONDS_MIN as f32,
    };
    let mut along = difference::<R>(&origin, &springs.peers);
    let euclidean = length(&along);
    let predicted = predict(&origin, euclidean, R::load(&springs.peers.offset));
    let mismatch = R::load(&springs.rest) - predicted;

    let cutoff = R::splat(pull.cutoff);
    let bounded = mismatch.min(R::splat(pull.limit)).max(R::splat(-pull.limit));
    let giving_way = cutoff / mismatch.abs().max(cutoff);

    // Vivaldi's weight, doubled, but no peer counts as surer than this node: a claim costs nothing.
    let own_error = R::splat(pull.error);
    let confidence = (own_error + own_error) / (own_error + R::load(&springs.error));
    let confidence = confidence.min(R::splat(1.0));
    let stiffness = R::load(&springs.stiffness);
    let weight = (stiffness * R::splat(pull.stiffness_scale))
        .max(R::splat(WEIGHT_MIN))
        .min(R::splat(WEIGHT_MAX));
    let weight = R::splat(pull.evenness) + R::splat(1.0 - pull.evenness) * weight;
    let weight = stiffness.if_positive(weight);

    let force = bounded * (giving_way * giving_way) * (confidence * weight);
    let per_second = force / euclidean.max(R::splat(DIRECTION_MIN));
    for row in &mut along {
        *row = *row * per_second;
    }

    let inner = R::load(&place.inner);
    let nothing = R::splat(0.0);
    let squares = inner * inner;
    let rows = [force, weight, squares, nothing, nothing, nothing, nothing, nothing];
    let Lanes([force, weight, square, ..]) = R::sums(rows);
    let gain = if weight > 0.0 { pull.gain / weight } else { 0.0 };
    place.offset += gain * force;

    let fall = square.sqrt() * pull.gravity;
    let fall = if fall < 1.0 { fall } else { 1.0 };
    let moved = inner + R::splat(gain) * R::load(&R::sums(along)) - R::splat(fall) * inner;
    let range = COMPONENT_SECONDS_MAX as f32;
    let moved = moved.min(R::splat(range)).max(R::splat(-range));
    let told = R::load(&place.told);
    place.told = (told + R::splat(pull.publish_share) * (moved - told)).store();
    place.inner = moved.store();
    mismatch.store()
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
    pub(super) fn relax(place: &mut Place, springs: &SpringBlock, pull: &Pull) -> Lanes {
        relax_body::<Register>(place, springs, pull)
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

    /// Fills `predictions_ms` with one prediction per peer; it is at most as long as the blocks
    /// hold peers, and less than a block shorter.
    pub(crate) fn predict_all(self, origin: &Origin, blocks: &[Block], predictions_ms: &mut [f32]) {
        assert_eq!(predictions_ms.len().div_ceil(LANE_COUNT), blocks.len());
        match self {
            Width::Portable => predict_all_body::<Lanes>(origin, blocks, predictions_ms),
            // SAFETY: an `Avx2` exists only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Width::Avx2(_) => unsafe { avx2::predict_all(origin, blocks, predictions_ms) },
        }
    }

    /// Moves a node along the springs of one block and gives their mismatches, in seconds.
    #[inline]
    pub(crate) fn relax(self, place: &mut Place, springs: &SpringBlock, pull: &Pull) -> Lanes {
        match self {
            Width::Portable => relax_body::<Lanes>(place, springs, pull),
            // SAFETY: an `Avx2` exists only where the processor has AVX2.
            #[cfg(target_arch = "x86_64")]
            Width::Avx2(_) => unsafe { avx2::relax(place, springs, pull) },
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
        Origin { vector, offset: 0.003, euclidean_share: 0.4, seconds_min: 1e-6 }
    }

    fn springs(random: &mut Random) -> SpringBlock {
        let above = |lanes: Lanes, least: f32| Row::max(Row::abs(lanes), Lanes::splat(least));
        SpringBlock {
            peers: block(random),
            rest: above(lanes(random, 0.6), 0.001),
            // Half of the springs do not count.
            stiffness: Row::max(lanes(random, 8.0), Lanes::ZERO),
            error: above(lanes(random, 1.0), 0.01),
        }
    }

    fn place(random: &mut Random) -> Place {
        let inner = lanes(random, 0.4);
        Place { inner, told: inner, offset: 0.003 }
    }

    const PULL: Pull = Pull {
        gain: 0.8,
        error: 0.1,
        stiffness_scale: 0.4,
        evenness: 0.3,
        limit: 0.004,
        cutoff: 0.020,
        gravity: 1e-4,
        publish_share: 0.5,
    };

    #[test]
    fn wide_and_portable_results_are_equal_to_the_last_bit() {
        let mut random = Random::new(11);
        let wide = Width::detect();
        let bits = |row: &[f32]| row.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        for _ in 0..500 {
            let origin = origin(&mut random);
            let blocks: Vec<Block> = (0..3).map(|_| block(&mut random)).collect();
            for count in 17..=24 {
                let mut left = vec![0.0; count];
                let mut right = vec![0.0; count];
                Width::Portable.predict_all(&origin, &blocks, &mut left);
                wide.predict_all(&origin, &blocks, &mut right);
                assert_eq!(bits(&left), bits(&right));
            }
            let springs = springs(&mut random);
            let mut left = place(&mut random);
            let mut right = left;
            let mismatches = Width::Portable.relax(&mut left, &springs, &PULL);
            assert_eq!(mismatches, wide.relax(&mut right, &springs, &PULL));
            assert_eq!(bits(&left.inner.0), bits(&right.inner.0));
            assert_eq!(bits(&left.told.0), bits(&right.told.0));
            assert_eq!(left.offset.to_bits(), right.offset.to_bits());
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
    fn no_block_of_springs_moves_a_node_farther_than_its_share_of_the_limit() {
        let mut random = Random::new(2);
        for _ in 0..500 {
            let springs = springs(&mut random);
            let before = place(&mut random);
            let mut after = before;
            Width::detect().relax(&mut after, &springs, &PULL);
            let way = (after.inner - before.inner).0.map(|part| part * part).iter().sum::<f32>();
            let bound = PULL.gain * PULL.limit;
            assert!(way.sqrt() <= bound * 1.01 + 1e-5, "{}", way.sqrt());
            assert!((after.offset - before.offset).abs() <= bound * 1.001);
        }
    }

    #[test]
    fn a_blatant_lie_pulls_less_than_a_small_one() {
        let mut random = Random::new(3);
        let before = place(&mut random);
        let pulled_by = |rest: f32| {
            let mut springs = springs(&mut Random::new(4));
            springs.rest = Lanes::splat(rest);
            springs.stiffness = Lanes::ZERO;
            springs.stiffness.0[3] = 1.0;
            let mut after = before;
            Width::detect().relax(&mut after, &springs, &PULL);
            (after.offset - before.offset).abs()
        };
        assert!(pulled_by(10.0) < pulled_by(0.8));
        assert!(pulled_by(0.8) <= PULL.gain * PULL.limit);
    }
}
