//! Each rule of the leadership by itself, on one manager whose peers are played by the test. What
//! they amount to together is checked in [`model`](super::super::model).

use super::*;
use crate::federation::Outgoing;
use crate::node::Role;
use FederationMessage::*;

const MS: Duration = Duration::from_millis(1);
const START: Instant = Instant::from_millis(1_000_000);

fn address(number: u16) -> Address {
    format!("10.0.0.1:{number}").parse().unwrap()
}

fn sender(number: u16) -> Sender {
    Sender {
        address: address(number),
        generation: Generation(1),
        role: Role::Manager,
        datacenter: "east".parse().unwrap(),
        health_score: 0,
    }
}

fn ballot(term: u64, sequence: u32, flag: bool) -> Ballot {
    Ballot { term, sequence, voter_count: 1, flag }
}

/// Manager 1, which knows some others.
struct Bench {
    now: Instant,
    leadership: Leadership,
    outbox: Outbox,
}

impl Bench {
    fn new(others: u16, config: &FederationConfig) -> Bench {
        Bench::of_generation(others, config, 1)
    }

    fn of_generation(others: u16, config: &FederationConfig, generation: u64) -> Bench {
        let identity = Identity {
            address: address(1),
            generation: Generation(generation),
            role: Role::Manager,
            datacenter: "east".parse().unwrap(),
        };
        let leadership = Leadership::new(config, &identity, Random::new(7), START);
        let mut bench = Bench { now: START, leadership, outbox: Outbox::default() };
        for number in 2..2 + others {
            bench.observe(number, MemberState::Alive);
        }
        bench
    }

    /// One whose abstention is over, with its own alarm far away.
    fn awake(others: u16) -> Bench {
        let mut bench = Bench::new(others, &FederationConfig::default());
        bench.now = bench.leadership.abstain_until;
        bench
    }

    /// One that leads three or more managers in term 1, on the promise of all of them.
    fn leading(others: u16) -> Bench {
        let mut bench = Bench::new(others, &FederationConfig::default());
        bench.run_until(bench.leadership.election_at());
        let round = bench.sent(|message| matches!(message, PreVoteRequest(_)));
        bench.answer(&round, |request| PreVoteReply(Ballot { flag: true, term: 0, ..request }));
        let round = bench.sent(|message| matches!(message, VoteRequest(_)));
        bench.answer(&round, |request| VoteReply(Ballot { flag: true, ..request }));
        bench.promise_all();
        assert!(bench.leadership.is_leading(bench.now));
        bench.events();
        bench
    }

    fn observe(&mut self, number: u16, state: MemberState) {
        let (now, generation) = (self.now, Generation(1));
        self.leadership.observe(now, address(number), generation, 0, state, &mut self.outbox);
    }

    fn hear(&mut self, number: u16, message: FederationMessage) {
        self.hear_from(&sender(number), message);
    }

    fn hear_from(&mut self, sender: &Sender, message: FederationMessage) {
        self.leadership.handle(self.now, sender, &message, &mut self.outbox);
    }

    /// Meets every deadline until then.
    fn run_until(&mut self, end: Instant) {
        while let Some(deadline) = self.leadership.next_deadline().filter(|&at| at <= end) {
            self.now = self.now.max(deadline);
            self.leadership.handle_timeout(self.now, &mut self.outbox);
        }
        self.now = self.now.max(end);
    }

    /// Takes what was sent and returns what matters of it.
    fn sent(&mut self, matters: impl Fn(&FederationMessage) -> bool) -> Vec<Outgoing> {
        let all = std::iter::from_fn(|| self.outbox.next_message());
        all.filter(|outgoing| matters(&outgoing.message)).collect()
    }

    /// The only answer that was sent.
    fn reply(&mut self) -> Ballot {
        let sent = self.sent(|_| true);
        match sent[..] {
            [Outgoing { message: PreVoteReply(b) | VoteReply(b) | HeartbeatAck(b), .. }] => b,
            _ => panic!("not one answer: {sent:?}"),
        }
    }

    fn events(&mut self) -> Vec<FederationEvent> {
        std::iter::from_fn(|| self.outbox.next_event()).collect()
    }

