//! What the Python node gets wrong in membership and failure detection, done right: a test for each,
//! named by its number in the list of known defects.
//!
//! The others stand beside the code that they are about: S9 and P2 in `federation/`, F1 and T1 to T9
//! with the jobs, F2 and F3 in `timer.rs`, F6 in `membership/table.rs`, V1 to V6 in `coordinate/`, R1 to
//! R9 in `routing/`.

use super::*;
use crate::testing::{Cluster, address, claim, config, forged, forged_all};
use crate::time::Duration;
use std::collections::BTreeMap;

const SECOND: Duration = Duration::from_secs(1);

/// There, what follows the members of a datagram swallows the last of them.
#[test]
fn defect_s1_no_update_of_a_full_datagram_is_lost() {
    let mut cluster = Cluster::formed(2, Role::Manager);
    let told: Vec<_> = (10..30).map(|number| claim(number, MemberState::Alive, 0)).collect();
    for count in 1..=told.len() {
        let mut cluster = Cluster::formed(2, Role::Manager);
        cluster.deliver(0, address(1), &mut forged_all(0, &told[..count]));
        let known = cluster.engines[&0].members(cluster.now).count();
        assert_eq!(known, 2 + count);
    }
    cluster.deliver(0, address(1), &mut forged_all(0, &told));
    for update in &told {
        let member = cluster.engines[&0].member(update.address, cluster.now).unwrap();
        assert_eq!((member.role, member.datacenter), (update.role, update.datacenter));
    }
}

/// There, a refutation carries the text of a coroutine in place of a number: it refutes nothing, and
/// whoever reads it makes a member of it that does not exist.
#[test]
fn defect_s2_a_refutation_raises_the_incarnation_and_invents_nobody() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    cluster.deliver(0, address(1), &mut forged(0, &claim(3, MemberState::Suspect, 0)));
    assert_eq!(cluster.state(0, 3), Some(MemberState::Suspect));
    cluster.run_until(2 * SECOND, |c| {
        let views = c.engines.values().filter_map(|e| e.member(address(3), c.now));
        c.is_full_mesh() && views.into_iter().all(|member| member.incarnation.0 == 1)
    });
    for engine in cluster.engines.values() {
        assert_eq!(engine.members(cluster.now).count(), 5);
    }
    assert_eq!(cluster.seen(3, MemberState::Dead), 0);
}

/// There, a valid join blocks its handler for ever, and 300 of them the whole node.
#[test]
fn defect_s3_joins_are_answered_however_many_there_are() {
    let mut cluster = Cluster::new();
    cluster.start(0, config(0));
    for number in 1..=400 {
        cluster.start(number, config(number));
    }
    cluster.run_until(10 * SECOND, |c| {
        (1..=400).all(|number| c.state(number, 0) == Some(MemberState::Alive))
    });
    let joined = cluster.events.iter().filter(|(_, event)| matches!(event, Event::Joined { .. }));
    assert_eq!(joined.count(), 400);
}

/// There, joining tells success whatever the answer, also when there is none.
#[test]
fn defect_s4_joining_nobody_is_told_and_goes_on() {
    let mut cluster = Cluster::new();
    cluster.start(1, config(1));
    cluster.run_for(20 * SECOND);
    let count = |cluster: &Cluster, is_it: fn(&Event) -> bool| {
        cluster.events.iter().filter(|(_, event)| is_it(event)).count()
    };
    let is_joined = |event: &Event| matches!(event, Event::Joined { .. });
    assert!(count(&cluster, |event| matches!(event, Event::JoinDelayed { .. })) > 0);
    assert_eq!(count(&cluster, is_joined), 0);
    cluster.start(0, config(0));
    cluster.run_until(20 * SECOND, Cluster::is_full_mesh);
    assert_eq!(count(&cluster, is_joined), 1);
}

