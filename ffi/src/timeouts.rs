//! Timeouts of the jobs that one manager leads, for programs without a Shoal node. Driven like
//! an engine: one input, then take `shoal_timeouts_poll_message` and
//! `shoal_timeouts_poll_event` until `SHOAL_NONE`, then wait until `shoal_timeouts_timeout_ns`.
//! Messages go to gates by any channel; what is lost is sent again.

use crate::address::shoal_address;
use crate::call::{Failure, Health, Outcome, array, guarded_with_detail, required};
use crate::engine::{give, shoal_transmit};
use crate::growth;
use crate::jobs::{
    found, give_grant, read_outcome, shoal_extension_grant, shoal_extension_request, shoal_job_id,
    shoal_job_snapshot, shoal_job_start, shoal_worker_id, shoal_workflow_counts,
};
use crate::member::{shoal_counter, shoal_event, write_list};
use crate::status::{
    SHOAL_BUFFER_TOO_SMALL, SHOAL_INVALID_MESSAGE, SHOAL_NONE, SHOAL_NULL_POINTER, SHOAL_OK,
    of_config_error, of_job_error, shoal_status,
};
use crate::timeouts_config::shoal_timeouts_config;
use shoal_core::jobs::messages::MESSAGE_SIZE_MAX;
use shoal_core::jobs::{
    FenceToken, JobError, JobEvent, JobMessage, JobStats, JobTracker, LeaderChange, Outgoing,
};
use shoal_core::{Duration, Instant};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// Room for every message between trackers, in bytes.
pub const SHOAL_MESSAGE_SIZE_MAX: usize = 128;

const _: () = assert!(SHOAL_MESSAGE_SIZE_MAX >= MESSAGE_SIZE_MAX);

/// The jobs that one manager leads.
#[derive(Debug)]
pub struct shoal_timeouts {
    health: Health,
    tracker: JobTracker,
}

/// Makes a tracker without jobs. `seed` decides the spread of its reports.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_timeouts_new(
    config: *const shoal_timeouts_config,
    seed: u64,
    now_ns: u64,
    timeouts: Option<&mut MaybeUninit<*mut shoal_timeouts>>,
    detail: *mut c_char,
    detail_size: usize,
) -> shoal_status {
    let work = || {
        let target = required(timeouts, "timeouts")?;
        // SAFETY: `config` is as its first field says.
        let config = unsafe { growth::read(config)?.read()? };
        let tracker = JobTracker::new(config, seed, Instant::from_nanos(now_ns))
            .map_err(|error| Failure::new(of_config_error(&error), error.to_string()))?;
        let handle = shoal_timeouts { health: Health::default(), tracker };
        target.write(Box::into_raw(Box::new(handle)));
        Ok(SHOAL_OK)
    };
    // SAFETY: `detail` has `detail_size` bytes.
    unsafe { guarded_with_detail(detail, detail_size, work) }
}

/// Ends a tracker.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_free(timeouts: Option<Box<shoal_timeouts>>) {
    crate::call::release(timeouts);
}

/// Copies one sentence about the latest failure of this tracker, cut to `size` bytes; empty
/// before the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_timeouts_error(
    timeouts: Option<&shoal_timeouts>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_timeouts { health, .. }) = timeouts else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    unsafe { health.copy_detail(buffer, size) }
}

/// Begins to track a job. `SHOAL_NONE` when it is tracked already: nothing changes then.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_job_started(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    start: Option<&shoal_job_start>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let start = required(start, "start")?.read()?;
        changed(tracker.job_started(Instant::from_nanos(now_ns), &start))
    })
}

/// Notes that a job made progress, and what its workflows are doing where `workflows` is not
/// NULL. `SHOAL_NONE` when it is not running here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_job_progress(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    workflows: Option<&shoal_workflow_counts>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let job = required(job, "job")?.into();
        let now = Instant::from_nanos(now_ns);
        Ok(found(tracker.job_progress(now, job, workflows.map(Into::into))))
    })
}

/// Ends a job with a `SHOAL_OUTCOME_` number. `SHOAL_NONE` when it was not running here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_job_finished(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    outcome: u8,
) -> shoal_status {
    act(timeouts, |tracker| {
        let job = required(job, "job")?.into();
        let outcome = read_outcome(outcome)?;
        Ok(found(tracker.job_finished(Instant::from_nanos(now_ns), job, outcome)))
    })
}

/// Negotiates more time with a worker. What is granted moves the job's deadline and counts as
/// progress. `SHOAL_NONE` when the job is not running here; why nothing is granted otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_worker_extension(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
    request: Option<&shoal_extension_request>,
    grant: Option<&mut MaybeUninit<shoal_extension_grant>>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        let request = required(request, "request")?.read()?;
        let target = required(grant, "grant")?;
        let now = Instant::from_nanos(now_ns);
        give_grant(target, tracker.worker_extension(now, job, worker, &request))
    })
}