    /// Lets everybody who was asked answer.
    fn answer(&mut self, asked: &[Outgoing], answer: fn(Ballot) -> FederationMessage) {
        assert!(!asked.is_empty(), "nobody was asked");
        for outgoing in asked {
            let (PreVoteRequest(ballot) | VoteRequest(ballot) | Heartbeat(ballot)) =
                outgoing.message
            else {
                panic!("{outgoing:?} is no question");
            };
            self.hear(outgoing.target.port(), answer(ballot));
        }
    }

    fn promise_all(&mut self) {
        let heartbeats = self.sent(|message| matches!(message, Heartbeat(_)));
        self.answer(&heartbeats, |heartbeat| HeartbeatAck(Ballot { flag: true, ..heartbeat }));
    }

    fn lease_end(&self) -> Instant {
        let Phase::Leader(reign) = &self.leadership.phase else { panic!("it does not lead") };
        reign.ends_at
    }

    fn heartbeat_sent_at(&self) -> Instant {
        let Phase::Leader(reign) = &self.leadership.phase else { panic!("it does not lead") };
        let interval = self.leadership.timing.heartbeat_interval.as_nanos() as u64;
        Instant::from_nanos(reign.heartbeat_at.as_nanos() - interval)
    }

    /// Whether it grants a vote for a term.
    fn grants(&mut self, number: u16, term: u64) -> bool {
        self.sent(|_| true);
        self.hear(number, VoteRequest(ballot(term, 9, false)));
        self.reply().flag
    }
}

#[test]
fn a_lone_manager_leads_after_its_abstention_and_never_stops() {
    let mut bench = Bench::new(0, &FederationConfig::default());
    bench.run_until(bench.leadership.abstain_until);
    assert_eq!(bench.leadership.leader(bench.now), None);
    bench.run_until(bench.now + 700 * MS);
    assert_eq!(bench.leadership.leader(bench.now), Some(address(1)));
    assert!(matches!(bench.events()[..], [FederationEvent::LeaderElected { term: 1, .. }]));
    bench.run_until(bench.now + Duration::from_secs(3_600));
    // Nobody else could have been elected while it was not run.
    bench.now += Duration::from_secs(3_600);
    assert!(!bench.leadership.is_leading(bench.now), "its lease is over for who asks in time");
    bench.leadership.handle_timeout(bench.now, &mut bench.outbox);
    assert!(bench.leadership.is_leading(bench.now));
    assert_eq!((bench.leadership.term(), bench.events().len()), (1, 0));
}

/// In the Python node claims, votes and heartbeats are never sent, and whoever knows at most one
/// peer elects itself.
#[test]
fn defect_s9_elections_are_held_among_peers_and_not_by_oneself() {
    let mut bench = Bench::new(1, &FederationConfig::default());
    bench.run_until(START + Duration::from_secs(60));
    assert_eq!(bench.leadership.leader(bench.now), None, "one of two is no majority");
    let asked = bench.sent(|message| matches!(message, PreVoteRequest(_)));
    assert!(asked.len() > 30 && asked.iter().all(|outgoing| outgoing.target == address(2)));
    let mut bench = Bench::leading(2);
    assert_eq!(bench.outbox.stats.elections, 1);
    bench.run_until(bench.now + 1_100 * MS);
    let heartbeats = bench.sent(|message| matches!(message, Heartbeat(b) if b.flag));
    assert!(heartbeats.len() >= 4, "{heartbeats:?}");
}

#[test]
fn a_node_that_has_just_started_neither_votes_nor_promises_nor_stands() {
    let mut bench = Bench::new(2, &FederationConfig::default());
    let end = bench.leadership.abstain_until;
    assert!(end - START > Duration::from_millis(3_600));
    bench.run_until(Instant::from_nanos(end.as_nanos() - 1));
    assert!(bench.sent(|_| true).is_empty());
    bench.hear(2, PreVoteRequest(ballot(5, 1, false)));
    assert!(!bench.reply().flag);
    assert!(!bench.grants(2, 5));
    // It follows all the same, so a restart under a leader is no interruption.
    bench.hear(3, Heartbeat(ballot(4, 1, true)));
    assert!(!bench.reply().flag);
    assert_eq!(bench.leadership.leader(bench.now), Some(address(3)));
    bench.now = end;
    bench.hear(3, Heartbeat(ballot(4, 2, true)));
    assert!(bench.reply().flag);
}

