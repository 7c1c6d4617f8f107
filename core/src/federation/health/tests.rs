//! A gate's watch over datacenters whose managers are played by the test.

use super::*;
use crate::federation::outbox::FederationStats;

const SECOND: Duration = Duration::from_secs(1);
const START: Instant = Instant::from_millis(1_000_000);

fn id(index: usize) -> DatacenterId {
    DatacenterId::from_index(index).unwrap()
}

fn name(index: usize) -> DatacenterName {
    format!("dc-{index}").parse().unwrap()
}

/// Manager `number` of a datacenter.
fn manager(index: usize, number: usize) -> Address {
    format!("10.{index}.0.{}:7946", number + 1).parse().unwrap()
}

fn summary(available_cores: u32) -> DatacenterSummary {
    DatacenterSummary {
        manager_count: 3,
        healthy_manager_count: 3,
        worker_count: 5,
        healthy_worker_count: 5,
        total_cores: 100,
        available_cores,
        ..DatacenterSummary::default()
    }
}

/// What a leader answers.
fn leads(leader: Address, term: u64) -> LeaderProbeAck {
    LeaderProbeAck { sequence: 0, term, leader: Some(leader), summary: Some(summary(10)) }
}

/// What another manager answers.
fn follows(leader: Option<Address>, term: u64) -> LeaderProbeAck {
    LeaderProbeAck { sequence: 0, term, leader, summary: None }
}

struct Gate {
    now: Instant,
    monitor: Monitor,
    outbox: Outbox,
}

impl Gate {
    /// A gate that knows `managers` of each of `sites` datacenters.
    fn new(sites: usize, managers: usize) -> Gate {
        Gate::with(FederationConfig::default(), sites, managers)
    }

    fn with(config: FederationConfig, sites: usize, managers: usize) -> Gate {
        let mut monitor = Monitor::new(&config, Random::new(3), START);
        for index in 0..sites {
            for number in 0..managers {
                assert!(monitor.add_contact(START, id(index), name(index), manager(index, number)));
            }
        }
        Gate { now: START, monitor, outbox: Outbox::default() }
    }

    /// Runs on; every probe is answered at once by what `respond` says.
    fn run(
        &mut self,
        duration: Duration,
        mut respond: impl FnMut(usize, Address) -> Option<LeaderProbeAck>,
    ) {
        let end = self.now + duration;
        while let Some(deadline) = self.monitor.next_deadline().filter(|&at| at <= end) {
            self.now = self.now.max(deadline);
            self.monitor.handle_timeout(self.now, &mut self.outbox);
            while let Some((target, sequence)) = self.probe() {
                let index = id_of(sequence).index();
                if let Some(ack) = respond(index, target) {
                    self.answer(index, target, LeaderProbeAck { sequence, ..ack });
                }
            }
        }
        self.now = end;
    }

    /// The next probe that was sent.
    fn probe(&mut self) -> Option<(Address, u32)> {
        let outgoing = self.outbox.next_message()?;
        let FederationMessage::LeaderProbe { sequence } = outgoing.message else {
            panic!("gates only probe: {outgoing:?}");
        };
        self.monitor.note_sent(sequence, self.now);
        Some((outgoing.target, sequence))
    }

    fn answer(&mut self, index: usize, sender: Address, ack: LeaderProbeAck) {
        self.monitor.handle_ack(self.now, self.now, id(index), sender, &ack, &mut self.outbox);
    }

    /// Runs until the next probe and returns it.
    fn next_probe(&mut self) -> (Address, u32) {
        for _ in 0..1_000 {
            if let Some(probe) = self.probe() {
                return probe;
            }
            self.now = self.now.max(self.monitor.next_deadline().unwrap());
            self.monitor.handle_timeout(self.now, &mut self.outbox);
        }
        panic!("no probe is sent");
    }

    fn site(&self, index: usize) -> &Site {
        self.monitor.site(id(index)).unwrap()
    }

    fn reachability(&self, index: usize) -> Reachability {
        self.site(index).reachability()
    }

