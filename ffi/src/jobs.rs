//! Jobs: their names, and what is told and asked about their timeouts. A manager leads a job in
//! its datacenter, a gate watches it over all of them. Nodes and engines do that for the jobs
//! they are told of; `shoal_timeouts` and `shoal_gate_timeouts` do it alone.

use crate::address::shoal_address;
use crate::call::{Failure, Outcome, array, check_reserved, guarded, required};
use crate::config::read_datacenter_name;
use crate::engine::give;
use crate::member::{SHOAL_DATACENTER_SIZE, name_of};
use crate::status::{
    SHOAL_INVALID_ARGUMENT, SHOAL_INVALID_DATACENTER_COUNT, SHOAL_NONE, SHOAL_OK, of_denial,
    shoal_status,
};
use shoal_core::jobs::config::JOB_DATACENTERS_MAX;
use shoal_core::jobs::{
    DatacenterTarget, ExtensionDenial, ExtensionGrant, ExtensionRequest, FenceToken, JobError,
    JobId, JobOutcome, JobSnapshot, JobStart, TimeoutReason, WorkerId, WorkflowCounts,
};
use shoal_core::{Address, Duration};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// Timeout and extensions have passed in this datacenter.
pub const SHOAL_TIMEOUT_DEADLINE: u8 = 1;
/// No progress and no extension for too long in this datacenter.
pub const SHOAL_TIMEOUT_STUCK: u8 = 2;
/// One of the two, and the gate that should decide has been silent for too long.
pub const SHOAL_TIMEOUT_GATE_SILENT: u8 = 3;
/// A gate saw the job's timeout and the largest extension of any datacenter pass.
pub const SHOAL_TIMEOUT_GLOBAL_DEADLINE: u8 = 4;
/// A gate saw no progress in any datacenter that had not finished.
pub const SHOAL_TIMEOUT_ALL_STUCK: u8 = 5;
/// A gate learned of timeouts in as many datacenters as its rule asks for.
pub const SHOAL_TIMEOUT_DATACENTERS_TIMED_OUT: u8 = 6;

/// The job did what it should.
pub const SHOAL_OUTCOME_COMPLETED: u8 = 1;
/// The job could not be done.
pub const SHOAL_OUTCOME_FAILED: u8 = 2;
/// A user called the job off.
pub const SHOAL_OUTCOME_CANCELLED: u8 = 3;
/// The job took too long.
pub const SHOAL_OUTCOME_TIMED_OUT: u8 = 4;

/// The name of a job: 128 bits that the program chooses, for example a UUID.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct shoal_job_id {
    /// The bytes, never interpreted.
    pub bytes: [u8; 16],
}

/// The name of a worker, in the same form.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct shoal_worker_id {
    /// The bytes, never interpreted.
    pub bytes: [u8; 16],
}

/// A job that a manager begins to lead. What is not needed stays zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_job_start {
    /// The job. Every submission needs an id of its own.
    pub job: shoal_job_id,
    /// How long it may take, extensions aside, in ms; 1 to 365 days.
    pub timeout_ms: u64,
    /// Which leadership this manager has of it, for example the term of its election; 0 means
    /// 1.
    pub fence: u64,
    /// The gate it came through; all zero when there is none: then this manager decides alone.
    pub gate: shoal_address,
    /// In how many datacenters it runs; 0 when unknown.
    pub datacenter_count: u16,
    /// Zero.
    pub reserved: [u8; 38],
}

/// How many workflows a job has in one datacenter. Shown to people and gates; no rule rests on
/// it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct shoal_workflow_counts {
    /// All of them.
    pub total: u32,
    /// Those that ended well.
    pub completed: u32,
    /// Those that ended badly.
    pub failed: u32,
}

/// What a worker says about itself when it asks for more time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct shoal_extension_request {
    /// How much of its work is done, in any unit that rises, for example 0 to 1.
    pub progress: f64,
    /// How many items are done, where `has_items` is 1. Two counts are compared in preference
    /// to progress.
    pub completed_items: u64,
    /// 1 when the worker counts items, else 0.
    pub has_items: u8,
    /// 1 when failure detection suspects the worker at the moment, else 0: then nothing is
    /// granted.
    pub is_suspect: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// More time for a worker.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_extension_grant {
    /// How much longer, in ns.
    pub duration_ns: u64,
    /// All grants of this negotiation together, in ns.
    pub total_ns: u64,
    /// Grants that remain.
    pub remaining: u32,
    /// 1 when the worker should be warned, once, that time is running out.
    pub is_warning: u32,
}

