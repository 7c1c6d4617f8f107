//! Timeouts of jobs over all their datacenters, for gates without a Shoal node. Driven like the
//! trackers of managers, with which it exchanges messages.

use crate::address::shoal_address;
use crate::call::{Failure, Health, Outcome, check_reserved, guarded_with_detail, required};
use crate::config::read_datacenter_text;
use crate::engine::{give, shoal_transmit};
use crate::gate_snapshot::{
    SnapshotTarget, read_snapshot, shoal_datacenter_snapshot, shoal_gate_job_snapshot,
};
use crate::growth;
use crate::jobs::{
    found, outcome_number, read_outcome, read_reason, read_targets, reason_number,
    shoal_datacenter_target, shoal_job_id,
};
use crate::member::{shoal_counter, shoal_event, write_list};
use crate::status::{
    SHOAL_INVALID_ARGUMENT, SHOAL_NULL_POINTER, SHOAL_OK, of_config_error, shoal_status,
};
use crate::timeouts::{changed, give_event, read_message, write_message};
use crate::timeouts_config::shoal_timeouts_config;
use shoal_core::jobs::{DatacenterStatus, GateJobStart, GateJobTracker, GateStats};
use shoal_core::{Duration, Instant};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// The job runs there.
pub const SHOAL_JOB_RUNNING: u8 = 0;
/// Its manager says that it is over time, and waits for the gate.
pub const SHOAL_JOB_OVERDUE: u8 = 1;
/// It is over.
pub const SHOAL_JOB_ENDED: u8 = 2;
/// The manager that led it does not know it any more, and no other has come forward.
pub const SHOAL_JOB_LOST: u8 = 3;

/// How a job stands in one datacenter, as a gate knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_job_status {
    /// A `SHOAL_JOB_` number.
    pub state: u8,
    /// Overdue: why, a `SHOAL_TIMEOUT_` number.
    pub reason: u8,
    /// Ended: how, a `SHOAL_OUTCOME_` number.
    pub outcome: u8,
    /// Zero.
    pub reserved: [u8; 13],
}

/// The jobs that one gate watches.
#[derive(Debug)]
pub struct shoal_gate_timeouts {
    health: Health,
    tracker: GateJobTracker,
}

/// Makes a tracker without jobs. `seed` decides the spread of its messages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_new(
    config: *const shoal_timeouts_config,
    seed: u64,
    now_ns: u64,
    timeouts: Option<&mut MaybeUninit<*mut shoal_gate_timeouts>>,
    detail: *mut c_char,
    detail_size: usize,
) -> shoal_status {
    let work = || {
        let target = required(timeouts, "timeouts")?;
        // SAFETY: `config` is as its first field says.
        let config = unsafe { growth::read(config)?.read()? };
        let tracker = GateJobTracker::new(config, seed, Instant::from_nanos(now_ns))
            .map_err(|error| Failure::new(of_config_error(&error), error.to_string()))?;
        let handle = shoal_gate_timeouts { health: Health::default(), tracker };
        target.write(Box::into_raw(Box::new(handle)));
        Ok(SHOAL_OK)
    };
    // SAFETY: `detail` has `detail_size` bytes.
    unsafe { guarded_with_detail(detail, detail_size, work) }
}

/// Ends a tracker.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_gate_timeouts_free(timeouts: Option<Box<shoal_gate_timeouts>>) {
    crate::call::release(timeouts);
}

/// Copies one sentence about the latest failure of this tracker, cut to `size` bytes; empty
/// before the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_error(
    timeouts: Option<&shoal_gate_timeouts>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_gate_timeouts { health, .. }) = timeouts else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    unsafe { health.copy_detail(buffer, size) }
}

/// Begins to watch a job that was sent to these datacenters. `SHOAL_NONE` when it is watched
/// already: then the datacenters that are missing are added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_job_started(
    timeouts: Option<&mut shoal_gate_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    timeout_ms: u64,
    datacenters: *const shoal_datacenter_target,
    datacenter_count: usize,
) -> shoal_status {
    act(timeouts, |tracker| {
        let job = required(job, "job")?.into();
        // SAFETY: `datacenters` has `datacenter_count` items.
        let datacenters = &unsafe { read_targets(datacenters, datacenter_count)? };
        let timeout = Duration::from_millis(timeout_ms);
        let start = GateJobStart { job, timeout, datacenters };
        changed(tracker.job_started(Instant::from_nanos(now_ns), &start))
    })
}

