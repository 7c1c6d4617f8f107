//! Whole engines on a perfect network: forming, failing, healing, leaving, and bad bytes.

use super::*;
use crate::config::WAKING_COUNT_MAX;
use crate::testing::{Cluster, address, claim, config, forged, forged_all, forged_message};
use crate::time::Duration;
use crate::wire::native::{Kind, Update};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn clusters_of_any_role_form_a_full_mesh_within_three_seconds() {
    for role in Role::ALL {
        let mut cluster = Cluster::new();
        for number in 0..5 {
            cluster.start(number, Config { role, ..config(number) });
        }
        cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
        cluster.run_for(60 * SECOND);
        assert!(cluster.is_full_mesh());
        assert_eq!((0..5).map(|n| cluster.seen(n, MemberState::Suspect)).sum::<usize>(), 0);
    }
}

#[test]
fn a_restart_before_anybody_noticed_is_not_mistaken_for_a_death() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    cluster.kill(3);
    cluster.start(3, Config { generation: Generation(2), ..config(3) });
    cluster.run_until(3 * SECOND, |c| {
        let runs = c.engines.values().filter_map(|e| e.member(address(3), c.now));
        c.is_full_mesh() && runs.into_iter().all(|member| member.generation.0 == 2)
    });
    cluster.run_for(20 * SECOND);
    assert_eq!(cluster.seen(3, MemberState::Dead), 0);
}

#[test]
fn a_clock_set_back_before_a_restart_does_not_shut_a_node_out() {
    let mut cluster = Cluster::new();
    for number in 0..4 {
        let generation = Generation(if number == 3 { 50 } else { 1 });
        cluster.start(number, Config { generation, ..config(number) });
    }
    cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
    cluster.kill(3);
    cluster.start(3, Config { generation: Generation(9), ..config(3) });
    cluster.run_until(30 * SECOND, |c| {
        let is_new = |e: &Engine| e.member(address(3), c.now).map(|m| m.generation.0 > 50);
        c.is_full_mesh() && c.engines.values().all(|engine| is_new(engine) == Some(true))
    });
}

#[test]
fn a_goodbye_is_heard_as_left_and_never_as_dead() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    cluster.leave(2);
    cluster.run_for(SECOND);
    assert!(cluster.events.iter().any(|(n, e)| *n == 2 && matches!(e, Event::Left { .. })));
    assert_eq!(cluster.engines[&2].poll_timeout(), None);
    cluster.kill(2);
    assert!(cluster.all_see(2, MemberState::Left));
    cluster.run_for(30 * SECOND);
    assert!(cluster.all_see(2, MemberState::Left));
    assert_eq!(cluster.seen(2, MemberState::Dead), 0);
}

#[test]
fn nothing_is_told_after_the_goodbye_even_when_timers_come_late() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    cluster.kill(3);
    cluster.run_until(4 * SECOND, |c| c.state(2, 3) == Some(MemberState::Suspect));
    let mut now = cluster.now;
    let engine = cluster.engine(2);
    engine.leave(now).unwrap();
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    for pause in [0, 100, 100, 60_000] {
        now += Duration::from_millis(pause);
        engine.handle_timeout(now);
        while engine.poll_transmit(now, &mut buffer).is_some() {}
    }
    let events: Vec<Event> = std::iter::from_fn(|| engine.poll_event()).collect();
    assert!(matches!(events.last(), Some(Event::Left { .. })), "{events:?}");
}

/// In the Python node the cleanup of old coordinates is never called.
#[test]
fn defect_v4_coordinates_of_the_long_silent_are_forgotten() {
    let mut cluster = Cluster::new();
    for number in 0..3 {
        cluster.start(number, Config { dead_retention_ms: 100_000_000, ..config(number) });
    }
    cluster.run_for(5 * SECOND);
    cluster.kill(2);
    let rtt = |c: &Cluster| c.engines[&0].rtt(address(2), c.now);
    cluster.run_for(60 * SECOND);
    assert!(rtt(&cluster).is_some(), "forgotten too soon");
    cluster.run_for(10_000 * SECOND);
    assert_eq!(rtt(&cluster), None);
    assert!(cluster.engines[&0].stats().value(Counter::CoordinatesExpired) > 0);
}