    fn events(&mut self) -> Vec<FederationEvent> {
        std::iter::from_fn(|| self.outbox.next_event()).collect()
    }

    fn stats(&self) -> FederationStats {
        self.outbox.stats
    }

    /// All datacenters lead themselves and answer.
    fn settle(&mut self) {
        self.run(10 * SECOND, |index, _| Some(leads(manager(index, 0), 1)).filter(|_| true));
        self.events();
    }
}

fn answer_all(index: usize, target: Address) -> Option<LeaderProbeAck> {
    let leader = manager(index, 0);
    Some(if target == leader { leads(leader, 1) } else { follows(Some(leader), 1) })
}

#[test]
fn probes_of_all_datacenters_are_spread_over_an_interval() {
    let mut gate = Gate::new(4, 1);
    let mut times = Vec::new();
    let mut seen = [0; 4];
    while times.len() < 12 {
        let (target, sequence) = gate.next_probe();
        let index = id_of(sequence).index();
        gate.answer(index, target, LeaderProbeAck { sequence, ..leads(target, 1) });
        times.push(gate.now);
        seen[index] += 1;
    }
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == SECOND / 2), "{times:?}");
    assert_eq!(seen, [3; 4]);
}

/// In the Python node acks never reach their handler, and a datacenter is unreachable until they
/// do.
#[test]
fn defect_p2_an_ack_makes_a_datacenter_reachable_and_before_it_is_unknown() {
    let mut gate = Gate::new(1, 1);
    assert_eq!(gate.reachability(0), Reachability::Unknown);
    let (target, sequence) = gate.next_probe();
    assert_eq!(gate.reachability(0), Reachability::Unknown);
    gate.answer(0, target, LeaderProbeAck { sequence, ..leads(target, 7) });
    assert_eq!(gate.reachability(0), Reachability::Reachable);
    assert_eq!(gate.site(0).leader(), Some((manager(0, 0), 7)));
    assert_eq!(gate.site(0).summary().unwrap().0.available_cores, 10);
    let (datacenter, at) = (name(0), gate.now);
    let (from, to) = (Reachability::Unknown, Reachability::Reachable);
    let leader = manager(0, 0);
    assert_eq!(
        gate.events(),
        [
            FederationEvent::ReachabilityChanged { datacenter, from, to, at },
            FederationEvent::LeaderElected { datacenter, leader, term: 7, at },
        ]
    );
}

#[test]
fn five_failures_then_thirty_seconds() {
    let mut gate = Gate::new(1, 1);
    gate.settle();
    let silent_from = gate.now;
    let mut changes = Vec::new();
    while changes.len() < 2 {
        gate.run(SECOND / 10, |_, _| None);
        for event in gate.events() {
            if let FederationEvent::ReachabilityChanged { to, at, .. } = event {
                changes.push((to, at));
            }
        }
        assert!(gate.now < silent_from + 60 * SECOND);
    }
    let (suspected, unreachable) = (changes[0], changes[1]);
    assert_eq!((suspected.0, unreachable.0), (Reachability::Suspected, Reachability::Unreachable));
    // Five probes, two seconds apart, the last of which waits for five.
    let took = suspected.1 - silent_from;
    assert!((13 * SECOND..=15 * SECOND).contains(&took), "{took:?}");
    let suspicion = unreachable.1 - suspected.1;
    assert!((30 * SECOND..=32 * SECOND).contains(&suspicion), "{suspicion:?}");
    assert_eq!(gate.stats().probes_failed, 5 + (suspicion.as_secs() / 2));
}

#[test]
fn an_ack_ends_suspicion_at_any_time() {
    let mut gate = Gate::new(1, 1);
    gate.settle();
    gate.run(20 * SECOND, |_, _| None);
    assert_eq!(gate.reachability(0), Reachability::Suspected);
    gate.run(2 * SECOND, answer_all);
    assert_eq!(gate.reachability(0), Reachability::Reachable);
    gate.run(60 * SECOND, |_, _| None);
    assert_eq!(gate.reachability(0), Reachability::Unreachable);
    gate.run(2 * SECOND, answer_all);
    assert_eq!(gate.reachability(0), Reachability::Reachable);
}

