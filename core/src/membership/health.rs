//! Local health: how much a node distrusts its own view (Lifeguard, section IV-A).
//!
//! A node whose probes fail although others reach the target, or that has to refute suspicions, is more
//! likely slow itself. Its score lengthens its own timeouts and slows its own probing. Being probed says
//! nothing about health and does not change the score.
//!
//! A node that was stopped altogether (SIGSTOP, a suspended machine, a starved thread) sees it from its own
//! deadlines, which it meets far too late. What it was waiting for then proves nothing about others:
//! it drops its open probes, gives suspects the lost time back, and doubts itself first. Others may be about
//! to declare it dead, so it does not wait to be told: it raises its incarnation, which refutes whatever was
//! said in its absence, and lets many members know at once.

use super::probe::Purpose;
use super::table::{NONE, OWN_SLOT};
use super::{Context, Membership, greet};
use crate::config::{HEALTH_SCORE_MAX, WAKING_COUNT_MAX};
use crate::effects::Timer;
use crate::events::Event;
use crate::planted::{PlantedFault, is_planted};
use crate::stats::Counter;
use crate::time::Duration;

/// What a stall adds to the score.
const STALL_SCORE: u8 = 2;
/// Meeting a deadline this much too late is a stall, whatever the probe interval.
const STALL_MIN: Duration = Duration::from_millis(500);

/// The local health score, 0 (well) to [`HEALTH_SCORE_MAX`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalHealth {
    score: u8,
    score_max: u8,
}

impl LocalHealth {
    /// A node that is well, and without the mechanism always will be.
    pub fn new(is_enabled: bool) -> LocalHealth {
        LocalHealth { score: 0, score_max: if is_enabled { HEALTH_SCORE_MAX } else { 0 } }
    }

    pub fn score(self) -> u8 {
        self.score
    }

    /// An own probe was answered.
    pub fn improve(&mut self) {
        if !is_planted(PlantedFault::HealthNeverImproves) {
            self.score = self.score.saturating_sub(1);
        }
    }

    /// `count` things went wrong that hint at this node itself.
    pub fn worsen(&mut self, count: u8) {
        self.score = self.score.saturating_add(count).min(self.score_max);
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

impl Membership {
    /// Notices that a deadline is met `lateness` too late and, if that is a stall, makes up for it.
    pub(crate) fn note_lateness(&mut self, context: &mut Context, lateness: Duration) {
        let is_stall = lateness >= STALL_MIN.max(context.config.probe_interval());
        if !is_stall || !context.config.mechanisms.stall || self.is_leaving() {
            return;
        }
        context.effects.count(Counter::Stalls);
        context.effects.emit(Event::Stalled { lasted: lateness, at: context.now });
        self.health.worsen(STALL_SCORE);
        self.drop_own_probes(context);
        for index in 0..self.table.active_count() {
            let slot = self.table.active()[index];
            let place = self.table.get(slot).suspicion;
            if place != NONE {
                let suspicion = self.suspicions.get_mut(place);
                suspicion.extend(lateness);
                context.effects.set_timer(Timer::Member(slot), suspicion.deadline());
            }
        }
        // Before that, nobody can be about to declare it dead.
        if lateness >= self.shortest_suspicion(context) {
            self.announce_waking(context);
        }
    }

    /// Refutes what others may think of a node that was silent. Every message names the incarnation of its
    /// sender, so it need not say more.
    fn announce_waking(&mut self, context: &mut Context) {
        let incarnation = self.table.own().incarnation.next();
        self.table.set_incarnation(OWN_SLOT, incarnation);
        context.effects.change(OWN_SLOT);
        self.gossip.push(&mut self.table, OWN_SLOT);
        for slot in self.table.walk_active(WAKING_COUNT_MAX, context.random) {
            greet(context, self.table.get(slot).address);
        }
    }

    fn drop_own_probes(&mut self, context: &mut Context) {
        for place in self.probes.open_places() {
            let probe = self.probes.close(place);
            context.effects.clear_timer(Timer::Probe(place));
            if matches!(probe.purpose, Purpose::OnBehalf { .. }) {
                continue;
            }
            if let Some(slot) = self.table.find(probe.target) {
                self.table.get_mut(slot).is_probed = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stays_in_its_range() {
        let mut health = LocalHealth::new(true);
        health.improve();
        assert_eq!((health.score(), health.multiplier()), (0, 1));
        health.worsen(3);
        health.worsen(200);
        assert_eq!((health.score(), health.multiplier()), (8, 9));
        health.improve();
        assert_eq!(health.scale(Duration::from_millis(10)), Duration::from_millis(80));
        let mut indifferent = LocalHealth::new(false);
        indifferent.worsen(5);
        assert_eq!(indifferent.multiplier(), 1);
    }
}