/// What a new leader of a job needs to go on with it: plain bytes in which only durations
/// occur, to be kept wherever it survives the manager.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_job_snapshot {
    /// The job.
    pub job: shoal_job_id,
    /// The gate it reports to; all zero when there is none.
    pub gate: shoal_address,
    /// The leadership it was taken under.
    pub fence: u64,
    /// Its timeout, in ns.
    pub timeout_ns: u64,
    /// How long it had been running, in ns.
    pub elapsed_ns: u64,
    /// How long it had made no progress, in ns.
    pub since_progress_ns: u64,
    /// How long the gate had not spoken of it, in ns.
    pub since_gate_ns: u64,
    /// All extensions granted, in ns.
    pub extension_total_ns: u64,
    /// The longest single one, in ns.
    pub extension_max_ns: u64,
    /// The state of its workflows.
    pub workflows: shoal_workflow_counts,
    /// In how many datacenters it runs, as far as was known.
    pub datacenter_count: u16,
    /// How it ended, a `SHOAL_OUTCOME_` number, when only telling the gate was left to do; else
    /// 0.
    pub outcome: u8,
    /// Zero.
    pub reserved: [u8; 33],
}

/// A datacenter that a gate sent a job to.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_datacenter_target {
    /// Its name, NUL terminated.
    pub datacenter: [c_char; SHOAL_DATACENTER_SIZE],
    /// The manager that accepted the job; all zero when it is not known yet.
    pub leader: shoal_address,
}

/// The id of a job with this name, the same in every language: the first half of its SHA-256.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_job_id_from_name(
    name: *const u8,
    size: usize,
    job: Option<&mut MaybeUninit<shoal_job_id>>,
) -> shoal_status {
    guarded(|| {
        let target = required(job, "job")?;
        // SAFETY: `name` has `size` bytes.
        let name = unsafe { array(name, size, "name")? };
        Ok(give(target, Some(JobId::from_name(name).into())))
    })
}

/// The name of a `SHOAL_TIMEOUT_` number, for example "stuck", or "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn shoal_timeout_reason_name(reason: u8) -> *const c_char {
    name_of(
        reason,
        &[
            c"unknown",
            c"deadline",
            c"stuck",
            c"gate_silent",
            c"global_deadline",
            c"all_stuck",
            c"datacenters_timed_out",
        ],
    )
}

/// The name of a `SHOAL_OUTCOME_` number: "completed", "failed", "cancelled", "timed_out", or
/// "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn shoal_outcome_name(outcome: u8) -> *const c_char {
    name_of(outcome, &[c"unknown", c"completed", c"failed", c"cancelled", c"timed_out"])
}

impl From<JobId> for shoal_job_id {
    fn from(job: JobId) -> shoal_job_id {
        shoal_job_id { bytes: *job.as_bytes() }
    }
}

impl From<&shoal_job_id> for JobId {
    fn from(job: &shoal_job_id) -> JobId {
        JobId::from_bytes(job.bytes)
    }
}

impl From<&shoal_worker_id> for WorkerId {
    fn from(worker: &shoal_worker_id) -> WorkerId {
        WorkerId::from_bytes(worker.bytes)
    }
}

impl From<&shoal_workflow_counts> for WorkflowCounts {
    fn from(counts: &shoal_workflow_counts) -> WorkflowCounts {
        let shoal_workflow_counts { total, completed, failed } = *counts;
        WorkflowCounts { total, completed, failed }
    }
}

impl shoal_job_start {
    pub(crate) fn read(&self) -> Result<JobStart, Failure> {
        check_reserved(&self.reserved, "a job's start")?;
        Ok(JobStart {
            job: (&self.job).into(),
            timeout: Duration::from_millis(self.timeout_ms),
            gate: optional_address(&self.gate)?,
            datacenter_count: self.datacenter_count,
            fence: FenceToken(self.fence.max(1)),
        })
    }
}

