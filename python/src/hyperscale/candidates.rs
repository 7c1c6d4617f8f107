//! What the Python node's router knows about a datacenter, and the ranking of all of them.
//!
//! One call does for a job what the Python classes do one after the other (AD-36): take the bounds
//! from the coordinates, exclude, pick the best non-empty bucket, score and sort. Whether a job
//! then moves is decided in Python, from what this returns.

use std::cmp::Ordering;

use pyo3::basic::CompareOp;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyString, PyTuple};

use super::coordinates::HyperscaleTracker;
use super::monotonic_seconds;

/// The bound of a candidate whose maker told none, in ms.
const RTT_DEFAULT_MS: f64 = 100.0;

macro_rules! candidate_class {
    (
        $text:literal
        $(required $required:ident: $required_type:ty,)*
        $(optional $optional:ident: $optional_type:ty = $default:expr,)*
    ) => {
        /// A datacenter that a job may be sent to.
        #[pyclass(module = "shoal.hyperscale.routing.candidate_filter", get_all, set_all)]
        pub(crate) struct HyperscaleCandidate {
            $($required: $required_type,)*
            $($optional: $optional_type,)*
        }

        #[pymethods]
        impl HyperscaleCandidate {
            #[new]
            #[pyo3(signature = ($($required,)* $($optional=$default,)*), text_signature = $text)]
            #[allow(clippy::too_many_arguments, reason = "one for each field")]
            fn new($($required: $required_type,)* $($optional: $optional_type,)*) -> Self {
                Self { $($required,)* $($optional,)* }
            }

            fn __reduce__<'py>(
                value: &Bound<'py, Self>,
            ) -> PyResult<(Bound<'py, pyo3::types::PyType>, Bound<'py, PyTuple>)> {
                Ok((value.get_type(), value.borrow().fields(value.py())?))
            }

            fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
                let names = [$(stringify!($required),)* $(stringify!($optional),)*];
                crate::values::describe("DatacenterCandidate", &names, &self.fields(py)?)
            }

            fn __richcmp__(
                &self,
                py: Python<'_>,
                other: &Bound<'_, PyAny>,
                operator: CompareOp,
            ) -> PyResult<bool> {
                let equal = match other.cast::<HyperscaleCandidate>() {
                    Ok(other) => self.fields(py)?.eq(other.borrow().fields(py)?)?,
                    Err(_) => false,
                };
                match operator {
                    CompareOp::Eq => Ok(equal),
                    CompareOp::Ne => Ok(!equal),
                    _ => Err(PyTypeError::new_err("candidates have no order")),
                }
            }
        }

        impl HyperscaleCandidate {
            fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
                use pyo3::IntoPyObjectExt;
                PyTuple::new(py, [
                    $((&self.$required).into_bound_py_any(py)?,)*
                    $((&self.$optional).into_bound_py_any(py)?,)*
                ])
            }
        }
    };
}

candidate_class! {
    "(datacenter_id, health_bucket, available_cores, total_cores, queue_depth, \
        lhm_multiplier, circuit_breaker_pressure, has_coordinate=False, \
        rtt_ucb_ms=100.0, coordinate_quality=0.0, total_managers=0, healthy_managers=0, \
        excluded=False, exclusion_reason=None, demoted=False, demotion_reason=None, \
        original_bucket=None, health_severity_weight=1.0, worker_overload_ratio=0.0, \
        overloaded_worker_count=0, estimated_latency_ms=0.0, \
        estimated_throughput_rps=0.0)"
    required datacenter_id: Py<PyString>,
    required health_bucket: Py<PyString>,
    required available_cores: i64,
    required total_cores: i64,
    required queue_depth: i64,
    required lhm_multiplier: f64,
    required circuit_breaker_pressure: f64,
    optional has_coordinate: bool = false,
    optional rtt_ucb_ms: f64 = RTT_DEFAULT_MS,
    optional coordinate_quality: f64 = 0.0,
    optional total_managers: i64 = 0,
    optional healthy_managers: i64 = 0,
    optional excluded: bool = false,
    optional exclusion_reason: Option<Py<PyAny>> = None,
    optional demoted: bool = false,
    optional demotion_reason: Option<Py<PyAny>> = None,
    optional original_bucket: Option<Py<PyString>> = None,
    optional health_severity_weight: f64 = 1.0,
    optional worker_overload_ratio: f64 = 0.0,
    optional overloaded_worker_count: i64 = 0,
    optional estimated_latency_ms: f64 = 0.0,
    optional estimated_throughput_rps: f64 = 0.0,
}

