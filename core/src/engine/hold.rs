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
            Timer::LeaveRound | Timer::Fetch(_) | Timer::Reading(_) | Timer::Member(_) => {
                return false;
            }
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

    /// The host can send again and has sent what waited. Drain, then call [`Engine::handle_timeout`]: what has
    /// come due meanwhile is due now. A node that was held for long makes up for it as one that was not run.
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

#[cfg(test)]
mod tests {
    use crate::config::{DATAGRAM_SIZE_MAX, Mechanisms};
    use crate::node::{MemberState, Role};
    use crate::stats::Counter;
    use crate::testing::{Cluster, address, config};
    use crate::{Config, Duration};

    const SECOND: Duration = Duration::from_secs(1);

    fn cluster(mechanisms: Mechanisms) -> Cluster {
        let mut cluster = Cluster::new();
        for number in 0..5 {
            // Managers would add what they say in elections.
            let role = Role::Worker;
            cluster.start(number, Config { role, mechanisms, ..config(number) });
        }
        cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
        cluster
    }

    /// Holds a node for a while without bringing it a datagram, and counts what it wants to send.
    fn hold(cluster: &mut Cluster, number: u16, seconds: u64) -> (usize, u64) {
        let mut engine = cluster.engines.remove(&number).unwrap();
        let mut now = cluster.now;
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        let before = engine.stats().value(Counter::ProbesSent);
        let mut count = 0;
        engine.hold(now);
        for _ in 0..seconds * 100 {
            now += Duration::from_millis(10);
            engine.handle_timeout(now);
            count += std::iter::from_fn(|| engine.poll_transmit(now, &mut buffer)).count();
        }
        let probes = engine.stats().value(Counter::ProbesSent) - before;
        assert_eq!(engine.member(address(1), now).unwrap().state, MemberState::Alive);
        engine.release(now);
        while engine.poll_transmit(now, &mut buffer).is_some() {}
        engine.handle_timeout(now);
        while engine.poll_transmit(now, &mut buffer).is_some() {}
        cluster.engines.insert(number, engine);
        (count, probes)
    }

    #[test]
    fn a_held_node_wants_to_say_each_thing_once() {
        let mut cluster = cluster(Mechanisms::NONE);
        let (count, probes) = hold(&mut cluster, 0, 60);
        // A probe, the second try and three questions to helpers, a round of gossip, a request for a table.
        assert!((2..20).contains(&count), "{count} datagrams");
        assert_eq!(probes, 1);
    }

    #[test]
    fn a_probe_that_could_not_leave_is_given_up_after_the_release_only() {
        let mut cluster = cluster(Mechanisms::NONE);
        hold(&mut cluster, 0, 5);
        let suspects = |cluster: &Cluster| {
            (1..5).filter(|&n| cluster.state(0, n) == Some(MemberState::Suspect)).count()
        };
        assert_eq!(suspects(&cluster), 1);
    }

    #[test]
    fn a_node_that_was_held_doubts_itself_and_not_others() {
        let mut cluster = cluster(Mechanisms::ALL);
        hold(&mut cluster, 0, 5);
        let engine = &cluster.engines[&0];
        assert!(engine.health_score() > 0);
        assert_eq!(engine.stats().value(Counter::Stalls), 1);
        assert!((1..5).all(|n| cluster.state(0, n) == Some(MemberState::Alive)));
    }
}
