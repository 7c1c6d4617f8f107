//! Which manager leads a datacenter: votes, terms, and a lease.
//!
//! ```text
//!            silence            majority would vote        majority voted
//! follower ----------> pre-candidate ----------> candidate ----------> leader
//!     ^                      |                       |                    |
//!     +----------------------+-----------------------+--------------------+
//!          a leader is heard, the round ends, or the lease runs out
//! ```
//!
//! Elections are Raft's (Ongaro, thesis, 2014: section 3.4, pre-vote 9.6, hand-over 3.10), without
//! a log. A leader leads only while it holds a lease (Gray and Cheriton, 1989): a majority has
//! promised, in acks to heartbeats, to elect nobody else for that long. A term numbers each
//! leadership, rises for ever and fences what an earlier leader still says.
//!
//! # What holds
//! 1. *A voter votes once in a term.* So two leaders of one term would need two majorities without
//!    a common voter.
//! 2. *One leader at a time.* A lease is counted from when the heartbeat was sent, a promise from
//!    when it was heard and a little longer, for clocks that run at different rates. Whoever wins
//!    an election has a voter in common with the promises of the lease before, and that voter votes
//!    only after its promise. A leader whose lease runs out stops by its own clock, without being
//!    told.
//! 3. *Forgetting breaks neither.* Nothing is kept on disk, so a node that has just started neither
//!    votes nor promises for a lease and a round of votes: whatever its last run promised is over
//!    by then, and whoever it voted for leads or has given up. Nor does it vote below the wall
//!    clock at its start, where the host numbers its runs by the wall clock: so terms rise even if
//!    every manager restarts at once, as long as clocks are off by less than that abstention.
//! 4. *Majorities meet.* See [`voters`](super::voters) for who counts. That number is the same
//!    everywhere but for members on their way in or out, or forgotten after a long partition, so
//!    `manager_count_min` should be set where that matters; then no half ever elects for itself.
//!
//! One manager leads alone. Of two, none leads when one crashed until the member table has
//! forgotten it, because nobody can tell a crash from a cut cable; a goodbye is no crash. Three
//! bear one crash. A lease is only as good as the clock: a machine that was suspended with its
//! clock stopped may think it leads for the rest of its lease, which is what terms are for.

mod candidacy;
mod reign;
#[cfg(test)]
mod tests;

use super::config::{FederationConfig, LeadershipMode, Timing};
use super::messages::{Ballot, FederationMessage, TERM_MAX};
use super::outbox::{FederationEvent, Outbox, ResignationReason};
use super::voters::Voters;
use super::{Identity, NameLeaderError, Sender};
use crate::node::{Address, DatacenterName, Generation, MemberState};
use crate::random::Random;
use crate::time::{Duration, Instant};
use candidacy::Round;
use reign::{HeartbeatTimes, Reign};

/// While it leads, a leader waits this many abstentions for a newcomer to answer before it counts
/// it.
const NEWCOMER_PATIENCE: u32 = 2;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Follower,
    PreCandidate(Round),
    Candidate(Round),
    Leader(Reign),
}

/// The part of a manager in the leadership of its datacenter.
#[derive(Debug)]
pub(crate) struct Leadership {
    mode: LeadershipMode,
    timing: Timing,
    health_score_max: u8,
    own: Address,
    datacenter: DatacenterName,
    random: Random,
    voters: Voters,
    health_score: u8,
    is_leaving: bool,
    /// The highest term that this node voted or followed in. It follows nobody below.
    term: u64,
    /// It votes for nobody at or below this either, and stands above it.
    floor: u64,
    /// The run of another manager that it voted for in the term.
    voted_for: Option<(Address, Generation)>,
    /// Whom the term belongs to, once somebody has led in it.
    holder: Option<Address>,
    /// Whether the holder has resigned: what it sent before may still be under way.
    is_term_over: bool,
    /// Who leads in the term as far as this node knows.
    leader: Option<Address>,
    /// Whether the leader has shown that it holds a lease.
    is_announced: bool,
    promise_until: Instant,
    abstain_until: Instant,
    /// When it stands, if it is in good health.
    stands_from: Instant,
    sequence: u32,
    heartbeats: HeartbeatTimes,
    phase: Phase,
}

