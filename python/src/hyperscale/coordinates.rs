//! Coordinates with the constants of the Python node, in seconds, behind its class names.
//!
//! The arithmetic is the engine's profile `hyperscale`. Two rules are added to it. What a peer
//! tells is used only when every number of it is finite and in range: one NaN that enters a sum
//! never leaves it again. And two nodes at one place push each other apart in a random direction,
//! because a fixed one would keep all nodes on a line.

use std::sync::{Mutex, MutexGuard};

use hashbrown::HashTable;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyFloat, PyString};
use shoal_core::coordinate::hyperscale::{Hyperscale, HyperscaleConfig, estimate_seconds};
use shoal_core::coordinate::{Coordinate as Place, DIMENSIONS};
use shoal_core::random::Random;

use super::place::{NOWHERE, NetworkCoordinate, Numbers, is_believable, is_round_trip};
use super::{monotonic_seconds, recent_seconds};
use crate::errors::Failure;

/// The smallest error of a coordinate that the engine places, in seconds.
const ERROR_SECONDS_MIN: f64 = 1e-6;
/// How far apart two coinciding nodes are taken to be, in seconds: far below what can be measured.
const NUDGE_SECONDS: f64 = 1e-12;
/// How many peers a tracker remembers; the one heard longest ago makes room.
const PEER_CAPACITY: usize = 16_384;

/// The own coordinate and how samples move it.
#[pyclass(frozen, subclass, module = "shoal._native")]
pub(crate) struct HyperscaleEngine {
    config: HyperscaleConfig,
    dimensions: usize,
    state: Mutex<State>,
    /// The own coordinate once more, for estimates, which then need no lock.
    own: Numbers,
}

struct State {
    engine: Hyperscale,
    updated_at: f64,
    random: Random,
    /// The copy of the own coordinate that was given out last. Most callers of an update let go of
    /// it at once, and the next one gets it again.
    copy: Option<Py<NetworkCoordinate>>,
    /// Without the interpreter's lock, a count of holders may be out of date when it is read.
    is_copy_kept: bool,
}

impl State {
    fn quality(&self, coordinate: &NetworkCoordinate, now: f64) -> f64 {
        let samples = coordinate.sample_count().max(0) as u64;
        self.engine.quality(samples, coordinate.error(), now - coordinate.updated_at())
    }

    fn own_quality(&self, now: f64) -> f64 {
        let error = self.engine.coordinate().error;
        self.engine.quality(self.engine.sample_count(), error, now - self.updated_at)
    }

    /// A copy of the own coordinate, for Python.
    #[allow(deprecated, reason = "the count is read, and the other way is unsafe code")]
    fn own(&mut self, py: Python<'_>, dimensions: usize) -> PyResult<Py<NetworkCoordinate>> {
        let (place, sample_count) = (self.engine.coordinate(), self.engine.sample_count() as i64);
        if let Some(copy) = &self.copy
            && copy.get_refcnt(py) == 1
            && copy.get().become_at(place, self.updated_at, sample_count)
        {
            return Ok(copy.clone_ref(py));
        }
        let copy = NetworkCoordinate::at(place, dimensions, self.updated_at, sample_count);
        let copy = Py::new(py, copy)?;
        self.copy = self.is_copy_kept.then(|| copy.clone_ref(py));
        Ok(copy)
    }
}