/// Lets the extensions of a worker begin anew, because it came back after a failure. What it was
/// granted stays. `SHOAL_NONE` when it had none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_worker_recovered(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        Ok(found(tracker.worker_recovered(Instant::from_nanos(now_ns), job, worker)))
    })
}

/// Forgets the extensions of a worker that failed or left the job. What it was granted stays.
/// `SHOAL_NONE` when it had none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_worker_removed(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    worker: Option<&shoal_worker_id>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let (job, worker) = (required(job, "job")?.into(), required(worker, "worker")?.into());
        Ok(found(tracker.worker_removed(Instant::from_nanos(now_ns), job, worker)))
    })
}

/// What a new leader of a job needs to go on with it. `SHOAL_NONE` when it is not tracked here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_job_snapshot(
    timeouts: Option<&shoal_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    snapshot: Option<&mut MaybeUninit<shoal_job_snapshot>>,
) -> shoal_status {
    let Some(shoal_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let job = required(job, "job")?.into();
        let target = required(snapshot, "snapshot")?;
        let snapshot = tracker.snapshot(Instant::from_nanos(now_ns), job);
        Ok(give(target, snapshot.map(shoal_job_snapshot::from)))
    })
}

/// Goes on with a job that another manager led, or this one before a restart, from a snapshot
/// that was kept for `kept_ns`. `term` is that of the election where there was one, else 0.
/// `SHOAL_NONE` when nothing has changed.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_job_resumed(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    snapshot: Option<&shoal_job_snapshot>,
    kept_ns: u64,
    term: u64,
) -> shoal_status {
    act(timeouts, |tracker| {
        let snapshot = required(snapshot, "snapshot")?.read()?.aged(Duration::from_nanos(kept_ns));
        let change = LeaderChange::Gained { snapshot, term: FenceToken(term) };
        changed(tracker.leader_changed(Instant::from_nanos(now_ns), snapshot.job, &change))
    })
}

/// Forgets a job without a word, because another manager leads it. `SHOAL_NONE` when it was not
/// tracked.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_job_lost(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let job = required(job, "job")?.into();
        changed(tracker.leader_changed(Instant::from_nanos(now_ns), job, &LeaderChange::Lost))
    })
}

/// Lets all jobs that report to one gate report to another. `SHOAL_NONE` when none did.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_gate_changed(
    timeouts: Option<&mut shoal_timeouts>,
    old_gate: Option<&shoal_address>,
    new_gate: Option<&shoal_address>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let old = required(old_gate, "old_gate")?.read()?;
        let new = required(new_gate, "new_gate")?.read()?;
        changed(tracker.gate_changed(old, new))
    })
}

/// When a job will be over time, extensions included. `SHOAL_NONE` when it is not running here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_deadline_ns(
    timeouts: Option<&shoal_timeouts>,
    job: Option<&shoal_job_id>,
    deadline_ns: Option<&mut MaybeUninit<u64>>,
) -> shoal_status {
    let Some(shoal_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let job = required(job, "job")?.into();
        let target = required(deadline_ns, "deadline_ns")?;
        Ok(give(target, tracker.deadline(job).map(Instant::as_nanos)))
    })
}

/// Takes a message that came from the gate at `source`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_timeouts_handle_message(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    source: Option<&shoal_address>,
    message: *const u8,
    size: usize,
) -> shoal_status {
    act(timeouts, |tracker| {
        let source = required(source, "source")?.read()?;
        // SAFETY: `message` has `size` bytes.
        let message = unsafe { read_message(message, size)? };
        tracker.handle_message(Instant::from_nanos(now_ns), source, &message);
        Ok(SHOAL_OK)
    })
}

/// Acts on every deadline that has passed. Call it when `shoal_timeouts_timeout_ns` says so;
/// earlier it does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_handle_timeout(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
) -> shoal_status {
    act(timeouts, |tracker| {
        tracker.handle_timeout(Instant::from_nanos(now_ns));
        Ok(SHOAL_OK)
    })
}

/// When `shoal_timeouts_handle_timeout` is due next. `SHOAL_NONE` while nothing is tracked.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_timeout_ns(
    timeouts: Option<&shoal_timeouts>,
    deadline_ns: Option<&mut MaybeUninit<u64>>,
) -> shoal_status {
    let Some(shoal_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(deadline_ns, "deadline_ns")?;
        Ok(give(target, tracker.poll_timeout().map(Instant::as_nanos)))
    })
}

/// Writes the next message to a gate into `buffer`, which needs `SHOAL_MESSAGE_SIZE_MAX` bytes.
/// `SHOAL_NONE` when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_timeouts_poll_message(
    timeouts: Option<&mut shoal_timeouts>,
    now_ns: u64,
    buffer: *mut u8,
    size: usize,
    transmit: Option<&mut MaybeUninit<shoal_transmit>>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let target = required(transmit, "transmit")?;
        let next = || tracker.poll_message(Instant::from_nanos(now_ns));
        // SAFETY: `buffer` has `size` bytes.
        unsafe { write_message(next, buffer, size, target) }
    })
}