#[test]
fn a_voter_votes_once_in_a_term_and_repeats_itself_when_asked_again() {
    let mut bench = Bench::awake(3);
    assert!(bench.grants(2, 1));
    assert!(bench.grants(2, 1), "the answer may have been lost");
    assert!(!bench.grants(3, 1));
    assert!(bench.grants(3, 2));
    assert!(!bench.grants(2, 1), "the term is over");
    // The next run of the same manager is another candidate.
    let restarted = Sender { generation: Generation(2), ..sender(3) };
    bench.hear_from(&restarted, VoteRequest(ballot(2, 1, false)));
    assert!(!bench.reply().flag);
}

#[test]
fn a_pre_vote_changes_nothing() {
    let mut bench = Bench::awake(3);
    bench.hear(2, PreVoteRequest(ballot(9, 1, false)));
    assert!(bench.reply().flag);
    bench.hear(3, PreVoteRequest(ballot(9, 1, false)));
    assert!(bench.reply().flag, "it may be asked for by many");
    assert_eq!(bench.leadership.term(), 0);
    assert!(bench.grants(2, 1));
}

#[test]
fn a_promise_is_kept_to_its_end_and_a_little_longer_than_a_lease() {
    let mut bench = Bench::awake(3);
    bench.hear(2, Heartbeat(ballot(1, 1, true)));
    let heard_at = bench.now;
    bench.now = heard_at + 3_000 * MS;
    assert!(!bench.grants(3, 2), "the lease may still hold by the leader's slower clock");
    bench.hear(3, PreVoteRequest(ballot(2, 1, false)));
    assert!(!bench.reply().flag);
    bench.now = heard_at + 3_090 * MS;
    assert!(bench.grants(3, 2));
    assert!(matches!(
        bench.events()[..],
        [FederationEvent::LeaderElected { .. }, FederationEvent::LeaderLost { term: 1, .. }]
    ));
}

#[test]
fn a_stale_term_is_never_followed_and_is_told_so() {
    let mut bench = Bench::awake(3);
    bench.hear(2, Heartbeat(ballot(5, 1, true)));
    bench.sent(|_| true);
    bench.hear(3, Heartbeat(ballot(4, 1, true)));
    assert_eq!(bench.reply(), Ballot { voter_count: 4, ..ballot(5, 1, false) });
    assert_eq!(bench.leadership.leader(bench.now), Some(address(2)));
    assert_eq!(bench.outbox.stats.stale_terms, 1);
    bench.hear(3, Heartbeat(ballot(6, 1, true)));
    assert_eq!(bench.leadership.leader(bench.now), Some(address(3)));
}

#[test]
fn a_term_belongs_to_the_first_that_leads_in_it() {
    let mut bench = Bench::awake(3);
    bench.hear(2, Heartbeat(ballot(5, 1, true)));
    bench.hear(3, Heartbeat(ballot(5, 1, true)));
    assert_eq!(bench.leadership.leader(bench.now), Some(address(2)));
    assert_eq!(bench.outbox.stats.term_conflicts, 1);
    // Not even when the first is silent.
    bench.run_until(bench.leadership.promise_until);
    bench.hear(3, Heartbeat(ballot(5, 2, true)));
    assert_eq!(bench.leadership.leader(bench.now), None);
}

#[test]
fn a_leader_is_known_when_its_lease_is() {
    let mut bench = Bench::awake(3);
    bench.hear(2, Heartbeat(ballot(1, 1, false)));
    assert!(bench.reply().flag, "it is promised, so that it gets the lease");
    assert_eq!((bench.leadership.leader(bench.now), bench.events().len()), (None, 0));
    bench.hear(2, Heartbeat(ballot(1, 2, true)));
    assert_eq!(bench.leadership.leader(bench.now), Some(address(2)));
    bench.hear(2, Heartbeat(ballot(1, 3, true)));
    assert_eq!(bench.events().len(), 1);
}

