//! Jobs that change their gate, and gates that believe in jobs they have no business with: after a gate
//! was replaced, or because a datagram was under way for long.
#![allow(missing_docs)]

#[path = "support/jobs.rs"]
mod support;

use shoal_core::Duration;
use shoal_core::jobs::messages::{Report, ReportKind};
use shoal_core::jobs::{
    FenceToken, JobId, JobMessage, JobOutcome, JobsConfig, TimeoutReason, WorkflowCounts,
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
