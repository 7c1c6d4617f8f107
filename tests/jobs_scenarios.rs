//! The scenarios of AD-34, part 7, and the right behaviour in place of each known defect of the
//! Python trackers (T1 to T9), on a virtual network with a clock per host.
#![allow(missing_docs)]

#[path = "support/jobs.rs"]
mod support;

use shoal_core::jobs::messages::{GlobalTimeout, ReceiptOutcome};
use shoal_core::jobs::{
    DatacenterStatus, ExtensionDenial, ExtensionRequest, FenceToken, JobError, JobEvent, JobId,
    JobMessage, JobOutcome, JobSnapshot, JobStart, JobTracker, JobsConfig, LeaderChange, Strategy,
    TimeoutReason, TimeoutRule, WorkerId, WorkflowCounts, WorkflowId, WorkflowState,
    WorkflowStateMachine,
};
use shoal_core::{Address, Duration, Instant};
use support::{Network, millis, seconds};

const JOB: JobId = JobId::from_bytes([7; 16]);
const WORKER: WorkerId = WorkerId::from_bytes([9; 16]);
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

fn config(gate_rule: TimeoutRule) -> JobsConfig {
    JobsConfig { gate_rule, ..JobsConfig::default() }
}

/// A gate and managers in as many datacenters, on clocks that have nothing in common.
fn cluster(config: JobsConfig, datacenters: usize) -> (Network, usize, Vec<usize>) {
    let mut network = Network::new(config, 1);
    let gate = network.add_gate(500 * HOUR);
    let names = ["east", "west", "north", "south"];
    let managers = (0..datacenters)
        .map(|number| network.add_manager(names[number], number as u32 * 1_000 * HOUR))
        .collect();
    (network, gate, managers)
}

fn reason_of(network: &Network, host: usize) -> Option<TimeoutReason> {
    network.told(host, JOB).into_iter().find_map(|event| match event {
        JobEvent::TimedOut { reason, .. } | JobEvent::GlobalTimeout { reason, .. } => Some(reason),
        _ => None,
    })
}

fn at(duration: Duration) -> Instant {
    Instant::ZERO + duration
}

fn assert_near(found: &[Instant], expected: Duration, tolerance: Duration) {
    let [found] = found else { panic!("told {} times, not once: {found:?}", found.len()) };
    let (early, late) = (at(expected) - *found, *found - at(expected));
    assert!(early <= millis(1) && late <= tolerance, "{found:?} instead of {expected:?}");
}

/// Nothing may be left when everything is over and all retentions have passed.
fn assert_nothing_left(network: &mut Network) {
    network.run_for(2 * HOUR);
    for host in 0..network.hosts.len() {
        match &network.hosts[host].role {
            support::Role::Gate(gate) => {
                assert_eq!((gate.len(), gate.site_count()), (0, 0), "gate {host}");
            }
            support::Role::Manager(manager) => {
                assert_eq!((manager.len(), manager.worker_count()), (0, 0), "manager {host}");
            }
            support::Role::Down => {}
        }
    }
    assert_eq!(network.next_at(), None, "somebody still waits for something");
}

#[test]
fn strategy_follows_from_topology() {
    let mut manager = JobTracker::new(JobsConfig::default(), 1, Instant::ZERO).unwrap();
    let gate: Address = "10.0.0.9:1".parse().unwrap();
    let local = JobStart::new(JobId::from(1), MINUTE);
    let coordinated = JobStart { gate: Some(gate), ..JobStart::new(JobId::from(2), MINUTE) };
    manager.job_started(Instant::ZERO, &local).unwrap();
    manager.job_started(Instant::ZERO, &coordinated).unwrap();
    assert_eq!(manager.strategy(JobId::from(1)), Some(Strategy::LocalAuthority));
    assert_eq!(manager.strategy(JobId::from(2)), Some(Strategy::GateCoordinated { gate }));
    assert_eq!(manager.strategy(JobId::from(3)), None);
    // Under local authority nothing is ever sent.
    let targets: Vec<_> =
        std::iter::from_fn(|| manager.poll_message(Instant::ZERO)).map(|o| o.target).collect();
    assert_eq!(targets, [gate]);
}

