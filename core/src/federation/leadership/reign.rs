//! Leading: heartbeats, the lease that their acks carry, and stepping down.
//!
//! The lease is as old as the oldest promise that a majority needs, and promises count from when
//! the heartbeat was sent. So the leader never has to guess how long an ack was under way.

use super::{Leadership, Phase};
use crate::federation::Sender;
use crate::federation::config::LeadershipMode;
use crate::federation::messages::{Ballot, FederationMessage};
use crate::federation::outbox::{FederationEvent, Outbox, ResignationReason};
use crate::federation::voters::Voter;
use crate::node::Address;
use crate::time::Instant;

/// Heartbeats whose acks are recognised: one that is under way for more intervals comes too late.
const HEARTBEAT_WINDOW: usize = 16;

/// One leadership of this node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reign {
    pub heartbeat_at: Instant,
    /// When it leads no longer. Before the first promises of a majority, when it gives up waiting
    /// for them.
    pub ends_at: Instant,
    pub is_established: bool,
    ill_since: Option<Instant>,
}

impl Reign {
    pub fn new(now: Instant, ends_at: Instant, is_established: bool) -> Reign {
        Reign { heartbeat_at: now, ends_at, is_established, ill_since: None }
    }
}

/// When the last heartbeats were sent.
#[derive(Debug, Default)]
pub(super) struct HeartbeatTimes {
    times: [Option<(u32, Instant)>; HEARTBEAT_WINDOW],
}

impl HeartbeatTimes {
    fn note(&mut self, sequence: u32, now: Instant) {
        self.times[sequence as usize % HEARTBEAT_WINDOW] = Some((sequence, now));
    }

    fn sent_at(&self, sequence: u32) -> Option<Instant> {
        let (noted, sent_at) = self.times[sequence as usize % HEARTBEAT_WINDOW]?;
        (noted == sequence).then_some(sent_at)
    }
}

impl Leadership {
    pub(super) fn lead(&mut self, now: Instant, reign: &Reign, outbox: &mut Outbox) {
        if now >= reign.ends_at {
            // A lone manager is its own majority, however late it is.
            self.renew(now, outbox);
            if matches!(&self.phase, Phase::Leader(reign) if now >= reign.ends_at) {
                return self.step_down(now, ResignationReason::LeaseLost, None, outbox);
            }
        }
        if self.is_ill_for_long(now)
            && let Some(successor) = self.successor(now)
        {
            return self.step_down(now, ResignationReason::Unhealthy, Some(successor), outbox);
        }
        if now >= reign.heartbeat_at {
            self.heartbeat(now, outbox);
            // Counting the lease anew may find that a newcomer took the majority away.
            if matches!(&self.phase, Phase::Leader(reign) if now >= reign.ends_at) {
                self.step_down(now, ResignationReason::LeaseLost, None, outbox);
            }
        }
    }

    pub(super) fn heartbeat(&mut self, now: Instant, outbox: &mut Outbox) {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let interval = self.timing.heartbeat_interval;
        let Phase::Leader(reign) = &mut self.phase else { unreachable!("only leaders lead") };
        reign.heartbeat_at = now + interval;
        let is_established = reign.is_established;
        self.heartbeats.note(sequence, now);
        let message =
            FederationMessage::Heartbeat(self.ballot(now, self.term, sequence, is_established));
        for voter in self.voters.iter().filter(|voter| voter.is_present(now)) {
            outbox.send(voter.address, message);
        }
        self.renew(now, outbox);
    }

    pub(super) fn promise_received(
        &mut self,
        now: Instant,
        sender: &Sender,
        ballot: &Ballot,
        outbox: &mut Outbox,
    ) {
        if !matches!(self.phase, Phase::Leader(_)) {
            return;
        }
        if ballot.term > self.term {
            self.floor = self.floor.max(ballot.term);
            return self.step_down(now, ResignationReason::Superseded, None, outbox);
        }
        let sent_at = self.heartbeats.sent_at(ballot.sequence);
        if let Some(sent_at) = sent_at.filter(|_| ballot.term == self.term && ballot.flag) {
            self.tell_count(now, sender, ballot);
            self.voters.promise(sender.address, sent_at);
            self.renew(now, outbox);
        }
    }

    /// Counts the lease anew, after a promise or a change of the voters.
    pub(super) fn renew(&mut self, now: Instant, outbox: &mut Outbox) {
        let Phase::Leader(reign) = &mut self.phase else { return };
        if self.mode == LeadershipMode::External {
            return;
        }
        let since = self.voters.supported_since(now);
        let lease_end = since.map_or(Instant::ZERO, |since| since + self.timing.lease);
        if reign.is_established {
            reign.ends_at = lease_end;
        } else if now < lease_end {
            reign.is_established = true;
            reign.ends_at = lease_end;
            outbox.stats.elections_won += 1;
            self.announce(now, outbox);
            // The others need not wait for the next heartbeat to hear of it.
            self.heartbeat(now, outbox);
        }
    }

    fn is_ill_for_long(&mut self, now: Instant) -> bool {
        let is_ill = self.health_score > self.health_score_max;
        let Phase::Leader(reign) = &mut self.phase else { return false };
        if !is_ill || self.mode == LeadershipMode::External {
            reign.ill_since = None;
            return false;
        }
        now >= *reign.ill_since.get_or_insert(now) + self.timing.lease
    }

    /// The healthiest fit manager that has answered within the last lease.
    pub(super) fn successor(&self, now: Instant) -> Option<Address> {
        let is_able = |voter: &&Voter| {
            let is_recent = voter.promised().is_some_and(|sent| now < sent + self.timing.lease);
            is_recent && voter.is_present(now) && voter.health_score <= self.health_score_max
        };
        let able = self.voters.iter().filter(is_able);
        able.min_by_key(|voter| (voter.health_score, voter.address)).map(|voter| voter.address)
    }

    /// Ends this node's own leadership and returns the promises.
    pub(super) fn step_down(
        &mut self,
        now: Instant,
        reason: ResignationReason,
        successor: Option<Address>,
        outbox: &mut Outbox,
    ) {
        let Phase::Leader(reign) = self.phase else { unreachable!("only leaders step down") };
        self.phase = Phase::Follower;
        (self.leader, self.is_announced) = (None, false);
        let term = self.term;
        let is_leaving = self.is_leaving;
        for voter in self.voters.iter().filter(|voter| voter.is_present(now)) {
            let message = FederationMessage::Resignation { term, successor, is_leaving };
            outbox.send(voter.address, message);
        }
        if reign.is_established {
            outbox.stats.step_downs += 1;
            outbox.emit(FederationEvent::SteppedDown { term, reason, at: now });
        }
        self.schedule_election(now + self.timing.vote_round);
    }
}
