//! Routing by itself: which datacenter gets a job, and which manager inside it.
//!
//! The engine works with numbers of datacenters; here they have names, each of which gets a number
//! with its first mention. A program that routes many jobs over one picture prepares it once with
//! [`Candidates`]; a list of candidates does as well and is prepared for each call.

pub(crate) mod config;
pub(crate) mod values;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyString};
use shoal_core::routing::{
    DatacenterHealth, DatacenterId, DatacenterSignals, Datacenters, Decision, ManagerChoice,
    Reason, RouteError, RouteRequest, Router as CoreRouter, RouterConfig, classify,
};
use shoal_core::{Instant, config::DATACENTER_COUNT_MAX};

use self::values::{
    Choice, DatacenterCandidate, ManagerCandidate, Names, RoutingDecision, rtt_source,
};
use crate::clock::time;
use crate::config::group;
use crate::convert::{AddressText, DatacenterText, Whole};
use crate::errors::Failure;
use crate::ids::{JobArgument, JobId};
use crate::names::{Name, Named};

impl From<RouteError> for Failure {
    fn from(error: RouteError) -> Failure {
        Failure::Config(error.to_string())
    }
}

/// Tells routers apart, so that a picture prepared by one is not handed to another.
static NEXT_ROUTER: AtomicU64 = AtomicU64::new(0);

/// Candidates that a router has prepared for many decisions.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct Candidates {
    router: u64,
    candidates: Vec<shoal_core::routing::DatacenterCandidate>,
}

#[pymethods]
impl Candidates {
    fn __len__(&self) -> usize {
        self.candidates.len()
    }
}

/// Routes jobs to datacenters, and inside them to managers.
///
/// A job goes to the best health bucket that has an eligible datacenter; within it to the lowest
/// score, which is the upper bound of the round trip made worse by load and by doubt; and it stays
/// there until there is a reason to move. The same calls give the same decisions. Times are
/// nanoseconds of one clock, that of `time.monotonic_ns()` where none is given.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct Router {
    id: u64,
    names: Names,
    state: Mutex<State>,
}

struct State {
    router: CoreRouter,
    datacenters: Datacenters,
    decision: Decision,
}

/// Prepared candidates, or any iterable of them.
type Listed<'py> = Bound<'py, PyAny>;

#[pymethods]
impl Router {
    /// A router that knows no job yet.
    #[new]
    #[pyo3(signature = (*, config=None))]
    fn new(config: Option<&Bound<'_, PyAny>>) -> PyResult<Router> {
        let config = group(config, "RouterConfig", RouterConfig::default)?;
        let id = NEXT_ROUTER.fetch_add(1, Ordering::Relaxed);
        let state = State {
            // The seed only scatters the index of jobs; decisions do not depend on it.
            router: CoreRouter::new(config, id).map_err(Failure::from)?,
            datacenters: Datacenters::new(DATACENTER_COUNT_MAX),
            decision: Decision::default(),
        };
        Ok(Router { id, names: Names::default(), state: Mutex::new(state) })
    }

    /// Prepares candidates for many decisions.
    fn candidates(&self, py: Python<'_>, candidates: Listed<'_>) -> PyResult<Candidates> {
        let candidates = self.read_candidates(py, &candidates)?;
        Ok(Candidates { router: self.id, candidates })
    }

    /// Routes one job over these candidates.
    #[pyo3(signature = (job, candidates, preferred=None, *, now_ns=None))]
    fn route(
        &self,
        py: Python<'_>,
        job: JobArgument,
        candidates: Listed<'_>,
        preferred: Option<Bound<'_, PyAny>>,
        now_ns: Option<Whole>,
    ) -> PyResult<RoutingDecision> {
        let now = time(now_ns);
        let preferred = self.numbers(py, preferred.as_ref())?;
        if let Ok(prepared) = candidates.cast::<Candidates>() {
            let prepared = self.check(prepared.get())?;
            return self.decide(py, now, job, prepared, &preferred);
        }
        let listed = self.read_candidates(py, &candidates)?;
        self.decide(py, now, job, &listed, &preferred)
    }

