//! The order in which a job tries datacenters: primaries first, then the fallback chain (AD-36,
//! part 7; AD-17).
//!
//! A chain is one sorted list: bucket before score, score before the order in which candidates were
//! given. The choice that hysteresis made is moved to its front, so what a job is told to use is
//! what was decided. The first few of the primary bucket are primaries; the rest of that bucket and
//! then the lower buckets are fallback.
//!
//! Each entry is one 128-bit key, so sorting a thousand datacenters compares integers and moves 16
//! bytes:
//!
//! ```text
//! | bucket (2) | score as ordered bits (64) | tie break (40) | position (16) |
//! ```

use super::bucket::Bucket;

/// The most datacenters a chain can order.
pub const CHAIN_SIZE_MAX: usize = 1 << 16;
/// Tie breaks must be smaller than this.
pub const TIE_BREAK_MAX: u64 = 1 << 40;

/// Where one datacenter belongs in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey(u128);

impl SortKey {
    /// The key of the candidate at `position` with a finite `value`, at least zero, of which lower
    /// is better.
    pub fn new(bucket: Bucket, value: f64, tie_break: u64, position: usize) -> SortKey {
        debug_assert!(value >= 0.0 && value.is_finite());
        debug_assert!(tie_break < TIE_BREAK_MAX && position < CHAIN_SIZE_MAX);
        // The bits of floats that are not negative order like the floats. Adding zero turns -0 into
        // 0.
        let ordered = u128::from((value + 0.0).to_bits());
        let bucket = bucket as u128;
        SortKey(bucket << 120 | ordered << 56 | u128::from(tie_break) << 16 | position as u128)
    }

    /// The candidate's position.
    pub const fn position(self) -> usize {
        self.0 as u16 as usize
    }
}

/// Candidates in the order in which a job tries them.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    keys: Vec<SortKey>,
    // How many keys the promoted one has overtaken, so that it can be put back.
    overtaken: usize,
}

impl Chain {
    /// Empties the chain, keeping its memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.overtaken = 0;
    }

    /// Adds a candidate. Call [`Chain::sort`] after the last one.
    pub fn push(&mut self, key: SortKey) {
        self.keys.push(key);
    }

    /// Puts the candidates into order.
    pub fn sort(&mut self) {
        // No two keys are equal, because positions differ: an unstable sort has one possible
        // result.
        self.keys.sort_unstable();
    }

    /// Puts a candidate whose score changed where it belongs now. The chain must be sorted and
    /// nothing promoted.
    pub fn reposition(&mut self, old: SortKey, new: SortKey) {
        assert_eq!(self.overtaken, 0, "a promoted chain is not sorted");
        let from = self.keys.binary_search(&old).expect("the key was pushed");
        if new > old {
            let to = from + self.keys[from + 1..].partition_point(|&key| key < new);
            self.keys[from..=to].rotate_left(1);
            self.keys[to] = new;
        } else {
            let to = self.keys[..from].partition_point(|&key| key < new);
            self.keys[to..=from].rotate_right(1);
            self.keys[to] = new;
        }
    }

    /// Moves a candidate to the front, whatever its score: it is the one that was decided for.
    pub fn promote(&mut self, key: SortKey) {
        assert_eq!(self.overtaken, 0, "one choice at a time");
        let rank = self.keys.binary_search(&key).expect("the key was pushed");
        self.keys[..=rank].rotate_right(1);
        self.overtaken = rank;
    }

    /// Puts the promoted candidate back where its score belongs.
    pub fn demote(&mut self) {
        if self.overtaken > 0 {
            self.keys[..=self.overtaken].rotate_left(1);
            self.overtaken = 0;
        }
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no candidate.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Positions of candidates, first to try first.
    pub fn positions(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.keys.iter().map(|key| key.position())
    }

    /// Positions of the candidates from this rank on.
    pub fn positions_from(&self, rank: usize) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.keys[rank..].iter().map(|key| key.position())
    }

    /// The position of the first candidate.
    pub fn first(&self) -> Option<usize> {
        self.keys.first().map(|key| key.position())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn positions(chain: &Chain) -> Vec<usize> {
        chain.positions().collect()
    }

    #[test]
    fn bucket_before_score_before_tie_break_before_position() {
        let mut chain = Chain::default();
        for key in [
            SortKey::new(Bucket::Degraded, 1.0, 0, 0),
            SortKey::new(Bucket::Healthy, 900.0, 0, 1),
            SortKey::new(Bucket::Busy, 2.0, 1, 2),
            SortKey::new(Bucket::Busy, 2.0, 0, 3),
            SortKey::new(Bucket::Healthy, 1e-300, TIE_BREAK_MAX - 1, 4),
            SortKey::new(Bucket::Healthy, 900.0, 0, 5),
            SortKey::new(Bucket::Healthy, f64::MAX, 0, 6),
        ] {
            chain.push(key);
        }
        chain.sort();
        assert_eq!(positions(&chain), [4, 1, 5, 6, 3, 2, 0]);
    }

    #[test]
    fn zero_has_one_sign() {
        let negative = SortKey::new(Bucket::Healthy, -0.0, 0, 3);
        assert_eq!(negative, SortKey::new(Bucket::Healthy, 0.0, 0, 3));
    }

    #[test]
    fn the_choice_leads_and_can_be_put_back() {
        let key = |position: usize| SortKey::new(Bucket::Healthy, position as f64, 0, position);
        let mut chain = Chain::default();
        (0..5).for_each(|position| chain.push(key(position)));
        chain.sort();
        chain.promote(key(3));
        assert_eq!(positions(&chain), [3, 0, 1, 2, 4]);
        assert_eq!(chain.first(), Some(3));
        assert_eq!(chain.positions_from(2).collect::<Vec<_>>(), [1, 2, 4]);
        chain.demote();
        assert_eq!(positions(&chain), [0, 1, 2, 3, 4]);
        chain.promote(key(0));
        chain.demote();
        assert_eq!(positions(&chain), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn repositioning_equals_sorting_again() {
        let mut random = Random::new(5);
        let draw = |random: &mut Random, position| {
            let bucket = Bucket::ALL[random.below(3) as usize];
            SortKey::new(bucket, f64::from(random.below(10)), 0, position)
        };
        for _ in 0..200 {
            let size = 1 + random.below(20) as usize;
            let mut keys: Vec<_> = (0..size).map(|position| draw(&mut random, position)).collect();
            let mut chain = Chain::default();
            keys.iter().for_each(|&key| chain.push(key));
            chain.sort();
            for _ in 0..10 {
                let position = random.below(size as u32) as usize;
                let moved = draw(&mut random, position);
                chain.reposition(keys[position], moved);
                keys[position] = moved;
                let mut sorted = keys.clone();
                sorted.sort();
                assert_eq!(chain.keys, sorted);
            }
        }
    }
}