impl Leadership {
    /// A manager that has just started.
    pub fn new(
        config: &FederationConfig,
        identity: &Identity,
        mut random: Random,
        now: Instant,
    ) -> Leadership {
        let timing = Timing::new(config);
        let abstain_until = now + timing.abstention;
        let sequence = random.next_u64() as u32;
        let mut leadership = Leadership {
            mode: config.leadership,
            timing,
            health_score_max: config.leader_health_score_max,
            own: identity.address,
            datacenter: identity.datacenter,
            random,
            voters: Voters::new(config.manager_count_min, timing.promise),
            health_score: 0,
            is_leaving: false,
            term: 0,
            floor: first_floor(identity.generation, timing.abstention),
            voted_for: None,
            holder: None,
            is_term_over: false,
            leader: None,
            is_announced: false,
            promise_until: Instant::ZERO,
            abstain_until,
            stands_from: abstain_until,
            sequence,
            heartbeats: HeartbeatTimes::default(),
            phase: Phase::Follower,
        };
        leadership.schedule_election(now);
        leadership
    }

    /// Who leads now, as far as this node knows.
    pub fn leader(&self, now: Instant) -> Option<Address> {
        match self.phase {
            Phase::Leader(_) => self.is_leading(now).then_some(self.own),
            _ => {
                let is_fresh = now < self.promise_until || self.mode == LeadershipMode::External;
                self.leader.filter(|_| self.is_announced && is_fresh)
            }
        }
    }

    /// Whether this node leads now: it won its term and holds the lease.
    pub fn is_leading(&self, now: Instant) -> bool {
        matches!(&self.phase, Phase::Leader(reign) if reign.is_established && now < reign.ends_at)
    }

    /// The highest term this node voted or followed in, or leads in.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Tells how much this node distrusts itself.
    pub fn set_health_score(&mut self, score: u8) {
        self.health_score = score;
    }

    /// Another manager of this datacenter is new, or changed its state.
    pub fn observe(
        &mut self,
        now: Instant,
        address: Address,
        generation: Generation,
        health_score: u8,
        state: MemberState,
        outbox: &mut Outbox,
    ) {
        if address == self.own {
            return;
        }
        match state {
            MemberState::Left => self.voters.leave(address, now + self.timing.promise),
            MemberState::Removed => self.voters.remove(address),
            _ => self.note(now, address, generation, health_score, outbox),
        }
        self.renew(now, outbox);
    }

    fn note(
        &mut self,
        now: Instant,
        address: Address,
        generation: Generation,
        health_score: u8,
        outbox: &mut Outbox,
    ) {
        // A newcomer cannot promise anything before its abstention ends. A leader that counted it
        // at once would lose its majority to it.
        let counts_from = match self.phase {
            Phase::Leader(_) => now + self.timing.abstention * NEWCOMER_PATIENCE,
            _ => Instant::ZERO,
        };
        if !self.voters.note(address, generation, health_score, counts_from) {
            outbox.stats.voters_refused += 1;
        }
    }

    /// Acts on a message of another manager of this datacenter.
    pub fn handle(
        &mut self,
        now: Instant,
        sender: &Sender,
        message: &FederationMessage,
        outbox: &mut Outbox,
    ) {
        self.note(now, sender.address, sender.generation, sender.health_score, outbox);
        match (self.mode, *message) {
            (_, FederationMessage::Heartbeat(ballot)) => {
                self.follow(now, sender.address, &ballot, outbox);
            }
            (_, FederationMessage::Resignation { term, successor, is_leaving }) => {
                self.resigned(now, sender.address, term, successor, is_leaving, outbox);
            }
            (LeadershipMode::External, _) => {}
            (_, FederationMessage::PreVoteRequest(ballot)) => {
                let is_granted = self.would_vote(now, sender, ballot.term);
                self.tell_count(now, sender, &ballot);
                let reply = self.ballot(now, self.vote_floor(), ballot.sequence, is_granted);
                outbox.send(sender.address, FederationMessage::PreVoteReply(reply));
            }
            (_, FederationMessage::VoteRequest(ballot)) => {
                let is_granted = self.vote(now, sender, ballot.term, outbox);
                self.tell_count(now, sender, &ballot);
                let reply = self.ballot(now, self.vote_floor(), ballot.sequence, is_granted);
                outbox.send(sender.address, FederationMessage::VoteReply(reply));
            }
            (_, FederationMessage::PreVoteReply(ballot)) => {
                self.pre_vote_received(now, sender, &ballot, outbox);
            }
            (_, FederationMessage::VoteReply(ballot)) => {
                self.vote_received(now, sender, &ballot, outbox);
            }
            (_, FederationMessage::HeartbeatAck(ballot)) => {
                self.promise_received(now, sender, &ballot, outbox);
            }
            (_, FederationMessage::LeaderProbe { .. } | FederationMessage::LeaderProbeAck(_)) => {}
        }
    }