#[test]
fn silence_alone_is_enough() {
    let patient = FederationConfig { probe_failure_count: 100, ..FederationConfig::default() };
    let mut gate = Gate::with(patient, 1, 1);
    gate.settle();
    gate.run(22 * SECOND, |_, _| None);
    assert_eq!(gate.reachability(0), Reachability::Reachable);
    gate.run(6 * SECOND, |_, _| None);
    assert_eq!(gate.reachability(0), Reachability::Suspected);
}

#[test]
fn a_datacenter_that_was_never_heard_is_suspected_and_given_up_too() {
    let mut gate = Gate::new(1, 1);
    gate.run(16 * SECOND, |_, _| None);
    assert_eq!(gate.reachability(0), Reachability::Suspected);
    gate.run(34 * SECOND, |_, _| None);
    assert_eq!(gate.reachability(0), Reachability::Unreachable);
}

#[test]
fn answers_of_an_earlier_term_or_of_a_second_leader_are_ignored() {
    let mut gate = Gate::new(1, 2);
    gate.run(10 * SECOND, |_, target| Some(leads(target, 5)).filter(|_| target == manager(0, 0)));
    let known = gate.site(0).leader();
    assert_eq!(known, Some((manager(0, 0), 5)));
    // The deposed leader goes on answering; to the gate it is silent.
    let old = |_, target| (target == manager(0, 0)).then(|| leads(target, 4));
    gate.run(8 * SECOND, old);
    assert!(gate.stats().stale_terms > 0);
    assert_eq!((gate.site(0).leader(), gate.reachability(0)), (known, Reachability::Reachable));
    gate.run(10 * SECOND, old);
    assert_eq!(gate.reachability(0), Reachability::Suspected);
    let second = |_, target| (target == manager(0, 1)).then(|| leads(target, 5));
    gate.run(8 * SECOND, second);
    assert!(gate.stats().term_conflicts > 0);
    assert_eq!(gate.site(0).leader(), known);
    let later = |_, target| (target == manager(0, 1)).then(|| leads(target, 6));
    gate.run(8 * SECOND, later);
    assert_eq!(gate.site(0).leader(), Some((manager(0, 1), 6)));
}

#[test]
fn terms_may_begin_anew_after_a_datacenter_was_unreachable() {
    let mut gate = Gate::new(1, 1);
    gate.run(10 * SECOND, |_, target| Some(leads(target, 500)));
    gate.events();
    gate.run(60 * SECOND, |_, _| None);
    assert_eq!(gate.reachability(0), Reachability::Unreachable);
    assert!(
        gate.events().iter().any(|e| matches!(e, FederationEvent::LeaderLost { term: 500, .. }))
    );
    gate.run(4 * SECOND, |_, target| Some(leads(target, 1)));
    assert_eq!(gate.site(0).leader(), Some((manager(0, 0), 1)));
}

#[test]
fn late_repeated_and_invented_acks_change_nothing() {
    let mut gate = Gate::new(2, 2);
    let (target, sequence) = gate.next_probe();
    let index = id_of(sequence).index();
    let ack = LeaderProbeAck { sequence, ..leads(target, 1) };
    let other = if target == manager(index, 0) { manager(index, 1) } else { manager(index, 0) };
    gate.answer(index, other, ack);
    gate.answer(1 - index, target, ack);
    gate.answer(index, target, LeaderProbeAck { sequence: sequence + (1 << PLACE_BITS), ..ack });
    gate.answer(index, target, LeaderProbeAck { sequence: u32::MAX, ..ack });
    assert_eq!(gate.stats().acks_unmatched, 4);
    assert_eq!(gate.reachability(index), Reachability::Unknown);
    gate.answer(index, target, ack);
    gate.answer(index, target, ack);
    assert_eq!((gate.stats().acks_unmatched, gate.stats().probes_acked), (5, 1));
    let mut late = Gate::new(1, 1);
    let (target, sequence) = late.next_probe();
    late.run(6 * SECOND, |_, _| None);
    late.answer(0, target, LeaderProbeAck { sequence, ..leads(target, 1) });
    assert_eq!(late.reachability(0), Reachability::Unknown);
}