impl HyperscaleEngine {
    fn state(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, State>> {
        self.state.lock_py_attached(py).map_err(|_| Failure::broken().into())
    }

    /// Moves by one sample; says when, if it did. A peer that is not to be believed, and a round
    /// trip that is none, change nothing.
    fn learn(&self, state: &mut State, peer: &mut Place, round_trip_seconds: f64) -> Option<f64> {
        if !is_round_trip(round_trip_seconds) || !is_believable(peer) {
            return None;
        }
        if peer.vector == state.engine.coordinate().vector {
            for component in &mut peer.vector[..self.dimensions] {
                *component += NUDGE_SECONDS * (state.random.unit() - 0.5);
            }
        }
        state.engine.update(peer, round_trip_seconds);
        state.updated_at = recent_seconds();
        self.own.set(state.engine.coordinate());
        Some(state.updated_at)
    }

    /// The bound in ms between the own place and a peer's, or an unknown one.
    fn upper(&self, peer: Option<&Place>) -> f64 {
        let mut own = NOWHERE;
        self.own.read(&mut own);
        self.config.upper_ms(&own, peer.filter(|place| is_believable(place)))
    }
}

#[pymethods]
impl HyperscaleEngine {
    /// At the origin, with these constants. `seed` decides where coinciding nodes part to.
    #[new]
    fn new(config: &Bound<'_, PyAny>, dimensions: usize, seed: u64) -> PyResult<HyperscaleEngine> {
        let is_copy_kept = has_interpreter_lock(config.py())?;
        let config = <HyperscaleConfig as crate::config::Setting>::read(config)?;
        config.check().map_err(Failure::from)?;
        if !(1..=DIMENSIONS).contains(&dimensions) {
            let message = format!("dimensions is {dimensions}, expected 1 to {DIMENSIONS}");
            return Err(PyValueError::new_err(message));
        }
        let (engine, random) = (Hyperscale::new(config.clone()), Random::new(seed));
        let own = Numbers::new(engine.coordinate());
        let updated_at = monotonic_seconds();
        let state = State { engine, updated_at, random, copy: None, is_copy_kept };
        Ok(HyperscaleEngine { config, dimensions, state: Mutex::new(state), own })
    }

    /// A copy of the own coordinate.
    fn get_coordinate(&self, py: Python<'_>) -> PyResult<Py<NetworkCoordinate>> {
        self.state(py)?.own(py, self.dimensions)
    }

    /// Moves by one sample and gives a copy of the own coordinate.
    fn update_with_rtt(
        &self,
        py: Python<'_>,
        peer: &NetworkCoordinate,
        rtt_seconds: f64,
    ) -> PyResult<Py<NetworkCoordinate>> {
        let mut place = NOWHERE;
        peer.read(py, &mut place)?;
        let mut state = self.state(py)?;
        self.learn(&mut state, &mut place, rtt_seconds);
        state.own(py, self.dimensions)
    }

    /// What the round trip between two places hardly exceeds, in ms; `None` is an unknown place.
    fn estimate_rtt_ucb_ms(
        &self,
        py: Python<'_>,
        local: Option<&NetworkCoordinate>,
        remote: Option<&NetworkCoordinate>,
    ) -> PyResult<f64> {
        let (Some(local), Some(remote)) = (local, remote) else { return Ok(self.upper(None)) };
        let (local, remote) = both(py, local, remote)?;
        let is_known = is_believable(&local) && is_believable(&remote);
        Ok(self.config.upper_ms(&local, is_known.then_some(&remote)))
    }

    /// How good a coordinate, by default the own one, is: 0 to 1.
    #[pyo3(signature = (coord=None))]
    fn coordinate_quality(
        &self,
        py: Python<'_>,
        coord: Option<&NetworkCoordinate>,
    ) -> PyResult<f64> {
        let (state, now) = (self.state(py)?, monotonic_seconds());
        Ok(coord.map_or_else(|| state.own_quality(now), |coord| state.quality(coord, now)))
    }