#[test]
fn a_partition_that_heals_becomes_one_cluster_again_by_itself() {
    let mut cluster = Cluster::formed(6, Role::Manager);
    for left in 0..3 {
        for right in 3..6 {
            cluster.cut.push((address(left), address(right)));
            cluster.cut.push((address(right), address(left)));
        }
    }
    cluster.run_until(30 * SECOND, |c| {
        (0..3).all(|n| (3..6).all(|m| c.state(n, m) == Some(MemberState::Dead)))
    });
    cluster.cut.clear();
    cluster.run_until(60 * SECOND, Cluster::is_full_mesh);
}

fn state_of(observer: &Engine, number: u16) -> Option<&[u8]> {
    observer.state(address(number)).map(|bytes| &bytes[..])
}

#[test]
fn a_state_larger_than_a_datagram_reaches_everybody_and_newcomers() {
    let mut cluster = Cluster::formed(8, Role::Manager);
    for (size, fill) in [(10, 1u8), (16_384, 2), (0, 3), (5_000, 4)] {
        let state = vec![fill; size];
        let now = cluster.now;
        cluster.engine(2).set_state(now, state.clone().into()).unwrap();
        cluster.run_until(10 * SECOND, |c| {
            c.engines.values().all(|engine| state_of(engine, 2) == Some(&state))
        });
    }
    cluster.start(9, config(9));
    cluster.run_until(5 * SECOND, |c| state_of(&c.engines[&9], 2) == Some(&[4; 5_000]));
    cluster.kill(2);
    cluster.start(2, Config { generation: Generation(2), ..config(2) });
    cluster.run_until(5 * SECOND, |c| {
        c.is_full_mesh() && c.engines.values().all(|engine| state_of(engine, 2).is_none())
    });
    let too_large = vec![0; 16_385].into();
    let now = cluster.now;
    assert!(matches!(
        cluster.engine(2).set_state(now, too_large),
        Err(CommandError::StateSize { size: 16_385, .. })
    ));
}

#[test]
fn a_broadcast_reaches_everybody_exactly_once() {
    let mut cluster = Cluster::formed(20, Role::Gate);
    for round in 0..30u16 {
        let now = cluster.now;
        let payload = vec![round as u8; usize::from(round) * 35];
        cluster.engine(round % 20).broadcast(now, payload.into()).unwrap();
        cluster.run_for(Duration::from_millis(20));
    }
    cluster.run_for(10 * SECOND);
    for number in 0..20u16 {
        let received = cluster.events.iter().filter(|(observer, event)| {
            *observer == number && matches!(event, Event::Broadcast { .. })
        });
        let own = (0..30).filter(|round| round % 20 == number).count();
        assert_eq!(received.count(), 30 - own, "node {number}");
    }
    let now = cluster.now;
    let error = cluster.engine(0).broadcast(now, vec![0; 1_025].into()).unwrap_err();
    assert_eq!(error, CommandError::BroadcastSize { size: 1_025 });
}

#[test]
fn a_full_broadcast_queue_refuses_and_recovers() {
    let mut cluster = Cluster::formed(3, Role::Gate);
    let now = cluster.now;
    let engine = cluster.engine(0);
    let accepted = (0..1_000).take_while(|_| engine.broadcast(now, Bytes::new()).is_ok());
    assert_eq!(accepted.count(), crate::config::BROADCAST_COUNT_MAX);
    cluster.run_for(60 * SECOND);
    let now = cluster.now;
    cluster.engine(0).broadcast(now, Bytes::new()).unwrap();
}