#[derive(Clone, Copy, PartialEq)]
enum Bucket {
    Healthy,
    Busy,
    Degraded,
}

impl Bucket {
    const ALL: [Bucket; 3] = [Bucket::Healthy, Bucket::Busy, Bucket::Degraded];

    /// The bucket of a name; unhealthy datacenters have none.
    fn named(name: &str) -> Option<Bucket> {
        match name {
            "HEALTHY" => Some(Bucket::Healthy),
            "BUSY" => Some(Bucket::Busy),
            "DEGRADED" => Some(Bucket::Degraded),
            _ => None,
        }
    }
}

/// How datacenters are ranked: the constants of the Python classes' settings, and their enums.
#[pyclass(frozen, module = "shoal._native")]
pub(crate) struct HyperscaleRanking {
    utilization_weight: f64,
    queue_weight: f64,
    circuit_weight: f64,
    queue_smoothing: f64,
    load_factor_max: f64,
    quality_weight: f64,
    quality_penalty_max: f64,
    preference_factor: f64,
    cooldown_factor: f64,
    unhealthy: Py<PyAny>,
    no_managers: Py<PyAny>,
    no_usable_manager: Py<PyAny>,
    missing_coordinate: Py<PyAny>,
}

/// One eligible candidate.
struct Eligible<'py> {
    candidate: Bound<'py, HyperscaleCandidate>,
    id: Bound<'py, PyString>,
    bucket: Bucket,
    /// Nobody told how far it is.
    is_unknown: bool,
    score: f64,
}

impl HyperscaleRanking {
    /// Excludes a candidate, or gives its bucket.
    fn admit(
        &self,
        py: Python<'_>,
        candidate: &mut HyperscaleCandidate,
    ) -> PyResult<Option<Bucket>> {
        let bucket = Bucket::named(&candidate.health_bucket.bind(py).to_cow()?);
        let reason = if bucket.is_none() {
            Some(&self.unhealthy)
        } else if candidate.total_managers <= 0 {
            Some(&self.no_managers)
        } else if candidate.healthy_managers <= 0 {
            Some(&self.no_usable_manager)
        } else {
            None
        };
        candidate.excluded = reason.is_some();
        candidate.exclusion_reason = reason.map(|reason| reason.clone_ref(py));
        Ok(if reason.is_some() { None } else { bucket })
    }

    fn score(&self, candidate: &HyperscaleCandidate, is_preferred: bool) -> f64 {
        let total = candidate.total_cores as f64;
        let free = candidate.available_cores as f64;
        let utilization = if total > 0.0 { 1.0 - free / total } else { 1.0 };
        let queue = candidate.queue_depth as f64;
        let load = 1.0
            + self.utilization_weight * utilization
            + self.queue_weight * (queue / (queue + self.queue_smoothing))
            + self.circuit_weight * candidate.circuit_breaker_pressure;
        let penalty = 1.0 + self.quality_weight * (1.0 - candidate.coordinate_quality);
        let score = candidate.rtt_ucb_ms
            * load.min(self.load_factor_max)
            * penalty.min(self.quality_penalty_max)
            * candidate.health_severity_weight;
        if is_preferred { score * self.preference_factor } else { score }
    }

