//! Coordinates with the constants of the Python node, in seconds, behind its class names.
//!
//! The arithmetic is the engine's profile `hyperscale`. Two rules are added to it. What a peer
//! tells is used only when every number of it is finite and in range: one NaN that enters a sum
//! never leaves it again. And two nodes at one place push each other apart in a random direction,
//! because a fixed one would keep all nodes on a line.
//!
//! A coordinate holds its vector as numbers until Python asks for the list; from then on the list
//! is the vector, so that a program that changes it changes the coordinate.

use std::sync::{Mutex, MutexGuard};

use hashbrown::HashTable;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyTuple, PyType};
use shoal_core::coordinate::hyperscale::{Hyperscale, HyperscaleConfig, estimate_seconds};
use shoal_core::coordinate::{Coordinate as Place, DIMENSIONS};
use shoal_core::random::Random;
use shoal_core::wire::hyperscale::PeerCoordinate;

use super::{monotonic_seconds, recent_seconds};
use crate::errors::Failure;

/// The largest component, height or adjustment that is believed, in seconds.
const SECONDS_MAX: f64 = 100.0;
/// The largest error that is believed, in seconds.
const ERROR_SECONDS_MAX: f64 = 100.0;
/// The smallest error of a coordinate that the engine places, in seconds.
const ERROR_SECONDS_MIN: f64 = 1e-6;
/// How far apart two coinciding nodes are taken to be, in seconds: far below what can be measured.
const NUDGE_SECONDS: f64 = 1e-12;
/// How many peers a tracker remembers; the one heard longest ago makes room.
const PEER_CAPACITY: usize = 16_384;

/// A node's place in the latency space, in seconds.
#[pyclass(freelist = 64, module = "shoal.hyperscale.models.coordinates")]
pub(crate) struct NetworkCoordinate {
    place: Place,
    dimensions: usize,
    /// The vector, once Python has seen it.
    list: Option<Py<PyList>>,
    /// When it was last changed, in seconds of `time.monotonic()`.
    #[pyo3(get, set)]
    updated_at: f64,
    /// How many samples led here.
    #[pyo3(get, set)]
    sample_count: i64,
}

impl NetworkCoordinate {
    /// What a peer told in a datagram.
    pub(crate) fn of_peer(
        py: Python<'_>,
        peer: &PeerCoordinate,
    ) -> PyResult<Py<NetworkCoordinate>> {
        let coordinate = NetworkCoordinate {
            place: peer.coordinate,
            dimensions: DIMENSIONS,
            list: None,
            updated_at: monotonic_seconds(),
            sample_count: i64::try_from(peer.sample_count).unwrap_or(i64::MAX),
        };
        Py::new(py, coordinate)
    }

    /// The numbers as they are now.
    fn place(&self, py: Python<'_>) -> PyResult<Place> {
        let mut place = self.place;
        if let Some(list) = &self.list {
            place.vector = read_vector(list.bind(py).as_any())?.0;
        }
        Ok(place)
    }
}

/// The components, filled up with zeros, and how many there are.
fn read_vector(vector: &Bound<'_, PyAny>) -> PyResult<([f64; DIMENSIONS], usize)> {
    let mut components = [0.0; DIMENSIONS];
    let count = vector.len()?;
    if count > DIMENSIONS {
        let message = format!("a vector has at most {DIMENSIONS} components, not {count}");
        return Err(PyValueError::new_err(message));
    }
    if let Ok(list) = vector.cast::<PyList>() {
        for (component, value) in components.iter_mut().zip(list.iter()) {
            *component = value.extract()?;
        }
    } else {
        for (component, value) in components.iter_mut().zip(vector.try_iter()?) {
            *component = value?.extract()?;
        }
    }
    Ok((components, count))
}

/// Whether a place may enter a computation.
fn is_believable(place: &Place) -> bool {
    let bounded = |value: f64| value.abs() <= SECONDS_MAX;
    place.vector.iter().all(|component| bounded(*component))
        && (0.0..=SECONDS_MAX).contains(&place.height)
        && bounded(place.adjustment)
        && (0.0..=ERROR_SECONDS_MAX).contains(&place.error)
}