/// There, gossip of a death tells the host, without ever changing the record.
#[test]
fn defect_s5_what_the_host_is_told_is_what_the_table_says() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    cluster.deliver(0, address(1), &mut forged(0, &claim(2, MemberState::Dead, 0)));
    cluster.run_for(Duration::from_millis(2));
    assert_eq!(cluster.state(0, 2), Some(MemberState::Dead));
    cluster.run_until(10 * SECOND, Cluster::is_full_mesh);
    cluster.kill(4);
    cluster.run_for(10 * SECOND);
    cluster.leave(3);
    cluster.run_for(5 * SECOND);
    let mut told = BTreeMap::new();
    for (observer, event) in &cluster.events {
        if let Event::Member(member) = event {
            let was = told.insert((*observer, member.address), (member.state, member.generation));
            assert_ne!(was, Some((member.state, member.generation)), "{observer} told twice");
        }
    }
    for ((observer, subject), (state, _)) in told {
        if let Some(engine) = cluster.engines.get(&observer) {
            let known = engine.member(subject, cluster.now).map(|member| member.state);
            assert_eq!(known, Some(state), "what {observer} was told of {subject}");
        }
    }
}

/// There, a killed node is never declared dead.
#[test]
fn defect_s6_a_killed_node_is_declared_dead_by_all() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    cluster.kill(3);
    let took = cluster.run_until(4 * SECOND, |c| c.all_see(3, MemberState::Dead));
    assert!(took > Duration::from_millis(500), "{took:?} is too quick to be sure");
    assert_eq!(cluster.seen(3, MemberState::Dead), 4);
    for other in [0, 1, 2, 4] {
        assert_eq!(cluster.seen(other, MemberState::Dead), 0);
    }
}

/// There, a node that died can never come back, nor can it ever be suspected again.
#[test]
fn defect_s7_a_restarted_node_is_alive_again_and_can_die_again() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    for generation in 2..5 {
        cluster.kill(3);
        cluster.run_until(5 * SECOND, |c| c.all_see(3, MemberState::Dead));
        cluster.start(3, Config { generation: Generation(generation), ..config(3) });
        cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
    }
}

/// There, indirect probes never succeed.
#[test]
fn defect_p1_helpers_save_a_node_whose_direct_path_is_cut() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    cluster.cut = vec![(address(0), address(1)), (address(1), address(0))];
    cluster.run_for(60 * SECOND);
    assert_eq!(cluster.seen(1, MemberState::Dead), 0);
    assert_eq!(cluster.seen(0, MemberState::Dead), 0);
    assert!(cluster.engines[&0].stats().value(Counter::IndirectProbesSent) > 10);
    assert!(cluster.is_full_mesh());
}

/// There, a probe succeeds only through a broadcast that is limited to five in ten seconds.
#[test]
fn defect_p3_every_probe_is_answered_by_its_own_ack() {
    let mut cluster = Cluster::new();
    for number in 0..3 {
        cluster.start(number, Config { probe_interval_ms: 10, ..config(number) });
    }
    cluster.run_for(10 * SECOND);
    for engine in cluster.engines.values() {
        let value = |counter| engine.stats().value(counter);
        assert!(value(Counter::ProbesSent) > 900, "{} probes", value(Counter::ProbesSent));
        assert!(value(Counter::ProbesAcked) + 2 >= value(Counter::ProbesSent));
        assert_eq!(value(Counter::SuspicionsStarted), 0);
    }
}

/// There, being probed counts as an accusation.
#[test]
fn defect_p4_being_probed_is_not_an_accusation() {
    let mut cluster = Cluster::formed(5, Role::Manager);
    cluster.run_for(30 * SECOND);
    for engine in cluster.engines.values() {
        assert!(engine.stats().value(Counter::ProbesReceived) > 0);
        assert_eq!(engine.health_score(), 0);
        assert_eq!(engine.stats().value(Counter::Refutations), 0);
    }
}

/// There, asking an unconfirmed peer to show itself fails, and so does forgetting it.
#[test]
fn defect_p5_hearsay_is_confirmed_when_it_is_true_and_forgotten_when_not() {
    let mut cluster = Cluster::formed(2, Role::Manager);
    let (real, invented) = (5, 6);
    let mut engine = Engine::new(config(real), 9, cluster.now).unwrap();
    engine.handle_timeout(cluster.now);
    cluster.engines.insert(real, engine);
    cluster.drain(real);
    for number in [real, invented] {
        cluster.deliver(0, address(1), &mut forged(0, &claim(number, MemberState::Alive, 0)));
        assert_eq!(cluster.state(0, number), Some(MemberState::Unconfirmed));
    }
    cluster.run_until(10 * SECOND, |c| c.state(0, real) == Some(MemberState::Alive));
    cluster.run_for(100 * SECOND);
    assert_eq!(cluster.state(0, invented), None);
    assert_eq!(cluster.seen(invented, MemberState::Suspect), 0);
    assert_eq!(cluster.seen(invented, MemberState::Dead), 0);
    assert!(cluster.seen(invented, MemberState::Removed) > 0);
}