#[test]
fn local_authority_times_out_alone_and_at_once() {
    let (mut network, _, managers) = cluster(JobsConfig::default(), 1);
    let host = managers[0];
    let start = JobStart::new(JOB, MINUTE);
    network.with_manager(host, |manager, now| manager.job_started(now, &start)).unwrap();
    network.run_until(at(MINUTE));
    assert_near(&network.timed_out_at(host, JOB), MINUTE, millis(1));
    assert_eq!(reason_of(&network, host), Some(TimeoutReason::Deadline));
    assert!(network.manager(host).is_empty(), "the host was told, nothing is left to do");
    assert!(!network.with_manager(host, |m, now| m.job_finished(now, JOB, JobOutcome::Completed)));
}

#[test]
fn local_authority_finds_a_stuck_job_two_minutes_after_its_last_progress() {
    let (mut network, _, managers) = cluster(JobsConfig::default(), 1);
    let host = managers[0];
    let start = JobStart::new(JOB, HOUR);
    network.with_manager(host, |manager, now| manager.job_started(now, &start)).unwrap();
    for minute in 1..20 {
        network.run_until(at(MINUTE * minute));
        assert!(network.progress(host, JOB));
    }
    network.run_until(at(HOUR));
    let told = network.told(host, JOB);
    assert!(
        matches!(told[0], JobEvent::Stuck { since_progress, .. } if since_progress >= seconds(120))
    );
    assert_near(&network.timed_out_at(host, JOB), 21 * MINUTE, millis(1));
    assert_eq!(reason_of(&network, host), Some(TimeoutReason::Stuck));
}

/// Part 7, scenario 1: the next leader goes on from the same start, under a higher fence.
#[test]
fn scenario_1_manager_leader_failure() {
    for is_coordinated in [false, true] {
        let (mut network, gate, managers) = cluster(JobsConfig::default(), 1);
        let (first, second) = (managers[0], network.add_manager("east", 77 * HOUR));
        if is_coordinated {
            network.start_job(JOB, 10 * MINUTE, gate, &[first]);
        } else {
            let start = JobStart::new(JOB, 10 * MINUTE);
            network.with_manager(first, |m, now| m.job_started(now, &start)).unwrap();
        }
        for half_minute in 1..=8 {
            network.run_until(at(seconds(30) * half_minute));
            network.progress(first, JOB);
        }
        // Replicated at four minutes; the leader dies, and half a minute later there is another.
        let snapshot = network.snapshot(first, JOB).unwrap();
        network.crash(first);
        network.run_for(seconds(30));
        network.take_over(second, snapshot.aged(seconds(30)));
        assert_eq!(network.manager(second).fence(JOB), Some(FenceToken(2)));
        for _ in 0..16 {
            network.run_for(seconds(30));
            network.progress(second, JOB);
        }
        assert_near(&network.timed_out_at(second, JOB), 10 * MINUTE, millis(5));
        assert_eq!(network.timed_out_at(first, JOB), []);
        if is_coordinated {
            assert_near(&network.timed_out_at(gate, JOB), 10 * MINUTE, millis(5));
            assert_eq!(network.delivered["leader transfer"], 1);
        }
        assert_nothing_left(&mut network);
    }
}

/// Part 7, scenario 2: a gate that comes back empty learns everything from repeated reports.
#[test]
fn scenario_2_gate_failure_with_later_resend() {
    let (mut network, gate, managers) = cluster(config(TimeoutRule::Majority), 3);
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_until(at(seconds(20)));
    network.crash(gate);
    network.run_until(at(seconds(100)));
    for &host in &managers {
        assert_eq!(network.told(host, JOB), [], "nobody decides while the gate may come back");
        assert!(network.manager(host).stats().reports_repeated > 0);
    }
    network.start_gate(gate);
    network.run_until(at(seconds(115)));
    assert_eq!(network.gate(gate).stats().adopted, 1);
    assert_eq!(network.timed_out_at(gate, JOB).len(), 1);
    for &host in &managers {
        assert_eq!(network.timed_out_at(host, JOB).len(), 1);
        assert_eq!(reason_of(&network, host), Some(TimeoutReason::DatacentersTimedOut));
    }
    assert_nothing_left(&mut network);
}

