//! The life of workflows, the parts of a job.

use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyDict;
use shoal_core::jobs::{JobsConfig, WorkflowState, WorkflowStateMachine as Machine};

use super::values::{WorkflowCounts, WorkflowEvent, WorkflowTransition};
use crate::clock::time;
use crate::config::group;
use crate::convert::{Seconds, Whole};
use crate::errors::Failure;
use crate::ids::{JobArgument, JobId, WorkflowArgument, WorkflowId};
use crate::names::Name;

/// A workflow, its state, and how long it has made no progress.
type Stuck = (WorkflowId, Name<WorkflowState>, Seconds);

/// The states of workflows, which steps are legal, and which of them are stuck.
///
/// Every step is told by `poll_event`; hand it to `JobTimeouts.workflow_moved`, which is how a job
/// that works is known to progress. Times are nanoseconds of one clock, that of
/// `time.monotonic_ns()` where none is given.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct WorkflowStateMachine {
    machine: Mutex<Machine>,
}

#[pymethods]
impl WorkflowStateMachine {
    /// A machine without workflows. `seed` decides the order of its tables.
    #[new]
    #[pyo3(signature = (*, config=None, seed=Whole(0)),
        text_signature = "(*, config=None, seed=0)")]
    fn new(config: Option<&Bound<'_, PyAny>>, seed: Whole) -> PyResult<WorkflowStateMachine> {
        let config = group(config, "JobsConfig", JobsConfig::default)?;
        let machine = Machine::new(&config, seed.0).map_err(Failure::from)?;
        Ok(WorkflowStateMachine { machine: Mutex::new(machine) })
    }

    /// Adds a workflow that is pending. Returns whether it is new.
    #[pyo3(signature = (workflow, job, *, now_ns=None))]
    fn add(
        &self,
        py: Python<'_>,
        workflow: WorkflowArgument,
        job: JobArgument,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        Ok(self.machine(py)?.add(time(now_ns), workflow.0, job.0).map_err(Failure::from)?)
    }

    /// Moves a workflow to another state, which is progress. Raises `CommandError` when the step is
    /// not legal or the workflow is not known.
    #[pyo3(signature = (workflow, state, reason="", *, now_ns=None))]
    fn transition(
        &self,
        py: Python<'_>,
        workflow: WorkflowArgument,
        state: Name<WorkflowState>,
        reason: &str,
        now_ns: Option<Whole>,
    ) -> PyResult<()> {
        let moved = self.machine(py)?.transition(time(now_ns), workflow.0, state.0, reason);
        moved.map(drop).map_err(|error| Failure::from(error).into())
    }

    /// Notes that a workflow progressed within its state. Returns whether it is known and has not
    /// ended.
    #[pyo3(signature = (workflow, *, now_ns=None))]
    fn progress(
        &self,
        py: Python<'_>,
        workflow: WorkflowArgument,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        Ok(self.machine(py)?.progress(time(now_ns), workflow.0))
    }

    /// The next event, oldest first; `None` when there is none.
    fn poll_event(&self, py: Python<'_>) -> PyResult<Option<WorkflowEvent>> {
        Ok(self.machine(py)?.poll_event().map(WorkflowEvent::from))
    }

    /// Events lost because the program did not take them.
    #[getter]
    fn dropped_events(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.machine(py)?.dropped_events())
    }

    /// Where a workflow stands; `None` when it is not known.
    fn state(
        &self,
        py: Python<'_>,
        workflow: WorkflowArgument,
    ) -> PyResult<Option<Name<WorkflowState>>> {
        Ok(self.machine(py)?.state(workflow.0).map(Name))
    }

    /// The job a workflow is part of; `None` when it is not known.
    fn job(&self, py: Python<'_>, workflow: WorkflowArgument) -> PyResult<Option<JobId>> {
        Ok(self.machine(py)?.job(workflow.0).map(JobId))
    }

    /// The last steps of a workflow, oldest first, as many as are remembered.
    fn history(
        &self,
        py: Python<'_>,
        workflow: WorkflowArgument,
    ) -> PyResult<Vec<WorkflowTransition>> {
        let machine = self.machine(py)?;
        let steps = machine.history(workflow.0).map(|step| WorkflowTransition {
            from_state: Name(step.from),
            to_state: Name(step.to),
            at_ns: step.at.as_nanos(),
            reason: step.reason.to_string(),
        });
        Ok(steps.collect())
    }

    /// How long a workflow has made no progress; `None` when it is not known.
    #[pyo3(signature = (workflow, *, now_ns=None))]
    fn seconds_since_progress(
        &self,
        py: Python<'_>,
        workflow: WorkflowArgument,
        now_ns: Option<Whole>,
    ) -> PyResult<Option<Seconds>> {
        Ok(self.machine(py)?.time_since_progress(time(now_ns), workflow.0).map(Seconds))
    }

    /// The workflows that have not ended and have made no progress for so many seconds, each with
    /// its state and with how many seconds it has made none, the longest first.
    #[pyo3(signature = (seconds, *, now_ns=None))]
    fn stuck(
        &self,
        py: Python<'_>,
        seconds: Seconds,
        now_ns: Option<Whole>,
    ) -> PyResult<Vec<Stuck>> {
        let machine = self.machine(py)?;
        let stuck = machine.stuck_workflows(time(now_ns), seconds.0);
        Ok(stuck.map(|(id, state, since)| (WorkflowId(id), Name(state), Seconds(since))).collect())
    }

    /// How many workflows are in each state.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let numbers = {
            let machine = self.machine(py)?;
            WorkflowState::ALL.map(|state| machine.count(state))
        };
        let counts = PyDict::new(py);
        for (state, number) in WorkflowState::ALL.into_iter().zip(numbers) {
            counts.set_item(Name(state), number)?;
        }
        Ok(counts)
    }

    /// The state of the workflows of a job, all zero when none is known.
    fn job_counts(&self, py: Python<'_>, job: JobArgument) -> PyResult<WorkflowCounts> {
        Ok(self.machine(py)?.job_counts(job.0).into())
    }

    /// The workflows of a job, the newest first.
    fn workflows_of(&self, py: Python<'_>, job: JobArgument) -> PyResult<Vec<WorkflowId>> {
        Ok(self.machine(py)?.workflows_of(job.0).map(WorkflowId).collect())
    }

    /// The workflows that are in this state, in no particular order.
    fn workflows_in(
        &self,
        py: Python<'_>,
        state: Name<WorkflowState>,
    ) -> PyResult<Vec<WorkflowId>> {
        let machine = self.machine(py)?;
        Ok(machine.workflows_in(&[state.0]).map(WorkflowId).collect())
    }

    /// Forgets a workflow. Returns whether it was known.
    fn remove(&self, py: Python<'_>, workflow: WorkflowArgument) -> PyResult<bool> {
        Ok(self.machine(py)?.remove(workflow.0))
    }

    /// Forgets all workflows of a job, when the job is over. Returns how many there were.
    fn remove_job(&self, py: Python<'_>, job: JobArgument) -> PyResult<usize> {
        Ok(self.machine(py)?.remove_job(job.0))
    }

    /// Workflows known.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.machine(py)?.len())
    }
}

impl WorkflowStateMachine {
    fn machine(&self, py: Python<'_>) -> Result<MutexGuard<'_, Machine>, Failure> {
        self.machine.lock_py_attached(py).map_err(|_| Failure::broken())
    }
}