#[test]
fn nodes_that_agree_exchange_digests_and_not_tables() {
    let mut cluster = Cluster::formed(10, Role::Manager);
    cluster.run_for(30 * SECOND);
    let updates = |c: &Cluster| -> u64 {
        c.engines.values().map(|e| e.stats().value(Counter::UpdatesSent)).sum()
    };
    let before = updates(&cluster);
    cluster.run_for(60 * SECOND);
    assert_eq!(updates(&cluster), before);
}

#[test]
fn a_large_table_is_read_to_its_end_although_pages_get_lost() {
    let mut cluster = Cluster::formed(200, Role::Worker);
    cluster.engines.retain(|&number, _| number == 0);
    cluster.loss = 0.25;
    cluster.start(200, config(200));
    cluster.run_for(5 * SECOND);
    let is_joined =
        |(number, event): &(u16, Event)| *number == 200 && matches!(event, Event::Joined { .. });
    assert!(cluster.events.iter().any(is_joined));
    assert!(cluster.engines[&200].members(cluster.now).count() > 190);
}

/// The last page that a node asks for in what it sends, and the number of the question.
fn asked_page(engine: &mut Engine, now: Instant, peer: &mut Envelopes) -> Option<(u32, u32)> {
    let mut asked = None;
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    while let Some(transmit) = engine.poll_transmit(now, &mut buffer) {
        let opened = peer.open(&mut buffer[..transmit.size]).unwrap();
        let header = Message::parse(opened.body).unwrap().header;
        let is_question = header.kind == Kind::SyncRequest;
        asked = is_question.then_some((header.parameter, header.sequence)).or(asked);
    }
    asked
}

#[test]
fn a_peer_whose_pages_lead_back_is_not_read_for_ever() {
    let now = Instant::from_millis(1_000);
    let mut peer = Envelopes::new(&config(1).secrets, 1, 2, &mut Random::new(3));
    let mut engine = Engine::new(config(0), 1, now).unwrap();
    engine.join(now, &[address(1)]).unwrap();
    engine.handle_timeout(now);
    let (page, first) = asked_page(&mut engine, now, &mut peer).unwrap();
    assert_eq!(page, 0);
    let answer = |sequence| forged_message(0, Kind::SyncReply, sequence, 5, &[]);
    engine.handle_datagram(now, address(1), &mut answer(first));
    let (page, second) = asked_page(&mut engine, now, &mut peer).unwrap();
    assert_eq!(page, 5);
    engine.handle_datagram(now, address(1), &mut answer(second));
    assert_eq!(asked_page(&mut engine, now, &mut peer), None);
    assert_eq!(engine.stats().value(Counter::ReadingsFailed), 1);
}

/// Nobody else speaks of it any more, and the two cannot reach each other.
#[test]
fn a_helper_tells_of_a_refutation_that_was_missed() {
    let mut cluster = Cluster::formed(8, Role::Worker);
    let others = |number: u16| (0..8).filter(move |&other| other != number).map(address);
    cluster.cut = others(0).map(|other| (other, address(0))).collect();
    cluster.deliver(2, address(1), &mut forged(2, &claim(3, MemberState::Suspect, 0)));
    cluster.run_for(SECOND);
    cluster.cut = vec![(address(0), address(3)), (address(3), address(0))];
    let told = cluster.engines[&1].member(address(3), cluster.now).unwrap();
    assert_eq!((told.state, told.incarnation.0), (MemberState::Alive, 1));
    cluster.deliver(0, address(1), &mut forged(0, &claim(3, MemberState::Suspect, 0)));
    assert_eq!(cluster.state(0, 3), Some(MemberState::Suspect));
    cluster.run_until(4 * SECOND, |c| c.state(0, 3) == Some(MemberState::Alive));
    assert_eq!(cluster.seen(3, MemberState::Dead), 0);
}