/// Part 7, scenario 2, fallback: each datacenter decides alone five minutes after the gate's last
/// word.
#[test]
fn scenario_2_gate_failure_for_ever() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 3);
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_until(at(seconds(20)));
    network.crash(gate);
    network.run_until(at(HOUR));
    for &host in &managers {
        let [timed_out_at] = network.timed_out_at(host, JOB)[..] else { panic!("not once") };
        let since_word = timed_out_at - at(seconds(20));
        assert!(since_word <= seconds(300) && since_word > seconds(289), "{since_word:?}");
        assert_eq!(reason_of(&network, host), Some(TimeoutReason::GateSilent));
    }
    assert_nothing_left(&mut network);
}

/// Part 7, scenario 3: a decision about an earlier leader is refused; the gate learns better and
/// the job still ends.
#[test]
fn scenario_3_stale_global_timeout() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 1);
    let host = managers[0];
    network.start_job(JOB, HOUR, gate, &[host]);
    network.run_for(seconds(1));
    // The gate does not hear that the manager restarted and leads under a new fence.
    let snapshot = network.snapshot(host, JOB).unwrap();
    network.block(gate, host);
    network.start_manager(host);
    network.take_over(host, snapshot);
    let stale = GlobalTimeout { job: JOB, fence: FenceToken(1), reason: TimeoutReason::AllStuck };
    network.unblock_all();
    network.send(gate, host, &JobMessage::GlobalTimeout(stale));
    network.run_for(millis(1));
    assert_eq!(network.told(host, JOB), [], "stale, so refused");
    assert_eq!(network.manager(host).stats().timeouts_refused, 1);
    network.run_for(millis(1));
    assert_eq!(network.delivered["status correction"], 1);
    // The gate had decided nothing, so nothing happens before the job's own time.
    network.run_for(seconds(60));
    assert_eq!(network.timed_out_at(gate, JOB), []);
    for _ in 0..60 {
        network.progress(host, JOB);
        network.run_for(MINUTE);
    }
    assert_near(&network.timed_out_at(host, JOB), HOUR, millis(5));
    assert_nothing_left(&mut network);
}

/// The same, when the gate has decided: the new leader is told at once, and the host of the gate
/// why.
#[test]
fn scenario_3_a_decision_follows_the_leadership() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 2);
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_for(seconds(1));
    let (west, successor) = (managers[1], network.add_manager("west", HOUR));
    let snapshot = network.snapshot(west, JOB).unwrap();
    network.crash(west);
    network.block(gate, successor);
    network.take_over(successor, snapshot);
    network.run_until(at(seconds(90)));
    assert_eq!(network.timed_out_at(gate, JOB).len(), 1);
    assert_eq!(network.timed_out_at(successor, JOB), []);
    network.unblock_all();
    network.run_for(seconds(11));
    assert_eq!(reason_of(&network, successor), Some(TimeoutReason::DatacentersTimedOut));
    assert_eq!(network.timed_out_at(gate, JOB).len(), 1);
    assert_nothing_left(&mut network);
}

#[test]
fn a_datacenter_that_had_finished_corrects_the_gate() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 2);
    let [east, west] = managers[..] else { unreachable!() };
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_for(seconds(50));
    network.block(gate, west);
    network.with_manager(west, |m, now| m.job_finished(now, JOB, JobOutcome::Completed));
    network.run_for(seconds(30));
    assert_eq!(network.timed_out_at(east, JOB).len(), 1);
    network.unblock_all();
    network.run_for(seconds(20));
    assert_eq!(network.told(west, JOB), [], "it finished before");
    let corrections: Vec<_> = network.told(gate, JOB)[1..].to_vec();
    let datacenter = "west".parse().unwrap();
    let (outcome, fence) = (Some(JobOutcome::Completed), FenceToken(1));
    assert_eq!(corrections, [JobEvent::StatusCorrection { job: JOB, datacenter, outcome, fence }]);
    assert_nothing_left(&mut network);
}

/// T1: when every datacenter had reported its timeout, the Python gate found "nothing to do", so a
/// job in a single datacenter never timed out.
#[test]
fn defect_t1_a_job_in_a_single_datacenter_times_out() {
    for rule in [TimeoutRule::Any, TimeoutRule::Majority] {
        for datacenters in [1, 3] {
            let (mut network, gate, managers) = cluster(config(rule), datacenters);
            network.start_job(JOB, MINUTE, gate, &managers);
            network.run_until(at(2 * MINUTE));
            assert_near(&network.timed_out_at(gate, JOB), MINUTE, millis(5));
            for &host in &managers {
                assert_near(&network.timed_out_at(host, JOB), MINUTE, millis(5));
            }
            assert_nothing_left(&mut network);
        }
    }
}