#[test]
fn a_lease_ends_by_itself_counted_from_when_the_heartbeat_was_sent() {
    let mut bench = Bench::leading(2);
    bench.run_until(bench.now + 600 * MS);
    let heartbeats = bench.sent(|message| matches!(message, Heartbeat(_)));
    let sent_at = bench.heartbeat_sent_at();
    bench.now = sent_at + 400 * MS;
    let last = &heartbeats[heartbeats.len() - 1..];
    bench.answer(last, |heartbeat| HeartbeatAck(Ballot { flag: true, ..heartbeat }));
    let end = sent_at + 3_000 * MS;
    let before = Instant::from_nanos(end.as_nanos() - 1);
    assert!(bench.leadership.is_leading(before));
    assert!(!bench.leadership.is_leading(end), "without any timer");
    bench.run_until(end);
    let reason = ResignationReason::LeaseLost;
    assert!(matches!(
        bench.events()[..],
        [FederationEvent::SteppedDown { term: 1, reason: r, .. }] if r == reason
    ));
    // The promises that it still has are returned.
    assert_eq!(bench.sent(|message| matches!(message, Resignation { term: 1, .. })).len(), 2);
}

#[test]
fn an_ack_counts_only_for_its_own_heartbeat_and_term() {
    let mut bench = Bench::leading(2);
    let end = |bench: &Bench| bench.lease_end();
    bench.run_until(bench.now + 600 * MS);
    let lease_end = end(&bench);
    let heartbeats = bench.sent(|message| matches!(message, Heartbeat(_)));
    let Heartbeat(heartbeat) = heartbeats.last().unwrap().message else { unreachable!() };
    let unasked = Ballot { sequence: heartbeat.sequence.wrapping_add(1), flag: true, ..heartbeat };
    bench.hear(2, HeartbeatAck(unasked));
    bench.hear(2, HeartbeatAck(Ballot { term: 0, flag: true, ..heartbeat }));
    bench.hear(2, HeartbeatAck(Ballot { flag: false, ..heartbeat }));
    assert_eq!(end(&bench), lease_end);
    bench.hear(2, HeartbeatAck(Ballot { flag: true, ..heartbeat }));
    assert!(end(&bench) > lease_end);
    bench.hear(3, HeartbeatAck(Ballot { term: 2, flag: false, ..heartbeat }));
    assert!(!bench.leadership.is_leading(bench.now));
    assert!(matches!(
        bench.events()[..],
        [FederationEvent::SteppedDown { reason: ResignationReason::Superseded, .. }]
    ));
    bench.run_until(bench.leadership.election_at());
    let asked = bench.sent(|message| matches!(message, PreVoteRequest(_)));
    assert!(matches!(asked[0].message, PreVoteRequest(b) if b.term == 3), "above what it learned");
}

#[test]
fn a_winner_without_promises_gives_up() {
    let mut bench = Bench::new(2, &FederationConfig::default());
    bench.run_until(bench.leadership.election_at());
    let round = bench.sent(|message| matches!(message, PreVoteRequest(_)));
    bench.answer(&round, |request| PreVoteReply(Ballot { flag: true, term: 0, ..request }));
    let round = bench.sent(|message| matches!(message, VoteRequest(_)));
    bench.answer(&round, |request| VoteReply(Ballot { flag: true, ..request }));
    assert!(!bench.leadership.is_leading(bench.now));
    assert_eq!(bench.leadership.leader(bench.now), None);
    let end = bench.lease_end();
    bench.run_until(end);
    assert!(matches!(bench.leadership.phase, Phase::Follower));
    assert!(bench.events().is_empty(), "it never led");
}

#[test]
fn a_leaving_leader_hands_over_to_the_healthiest_at_once() {
    let mut bench = Bench::leading(2);
    bench.hear_from(&Sender { health_score: 1, ..sender(2) }, HeartbeatAck(ballot(0, 0, false)));
    bench.leadership.leave(bench.now, &mut bench.outbox);
    assert!(!bench.leadership.is_leading(bench.now));
    let resignation = Resignation { term: 1, successor: Some(address(3)), is_leaving: true };
    assert_eq!(bench.sent(|message| *message == resignation).len(), 2);
    assert!(matches!(
        bench.events()[..],
        [FederationEvent::SteppedDown { reason: ResignationReason::Leaving, .. }]
    ));
    assert!(!bench.grants(2, 9), "it takes part in nothing any more");
    assert_eq!(bench.leadership.next_deadline(), None);
    bench.run_until(bench.now + Duration::from_secs(60));
    assert!(bench.sent(|_| true).is_empty());
}