/// Datagrams wait in the socket while a process is stopped; here they are lost, which is worse.
#[test]
fn a_node_that_was_stopped_doubts_itself_first() {
    let mut cluster = Cluster::formed(8, Role::Manager);
    let stopped = cluster.engines.remove(&5).unwrap();
    cluster.run_for(5 * SECOND);
    cluster.engines.insert(5, stopped);
    let (now, events) = (cluster.now, cluster.events.len());
    cluster.run_until(20 * SECOND, Cluster::is_full_mesh);
    let own = &cluster.engines[&5];
    assert_eq!(own.stats().value(Counter::Stalls), 1);
    let wrong = cluster.events[events..].iter().filter(|(observer, event)| {
        matches!(event, Event::Member(member)
            if *observer == 5 && member.state == MemberState::Dead)
    });
    assert_eq!(wrong.count(), 0, "accused others after its own absence at {now:?}");
}

#[test]
fn a_node_that_wakes_refutes_what_was_said_in_its_absence_before_it_hears_of_it() {
    let mut cluster = Cluster::formed(80, Role::Worker);
    let mut stopped = cluster.engines.remove(&5).unwrap();
    cluster.run_for(2 * SECOND);
    let sent = stopped.stats().value(Counter::DatagramsSent);
    stopped.handle_timeout(cluster.now);
    cluster.engines.insert(5, stopped);
    cluster.drain(5);
    let sent = cluster.engines[&5].stats().value(Counter::DatagramsSent) - sent;
    cluster.run_for(Duration::from_millis(1));
    let knows = |observer: &u16| {
        let member = cluster.engines[observer].member(address(5), cluster.now).unwrap();
        member.state == MemberState::Alive && member.incarnation.0 > 0
    };
    let told = cluster.engines.keys().filter(|observer| **observer != 5 && knows(observer)).count();
    assert!(told >= WAKING_COUNT_MAX, "{told} know of it after a millisecond");
    // Besides, a probe and what rounds were due.
    assert!(sent <= WAKING_COUNT_MAX as u64 + 10, "{sent} datagrams at once");
}

/// What a stopped process finds in its socket when it goes on.
#[test]
fn a_death_that_was_refuted_while_the_observer_was_stopped_is_not_declared() {
    let mut cluster = Cluster::formed(8, Role::Worker);
    let mut observer = cluster.engines.remove(&3).unwrap();
    let stopped_at = cluster.now;
    let read = |observer: &mut Engine, update: &Update| {
        let mut bytes = forged(3, update);
        let received_at = stopped_at + Duration::from_millis(700);
        observer.handle_datagram(received_at, address(1), &mut bytes);
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        while observer.poll_transmit(received_at, &mut buffer).is_some() {}
    };
    read(&mut observer, &claim(2, MemberState::Dead, 0));
    read(&mut observer, &claim(2, MemberState::Alive, 1));
    // Nobody wrote to it that this one lives.
    read(&mut observer, &claim(6, MemberState::Dead, 0));
    cluster.run_for(2 * SECOND);
    cluster.engines.insert(3, observer);
    cluster.run_for(5 * SECOND);
    assert_eq!(cluster.seen(2, MemberState::Dead), 0);
    assert_eq!(cluster.seen(6, MemberState::Dead), 0, "old news, and it would have answered");
    assert!(cluster.is_full_mesh());
}

#[test]
fn a_death_that_others_declared_is_believed_at_once() {
    let mut cluster = Cluster::formed(8, Role::Worker);
    cluster.kill(2);
    let mut bytes = forged(3, &claim(2, MemberState::Dead, 0));
    cluster.deliver(3, address(1), &mut bytes);
    cluster.run_for(Duration::from_millis(2));
    assert_eq!(cluster.state(3, 2), Some(MemberState::Dead));
}