/// T2: the Python gate compared the manager's monotonic clock with its own: a manager that booted
/// later looked stuck at once, one that booted earlier never did.
#[test]
fn defect_t2_clocks_of_different_hosts_are_never_compared() {
    for (gate_origin, manager_origin) in [(5_000 * HOUR, seconds(1)), (seconds(1), 5_000 * HOUR)] {
        // Managers that never find a job stuck leave it to the gate.
        let config = JobsConfig { stuck_after_ms: 86_400_000, ..JobsConfig::default() };
        let mut network = Network::new(config, 1);
        let gate = network.add_gate(gate_origin);
        let host = network.add_manager("east", manager_origin);
        network.start_job(JOB, HOUR, gate, &[host]);
        network.run_until(at(MINUTE));
        network.progress(host, JOB);
        network.run_until(at(seconds(239)));
        assert_eq!(network.timed_out_at(gate, JOB), [], "too early");
        network.run_until(at(HOUR));
        assert_near(&network.timed_out_at(gate, JOB), MINUTE + 3 * MINUTE, seconds(10));
        assert_eq!(reason_of(&network, host), Some(TimeoutReason::AllStuck));
    }
}

/// T3: a report with 0 of 0 workflows marked the datacenter completed.
#[test]
fn defect_t3_no_workflows_yet_is_not_completed() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 1);
    let host = managers[0];
    network.start_job(JOB, MINUTE, gate, &[host]);
    let none = Some(WorkflowCounts::default());
    network.with_manager(host, |manager, now| manager.job_progress(now, JOB, none));
    network.run_until(at(seconds(30)));
    assert!(network.delivered["progress report"] >= 3);
    let east = "east".parse().unwrap();
    assert_eq!(network.gate(gate).status(JOB, &east), Some(DatacenterStatus::Running));
    network.run_until(at(2 * MINUTE));
    assert_eq!(network.timed_out_at(host, JOB).len(), 1);
}

/// T4: after a finished job the Python fallback fired on every check, for ever.
#[test]
fn defect_t4_a_finished_job_never_falls_back() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 1);
    let host = managers[0];
    network.start_job(JOB, MINUTE, gate, &[host]);
    network.crash(gate);
    network.run_until(at(seconds(30)));
    network.with_manager(host, |m, now| m.job_finished(now, JOB, JobOutcome::Completed));
    network.run_until(at(2 * HOUR));
    assert_eq!(network.told(host, JOB), []);
    assert_eq!(network.manager(host).stats().outcomes_abandoned, 1);
    assert_nothing_left(&mut network);
}

/// T5: a timeout report that could not be sent was taken off the list of those to repeat.
#[test]
fn defect_t5_timeout_reports_are_repeated_until_acknowledged() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 1);
    let host = managers[0];
    network.start_job(JOB, MINUTE, gate, &[host]);
    network.run_until(at(seconds(59)));
    network.block(gate, host);
    network.run_until(at(seconds(130)));
    let repeated = network.manager(host).stats().reports_repeated;
    assert!((7..=14).contains(&repeated), "{repeated} times in 70 s, with pauses up to 10 s");
    assert_eq!(network.timed_out_at(host, JOB), []);
    network.unblock_all();
    network.run_for(seconds(10));
    assert_eq!(network.timed_out_at(host, JOB).len(), 1);
    let repeated = network.manager(host).stats().reports_repeated;
    network.run_for(seconds(100));
    assert_eq!(network.manager(host).stats().reports_repeated, repeated, "acknowledged");
}

/// T6: managers and gates used different names for the same messages, so none arrived.
#[test]
fn defect_t6_all_five_messages_reach_their_handlers() {
    let (mut network, gate, managers) = cluster(config(TimeoutRule::Majority), 3);
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_until(at(seconds(30)));
    let snapshot = network.snapshot(managers[0], JOB).unwrap();
    network.start_manager(managers[0]);
    network.take_over(managers[0], snapshot);
    network.run_until(at(2 * MINUTE));
    for kind in [
        "progress report",
        "timeout report",
        "leader transfer",
        "final status",
        "global timeout",
        "report receipt",
    ] {
        assert!(network.delivered.contains_key(kind), "no {kind} arrived");
    }
    for &host in &managers {
        assert_eq!(network.timed_out_at(host, JOB).len(), 1);
        assert_eq!(network.manager(host).stats().misdirected, 0);
    }
    assert_eq!(network.gate(gate).stats().misdirected, 0);
}