#[test]
fn a_successor_stands_at_once_and_others_wait_for_it() {
    let resignation = |successor| Resignation { term: 4, successor, is_leaving: true };
    let mut bench = Bench::awake(2);
    bench.hear(2, Heartbeat(ballot(4, 1, true)));
    bench.hear(2, resignation(Some(address(1))));
    let asked = bench.sent(|message| matches!(message, VoteRequest(_)));
    assert_eq!(asked.len(), 1, "the leaver is not asked: {asked:?}");
    assert!(matches!(asked[0].message, VoteRequest(b) if b.term == 5));
    assert_eq!(bench.leadership.leader(bench.now), None);

    let mut bench = Bench::awake(2);
    bench.hear(2, Heartbeat(ballot(4, 1, true)));
    bench.hear(2, resignation(Some(address(3))));
    assert!(bench.leadership.election_at() >= bench.now + 600 * MS);
    assert!(bench.grants(3, 5), "the promise is returned");
    // What the old leader sent before is no leadership any more.
    bench.hear(2, Heartbeat(ballot(4, 2, true)));
    assert_eq!(bench.leadership.leader(bench.now), None);
    // Only the leader can resign.
    let mut bench = Bench::awake(2);
    bench.hear(2, Heartbeat(ballot(4, 1, true)));
    bench.hear(3, resignation(Some(address(1))));
    bench.hear(2, Resignation { term: 3, successor: None, is_leaving: false });
    assert_eq!(bench.leadership.leader(bench.now), Some(address(2)));
}

#[test]
fn of_two_managers_the_other_leads_after_a_goodbye_but_not_after_a_crash() {
    let mut bench = Bench::awake(1);
    bench.hear(2, Heartbeat(ballot(4, 1, true)));
    bench.hear(2, Resignation { term: 4, successor: Some(address(1)), is_leaving: true });
    assert!(bench.leadership.is_leading(bench.now), "its vote is a majority of one");

    let mut bench = Bench::awake(1);
    bench.hear(2, Heartbeat(ballot(4, 1, true)));
    bench.observe(2, MemberState::Dead);
    bench.run_until(bench.now + Duration::from_secs(600));
    assert_eq!(bench.leadership.leader(bench.now), None, "it may lead beyond a cut cable");
    bench.observe(2, MemberState::Removed);
    bench.run_until(bench.now + Duration::from_secs(5));
    assert!(bench.leadership.is_leading(bench.now), "until it is forgotten");
}

#[test]
fn a_configured_count_outlasts_forgetting() {
    let config = FederationConfig { manager_count_min: 3, ..FederationConfig::default() };
    let mut bench = Bench::new(2, &config);
    bench.observe(2, MemberState::Removed);
    bench.observe(3, MemberState::Removed);
    bench.run_until(START + Duration::from_secs(600));
    assert_eq!(bench.leadership.leader(bench.now), None);
}

#[test]
fn who_said_goodbye_counts_until_its_last_promise_is_over() {
    let mut bench = Bench::leading(2);
    bench.observe(2, MemberState::Left);
    assert_eq!(bench.leadership.voters.own_count(bench.now + 3_089 * MS), 3);
    assert_eq!(bench.leadership.voters.own_count(bench.now + 3_090 * MS), 2);
}

