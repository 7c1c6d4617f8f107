//! Network coordinates by themselves: where this host is in the latency space, and how far its
//! peers are, for programs that exchange coordinates in messages of their own.
//!
//! The engine keeps peers by slot; here they have names, each of which gets a slot with its first
//! sample and keeps it until it is forgotten. The table is bounded; when it is full, a new peer is
//! refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple, PyType};
use shoal_core::coordinate::hyperscale::HyperscaleConfig;
use shoal_core::coordinate::table::{Nearest, nearest};
use shoal_core::coordinate::{Profile, Refusal, Snapshot, Tracker, VivaldiConfig};
use shoal_core::random::Random;
use zerocopy::IntoBytes;

use crate::clock::time;
use crate::config::{Setting, group, setting_group};
use crate::convert::Whole;
use crate::errors::Failure;
use crate::names::{Name, Named};
use crate::values::{Coordinate, Rtt, value_class};

setting_group!(
    VivaldiConfig,
    VivaldiConfig::default(),
    [
        profile,
        gain_start,
        gain,
        cooling,
        error_gain,
        error_min,
        limit_factor,
        limit_seconds_max,
        cutoff_factor,
        spring_capacity,
        height_seconds_min,
        adjustment_share_max,
        adjustment_after,
        gravity_radius_seconds,
        publish_share,
        sample_interval_ms_min,
        distrust_after,
        measured_seconds_max,
        coordinate_seconds_max,
        sigma_count,
        samples_good,
        error_good,
        age_seconds_good,
        convergence_error,
        convergence_samples,
    ]
);

setting_group!(
    HyperscaleConfig,
    HyperscaleConfig::default(),
    [
        ce,
        error_decay,
        gravity,
        height_adjustment,
        adjustment_smoothing,
        min_error,
        max_error,
        k_sigma,
        rtt_default_ms,
        sigma_default_ms,
        sigma_min_ms,
        sigma_max_ms,
        rtt_min_ms,
        rtt_max_ms,
        min_samples_for_routing,
        error_good_ms,
        coord_ttl_seconds,
        convergence_error_threshold,
        convergence_min_samples,
    ]
);

/// "native", or the constants of the Python node's arithmetic.
impl Setting for Profile {
    fn read(value: &Bound<'_, PyAny>) -> PyResult<Profile> {
        if value.eq("native")? {
            return Ok(Profile::Native);
        }
        HyperscaleConfig::read(value).map(Profile::Hyperscale)
    }

    fn write(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        match self {
            Profile::Native => "native".into_bound_py_any(py),
            Profile::Hyperscale(config) => config.write(py),
        }
    }
}

value_class! {
    /// What a host keeps of its place across a restart.
    CoordinateSnapshot {
        /// The published coordinate.
        coordinate: Coordinate,
        /// The usual mismatch between measured and predicted round trips, in seconds; 0 to 10.
        mismatch_seconds: f64,
        /// The usual round trip, in seconds; 0 to 10.
        round_trip_seconds: f64,
        /// Samples that led there.
        sample_count: u64,
    }
}

/// This host's place in the latency space, and what is known of its peers'.
///
/// Tell it every measured round trip together with the coordinate that the peer sent along; send
/// your own `coordinate` with every message. Peers have names of your choosing. Times are
/// nanoseconds of one clock, that of `time.monotonic_ns()` where none is given.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct CoordinateTracker {
    state: Mutex<State>,
}

struct State {
    tracker: Tracker,
    capacity: u32,
    slots: HashMap<Box<str>, u32>,
    /// By slot; `None` where the slot is free.
    names: Vec<Option<Box<str>>>,
    free: Vec<u32>,
    round_trips_ms: Vec<f32>,
    nearest: Vec<Nearest>,
}

impl State {
    fn slot(&self, peer: &str) -> Option<u32> {
        self.slots.get(peer).copied()
    }