/// Ends the watch over a job. `SHOAL_NONE` when it was not watched.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_gate_timeouts_job_finished(
    timeouts: Option<&mut shoal_gate_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let job = required(job, "job")?.into();
        Ok(found(tracker.job_finished(Instant::from_nanos(now_ns), job)))
    })
}

/// What another gate needs to go on watching a job: `snapshot`, as many datacenters as there is
/// room for, and how many there are to `count`. `SHOAL_NONE` when it is not watched here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_job_snapshot(
    timeouts: Option<&shoal_gate_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    snapshot: Option<&mut MaybeUninit<shoal_gate_job_snapshot>>,
    datacenters: *mut MaybeUninit<shoal_datacenter_snapshot>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_gate_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let job = required(job, "job")?.into();
        let kept = tracker.snapshot(Instant::from_nanos(now_ns), job);
        // SAFETY: `datacenters` has room for `capacity` items.
        unsafe { SnapshotTarget { snapshot, datacenters, capacity, count }.give(kept) }
    })
}

/// Goes on watching a job that another gate watched, or this one before a restart, from a
/// snapshot that was kept for `kept_ns`. A decision that had been made stands, and is told
/// again. `SHOAL_NONE` when the job is watched here already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_job_resumed(
    timeouts: Option<&mut shoal_gate_timeouts>,
    now_ns: u64,
    snapshot: Option<&shoal_gate_job_snapshot>,
    datacenters: *const shoal_datacenter_snapshot,
    datacenter_count: usize,
    kept_ns: u64,
) -> shoal_status {
    act(timeouts, |tracker| {
        // SAFETY: `datacenters` has `datacenter_count` items.
        let snapshot = unsafe { read_snapshot(snapshot, datacenters, datacenter_count, kept_ns)? };
        changed(tracker.job_resumed(Instant::from_nanos(now_ns), &snapshot))
    })
}

/// Gives up a job whose datacenters report to another gate now: call it when all their managers
/// know of the other one. `SHOAL_NONE` when it was not watched here.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_gate_timeouts_job_released(
    timeouts: Option<&mut shoal_gate_timeouts>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    act(timeouts, |tracker| {
        Ok(found(tracker.job_released(Instant::from_nanos(now_ns), required(job, "job")?.into())))
    })
}

/// How a job stands in the datacenter of this name. `SHOAL_NONE` when it is not known to run
/// there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_status(
    timeouts: Option<&shoal_gate_timeouts>,
    job: Option<&shoal_job_id>,
    datacenter: *const c_char,
    status: Option<&mut MaybeUninit<shoal_job_status>>,
) -> shoal_status {
    let Some(shoal_gate_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let job = required(job, "job")?.into();
        // SAFETY: `datacenter` is a C string.
        let datacenter = unsafe { read_datacenter_text(datacenter)? };
        let target = required(status, "status")?;
        Ok(give(target, tracker.status(job, &datacenter).map(shoal_job_status::from)))
    })
}

/// Takes a message that came from the manager at `source`, in the datacenter of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_handle_message(
    timeouts: Option<&mut shoal_gate_timeouts>,
    now_ns: u64,
    source: Option<&shoal_address>,
    datacenter: *const c_char,
    message: *const u8,
    size: usize,
) -> shoal_status {
    act(timeouts, |tracker| {
        let source = required(source, "source")?.read()?;
        // SAFETY: `datacenter` is a C string, and `message` has `size` bytes.
        let (datacenter, message) =
            unsafe { (read_datacenter_text(datacenter)?, read_message(message, size)?) };
        tracker.handle_message(Instant::from_nanos(now_ns), source, &datacenter, &message);
        Ok(SHOAL_OK)
    })
}

/// Acts on every deadline that has passed. Call it when `shoal_gate_timeouts_timeout_ns` says
/// so; earlier it does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_gate_timeouts_handle_timeout(
    timeouts: Option<&mut shoal_gate_timeouts>,
    now_ns: u64,
) -> shoal_status {
    act(timeouts, |tracker| {
        tracker.handle_timeout(Instant::from_nanos(now_ns));
        Ok(SHOAL_OK)
    })
}