    /// Routes many jobs over the same candidates. Each decision is the one that `route` would have
    /// made.
    #[pyo3(signature = (jobs, candidates, preferred=None, *, now_ns=None))]
    fn route_many(
        &self,
        py: Python<'_>,
        jobs: Vec<JobArgument>,
        candidates: Listed<'_>,
        preferred: Option<Bound<'_, PyAny>>,
        now_ns: Option<Whole>,
    ) -> PyResult<Vec<RoutingDecision>> {
        let now = time(now_ns);
        let preferred = self.numbers(py, preferred.as_ref())?;
        let listed;
        let candidates = if let Ok(prepared) = candidates.cast::<Candidates>() {
            self.check(prepared.get())?
        } else {
            listed = self.read_candidates(py, &candidates)?;
            listed.as_slice()
        };
        let requests: Vec<RouteRequest<'_>> =
            jobs.iter().map(|job| RouteRequest { job: job.0, preferred: &preferred }).collect();
        let mut decisions = Vec::with_capacity(requests.len());
        let mut state = self.state(py)?;
        let State { router, decision, .. } = &mut *state;
        let visit = |decision: &Decision| {
            decisions.push(RoutingDecision::new(decision.clone(), self.names.clone()));
        };
        router.route_batch(now, &requests, candidates, decision, visit).map_err(Failure::from)?;
        Ok(decisions)
    }

    /// Orders the managers of a datacenter for a job; the one that already accepted it leads.
    #[pyo3(signature = (job, datacenter, managers, *, now_ns=None))]
    fn choose_manager(
        &self,
        py: Python<'_>,
        job: JobArgument,
        datacenter: DatacenterText,
        managers: Vec<ManagerCandidate>,
        now_ns: Option<Whole>,
    ) -> PyResult<Choice> {
        let managers: Vec<_> = managers.iter().map(ManagerCandidate::core).collect();
        let datacenter = self.number(py, datacenter)?;
        let mut choice = ManagerChoice::default();
        let state = self.state(py)?;
        let now = time(now_ns);
        let chosen = state.router.choose_manager(now, job.0, datacenter, &managers, &mut choice);
        chosen.map_err(Failure::from)?;
        Ok(Choice(choice))
    }

    /// Says that the round trips of the candidates are predicted by a coordinate that has taken so
    /// many samples and has this relative error, so that they are not relied on too early. Without
    /// arguments: that they are measured, which is also the case before the first call.
    #[pyo3(signature = (*, sample_count=None, error=None))]
    fn set_rtt_source(
        &self,
        py: Python<'_>,
        sample_count: Option<u32>,
        error: Option<f64>,
    ) -> PyResult<()> {
        let source = rtt_source(sample_count, error)?;
        self.state(py)?.router.set_rtt_source(source);
        Ok(())
    }

    /// Notes that a job was sent to a datacenter, so that its latency can be observed.
    #[pyo3(signature = (job, datacenter, *, now_ns=None))]
    fn record_dispatch(
        &self,
        py: Python<'_>,
        job: JobArgument,
        datacenter: DatacenterText,
        now_ns: Option<Whole>,
    ) -> PyResult<()> {
        let datacenter = self.number(py, datacenter)?;
        self.state(py)?.router.record_dispatch(time(now_ns), job.0, datacenter);
        Ok(())
    }

    /// Notes which manager of a datacenter accepted a job.
    #[pyo3(signature = (job, datacenter, manager, *, now_ns=None))]
    fn record_accepted(
        &self,
        py: Python<'_>,
        job: JobArgument,
        datacenter: DatacenterText,
        manager: AddressText,
        now_ns: Option<Whole>,
    ) -> PyResult<()> {
        let datacenter = self.number(py, datacenter)?;
        self.state(py)?.router.record_accepted(time(now_ns), job.0, datacenter, manager.0);
        Ok(())
    }

