//! What a router is told and what it answers.

use std::sync::{Arc, RwLock};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use shoal_core::routing::{
    Bucket, CircuitState, DatacenterHealth, DatacenterId, Decision, Exclusion, ManagerChoice,
    Ranked, Reason, Score,
};
use shoal_core::{Address, DatacenterName, Route};

use crate::clock::time;
use crate::convert::{AddressText, DatacenterText, Whole};
use crate::ids::JobId;
use crate::names::Name;
use crate::values::{Rtt, value_class};

value_class! {
    /// A datacenter that could take a job, as the program knows it now.
    DatacenterCandidate {
        /// Its name.
        datacenter: DatacenterText,
        /// Managers that are registered there.
        manager_count: u32,
        /// Managers among them whose circuit breaker is not open; all of them when left out.
        usable_manager_count: Option<u32>,
        /// Cores that are free on healthy workers.
        available_cores: u32,
        /// Cores of all registered workers.
        total_cores: u32,
        /// Jobs that wait there.
        queue_depth: u32,
        /// The round trip to its leader, where something is known.
        rtt: Option<Rtt>,
        /// How well it is; see `classify_datacenter`.
        health: Name<DatacenterHealth>,
        /// When that was last heard, in nanoseconds of the clock of `now_ns`; old news demotes. The
        /// present when left out.
        updated_at_ns: Option<Whole>,
        /// The share of managers whose circuit breaker is open, 0 to 1.
        circuit_pressure: f64,
        /// A weight on the score, from 1, for what health does not say. Mostly 1.
        severity: f64,
        /// How long a job is expected to take there, in ms. Only the limit `latency_max_ms` reads
        /// it.
        expected_latency_ms: Option<f64>,
        /// Requests per second it is expected to serve. Only the limit `throughput_min_per_second`
        /// reads it.
        expected_throughput_per_second: Option<f64>,
    }
    signature (
        datacenter, manager_count, usable_manager_count=None, available_cores=0, total_cores=0,
        queue_depth=0, rtt=None, health=Name(DatacenterHealth::Healthy), updated_at_ns=None,
        circuit_pressure=0.0, severity=1.0, expected_latency_ms=None,
        expected_throughput_per_second=None
    ) "(datacenter, manager_count, usable_manager_count=None, available_cores=0, total_cores=0, \
        queue_depth=0, rtt=None, health='healthy', updated_at_ns=None, circuit_pressure=0.0, \
        severity=1.0, expected_latency_ms=None, expected_throughput_per_second=None)";
}

impl DatacenterCandidate {
    pub(super) fn core(
        &self,
        datacenter: DatacenterId,
    ) -> shoal_core::routing::DatacenterCandidate {
        shoal_core::routing::DatacenterCandidate {
            datacenter,
            health: self.health.0,
            updated_at: time(self.updated_at_ns),
            available_cores: self.available_cores,
            total_cores: self.total_cores,
            queue_depth: self.queue_depth,
            manager_count: self.manager_count,
            usable_manager_count: self.usable_manager_count.unwrap_or(self.manager_count),
            circuit_pressure: self.circuit_pressure,
            severity: self.severity,
            rtt: self.rtt.as_ref().map(Rtt::core),
            expected_latency_ms: self.expected_latency_ms,
            expected_throughput_per_second: self.expected_throughput_per_second,
        }
    }
}

value_class! {
    /// A manager that could take a job inside its datacenter.
    ManagerCandidate {
        /// Where it is reached, `"ip:port"`, which is also who it is.
        address: AddressText,
        /// Cores that are free on its workers.
        available_cores: u32,
        /// Cores of all its workers.
        total_cores: u32,
        /// Jobs that wait there.
        queue_depth: u32,
        /// The round trip to it, where something is known.
        rtt: Option<Rtt>,
        /// Its circuit breaker.
        circuit: Name<CircuitState>,
        /// When its last heartbeat arrived, in nanoseconds of the clock of `now_ns`. The present
        /// when left out.
        heartbeat_at_ns: Option<Whole>,
    }
    signature (
        address, available_cores=0, total_cores=0, queue_depth=0, rtt=None,
        circuit=Name(CircuitState::Closed), heartbeat_at_ns=None
    ) "(address, available_cores=0, total_cores=0, queue_depth=0, rtt=None, circuit='closed', \
        heartbeat_at_ns=None)";
}

