//! Jobs on engines. A manager tells its engine of the jobs it leads, a gate of those it
//! watches; the engines carry the messages between the two. What happens comes as events. All
//! but the questions are inputs: drain after them.

use crate::address::shoal_address;
use crate::call::{Failure, Outcome, required};
use crate::engine::{drained, give, shoal_engine};
use crate::gate_snapshot::{
    SnapshotTarget, read_snapshot, shoal_datacenter_snapshot, shoal_gate_job_snapshot,
};
use crate::gate_timeouts::gate_job_counters;
use crate::jobs::{
    found, give_grant, read_outcome, read_targets, shoal_datacenter_target, shoal_extension_grant,
    shoal_extension_request, shoal_job_id, shoal_job_snapshot, shoal_job_start, shoal_worker_id,
    shoal_workflow_counts,
};
use crate::member::{shoal_counter, write_list};
use crate::status::{SHOAL_NULL_POINTER, of_command_error, shoal_status};
use crate::timeouts::job_counters;
use shoal_core::jobs::{FenceToken, GateJobStart, LeaderChange};
use shoal_core::{CommandError, Duration, Engine, Instant, JobStanding};
use std::mem::MaybeUninit;

/// Nothing is held against the member.
pub const SHOAL_STANDING_ALIVE: u8 = 0;
/// The member is accused in this job; it may still be vouched for.
pub const SHOAL_STANDING_SUSPECT_FOR_JOB: u8 = 1;
/// Nobody vouched for the member in time: this job should do without it.
pub const SHOAL_STANDING_DEAD_FOR_JOB: u8 = 2;
/// The machine is suspected.
pub const SHOAL_STANDING_SUSPECT: u8 = 3;
/// The machine is dead, has left, or is not known.
pub const SHOAL_STANDING_DEAD: u8 = 4;

/// Begins to lead a job on this manager. `SHOAL_NONE` when it is led already: nothing changes
/// then.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_started(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    start: Option<&shoal_job_start>,
) -> shoal_status {
    input(engine, |engine| {
        let start = required(start, "start")?.read()?;
        changed(engine.job_started(Instant::from_nanos(now_ns), &start))
    })
}

/// Notes that a job made progress, and what its workflows are doing where `workflows` is not
/// NULL. `SHOAL_NONE` when it is not running here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_progress(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    workflows: Option<&shoal_workflow_counts>,
) -> shoal_status {
    input(engine, |engine| {
        let job = required(job, "job")?.into();
        let now = Instant::from_nanos(now_ns);
        changed(engine.job_progress(now, job, workflows.map(Into::into)))
    })
}

/// Ends a job with a `SHOAL_OUTCOME_` number: on a manager its run in this datacenter, on a
/// gate the watch over all of them. `SHOAL_NONE` when it was not running here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_finished(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    outcome: u8,
) -> shoal_status {
    input(engine, |engine| {
        let job = required(job, "job")?.into();
        let outcome = read_outcome(outcome)?;
        changed(engine.job_finished(Instant::from_nanos(now_ns), job, outcome))
    })
}

/// Negotiates more time with a worker. What is granted moves the job's deadline and counts as
/// progress. `SHOAL_NONE` when the job is not running here; why nothing is granted otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_worker_extension(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
    request: Option<&shoal_extension_request>,
    grant: Option<&mut MaybeUninit<shoal_extension_grant>>,
) -> shoal_status {
    input(engine, |engine| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        let request = required(request, "request")?.read()?;
        let target = required(grant, "grant")?;
        let now = Instant::from_nanos(now_ns);
        give_grant(target, engine.worker_extension(now, job, worker, &request))
    })
}

/// Lets the extensions of a worker begin anew, because it came back after a failure. What it was
/// granted stays. `SHOAL_NONE` when it had none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_worker_recovered(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
) -> shoal_status {
    input(engine, |engine| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        changed(engine.worker_recovered(Instant::from_nanos(now_ns), job, worker))
    })
}

/// Forgets the extensions of a worker that failed or left the job. What it was granted stays.
/// `SHOAL_NONE` when it had none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_worker_removed(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
) -> shoal_status {
    input(engine, |engine| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        changed(engine.worker_removed(Instant::from_nanos(now_ns), job, worker))
    })
}

