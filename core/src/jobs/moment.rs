//! Points in time that may lie before the host's clock began.
//!
//! A job that is resumed on another host may have started before that host did. Only durations
//! travel between hosts, so "started an hour ago" has to be expressible on a clock that shows ten
//! seconds.

use crate::time::{Duration, Instant};

/// Signed nanoseconds since the clock's origin. All arithmetic saturates, 292 years either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(i64);

impl Moment {
    pub fn at(instant: Instant) -> Moment {
        Moment(i64::try_from(instant.as_nanos()).unwrap_or(i64::MAX))
    }

    pub fn ago(now: Instant, duration: Duration) -> Moment {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Moment(Moment::at(now).0.saturating_sub(nanos))
    }

    /// How long ago this was, zero when it has not come yet.
    pub fn age(self, now: Instant) -> Duration {
        let nanos = Moment::at(now).0.saturating_sub(self.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    /// The instant `nanos` nanoseconds later; the origin of the clock when it lies before that.
    pub fn after_nanos(self, nanos: u64) -> Instant {
        let sum = i128::from(self.0) + i128::from(nanos);
        Instant::from_nanos(u64::try_from(sum.max(0)).unwrap_or(u64::MAX))
    }

    pub fn after(self, duration: Duration) -> Instant {
        self.after_nanos(nanos(duration))
    }
}

/// A duration as nanoseconds in 64 bits, saturating after 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn an_hour_ago_exists_on_a_clock_that_shows_ten_seconds() {
        let now = Instant::from_millis(10_000);
        let start = Moment::ago(now, HOUR);
        assert_eq!(start.age(now), HOUR);
        assert_eq!(start.after(2 * HOUR), now + HOUR);
        assert_eq!(start.after(Duration::from_secs(1)), Instant::ZERO);
        assert!(start < Moment::at(now));
    }

    #[test]
    fn arithmetic_saturates() {
        let start = Moment::at(Instant::MAX);
        assert_eq!(start.age(Instant::ZERO), Duration::ZERO);
        assert_eq!(start.after(Duration::MAX), Instant::MAX);
        assert!(Moment::ago(Instant::ZERO, Duration::MAX).age(Instant::MAX) > HOUR);
    }
}