/// There, local health is computed and has no effect on any time.
#[test]
fn defect_f4_ill_health_slows_a_node_down() {
    let probes_in_a_minute = |accusations: u32| {
        let mut cluster = Cluster::formed(3, Role::Manager);
        // Nothing reaches node 0, so nothing improves its health while it is counted.
        cluster.kill(1);
        cluster.kill(2);
        for incarnation in 0..accusations {
            let accusation = claim(0, MemberState::Suspect, incarnation);
            cluster.deliver(0, address(1), &mut forged(0, &accusation));
        }
        assert_eq!(u32::from(cluster.engines[&0].health_score()), accusations);
        let before = cluster.engines[&0].stats().value(Counter::ProbesSent);
        cluster.run_for(3 * SECOND);
        cluster.engines[&0].stats().value(Counter::ProbesSent) - before
    };
    let (well, ill) = (probes_in_a_minute(0), probes_in_a_minute(8));
    assert!(well > 2 * ill, "{well} probes in good health, {ill} in ill health");
}

/// There, the settings of the suspicion time are read and never used.
#[test]
fn defect_f5_the_settings_of_suspicion_decide_its_time() {
    let detection_time = |suspicion_min_factor: f64| {
        let mut cluster = Cluster::new();
        for number in 0..5 {
            cluster.start(number, Config { suspicion_min_factor, ..config(number) });
        }
        cluster.run_for(5 * SECOND);
        cluster.kill(3);
        cluster.run_until(120 * SECOND, |c| c.all_see(3, MemberState::Dead))
    };
    let (short, long) = (detection_time(1.5), detection_time(30.0));
    assert!(long > 5 * short, "{long:?} against {short:?}");
}

/// There, an answer goes to the address that a datagram claims, so that anybody with the secret can aim
/// it at others.
#[test]
fn defect_n3_an_answer_goes_where_the_question_came_from() {
    // Workers elect nobody, so there is nothing but the probe and its answer.
    let mut cluster = Cluster::formed(2, Role::Worker);
    // A round of probing is due by then, and no later than a node may be.
    let now = cluster.now + Duration::from_millis(450);
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    let asker = cluster.engine(1);
    asker.handle_timeout(now);
    let question = asker.poll_transmit(now, &mut buffer).unwrap();
    while asker.poll_transmit(now, &mut [0; DATAGRAM_SIZE_MAX]).is_some() {}
    let elsewhere = "10.9.9.9:4000".parse().unwrap();
    let asked = cluster.engine(0);
    let before = asked.stats().value(Counter::ProbesReceived);
    asked.handle_datagram(now, elsewhere, &mut buffer[..question.size]);
    let answer = asked.poll_transmit(now, &mut buffer).unwrap();
    assert_eq!(answer.target, elsewhere);
    assert_eq!(asked.stats().value(Counter::ProbesReceived), before + 1);
}

/// There, a node tells of its health three times and then never again.
#[test]
fn defect_g1_health_is_told_for_as_long_as_it_lasts() {
    let mut cluster = Cluster::formed(4, Role::Manager);
    cluster.run_for(60 * SECOND);
    // Three accusations of its first three incarnations.
    for incarnation in 0..3 {
        let accusation = claim(2, MemberState::Suspect, incarnation);
        cluster.deliver(2, address(1), &mut forged(2, &accusation));
    }
    let seen = |c: &Cluster, observer: u16| {
        c.engines[&observer].member(address(2), c.now).unwrap().health_score
    };
    assert_eq!(cluster.engines[&2].health_score(), 3);
    cluster.run_until(5 * SECOND, |c| [0, 1, 3].iter().any(|&n| seen(c, n) > 0));
    // It recovers, and that is told too, to everybody and to those who come later.
    cluster.run_until(60 * SECOND, |c| c.engines[&2].health_score() == 0);
    cluster.run_until(60 * SECOND, |c| [0, 1, 3].iter().all(|&n| seen(c, n) == 0));
}