/// T7: nobody called `report_progress`, so every job longer than two minutes was declared stuck.
#[test]
fn defect_t7_a_workflow_that_moves_is_progress_of_its_job() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 1);
    let host = managers[0];
    let mut machine = WorkflowStateMachine::new(&JobsConfig::default(), 1).unwrap();
    network.start_job(JOB, HOUR, gate, &[host]);
    let states = [WorkflowState::Dispatched, WorkflowState::Running, WorkflowState::Completed];
    for (number, state) in (0..12u128).flat_map(|number| states.map(|state| (number, state))) {
        network.run_for(seconds(100));
        let now = network.clock(host);
        let workflow = WorkflowId::from(number);
        machine.add(now, workflow, JOB).unwrap();
        machine.transition(now, workflow, state, "").unwrap();
        while let Some(event) = machine.poll_event() {
            assert!(network.with_manager(host, |manager, now| manager.workflow_moved(now, &event)));
        }
    }
    network.run_for(seconds(1));
    assert!(network.now >= at(HOUR));
    assert_eq!(network.manager(host).stats().stuck, 0);
    assert_eq!(
        network.timed_out_at(host, JOB).len(),
        1,
        "at its deadline, an hour after its start"
    );
    assert_eq!(machine.remove_job(JOB), 12);
}

/// T8: the gate's count of decisions was compared with the manager's count of transfers, so after
/// two transfers every decision was refused.
#[test]
fn defect_t8_decisions_are_accepted_after_many_transfers() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 2);
    let east = managers[0];
    network.start_job(JOB, MINUTE, gate, &managers);
    for _ in 0..5 {
        network.run_for(seconds(5));
        let snapshot = network.snapshot(east, JOB).unwrap();
        network.start_manager(east);
        network.take_over(east, snapshot);
    }
    assert_eq!(network.manager(east).fence(JOB), Some(FenceToken(6)));
    network.run_until(at(2 * MINUTE));
    for &host in &managers {
        assert_near(&network.timed_out_at(host, JOB), MINUTE, millis(5));
        assert_eq!(network.manager(host).stats().timeouts_refused, 0);
    }
    assert_nothing_left(&mut network);
}

/// T9: every report counted as progress, even one that said there was none.
#[test]
fn defect_t9_a_report_without_progress_is_no_progress() {
    let config = JobsConfig { stuck_after_ms: 86_400_000, ..JobsConfig::default() };
    let (mut network, gate, managers) = cluster(config, 2);
    network.start_job(JOB, HOUR, gate, &managers);
    network.run_until(at(seconds(190)));
    assert!(network.delivered["progress report"] > 30, "reports came all the time");
    assert_near(&network.timed_out_at(gate, JOB), seconds(180), seconds(10));
    assert_eq!(reason_of(&network, gate), Some(TimeoutReason::AllStuck));
}

#[test]
fn extensions_move_the_deadline_here_and_at_the_gate() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 2);
    let [east, west] = managers[..] else { unreachable!() };
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_until(at(seconds(50)));
    let ask = |network: &mut Network, progress: f64| {
        let request = ExtensionRequest::new(progress);
        network.with_manager(east, |m, now| m.worker_extension(now, JOB, WORKER, &request))
    };
    assert_eq!(ask(&mut network, 0.2).unwrap().duration, seconds(15));
    assert_eq!(ask(&mut network, 0.4).unwrap().duration, millis(7_500));
    assert_eq!(ask(&mut network, 0.4), Err(ExtensionDenial::NoProgress));
    let deadline = network.manager(east).deadline(JOB).unwrap();
    assert_eq!(deadline, network.clock(east) + millis(10_000 + 22_500));
    // The west has no extension and says so at its own deadline; under the rule "any" that is that.
    network.with_manager(west, |m, now| m.job_finished(now, JOB, JobOutcome::Completed));
    network.run_until(at(3 * MINUTE));
    assert_near(&network.timed_out_at(east, JOB), millis(82_500), millis(5));
    assert_nothing_left(&mut network);
}

