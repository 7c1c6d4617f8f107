//! What jobs, extensions and workflows are told and tell.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use shoal_core::jobs::{
    self, DatacenterTarget, ExtensionRequest, FenceToken, JobOutcome, JobStart, TimeoutReason,
    WorkflowState,
};

use crate::convert::{AddressText, DatacenterText, Payload, Seconds};
use crate::errors::Failure;
use crate::events::OtherEvent;
use crate::ids::{JobArgument, JobId, WorkerId, WorkflowId};
use crate::names::{DenialReason, Name};
use crate::values::value_class;

value_class! {
    /// How many workflows a job has in one datacenter, and how many of them are done.
    WorkflowCounts {
        /// All of them.
        total: u32,
        /// Those that ended well.
        completed: u32,
        /// Those that ended badly.
        failed: u32,
    }
}

impl WorkflowCounts {
    pub(crate) fn core(&self) -> jobs::WorkflowCounts {
        let WorkflowCounts { total, completed, failed } = *self;
        jobs::WorkflowCounts { total, completed, failed }
    }
}

impl From<jobs::WorkflowCounts> for WorkflowCounts {
    fn from(counts: jobs::WorkflowCounts) -> WorkflowCounts {
        let jobs::WorkflowCounts { total, completed, failed } = counts;
        WorkflowCounts { total, completed, failed }
    }
}

value_class! {
    /// More time for a worker.
    ExtensionGrant {
        /// How much longer, in seconds.
        duration_seconds: Seconds,
        /// All grants of this negotiation together, in seconds.
        total_seconds: Seconds,
        /// Grants that remain.
        remaining: u8,
        /// Whether the worker should be warned, once, that time is running out.
        is_warning: bool,
    }
}

value_class! {
    /// No more time for a worker. Nothing was granted.
    ExtensionDenial {
        /// Why.
        reason: Name<DenialReason>,
        /// What is left of the grace, in seconds, when all extensions are used; 0 otherwise.
        grace_seconds: Seconds,
    }
}

/// The answer to a worker as a Python object.
pub(crate) fn extension_object(
    py: Python<'_>,
    answer: Result<jobs::ExtensionGrant, jobs::ExtensionDenial>,
) -> PyResult<Bound<'_, PyAny>> {
    use jobs::ExtensionDenial as Denial;
    let (reason, grace) = match answer {
        Ok(grant) => {
            let grant = ExtensionGrant {
                duration_seconds: Seconds(grant.duration),
                total_seconds: Seconds(grant.total),
                remaining: grant.remaining,
                is_warning: grant.is_warning,
            };
            return grant.into_bound_py_any(py);
        }
        Err(Denial::Exhausted { grace }) => (DenialReason::Exhausted, grace),
        Err(Denial::NoProgress) => (DenialReason::NoProgress, Default::default()),
        Err(Denial::Suspect) => (DenialReason::Suspect, Default::default()),
        Err(Denial::NotANumber) => (DenialReason::NotANumber, Default::default()),
        Err(Denial::UnknownJob) => (DenialReason::UnknownJob, Default::default()),
        Err(Denial::Full) => (DenialReason::Full, Default::default()),
        Err(other) => return Err(Failure::Command(other.to_string()).into()),
    };
    let denial = ExtensionDenial { reason: Name(reason), grace_seconds: Seconds(grace) };
    denial.into_bound_py_any(py)
}

value_class! {
    /// All that another host needs to go on leading a job. Only durations occur in it, so it may
    /// travel between hosts and lie on a disk.
    JobSnapshot {
        /// The job.
        job: JobId,
        /// The gate it reports to, `"ip:port"`; `None` under local authority.
        gate: Option<AddressText>,
        /// In how many datacenters the job runs, as far as was known.
        datacenter_count: u16,
        /// Its timeout, in seconds.
        timeout_seconds: Seconds,
        /// How long it had been running, in seconds.
        elapsed_seconds: Seconds,
        /// How long it had made no progress, in seconds.
        since_progress_seconds: Seconds,
        /// How long the gate had not spoken of the job, in seconds.
        since_gate_seconds: Seconds,
        /// All extensions granted, in seconds.
        extension_total_seconds: Seconds,
        /// The longest single one, in seconds.
        extension_max_seconds: Seconds,
        /// The state of its workflows.
        workflows: WorkflowCounts,
        /// The leadership it was taken under.
        fence: u64,
        /// How the job ended, when only the delivery of that to the gate was left to do.
        outcome: Option<Name<JobOutcome>>,
    }
    methods {
        /// The snapshot as it would be so many seconds later, had nothing happened: for a host that
        /// has kept it for that long on its own clock.
        fn aged(&self, seconds: Seconds) -> JobSnapshot {
            self.core().aged(seconds.0).into()
        }

        /// The snapshot as 105 bytes, the same on every machine and in every language.
        fn to_bytes(&self) -> Payload {
            Payload(self.core().to_bytes().to_vec().into())
        }

        /// The snapshot in these bytes. `ConfigError` when they are none that could be gone on from.
        #[staticmethod]
        fn from_bytes(snapshot: Payload) -> PyResult<JobSnapshot> {
            let read = jobs::JobSnapshot::from_bytes(&snapshot.0).map(JobSnapshot::from);
            let failure = || Failure::Config("these bytes are no snapshot of a job".to_owned());
            Ok(read.ok_or_else(failure)?)
        }
    }
}