    /// Acts on the deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant, outbox: &mut Outbox) {
        match self.phase {
            Phase::Leader(reign) => self.lead(now, &reign, outbox),
            Phase::PreCandidate(round) | Phase::Candidate(round) => {
                if now >= round.ends_at {
                    outbox.stats.rounds_failed += 1;
                    self.phase = Phase::Follower;
                    self.schedule_election(now);
                } else if now >= round.ask_at {
                    self.ask(now, outbox);
                }
            }
            Phase::Follower if self.mode == LeadershipMode::Elected => {
                if self.leader.is_some() && now >= self.promise_until {
                    self.lose_leader(now, outbox);
                }
                if now >= self.election_at() {
                    self.begin_pre_vote(now, outbox);
                }
            }
            Phase::Follower => {}
        }
    }

    /// When [`Leadership::handle_timeout`] should be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Leader(reign) => Some(reign.heartbeat_at.min(reign.ends_at)),
            Phase::PreCandidate(round) | Phase::Candidate(round) => {
                Some(round.ends_at.min(round.ask_at))
            }
            Phase::Follower if self.mode == LeadershipMode::Elected => {
                let lost_at = if self.leader.is_some() { self.promise_until } else { Instant::MAX };
                Some(lost_at.min(self.election_at())).filter(|&deadline| deadline < Instant::MAX)
            }
            Phase::Follower => None,
        }
    }

    /// Hands over, and takes part in no election from here on.
    pub fn leave(&mut self, now: Instant, outbox: &mut Outbox) {
        if self.is_leaving {
            return;
        }
        self.is_leaving = true;
        match self.phase {
            Phase::Leader(_) => {
                let successor = self.successor(now);
                self.step_down(now, ResignationReason::Leaving, successor, outbox);
            }
            _ => self.phase = Phase::Follower,
        }
        self.stands_from = Instant::MAX;
    }

    /// Takes the leader that the host names.
    pub fn name_leader(
        &mut self,
        now: Instant,
        leader: Option<Address>,
        term: u64,
        outbox: &mut Outbox,
    ) -> Result<(), NameLeaderError> {
        if self.mode != LeadershipMode::External {
            return Err(NameLeaderError::Elected);
        }
        let is_taken = leader.is_some() && self.holder.is_some() && self.holder != leader;
        if term > TERM_MAX || term < self.term || (term == self.term && is_taken) {
            return Err(NameLeaderError::StaleTerm { term, known: self.term });
        }
        if (self.term, self.leader) == (term, leader) {
            return Ok(());
        }
        self.depose(now, ResignationReason::Replaced, outbox);
        self.enter_term(now, term, None, outbox);
        if let Some(leader) = leader {
            (self.leader, self.holder) = (Some(leader), Some(leader));
            self.announce(now, outbox);
            if leader == self.own {
                self.phase = Phase::Leader(Reign::new(now, Instant::MAX, true));
                self.heartbeat(now, outbox);
            }
        }
        Ok(())
    }

    /// Whether this node would vote for the sender in a term.
    fn would_vote(&self, now: Instant, sender: &Sender, term: u64) -> bool {
        let is_bound = match &self.phase {
            Phase::Leader(reign) => now < reign.ends_at,
            _ => now < self.promise_until,
        };
        // A manager in poor health has to wait whether a fit one stands. Then it is better than
        // none.
        let leaderless_since = self.promise_until.max(self.abstain_until);
        let is_fit = sender.health_score <= self.health_score_max
            || now >= leaderless_since + self.timing.health_patience;
        !self.is_leaving
            && now >= self.abstain_until
            && !is_bound
            && is_fit
            && term > self.vote_floor()
    }

    fn vote(&mut self, now: Instant, sender: &Sender, term: u64, outbox: &mut Outbox) -> bool {
        let candidate = (sender.address, sender.generation);
        if term == self.term && self.voted_for == Some(candidate) && !self.is_leaving {
            // The same question again: the answer was lost.
            return true;
        }
        if !self.would_vote(now, sender, term) {
            return false;
        }
        self.depose(now, ResignationReason::LeaseLost, outbox);
        self.enter_term(now, term, Some(candidate), outbox);
        self.schedule_election(now + self.timing.vote_round);
        true
    }

    fn vote_floor(&self) -> u64 {
        self.term.max(self.floor)
    }

    fn follow(&mut self, now: Instant, sender: Address, ballot: &Ballot, outbox: &mut Outbox) {
        let is_other = self.holder.is_some_and(|holder| holder != sender);
        let is_over = is_other || self.is_term_over;
        if ballot.term < self.term || (ballot.term == self.term && is_over) {
            if ballot.term == self.term && is_other {
                outbox.stats.term_conflicts += 1;
            } else {
                outbox.stats.stale_terms += 1;
            }
            // The sender learns from the term that its own is over.
            let reply = self.ballot(now, self.term, ballot.sequence, false);
            return outbox.send(sender, FederationMessage::HeartbeatAck(reply));
        }
        self.depose(now, ResignationReason::Superseded, outbox);
        if ballot.term > self.term {
            self.enter_term(now, ballot.term, None, outbox);
        }
        (self.leader, self.holder) = (Some(sender), Some(sender));
        self.promise_until = self.promise_until.max(now + self.timing.promise);
        self.schedule_election(self.promise_until);
        if ballot.flag && !self.is_announced {
            self.announce(now, outbox);
        }
        let is_promised =
            !self.is_leaving && now >= self.abstain_until && self.mode == LeadershipMode::Elected;
        let reply = self.ballot(now, self.term, ballot.sequence, is_promised);
        outbox.send(sender, FederationMessage::HeartbeatAck(reply));
    }

    /// The leader of the term returned every promise.
    fn resigned(
        &mut self,
        now: Instant,
        sender: Address,
        term: u64,
        successor: Option<Address>,
        is_leaving: bool,
        outbox: &mut Outbox,
    ) {
        if self.leader != Some(sender) || self.term != term {
            return;
        }
        self.lose_leader(now, outbox);
        self.is_term_over = true;
        self.promise_until = self.promise_until.min(now);
        if is_leaving {
            // It gave up its own lease before it said so, and promises nothing any more.
            self.voters.leave(sender, now);
        }
        let is_able = !self.is_leaving && now >= self.abstain_until;
        if successor == Some(self.own) && is_able && self.mode == LeadershipMode::Elected {
            self.begin_vote(now, outbox);
        } else {
            self.schedule_election(now + self.timing.vote_round);
        }
    }

    /// Makes a follower of this node, whatever it is.
    fn depose(&mut self, now: Instant, reason: ResignationReason, outbox: &mut Outbox) {
        match self.phase {
            Phase::Leader(_) => self.step_down(now, reason, None, outbox),
            _ => self.phase = Phase::Follower,
        }
    }

    fn announce(&mut self, now: Instant, outbox: &mut Outbox) {
        let leader = self.leader.expect("somebody leads when it is announced");
        self.is_announced = true;
        let (datacenter, term) = (self.datacenter, self.term);
        outbox.emit(FederationEvent::LeaderElected { datacenter, leader, term, at: now });
    }

    /// Goes on to a term, or stays in it. A vote in a term is never taken back.
    fn enter_term(
        &mut self,
        now: Instant,
        term: u64,
        voted_for: Option<(Address, Generation)>,
        outbox: &mut Outbox,
    ) {
        assert!(term >= self.term, "terms rise");
        self.lose_leader(now, outbox);
        if term > self.term {
            (self.term, self.holder, self.is_term_over) = (term, None, false);
            self.voted_for = voted_for;
        }
    }

    /// Nobody leads as far as this node knows.
    fn lose_leader(&mut self, now: Instant, outbox: &mut Outbox) {
        let Some(leader) = self.leader.take() else { return };
        if std::mem::take(&mut self.is_announced) {
            let (datacenter, term) = (self.datacenter, self.term);
            outbox.emit(FederationEvent::LeaderLost { datacenter, leader, term, at: now });
        }
    }

    /// Draws the moment to stand at, not before `earliest`.
    fn schedule_election(&mut self, earliest: Instant) {
        if !self.is_leaving {
            let spread = self.timing.election_spread.mul_f64(self.random.unit());
            self.stands_from = earliest.max(self.abstain_until) + spread;
        }
    }

    /// When this node stands: the healthier, the sooner.
    fn election_at(&self) -> Instant {
        self.stands_from + self.timing.health_delay * u32::from(self.health_score)
    }

    fn tell_count(&mut self, now: Instant, sender: &Sender, ballot: &Ballot) {
        self.voters.tell(sender.address, ballot.voter_count, now);
    }

    fn ballot(&self, now: Instant, term: u64, sequence: u32, flag: bool) -> Ballot {
        Ballot { term, sequence, voter_count: self.voters.own_count(now), flag }
    }
}

/// No term up to here is voted in: where the generation is the wall clock at the start, in
/// nanoseconds, the milliseconds of the moment at which the abstention ends. Small generations,
/// which are mere counts, give none.
fn first_floor(generation: Generation, abstention: Duration) -> u64 {
    match generation.0 / 1_000_000 {
        0 => 0,
        started_ms => started_ms + abstention.as_millis() as u64,
    }
}