    /// Whether a coordinate, by default the own one, has settled.
    #[pyo3(signature = (coord=None))]
    fn is_converged(&self, py: Python<'_>, coord: Option<&NetworkCoordinate>) -> PyResult<bool> {
        let state = self.state(py)?;
        let Some(coord) = coord else { return Ok(state.engine.is_converged()) };
        Ok(coord.error() <= self.config.convergence_error_threshold
            && coord.sample_count() >= i64::from(self.config.convergence_min_samples))
    }
}

/// Every Python up to 3.12 has the lock, and does not know the question.
fn has_interpreter_lock(py: Python<'_>) -> PyResult<bool> {
    match py.import("sys")?.getattr_opt("_is_gil_enabled")? {
        Some(question) => question.call0()?.extract(),
        None => Ok(true),
    }
}

/// The predicted round trip between two places, in seconds.
#[pyfunction]
pub(crate) fn hyperscale_estimate_seconds(
    py: Python<'_>,
    local: &NetworkCoordinate,
    peer: &NetworkCoordinate,
) -> PyResult<f64> {
    let (local, peer) = both(py, local, peer)?;
    Ok(estimate_seconds(&local, &peer))
}

fn both(
    py: Python<'_>,
    one: &NetworkCoordinate,
    other: &NetworkCoordinate,
) -> PyResult<(Place, Place)> {
    let mut places = (NOWHERE, NOWHERE);
    one.read(py, &mut places.0)?;
    other.read(py, &mut places.1)?;
    Ok(places)
}

/// What a peer told, and when.
struct Peer {
    name: Py<PyString>,
    /// Python's hash of the name, which Python has at hand.
    hash: u64,
    coordinate: Py<NetworkCoordinate>,
    seen_at: f64,
}

/// Whether a peer has this name. Most callers use one string over and over.
fn is_named(peer: &Peer, name: &Bound<'_, PyString>) -> bool {
    peer.name.is(name) || peer.name.bind(name.py()).as_any().eq(name).unwrap_or(false)
}

fn hash_of(name: &Bound<'_, PyString>) -> PyResult<u64> {
    Ok(name.hash()? as u64)
}

/// The own coordinate together with what peers told of theirs.
///
/// Stands in for `hyperscale.distributed.swim.coordinates.CoordinateTracker`. It remembers 16,384
/// peers; when that is not enough, the one silent for longest makes room. `_peers` and
/// `_peer_last_seen` are copies.
// Python calls a method of a class of its own through a longer way than one of this very class.
#[pyclass(frozen, subclass, dict, weakref, module = "shoal._native")]
pub(crate) struct HyperscaleTracker {
    engine: Py<HyperscaleEngine>,
    peers: Mutex<Peers>,
}

type Peers = HashTable<Peer>;

fn find<'a>(peers: &'a Peers, name: &Bound<'_, PyString>) -> PyResult<Option<&'a Peer>> {
    Ok(peers.find(hash_of(name)?, |peer| is_named(peer, name)))
}

impl HyperscaleTracker {
    fn peers(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Peers>> {
        self.peers.lock_py_attached(py).map_err(|_| Failure::broken().into())
    }

    /// What a peer last told.
    fn told(&self, name: &Bound<'_, PyString>) -> PyResult<Option<Py<NetworkCoordinate>>> {
        let py = name.py();
        let peers = self.peers(py)?;
        Ok(find(&peers, name)?.map(|peer| peer.coordinate.clone_ref(py)))
    }

    fn remember(
        &self,
        name: &Bound<'_, PyString>,
        coordinate: &Bound<'_, NetworkCoordinate>,
        seen_at: f64,
    ) -> PyResult<()> {
        let hash = hash_of(name)?;
        let mut peers = self.peers(name.py())?;
        if let Some(peer) = peers.find_mut(hash, |peer| is_named(peer, name)) {
            peer.seen_at = seen_at;
            if !peer.coordinate.is(coordinate) {
                peer.coordinate = coordinate.clone().unbind();
            }
            return Ok(());
        }
        if peers.len() >= PEER_CAPACITY {
            let oldest = peers.iter().map(|peer| peer.seen_at).min_by(f64::total_cmp);
            peers.retain(|peer| Some(peer.seen_at) != oldest);
        }
        let (name, coordinate) = (name.clone().unbind(), coordinate.clone().unbind());
        peers.insert_unique(hash, Peer { name, hash, coordinate, seen_at }, |peer| peer.hash);
        Ok(())
    }

    /// The bound in ms and the quality of what a peer told.
    pub(super) fn bound_and_quality(
        &self,
        py: Python<'_>,
        peer: &Bound<'_, PyString>,
        now: f64,
    ) -> PyResult<Option<(f64, f64)>> {
        let Some(told) = self.told(peer)? else { return Ok(None) };
        let coordinate = told.get();
        let mut place = NOWHERE;
        coordinate.read(py, &mut place)?;
        let engine = self.engine.get();
        let quality = engine.state(py)?.quality(coordinate, now);
        Ok(Some((engine.upper(Some(&place)), quality)))
    }

    /// The bound in ms for a peer that told nothing.
    pub(super) fn bound_of_unknown(&self) -> f64 {
        self.engine.get().upper(None)
    }

    pub(super) fn has_peers(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.peers(py)?.is_empty())
    }
}

#[pymethods]
impl HyperscaleTracker {
    /// With this engine, by default a `NetworkCoordinateEngine` with these constants.
    #[new]
    #[pyo3(signature = (engine=None, config=None))]
    fn new(
        py: Python<'_>,
        engine: Option<Py<HyperscaleEngine>>,
        config: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<HyperscaleTracker> {
        let make = || -> PyResult<Py<HyperscaleEngine>> {
            let module = py.import("shoal.hyperscale.swim.coordinates.coordinate_engine")?;
            let engine = module.getattr("NetworkCoordinateEngine")?.call1((config,))?;
            Ok(engine.cast_into::<HyperscaleEngine>()?.unbind())
        };
        let engine = engine.map_or_else(make, Ok)?;
        Ok(HyperscaleTracker { engine, peers: Mutex::new(HashTable::new()) })
    }

    #[getter]
    fn _engine(&self, py: Python<'_>) -> Py<HyperscaleEngine> {
        self.engine.clone_ref(py)
    }

    /// The constants in use.
    fn get_config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.engine.bind(py).call_method0("get_config")
    }