/// An extension that is granted while the gate makes up its mind takes the report back.
#[test]
fn a_late_extension_takes_the_timeout_report_back() {
    let (mut network, gate, managers) = cluster(config(TimeoutRule::Majority), 3);
    let (east, name) = (managers[0], "east".parse().unwrap());
    network.start_job(JOB, 10 * MINUTE, gate, &managers);
    network.run_until(at(seconds(100)));
    for &host in &managers[1..] {
        network.progress(host, JOB);
    }
    network.run_until(at(seconds(125)));
    let overdue = Some(DatacenterStatus::Overdue(TimeoutReason::Stuck));
    assert_eq!(network.gate(gate).status(JOB, &name), overdue);
    let request = ExtensionRequest::new(0.1);
    network.with_manager(east, |m, now| m.worker_extension(now, JOB, WORKER, &request)).unwrap();
    network.run_for(millis(5));
    assert_eq!(network.gate(gate).status(JOB, &name), Some(DatacenterStatus::Running));
    assert_eq!(network.manager(east).stats().recovered, 1);
}

#[test]
fn a_worker_with_all_its_extensions_is_overdue_after_its_grace() {
    let (mut network, _, managers) = cluster(JobsConfig::default(), 1);
    let host = managers[0];
    let start = JobStart::new(JOB, MINUTE);
    network.with_manager(host, |manager, now| manager.job_started(now, &start)).unwrap();
    for step in 0..6 {
        let request = ExtensionRequest::new(f64::from(step));
        let answer =
            network.with_manager(host, |m, now| m.worker_extension(now, JOB, WORKER, &request));
        assert_eq!(answer.is_ok(), step < 5);
    }
    network.run_until(at(seconds(9)));
    assert_eq!(network.told(host, JOB), []);
    network.run_until(at(seconds(11)));
    assert_eq!(network.told(host, JOB), [JobEvent::WorkerOverdue { job: JOB, worker: WORKER }]);
    assert!(network.with_manager(host, |m, now| m.worker_removed(now, JOB, WORKER)));
    assert_eq!(network.manager(host).worker_count(), 0);
    let deadline = network.manager(host).deadline(JOB);
    assert_eq!(deadline, Some(at(MINUTE + millis(29_125))), "what was granted stays granted");
}

#[test]
fn a_datacenter_that_was_away_learns_of_the_timeout_when_it_is_back() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 3);
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_for(seconds(1));
    network.block(gate, managers[2]);
    network.run_until(at(seconds(200)));
    assert_eq!(network.timed_out_at(managers[2], JOB), []);
    network.unblock_all();
    network.run_for(seconds(10));
    assert_eq!(reason_of(&network, managers[2]), Some(TimeoutReason::DatacentersTimedOut));
    assert_nothing_left(&mut network);
}

#[test]
fn calls_and_messages_may_come_twice() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 2);
    network.weather.duplication = 1.0;
    network.start_job(JOB, MINUTE, gate, &managers);
    let start = JobStart::new(JOB, HOUR);
    let again = network.with_manager(managers[0], |m, now| m.job_started(now, &start));
    assert_eq!(again, Ok(false));
    network.run_until(at(2 * MINUTE));
    for host in [gate, managers[0], managers[1]] {
        assert_near(&network.timed_out_at(host, JOB), MINUTE, millis(5));
    }
    assert!(network.gate(gate).stats().reports_repeated > 0);
    let finish = |m: &mut JobTracker, now| m.job_finished(now, JOB, JobOutcome::Cancelled);
    assert!(!network.with_manager(managers[0], finish), "timed out before");
    assert_nothing_left(&mut network);
}

/// A manager that does not know it was replaced gives up as soon as the gate tells it.
#[test]
fn a_replaced_leader_is_told_and_never_times_the_job_out() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 1);
    let (old, new) = (managers[0], network.add_manager("east", HOUR));
    network.start_job(JOB, MINUTE, gate, &[old]);
    network.run_for(seconds(5));
    let snapshot = network.snapshot(old, JOB).unwrap();
    network.take_over(new, snapshot);
    network.run_until(at(2 * MINUTE));
    assert_eq!(network.told(old, JOB), [JobEvent::Superseded { job: JOB, fence: FenceToken(1) }]);
    assert_eq!(network.timed_out_at(new, JOB).len(), 1);
    assert_nothing_left(&mut network);
}

