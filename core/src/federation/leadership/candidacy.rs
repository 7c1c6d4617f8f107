//! Standing for election: first the question whether others would vote, then the votes.
//!
//! The first question costs nothing: it enters no term, so a node that was cut off and comes back
//! does not unseat a leader that the others hear well (Raft, thesis, section 9.6). Questions are
//! repeated within a round, since datagrams are lost.

use super::reign::Reign;
use super::{Leadership, Phase};
use crate::federation::Sender;
use crate::federation::messages::{Ballot, FederationMessage, TERM_MAX};
use crate::federation::outbox::Outbox;
use crate::time::Instant;

/// How often a question is asked in one round of votes.
const ASKS_PER_ROUND: u32 = 3;

/// One round of votes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub term: u64,
    pub sequence: u32,
    pub began_at: Instant,
    pub ends_at: Instant,
    pub ask_at: Instant,
}

impl Leadership {
    pub(super) fn begin_pre_vote(&mut self, now: Instant, outbox: &mut Outbox) {
        match self.next_round(now) {
            Some(round) => self.phase = Phase::PreCandidate(round),
            None => return self.schedule_election(now),
        }
        self.ask(now, outbox);
        self.count_votes(now, outbox);
    }

    pub(super) fn begin_vote(&mut self, now: Instant, outbox: &mut Outbox) {
        let Some(round) = self.next_round(now) else { return self.schedule_election(now) };
        self.enter_term(now, round.term, None, outbox);
        self.phase = Phase::Candidate(round);
        outbox.stats.elections += 1;
        self.ask(now, outbox);
        self.count_votes(now, outbox);
    }

    /// A round in the next free term, `None` when the numbers are used up.
    fn next_round(&mut self, now: Instant) -> Option<Round> {
        let term = self.vote_floor() + 1;
        if term > TERM_MAX {
            return None;
        }
        self.voters.clear_grants();
        self.sequence = self.sequence.wrapping_add(1);
        let ends_at = now + self.timing.vote_round;
        Some(Round { term, sequence: self.sequence, began_at: now, ends_at, ask_at: now })
    }

    /// Asks those who have not said yes.
    pub(super) fn ask(&mut self, now: Instant, outbox: &mut Outbox) {
        let pause = self.timing.vote_round / ASKS_PER_ROUND;
        let (round, request): (&mut Round, fn(Ballot) -> FederationMessage) = match &mut self.phase
        {
            Phase::PreCandidate(round) => (round, FederationMessage::PreVoteRequest),
            Phase::Candidate(round) => (round, FederationMessage::VoteRequest),
            Phase::Follower | Phase::Leader(_) => unreachable!("only candidates ask"),
        };
        round.ask_at = now + pause;
        let (term, sequence) = (round.term, round.sequence);
        let message = request(self.ballot(now, term, sequence, false));
        for address in self.voters.ungranted(now) {
            outbox.send(address, message);
        }
    }

    pub(super) fn pre_vote_received(
        &mut self,
        now: Instant,
        sender: &Sender,
        ballot: &Ballot,
        outbox: &mut Outbox,
    ) {
        let Phase::PreCandidate(round) = self.phase else { return };
        if ballot.sequence != round.sequence {
            return;
        }
        self.tell_count(now, sender, ballot);
        if ballot.flag {
            self.voters.grant(sender.address);
            return self.count_votes(now, outbox);
        }
        self.floor = self.floor.max(ballot.term);
        if self.floor >= round.term {
            // The term was taken. A higher one costs nothing, and each attempt knows more terms.
            self.begin_pre_vote(now, outbox);
        }
    }

    pub(super) fn vote_received(
        &mut self,
        now: Instant,
        sender: &Sender,
        ballot: &Ballot,
        outbox: &mut Outbox,
    ) {
        let Phase::Candidate(round) = self.phase else { return };
        if ballot.sequence != round.sequence {
            return;
        }
        self.tell_count(now, sender, ballot);
        if ballot.flag && ballot.term == round.term {
            self.voters.grant(sender.address);
            self.count_votes(now, outbox);
        } else {
            self.floor = self.floor.max(ballot.term);
        }
    }

    fn count_votes(&mut self, now: Instant, outbox: &mut Outbox) {
        if !self.voters.is_elected(now) {
            return;
        }
        match self.phase {
            Phase::PreCandidate(_) => self.begin_vote(now, outbox),
            Phase::Candidate(round) => {
                (self.leader, self.holder) = (Some(self.own), Some(self.own));
                self.voters.clear_promises();
                // Whoever gave its vote waits for a lease at most, so waiting longer helps nobody.
                let ends_at = round.began_at + self.timing.lease;
                self.phase = Phase::Leader(Reign::new(now, ends_at, false));
                self.heartbeat(now, outbox);
            }
            Phase::Follower | Phase::Leader(_) => unreachable!("only candidates count votes"),
        }
    }
}