    /// Takes what the tracker knows, and excludes or demotes.
    fn eligible<'py>(
        &self,
        candidate: &Bound<'py, HyperscaleCandidate>,
        tracker: Option<(&HyperscaleTracker, f64)>,
    ) -> PyResult<Option<Eligible<'py>>> {
        let py = candidate.py();
        let mut own = candidate.borrow_mut();
        let Some(bucket) = self.admit(py, &mut own)? else { return Ok(None) };
        let id = own.datacenter_id.bind(py).clone();
        if let Some((tracker, now)) = tracker
            && let Some((upper, quality)) = tracker.bound_and_quality(py, &id, now)?
        {
            own.has_coordinate = true;
            own.rtt_ucb_ms = upper;
            own.coordinate_quality = quality;
        }
        own.demoted = !own.has_coordinate;
        if own.demoted {
            own.demotion_reason = Some(self.missing_coordinate.clone_ref(py));
            own.coordinate_quality = 0.0;
        }
        let is_told = own.has_coordinate || own.rtt_ucb_ms != RTT_DEFAULT_MS;
        let is_unknown = !(is_told && own.rtt_ucb_ms.is_finite() && own.rtt_ucb_ms > 0.0);
        let candidate = candidate.clone();
        drop(own);
        Ok(Some(Eligible { candidate, id, bucket, is_unknown, score: 0.0 }))
    }

    /// Scores all. What is at an unknown distance is taken to be no nearer than anything known.
    fn score_all<'py>(
        &self,
        all: &mut [Eligible<'py>],
        unknown_ms: f64,
        preferred: Option<&Bound<'py, PySet>>,
    ) -> PyResult<()> {
        let known = all.iter().filter(|eligible| !eligible.is_unknown);
        let known = known.map(|eligible| eligible.candidate.borrow().rtt_ucb_ms);
        let unknown_ms = known.fold(unknown_ms, f64::max);
        for eligible in all {
            let is_preferred = match preferred {
                Some(preferred) => preferred.contains(&eligible.id)?,
                None => false,
            };
            let score = if eligible.is_unknown {
                let mut candidate = eligible.candidate.borrow_mut();
                let told = std::mem::replace(&mut candidate.rtt_ucb_ms, unknown_ms);
                let score = self.score(&candidate, is_preferred);
                // What the caller hands in again is unknown again.
                candidate.rtt_ucb_ms = told;
                score
            } else {
                self.score(&eligible.candidate.borrow(), is_preferred)
            };
            eligible.score = if score.is_finite() { score } else { f64::MAX };
        }
        Ok(())
    }
}

/// Free cores first, then short queues, then closed circuits.
fn capacity(eligible: &Eligible<'_>) -> (f64, f64, f64) {
    let candidate = eligible.candidate.borrow();
    let total = candidate.total_cores;
    let free = if total > 0 { candidate.available_cores as f64 / total as f64 } else { 0.0 };
    let queue = candidate.queue_depth as f64;
    (-free, queue / (queue + 10.0), candidate.circuit_breaker_pressure)
}

fn by_capacity(left: &Eligible<'_>, right: &Eligible<'_>) -> Ordering {
    let (left, right) = (capacity(left), capacity(right));
    let ends = left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1));
    ends.then(left.2.total_cmp(&right.2))
}

#[pymethods]
impl HyperscaleRanking {
    #[new]
    #[pyo3(signature = (scoring, cooldown_factor, reasons))]
    fn new(
        scoring: &Bound<'_, PyAny>,
        cooldown_factor: f64,
        reasons: (Py<PyAny>, Py<PyAny>, Py<PyAny>, Py<PyAny>),
    ) -> PyResult<HyperscaleRanking> {
        let number = |name: &str| scoring.getattr(name)?.extract::<f64>();
        let (unhealthy, no_managers, no_usable_manager, missing_coordinate) = reasons;
        Ok(HyperscaleRanking {
            utilization_weight: number("a_util")?,
            queue_weight: number("a_queue")?,
            circuit_weight: number("a_cb")?,
            queue_smoothing: number("queue_smoothing")?,
            load_factor_max: number("load_factor_max")?,
            quality_weight: number("a_quality")?,
            quality_penalty_max: number("quality_penalty_max")?,
            preference_factor: number("preference_multiplier")?,
            cooldown_factor,
            unhealthy,
            no_managers,
            no_usable_manager,
            missing_coordinate,
        })
    }

