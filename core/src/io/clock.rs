//! The node clock, and the way from the kernel's receive timestamps to it.
//!
//! Node time is `CLOCK_MONOTONIC` in nanoseconds: it never steps, and it stands still while the
//! machine is suspended, so that a laptop that wakes up does not take every peer for dead. The
//! kernel stamps datagrams with the wall clock. [`ReceiveClock`] moves such a stamp over with an
//! offset that it samples at every wake-up, and never lets it leave the time span in which the
//! datagram can have arrived: a wall clock that steps costs one round of precise stamps and nothing
//! else.

use crate::time::{Duration, Instant};

/// Wall clock readings may drift by this much against the node clock before they count as a step.
const DRIFT_NANOS_MIN: u64 = 100_000;
/// And by one part in this many of the time passed: twice the fastest slewing of `adjtime`.
const DRIFT_DIVISOR: u64 = 1_000;
/// Two clock readings further apart than this had an interruption between them.
const SAMPLE_NANOS_MAX: u64 = 5_000;
/// How often an interrupted sample is tried again.
const SAMPLE_ATTEMPTS: usize = 3;

/// The present instant on the clock that every node of this process uses.
pub(super) fn now() -> Instant {
    Instant::from_nanos(read(libc::CLOCK_MONOTONIC))
}

/// The wall clock, in nanoseconds since 1970.
pub(super) fn wall_nanos() -> u64 {
    read(libc::CLOCK_REALTIME)
}

/// The wall clock at an instant of node time, in milliseconds since 1970.
pub(super) fn unix_ms(instant: Instant) -> u64 {
    let offset = sample_offset();
    (i128::from(instant.as_nanos()) + i128::from(offset)).max(0) as u64 / 1_000_000
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a writable timespec that outlives the call.
    let status = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(status, 0, "every supported system has both clocks");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What to add to node time to get the wall clock, in nanoseconds.
fn sample_offset() -> i64 {
    let mut best = (u64::MAX, 0);
    for _ in 0..SAMPLE_ATTEMPTS {
        let before = now().as_nanos();
        let wall = wall_nanos();
        let spread = now().as_nanos() - before;
        if spread < best.0 {
            best = (spread, wall as i64 - (before + spread / 2) as i64);
        }
        if spread <= SAMPLE_NANOS_MAX {
            break;
        }
    }
    best.1
}

/// Turns the kernel's receive timestamps into node time.
#[derive(Debug)]
pub(super) struct ReceiveClock {
    /// No datagram read in this round arrived earlier: the round before would have read it.
    earliest: Instant,
    /// When this round began.
    round_start: Instant,
    wall_offset: i64,
    /// The wall clock did not step during the wait that began this round.
    steady: bool,
}

impl ReceiveClock {
    pub(super) fn new() -> ReceiveClock {
        let now = now();
        let wall_offset = sample_offset();
        ReceiveClock { earliest: now, round_start: now, wall_offset, steady: true }
    }

    /// Says that a wait ended at `now`. What is read next arrived since the wait before ended.
    pub(super) fn begin_round(&mut self, now: Instant) {
        self.resample(now, sample_offset());
    }

    fn resample(&mut self, now: Instant, wall_offset: i64) {
        let passed = (now - self.round_start).as_nanos() as u64;
        let drift = wall_offset.abs_diff(self.wall_offset);
        self.steady = drift <= DRIFT_NANOS_MIN + passed / DRIFT_DIVISOR;
        self.wall_offset = wall_offset;
        self.earliest = self.round_start;
        self.round_start = now;
    }

    /// When a datagram with this stamp (wall clock, nanoseconds) arrived, `now` when nothing better
    /// is known. Never before the previous round, never after `now`.
    pub(super) fn received_at(&self, stamp: Option<u64>, now: Instant) -> Instant {
        match stamp {
            Some(stamp) if self.steady => {
                let nanos = i128::from(stamp) - i128::from(self.wall_offset);
                let instant = Instant::from_nanos(nanos.clamp(0, i128::from(u64::MAX)) as u64);
                instant.max(self.earliest).min(now)
            }
            _ => now,
        }
    }
}

/// The time until `deadline`, `None` when it never comes.
pub(super) fn time_until(deadline: Instant, now: Instant) -> Option<Duration> {
    (deadline != Instant::MAX).then(|| deadline - now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn clock_at(nanos: u64, wall_offset: i64) -> ReceiveClock {
        let at = Instant::from_nanos(nanos);
        ReceiveClock { earliest: at, round_start: at, wall_offset, steady: true }
    }

    #[test]
    fn stamps_become_node_time() {
        let mut clock = clock_at(10 * SECOND, 1_000 * SECOND as i64);
        clock.resample(Instant::from_nanos(11 * SECOND), 1_000 * SECOND as i64 + 200_000);
        let now = Instant::from_nanos(11 * SECOND + 5_000);
        let stamp = 1_010 * SECOND + SECOND / 2;
        assert_eq!(
            clock.received_at(Some(stamp), now),
            Instant::from_nanos(10 * SECOND + SECOND / 2 - 200_000)
        );
        assert_eq!(clock.received_at(None, now), now);
    }

    #[test]
    fn wild_stamps_stay_inside_the_round() {
        let mut clock = clock_at(10 * SECOND, 0);
        clock.resample(Instant::from_nanos(11 * SECOND), 0);
        let now = Instant::from_nanos(11 * SECOND);
        assert_eq!(clock.received_at(Some(0), now), Instant::from_nanos(10 * SECOND));
        assert_eq!(clock.received_at(Some(u64::MAX), now), now);
    }

    #[test]
    fn stamps_around_a_clock_step_are_not_used() {
        let mut clock = clock_at(10 * SECOND, 0);
        clock.resample(Instant::from_nanos(11 * SECOND), -(SECOND as i64));
        let now = Instant::from_nanos(11 * SECOND + 1);
        assert_eq!(clock.received_at(Some(10 * SECOND), now), now);
        clock.resample(Instant::from_nanos(12 * SECOND), -(SECOND as i64));
        assert!(clock.steady, "the next round trusts the new offset");
    }

    #[test]
    fn the_wall_clock_agrees_with_the_standard_library() {
        #[allow(clippy::disallowed_methods)]
        let standard = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let ours = unix_ms(now());
        assert!(ours.abs_diff(standard.as_millis() as u64) < 1_000);
    }
}