#[pymethods]
impl NetworkCoordinate {
    /// Called without anything only when a pickled coordinate is read.
    #[new]
    #[pyo3(signature = (vec=None, height=None, adjustment=None, error=None, updated_at=None,
        sample_count=0))]
    fn new(
        vec: Option<&Bound<'_, PyAny>>,
        height: Option<f64>,
        adjustment: Option<f64>,
        error: Option<f64>,
        updated_at: Option<f64>,
        sample_count: i64,
    ) -> PyResult<NetworkCoordinate> {
        let updated_at = updated_at.unwrap_or_else(monotonic_seconds);
        let (place, dimensions) = match (vec, height, adjustment, error) {
            (Some(vec), Some(height), Some(adjustment), Some(error)) => {
                let (vector, dimensions) = read_vector(vec)?;
                (Place { vector, height, adjustment, error }, dimensions)
            }
            (None, None, None, None) => {
                let vector = [0.0; DIMENSIONS];
                (Place { vector, height: 0.0, adjustment: 0.0, error: 1.0 }, DIMENSIONS)
            }
            _ => {
                let message = "NetworkCoordinate() needs vec, height, adjustment and error";
                return Err(PyTypeError::new_err(message));
            }
        };
        Ok(NetworkCoordinate { place, dimensions, list: None, updated_at, sample_count })
    }

    /// The vector, as a list that belongs to the coordinate.
    #[getter]
    fn vec<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if let Some(list) = &self.list {
            return Ok(list.bind(py).clone());
        }
        let list = PyList::new(py, &self.place.vector[..self.dimensions])?;
        self.list = Some(list.clone().unbind());
        Ok(list)
    }

    #[setter(vec)]
    fn set_vec(&mut self, vec: &Bound<'_, PyAny>) -> PyResult<()> {
        (self.place.vector, self.dimensions) = read_vector(vec)?;
        self.list = None;
        Ok(())
    }

    /// The access link, in seconds.
    #[getter]
    fn height(&self) -> f64 {
        self.place.height
    }

    #[setter(height)]
    fn set_height(&mut self, height: f64) {
        self.place.height = height;
    }

    /// A correction of every prediction from here, in seconds.
    #[getter]
    fn adjustment(&self) -> f64 {
        self.place.adjustment
    }

    #[setter(adjustment)]
    fn set_adjustment(&mut self, adjustment: f64) {
        self.place.adjustment = adjustment;
    }

    /// How wrong predictions from here are, in seconds.
    #[getter]
    fn error(&self) -> f64 {
        self.place.error
    }

    #[setter(error)]
    fn set_error(&mut self, error: f64) {
        self.place.error = error;
    }

    /// The form in which it is put into a datagram.
    #[allow(clippy::wrong_self_convention, reason = "the name is hyperscale's")]
    fn to_dict<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item(pyo3::intern!(py, "vec"), self.vec(py)?)?;
        fields.set_item(pyo3::intern!(py, "height"), self.place.height)?;
        fields.set_item(pyo3::intern!(py, "adjustment"), self.place.adjustment)?;
        fields.set_item(pyo3::intern!(py, "error"), self.place.error)?;
        fields.set_item(pyo3::intern!(py, "sample_count"), self.sample_count)?;
        Ok(fields)
    }

    /// A coordinate from that form; one that is not believable raises `ValueError`.
    #[classmethod]
    fn from_dict<'py>(
        class: &Bound<'py, PyType>,
        data: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let number = |name: &str, missing: f64| match data.get_item(name)? {
            Some(value) => value.extract::<f64>(),
            None => Ok(missing),
        };
        let (vector, dimensions) = match data.get_item("vec")? {
            Some(vector) => read_vector(&vector)?,
            None => ([0.0; DIMENSIONS], 0),
        };
        let place = Place {
            vector,
            height: number("height", 0.0)?,
            adjustment: number("adjustment", 0.0)?,
            error: number("error", 1.0)?,
        };
        if !is_believable(&place) {
            let message = format!("a peer's coordinate is out of range: {place:?}");
            return Err(PyValueError::new_err(message));
        }
        let count = number("sample_count", 0.0)?.max(0.0) as i64;
        let list = PyList::new(class.py(), &place.vector[..dimensions])?;
        let now = monotonic_seconds();
        class.call1((list, place.height, place.adjustment, place.error, now, count))
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(other) = other.cast::<NetworkCoordinate>() else { return Ok(false) };
        let other = other.borrow();
        Ok(self.dimensions == other.dimensions
            && self.place(py)? == other.place(py)?
            && self.updated_at == other.updated_at
            && self.sample_count == other.sample_count)
    }

    fn __repr__(&mut self, py: Python<'_>) -> PyResult<String> {
        let vec = self.vec(py)?.repr()?;
        let Place { height, adjustment, error, .. } = self.place;
        let (updated_at, sample_count) = (self.updated_at, self.sample_count);
        Ok(format!(
            "NetworkCoordinate(vec={vec}, height={height:?}, adjustment={adjustment:?}, \
             error={error:?}, updated_at={updated_at:?}, sample_count={sample_count})"
        ))
    }

    fn __reduce__<'py>(
        value: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let py = value.py();
        let mut own = value.borrow_mut();
        let Place { height, adjustment, error, .. } = own.place;
        let (updated_at, sample_count) = (own.updated_at, own.sample_count);
        let fields = (own.vec(py)?, height, adjustment, error, updated_at, sample_count);
        Ok((value.get_type(), fields.into_pyobject(py)?))
    }

    /// Reads what the dataclass of a node without Shoal pickles: the values of its fields.
    fn __setstate__(&mut self, state: &Bound<'_, PyAny>) -> PyResult<()> {
        type Fields<'py> = (Bound<'py, PyAny>, f64, f64, f64, f64, i64);
        let (vec, height, adjustment, error, updated_at, sample_count) =
            PyTuple::new(state.py(), state.try_iter()?.collect::<PyResult<Vec<_>>>()?)?
                .extract::<Fields<'_>>()?;
        *self = NetworkCoordinate::new(
            Some(&vec),
            Some(height),
            Some(adjustment),
            Some(error),
            Some(updated_at),
            sample_count,
        )?;
        Ok(())
    }
}