    /// A copy of the own coordinate.
    fn get_coordinate(&self, py: Python<'_>) -> PyResult<Py<NetworkCoordinate>> {
        self.engine.get().get_coordinate(py)
    }

    /// Moves by one sample, remembers the peer, and gives a copy of the own coordinate.
    fn update_peer_coordinate(
        &self,
        peer_id: &Bound<'_, PyString>,
        peer_coordinate: &Bound<'_, NetworkCoordinate>,
        rtt_ms: f64,
    ) -> PyResult<Py<NetworkCoordinate>> {
        let py = peer_id.py();
        let mut place = NOWHERE;
        peer_coordinate.get().read(py, &mut place)?;
        let engine = self.engine.get();
        let mut state = engine.state(py)?;
        if let Some(now) = engine.learn(&mut state, &mut place, rtt_ms / 1000.0) {
            self.remember(peer_id, peer_coordinate, now)?;
        }
        state.own(py, engine.dimensions)
    }

    /// The predicted round trip to a peer at this place, in ms.
    fn estimate_rtt_ms(
        &self,
        py: Python<'_>,
        peer_coordinate: &NetworkCoordinate,
    ) -> PyResult<f64> {
        let mut place = NOWHERE;
        peer_coordinate.read(py, &mut place)?;
        Ok(self.engine.get().state(py)?.engine.estimate_ms(&place))
    }

    /// What the round trip to a peer at this place, or to a remembered peer, hardly exceeds, in ms.
    #[pyo3(signature = (peer_coordinate=None, peer_id=None))]
    fn estimate_rtt_ucb_ms(
        &self,
        py: Python<'_>,
        peer_coordinate: Option<&NetworkCoordinate>,
        peer_id: Option<&Bound<'_, PyString>>,
    ) -> PyResult<f64> {
        let told = match (peer_coordinate, peer_id) {
            (None, Some(name)) => self.told(name)?,
            _ => None,
        };
        let known = peer_coordinate.or(told.as_ref().map(Py::get));
        let mut place = NOWHERE;
        if let Some(known) = known {
            known.read(py, &mut place)?;
        }
        Ok(self.engine.get().upper(known.map(|_| &place)))
    }

    /// How good a coordinate, by default the own one, is: 0 to 1.
    #[pyo3(signature = (coord=None))]
    fn coordinate_quality(
        &self,
        py: Python<'_>,
        coord: Option<&NetworkCoordinate>,
    ) -> PyResult<f64> {
        self.engine.get().coordinate_quality(py, coord)
    }