#[test]
fn a_newcomer_does_not_cost_the_lease() {
    // One that leads alone, and one that leads with the last promise it needs.
    let mut alone = Bench::new(0, &FederationConfig::default());
    alone.run_until(START + Duration::from_secs(5));
    assert!(alone.leadership.is_leading(alone.now));
    alone.observe(2, MemberState::Alive);
    alone.run_until(alone.now + Duration::from_secs(5));
    assert!(alone.leadership.is_leading(alone.now));
    // With its first promise it counts, and then it is needed.
    alone.sent(|_| true);
    alone.run_until(alone.now + 500 * MS);
    alone.promise_all();
    assert!(alone.leadership.is_leading(alone.now));
    alone.run_until(alone.now + 3_000 * MS);
    assert!(!alone.leadership.is_leading(alone.now));
    // One that never answers counts in the end.
    let mut deaf = Bench::new(0, &FederationConfig::default());
    deaf.run_until(START + Duration::from_secs(5));
    deaf.observe(2, MemberState::Alive);
    deaf.run_until(deaf.now + Duration::from_secs(8));
    assert!(!deaf.leadership.is_leading(deaf.now));
}

#[test]
fn more_voters_than_were_known_are_counted_with_their_first_answer() {
    let mut bench = Bench::new(2, &FederationConfig::default());
    bench.run_until(bench.leadership.election_at());
    let round = bench.sent(|message| matches!(message, PreVoteRequest(_)));
    let told = |request| PreVoteReply(Ballot { flag: true, term: 0, voter_count: 5, ..request });
    bench.answer(&round[..1], told);
    assert!(matches!(bench.leadership.phase, Phase::PreCandidate(_)), "two of five are too few");
    bench.answer(&round[1..], told);
    assert!(matches!(bench.leadership.phase, Phase::Candidate(_)));
}

#[test]
fn poor_health_waits_for_a_fit_manager_but_not_for_ever() {
    let mut bench = Bench::awake(2);
    let ill = Sender { health_score: 3, ..sender(2) };
    bench.hear_from(&ill, VoteRequest(ballot(1, 1, false)));
    assert!(!bench.reply().flag);
    assert!(bench.grants(3, 1), "a fit one is welcome at once");
    let mut bench = Bench::awake(2);
    bench.now += 2_000 * MS;
    bench.hear_from(&ill, VoteRequest(ballot(1, 1, false)));
    assert!(bench.reply().flag, "better than none");
}

#[test]
fn a_leader_in_poor_health_hands_over_to_a_fit_one_only() {
    let mut bench = Bench::leading(2);
    let run_for_ten_seconds = |bench: &mut Bench, peers: u8| {
        let end = bench.now + Duration::from_secs(10);
        while bench.now < end && bench.leadership.is_leading(bench.now) {
            bench.run_until(bench.now + 500 * MS);
            for outgoing in bench.sent(|message| matches!(message, Heartbeat(_))) {
                let Heartbeat(heartbeat) = outgoing.message else { unreachable!() };
                let peer = Sender { health_score: peers, ..sender(outgoing.target.port()) };
                bench.hear_from(&peer, HeartbeatAck(Ballot { flag: true, ..heartbeat }));
            }
        }
    };
    bench.leadership.set_health_score(8);
    run_for_ten_seconds(&mut bench, 3);
    assert!(bench.leadership.is_leading(bench.now), "nobody is fitter");
    run_for_ten_seconds(&mut bench, 2);
    assert!(!bench.leadership.is_leading(bench.now));
    assert!(matches!(
        bench.events()[..],
        [FederationEvent::SteppedDown { reason: ResignationReason::Unhealthy, .. }]
    ));
    // A short spell is no reason.
    let mut bench = Bench::leading(2);
    for score in [8, 0, 8, 0, 8] {
        bench.leadership.set_health_score(score);
        bench.run_until(bench.now + 500 * MS);
        bench.promise_all();
    }
    assert!(bench.leadership.is_leading(bench.now));
}

#[test]
fn the_healthier_stands_earlier() {
    let wait = |score| {
        let mut bench = Bench::new(2, &FederationConfig::default());
        bench.leadership.set_health_score(score);
        bench.leadership.election_at() - bench.leadership.abstain_until
    };
    assert!(wait(0) < 600 * MS);
    assert!((0..8).all(|score| wait(score) < wait(score + 1) + 600 * MS));
    assert!(wait(8) >= 1_600 * MS);
}