    /// Ranks candidates for a job.
    ///
    /// Gives the primary bucket's name, its datacenters best first, the datacenters of lower
    /// buckets best first, all scores by name, and where the job's present datacenter is: 0
    /// nowhere, 1 in the primary bucket, 2 below it. `None` when no datacenter is eligible.
    #[pyo3(signature = (candidates, tracker, by_rank, preferred, cooling, current))]
    #[allow(clippy::too_many_arguments, reason = "what a decision depends on")]
    fn rank<'py>(
        &self,
        py: Python<'py>,
        candidates: &Bound<'py, PyList>,
        tracker: Option<&HyperscaleTracker>,
        by_rank: bool,
        preferred: Option<&Bound<'py, PySet>>,
        cooling: Option<&Bound<'py, PyDict>>,
        current: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let unknown_ms = tracker.map_or(2.0 * RTT_DEFAULT_MS, HyperscaleTracker::bound_of_unknown);
        let tracker = match tracker {
            Some(tracker) if tracker.has_peers(py)? => Some((tracker, monotonic_seconds())),
            _ => None,
        };
        let preferred = preferred.filter(|preferred| !preferred.is_empty());
        let mut all = Vec::with_capacity(candidates.len());
        for candidate in candidates.iter() {
            let candidate = candidate.cast::<HyperscaleCandidate>()?;
            all.extend(self.eligible(candidate, tracker)?);
        }
        self.score_all(&mut all, unknown_ms, preferred)?;
        let has = |bucket: &Bucket| all.iter().any(|eligible| eligible.bucket == *bucket);
        let Some(primary_bucket) = Bucket::ALL.into_iter().find(has) else { return Ok(None) };
        let (mut primary, mut below): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|eligible| eligible.bucket == primary_bucket);
        if by_rank {
            primary.sort_by(by_capacity);
        }
        let count = primary.len() as f64;
        for (rank, eligible) in primary.iter_mut().enumerate() {
            let is_cooling = match cooling {
                Some(cooling) => cooling.contains(&eligible.id)?,
                None => false,
            };
            if by_rank {
                eligible.score = rank as f64 + if is_cooling { count } else { 0.0 };
            } else if is_cooling {
                eligible.score *= self.cooldown_factor;
            }
        }
        primary.sort_by(|left, right| left.score.total_cmp(&right.score));
        below.sort_by(|left, right| {
            let buckets = (left.bucket as u8).cmp(&(right.bucket as u8));
            buckets.then(left.score.total_cmp(&right.score))
        });

        let scores = PyDict::new(py);
        let mut standing = 0;
        for (place, eligible) in primary.iter().map(|e| (1, e)).chain(below.iter().map(|e| (2, e)))
        {
            scores.set_item(&eligible.id, eligible.score)?;
            if let Some(current) = current
                && eligible.id.to_cow()? == current
            {
                standing = place;
            }
        }
        let bucket = match primary_bucket {
            Bucket::Healthy => pyo3::intern!(py, "HEALTHY"),
            Bucket::Busy => pyo3::intern!(py, "BUSY"),
            Bucket::Degraded => pyo3::intern!(py, "DEGRADED"),
        };
        let names = |chain: Vec<Eligible<'py>>| PyList::new(py, chain.into_iter().map(|e| e.id));
        (bucket, names(primary)?, names(below)?, scores, standing).into_pyobject(py).map(Some)
    }
}
