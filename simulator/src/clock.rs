//! A node's own clock: it starts anywhere and runs a little fast or slow.
//!
//! The simulation knows the true time, an engine only its clock. Conversions are exact in integers,
//! so that a deadline on the node's clock falls on one definite true instant.

use shoal_core::Instant;

const MILLION: i128 = 1_000_000;

/// How a node's monotonic clock relates to the true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What it shows at the true time zero, in nanoseconds.
    origin_ns: u64,
    /// How much too fast it runs, in millionths; negative when too slow.
    drift_ppm: i32,
}

impl Clock {
    /// A clock that shows the true time.
    pub const TRUE: Clock = Clock { origin_ns: 0, drift_ppm: 0 };

    /// A clock that shows `origin_ns` at the true time zero and runs `drift_ppm` millionths too
    /// fast.
    ///
    /// # Panics
    /// When it would run backwards or at more than twice the true rate.
    pub fn new(origin_ns: u64, drift_ppm: i32) -> Clock {
        assert!(drift_ppm.abs() < 1_000_000, "a clock runs forwards");
        Clock { origin_ns, drift_ppm }
    }

    /// What the clock shows at a true time.
    pub fn local(&self, at: Instant) -> Instant {
        let elapsed = at.as_nanos();
        let shown = match self.drift_ppm {
            0 => elapsed,
            drift => (i128::from(elapsed) * (MILLION + i128::from(drift)) / MILLION) as u64,
        };
        Instant::from_nanos(self.origin_ns + shown)
    }

    /// The first true time at which the clock shows `local` or later.
    pub fn true_time(&self, local: Instant) -> Instant {
        let shown = local.as_nanos().saturating_sub(self.origin_ns);
        let elapsed = match self.drift_ppm {
            0 => shown,
            drift => {
                let rate = MILLION + i128::from(drift);
                let elapsed = (i128::from(shown) * MILLION + rate - 1) / rate;
                u64::try_from(elapsed).unwrap_or(u64::MAX)
            }
        };
        Instant::from_nanos(elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::random::Random;

    #[test]
    fn a_deadline_is_reached_at_its_true_time_and_not_a_nanosecond_before() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            let drift = random.below(100_000) as i32 - 50_000;
            let clock = Clock::new(random.next_u64() >> 20, drift);
            let deadline = clock.local(Instant::from_nanos(1 + (random.next_u64() >> 16)));
            let at = clock.true_time(deadline);
            let before = Instant::from_nanos(at.as_nanos() - 1);
            assert!(clock.local(at) >= deadline, "{clock:?}");
            assert!(clock.local(before) < deadline, "{clock:?}");
        }
    }

    #[test]
    fn a_clock_without_fault_shows_the_true_time() {
        let at = Instant::from_millis(77);
        assert_eq!(Clock::TRUE.local(at), at);
        assert_eq!(Clock::TRUE.true_time(at), at);
        assert_eq!(Clock::TRUE.true_time(Instant::MAX), Instant::MAX);
    }
}
