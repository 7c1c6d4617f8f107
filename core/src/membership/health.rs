//! Local health: how much a node distrusts its own view (Lifeguard, section IV-A).
//!
//! A node whose probes fail although others reach the target, or that has to refute suspicions, is more
//! likely slow itself. Its score lengthens its own timeouts and slows its own probing. Being probed says
//! nothing about health and does not change the score.

use crate::config::HEALTH_SCORE_MAX;
use crate::time::Duration;

/// The local health score, 0 (well) to [`HEALTH_SCORE_MAX`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LocalHealth {
    score: u8,
}

impl LocalHealth {
    pub fn score(self) -> u8 {
        self.score
    }

    /// An own probe was answered.
    pub fn improve(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// `count` things went wrong that hint at this node itself.
    pub fn worsen(&mut self, count: u8) {
        self.score = self.score.saturating_add(count).min(HEALTH_SCORE_MAX);
    }

    /// How much longer everything takes at this score.
    pub fn multiplier(self) -> u32 {
        1 + u32::from(self.score)
    }

    /// A duration lengthened by the score.
    pub fn scale(self, duration: Duration) -> Duration {
        duration * self.multiplier()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_in_its_range() {
        let mut health = LocalHealth::default();
        health.improve();
        assert_eq!((health.score(), health.multiplier()), (0, 1));
        health.worsen(3);
        health.worsen(200);
        assert_eq!((health.score(), health.multiplier()), (8, 9));
        health.improve();
        assert_eq!(health.scale(Duration::from_millis(10)), Duration::from_millis(80));
    }
}