    /// Notes that a job ended in a datacenter it was sent to. A success is observed and its latency
    /// returned, in ms; a failure tells nothing about latency.
    #[pyo3(signature = (job, datacenter, *, success=true, now_ns=None))]
    fn record_completion(
        &self,
        py: Python<'_>,
        job: JobArgument,
        datacenter: DatacenterText,
        success: bool,
        now_ns: Option<Whole>,
    ) -> PyResult<Option<f64>> {
        let datacenter = self.number(py, datacenter)?;
        Ok(self.state(py)?.router.record_completion(time(now_ns), job.0, datacenter, success))
    }

    /// Takes note of a job latency that the program measured itself, in ms.
    #[pyo3(signature = (datacenter, latency_ms, *, now_ns=None))]
    fn record_latency(
        &self,
        py: Python<'_>,
        datacenter: DatacenterText,
        latency_ms: f64,
        now_ns: Option<Whole>,
    ) -> PyResult<()> {
        let datacenter = self.number(py, datacenter)?;
        self.state(py)?.router.record_latency(time(now_ns), datacenter, latency_ms);
        Ok(())
    }

    /// Notes that a datacenter failed a job: for a while that counts against it for this job.
    #[pyo3(signature = (job, datacenter, *, now_ns=None))]
    fn record_failure(
        &self,
        py: Python<'_>,
        job: JobArgument,
        datacenter: DatacenterText,
        now_ns: Option<Whole>,
    ) -> PyResult<()> {
        let datacenter = self.number(py, datacenter)?;
        self.state(py)?.router.record_failure(time(now_ns), job.0, datacenter);
        Ok(())
    }

    /// Forgets a job, for example because it ended. Returns whether it was known.
    fn forget_job(&self, py: Python<'_>, job: JobArgument) -> PyResult<bool> {
        Ok(self.state(py)?.router.forget_job(job.0))
    }

    /// Takes their primary away from all jobs that have one of these datacenters, for example
    /// because a partition cut them off. Returns those jobs.
    fn reset_datacenters(
        &self,
        py: Python<'_>,
        datacenters: Bound<'_, PyAny>,
    ) -> PyResult<Vec<JobId>> {
        let datacenters = self.numbers(py, Some(&datacenters))?;
        let mut jobs = Vec::new();
        self.state(py)?.router.reset_datacenters(&datacenters, |job| jobs.push(JobId(job)));
        Ok(jobs)
    }

    /// Forgets jobs that were not heard of for their time to live. Returns how many. Routing does
    /// this by itself, two jobs at a time.
    #[pyo3(signature = (*, now_ns=None))]
    fn expire_jobs(&self, py: Python<'_>, now_ns: Option<Whole>) -> PyResult<usize> {
        Ok(self.state(py)?.router.expire_jobs(time(now_ns), usize::MAX))
    }

    /// The datacenter that a job has as its primary.
    fn primary(&self, py: Python<'_>, job: JobArgument) -> PyResult<Option<DatacenterText>> {
        let state = self.state(py)?;
        let primary = state.router.job(job.0).and_then(|record| record.tenure().primary());
        Ok(primary.and_then(|id| state.datacenters.name(id)).map(|name| DatacenterText(*name)))
    }

    /// The number of jobs that are remembered.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.state(py)?.router.job_count())
    }

    /// What was counted so far: totals by name, and decisions by reason.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (stats, jobs) = {
            let state = self.state(py)?;
            (state.router.stats(), state.router.job_count())
        };
        let values = PyDict::new(py);
        values.set_item("jobs", jobs)?;
        values.set_item("switches", stats.switches)?;
        values.set_item("jobs_evicted", stats.jobs_evicted)?;
        values.set_item("jobs_expired", stats.jobs_expired)?;
        values.set_item("cooldowns_dropped", stats.cooldowns_dropped)?;
        values.set_item("placements_dropped", stats.placements_dropped)?;
        values.set_item("latencies_refused", stats.latencies_refused)?;
        for &reason in Reason::ALL.iter() {
            values.set_item(format!("decisions_{}", reason.text()), stats.decisions_for(reason))?;
        }
        Ok(values)
    }
}