    /// Whether the own coordinate has settled.
    fn is_converged(&self, py: Python<'_>) -> PyResult<bool> {
        self.engine.get().is_converged(py, None)
    }

    /// What a peer last told.
    fn get_peer_coordinate(
        &self,
        peer_id: &Bound<'_, PyString>,
    ) -> PyResult<Option<Py<NetworkCoordinate>>> {
        self.told(peer_id)
    }

    /// How many peers are remembered.
    fn get_peer_count(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.peers(py)?.len())
    }

    /// The names of all peers.
    fn get_all_peer_ids<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyString>>> {
        Ok(self.peers(py)?.iter().map(|peer| peer.name.bind(py).clone()).collect())
    }

    /// Takes over where a node and its living peers are, and says how many peers that were.
    ///
    /// The errors of the engine are relative, those of hyperscale are in seconds: they are chosen so
    /// that the bound for a pair is that of the engine. A peer counts as many samples as it takes to
    /// be trusted as much as the engine does.
    fn mirror(&self, py: Python<'_>, node: &crate::node::Node) -> PyResult<usize> {
        let seen = node.places()?;
        let now = monotonic_seconds();
        let peers = || seen.members.iter().filter_map(|member| Some((member, member.rtt?)));
        let (count, sum) =
            peers().fold((0.0, 0.0), |(count, sum), (_, rtt)| (count + 1.0, sum + rtt.ms));
        let engine = self.engine.get();
        let HyperscaleConfig { max_error, k_sigma, min_samples_for_routing, .. } = engine.config;
        let error = if count > 0.0 { seen.own.error * sum / count / 2e3 } else { 1.0 };
        let own = Place { error: error.clamp(ERROR_SECONDS_MIN, max_error), ..seen.own };
        {
            let mut state = engine.state(py)?;
            state.engine.set(own, seen.sample_count);
            state.updated_at = now;
            engine.own.set(&own);
        }
        let mut told = 0;
        for (member, rtt) in peers() {
            let Some(place) = member.coordinate else { continue };
            let sigma = (rtt.upper_ms - rtt.ms).max(0.0) / k_sigma.max(1.0) / 1e3;
            let place = Place { error: (sigma - own.error).max(ERROR_SECONDS_MIN), ..place };
            let sample_count = (rtt.quality * f64::from(min_samples_for_routing)).ceil() as i64;
            let coordinate = NetworkCoordinate::at(&place, engine.dimensions, now, sample_count);
            let name = PyString::new(py, &member.address.to_string());
            self.remember(&name, &Bound::new(py, coordinate)?, now)?;
            told += 1;
        }
        Ok(told)
    }

    /// Forgets peers not heard of for so long, by default `coord_ttl_seconds`; says how many.
    #[pyo3(signature = (max_age_seconds=None))]
    fn cleanup_stale_peers(&self, py: Python<'_>, max_age_seconds: Option<f64>) -> PyResult<usize> {
        let usual = || self.get_config(py)?.getattr("coord_ttl_seconds")?.extract();
        let max_age_seconds = max_age_seconds.map_or_else(usual, Ok)?;
        let mut peers = self.peers(py)?;
        let (before, now) = (peers.len(), monotonic_seconds());
        peers.retain(|peer| now - peer.seen_at <= max_age_seconds);
        Ok(before - peers.len())
    }

    /// All peers with what they told.
    #[getter]
    fn _peers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let told = PyDict::new(py);
        for peer in &*self.peers(py)? {
            told.set_item(&peer.name, &peer.coordinate)?;
        }
        Ok(told)
    }

    /// All peers with when they were heard, in seconds of `time.monotonic()`.
    #[getter]
    fn _peer_last_seen<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let seen = PyDict::new(py);
        for peer in &*self.peers(py)? {
            seen.set_item(&peer.name, PyFloat::new(py, peer.seen_at))?;
        }
        Ok(seen)
    }
}
