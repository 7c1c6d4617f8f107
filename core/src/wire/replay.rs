//! The sliding window that recognises a datagram seen before (RFC 6479).

const WORDS: usize = 16;
const WORD_BITS: u64 = u64::BITS as u64;

/// Remembers which of the latest counters of one sender have been used.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    /// One above the highest counter seen.
    next: u64,
    words: [u64; WORDS],
}

impl ReplayWindow {
    /// Counters this far behind the highest are too old to tell and count as replayed.
    pub const SPAN: u64 = (WORDS as u64 - 1) * WORD_BITS;

    /// Whether a datagram with this counter would be new.
    pub fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        if self.next - counter > Self::SPAN {
            return false;
        }
        self.words[word_of(counter)] & bit_of(counter) == 0
    }

    /// Remembers the counter of a datagram whose seal was right.
    pub fn insert(&mut self, counter: u64) {
        debug_assert!(self.is_new(counter));
        if counter >= self.next {
            // Words between the old and the new highest counter held bits of a span ago.
            let old_word = self.next.wrapping_sub(1) / WORD_BITS;
            let first = if self.next == 0 { 0 } else { old_word + 1 };
            let last = counter / WORD_BITS;
            for word in first.max((last + 1).saturating_sub(WORDS as u64))..=last {
                self.words[word as usize % WORDS] = 0;
            }
            self.next = counter.saturating_add(1);
        }
        self.words[word_of(counter)] |= bit_of(counter);
    }
}

fn word_of(counter: u64) -> usize {
    (counter / WORD_BITS) as usize % WORDS
}

fn bit_of(counter: u64) -> u64 {
    1 << (counter % WORD_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::BTreeSet;

    #[test]
    fn agrees_with_a_set_under_random_use() {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            let mut base = random.next_u64() >> (1 + random.below(60));
            for _ in 0..3_000 {
                base += u64::from(random.below(4) * random.below(40));
                let counter = base.saturating_sub(u64::from(random.below(1_200)));
                let highest = seen.last().copied();
                let too_old =
                    highest.is_some_and(|highest: u64| highest + 1 > counter + ReplayWindow::SPAN);
                assert_eq!(window.is_new(counter), !too_old && !seen.contains(&counter));
                if window.is_new(counter) {
                    window.insert(counter);
                    seen.insert(counter);
                }
            }
        }
    }

    #[test]
    fn a_leap_forgets_the_past_and_keeps_refusing_it() {
        let mut window = ReplayWindow::default();
        window.insert(0);
        window.insert(1_000_000);
        assert!(!window.is_new(0));
        assert!(!window.is_new(1_000_000));
        assert!(window.is_new(999_999));
    }
}