/// Takes the oldest event. `SHOAL_NONE` when there is none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeouts_poll_event(
    timeouts: Option<&mut shoal_timeouts>,
    event: Option<&mut MaybeUninit<shoal_event>>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let target = required(event, "event")?;
        Ok(give_event(target, tracker.poll_event()))
    })
}

/// Writes as many counters as there is room for, and how many there are to `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_timeouts_stats(
    timeouts: Option<&shoal_timeouts>,
    stats: *mut MaybeUninit<shoal_counter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    let all = job_counters(tracker.len(), tracker.stats());
    // SAFETY: `stats` has room for `capacity` items.
    health.guard(|| unsafe { write_list(all, stats, capacity, count) })
}

/// The counters of a manager's jobs in the form of the header.
pub(crate) fn job_counters(
    jobs: usize,
    counted: &JobStats,
) -> impl Iterator<Item = shoal_counter> + use<> {
    let all = [
        ("jobs", jobs as u64),
        ("started", counted.started),
        ("resumed", counted.resumed),
        ("finished", counted.finished),
        ("timed_out", counted.timed_out),
        ("fallbacks", counted.fallbacks),
        ("stuck", counted.stuck),
        ("recovered", counted.recovered),
        ("superseded", counted.superseded),
        ("reports_sent", counted.reports_sent),
        ("reports_repeated", counted.reports_repeated),
        ("reports_refused", counted.reports_refused),
        ("outcomes_abandoned", counted.outcomes_abandoned),
        ("outcomes_evicted", counted.outcomes_evicted),
        ("timeouts_refused", counted.timeouts_refused),
        ("timeouts_unknown", counted.timeouts_unknown),
        ("replies_dropped", counted.replies_dropped),
        ("misdirected", counted.misdirected),
    ];
    all.into_iter().map(|(name, value)| shoal_counter::new(name, value))
}

/// Does the work of a function that changes a tracker.
fn act(
    timeouts: Option<&mut shoal_timeouts>,
    work: impl FnOnce(&mut JobTracker) -> Outcome,
) -> shoal_status {
    let Some(shoal_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    health.guard(|| work(tracker))
}

/// The answer of a tracker to a call that may have changed nothing.
pub(crate) fn changed(result: Result<bool, JobError>) -> Outcome {
    match result {
        Ok(is_new) => Ok(found(is_new)),
        Err(error) => Err(Failure::new(of_job_error(&error), error.to_string())),
    }
}

/// A message of another tracker.
///
/// # Safety
/// `message` is NULL or points to `size` bytes.
pub(crate) unsafe fn read_message(message: *const u8, size: usize) -> Result<JobMessage, Failure> {
    let invalid = || Failure::new(SHOAL_INVALID_MESSAGE, "the bytes are no message of a tracker");
    if message.is_null() {
        return Err(Failure::new(SHOAL_NULL_POINTER, "message is NULL"));
    }
    if size > SHOAL_MESSAGE_SIZE_MAX {
        return Err(invalid());
    }
    // SAFETY: by the contract of this function.
    let bytes = unsafe { array(message, size, "message")? };
    match JobMessage::parse(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(invalid()),
    }
}

/// Writes a message, which is taken from the tracker only when there is room for any.
///
/// # Safety
/// `buffer` is NULL or points to `size` writable bytes.
pub(crate) unsafe fn write_message(
    next: impl FnOnce() -> Option<Outgoing>,
    buffer: *mut u8,
    size: usize,
    target: &mut MaybeUninit<shoal_transmit>,
) -> Outcome {
    if buffer.is_null() {
        return Err(Failure::new(SHOAL_NULL_POINTER, "buffer is NULL"));
    }
    if size < SHOAL_MESSAGE_SIZE_MAX {
        let detail = format!("the buffer has {size} bytes, a message may need 128");
        return Err(Failure::new(SHOAL_BUFFER_TOO_SMALL, detail));
    }
    let Some(outgoing) = next() else { return Ok(SHOAL_NONE) };
    let mut bytes = [0; SHOAL_MESSAGE_SIZE_MAX];
    let size = outgoing.message.write(&mut bytes).expect("there is room for every message");
    // SAFETY: by the contract of this function; the buffer was found large enough.
    unsafe { buffer.copy_from_nonoverlapping(bytes.as_ptr(), size) };
    let target_address = outgoing.target.into();
    Ok(give(target, Some(shoal_transmit { target: target_address, size, reserved: [0; 32] })))
}

/// Writes an event of a tracker, if there is one.
pub(crate) fn give_event(
    target: &mut MaybeUninit<shoal_event>,
    event: Option<JobEvent>,
) -> shoal_status {
    give(target, event.map(shoal_event::from))
}