/// What a new leader of a job needs to go on with it. `SHOAL_NONE` when it is not led here. A
/// question.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_snapshot(
    engine: Option<&shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    snapshot: Option<&mut MaybeUninit<shoal_job_snapshot>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let job = required(job, "job")?.into();
        let target = required(snapshot, "snapshot")?;
        let snapshot = engine.job_snapshot(Instant::from_nanos(now_ns), job);
        Ok(give(target, snapshot.map(shoal_job_snapshot::from)))
    })
}

/// Goes on with a job that another manager led, or this one before a restart, from a snapshot
/// that was kept for `kept_ns`. `term` is that of the election where there was one, else 0.
/// `SHOAL_NONE` when nothing has changed.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_resumed(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    snapshot: Option<&shoal_job_snapshot>,
    kept_ns: u64,
    term: u64,
) -> shoal_status {
    input(engine, |engine| {
        let snapshot = required(snapshot, "snapshot")?.read()?.aged(Duration::from_nanos(kept_ns));
        let change = LeaderChange::Gained { snapshot, term: FenceToken(term) };
        changed(engine.leader_changed(Instant::from_nanos(now_ns), snapshot.job, &change))
    })
}

/// Forgets a job without a word, because another manager leads it. `SHOAL_NONE` when it was not
/// led here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_lost(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    input(engine, |engine| {
        let job = required(job, "job")?.into();
        changed(engine.leader_changed(Instant::from_nanos(now_ns), job, &LeaderChange::Lost))
    })
}

/// Lets all jobs that report to one gate report to another, because the first one failed or
/// gave them away. `SHOAL_NONE` when none did.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_gate_changed(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    old_gate: Option<&shoal_address>,
    new_gate: Option<&shoal_address>,
) -> shoal_status {
    input(engine, |engine| {
        let old = required(old_gate, "old_gate")?.read()?;
        let new = required(new_gate, "new_gate")?.read()?;
        changed(engine.gate_changed(Instant::from_nanos(now_ns), old, new))
    })
}

/// Begins to watch a job on this gate. `SHOAL_NONE` when it is watched already: then the
/// datacenters that are missing are added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_gate_job_started(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    timeout_ms: u64,
    datacenters: *const shoal_datacenter_target,
    datacenter_count: usize,
) -> shoal_status {
    input(engine, |engine| {
        let job = required(job, "job")?.into();
        // SAFETY: `datacenters` has `datacenter_count` items.
        let datacenters = &unsafe { read_targets(datacenters, datacenter_count)? };
        let timeout = Duration::from_millis(timeout_ms);
        let start = GateJobStart { job, timeout, datacenters };
        changed(engine.gate_job_started(Instant::from_nanos(now_ns), &start))
    })
}

/// What another gate needs to go on watching a job: `snapshot`, as many datacenters as there is
/// room for, and how many there are to `count`. `SHOAL_NONE` when it is not watched here. A
/// question.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_gate_job_snapshot(
    engine: Option<&shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    snapshot: Option<&mut MaybeUninit<shoal_gate_job_snapshot>>,
    datacenters: *mut MaybeUninit<shoal_datacenter_snapshot>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let job = required(job, "job")?.into();
        let kept = engine.gate_job_snapshot(Instant::from_nanos(now_ns), job);
        // SAFETY: `datacenters` has room for `capacity` items.
        unsafe { SnapshotTarget { snapshot, datacenters, capacity, count }.give(kept) }
    })
}

/// Goes on watching a job that another gate watched, or this one before a restart, from a
/// snapshot that was kept for `kept_ns`. A decision that had been made stands, and is told
/// again. `SHOAL_NONE` when the job is watched here already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_gate_job_resumed(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    snapshot: Option<&shoal_gate_job_snapshot>,
    datacenters: *const shoal_datacenter_snapshot,
    datacenter_count: usize,
    kept_ns: u64,
) -> shoal_status {
    input(engine, |engine| {
        // SAFETY: `datacenters` has `datacenter_count` items.
        let snapshot = unsafe { read_snapshot(snapshot, datacenters, datacenter_count, kept_ns)? };
        changed(engine.gate_job_resumed(Instant::from_nanos(now_ns), &snapshot))
    })
}

