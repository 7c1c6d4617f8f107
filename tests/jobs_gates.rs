//! Jobs that change their gate, and gates that believe in jobs they have no business with: after a gate
//! was replaced, or because a datagram was under way for long.
#![allow(missing_docs)]

#[path = "support/jobs.rs"]
mod support;

use shoal_core::Duration;
use shoal_core::jobs::messages::{Report, ReportKind};
use shoal_core::jobs::{
    FenceToken, JobId, JobMessage, JobOutcome, JobsConfig, TimeoutReason, TimeoutRule,
    WorkflowCounts,
};
use support::{Network, seconds};

const JOB: JobId = JobId::from_bytes([7; 16]);
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// What a manager says of a job that it has just started.
fn first_report(timeout: Duration) -> JobMessage {
    JobMessage::Report(Report {
        kind: ReportKind::Progress,
        job: JOB,
        fence: FenceToken(1),
        sequence: 1,
        overdue: None,
        datacenter_count: 1,
        extended_workers: 0,
        workflows: WorkflowCounts::default(),
        timeout,
        elapsed: Duration::ZERO,
        since_progress: Duration::ZERO,
        extension_total: Duration::ZERO,
        extension_max: Duration::ZERO,
    })
}

fn cluster() -> (Network, [usize; 2], usize) {
    let mut network = Network::new(JobsConfig::default(), 1);
    let gates = [network.add_gate(500 * HOUR), network.add_gate(3 * HOUR)];
    let manager = network.add_manager("east", HOUR);
    (network, gates, manager)
}

/// Moves the jobs of a manager from one gate to another.
fn switch(network: &mut Network, manager: usize, old: usize, new: usize) {
    let (old, new) = (network.address(old), network.address(new));
    assert_eq!(network.manager(manager).gate_changed(old, new), Ok(true));
}

#[test]
fn a_gate_that_has_released_a_job_does_not_take_silence_for_standstill() {
    let (mut network, [old, new], manager) = cluster();
    network.start_job(JOB, 20 * MINUTE, old, &[manager]);
    network.run_for(seconds(5));
    switch(&mut network, manager, old, new);
    assert!(network.with_gate(old, |gate, now| gate.job_released(now, JOB)));
    assert!(!network.with_gate(old, |gate, now| gate.job_released(now, JOB)));
    assert_eq!((network.gate(old).len(), network.gate(old).site_count()), (0, 0));
    for _ in 0..25 {
        network.run_for(MINUTE);
        network.progress(manager, JOB);
    }
    assert_eq!(network.told(old, JOB), []);
    assert_eq!(network.timed_out_at(new, JOB).len(), 1);
    assert_eq!(network.timed_out_at(manager, JOB).len(), 1);
}

#[test]
fn a_former_gate_that_hears_an_old_report_is_told_of_the_other() {
    let (mut network, [old, new], manager) = cluster();
    network.start_job(JOB, HOUR, old, &[manager]);
    network.run_for(seconds(5));
    switch(&mut network, manager, old, new);
    network.with_gate(old, |gate, now| gate.job_released(now, JOB));
    network.send(manager, old, &first_report(HOUR));
    network.run_for(seconds(1));
    assert_eq!(network.gate(old).stats().adopted, 1);
    assert_eq!(
        network.delivered["timeout receipt"], 1,
        "the manager says that it reports elsewhere"
    );
    for _ in 0..10 {
        network.run_for(MINUTE);
        network.progress(manager, JOB);
    }
    assert_eq!(network.told(old, JOB), []);
    assert_eq!(network.gate(old).len(), 0);
    assert_eq!(network.told(manager, JOB), [], "it works, under the other gate");
}

/// One manager tells a former gate that it reports elsewhere, the others have nothing to say to it.
#[test]
fn a_former_gate_that_is_told_of_the_other_expects_no_reports_from_anybody() {
    let (mut network, [old, new], east) = cluster();
    let west = network.add_manager("west", 2 * HOUR);
    network.start_job(JOB, HOUR, old, &[east, west]);
    network.run_for(seconds(5));
    switch(&mut network, east, old, new);
    switch(&mut network, west, old, new);
    // It was under way when the manager changed its gate.
    let JobMessage::Report(report) = first_report(HOUR) else { unreachable!() };
    network.send(east, old, &JobMessage::Report(Report { sequence: 99, ..report }));
    for _ in 0..10 {
        network.run_for(MINUTE);
        network.progress(east, JOB);
        network.progress(west, JOB);
    }
    assert_eq!(network.told(old, JOB), []);
    assert_eq!((network.gate(old).len(), network.gate(old).site_count()), (0, 0));
    assert_eq!(network.told(new, JOB), []);
}