impl ManagerCandidate {
    pub(super) fn core(&self) -> shoal_core::routing::ManagerCandidate {
        shoal_core::routing::ManagerCandidate {
            address: self.address.0,
            heartbeat_at: time(self.heartbeat_at_ns),
            circuit: self.circuit.0,
            available_cores: self.available_cores,
            total_cores: self.total_cores,
            queue_depth: self.queue_depth,
            rtt: self.rtt.as_ref().map(Rtt::core),
        }
    }
}

value_class! {
    /// A score and what it is made of. Lower is better.
    RoutingScore {
        /// The score for this job: `base` times `multiplier`.
        value: f64,
        /// The latency that was scored, in ms: the upper bound of the round trip or its stand-in.
        latency_ms: f64,
        /// How much worse load makes it, from 1.
        load_factor: f64,
        /// How much worse it makes it that the round trip is not well known, from 1.
        quality_penalty: f64,
        /// The candidate's own weight, from 1.
        severity: f64,
        /// The score of the datacenter as such.
        base: f64,
        /// What this job makes of it: below 1 where it prefers the datacenter, above 1 where it
        /// failed there lately.
        multiplier: f64,
    }
}

impl From<Score> for RoutingScore {
    fn from(score: Score) -> RoutingScore {
        RoutingScore {
            value: score.value(),
            latency_ms: score.latency_ms,
            load_factor: score.load_factor,
            quality_penalty: score.quality_penalty,
            severity: score.severity,
            base: score.base,
            multiplier: score.multiplier,
        }
    }
}

value_class! {
    /// One eligible datacenter in a decision.
    RankedDatacenter {
        /// Its name.
        datacenter: DatacenterText,
        /// The bucket it was routed in.
        bucket: Name<Bucket>,
        /// Its score and what that is made of.
        score: RoutingScore,
        /// Whether it was demoted to its bucket because its health is old news.
        stale_health: bool,
        /// Whether its round trip is known; otherwise a cautious stand-in was scored.
        rtt_known: bool,
        /// Whether the job prefers it.
        is_preferred: bool,
        /// Whether it failed the job lately.
        is_cooling: bool,
    }
}

value_class! {
    /// A datacenter that may not take the job.
    ExcludedDatacenter {
        /// Its name.
        datacenter: DatacenterText,
        /// Why not.
        reason: Name<Exclusion>,
    }
}

value_class! {
    /// One eligible manager in a choice.
    RankedManager {
        /// Where it is reached, `"ip:port"`.
        address: AddressText,
        /// Its score and what that is made of.
        score: RoutingScore,
        /// Whether its round trip is known; otherwise a cautious stand-in was scored.
        rtt_known: bool,
    }
}

value_class! {
    /// A manager that may not take the job.
    ExcludedManager {
        /// Where it is reached, `"ip:port"`.
        address: AddressText,
        /// Why not.
        reason: Name<Exclusion>,
    }
}

/// The names of datacenters by their numbers. Shared by a router and its decisions, which outlive
/// later additions: numbers are never given to another name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<RwLock<Vec<DatacenterName>>>);

impl Names {
    pub(super) fn add(&self, name: DatacenterName) {
        self.0.write().expect("writing a name does not fail").push(name);
    }

    fn of(&self, datacenter: DatacenterId) -> DatacenterText {
        let names = self.0.read().expect("writing a name does not fail");
        DatacenterText(names[datacenter.index()])
    }
}

/// The outcome of routing one job, with everything that explains it.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct RoutingDecision {
    decision: Decision,
    names: Names,
    manager: Option<Address>,
}

impl RoutingDecision {
    pub(super) fn new(decision: Decision, names: Names) -> RoutingDecision {
        RoutingDecision { decision, names, manager: None }
    }

    /// What a node decided.
    pub(crate) fn of_route(route: Route) -> RoutingDecision {
        let (decision, names, manager) = route.into_parts();
        RoutingDecision { decision, names: Names(Arc::new(RwLock::new(names))), manager }
    }

    fn ranked(&self, ranked: &Ranked) -> RankedDatacenter {
        RankedDatacenter {
            datacenter: self.names.of(ranked.datacenter),
            bucket: Name(ranked.bucket),
            score: ranked.score.into(),
            stale_health: ranked.stale_health,
            rtt_known: ranked.rtt_known,
            is_preferred: ranked.is_preferred,
            is_cooling: ranked.is_cooling,
        }
    }
}

#[pymethods]
impl RoutingDecision {
    /// The job.
    #[getter]
    fn job(&self) -> Option<JobId> {
        self.decision.job().map(JobId)
    }