#[test]
fn same_seed_and_inputs_give_the_same_bytes() {
    let run = || {
        let mut cluster = Cluster::formed(5, Role::Worker);
        cluster.kill(4);
        cluster.run_for(10 * SECOND);
        cluster.leave(1);
        cluster.run_for(5 * SECOND);
        (cluster.trace, cluster.events)
    };
    assert_eq!(run(), run());
}

#[test]
fn bad_datagrams_are_counted_and_change_nothing() {
    let mut cluster = Cluster::formed(2, Role::Manager);
    let mut stranger = Config { secrets: vec![Secret::new([9; 32]).unwrap()], ..config(9) };
    stranger.probe_interval_ms = 10;
    let mut foreign = Engine::new(stranger, 1, cluster.now).unwrap();
    foreign.join(cluster.now, &[address(0)]).unwrap();
    foreign.handle_timeout(cluster.now);
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    let size = foreign.poll_transmit(cluster.now, &mut buffer).unwrap().size;
    let before: Vec<Member> = cluster.engines[&0].members(cluster.now).collect();
    let sent = cluster.engines[&0].stats().value(Counter::DatagramsSent);
    let mut random = Random::new(5);
    for length in [0, 1, 31, 47, 48, 500, 1_400, 1_401, 9_000] {
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
        cluster.deliver(0, address(9), &mut bytes);
    }
    cluster.deliver(0, address(9), &mut buffer[..size]);
    let engine = &cluster.engines[&0];
    let value = |counter| engine.stats().value(counter);
    assert_eq!(value(Counter::DroppedTruncated), 4);
    assert_eq!(value(Counter::DroppedForeign), 3);
    assert_eq!(value(Counter::DroppedOversized), 2);
    assert_eq!(value(Counter::DroppedUnknownKey), 1);
    assert_eq!(value(Counter::DatagramsSent), sent, "a bad datagram was answered");
    assert_eq!(engine.members(cluster.now).collect::<Vec<_>>(), before);
}

fn generation(cluster: &Cluster, number: u16) -> u64 {
    cluster.engines[&number].member_at(OWN_SLOT, cluster.now).unwrap().generation.0
}

#[test]
fn a_false_goodbye_does_not_shut_a_node_out() {
    let mut cluster = Cluster::formed(4, Role::Manager);
    for observer in [0, 1, 3] {
        let mut bytes = forged(observer, &claim(2, MemberState::Left, 0));
        cluster.deliver(observer, address(1), &mut bytes);
        cluster.run_for(Duration::from_millis(1));
    }
    cluster.run_until(10 * SECOND, |c| generation(c, 2) > 1 && c.is_full_mesh());
}

#[test]
fn an_incarnation_too_far_to_refute_begins_a_new_run() {
    for leap in [0, 5, 900, 5_000] {
        let mut cluster = Cluster::formed(3, Role::Manager);
        let mut bytes = forged(2, &claim(2, MemberState::Suspect, leap));
        cluster.deliver(2, address(1), &mut bytes);
        assert_eq!(generation(&cluster, 2) > 1, leap == 5_000, "leap of {leap}");
    }
    // Peers that missed the leaps would refuse to believe the incarnation that they led to.
    let mut cluster = Cluster::formed(3, Role::Manager);
    for incarnation in [900, 1_800, 1] {
        let mut bytes = forged(2, &claim(2, MemberState::Suspect, incarnation));
        cluster.deliver(2, address(1), &mut bytes);
    }
    assert!(generation(&cluster, 2) > 1);
}

#[test]
fn every_new_incarnation_is_told_to_mirrors() {
    let mut cluster = Cluster::formed(3, Role::Manager);
    for incarnation in [1, 4] {
        while cluster.engine(0).poll_change().is_some() {}
        let mut bytes = forged(0, &claim(2, MemberState::Suspect, incarnation));
        cluster.deliver(0, address(1), &mut bytes);
        let now = cluster.now;
        let engine = cluster.engine(0);
        let changed = std::iter::from_fn(|| engine.poll_change()).collect::<Vec<_>>();
        let slot = changed.into_iter().find(|&slot| {
            engine.member_at(slot, now).is_some_and(|member| member.address == address(2))
        });
        assert!(slot.is_some(), "incarnation {incarnation}");
    }
}

