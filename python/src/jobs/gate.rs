//! The jobs that one gate watches over all their datacenters.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyDict;
use shoal_core::Instant;
use shoal_core::jobs::{GateJobStart, GateJobTracker, JobsConfig};

use super::values::{datacenter_targets, job_event_object};
use super::{Sendto, message, sendto};
use crate::clock::time;
use crate::config::group;
use crate::convert::{AddressText, DatacenterText, Seconds, Whole};
use crate::errors::Failure;
use crate::ids::JobArgument;

/// The jobs that one gate watches: timed out in all datacenters at once.
///
/// Driven like `JobTimeouts`. Managers introduce jobs that another gate watched before.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct GateJobTimeouts {
    tracker: Mutex<GateJobTracker>,
}

#[pymethods]
impl GateJobTimeouts {
    /// A tracker without jobs. `seed` decides the order of its tables and the spread of its
    /// messages.
    #[new]
    #[pyo3(signature = (*, config=None, seed=Whole(0), now_ns=None),
        text_signature = "(*, config=None, seed=0, now_ns=None)")]
    fn new(
        config: Option<&Bound<'_, PyAny>>,
        seed: Whole,
        now_ns: Option<Whole>,
    ) -> PyResult<GateJobTimeouts> {
        let config = group(config, "JobsConfig", JobsConfig::default)?;
        let tracker = GateJobTracker::new(config, seed.0, time(now_ns)).map_err(Failure::from)?;
        Ok(GateJobTimeouts { tracker: Mutex::new(tracker) })
    }

    /// Begins to watch a job. `datacenters` are names, or a dict from names to the managers that
    /// accepted the job, or `None` where that is not known. Returns whether it is new; starting a
    /// known one again adds the datacenters that are missing.
    #[pyo3(signature = (job, timeout_seconds, datacenters, *, now_ns=None))]
    fn gate_job_started(
        &self,
        py: Python<'_>,
        job: JobArgument,
        timeout_seconds: Seconds,
        datacenters: &Bound<'_, PyAny>,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        let targets = datacenter_targets(datacenters)?;
        let start = GateJobStart { job: job.0, timeout: timeout_seconds.0, datacenters: &targets };
        Ok(self.tracker(py)?.job_started(time(now_ns), &start).map_err(Failure::from)?)
    }

    /// Stops watching a job, whatever its datacenters do. Returns whether it was watched.
    #[pyo3(signature = (job, *, now_ns=None))]
    fn job_finished(
        &self,
        py: Python<'_>,
        job: JobArgument,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        Ok(self.tracker(py)?.job_finished(time(now_ns), job.0))
    }

    /// Takes the bytes of a message that a manager of this datacenter sent from `source`. Returns
    /// whether they are one.
    #[pyo3(signature = (source, datacenter, data, *, now_ns=None))]
    fn handle_message(
        &self,
        py: Python<'_>,
        source: AddressText,
        datacenter: DatacenterText,
        data: Cow<'_, [u8]>,
        now_ns: Option<Whole>,
    ) -> PyResult<bool> {
        let Some(message) = message(&data) else { return Ok(false) };
        self.tracker(py)?.handle_message(time(now_ns), source.0, &datacenter.0, &message);
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

    /// When `handle_timeout` should be called next; `None` while nothing is watched.
    fn poll_timeout(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.tracker(py)?.poll_timeout().map(Instant::as_nanos))
    }

    /// Jobs remembered, those included that are over.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.tracker(py)?.len())
    }

    /// What was counted so far, by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = *self.tracker(py)?.stats();
        let values = PyDict::new(py);
        for (name, value) in [
            ("started", stats.started),
            ("adopted", stats.adopted),
            ("timed_out", stats.timed_out),
            ("reports_received", stats.reports_received),
            ("reports_repeated", stats.reports_repeated),
            ("reports_superseded", stats.reports_superseded),
            ("reports_refused", stats.reports_refused),
            ("timeouts_sent", stats.timeouts_sent),
            ("timeouts_repeated", stats.timeouts_repeated),
            ("timeouts_undelivered", stats.timeouts_undelivered),
            ("corrections", stats.corrections),
            ("evicted", stats.evicted),
            ("replies_dropped", stats.replies_dropped),
            ("misdirected", stats.misdirected),
        ] {
            values.set_item(name, value)?;
        }
        Ok(values)
    }
}

impl GateJobTimeouts {
    fn tracker(&self, py: Python<'_>) -> Result<MutexGuard<'_, GateJobTracker>, Failure> {
        self.tracker.lock_py_attached(py).map_err(|_| Failure::broken())
    }
}
