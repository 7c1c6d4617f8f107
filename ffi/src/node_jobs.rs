//! Jobs on nodes. A manager tells its node of the jobs it leads, a gate of those it watches;
//! the nodes carry the messages between the two. What happens comes as events.

use crate::address::shoal_address;
use crate::call::{Outcome, required};
use crate::engine::give;
use crate::gate_snapshot::{
    SnapshotTarget, read_snapshot, shoal_datacenter_snapshot, shoal_gate_job_snapshot,
};
use crate::jobs::{
    found, give_grant, read_outcome, read_targets, shoal_datacenter_target, shoal_extension_grant,
    shoal_extension_request, shoal_job_id, shoal_job_snapshot, shoal_job_start, shoal_worker_id,
    shoal_workflow_counts,
};
use crate::node::{ask, failure, shoal_node};
use crate::status::shoal_status;
use shoal_core::Duration;
use shoal_core::io::NodeError;
use shoal_core::jobs::{FenceToken, LeaderChange};
use std::mem::MaybeUninit;

/// Begins to lead a job on this manager. `SHOAL_NONE` when it is led already: nothing changes
/// then.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_started(
    node: Option<&shoal_node>,
    start: Option<&shoal_job_start>,
) -> shoal_status {
    ask(node, |node| changed(node.job_started(required(start, "start")?.read()?)))
}

/// Notes that a job made progress, and what its workflows are doing where `workflows` is not
/// NULL. `SHOAL_NONE` when it is not running here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_progress(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    workflows: Option<&shoal_workflow_counts>,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        changed(node.job_progress(job, workflows.map(Into::into)))
    })
}

/// Ends a job with a `SHOAL_OUTCOME_` number: on a manager its run in this datacenter, on a
/// gate the watch over all of them. `SHOAL_NONE` when it was not running here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_finished(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    outcome: u8,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        changed(node.job_finished(job, read_outcome(outcome)?))
    })
}

/// Negotiates more time with a worker. What is granted moves the job's deadline and counts as
/// progress. `SHOAL_NONE` when the job is not running here; why nothing is granted otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_worker_extension(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
    request: Option<&shoal_extension_request>,
    grant: Option<&mut MaybeUninit<shoal_extension_grant>>,
) -> shoal_status {
    ask(node, |node| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        let request = required(request, "request")?.read()?;
        let target = required(grant, "grant")?;
        give_grant(target, node.worker_extension(job, worker, request).map_err(failure)?)
    })
}

/// Lets the extensions of a worker begin anew, because it came back after a failure. What it was
/// granted stays. `SHOAL_NONE` when it had none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_worker_recovered(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
) -> shoal_status {
    ask(node, |node| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        changed(node.worker_recovered(job, worker))
    })
}

/// Forgets the extensions of a worker that failed or left the job. What it was granted stays.
/// `SHOAL_NONE` when it had none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_worker_removed(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
) -> shoal_status {
    ask(node, |node| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        changed(node.worker_removed(job, worker))
    })
}

/// What a new leader of a job needs to go on with it. `SHOAL_NONE` when it is not led here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_snapshot(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    snapshot: Option<&mut MaybeUninit<shoal_job_snapshot>>,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        let target = required(snapshot, "snapshot")?;
        let snapshot = node.job_snapshot(job).map_err(failure)?;
        Ok(give(target, snapshot.map(shoal_job_snapshot::from)))
    })
}

/// Goes on with a job that another manager led, or this one before a restart, from a snapshot
/// that was kept for `kept_ns`. `term` is that of the election where there was one, else 0.
/// `SHOAL_NONE` when nothing has changed.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_resumed(
    node: Option<&shoal_node>,
    snapshot: Option<&shoal_job_snapshot>,
    kept_ns: u64,
    term: u64,
) -> shoal_status {
    ask(node, |node| {
        let snapshot = required(snapshot, "snapshot")?.read()?.aged(Duration::from_nanos(kept_ns));
        let change = LeaderChange::Gained { snapshot, term: FenceToken(term) };
        changed(node.leader_changed(snapshot.job, change))
    })
}

/// Forgets a job without a word, because another manager leads it. `SHOAL_NONE` when it was not
/// led here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_lost(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        changed(node.leader_changed(job, LeaderChange::Lost))
    })
}

/// Lets all jobs that report to one gate report to another, because the first one failed or
/// gave them away. `SHOAL_NONE` when none did.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_gate_changed(
    node: Option<&shoal_node>,
    old_gate: Option<&shoal_address>,
    new_gate: Option<&shoal_address>,
) -> shoal_status {
    ask(node, |node| {
        let old = required(old_gate, "old_gate")?.read()?;
        let new = required(new_gate, "new_gate")?.read()?;
        changed(node.gate_changed(old, new))
    })
}

/// Begins to watch a job on this gate. `SHOAL_NONE` when it is watched already: then the
/// datacenters that are missing are added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_gate_job_started(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    timeout_ms: u64,
    datacenters: *const shoal_datacenter_target,
    datacenter_count: usize,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        // SAFETY: `datacenters` has `datacenter_count` items.
        let datacenters = unsafe { read_targets(datacenters, datacenter_count)? };
        changed(node.gate_job_started(job, Duration::from_millis(timeout_ms), datacenters))
    })
}

/// What another gate needs to go on watching a job: `snapshot`, as many datacenters as there is
/// room for, and how many there are to `count`. `SHOAL_NONE` when it is not watched here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_gate_job_snapshot(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    snapshot: Option<&mut MaybeUninit<shoal_gate_job_snapshot>>,
    datacenters: *mut MaybeUninit<shoal_datacenter_snapshot>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        let kept = node.gate_job_snapshot(job).map_err(failure)?;
        // SAFETY: `datacenters` has room for `capacity` items.
        unsafe { SnapshotTarget { snapshot, datacenters, capacity, count }.give(kept) }
    })
}

/// Goes on watching a job that another gate watched, or this one before a restart, from a
/// snapshot that was kept for `kept_ns`. A decision that had been made stands, and is told
/// again. `SHOAL_NONE` when the job is watched here already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_gate_job_resumed(
    node: Option<&shoal_node>,
    snapshot: Option<&shoal_gate_job_snapshot>,
    datacenters: *const shoal_datacenter_snapshot,
    datacenter_count: usize,
    kept_ns: u64,
) -> shoal_status {
    ask(node, |node| {
        // SAFETY: `datacenters` has `datacenter_count` items.
        let snapshot = unsafe { read_snapshot(snapshot, datacenters, datacenter_count, kept_ns)? };
        changed(node.gate_job_resumed(snapshot))
    })
}

/// Gives up a job whose datacenters report to another gate now: call it when all their managers
/// know of the other one. `SHOAL_NONE` when it was not watched here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_gate_job_released(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    ask(node, |node| changed(node.gate_job_released(required(job, "job")?.into())))
}

/// How many jobs this node leads or watches.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_count(
    node: Option<&shoal_node>,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    ask(node, |node| {
        let target = required(count, "count")?;
        Ok(give(target, Some(node.job_count().map_err(failure)?)))
    })
}

fn changed(result: Result<bool, NodeError>) -> Outcome {
    result.map(found).map_err(failure)
}