#[test]
fn a_forged_source_does_not_make_a_node_answer_itself() {
    let mut cluster = Cluster::formed(2, Role::Manager);
    let later = cluster.now + SECOND;
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    cluster.engine(1).handle_timeout(later);
    let size = cluster.engine(1).poll_transmit(later, &mut buffer).unwrap().size;
    let sent = cluster.engines[&0].stats().value(Counter::DatagramsSent);
    cluster.deliver(0, address(0), &mut buffer[..size]);
    let stats = cluster.engines[&0].stats();
    assert_eq!(stats.value(Counter::DroppedOwn), 1);
    assert_eq!(stats.value(Counter::DatagramsSent), sent);
}

#[test]
fn who_left_may_come_back_with_any_generation() {
    for generation in [9, 50, 51] {
        let mut cluster = Cluster::new();
        for number in 0..4 {
            let first = Generation(if number == 3 { 50 } else { 1 });
            cluster.start(number, Config { generation: first, ..config(number) });
        }
        cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
        cluster.leave(3);
        cluster.run_for(SECOND);
        cluster.kill(3);
        cluster.start(3, Config { generation: Generation(generation), ..config(3) });
        cluster.run_until(10 * SECOND, Cluster::is_full_mesh);
    }
}

#[test]
fn two_nodes_that_know_later_runs_of_each_other_meet_again() {
    let mut cluster = Cluster::formed(3, Role::Manager);
    for (observer, subject) in [(0, 2), (2, 0)] {
        let later = Update { generation: Generation(40), ..claim(subject, MemberState::Alive, 0) };
        let mut bytes = forged(observer, &later);
        cluster.deliver(observer, address(1), &mut bytes);
    }
    cluster.kill(1);
    cluster.run_until(30 * SECOND, |c| {
        c.state(0, 2) == Some(MemberState::Alive) && c.state(2, 0) == Some(MemberState::Alive)
    });
}

#[test]
fn a_state_of_an_earlier_start_in_the_same_generation_is_not_taken_for_a_new_one() {
    let mut cluster = Cluster::formed(4, Role::Manager);
    for fill in 1..=3 {
        let now = cluster.now;
        cluster.engine(3).set_state(now, vec![fill; 5].into()).unwrap();
        cluster.run_for(3 * SECOND);
    }
    assert!((0..3).all(|n| state_of(&cluster.engines[&n], 3) == Some(&[3; 5])));
    cluster.kill(3);
    cluster.start(3, config(3));
    cluster.run_for(SECOND);
    let now = cluster.now;
    cluster.engine(3).set_state(now, vec![9; 5].into()).unwrap();
    cluster.run_until(20 * SECOND, |c| {
        c.is_full_mesh() && (0..3).all(|n| state_of(&c.engines[&n], 3) == Some(&[9; 5]))
    });
}

#[test]
fn hearsay_of_a_peer_that_nobody_heard_is_not_passed_on() {
    let mut cluster = Cluster::formed(4, Role::Manager);
    let mut stranger = Engine::new(config(9), 1, cluster.now).unwrap();
    stranger.join(cluster.now, &[address(0)]).unwrap();
    stranger.handle_timeout(cluster.now);
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    let size = stranger.poll_transmit(cluster.now, &mut buffer).unwrap().size;
    cluster.deliver(0, address(9), &mut buffer[..size]);
    cluster.run_for(40 * SECOND);
    assert_eq!(cluster.state(0, 9), Some(MemberState::Unconfirmed));
    assert!((1..4).all(|observer| cluster.state(observer, 9).is_none()));
    cluster.run_for(100 * SECOND);
    assert_eq!(cluster.state(0, 9), None);
}