/// What a run cannot remember, its clock knows.
#[test]
fn terms_start_from_the_wall_clock_where_generations_do() {
    let started_ms = 1_790_000_000_123;
    let generation = started_ms * 1_000_000 + 456;
    let config = FederationConfig::default();
    let mut bench = Bench::of_generation(2, &config, generation);
    let abstention = bench.leadership.abstain_until - START;
    bench.run_until(bench.leadership.election_at());
    let asked = bench.sent(|message| matches!(message, PreVoteRequest(_)));
    let floor = started_ms + abstention.as_millis() as u64;
    assert!(matches!(asked[0].message, PreVoteRequest(b) if b.term == floor + 1));
    assert!(!bench.grants(2, floor), "its last run may have voted there");
    assert!(bench.grants(2, floor + 1));
    // It follows leaders of any term, or its restart would cost the datacenter its leader.
    let mut bench = Bench::of_generation(2, &config, generation);
    bench.hear(2, Heartbeat(ballot(7, 1, true)));
    assert_eq!(bench.leadership.leader(bench.now), Some(address(2)));
}

#[test]
fn a_candidate_learns_which_terms_are_taken() {
    let mut bench = Bench::new(2, &FederationConfig::default());
    bench.run_until(bench.leadership.election_at());
    let round = bench.sent(|message| matches!(message, PreVoteRequest(_)));
    bench.answer(&round[..1], |request| PreVoteReply(Ballot { term: 88, ..request }));
    let again = bench.sent(|message| matches!(message, PreVoteRequest(_)));
    assert!(again.iter().all(|asked| matches!(asked.message, PreVoteRequest(b) if b.term == 89)));
    assert_eq!(again.len(), 2);
    bench.answer(&round[1..], |request| PreVoteReply(Ballot { flag: true, ..request }));
    assert!(matches!(bench.leadership.phase, Phase::PreCandidate(_)), "an answer of the old round");
    assert_eq!(bench.leadership.term(), 0, "what is only heard of is not entered");
    // The end of the numbers is reached quietly.
    bench.answer(&again[..1], |request| PreVoteReply(Ballot { term: TERM_MAX, ..request }));
    bench.run_until(bench.now + Duration::from_secs(10));
    assert_eq!(bench.leadership.leader(bench.now), None);
}

#[test]
fn the_host_names_the_leader_in_external_mode() {
    let external =
        FederationConfig { leadership: LeadershipMode::External, ..FederationConfig::default() };
    let mut bench = Bench::new(2, &external);
    bench.run_until(START + Duration::from_secs(60));
    assert!(bench.sent(|_| true).is_empty(), "nobody stands");
    let name = |bench: &mut Bench, leader: Option<u16>, term| {
        let leader = leader.map(address);
        bench.leadership.name_leader(bench.now, leader, term, &mut bench.outbox)
    };
    assert_eq!(name(&mut bench, Some(1), 5), Ok(()));
    bench.run_until(bench.now + Duration::from_secs(60));
    assert!(bench.leadership.is_leading(bench.now), "without any lease");
    assert!(bench.sent(|message| matches!(message, Heartbeat(b) if b.term == 5)).len() > 200);
    let stale = NameLeaderError::StaleTerm { term: 4, known: 5 };
    assert_eq!(name(&mut bench, Some(2), 4), Err(stale));
    assert!(name(&mut bench, Some(2), 5).is_err(), "the term is taken");
    assert_eq!(name(&mut bench, None, 5), Ok(()));
    assert!(name(&mut bench, Some(2), 5).is_err(), "for ever");
    assert_eq!(bench.leadership.leader(bench.now), None);
    assert_eq!(name(&mut bench, Some(2), 6), Ok(()));
    assert_eq!(bench.leadership.leader(bench.now), Some(address(2)));
    // The others hear of it from the leader.
    let mut other = Bench::new(2, &external);
    other.hear(2, Heartbeat(ballot(6, 1, true)));
    other.run_until(other.now + Duration::from_secs(600));
    assert_eq!(other.leadership.leader(other.now), Some(address(2)));
    other.hear(2, Resignation { term: 6, successor: None, is_leaving: false });
    assert_eq!(other.leadership.leader(other.now), None);
    let mut elected = Bench::new(2, &FederationConfig::default());
    assert_eq!(name(&mut elected, Some(1), 5), Err(NameLeaderError::Elected));
}