impl JobSnapshot {
    pub(crate) fn core(&self) -> jobs::JobSnapshot {
        jobs::JobSnapshot {
            job: self.job.0,
            gate: self.gate.map(|gate| gate.0),
            datacenter_count: self.datacenter_count,
            timeout: self.timeout_seconds.0,
            elapsed: self.elapsed_seconds.0,
            since_progress: self.since_progress_seconds.0,
            since_gate: self.since_gate_seconds.0,
            extension_total: self.extension_total_seconds.0,
            extension_max: self.extension_max_seconds.0,
            workflows: self.workflows.core(),
            fence: FenceToken(self.fence),
            outcome: self.outcome.map(|outcome| outcome.0),
        }
    }
}

impl From<jobs::JobSnapshot> for JobSnapshot {
    fn from(snapshot: jobs::JobSnapshot) -> JobSnapshot {
        JobSnapshot {
            job: JobId(snapshot.job),
            gate: snapshot.gate.map(AddressText),
            datacenter_count: snapshot.datacenter_count,
            timeout_seconds: Seconds(snapshot.timeout),
            elapsed_seconds: Seconds(snapshot.elapsed),
            since_progress_seconds: Seconds(snapshot.since_progress),
            since_gate_seconds: Seconds(snapshot.since_gate),
            extension_total_seconds: Seconds(snapshot.extension_total),
            extension_max_seconds: Seconds(snapshot.extension_max),
            workflows: snapshot.workflows.into(),
            fence: snapshot.fence.0,
            outcome: snapshot.outcome.map(Name),
        }
    }
}

value_class! {
    /// On a manager: the job timed out in this datacenter, so it is to be cancelled there. Told
    /// once per job.
    JobTimedOut {
        /// The job.
        job: JobId,
        /// Why.
        reason: Name<TimeoutReason>,
        /// How long it had been running, in seconds.
        elapsed_seconds: Seconds,
        /// The leadership under which this was found.
        fence: u64,
        /// When, on the clock of `now_ns`.
        at_ns: u64,
    }
}

value_class! {
    /// On a manager: the job makes no progress. Without a gate `JobTimedOut` follows; with one the
    /// gate has been told. Told once for each time it gets stuck.
    JobStuck {
        /// The job.
        job: JobId,
        /// How long it has made none, in seconds.
        since_progress_seconds: Seconds,
        /// The leadership under which this was found.
        fence: u64,
        /// When this was found, on the clock of `now_ns`.
        at_ns: u64,
    }
}

value_class! {
    /// On a manager: another manager leads the job under a higher fence, so it is no longer tracked
    /// here.
    JobSuperseded {
        /// The job.
        job: JobId,
        /// The leadership that this manager had.
        fence: u64,
    }
}

value_class! {
    /// On a manager: a worker has had all its extensions and the grace after them. It should be
    /// taken off the job.
    WorkerOverdue {
        /// The job.
        job: JobId,
        /// The worker.
        worker: WorkerId,
    }
}

value_class! {
    /// On a gate: the job timed out in all datacenters, which are being told. Told once per job.
    JobGlobalTimeout {
        /// The job.
        job: JobId,
        /// Why.
        reason: Name<TimeoutReason>,
        /// How long it had been running, in seconds.
        elapsed_seconds: Seconds,
        /// When, on the clock of `now_ns`.
        at_ns: u64,
    }
}

value_class! {
    /// On a gate: a datacenter refused the global timeout, because it had finished or has a new
    /// leader. In the second case the new leader is told at once.
    JobStatusCorrection {
        /// The job.
        job: JobId,
        /// The datacenter.
        datacenter: DatacenterText,
        /// How the job ended there; `None` when it still runs, under this fence.
        outcome: Option<Name<JobOutcome>>,
        /// The leadership that corrected.
        fence: u64,
    }
}

