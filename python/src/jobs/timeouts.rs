//! The jobs that one manager leads.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyDict;
use shoal_core::Instant;
use shoal_core::jobs::{FenceToken, JobOutcome, JobTracker, JobsConfig, LeaderChange};

use super::values::{
    JobSnapshot, WorkflowCounts, WorkflowEvent, extension_object, extension_request,
    job_event_object, job_start,
};
use super::{Sendto, message, sendto};
use crate::clock::time;
use crate::config::group;
use crate::convert::{AddressText, Seconds, Whole};
use crate::errors::Failure;
use crate::ids::{JobArgument, WorkerArgument};
use crate::names::Name;

/// The jobs that one manager leads: timed out by itself, or by the gate they came through.
///
/// After each call take what it brought about: `poll_message` until it returns `None`, then
/// `poll_event` until it returns `None`; then wait for a message or for `poll_timeout()`. Times are
/// nanoseconds of one clock, that of `time.monotonic_ns()` where none is given.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct JobTimeouts {
    tracker: Mutex<JobTracker>,
}

#[pymethods]
impl JobTimeouts {
    /// A tracker without jobs. `seed` decides the order of its tables and the spread of its
    /// reports.
    #[new]
    #[pyo3(signature = (*, config=None, seed=Whole(0), now_ns=None),
        text_signature = "(*, config=None, seed=0, now_ns=None)")]
    fn new(
        config: Option<&Bound<'_, PyAny>>,
        seed: Whole,
        now_ns: Option<Whole>,
    ) -> PyResult<JobTimeouts> {
        let config = group(config, "JobsConfig", JobsConfig::default)?;
        let tracker = JobTracker::new(config, seed.0, time(now_ns)).map_err(Failure::from)?;
        Ok(JobTimeouts { tracker: Mutex::new(tracker) })
    }

    /// Begins to lead a job. Returns whether it is new: starting it again changes nothing.
    #[pyo3(signature = (
        job, timeout_seconds, *, gate=None, datacenter_count=0, fence=1, now_ns=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "all but two are keywords in Python")]
    fn job_started(
        &self,
        py: Python<'_>,
        job: JobArgument,
        timeout_seconds: Seconds,
        gate: Option<AddressText>,
        datacenter_count: u16,
        fence: u64,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        let start = job_start(&job, timeout_seconds, gate, datacenter_count, fence);
        Ok(self.tracker(py)?.job_started(time(now_ns), &start).map_err(Failure::from)?)
    }

    /// Notes that a job made progress, and what its workflows are doing where the program says so.
    /// Returns whether the job is running here.
    #[pyo3(signature = (job, workflows=None, *, now_ns=None))]
    fn job_progress(
        &self,
        py: Python<'_>,
        job: JobArgument,
        workflows: Option<WorkflowCounts>,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        let workflows = workflows.map(|workflows| workflows.core());
        Ok(self.tracker(py)?.job_progress(time(now_ns), job.0, workflows))
    }

    /// Notes that a workflow moved, which is progress of its job.
    #[pyo3(signature = (event, *, now_ns=None))]
    fn workflow_moved(
        &self,
        py: Python<'_>,
        event: &WorkflowEvent,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        Ok(self.tracker(py)?.workflow_moved(time(now_ns), &event.core()))
    }

    /// Ends a job. Returns whether it was running here; ending it twice changes nothing.
    #[pyo3(signature = (job, outcome=Name(JobOutcome::Completed), *, now_ns=None),
        text_signature = "($self, job, outcome='completed', *, now_ns=None)")]
    fn job_finished(
        &self,
        py: Python<'_>,
        job: JobArgument,
        outcome: Name<JobOutcome>,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        Ok(self.tracker(py)?.job_finished(time(now_ns), job.0, outcome.0))
    }

    /// Negotiates an extension with a worker of a job: an `ExtensionGrant` or an `ExtensionDenial`.
    #[pyo3(signature = (
        job, worker, progress, *, completed_items=None, is_suspect=false, now_ns=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "all but three are keywords in Python")]
    fn worker_extension<'py>(
        &self,
        py: Python<'py>,
        job: JobArgument,
        worker: WorkerArgument,
        progress: f64,
        completed_items: Option<u64>,
        is_suspect: bool,
        now_ns: Option<Whole>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = extension_request(progress, completed_items, is_suspect);
        let now = time(now_ns);
        let answer = self.tracker(py)?.worker_extension(now, job.0, worker.0, &request);
        extension_object(py, answer)
    }

    /// Lets the extensions of a worker begin anew: it finished what it was busy with, or is well
    /// again. Returns whether it had any.
    #[pyo3(signature = (job, worker, *, now_ns=None))]
    fn worker_recovered(
        &self,
        py: Python<'_>,
        job: JobArgument,
        worker: WorkerArgument,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        Ok(self.tracker(py)?.worker_recovered(time(now_ns), job.0, worker.0))
    }

    /// Forgets the extensions of a worker that failed or left the job. Returns whether it had any.
    #[pyo3(signature = (job, worker, *, now_ns=None))]
    fn worker_removed(
        &self,
        py: Python<'_>,
        job: JobArgument,
        worker: WorkerArgument,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        Ok(self.tracker(py)?.worker_removed(time(now_ns), job.0, worker.0))
    }

    /// Takes over the lead of a job, from what was replicated here or kept over a restart. The
    /// fence becomes `term`, or one more than the snapshot's, whichever is higher. Returns whether
    /// anything changed.
    #[pyo3(signature = (snapshot, term=0, *, now_ns=None))]
    fn job_taken_over(
        &self,
        py: Python<'_>,
        snapshot: &JobSnapshot,
        term: u64,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        let change = LeaderChange::Gained { snapshot: snapshot.core(), term: FenceToken(term) };
        self.leader_changed(py, time(now_ns), snapshot.core().job, &change)
    }

    /// Gives up the lead of a job: it is forgotten without a word. Returns whether anything
    /// changed.
    #[pyo3(signature = (job, *, now_ns=None))]
    fn job_given_up(
        &self,
        py: Python<'_>,
        job: JobArgument,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        self.leader_changed(py, time(now_ns), job.0, &LeaderChange::Lost)
    }

    /// Lets all jobs that report to one gate report to another. Returns whether any did.
    fn gate_changed(&self, py: Python<'_>, old: AddressText, new: AddressText) -> PyResult<bool> {
        Ok(self.tracker(py)?.gate_changed(old.0, new.0).map_err(Failure::from)?)
    }

    /// What another host would need to go on; `None` when the job is not tracked here.
    #[pyo3(signature = (job, *, now_ns=None))]
    fn job_snapshot(
        &self,
        py: Python<'_>,
        job: JobArgument,
        now_ns: Option<Whole>,
    ) -> PyResult<Option<JobSnapshot>> {
        Ok(self.tracker(py)?.snapshot(time(now_ns), job.0).map(JobSnapshot::from))
    }

    /// When the job will be over time, extensions included; `None` when it is not running here.
    fn deadline_ns(&self, py: Python<'_>, job: JobArgument) -> PyResult<Option<u64>> {
        Ok(self.tracker(py)?.deadline(job.0).map(Instant::as_nanos))
    }

    /// Takes the bytes of a message that came from a gate at `source`. Returns whether they are
    /// one.
    #[pyo3(signature = (source, data, *, now_ns=None))]
    fn handle_message(
        &self,
        py: Python<'_>,
        source: AddressText,
        data: Cow<'_, [u8]>,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        let Some(message) = message(&data) else { return Ok(false) };
        self.tracker(py)?.handle_message(time(now_ns), source.0, &message);
        Ok(true)
    }

    /// The next message to send and where to, as the arguments of `socket.sendto`.
    #[pyo3(signature = (*, now_ns=None))]
    fn poll_message<'py>(
        &self,
        py: Python<'py>,
        now_ns: Option<Whole>,
    ) -> PyResult<Option<Sendto<'py>>> {
        let outgoing = self.tracker(py)?.poll_message(time(now_ns));
        Ok(outgoing.map(|outgoing| sendto(py, outgoing)))
    }

    /// The next event, oldest first; `None` when there is none.
    fn poll_event<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let event = self.tracker(py)?.poll_event();
        event.map(|event| job_event_object(py, event)).transpose()
    }

    /// Acts on every deadline that has passed.
    #[pyo3(signature = (*, now_ns=None))]
    fn handle_timeout(&self, py: Python<'_>, now_ns: Option<Whole>) -> PyResult<()> {
        self.tracker(py)?.handle_timeout(time(now_ns));
        Ok(())
    }

    /// When `handle_timeout` should be called next; `None` while nothing is tracked.
    fn poll_timeout(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.tracker(py)?.poll_timeout().map(Instant::as_nanos))
    }

    /// Jobs tracked, those included whose outcome is still being delivered.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.tracker(py)?.len())
    }

    /// What was counted so far, by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = *self.tracker(py)?.stats();
        let values = PyDict::new(py);
        for (name, value) in [
            ("started", stats.started),
            ("resumed", stats.resumed),
            ("finished", stats.finished),
            ("timed_out", stats.timed_out),
            ("fallbacks", stats.fallbacks),
            ("stuck", stats.stuck),
            ("recovered", stats.recovered),
            ("superseded", stats.superseded),
            ("reports_sent", stats.reports_sent),
            ("reports_repeated", stats.reports_repeated),
            ("reports_refused", stats.reports_refused),
            ("outcomes_abandoned", stats.outcomes_abandoned),
            ("outcomes_evicted", stats.outcomes_evicted),
            ("timeouts_refused", stats.timeouts_refused),
            ("timeouts_unknown", stats.timeouts_unknown),
            ("replies_dropped", stats.replies_dropped),
            ("misdirected", stats.misdirected),
        ] {
            values.set_item(name, value)?;
        }
        Ok(values)
    }
}

impl JobTimeouts {
    fn tracker(&self, py: Python<'_>) -> Result<MutexGuard<'_, JobTracker>, Failure> {
        self.tracker.lock_py_attached(py).map_err(|_| Failure::broken())
    }

    fn leader_changed(
        &self,
        py: Python<'_>,
        now: Instant,
        job: shoal_core::JobId,
        change: &LeaderChange,
    ) -> PyResult<bool> {
        Ok(self.tracker(py)?.leader_changed(now, job, change).map_err(Failure::from)?)
    }
}