    /// The slot of a peer, which gets one if it has none.
    fn take_slot(&mut self, peer: &str) -> Result<u32, Failure> {
        if let Some(slot) = self.slot(peer) {
            return Ok(slot);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.names.len() < self.capacity as usize => {
                self.names.push(None);
                self.names.len() as u32 - 1
            }
            None => {
                let capacity = self.capacity;
                let message =
                    format!("{capacity} peers are known; forget some or raise peer_capacity");
                return Err(Failure::Command(message));
            }
        };
        self.names[slot as usize] = Some(peer.into());
        self.slots.insert(peer.into(), slot);
        Ok(slot)
    }

    /// Turns the outcome of a sample into what Python is told. A newcomer whose first sample was
    /// refused takes no room.
    fn settle(
        &mut self,
        slot: u32,
        known_before: usize,
        outcome: Result<(), Refusal>,
    ) -> PyResult<Option<Name<Refusal>>> {
        let Err(reason) = outcome else { return Ok(None) };
        if self.slots.len() > known_before {
            self.give_back(slot);
        }
        Ok(Some(Name(reason)))
    }

    fn give_back(&mut self, slot: u32) {
        let name = self.names[slot as usize].take().expect("a slot in use has a name");
        self.slots.remove(&name);
        self.free.push(slot);
    }

    fn name(&self, slot: usize) -> Option<&str> {
        self.names.get(slot)?.as_deref()
    }
}

