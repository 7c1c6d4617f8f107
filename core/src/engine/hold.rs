//! A node that cannot send for a while.
//!
//! Lifeguard (section V) takes it as the model of a slow agent: its threads block immediately before
//! they send, and its timers run. What it wanted to send lies with the host; here it is seen to that every
//! kind of round wants so only once, and that a probe is not given up before it has left. Suspicions
//! and whatever else needs no sending go on.

use super::Engine;
use crate::effects::Timer;
use crate::membership::Membership;
use crate::time::Instant;

/// Kinds of rounds: probe, gossip, table exchange, join.
const ROUND_COUNT: usize = 4;

/// What waits for the end of a hold.
#[derive(Debug)]
pub(super) struct Hold {
    began: Instant,
    /// Which rounds have come due since: those of the next time wait.
    has_fired: [bool; ROUND_COUNT],
    waiting: Vec<Timer>,
}

impl Hold {
    /// Whether a deadline that has come must wait; then it is kept.
    pub fn takes(&mut self, timer: Timer, membership: &Membership) -> bool {
        let round = match timer {
            Timer::ProbeRound => 0,
            Timer::GossipRound => 1,
            Timer::SyncRound => 2,
            Timer::JoinRound => 3,
            Timer::Probe(place) => {
                let waits = membership.has_asked_helpers(place);
                return waits && self.keep(timer);
            }
            Timer::LeaveRound | Timer::Fetch(_) | Timer::Member(_) => return false,
        };
        std::mem::replace(&mut self.has_fired[round], true) && self.keep(timer)
    }

    fn keep(&mut self, timer: Timer) -> bool {
        if !self.waiting.contains(&timer) {
            self.waiting.push(timer);
        }
        true
    }
}

impl Engine {
    /// The host cannot send for now; what it drains waits with it. Nothing happens when that is known.
    pub fn hold(&mut self, now: Instant) {
        self.begin_input(now);
        let began = self.now;
        let has_fired = [false; ROUND_COUNT];
        self.hold.get_or_insert(Hold { began, has_fired, waiting: Vec::new() });
    }

    /// The host can send again and has sent what waited. Call [`Engine::handle_timeout`] next: what has come
    /// due meanwhile is due now. A node that was held for long makes up for it as one that was not run.
    pub fn release(&mut self, now: Instant) {
        self.begin_input(now);
        let Some(hold) = self.hold.take() else { return };
        let (membership, mut context) = self.split();
        let lasted = context.now.saturating_since(hold.began);
        membership.note_lateness(&mut context, lasted);
        for timer in hold.waiting {
            let is_over = match timer {
                Timer::Probe(place) => !membership.has_asked_helpers(place),
                _ => membership.is_leaving(),
            };
            if !is_over {
                context.effects.set_timer(timer, context.now);
            }
        }
    }
}