/// A gate that was replaced decides on old knowledge; its decision is refused, the new gate's is
/// not.
#[test]
fn only_the_present_gate_decides() {
    let (mut network, old, managers) = cluster(JobsConfig::default(), 1);
    let (host, new) = (managers[0], network.add_gate(3 * HOUR));
    network.start_job(JOB, HOUR, old, &[host]);
    network.run_for(seconds(5));
    let (old_address, new_address) = (network.address(old), network.address(new));
    assert_eq!(network.manager(host).gate_changed(old_address, new_address), Ok(true));
    // The old gate hears nothing any more and takes that for standstill.
    for _ in 0..6 {
        network.run_for(MINUTE);
        network.progress(host, JOB);
    }
    assert_eq!(network.timed_out_at(old, JOB).len(), 1);
    assert_eq!(network.timed_out_at(host, JOB), []);
    assert!(network.manager(host).stats().timeouts_refused > 0);
    assert_eq!(network.gate(new).stats().adopted, 1);
    network.run_until(at(10 * MINUTE));
    assert_eq!(reason_of(&network, host), Some(TimeoutReason::DatacentersTimedOut), "it got stuck");
    assert_eq!(network.timed_out_at(new, JOB).len(), 1);
    assert_nothing_left(&mut network);
}

#[test]
fn a_restart_goes_on_where_it_was_even_with_an_outcome_undelivered() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 2);
    let [east, west] = managers[..] else { unreachable!() };
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_for(seconds(30));
    // The gate restarts from what it saved, the east finishes and restarts before it could say so.
    let saved = network.gate(gate).snapshots(at(500 * HOUR + seconds(30))).next().unwrap();
    network.crash(gate);
    network.with_manager(east, |m, now| m.job_finished(now, JOB, JobOutcome::Completed));
    let snapshot = network.snapshot(east, JOB).unwrap();
    assert_eq!(snapshot.outcome, Some(JobOutcome::Completed));
    network.start_manager(east);
    network.take_over(east, snapshot);
    network.start_gate(gate);
    network.with_gate(gate, |gate, now| gate.job_resumed(now, &saved)).unwrap();
    network.run_until(at(2 * MINUTE));
    assert_eq!(network.timed_out_at(east, JOB), []);
    assert_near(&network.timed_out_at(west, JOB), MINUTE, millis(5));
    assert_eq!(network.gate(gate).stats().adopted, 0);
    assert_nothing_left(&mut network);
}

/// A job that finishes before the host has looked at its timeout has finished.
#[test]
fn a_timeout_that_nobody_was_told_of_loses_against_the_end() {
    let mut manager = JobTracker::new(JobsConfig::default(), 1, Instant::ZERO).unwrap();
    manager.job_started(Instant::ZERO, &JobStart::new(JOB, MINUTE)).unwrap();
    manager.handle_timeout(at(MINUTE));
    assert!(manager.job_finished(at(MINUTE), JOB, JobOutcome::Completed));
    assert_eq!(manager.poll_event(), None);
    assert_eq!((manager.len(), manager.stats().timed_out), (0, 0));
    assert_eq!(manager.poll_timeout(), None);
}

#[test]
fn full_trackers_refuse_new_jobs_but_not_because_of_old_outcomes() {
    let config = JobsConfig { job_capacity: 2, ..JobsConfig::default() };
    let mut manager = JobTracker::new(config, 1, Instant::ZERO).unwrap();
    let gate = Some("10.0.0.9:1".parse().unwrap());
    let start = |manager: &mut JobTracker, number: u128| {
        let start = JobStart { gate, ..JobStart::new(JobId::from(number), MINUTE) };
        let answer = manager.job_started(Instant::ZERO, &start);
        while manager.poll_message(Instant::ZERO).is_some() {}
        answer
    };
    assert_eq!(start(&mut manager, 1), Ok(true));
    assert_eq!(start(&mut manager, 2), Ok(true));
    assert_eq!(start(&mut manager, 3), Err(JobError::Full));
    assert_eq!(manager.len(), 2);
    manager.job_finished(Instant::ZERO, JobId::from(1), JobOutcome::Completed);
    while manager.poll_message(Instant::ZERO).is_some() {}
    assert_eq!(start(&mut manager, 3), Ok(true), "an outcome nobody took makes room");
    assert_eq!(manager.stats().outcomes_evicted, 1);
}