#[pymethods]
impl CoordinateTracker {
    /// A tracker at the origin that knows nobody. `seed` decides the direction in which it starts.
    #[new]
    #[pyo3(signature = (*, peer_capacity=16_384, seed=Whole(0), config=None),
        text_signature = "(*, peer_capacity=16384, seed=0, config=None)")]
    fn new(
        peer_capacity: u32,
        seed: Whole,
        config: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<CoordinateTracker> {
        if !(1..=shoal_core::config::MEMBER_CAPACITY_MAX).contains(&peer_capacity) {
            let message = format!("peer_capacity is {peer_capacity}, expected 1 to 1048576");
            return Err(Failure::Config(message).into());
        }
        let config = group(config, "VivaldiConfig", VivaldiConfig::default)?;
        let tracker = Tracker::with_config(config, peer_capacity, Random::new(seed.0));
        let state = State {
            tracker: tracker.map_err(Failure::from)?,
            capacity: peer_capacity,
            slots: HashMap::new(),
            names: Vec::new(),
            free: Vec::new(),
            round_trips_ms: Vec::new(),
            nearest: Vec::new(),
        };
        Ok(CoordinateTracker { state: Mutex::new(state) })
    }

    /// Takes note of a peer's coordinate and, after an exchange, of the round trip to it.
    ///
    /// Returns `None` when it was used, and otherwise why not: a peer that tells nonsense is
    /// counted, not an error.
    #[pyo3(signature = (peer, coordinate, rtt_ms=None, *, now_ns=None))]
    fn observe(
        &self,
        py: Python<'_>,
        peer: &str,
        coordinate: &Coordinate,
        rtt_ms: Option<f64>,
        now_ns: Option<Whole>,
    ) -> PyResult<Option<Name<Refusal>>> {
        let round_trip = rtt_ms.map(round_trip).transpose()?;
        let now = time(now_ns);
        let mut state = self.state(py)?;
        let known = state.slots.len();
        let slot = state.take_slot(peer)?;
        let outcome = state.tracker.observe(slot, &coordinate.core(), round_trip, now);
        state.settle(slot, known, outcome)
    }

    /// Takes note of a round trip to a peer that told no coordinate.
    #[pyo3(signature = (peer, rtt_ms, *, now_ns=None))]
    fn measure(
        &self,
        py: Python<'_>,
        peer: &str,
        rtt_ms: f64,
        now_ns: Option<Whole>,
    ) -> PyResult<Option<Name<Refusal>>> {
        let round_trip = round_trip(rtt_ms)?;
        let now = time(now_ns);
        let mut state = self.state(py)?;
        let known = state.slots.len();
        let slot = state.take_slot(peer)?;
        let outcome = state.tracker.measure(slot, round_trip, now);
        state.settle(slot, known, outcome)
    }

    /// What is known about the round trip to a peer: the measured one while it is recent, else the
    /// prediction while the coordinate is.
    #[pyo3(signature = (peer, *, now_ns=None))]
    fn rtt(&self, py: Python<'_>, peer: &str, now_ns: Option<Whole>) -> PyResult<Option<Rtt>> {
        let state = self.state(py)?;
        let slot = state.slot(peer);
        Ok(slot.and_then(|slot| state.tracker.rtt(slot, time(now_ns))).map(Rtt::from))
    }

    /// What the coordinates alone say about the round trip to a peer.
    #[pyo3(signature = (peer, *, now_ns=None))]
    fn prediction(
        &self,
        py: Python<'_>,
        peer: &str,
        now_ns: Option<Whole>,
    ) -> PyResult<Option<Rtt>> {
        let state = self.state(py)?;
        let slot = state.slot(peer);
        Ok(slot.and_then(|slot| state.tracker.prediction(slot, time(now_ns))).map(Rtt::from))
    }

    /// The upper bound of the round trip to a peer, in milliseconds: `rtt(peer).upper_ms`, quicker.
    #[pyo3(signature = (peer, *, now_ns=None))]
    fn upper_ms(&self, py: Python<'_>, peer: &str, now_ns: Option<Whole>) -> PyResult<Option<f64>> {
        let state = self.state(py)?;
        let slot = state.slot(peer);
        Ok(slot.and_then(|slot| state.tracker.rtt(slot, time(now_ns))).map(|rtt| rtt.upper_ms))
    }

    /// Round trips to all peers in milliseconds, as packed 32-bit floats in the order of `peers()`:
    /// measured where that is recent, predicted elsewhere, infinite where nothing is known. Read
    /// them with `numpy.frombuffer(..., "float32")` or `memoryview(...).cast("f")`.
    #[pyo3(signature = (*, now_ns=None))]
    fn round_trips_ms<'py>(
        &self,
        py: Python<'py>,
        now_ns: Option<Whole>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let now = time(now_ns);
        let mut state = self.state(py)?;
        let State { tracker, round_trips_ms, names, slots, .. } = &mut *state;
        tracker.rtt_all(now, round_trips_ms);
        // A slot that was given out but never used by the table lies beyond its end.
        round_trips_ms.resize(names.len(), f32::INFINITY);
        if slots.len() < names.len() {
            let mut names = names.iter();
            round_trips_ms.retain(|_| names.next().is_some_and(Option::is_some));
        }
        Ok(PyBytes::new(py, round_trips_ms.as_bytes()))
    }

    /// The names of all peers.
    fn peers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(
            py,
            self.state(py)?.names.iter().flatten().map(|name| &**name).collect::<Vec<_>>(),
        )
    }

    /// The `count` nearest peers with their round trips in milliseconds, nearest first.
    #[pyo3(signature = (count, *, now_ns=None))]
    fn nearest(
        &self,
        py: Python<'_>,
        count: usize,
        now_ns: Option<Whole>,
    ) -> PyResult<Vec<(String, f32)>> {
        let now = time(now_ns);
        let mut state = self.state(py)?;
        let State { tracker, round_trips_ms, nearest: found, .. } = &mut *state;
        tracker.rtt_all(now, round_trips_ms);
        nearest(round_trips_ms, count, found);
        let named = state.nearest.iter().filter_map(|one| {
            let name = state.name(one.slot as usize)?;
            Some((name.to_owned(), one.ms))
        });
        Ok(named.collect())
    }

    /// The coordinate that a peer told last.
    fn peer_coordinate(&self, py: Python<'_>, peer: &str) -> PyResult<Option<Coordinate>> {
        let state = self.state(py)?;
        let slot = state.slot(peer);
        Ok(slot.and_then(|slot| state.tracker.peer_coordinate(slot)).map(Coordinate::from))
    }

    /// Forgets a peer. Returns whether it was known.
    fn forget(&self, py: Python<'_>, peer: &str) -> PyResult<bool> {
        let mut state = self.state(py)?;
        let Some(slot) = state.slot(peer) else { return Ok(false) };
        state.tracker.forget(slot);
        state.give_back(slot);
        Ok(true)
    }

    /// Forgets every peer of which nothing is recent enough to be used. Returns how many those
    /// were.
    #[pyo3(signature = (*, now_ns=None))]
    fn cleanup(&self, py: Python<'_>, now_ns: Option<Whole>) -> PyResult<usize> {
        let now = time(now_ns);
        let mut state = self.state(py)?;
        state.tracker.cleanup(now);
        let before = state.slots.len();
        for slot in 0..state.names.len() as u32 {
            let is_known = state.tracker.peer_coordinate(slot).is_some()
                || state.tracker.measured_ms(slot).is_some();
            if !is_known && state.name(slot as usize).is_some() {
                state.give_back(slot);
            }
        }
        Ok(before - state.slots.len())
    }

    /// The own coordinate, to be sent with every message.
    #[getter]
    fn coordinate(&self, py: Python<'_>) -> PyResult<Coordinate> {
        Ok((*self.state(py)?.tracker.coordinate()).into())
    }

    /// Whether the own coordinate has settled.
    #[getter]
    fn is_converged(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.state(py)?.tracker.is_converged())
    }

    /// How good the own coordinate is, 0 to 1.
    #[getter]
    fn quality(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.state(py)?.tracker.quality())
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.state(py)?.slots.len())
    }

    fn __contains__(&self, py: Python<'_>, peer: &str) -> PyResult<bool> {
        Ok(self.state(py)?.slot(peer).is_some())
    }

    /// What was counted, by name: `updates`, `heard`, `refused_...`, and the present
    /// `prediction_error`, `mismatch_seconds` and `convergence_seconds` (`None` before it happens).
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let metrics = self.state(py)?.tracker.metrics();
        let values = PyDict::new(py);
        values.set_item("updates", metrics.updates)?;
        values.set_item("heard", metrics.heard)?;
        for &reason in Refusal::ALL.iter() {
            values.set_item(format!("refused_{}", reason.text()), metrics.refused(reason))?;
        }
        values.set_item("prediction_error", metrics.prediction_error)?;
        values.set_item("mismatch_seconds", metrics.mismatch_seconds)?;
        let convergence = metrics.convergence_time.map(|time| time.as_secs_f64());
        values.set_item("convergence_seconds", convergence)?;
        Ok(values)
    }

    /// What to keep for a restart.
    fn snapshot(&self, py: Python<'_>) -> PyResult<CoordinateSnapshot> {
        let snapshot = self.state(py)?.tracker.snapshot();
        Ok(CoordinateSnapshot {
            coordinate: snapshot.coordinate.into(),
            mismatch_seconds: snapshot.mismatch_seconds,
            round_trip_seconds: snapshot.round_trip_seconds,
            sample_count: snapshot.sample_count,
        })
    }

    /// Goes back to where a snapshot saw this host.
    fn restore(&self, py: Python<'_>, snapshot: &CoordinateSnapshot) -> PyResult<()> {
        let snapshot = Snapshot {
            coordinate: snapshot.coordinate.core(),
            mismatch_seconds: snapshot.mismatch_seconds,
            round_trip_seconds: snapshot.round_trip_seconds,
            sample_count: snapshot.sample_count,
        };
        let restored = self.state(py)?.tracker.restore(&snapshot);
        let message = "the snapshot has a field that is not finite or out of its range";
        Ok(restored.map_err(|_| Failure::Config(message.to_owned()))?)
    }
}

impl CoordinateTracker {
    fn state(&self, py: Python<'_>) -> Result<MutexGuard<'_, State>, Failure> {
        self.state.lock_py_attached(py).map_err(|_| Failure::broken())
    }
}

/// A round trip as the caller measured it. One that no network has is the tracker's to refuse.
fn round_trip(rtt_ms: f64) -> Result<shoal_core::Duration, Failure> {
    shoal_core::Duration::try_from_secs_f64(rtt_ms * 1e-3).map_err(|_| {
        Failure::Config(format!("rtt_ms is {rtt_ms}, expected a number of milliseconds from 0"))
    })
}