#[test]
fn a_peer_asked_in_vain_is_asked_again_when_others_hear_it() {
    for role in Role::ALL {
        let mut cluster = Cluster::new();
        cluster.cut = vec![(address(1), address(2)), (address(2), address(1))];
        for number in 0..3 {
            let role = if number == 2 { role } else { Role::Gate };
            cluster.start(number, Config { role, ..config(number) });
        }
        cluster.run_for(40 * SECOND);
        assert_eq!(cluster.state(1, 2), Some(MemberState::Unconfirmed));
        cluster.cut.clear();
        cluster.run_until(25 * SECOND, Cluster::is_full_mesh);
    }
}

#[test]
fn an_answer_that_comes_late_is_an_answer() {
    let mut cluster = Cluster::new();
    cluster.one_way = 2 * Duration::from_millis(config(0).probe_timeout_unknown_ms);
    for number in 0..3 {
        cluster.start(number, config(number));
    }
    cluster.run_until(15 * SECOND, Cluster::is_full_mesh);
}

#[test]
fn a_node_that_learns_of_many_at_once_asks_them_at_a_pace_it_can_keep() {
    let mut cluster = Cluster::formed(2, Role::Manager);
    let news: Vec<Update> =
        (100..1_100).map(|number| claim(number, MemberState::Alive, 0)).collect();
    for news in news.chunks(16) {
        cluster.deliver(0, address(1), &mut forged_all(0, news));
    }
    let asked = |cluster: &Cluster| {
        cluster.engines[&0].stats().value(Counter::ConfirmationAttempts) as usize
    };
    let mut before = 0;
    for _ in 0..10 {
        cluster.run_for(SECOND / 2);
        let now = asked(&cluster);
        assert!(now - before <= 250, "{} attempts in half a second", now - before);
        before = now;
    }
    cluster.run_for(10 * SECOND);
    assert!(asked(&cluster) >= news.len(), "{} of {} asked", asked(&cluster), news.len());
}

#[test]
fn commands_say_what_is_wrong_and_change_nothing() {
    let mut engine = Engine::new(config(1), 1, Instant::ZERO).unwrap();
    let nowhere = "0.0.0.0:1".parse().unwrap();
    let error = engine.join(Instant::ZERO, &[nowhere]).unwrap_err();
    assert_eq!(error, CommandError::SeedAddress { address: nowhere });
    assert!(engine.set_secrets(Vec::new()).is_err());
    engine.leave(Instant::ZERO).unwrap();
    assert_eq!(engine.leave(Instant::ZERO).unwrap_err(), CommandError::Leaving);
    assert_eq!(engine.join(Instant::ZERO, &[]).unwrap_err(), CommandError::Leaving);
}

#[test]
#[should_panic(expected = "must be drained")]
fn the_drive_loop_is_asserted() {
    let mut engine = Engine::new(config(1), 1, Instant::ZERO).unwrap();
    engine.join(Instant::ZERO, &[address(0)]).unwrap();
    engine.handle_timeout(Instant::ZERO);
    engine.handle_timeout(Instant::ZERO);
}

#[test]
fn secrets_rotate_in_a_running_cluster() {
    let mut cluster = Cluster::formed(3, Role::Gate);
    let (old, new) = (Secret::new([7; 32]).unwrap(), Secret::new([8; 32]).unwrap());
    let rings = [vec![old.clone(), new.clone()], vec![new.clone(), old], vec![new]];
    for ring in rings {
        for number in 0..3 {
            cluster.engine(number).set_secrets(ring.clone()).unwrap();
            cluster.run_for(2 * SECOND);
        }
    }
    cluster.run_for(10 * SECOND);
    assert!(cluster.is_full_mesh());
    for (number, engine) in &cluster.engines {
        assert_eq!(engine.stats().value(Counter::DroppedUnknownKey), 0);
        assert_eq!(cluster.seen(*number, MemberState::Suspect), 0);
    }
}