/// What is left to a former gate is not all that is left of the job.
#[test]
fn a_former_gate_does_not_decide_for_those_who_have_left_it() {
    let config = JobsConfig { gate_rule: TimeoutRule::Majority, ..JobsConfig::default() };
    let mut network = Network::new(config, 1);
    let [old, new] = [network.add_gate(500 * HOUR), network.add_gate(3 * HOUR)];
    let [stuck, working] = ["east", "west"].map(|name| network.add_manager(name, HOUR));
    network.start_job(JOB, HOUR, old, &[stuck, working]);
    for _ in 0..5 {
        network.run_for(seconds(30));
        network.progress(working, JOB);
    }
    assert_eq!(network.told(old, JOB), [], "one of two is no majority");
    switch(&mut network, working, old, new);
    let JobMessage::Report(report) = first_report(HOUR) else { unreachable!() };
    network.send(working, old, &JobMessage::Report(Report { sequence: 99, ..report }));
    network.run_for(seconds(30));
    network.progress(working, JOB);
    assert_eq!(network.told(old, JOB), [], "the other one works, for the other gate");
    // If the manager that stands still is never told of the other gate, the old one has to act for it.
    for _ in 0..20 {
        network.run_for(seconds(30));
        network.progress(working, JOB);
    }
    assert_eq!(network.timed_out_at(stuck, JOB).len(), 1);
    assert_eq!(network.timed_out_at(working, JOB), []);
}

/// A gate that was cut off for more than three minutes gives its jobs to another one, which is not.
#[test]
fn progress_that_one_gate_did_not_hear_of_is_no_standstill_for_the_next() {
    for works in [true, false] {
        let (mut network, [old, new], manager) = cluster();
        network.start_job(JOB, HOUR, old, &[manager]);
        network.run_for(seconds(5));
        network.block(manager, old);
        for _ in 0..8 {
            network.run_for(seconds(25));
            network.progress(manager, JOB);
        }
        let clock = network.clock(old);
        let snapshot = network.gate(old).snapshot(clock, JOB).unwrap();
        assert_eq!(network.with_gate(new, |gate, now| gate.job_resumed(now, &snapshot)), Ok(true));
        switch(&mut network, manager, old, new);
        network.with_gate(old, |gate, now| gate.job_released(now, JOB));
        let resumed_at = network.now;
        for _ in 0..20 {
            network.run_for(seconds(30));
            if works {
                network.progress(manager, JOB);
            }
        }
        match network.timed_out_at(new, JOB)[..] {
            [] => assert!(works, "a job that stands still has to end"),
            [ended_at] => assert!(!works && ended_at >= resumed_at + seconds(120), "{ended_at:?}"),
            _ => panic!("once"),
        }
    }
}

/// It might tell its host a second time that the job timed out, or that a finished one did.
#[test]
fn a_report_that_outlived_its_job_does_not_revive_it() {
    let (mut network, [gate, _], manager) = cluster();
    network.start_job(JOB, MINUTE, gate, &[manager]);
    network.run_for(seconds(30));
    network.with_manager(manager, |m, now| m.job_finished(now, JOB, JobOutcome::Completed));
    network.run_for(2 * MINUTE);
    assert_eq!(network.gate(gate).len(), 0, "forgotten");
    network.send(manager, gate, &first_report(MINUTE));
    network.run_for(seconds(1));
    assert_eq!((network.gate(gate).stats().adopted, network.delivered["timeout receipt"]), (1, 1));
    network.run_for(HOUR);
    assert_eq!(network.told(gate, JOB), []);
    assert_eq!(network.gate(gate).len(), 0);
}

/// The same when nobody can say better, because the manager is down.
#[test]
fn a_single_old_report_times_nothing_out() {
    for timeout in [seconds(30), HOUR] {
        let (mut network, [gate, _], manager) = cluster();
        network.crash(manager);
        network.send(manager, gate, &first_report(timeout));
        network.run_for(2 * HOUR);
        assert_eq!(network.gate(gate).stats().adopted, 1);
        assert_eq!(network.told(gate, JOB), [], "timeout {timeout:?}");
        assert_eq!((network.gate(gate).len(), network.gate(gate).site_count()), (0, 0));
    }
}

/// A gate that knows a job from reports alone does go by the job's deadline.
#[test]
fn two_reports_are_enough_for_a_deadline() {
    let (mut network, [old, new], manager) = cluster();
    network.start_job(JOB, MINUTE, old, &[manager]);
    network.run_for(seconds(5));
    switch(&mut network, manager, old, new);
    network.run_for(seconds(30));
    network.block(manager, new);
    network.run_for(2 * MINUTE);
    let [decided_at] = network.timed_out_at(new, JOB)[..] else { panic!("not once") };
    assert!(decided_at >= shoal_core::Instant::ZERO + MINUTE);
    network.unblock_all();
    network.run_for(MINUTE);
    assert_eq!(network.timed_out_at(manager, JOB).len(), 1);
    assert!(network.told(manager, JOB).iter().any(|event| matches!(
        event,
        shoal_core::jobs::JobEvent::TimedOut { reason: TimeoutReason::GlobalDeadline, .. }
    )));
}