/// The Python object for an event about a job.
pub(crate) fn job_event_object(
    py: Python<'_>,
    event: jobs::JobEvent,
) -> PyResult<Bound<'_, PyAny>> {
    use jobs::JobEvent;
    match event {
        JobEvent::TimedOut { job, reason, elapsed, fence, at, .. } => JobTimedOut {
            job: JobId(job),
            reason: Name(reason),
            elapsed_seconds: Seconds(elapsed),
            fence: fence.0,
            at_ns: at.as_nanos(),
        }
        .into_bound_py_any(py),
        JobEvent::Stuck { job, since_progress, fence, at, .. } => JobStuck {
            job: JobId(job),
            since_progress_seconds: Seconds(since_progress),
            fence: fence.0,
            at_ns: at.as_nanos(),
        }
        .into_bound_py_any(py),
        JobEvent::Superseded { job, fence, .. } => {
            JobSuperseded { job: JobId(job), fence: fence.0 }.into_bound_py_any(py)
        }
        JobEvent::WorkerOverdue { job, worker, .. } => {
            WorkerOverdue { job: JobId(job), worker: WorkerId(worker) }.into_bound_py_any(py)
        }
        JobEvent::GlobalTimeout { job, reason, elapsed, at, .. } => JobGlobalTimeout {
            job: JobId(job),
            reason: Name(reason),
            elapsed_seconds: Seconds(elapsed),
            at_ns: at.as_nanos(),
        }
        .into_bound_py_any(py),
        JobEvent::StatusCorrection { job, datacenter, outcome, fence, .. } => JobStatusCorrection {
            job: JobId(job),
            datacenter: DatacenterText(datacenter),
            outcome: outcome.map(Name),
            fence: fence.0,
        }
        .into_bound_py_any(py),
        other => OtherEvent { text: format!("{other:?}") }.into_bound_py_any(py),
    }
}

value_class! {
    /// One step in the life of a workflow.
    WorkflowTransition {
        /// Where it came from.
        from_state: Name<WorkflowState>,
        /// Where it went.
        to_state: Name<WorkflowState>,
        /// When, on the clock of `now_ns`.
        at_ns: u64,
        /// Why, in the program's words, up to 120 bytes.
        reason: String,
    }
}

value_class! {
    /// A workflow made progress.
    WorkflowEvent {
        /// The workflow.
        workflow: WorkflowId,
        /// The job it is part of.
        job: JobId,
        /// Where it came from.
        from_state: Name<WorkflowState>,
        /// Where it is now; the same where it progressed within its state.
        to_state: Name<WorkflowState>,
        /// The state of all workflows of the job.
        counts: WorkflowCounts,
        /// When, on the clock of `now_ns`.
        at_ns: u64,
    }
}

impl WorkflowEvent {
    pub(crate) fn core(&self) -> jobs::WorkflowEvent {
        jobs::WorkflowEvent {
            workflow: self.workflow.0,
            job: self.job.0,
            from: self.from_state.0,
            to: self.to_state.0,
            counts: self.counts.core(),
            at: shoal_core::Instant::from_nanos(self.at_ns),
        }
    }
}

impl From<jobs::WorkflowEvent> for WorkflowEvent {
    fn from(event: jobs::WorkflowEvent) -> WorkflowEvent {
        WorkflowEvent {
            workflow: WorkflowId(event.workflow),
            job: JobId(event.job),
            from_state: Name(event.from),
            to_state: Name(event.to),
            counts: event.counts.into(),
            at_ns: event.at.as_nanos(),
        }
    }
}

/// A job that a manager begins to lead, from the arguments of a call.
pub(crate) fn job_start(
    job: &JobArgument,
    timeout: Seconds,
    gate: Option<AddressText>,
    datacenter_count: u16,
    fence: u64,
) -> JobStart {
    JobStart {
        gate: gate.map(|gate| gate.0),
        datacenter_count,
        fence: FenceToken(fence),
        ..JobStart::new(job.0, timeout.0)
    }
}

/// What a worker says about itself, from the arguments of a call.
pub(crate) fn extension_request(
    progress: f64,
    completed_items: Option<u64>,
    is_suspect: bool,
) -> ExtensionRequest {
    ExtensionRequest { completed_items, is_suspect, ..ExtensionRequest::new(progress) }
}

/// The datacenters that a job was sent to: names, or a mapping from names to managers that are
/// known or `None`.
pub(crate) fn datacenter_targets(
    datacenters: &Bound<'_, PyAny>,
) -> PyResult<Vec<DatacenterTarget>> {
    if datacenters.is_instance_of::<pyo3::types::PyString>() {
        let message = "datacenters are a list of names or a dict from names to managers, not a str";
        return Err(pyo3::exceptions::PyTypeError::new_err(message));
    }
    let leaders = datacenters.cast::<pyo3::types::PyMapping>().ok();
    let targets = datacenters.try_iter()?.map(|name| {
        let name = name?;
        let leader = match leaders {
            Some(leaders) => leaders.get_item(&name)?.extract::<Option<AddressText>>()?,
            None => None,
        };
        let datacenter = name.extract::<DatacenterText>()?.0;
        Ok(DatacenterTarget { datacenter, leader: leader.map(|leader| leader.0) })
    });
    targets.collect()
}

impl From<jobs::JobError> for Failure {
    fn from(error: jobs::JobError) -> Failure {
        Failure::Command(error.to_string())
    }
}

impl From<jobs::WorkflowError> for Failure {
    fn from(error: jobs::WorkflowError) -> Failure {
        Failure::Command(error.to_string())
    }
}
