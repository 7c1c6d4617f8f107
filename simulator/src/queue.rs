//! The future, in order: what will happen in the simulation and when.
//!
//! A radix heap (Ahuja, Mehlhorn, Orlin and Tarjan, 1990). Time never runs backwards, so an entry
//! belongs into the bucket of the highest bit in which its time differs from the present, and moves
//! down at most once per bit. Entries of the same instant stay together and come out in the order
//! they went in, which is what makes a run repeatable. Buckets are kept when they empty, so a warm
//! queue does not allocate.

use shoal_core::Instant;

/// One bucket for the present and one for each bit in which a time can differ from it.
const BUCKETS: usize = u64::BITS as usize + 1;

/// Entries by time, then by order of entry.
#[derive(Debug)]
pub(crate) struct EventQueue<T> {
    /// The time of the entry that came out last.
    present: u64,
    buckets: [Vec<(u64, T)>; BUCKETS],
    /// A bit for every bucket but the first that has entries.
    occupied: u64,
    /// How much of the first bucket has come out.
    taken: usize,
}

impl<T: Copy> EventQueue<T> {
    pub fn new() -> EventQueue<T> {
        let buckets = std::array::from_fn(|_| Vec::new());
        EventQueue { present: 0, buckets, occupied: 0, taken: 0 }
    }

    /// Adds what happens at `at`.
    ///
    /// # Panics
    /// When that is before the last entry that came out.
    pub fn push(&mut self, at: Instant, item: T) {
        let at = at.as_nanos();
        assert!(at >= self.present, "the past is over");
        self.place(at, item);
    }

    /// Takes out the earliest entry unless it lies after `end`.
    pub fn pop_until(&mut self, end: Instant) -> Option<(Instant, T)> {
        if self.taken == self.buckets[0].len() && !self.advance(end.as_nanos()) {
            return None;
        }
        let (at, item) = self.buckets[0][self.taken];
        if at > end.as_nanos() {
            return None;
        }
        self.taken += 1;
        if self.taken == self.buckets[0].len() {
            self.buckets[0].clear();
            self.taken = 0;
        }
        Some((Instant::from_nanos(at), item))
    }

    fn place(&mut self, at: u64, item: T) {
        let bucket = (u64::BITS - (at ^ self.present).leading_zeros()) as usize;
        if bucket > 0 {
            self.occupied |= 1 << (bucket - 1);
        }
        self.buckets[bucket].push((at, item));
    }

    /// Moves the present to the earliest entry, if that is not after `end`, and spreads its bucket.
    fn advance(&mut self, end: u64) -> bool {
        if self.occupied == 0 {
            return false;
        }
        let bucket = self.occupied.trailing_zeros() as usize + 1;
        let times = self.buckets[bucket].iter().map(|&(at, _)| at);
        let earliest = times.min().expect("an occupied bucket has entries");
        if earliest > end {
            return false;
        }
        self.present = earliest;
        self.occupied &= self.occupied - 1;
        let mut entries = std::mem::take(&mut self.buckets[bucket]);
        for (at, item) in entries.drain(..) {
            self.place(at, item);
        }
        self.buckets[bucket] = entries;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::random::Random;
    use std::collections::BTreeMap;

    /// A sorted map with the order of entry as the second key is the model.
    #[test]
    fn agrees_with_a_sorted_map_under_random_use() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let mut queue = EventQueue::new();
            let mut model = BTreeMap::new();
            let mut now = 0;
            for number in 0..3_000u32 {
                if random.chance(0.6) {
                    let at = now + (random.next_u64() >> (10 + random.below(54)));
                    queue.push(Instant::from_nanos(at), number);
                    model.insert((at, number), ());
                } else {
                    let end = now + (random.next_u64() >> (20 + random.below(44)));
                    let expected = model.first_key_value().map(|(&key, ())| key);
                    let expected = expected.filter(|&(at, _)| at <= end);
                    let popped = queue.pop_until(Instant::from_nanos(end));
                    assert_eq!(popped.map(|(at, number)| (at.as_nanos(), number)), expected);
                    if let Some(key) = expected {
                        model.remove(&key);
                        now = key.0;
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_instant_keeps_the_order_of_entry() {
        let mut queue = EventQueue::new();
        let at = Instant::from_millis(1_000);
        for number in 0..5 {
            queue.push(at, number);
            queue.push(Instant::from_millis(u64::from(number)), 100);
        }
        let order: Vec<u32> =
            std::iter::from_fn(|| queue.pop_until(at)).map(|(_, number)| number).collect();
        assert_eq!(order, [100, 100, 100, 100, 100, 0, 1, 2, 3, 4]);
    }
}