/// When `shoal_gate_timeouts_handle_timeout` is due next. `SHOAL_NONE` while nothing is
/// watched.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_gate_timeouts_timeout_ns(
    timeouts: Option<&shoal_gate_timeouts>,
    deadline_ns: Option<&mut MaybeUninit<u64>>,
) -> shoal_status {
    let Some(shoal_gate_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(deadline_ns, "deadline_ns")?;
        Ok(give(target, tracker.poll_timeout().map(Instant::as_nanos)))
    })
}

/// Writes the next message to a manager into `buffer`, which needs `SHOAL_MESSAGE_SIZE_MAX`
/// bytes. `SHOAL_NONE` when there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_poll_message(
    timeouts: Option<&mut shoal_gate_timeouts>,
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
pub extern "C" fn shoal_gate_timeouts_poll_event(
    timeouts: Option<&mut shoal_gate_timeouts>,
    event: Option<&mut MaybeUninit<shoal_event>>,
) -> shoal_status {
    act(timeouts, |tracker| {
        let target = required(event, "event")?;
        Ok(give_event(target, tracker.poll_event()))
    })
}

/// Writes as many counters as there is room for, and how many there are to `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_gate_timeouts_stats(
    timeouts: Option<&shoal_gate_timeouts>,
    stats: *mut MaybeUninit<shoal_counter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_gate_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    let all = gate_job_counters(tracker.len(), tracker.stats());
    // SAFETY: `stats` has room for `capacity` items.
    health.guard(|| unsafe { write_list(all, stats, capacity, count) })
}

/// The counters of a gate's jobs in the form of the header.
pub(crate) fn gate_job_counters(
    jobs: usize,
    counted: &GateStats,
) -> impl Iterator<Item = shoal_counter> + use<> {
    let all = [
        ("jobs", jobs as u64),
        ("started", counted.started),
        ("adopted", counted.adopted),
        ("timed_out", counted.timed_out),
        ("reports_received", counted.reports_received),
        ("reports_repeated", counted.reports_repeated),
        ("reports_superseded", counted.reports_superseded),
        ("reports_refused", counted.reports_refused),
        ("timeouts_sent", counted.timeouts_sent),
        ("timeouts_repeated", counted.timeouts_repeated),
        ("timeouts_undelivered", counted.timeouts_undelivered),
        ("corrections", counted.corrections),
        ("evicted", counted.evicted),
        ("replies_dropped", counted.replies_dropped),
        ("misdirected", counted.misdirected),
    ];
    all.into_iter().map(|(name, value)| shoal_counter::new(name, value))
}

/// Does the work of a function that changes a tracker.
fn act(
    timeouts: Option<&mut shoal_gate_timeouts>,
    work: impl FnOnce(&mut GateJobTracker) -> Outcome,
) -> shoal_status {
    let Some(shoal_gate_timeouts { health, tracker }) = timeouts else { return SHOAL_NULL_POINTER };
    health.guard(|| work(tracker))
}

impl From<DatacenterStatus> for shoal_job_status {
    fn from(status: DatacenterStatus) -> shoal_job_status {
        let (state, reason, outcome) = match status {
            DatacenterStatus::Running => (SHOAL_JOB_RUNNING, 0, 0),
            DatacenterStatus::Overdue(reason) => (SHOAL_JOB_OVERDUE, reason_number(reason), 0),
            DatacenterStatus::Ended(outcome) => (SHOAL_JOB_ENDED, 0, outcome_number(outcome)),
            DatacenterStatus::Lost => (SHOAL_JOB_LOST, 0, 0),
        };
        shoal_job_status { state, reason, outcome, reserved: [0; 13] }
    }
}

impl shoal_job_status {
    pub(crate) fn read(&self) -> Result<DatacenterStatus, Failure> {
        check_reserved(&self.reserved, "a job's status")?;
        Ok(match self.state {
            SHOAL_JOB_RUNNING => DatacenterStatus::Running,
            SHOAL_JOB_OVERDUE => DatacenterStatus::Overdue(read_reason(self.reason)?),
            SHOAL_JOB_ENDED => DatacenterStatus::Ended(read_outcome(self.outcome)?),
            SHOAL_JOB_LOST => DatacenterStatus::Lost,
            state => {
                let detail = format!("{state} is no state of a job");
                return Err(Failure::new(SHOAL_INVALID_ARGUMENT, detail));
            }
        })
    }
}