impl shoal_extension_request {
    pub(crate) fn read(&self) -> Result<ExtensionRequest, Failure> {
        check_reserved(&self.reserved, "a request")?;
        Ok(ExtensionRequest {
            progress: self.progress,
            completed_items: (self.has_items != 0).then_some(self.completed_items),
            is_suspect: self.is_suspect != 0,
        })
    }
}

impl From<ExtensionGrant> for shoal_extension_grant {
    fn from(grant: ExtensionGrant) -> shoal_extension_grant {
        shoal_extension_grant {
            duration_ns: nanos(grant.duration),
            total_ns: nanos(grant.total),
            remaining: u32::from(grant.remaining),
            is_warning: u32::from(grant.is_warning),
        }
    }
}

impl From<JobSnapshot> for shoal_job_snapshot {
    fn from(snapshot: JobSnapshot) -> shoal_job_snapshot {
        let WorkflowCounts { total, completed, failed } = snapshot.workflows;
        shoal_job_snapshot {
            job: snapshot.job.into(),
            gate: snapshot.gate.map(shoal_address::from).unwrap_or_default(),
            fence: snapshot.fence.0,
            timeout_ns: nanos(snapshot.timeout),
            elapsed_ns: nanos(snapshot.elapsed),
            since_progress_ns: nanos(snapshot.since_progress),
            since_gate_ns: nanos(snapshot.since_gate),
            extension_total_ns: nanos(snapshot.extension_total),
            extension_max_ns: nanos(snapshot.extension_max),
            workflows: shoal_workflow_counts { total, completed, failed },
            datacenter_count: snapshot.datacenter_count,
            outcome: snapshot.outcome.map_or(0, outcome_number),
            reserved: [0; 33],
        }
    }
}

impl shoal_job_snapshot {
    pub(crate) fn read(&self) -> Result<JobSnapshot, Failure> {
        check_reserved(&self.reserved, "a snapshot")?;
        Ok(JobSnapshot {
            job: (&self.job).into(),
            gate: optional_address(&self.gate)?,
            datacenter_count: self.datacenter_count,
            timeout: Duration::from_nanos(self.timeout_ns),
            elapsed: Duration::from_nanos(self.elapsed_ns),
            since_progress: Duration::from_nanos(self.since_progress_ns),
            since_gate: Duration::from_nanos(self.since_gate_ns),
            extension_total: Duration::from_nanos(self.extension_total_ns),
            extension_max: Duration::from_nanos(self.extension_max_ns),
            workflows: (&self.workflows).into(),
            fence: FenceToken(self.fence),
            outcome: if self.outcome == 0 { None } else { Some(read_outcome(self.outcome)?) },
        })
    }
}

/// The targets of a program.
///
/// # Safety
/// `targets` is NULL or points to `count` of them.
pub(crate) unsafe fn read_targets(
    targets: *const shoal_datacenter_target,
    count: usize,
) -> Result<Vec<DatacenterTarget>, Failure> {
    if count == 0 || count > usize::from(JOB_DATACENTERS_MAX) {
        let detail = JobError::DatacenterCount { count }.to_string();
        return Err(Failure::new(SHOAL_INVALID_DATACENTER_COUNT, detail));
    }
    // SAFETY: by the contract of this function.
    let targets = unsafe { array(targets, count, "datacenters")? };
    let read = |target: &shoal_datacenter_target| {
        Ok(DatacenterTarget {
            datacenter: read_datacenter_name(&target.datacenter)?,
            leader: optional_address(&target.leader)?,
        })
    };
    targets.iter().map(read).collect()
}

pub(crate) fn read_reason(reason: u8) -> Result<TimeoutReason, Failure> {
    TimeoutReason::ALL.into_iter().find(|known| reason_number(*known) == reason).ok_or_else(|| {
        Failure::new(SHOAL_INVALID_ARGUMENT, format!("{reason} is no reason of a timeout"))
    })
}

pub(crate) fn read_outcome(outcome: u8) -> Result<JobOutcome, Failure> {
    JobOutcome::from_wire(outcome).ok_or_else(|| {
        Failure::new(SHOAL_INVALID_ARGUMENT, format!("{outcome} is no outcome of a job"))
    })
}