    /// Where to send the job: the first of the primaries; `None` when no datacenter may take it.
    #[getter]
    fn selected(&self) -> Option<DatacenterText> {
        self.decision.selected().map(|datacenter| self.names.of(datacenter))
    }

    /// The manager there to send the job to, where a node decided; a `Router` does not know it.
    #[getter]
    fn manager(&self) -> Option<AddressText> {
        self.manager.map(AddressText)
    }

    /// Why it came out like this.
    #[getter]
    fn reason(&self) -> Name<Reason> {
        Name(self.decision.reason())
    }

    /// The bucket that the primaries come from; `None` when no datacenter may take the job.
    #[getter]
    fn bucket(&self) -> Option<Name<Bucket>> {
        self.decision.bucket().map(Name)
    }

    /// How many eligible datacenters each bucket holds.
    #[getter]
    fn bucket_counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        for bucket in Bucket::ALL {
            counts.set_item(Name(bucket), self.decision.bucket_counts().count(bucket))?;
        }
        Ok(counts)
    }

    /// Whether datacenters were ranked by capacity because round trips are not known yet.
    #[getter]
    fn is_bootstrap(&self) -> bool {
        self.decision.is_bootstrap()
    }

    /// The primary that the job had before.
    #[getter]
    fn previous(&self) -> Option<DatacenterText> {
        self.decision.previous().map(|datacenter| self.names.of(datacenter))
    }

    /// Whether the job moved from one primary to another. A first choice is no move.
    #[getter]
    fn switched(&self) -> bool {
        self.decision.switched()
    }

    /// The datacenters to send the job to, the selected one first; all of one bucket.
    #[getter]
    fn primaries(&self) -> Vec<RankedDatacenter> {
        self.decision.primaries().map(|ranked| self.ranked(ranked)).collect()
    }

    /// The datacenters to try when the primaries fail, first to try first.
    #[getter]
    fn fallbacks(&self) -> Vec<RankedDatacenter> {
        self.decision.fallbacks().map(|ranked| self.ranked(ranked)).collect()
    }

    /// The datacenters that may not take the job.
    #[getter]
    fn excluded(&self) -> Vec<ExcludedDatacenter> {
        let excluded = self.decision.excluded().iter().map(|one| ExcludedDatacenter {
            datacenter: self.names.of(one.datacenter),
            reason: Name(one.reason),
        });
        excluded.collect()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let selected = self.selected().into_pyobject(py)?.repr()?.to_string();
        let reason = Name(self.decision.reason()).into_pyobject(py)?.repr()?.to_string();
        Ok(format!("<RoutingDecision selected={selected} reason={reason}>"))
    }
}

/// The managers of a datacenter in the order in which a job should try them.
#[pyclass(frozen, module = "shoal", name = "ManagerChoice")]
pub(crate) struct Choice(pub(super) ManagerChoice);

#[pymethods]
impl Choice {
    /// Where to send the job: the first of the managers; `None` when none may take it.
    #[getter]
    fn selected(&self) -> Option<AddressText> {
        self.0.selected().map(|manager| AddressText(manager.address))
    }

    /// Whether the first one leads because it already has the job.
    #[getter]
    fn is_sticky(&self) -> bool {
        self.0.is_sticky()
    }

    /// Every eligible manager, first to try first.
    #[getter]
    fn managers(&self) -> Vec<RankedManager> {
        let managers = self.0.chain().map(|manager| RankedManager {
            address: AddressText(manager.address),
            score: manager.score.into(),
            rtt_known: manager.rtt_known,
        });
        managers.collect()
    }

    /// The managers that may not take the job.
    #[getter]
    fn excluded(&self) -> Vec<ExcludedManager> {
        let excluded = self.0.excluded().iter().map(|one| ExcludedManager {
            address: AddressText(one.address),
            reason: Name(one.reason),
        });
        excluded.collect()
    }
}

/// A round trip source: measured by the program, or predicted by a coordinate of this quality.
pub(super) fn rtt_source(
    sample_count: Option<u32>,
    error: Option<f64>,
) -> PyResult<shoal_core::routing::RttSource> {
    use shoal_core::routing::RttSource;
    match (sample_count, error) {
        (None, None) => Ok(RttSource::Measured),
        (Some(sample_count), Some(error)) => Ok(RttSource::Predicted { sample_count, error }),
        _ => Err(PyTypeError::new_err("a prediction needs both sample_count and error")),
    }
}
