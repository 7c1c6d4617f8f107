//! Delivery of state: acknowledged, repeated with growing pauses, recognised when it comes twice.
//!
//! What is delivered is not a queue of messages but the present state of one job: the message is
//! written when it is sent, from the state of that moment. News that overtakes undelivered news
//! replaces it, so a peer that was away for an hour costs one message per job, and memory is
//! bounded by the number of jobs. Every message has a number; an acknowledgement of any message
//! that carried the present news settles it.

use super::config::{JobsConfig, millis};
use super::timeout::FenceToken;
use crate::random::Random;
use crate::time::{Duration, Instant};

/// Doublings after which the pause is longer than any that may be configured.
const DOUBLINGS_MAX: u32 = 24;

/// The sender's side: one piece of news that has to arrive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    /// When to send (again).
    pub due_at: Instant,
    /// The number of what was sent last; the first is 1.
    pub sequence: u32,
    /// How often the present news was sent, 255 standing for any number above.
    attempts: u8,
    /// Whether the news has not been acknowledged.
    pub is_pending: bool,
}

impl Delivery {
    /// Nothing to deliver yet.
    pub fn idle() -> Delivery {
        Delivery { due_at: Instant::MAX, sequence: 0, attempts: 0, is_pending: false }
    }

    /// There is news, to be sent at once and until it is acknowledged.
    pub fn renew(&mut self, now: Instant) {
        (self.due_at, self.attempts, self.is_pending) = (now, 0, true);
    }

    /// The state is sent now, under a new number. What has been acknowledged is only a sign of
    /// life, repeated at the interval of reports.
    pub fn sent(&mut self, now: Instant, config: &JobsConfig, random: &mut Random) {
        self.sequence = self.sequence.saturating_add(1);
        self.attempts = self.attempts.saturating_add(1);
        let pause = match self.is_pending {
            true => backoff(config, self.attempts),
            false => millis(config.report_interval_ms),
        };
        self.due_at = now + jittered(pause, random);
    }

    /// An acknowledgement came. Returns whether it is for the news that was pending: for any of
    /// the times it was sent. From then on the state is sent as a sign of life.
    pub fn acknowledge(
        &mut self,
        sequence: u32,
        now: Instant,
        config: &JobsConfig,
        random: &mut Random,
    ) -> bool {
        let age = self.sequence.checked_sub(sequence);
        let matches = self.is_pending && age.is_some_and(|age| age < u32::from(self.attempts));
        if matches {
            self.is_pending = false;
            self.due_at = now + jittered(millis(config.report_interval_ms), random);
        }
        matches
    }

    /// Whether the present news has been sent before.
    pub fn is_repeated(&self) -> bool {
        self.is_pending && self.attempts > 0
    }
}

/// The pause after so many attempts.
pub(super) fn backoff(config: &JobsConfig, attempts: u8) -> Duration {
    let doublings = u32::from(attempts.saturating_sub(1)).min(DOUBLINGS_MAX);
    millis((config.retry_min_ms << doublings).min(config.retry_max_ms))
}

/// Seven eighths of a pause to all of it, so that jobs that began together do not report together.
pub(super) fn jittered(pause: Duration, random: &mut Random) -> Duration {
    let nanos = pause.as_nanos() as u64;
    Duration::from_nanos(nanos - (nanos as f64 / 8.0 * random.unit()) as u64)
}

/// What the receiver's side makes of something that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Never seen.
    New,
    /// Seen, or older than what was seen, from the same leader.
    Repeated,
    /// From a leader that has been replaced.
    Superseded,
}

/// The receiver's side: the newest that was seen.
pub(super) fn freshness(seen: (FenceToken, u32), fence: FenceToken, sequence: u32) -> Freshness {
    let (newest_fence, newest_sequence) = seen;
    if fence < newest_fence {
        Freshness::Superseded
    } else if fence == newest_fence && sequence <= newest_sequence {
        Freshness::Repeated
    } else {
        Freshness::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(1_000);

    fn pause(delivery: &Delivery) -> u64 {
        (delivery.due_at - NOW).as_millis() as u64
    }

    #[test]
    fn pauses_double_to_a_limit_until_acknowledged() {
        let (config, mut random) = (JobsConfig::default(), Random::new(1));
        let mut delivery = Delivery::idle();
        delivery.renew(NOW);
        assert_eq!(delivery.due_at, NOW);
        for longest in [1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            delivery.sent(NOW, &config, &mut random);
            assert!((longest * 7 / 8..=longest).contains(&pause(&delivery)), "{longest}");
        }
        (0..300).for_each(|_| delivery.sent(NOW, &config, &mut random));
        assert!(pause(&delivery) <= 10_000);
        assert_eq!((delivery.sequence, delivery.attempts), (306, 255));
        assert!(delivery.acknowledge(306, NOW, &config, &mut random));
        assert!(!delivery.acknowledge(306, NOW, &config, &mut random), "once");
    }

    #[test]
    fn an_acknowledgement_of_older_news_settles_nothing() {
        let (config, mut random) = (JobsConfig::default(), Random::new(1));
        let mut delivery = Delivery::idle();
        delivery.renew(NOW);
        delivery.sent(NOW, &config, &mut random);
        delivery.renew(NOW);
        assert!(!delivery.acknowledge(1, NOW, &config, &mut random), "of what was before the news");
        delivery.sent(NOW, &config, &mut random);
        delivery.sent(NOW, &config, &mut random);
        assert!(!delivery.acknowledge(1, NOW, &config, &mut random));
        assert!(!delivery.acknowledge(4, NOW, &config, &mut random), "a number from the future");
        assert!(delivery.acknowledge(2, NOW, &config, &mut random), "the first of two attempts");
        assert!(pause(&delivery) > 8_000, "from here on only signs of life");
    }

    #[test]
    fn repeated_and_superseded_are_recognised() {
        let seen = (FenceToken(2), 5);
        assert_eq!(freshness(seen, FenceToken(2), 6), Freshness::New);
        assert_eq!(freshness(seen, FenceToken(3), 1), Freshness::New);
        assert_eq!(freshness(seen, FenceToken(2), 5), Freshness::Repeated);
        assert_eq!(freshness(seen, FenceToken(1), 9), Freshness::Superseded);
    }
}