#[test]
fn an_older_summary_does_not_replace_a_newer_one_and_ages_are_kept() {
    let mut gate = Gate::new(1, 1);
    let (target, first) = gate.next_probe();
    let (_, second) = gate.next_probe();
    let with = |sequence, available_cores, age| LeaderProbeAck {
        sequence,
        summary: Some(DatacenterSummary { age, ..summary(available_cores) }),
        ..leads(target, 1)
    };
    gate.answer(0, target, with(second, 2, 7 * SECOND));
    let told_at = gate.site(0).summary().unwrap().1;
    assert_eq!(gate.now - told_at, 7 * SECOND, "as old as the leader said");
    gate.answer(0, target, with(first, 1, SECOND));
    assert_eq!(gate.site(0).summary().unwrap().0.available_cores, 2);
    assert_eq!(gate.stats().probes_acked, 2, "but it is a sign of life");
}

#[test]
fn a_follower_names_the_leader_and_that_is_asked_at_once() {
    let mut gate = Gate::new(1, 3);
    let (target, sequence) = gate.next_probe();
    let leader = manager(0, 9);
    gate.answer(0, target, LeaderProbeAck { sequence, ..follows(Some(leader), 3) });
    assert_eq!(gate.reachability(0), Reachability::Reachable);
    assert!(gate.events().iter().all(|e| !matches!(e, FederationEvent::LeaderElected { .. })));
    let (asked, sequence) = gate.probe().expect("it is asked without waiting for a turn");
    assert_eq!(asked, leader);
    gate.answer(0, leader, LeaderProbeAck { sequence, ..leads(leader, 3) });
    assert!(matches!(gate.events()[..], [FederationEvent::LeaderElected { term: 3, .. }]));
    for _ in 0..3 {
        let (asked, sequence) = gate.next_probe();
        assert_eq!(asked, leader, "only the leader is asked while it answers");
        gate.answer(0, leader, LeaderProbeAck { sequence, ..leads(leader, 3) });
    }
}

#[test]
fn a_new_leader_is_found_within_seconds_of_the_crash_of_the_old_one() {
    let mut gate = Gate::new(3, 3);
    gate.settle();
    let crashed_at = gate.now;
    let new = manager(1, 2);
    let mut found_at = None;
    while found_at.is_none() {
        gate.run(SECOND / 10, |index, target| match index {
            1 if target == manager(1, 0) => None,
            1 if target == new => Some(leads(new, 2)),
            1 => Some(follows(Some(new), 2)),
            _ => answer_all(index, target),
        });
        let events = gate.events();
        let mut elected = events.iter().filter_map(|event| match event {
            FederationEvent::LeaderElected { leader, at, .. } if *leader == new => Some(*at),
            _ => None,
        });
        found_at = elected.next();
        assert!(gate.now < crashed_at + 10 * SECOND, "not found");
    }
    assert_eq!(gate.reachability(1), Reachability::Reachable);
    assert!(found_at.unwrap() - crashed_at <= 6 * SECOND);
}

#[test]
fn all_silent_together_are_the_own_network_for_a_minute() {
    let mut gate = Gate::new(3, 1);
    gate.settle();
    let cut_at = gate.now;
    gate.run(15 * SECOND, |_, _| None);
    assert!(gate.monitor.is_network_blamed());
    let events = gate.events();
    let blamed = |e: &&FederationEvent| matches!(e, FederationEvent::NetworkSuspected { .. });
    assert_eq!(events.iter().filter(blamed).count(), 1);
    gate.run(40 * SECOND, |_, _| None);
    assert!((0..3).all(|index| gate.reachability(index) == Reachability::Suspected));
    // It comes back in time: nothing was given up.
    gate.run(4 * SECOND, answer_all);
    assert!((0..3).all(|index| gate.reachability(index) == Reachability::Reachable));
    assert!(!gate.monitor.is_network_blamed());
    let recovered = |e: &FederationEvent| matches!(e, FederationEvent::NetworkRecovered { .. });
    assert!(gate.events().iter().any(recovered));
    // It does not come back: the silence is believed.
    gate.run(90 * SECOND, |_, _| None);
    assert!(!gate.monitor.is_network_blamed());
    assert!((0..3).all(|index| gate.reachability(index) == Reachability::Unreachable));
    assert!(gate.now > cut_at);
}