/// Gives up a job whose datacenters report to another gate now: call it when all their managers
/// know of the other one. `SHOAL_NONE` when it was not watched here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_gate_job_released(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    input(engine, |engine| {
        changed(engine.gate_job_released(Instant::from_nanos(now_ns), required(job, "job")?.into()))
    })
}

/// How many jobs this node leads or watches. A question.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_count(
    engine: Option<&shoal_engine>,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| Ok(give(required(count, "count")?, Some(engine.job_count()))))
}

/// Writes as many counters about jobs as there is room for, and how many there are to `count`:
/// those of `shoal_timeouts_stats` on a manager, of `shoal_gate_timeouts_stats` on a gate, none
/// on a worker. A question.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_job_stats(
    engine: Option<&shoal_engine>,
    stats: *mut MaybeUninit<shoal_counter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    let led = engine.job_stats().map(|stats| job_counters(engine.job_count(), stats));
    let watched = engine.gate_job_stats().map(|stats| gate_job_counters(engine.job_count(), stats));
    let all = led.into_iter().flatten().chain(watched.into_iter().flatten());
    // SAFETY: `stats` has room for `capacity` items.
    health.guard(|| unsafe { write_list(all, stats, capacity, count) })
}

/// Somebody says that a member does not serve a job. Unless enough vouch for it in time,
/// `SHOAL_EVENT_JOB_MEMBER_DEAD` follows. `SHOAL_NONE` when that is no news.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_accuse_for_job(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    member: Option<&shoal_address>,
    accuser: Option<&shoal_address>,
) -> shoal_status {
    input(engine, |engine| {
        let job = required(job, "job")?.into();
        let member = required(member, "member")?.read()?;
        let accuser = required(accuser, "accuser")?.read()?;
        changed(engine.accuse_for_job(Instant::from_nanos(now_ns), job, member, accuser))
    })
}

/// Somebody says that a member serves a job after all. `SHOAL_NONE` when it was not accused. No
/// input: it may be called at any time.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_vouch_for_job(
    engine: Option<&mut shoal_engine>,
    job: Option<&shoal_job_id>,
    member: Option<&shoal_address>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let job = required(job, "job")?.into();
        let member = required(member, "member")?.read()?;
        Ok(found(engine.vouch_for_job(job, member)))
    })
}

/// Forgets all accusations of a job that is over. No input: it may be called at any time.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_forget_job(
    engine: Option<&mut shoal_engine>,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        engine.forget_job(required(job, "job")?.into());
        Ok(found(true))
    })
}

/// What a member is to a job: a `SHOAL_STANDING_` number. A question.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_standing(
    engine: Option<&shoal_engine>,
    job: Option<&shoal_job_id>,
    member: Option<&shoal_address>,
    standing: Option<&mut MaybeUninit<u8>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let job = required(job, "job")?.into();
        let member = required(member, "member")?.read()?;
        let target = required(standing, "standing")?;
        Ok(give(target, Some(standing_number(engine.job_standing(job, member)))))
    })
}

/// Does the work of a function that is an input.
fn input(
    engine: Option<&mut shoal_engine>,
    work: impl FnOnce(&mut Engine) -> Outcome,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| work(drained(engine)?))
}

fn changed(result: Result<bool, CommandError>) -> Outcome {
    match result {
        Ok(is_new) => Ok(found(is_new)),
        Err(error) => Err(Failure::new(of_command_error(&error), error.to_string())),
    }
}

fn standing_number(standing: JobStanding) -> u8 {
    match standing {
        JobStanding::Alive => SHOAL_STANDING_ALIVE,
        JobStanding::SuspectForJob => SHOAL_STANDING_SUSPECT_FOR_JOB,
        JobStanding::DeadForJob => SHOAL_STANDING_DEAD_FOR_JOB,
        JobStanding::Suspect => SHOAL_STANDING_SUSPECT,
        JobStanding::Dead => SHOAL_STANDING_DEAD,
    }
}
