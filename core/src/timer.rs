//! A hierarchical timing wheel: any number of deadlines, any horizon, exact to one tick of 1 ms.
//!
//! Timers have dense numbers chosen by their owner, at most one deadline each, so the wheel is a set of
//! doubly linked lists threaded through flat arrays: setting, moving and clearing a timer are O(1) and
//! allocate only when a number is used for the first time. (Varghese and Lauck, 1987, scheme 7.)
//!
//! Level `l` has 64 slots of `64^l` ticks. A deadline lives on the level of the highest six-bit digit in
//! which it differs from the current tick, so every slot ahead on a lower level is due before any slot
//! on a higher one, and eleven levels cover the whole clock. When time enters a slot of a
//! higher level its timers move down; when it enters a slot of level 0 they are due. Deadlines are
//! rounded up: a timer never fires early, and at most one tick late.

use crate::planted::{PlantedFault, is_planted};
use crate::slots;
use crate::time::Instant;

const TICK_NANOS: u64 = 1_000_000;
const DIGIT_BITS: u32 = 6;
const SLOTS: usize = 1 << DIGIT_BITS;
const LEVELS: usize = 11;
const NONE: u32 = u32::MAX;
/// The list of timers that are due and not yet handed out stands behind those of the slots.
const DUE: usize = LEVELS * SLOTS;

/// A timer's deadline and its place in a list. There is one for every member, so it is kept small: the
/// whole clock has fewer than 2^45 ticks, which leaves room for the list beside the deadline.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The deadline in ticks, and in the lowest bits the list.
    place: u64,
    next: u32,
    previous: u32,
}

const LIST_BITS: u32 = 16;
/// The list of timers that are not set.
const NO_LIST: usize = (1 << LIST_BITS) - 1;
const _: () = assert!(DUE < NO_LIST && u64::MAX / TICK_NANOS < 1 << (u64::BITS - LIST_BITS));

const IDLE: Link = Link { place: NO_LIST as u64, next: NONE, previous: NONE };

impl Link {
    fn deadline(self) -> u64 {
        self.place >> LIST_BITS
    }

    fn list(self) -> usize {
        self.place as usize & NO_LIST
    }

    fn set_deadline(&mut self, tick: u64) {
        self.place = tick << LIST_BITS | self.list() as u64;
    }

    fn set_list(&mut self, list: usize) {
        self.place = self.place >> LIST_BITS << LIST_BITS | list as u64;
    }
}

/// The timing wheel. Timer numbers index an array, so they should be small and dense.
#[derive(Debug)]
pub struct TimerWheel {
    /// The tick up to which timers have been taken out of their slots.
    elapsed: u64,
    links: Vec<Link>,
    heads: [u32; DUE + 1],
    tails: [u32; DUE + 1],
    occupied: [u64; LEVELS],
}

impl TimerWheel {
    /// An empty wheel whose time starts at `now`.
    pub fn new(now: Instant) -> TimerWheel {
        TimerWheel {
            elapsed: now.as_nanos() / TICK_NANOS,
            links: Vec::new(),
            heads: [NONE; DUE + 1],
            tails: [NONE; DUE + 1],
            occupied: [0; LEVELS],
        }
    }

    /// Sets or moves the deadline of a timer. A deadline in the past is due at once.
    pub fn set(&mut self, timer: u32, deadline: Instant) {
        self.clear(timer);
        let index = timer as usize;
        slots::reach(&mut self.links, timer, IDLE);
        self.links[index].set_deadline(deadline.as_nanos().div_ceil(TICK_NANOS));
        self.place(timer);
    }

    /// Takes a timer off; nothing happens when it is not set.
    pub fn clear(&mut self, timer: u32) {
        if self.is_set(timer) {
            self.unlink(timer);
        }
    }

    /// Whether a timer has a deadline that it has not been handed out for.
    pub fn is_set(&self, timer: u32) -> bool {
        self.links.get(timer as usize).is_some_and(|link| link.list() != NO_LIST)
    }