/// The own coordinate and how samples move it.
#[pyclass(subclass, module = "shoal._native")]
pub(crate) struct HyperscaleEngine {
    engine: Hyperscale,
    updated_at: f64,
    dimensions: usize,
    random: Random,
}

impl HyperscaleEngine {
    /// The own coordinate, for Python.
    fn own(&self) -> NetworkCoordinate {
        NetworkCoordinate {
            place: *self.engine.coordinate(),
            dimensions: self.dimensions,
            list: None,
            updated_at: self.updated_at,
            sample_count: self.engine.sample_count() as i64,
        }
    }

    /// Moves by one sample; says whether it did. A peer that is not to be believed, and a round
    /// trip that is none, change nothing.
    fn learn(&mut self, mut peer: Place, round_trip_seconds: f64) -> bool {
        let is_round_trip = round_trip_seconds > 0.0 && round_trip_seconds <= SECONDS_MAX;
        if !is_round_trip || !is_believable(&peer) {
            return false;
        }
        if peer.vector == self.engine.coordinate().vector {
            for component in &mut peer.vector[..self.dimensions] {
                *component += NUDGE_SECONDS * (self.random.unit() - 0.5);
            }
        }
        self.engine.update(&peer, round_trip_seconds);
        self.updated_at = recent_seconds();
        true
    }

    fn upper(&self, peer: Option<&Place>) -> f64 {
        self.engine.upper_ms(peer.filter(|place| is_believable(place)))
    }

    fn quality(&self, coordinate: &NetworkCoordinate, now: f64) -> f64 {
        let samples = coordinate.sample_count.max(0) as u64;
        self.engine.quality(samples, coordinate.place.error, now - coordinate.updated_at)
    }
}