#[test]
fn one_silent_of_three_is_not_the_own_network() {
    let mut gate = Gate::new(3, 1);
    gate.settle();
    gate.run(60 * SECOND, |index, target| answer_all(index, target).filter(|_| index != 1));
    assert_eq!(gate.reachability(1), Reachability::Unreachable);
    assert_eq!(gate.reachability(0), Reachability::Reachable);
    assert_eq!(gate.stats().network_suspicions, 0);
}

#[test]
fn what_membership_loses_together_is_the_own_network_before_probes_fail() {
    let mut gate = Gate::new(3, 1);
    gate.settle();
    let now = gate.now + SECOND;
    gate.monitor.note_lost(now, id(0), true, &mut gate.outbox);
    assert!(!gate.monitor.is_network_blamed());
    gate.monitor.note_lost(now, id(1), true, &mut gate.outbox);
    assert!(gate.monitor.is_network_blamed());
    assert!(gate.site(0).is_silent() && !gate.site(2).is_silent());
    // An ack proves membership wrong.
    gate.now = now;
    gate.run(2 * SECOND, answer_all);
    assert!(!gate.monitor.is_network_blamed());
}

#[test]
fn round_trips_are_those_of_the_leader_from_sending_to_receiving() {
    let mut gate = Gate::new(1, 1);
    for sample in [40, 44, 36, 40, 41, 39, 40, 40] {
        let (target, sequence) = gate.next_probe();
        let received_at = gate.now + Duration::from_millis(sample);
        let ack = LeaderProbeAck { sequence, ..leads(target, 1) };
        // It is handled late, which is none of the network's time.
        let now = received_at + SECOND / 2;
        gate.monitor.handle_ack(now, received_at, id(0), target, &ack, &mut gate.outbox);
    }
    let rtt = gate.site(0).rtt().unwrap();
    assert!((39.0..41.0).contains(&rtt.ms), "{rtt:?}");
    assert!((44.0..60.0).contains(&rtt.upper_ms), "{rtt:?}");
    assert_eq!(rtt.quality, 1.0);
}

#[test]
fn a_long_sleep_probes_each_datacenter_once() {
    let mut gate = Gate::new(10, 1);
    gate.settle();
    let sent = gate.stats().probes_sent;
    gate.now += 600 * SECOND;
    gate.monitor.handle_timeout(gate.now, &mut gate.outbox);
    assert_eq!(gate.stats().probes_sent - sent, 10);
    assert!(gate.monitor.next_deadline().unwrap() > gate.now);
}

#[test]
fn nothing_grows_without_bound() {
    let mut gate = Gate::new(1, CONTACT_COUNT_MAX);
    assert!(!gate.monitor.add_contact(gate.now, id(0), name(0), manager(0, 99)));
    assert!(gate.monitor.add_contact(gate.now, id(0), name(0), manager(0, 3)), "known");
    let slow = FederationConfig { probe_timeout_ms: 200_000, ..FederationConfig::default() };
    let mut gate = Gate::with(slow, 1, 1);
    gate.run(100 * SECOND, |_, _| None);
    assert_eq!(gate.stats().probes_sent, PENDING_COUNT_MAX as u64);
    let mut gate = Gate::new(50, 1);
    gate.run(60 * SECOND, answer_all);
    assert!(gate.monitor.timeouts.len() <= 1, "{}", gate.monitor.timeouts.len());
    gate.monitor.forget(gate.now, id(7), &mut gate.outbox);
    gate.run(60 * SECOND, |index, target| {
        assert_ne!(index, 7, "it is watched no more");
        answer_all(index, target)
    });
    assert_eq!(gate.monitor.sites().count(), 49);
}