/// An address that may be all zero, for "none".
pub(crate) fn optional_address(address: &shoal_address) -> Result<Option<Address>, Failure> {
    let address = address.read()?;
    Ok((address != Address::UNSPECIFIED).then_some(address))
}

/// Answers a question of a worker.
pub(crate) fn give_grant(
    target: &mut MaybeUninit<shoal_extension_grant>,
    answer: Result<ExtensionGrant, ExtensionDenial>,
) -> Outcome {
    match answer {
        Ok(grant) => Ok(give(target, Some(grant.into()))),
        Err(ExtensionDenial::UnknownJob) => Ok(SHOAL_NONE),
        Err(denial) => Err(Failure::new(of_denial(denial), denial.to_string())),
    }
}

/// Whether something was found or has changed.
pub(crate) fn found(is_so: bool) -> shoal_status {
    if is_so { SHOAL_OK } else { SHOAL_NONE }
}

/// A duration as C has it; beyond 584 years it is the longest.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) fn reason_number(reason: TimeoutReason) -> u8 {
    match reason {
        TimeoutReason::Deadline => SHOAL_TIMEOUT_DEADLINE,
        TimeoutReason::Stuck => SHOAL_TIMEOUT_STUCK,
        TimeoutReason::GateSilent => SHOAL_TIMEOUT_GATE_SILENT,
        TimeoutReason::GlobalDeadline => SHOAL_TIMEOUT_GLOBAL_DEADLINE,
        TimeoutReason::AllStuck => SHOAL_TIMEOUT_ALL_STUCK,
        TimeoutReason::DatacentersTimedOut => SHOAL_TIMEOUT_DATACENTERS_TIMED_OUT,
    }
}

pub(crate) fn outcome_number(outcome: JobOutcome) -> u8 {
    match outcome {
        JobOutcome::Completed => SHOAL_OUTCOME_COMPLETED,
        JobOutcome::Failed => SHOAL_OUTCOME_FAILED,
        JobOutcome::Cancelled => SHOAL_OUTCOME_CANCELLED,
        JobOutcome::TimedOut => SHOAL_OUTCOME_TIMED_OUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn text(pointer: *const c_char) -> &'static str {
        // SAFETY: names are static C strings.
        unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
    }

    #[test]
    fn numbers_and_names_are_the_trackers() {
        for reason in TimeoutReason::ALL {
            assert_eq!(text(shoal_timeout_reason_name(reason_number(reason))), reason.name());
        }
        for outcome in JobOutcome::ALL {
            assert_eq!(text(shoal_outcome_name(outcome_number(outcome))), outcome.name());
            assert_eq!(read_outcome(outcome_number(outcome)).unwrap(), outcome);
        }
        for number in [0, 5, 255] {
            assert_eq!(text(shoal_outcome_name(number)), "unknown");
            read_outcome(number).unwrap_err();
        }
    }

    #[test]
    fn snapshots_survive_the_way_through_c() {
        let snapshot = JobSnapshot {
            job: JobId::from_name(b"nightly"),
            gate: Some("10.0.0.1:7946".parse().unwrap()),
            datacenter_count: 3,
            timeout: Duration::from_secs(60),
            elapsed: Duration::from_secs(50),
            since_progress: Duration::from_secs(4),
            since_gate: Duration::from_secs(3),
            extension_total: Duration::from_secs(2),
            extension_max: Duration::from_secs(1),
            workflows: WorkflowCounts { total: 9, completed: 8, failed: 1 },
            fence: FenceToken(7),
            outcome: Some(JobOutcome::Failed),
        };
        assert_eq!(shoal_job_snapshot::from(snapshot).read().unwrap(), snapshot);
        let plain = JobSnapshot { gate: None, outcome: None, ..snapshot };
        assert_eq!(shoal_job_snapshot::from(plain).read().unwrap(), plain);
        let broken = shoal_job_snapshot { outcome: 9, ..plain.into() };
        broken.read().unwrap_err();
        let mut broken = shoal_job_snapshot::from(plain);
        broken.reserved[32] = 1;
        broken.read().unwrap_err();
    }
}