    /// When [`TimerWheel::expire`] should be called next. It may then find nothing due, because a far
    /// deadline is known only to its slot until time comes near; it is never too late.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.heads[DUE] != NONE {
            return Some(Instant::from_nanos(self.elapsed.saturating_mul(TICK_NANOS)));
        }
        let (_, tick) = self.next_slot()?;
        Some(Instant::from_nanos(tick.saturating_mul(TICK_NANOS)))
    }

    /// Hands out one timer that is due at `now`, in the order of deadlines, or `None`.
    pub fn expire(&mut self, now: Instant) -> Option<u32> {
        let now_tick = now.as_nanos() / TICK_NANOS;
        loop {
            let timer = self.heads[DUE];
            if timer != NONE {
                self.unlink(timer);
                return Some(timer);
            }
            match self.next_slot() {
                Some((slot, tick)) if tick <= now_tick => {
                    self.elapsed = self.elapsed.max(tick);
                    self.open_slot(slot);
                }
                _ => {
                    self.elapsed = self.elapsed.max(now_tick);
                    return None;
                }
            }
        }
    }

    /// The earliest occupied slot and the tick at which it begins.
    fn next_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let digit = self.occupied[level].trailing_zeros();
        let shift = level as u32 * DIGIT_BITS;
        let above = shift + DIGIT_BITS;
        let prefix = if above >= u64::BITS { 0 } else { self.elapsed >> above << above };
        Some((level * SLOTS + digit as usize, prefix | u64::from(digit) << shift))
    }

    /// Moves the timers of a slot that time has entered: down the levels, or to the list of those due.
    fn open_slot(&mut self, slot: usize) {
        let is_lowest = slot < SLOTS;
        while self.heads[slot] != NONE {
            let timer = self.heads[slot];
            self.unlink(timer);
            let is_due = self.links[timer as usize].deadline() <= self.elapsed;
            if is_lowest {
                self.append(timer, DUE);
            } else if !(is_due && is_planted(PlantedFault::LostTimer)) {
                self.place(timer);
            }
        }
    }

    fn place(&mut self, timer: u32) {
        let tick = self.links[timer as usize].deadline().max(self.elapsed);
        let differing = (tick ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = (u64::BITS - 1 - differing.leading_zeros()) / DIGIT_BITS;
        let digit = (tick >> (level * DIGIT_BITS)) as usize % SLOTS;
        self.append(timer, level as usize * SLOTS + digit);
    }

    fn append(&mut self, timer: u32, list: usize) {
        let tail = self.tails[list];
        let link = &mut self.links[timer as usize];
        (link.previous, link.next) = (tail, NONE);
        link.set_list(list);
        match tail {
            NONE => self.heads[list] = timer,
            tail => self.links[tail as usize].next = timer,
        }
        self.tails[list] = timer;
        if list < DUE {
            self.occupied[list / SLOTS] |= 1 << (list % SLOTS);
        }
    }

    fn unlink(&mut self, timer: u32) {
        let link = &mut self.links[timer as usize];
        let (Link { next, previous, .. }, list) = (*link, link.list());
        link.set_list(NO_LIST);
        match previous {
            NONE => self.heads[list] = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.tails[list] = previous,
            next => self.links[next as usize].previous = previous,
        }
        if list < DUE && self.heads[list] == NONE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::BTreeMap;

    fn expire_all(wheel: &mut TimerWheel, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| wheel.expire(now)).collect()
    }

    /// The Python wheel fired 2.1 s timers at 4.8 s and 1.7 s timers after 0.1 s.
    #[test]
    fn defect_f2_deadlines_across_levels_fire_on_their_tick() {
        for millis in [1, 63, 64, 65, 1_700, 1_900, 2_100, 4_095, 4_096, 5_000, 8_000, 30_000] {
            let start = Instant::from_millis(123_457);
            let mut wheel = TimerWheel::new(start);
            let deadline = Instant::from_millis(123_457 + millis);
            wheel.set(0, deadline);
            let before = Instant::from_nanos(deadline.as_nanos() - 1);
            assert_eq!(wheel.expire(before), None, "{millis} ms fired early");
            assert_eq!(wheel.expire(deadline), Some(0), "{millis} ms did not fire");
        }
    }

    /// The Python wheel wrapped deadlines beyond 64 s: 120 s fired at about 90 s.
    #[test]
    fn defect_f3_deadlines_beyond_a_minute_do_not_wrap() {
        let hour = 3_600_000;
        for millis in [70_000, 120_000, 270_000, hour, 1_000 * 24 * hour] {
            let mut wheel = TimerWheel::new(Instant::ZERO);
            wheel.set(3, Instant::from_millis(millis));
            assert_eq!(wheel.expire(Instant::from_millis(millis - 1)), None);
            assert_eq!(wheel.expire(Instant::from_millis(millis)), Some(3));
            assert_eq!(wheel.next_deadline(), None);
        }
        let mut wheel = TimerWheel::new(Instant::ZERO);
        wheel.set(0, Instant::MAX);
        assert_eq!(wheel.expire(Instant::from_millis(1_000 * hour)), None);
        assert!(wheel.is_set(0));
    }

    /// A sorted map is the model: same timers, same order of deadlines, never early, one tick late at most.
    #[test]
    fn agrees_with_a_sorted_list_under_random_use() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut now = random.next_u64() >> (1 + random.below(62));
            let mut wheel = TimerWheel::new(Instant::from_nanos(now));
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for _ in 0..400 {
                let timer = random.below(40);
                match random.below(4) {
                    0 => {
                        wheel.clear(timer);
                        model.remove(&timer);
                    }
                    1 | 2 => {
                        let deadline = now.saturating_add(random.next_u64() >> random.below(64));
                        wheel.set(timer, Instant::from_nanos(deadline));
                        model.insert(timer, deadline);
                    }
                    _ => {
                        now = now.saturating_add(random.next_u64() >> (8 + random.below(50)));
                        check_expiry(&mut wheel, &mut model, now);
                    }
                }
                assert_eq!(wheel.next_deadline().is_some(), !model.is_empty());
            }
        }
    }

    fn check_expiry(wheel: &mut TimerWheel, model: &mut BTreeMap<u32, u64>, now: u64) {
        let mut last_tick = 0;
        for timer in expire_all(wheel, Instant::from_nanos(now)) {
            let deadline = model.remove(&timer).expect("fired without being set");
            assert!(deadline <= now, "fired early");
            assert!(deadline.div_ceil(TICK_NANOS) >= last_tick || deadline < now, "out of order");
            last_tick = deadline.div_ceil(TICK_NANOS);
        }
        let overdue =
            model.values().find(|deadline| deadline.div_ceil(TICK_NANOS) <= now / TICK_NANOS);
        assert_eq!(overdue, None, "missed at {now}");
        if let Some(next) = wheel.next_deadline() {
            let first = model.values().min().expect("a set timer is in the model");
            assert!(next.as_nanos() <= first.div_ceil(TICK_NANOS).saturating_mul(TICK_NANOS));
            assert!(next > Instant::from_nanos(now), "would spin");
        }
    }
}
