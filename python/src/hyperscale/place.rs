//! A coordinate that stands in for hyperscale's dataclass.
//!
//! Its vector is numbers until Python asks for the list; from then on the list is the vector, so
//! that a program that changes it changes the coordinate.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use shoal_core::coordinate::{Coordinate as Place, DIMENSIONS};
use shoal_core::wire::hyperscale::PeerCoordinate;

use super::monotonic_seconds;

/// The largest component, height or adjustment that is believed, in seconds.
const SECONDS_MAX: f64 = 100.0;
/// The largest error that is believed, in seconds.
const ERROR_SECONDS_MAX: f64 = 100.0;

/// What is to be read into.
pub(super) const NOWHERE: Place =
    Place { vector: [0.0; DIMENSIONS], height: 0.0, adjustment: 0.0, error: 1.0 };

/// A number that is read and set by itself, from any thread, as an attribute of a Python object is.
struct Number(AtomicU64);

impl Number {
    fn new(value: f64) -> Number {
        Number(AtomicU64::new(value.to_bits()))
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// A place of which the numbers are read and set one by one. A thread that reads one while another
/// sets it may find numbers of both; threads that share an interpreter lock never do.
pub(super) struct Numbers {
    vector: [Number; DIMENSIONS],
    height: Number,
    adjustment: Number,
    error: Number,
}

impl Numbers {
    pub(super) fn new(place: &Place) -> Numbers {
        Numbers {
            vector: place.vector.map(Number::new),
            height: Number::new(place.height),
            adjustment: Number::new(place.adjustment),
            error: Number::new(place.error),
        }
    }

    // Into the caller's memory, number by number: a result that is passed on by value is copied,
    // and reading in one piece what was just written in several stalls the processor.
    pub(super) fn read(&self, place: &mut Place) {
        for (component, number) in place.vector.iter_mut().zip(&self.vector) {
            *component = number.get();
        }
        place.height = self.height.get();
        place.adjustment = self.adjustment.get();
        place.error = self.error.get();
    }

    pub(super) fn set(&self, place: &Place) {
        self.set_vector(&place.vector);
        self.height.set(place.height);
        self.adjustment.set(place.adjustment);
        self.error.set(place.error);
    }

    fn set_vector(&self, vector: &[f64; DIMENSIONS]) {
        for (number, component) in self.vector.iter().zip(vector) {
            number.set(*component);
        }
    }
}

/// The vector as the list that Python has seen. There mostly is none, which is told without a lock.
#[derive(Default)]
struct Seen {
    is_there: AtomicBool,
    list: Mutex<Option<Py<PyList>>>,
}

impl Seen {
    fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyList>> {
        if !self.is_there.load(Ordering::Acquire) {
            return None;
        }
        let list = self.list.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        list.as_ref().map(|list| list.bind(py).clone())
    }

    /// The list that is there already, if there is one, else this one.
    fn get_or_set<'py>(&self, list: Bound<'py, PyList>) -> Bound<'py, PyList> {
        let py = list.py();
        let mut place = self.list.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let list = place.get_or_insert(list.unbind()).bind(py).clone();
        self.is_there.store(true, Ordering::Release);
        list
    }

    fn forget(&self, py: Python<'_>) {
        let mut place = self.list.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        self.is_there.store(false, Ordering::Release);
        *place = None;
    }
}

/// A node's place in the latency space, in seconds.
#[pyclass(frozen, freelist = 64, module = "shoal.hyperscale.models.coordinates")]
pub(crate) struct NetworkCoordinate {
    numbers: Numbers,
    dimensions: AtomicUsize,
    seen: Seen,
    updated_at: Number,
    sample_count: AtomicI64,
}

impl NetworkCoordinate {
    pub(super) fn at(
        place: &Place,
        dimensions: usize,
        updated_at: f64,
        sample_count: i64,
    ) -> NetworkCoordinate {
        NetworkCoordinate {
            numbers: Numbers::new(place),
            dimensions: AtomicUsize::new(dimensions),
            seen: Seen::default(),
            updated_at: Number::new(updated_at),
            sample_count: AtomicI64::new(sample_count),
        }
    }

    /// What a peer told in a datagram.
    pub(crate) fn of_peer(
        py: Python<'_>,
        peer: &PeerCoordinate,
    ) -> PyResult<Py<NetworkCoordinate>> {
        let sample_count = i64::try_from(peer.sample_count).unwrap_or(i64::MAX);
        let coordinate = &peer.coordinate;
        Py::new(
            py,
            NetworkCoordinate::at(coordinate, DIMENSIONS, monotonic_seconds(), sample_count),
        )
    }

    /// Becomes another one. Only for a coordinate that nobody else holds: others could see half of
    /// it. Says whether it did; a coordinate whose list was seen stays as it is.
    pub(super) fn become_at(&self, place: &Place, updated_at: f64, sample_count: i64) -> bool {
        if self.seen.is_there.load(Ordering::Acquire) {
            return false;
        }
        self.numbers.set(place);
        self.updated_at.set(updated_at);
        self.sample_count.store(sample_count, Ordering::Relaxed);
        true
    }

    /// Reads the numbers as they are now.
    pub(super) fn read(&self, py: Python<'_>, place: &mut Place) -> PyResult<()> {
        self.numbers.read(place);
        if let Some(list) = self.seen.get(py) {
            place.vector = read_vector(list.as_any())?.0;
        }
        Ok(())
    }

    fn place(&self, py: Python<'_>) -> PyResult<Place> {
        let mut place = NOWHERE;
        self.read(py, &mut place)?;
        Ok(place)
    }