#[pymethods]
impl HyperscaleEngine {
    /// At the origin, with these constants. `seed` decides where coinciding nodes part to.
    #[new]
    fn new(config: &Bound<'_, PyAny>, dimensions: usize, seed: u64) -> PyResult<HyperscaleEngine> {
        let config = <HyperscaleConfig as crate::config::Setting>::read(config)?;
        config.check().map_err(Failure::from)?;
        if !(1..=DIMENSIONS).contains(&dimensions) {
            let message = format!("dimensions is {dimensions}, expected 1 to {DIMENSIONS}");
            return Err(PyValueError::new_err(message));
        }
        let engine = Hyperscale::new(config);
        let updated_at = monotonic_seconds();
        Ok(HyperscaleEngine { engine, updated_at, dimensions, random: Random::new(seed) })
    }

    /// A copy of the own coordinate.
    fn get_coordinate(&self) -> NetworkCoordinate {
        self.own()
    }

    /// Moves by one sample and gives a copy of the own coordinate.
    fn update_with_rtt(
        &mut self,
        py: Python<'_>,
        peer: &NetworkCoordinate,
        rtt_seconds: f64,
    ) -> PyResult<NetworkCoordinate> {
        self.learn(peer.place(py)?, rtt_seconds);
        Ok(self.own())
    }

    /// What the round trip between two places hardly exceeds, in ms; `None` is an unknown place.
    fn estimate_rtt_ucb_ms(
        &self,
        py: Python<'_>,
        local: Option<&NetworkCoordinate>,
        remote: Option<&NetworkCoordinate>,
    ) -> PyResult<f64> {
        let (Some(local), Some(remote)) = (local, remote) else { return Ok(self.upper(None)) };
        let (local, remote) = (local.place(py)?, remote.place(py)?);
        if !is_believable(&local) || !is_believable(&remote) {
            return Ok(self.upper(None));
        }
        let config = self.engine.config();
        let sigma = (local.error + remote.error) * 1000.0;
        let sigma = sigma.clamp(config.sigma_min_ms, config.sigma_max_ms);
        let upper = estimate_seconds(&local, &remote) * 1000.0 + config.k_sigma * sigma;
        Ok(upper.clamp(config.rtt_min_ms, config.rtt_max_ms))
    }

    /// How good a coordinate, by default the own one, is: 0 to 1.
    #[pyo3(signature = (coord=None))]
    fn coordinate_quality(&self, coord: Option<&NetworkCoordinate>) -> f64 {
        let now = monotonic_seconds();
        coord.map_or_else(|| self.quality(&self.own(), now), |coord| self.quality(coord, now))
    }

    /// Whether a coordinate, by default the own one, has settled.
    #[pyo3(signature = (coord=None))]
    fn is_converged(&self, coord: Option<&NetworkCoordinate>) -> bool {
        let Some(coord) = coord else { return self.engine.is_converged() };
        let config = self.engine.config();
        coord.place.error <= config.convergence_error_threshold
            && coord.sample_count >= i64::from(config.convergence_min_samples)
    }
}

/// The predicted round trip between two places, in seconds.
#[pyfunction]
pub(crate) fn hyperscale_estimate_seconds(
    py: Python<'_>,
    local: &NetworkCoordinate,
    peer: &NetworkCoordinate,
) -> PyResult<f64> {
    Ok(estimate_seconds(&local.place(py)?, &peer.place(py)?))
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

/// An engine with what its peers told.
#[pyclass(frozen, subclass, module = "shoal._native")]
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
        let coordinate = told.bind(py).borrow();
        let engine = self.engine.bind(py).borrow();
        let upper = engine.upper(Some(&coordinate.place(py)?));
        Ok(Some((upper, engine.quality(&coordinate, now))))
    }

    /// The bound in ms for a peer that told nothing.
    pub(super) fn bound_of_unknown(&self, py: Python<'_>) -> f64 {
        self.engine.bind(py).borrow().upper(None)
    }

    pub(super) fn has_peers(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(!self.peers(py)?.is_empty())
    }
}

#[pymethods]
impl HyperscaleTracker {
    #[new]
    fn new(engine: Py<HyperscaleEngine>) -> HyperscaleTracker {
        HyperscaleTracker { engine, peers: Mutex::new(HashTable::new()) }
    }