#[test]
fn callers_mistakes_are_named_and_change_nothing() {
    let mut manager = JobTracker::new(JobsConfig::default(), 1, Instant::ZERO).unwrap();
    let nowhere = Some(Address::UNSPECIFIED);
    let start = JobStart { gate: nowhere, ..JobStart::new(JOB, MINUTE) };
    let error = manager.job_started(Instant::ZERO, &start).unwrap_err();
    assert!(matches!(error, JobError::GateAddress { .. }));
    let start = JobStart::new(JOB, Duration::ZERO);
    let error = manager.job_started(Instant::ZERO, &start).unwrap_err();
    assert_eq!(error.to_string(), "a timeout of 0ns, expected 1 ms to 365 days");
    let request = ExtensionRequest::new(0.5);
    let answer = manager.worker_extension(Instant::ZERO, JOB, WORKER, &request);
    assert_eq!(answer, Err(ExtensionDenial::UnknownJob));
    assert!(!manager.job_progress(Instant::ZERO, JOB, None));
    let lost = manager.leader_changed(Instant::ZERO, JOB, &LeaderChange::Lost);
    assert_eq!((lost, manager.len()), (Ok(false), 0));
    for number in 0..64u32 {
        let gate = Some(format!("10.0.0.1:{}", number + 1).parse().unwrap());
        let start = JobStart { gate, ..JobStart::new(JobId::from(u128::from(number)), MINUTE) };
        assert_eq!(manager.job_started(Instant::ZERO, &start), Ok(true));
    }
    let gate = Some("10.0.0.2:1".parse().unwrap());
    let start = JobStart { gate, ..JobStart::new(JOB, MINUTE) };
    assert_eq!(manager.job_started(Instant::ZERO, &start), Err(JobError::GateCount));
    manager.job_finished(Instant::ZERO, JobId::from(3), JobOutcome::Failed);
    manager.leader_changed(Instant::ZERO, JobId::from(3), &LeaderChange::Lost).unwrap();
    assert_eq!(
        manager.job_started(Instant::ZERO, &start),
        Ok(true),
        "a gate without jobs made room"
    );
}

/// A job that ran for a year elsewhere goes on, on a host whose clock began a second ago.
#[test]
fn a_job_older_than_the_host_is_resumed() {
    let mut manager = JobTracker::new(JobsConfig::default(), 1, Instant::ZERO).unwrap();
    let now = at(seconds(1));
    let snapshot = JobSnapshot {
        job: JOB,
        gate: None,
        datacenter_count: 1,
        timeout: 8_760 * HOUR,
        elapsed: 8_759 * HOUR,
        since_progress: 8_000 * HOUR,
        since_gate: Duration::ZERO,
        extension_total: 30 * MINUTE,
        extension_max: MINUTE,
        workflows: WorkflowCounts::default(),
        fence: FenceToken(41),
        outcome: None,
    };
    let change = LeaderChange::Gained { snapshot, term: FenceToken(99) };
    assert_eq!(manager.leader_changed(now, JOB, &change), Ok(true));
    assert_eq!(manager.leader_changed(now, JOB, &change), Ok(false), "it leads already");
    assert_eq!(manager.fence(JOB), Some(FenceToken(99)));
    assert_eq!(manager.deadline(JOB), Some(now + HOUR + 30 * MINUTE));
    manager.handle_timeout(now + seconds(29));
    assert_eq!(manager.poll_event(), None, "within the grace of a new leader");
    manager.handle_timeout(now + seconds(31));
    assert!(matches!(manager.poll_event(), Some(JobEvent::Stuck { .. })));
}

/// A message for a job that nobody knows is answered, and the gate forgets the datacenter.
#[test]
fn a_manager_that_lost_its_jobs_says_so() {
    let (mut network, gate, managers) = cluster(JobsConfig::default(), 1);
    network.start_job(JOB, MINUTE, gate, &managers);
    network.run_for(seconds(5));
    network.start_manager(managers[0]);
    network.run_until(at(2 * MINUTE));
    assert_near(&network.timed_out_at(gate, JOB), MINUTE, seconds(16));
    assert_eq!(network.delivered["timeout receipt"], 1);
    let east = "east".parse().unwrap();
    assert_eq!(network.gate(gate).status(JOB, &east), Some(DatacenterStatus::Lost));
    let _ = ReceiptOutcome::Unknown;
    assert_nothing_left(&mut network);
}