    fn dimensions(&self) -> usize {
        self.dimensions.load(Ordering::Relaxed)
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
pub(super) fn is_believable(place: &Place) -> bool {
    let bounded = |value: f64| value.abs() <= SECONDS_MAX;
    place.vector.iter().all(|component| bounded(*component))
        && (0.0..=SECONDS_MAX).contains(&place.height)
        && bounded(place.adjustment)
        && (0.0..=ERROR_SECONDS_MAX).contains(&place.error)
}

/// Whether so many seconds may be a round trip.
pub(super) fn is_round_trip(seconds: f64) -> bool {
    seconds > 0.0 && seconds <= SECONDS_MAX
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
            (None, None, None, None) => (NOWHERE, DIMENSIONS),
            _ => {
                let message = "NetworkCoordinate() needs vec, height, adjustment and error";
                return Err(PyTypeError::new_err(message));
            }
        };
        Ok(NetworkCoordinate::at(&place, dimensions, updated_at, sample_count))
    }

    /// The vector, as a list that belongs to the coordinate.
    #[getter]
    fn vec<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        if let Some(list) = self.seen.get(py) {
            return Ok(list);
        }
        let vector = self.numbers.vector.each_ref().map(Number::get);
        Ok(self.seen.get_or_set(PyList::new(py, &vector[..self.dimensions()])?))
    }

    #[setter(vec)]
    fn set_vec(&self, vec: &Bound<'_, PyAny>) -> PyResult<()> {
        let (vector, dimensions) = read_vector(vec)?;
        self.numbers.set_vector(&vector);
        self.dimensions.store(dimensions, Ordering::Relaxed);
        self.seen.forget(vec.py());
        Ok(())
    }

    /// The access link, in seconds.
    #[getter]
    fn height(&self) -> f64 {
        self.numbers.height.get()
    }

    #[setter(height)]
    fn set_height(&self, height: f64) {
        self.numbers.height.set(height);
    }

    /// A correction of every prediction from here, in seconds.
    #[getter]
    fn adjustment(&self) -> f64 {
        self.numbers.adjustment.get()
    }

    #[setter(adjustment)]
    fn set_adjustment(&self, adjustment: f64) {
        self.numbers.adjustment.set(adjustment);
    }

    /// How wrong predictions from here are, in seconds.
    #[getter]
    pub(super) fn error(&self) -> f64 {
        self.numbers.error.get()
    }

    #[setter(error)]
    fn set_error(&self, error: f64) {
        self.numbers.error.set(error);
    }

    /// When it was last changed, in seconds of `time.monotonic()`.
    #[getter]
    pub(super) fn updated_at(&self) -> f64 {
        self.updated_at.get()
    }

    #[setter(updated_at)]
    fn set_updated_at(&self, updated_at: f64) {
        self.updated_at.set(updated_at);
    }

    /// How many samples led here.
    #[getter]
    pub(super) fn sample_count(&self) -> i64 {
        self.sample_count.load(Ordering::Relaxed)
    }

    #[setter(sample_count)]
    fn set_sample_count(&self, sample_count: i64) {
        self.sample_count.store(sample_count, Ordering::Relaxed);
    }

    /// The form in which it is put into a datagram.
    #[allow(clippy::wrong_self_convention, reason = "the name is hyperscale's")]
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item(pyo3::intern!(py, "vec"), self.vec(py)?)?;
        fields.set_item(pyo3::intern!(py, "height"), self.height())?;
        fields.set_item(pyo3::intern!(py, "adjustment"), self.adjustment())?;
        fields.set_item(pyo3::intern!(py, "error"), self.error())?;
        fields.set_item(pyo3::intern!(py, "sample_count"), self.sample_count())?;
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
        let other = other.get();
        Ok(self.dimensions() == other.dimensions()
            && self.place(py)? == other.place(py)?
            && self.updated_at() == other.updated_at()
            && self.sample_count() == other.sample_count())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let vec = self.vec(py)?.repr()?;
        let (height, adjustment, error) = (self.height(), self.adjustment(), self.error());
        let (updated_at, sample_count) = (self.updated_at(), self.sample_count());
        Ok(format!(
            "NetworkCoordinate(vec={vec}, height={height:?}, adjustment={adjustment:?}, \
             error={error:?}, updated_at={updated_at:?}, sample_count={sample_count})"
        ))
    }

    fn __reduce__<'py>(
        value: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        let py = value.py();
        let own = value.get();
        let (height, adjustment, error) = (own.height(), own.adjustment(), own.error());
        let fields =
            (own.vec(py)?, height, adjustment, error, own.updated_at(), own.sample_count());
        Ok((value.get_type(), fields.into_pyobject(py)?))
    }

    /// Reads what the dataclass of a node without Shoal pickles: the values of its fields.
    fn __setstate__(&self, state: &Bound<'_, PyAny>) -> PyResult<()> {
        type Fields<'py> = (Bound<'py, PyAny>, f64, f64, f64, f64, i64);
        let (vec, height, adjustment, error, updated_at, sample_count) =
            PyTuple::new(state.py(), state.try_iter()?.collect::<PyResult<Vec<_>>>()?)?
                .extract::<Fields<'_>>()?;
        self.set_vec(&vec)?;
        self.numbers.height.set(height);
        self.numbers.adjustment.set(adjustment);
        self.numbers.error.set(error);
        self.updated_at.set(updated_at);
        self.set_sample_count(sample_count);
        Ok(())
    }
}