    /// A copy of the own coordinate.
    fn get_coordinate(&self, py: Python<'_>) -> NetworkCoordinate {
        self.engine.bind(py).borrow().own()
    }

    /// Moves by one sample, remembers the peer, and gives a copy of the own coordinate.
    fn update_peer_coordinate(
        &self,
        peer_id: &Bound<'_, PyString>,
        peer_coordinate: &Bound<'_, NetworkCoordinate>,
        rtt_ms: f64,
    ) -> PyResult<NetworkCoordinate> {
        let py = peer_id.py();
        let place = peer_coordinate.borrow().place(py)?;
        let (own, seen_at) = {
            let mut engine = self.engine.bind(py).borrow_mut();
            let seen_at = engine.learn(place, rtt_ms / 1000.0).then_some(engine.updated_at);
            (engine.own(), seen_at)
        };
        if let Some(seen_at) = seen_at {
            self.remember(peer_id, peer_coordinate, seen_at)?;
        }
        Ok(own)
    }

    /// The predicted round trip to a peer at this place, in ms.
    fn estimate_rtt_ms(
        &self,
        py: Python<'_>,
        peer_coordinate: &NetworkCoordinate,
    ) -> PyResult<f64> {
        Ok(self.engine.bind(py).borrow().engine.estimate_ms(&peer_coordinate.place(py)?))
    }

    /// What the round trip to a peer at this place, or to a remembered peer, hardly exceeds, in ms.
    #[pyo3(signature = (peer_coordinate=None, peer_id=None))]
    fn estimate_rtt_ucb_ms(
        &self,
        py: Python<'_>,
        peer_coordinate: Option<&Bound<'_, NetworkCoordinate>>,
        peer_id: Option<&Bound<'_, PyString>>,
    ) -> PyResult<f64> {
        let place = match (peer_coordinate, peer_id) {
            (Some(coordinate), _) => Some(coordinate.borrow().place(py)?),
            (None, Some(name)) => {
                let told = self.told(name)?;
                told.map(|told| told.bind(py).borrow().place(py)).transpose()?
            }
            (None, None) => None,
        };
        Ok(self.engine.bind(py).borrow().upper(place.as_ref()))
    }

    /// How good a coordinate, by default the own one, is: 0 to 1.
    #[pyo3(signature = (coord=None))]
    fn coordinate_quality(&self, py: Python<'_>, coord: Option<&NetworkCoordinate>) -> f64 {
        self.engine.bind(py).borrow().coordinate_quality(coord)
    }

    /// Whether the own coordinate has settled.
    fn is_converged(&self, py: Python<'_>) -> bool {
        self.engine.bind(py).borrow().is_converged(None)
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
        let (own, dimensions) = {
            let mut engine = self.engine.bind(py).borrow_mut();
            let HyperscaleConfig { max_error, k_sigma, .. } = *engine.engine.config();
            let error = if count > 0.0 { seen.own.error * sum / count / 2e3 } else { 1.0 };
            let own = Place { error: error.clamp(ERROR_SECONDS_MIN, max_error), ..seen.own };
            engine.engine.set(own, seen.sample_count);
            engine.updated_at = now;
            ((own.error, k_sigma.max(1.0)), engine.dimensions)
        };
        let mut told = 0;
        for (member, rtt) in peers() {
            let Some(place) = member.coordinate else { continue };
            let sigma = (rtt.upper_ms - rtt.ms).max(0.0) / own.1 / 1e3;
            let place = Place { error: (sigma - own.0).max(ERROR_SECONDS_MIN), ..place };
            let config = self.engine.bind(py).borrow().engine.config().min_samples_for_routing;
            let coordinate = NetworkCoordinate {
                place,
                dimensions,
                list: None,
                updated_at: now,
                sample_count: (rtt.quality * f64::from(config)).ceil() as i64,
            };
            let name = PyString::new(py, &member.address.to_string());
            self.remember(&name, &Bound::new(py, coordinate)?, now)?;
            told += 1;
        }
        Ok(told)
    }

    /// Forgets peers not heard of for so many seconds; says how many.
    fn forget_silent_peers(&self, py: Python<'_>, max_age_seconds: f64) -> PyResult<usize> {
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