impl Router {
    fn state(&self, py: Python<'_>) -> Result<MutexGuard<'_, State>, Failure> {
        self.state.lock_py_attached(py).map_err(|_| Failure::broken())
    }

    fn decide(
        &self,
        py: Python<'_>,
        now: Instant,
        job: JobArgument,
        candidates: &[shoal_core::routing::DatacenterCandidate],
        preferred: &[DatacenterId],
    ) -> PyResult<RoutingDecision> {
        let mut state = self.state(py)?;
        let State { router, decision, .. } = &mut *state;
        router.route(now, job.0, candidates, preferred, decision).map_err(Failure::from)?;
        Ok(RoutingDecision::new(decision.clone(), self.names.clone()))
    }

    fn check<'a>(
        &self,
        prepared: &'a Candidates,
    ) -> Result<&'a [shoal_core::routing::DatacenterCandidate], Failure> {
        if prepared.router == self.id {
            return Ok(&prepared.candidates);
        }
        Err(Failure::Lifecycle("these candidates were prepared by another router"))
    }

    fn read_candidates(
        &self,
        py: Python<'_>,
        candidates: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<shoal_core::routing::DatacenterCandidate>> {
        let candidates: Vec<Bound<'_, DatacenterCandidate>> = candidates
            .try_iter()?
            .map(|candidate| Ok(candidate?.cast_into::<DatacenterCandidate>()?))
            .collect::<PyResult<_>>()?;
        let mut state = self.state(py)?;
        let numbered = candidates.iter().map(|candidate| {
            let candidate = candidate.get();
            let number = self.intern(&mut state.datacenters, candidate.datacenter)?;
            Ok(candidate.core(number))
        });
        Ok(numbered.collect::<Result<_, Failure>>()?)
    }

    fn intern(
        &self,
        datacenters: &mut Datacenters,
        name: DatacenterText,
    ) -> Result<DatacenterId, Failure> {
        let known = datacenters.len();
        let number = datacenters.intern(name.0);
        let number = number.map_err(|error| Failure::Command(error.to_string()))?;
        if datacenters.len() > known {
            self.names.add(name.0);
        }
        Ok(number)
    }

    fn number(&self, py: Python<'_>, name: DatacenterText) -> Result<DatacenterId, Failure> {
        self.intern(&mut self.state(py)?.datacenters, name)
    }

    /// The numbers of several datacenters, none when left out.
    fn numbers(
        &self,
        py: Python<'_>,
        names: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<DatacenterId>> {
        let Some(names) = names else { return Ok(Vec::new()) };
        if names.is_instance_of::<PyString>() {
            let message = "datacenters are given as a list or set of names, not as one str";
            return Err(pyo3::exceptions::PyTypeError::new_err(message));
        }
        let names = names.try_iter()?.map(|name| name?.extract::<DatacenterText>());
        let names: Vec<DatacenterText> = names.collect::<PyResult<_>>()?;
        let mut state = self.state(py)?;
        let numbers = names.into_iter().map(|name| self.intern(&mut state.datacenters, name));
        Ok(numbers.collect::<Result<_, Failure>>()?)
    }
}

/// How well a datacenter is, from what is known of its managers and workers.
#[pyfunction]
#[pyo3(signature = (
    *, manager_count, alive_manager_count, worker_count, healthy_worker_count, available_cores
))]
pub(crate) fn classify_datacenter(
    manager_count: u32,
    alive_manager_count: u32,
    worker_count: u32,
    healthy_worker_count: u32,
    available_cores: u32,
) -> Name<DatacenterHealth> {
    Name(classify(&DatacenterSignals {
        manager_count,
        alive_manager_count,
        worker_count,
        healthy_worker_count,
        available_cores,
    }))
}
