//! How arguments and results cross the border: addresses, datacenters, durations, bytes and
//! secrets.
//!
//! Each has a small type of its own that Python reads as a `str` (or an enum that is one), so that
//! the classes of [`values`](crate::values) and [`events`](crate::events) keep the engine's compact
//! form and make Python objects only of the fields that a program looks at.

use std::borrow::Cow;

use bytes::Bytes;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFloat, PyInt, PyString, PyTuple};
use pyo3::{Borrowed, IntoPyObject};
use shoal_core::config::SECRET_COUNT_MAX;
use shoal_core::coordinate::DIMENSIONS;
use shoal_core::wire::hyperscale::{ADDRESS_TEXT_SIZE_MAX, address_text};
use shoal_core::{Address, DatacenterName, Duration, Secret};

use crate::errors::Failure;

/// An address: `"ip:port"`, or the tuple `(ip, port, ...)` of Python's sockets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AddressText(pub Address);

impl<'py> IntoPyObject<'py> for AddressText {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyString::new(py, address_text(self.0, &mut [0; ADDRESS_TEXT_SIZE_MAX])))
    }
}

impl FromPyObject<'_, '_> for AddressText {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<AddressText> {
        let no_address = |value: &dyn std::fmt::Display| {
            Failure::Address(format!(
                "{value} is no address; expected an IP address and a port, such as \
                 \"10.0.0.1:7462\" or \"[fd00::1]:7462\""
            ))
        };
        if let Ok(text) = value.cast::<PyString>() {
            let parsed = text.to_cow()?.parse();
            return Ok(AddressText(parsed.map_err(|_| no_address(&format!("{text:?}")))?));
        }
        let Ok(tuple) = value.cast::<PyTuple>() else {
            let class = value.get_type().name()?.to_string();
            let message = format!("an address is a str or a tuple (ip, port), not {class}");
            return Err(PyTypeError::new_err(message));
        };
        let parts = || {
            let ip = tuple.get_item(0)?.extract::<String>()?;
            PyResult::Ok((ip, tuple.get_item(1)?.extract::<u16>()?))
        };
        let (ip, port) = parts().map_err(|_| no_address(&tuple.as_any()))?;
        let ip: std::net::IpAddr = ip.parse().map_err(|_| no_address(&tuple.as_any()))?;
        Ok(AddressText(std::net::SocketAddr::new(ip, port).into()))
    }
}

/// A datacenter's name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct DatacenterText(pub DatacenterName);

impl<'py> IntoPyObject<'py> for DatacenterText {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyString::new(py, self.0.as_str()))
    }
}

impl DatacenterText {
    /// The name that a node gets when it is given none.
    pub(crate) fn unnamed() -> DatacenterText {
        DatacenterText("default".parse().expect("a plain word is a name"))
    }
}

impl FromPyObject<'_, '_> for DatacenterText {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<DatacenterText> {
        let text = text(value, "a datacenter")?;
        let name = text.parse().map_err(|error| Failure::Config(format!("{error}")))?;
        Ok(DatacenterText(name))
    }
}

fn text(value: Borrowed<'_, '_, PyAny>, what: &str) -> PyResult<String> {
    let Ok(text) = value.cast::<PyString>() else {
        let class = value.get_type().name()?.to_string();
        return Err(PyTypeError::new_err(format!("{what} is a str, not {class}")));
    };
    Ok(text.to_cow()?.into_owned())
}

/// Bytes of a host, which the engine never looks into.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Payload(pub Bytes);

impl<'py> IntoPyObject<'py> for Payload {
    type Target = PyBytes;
    type Output = Bound<'py, PyBytes>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyBytes::new(py, &self.0))
    }
}

impl FromPyObject<'_, '_> for Payload {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Payload> {
        let Ok(bytes) = value.extract::<Cow<'_, [u8]>>() else {
            let class = value.get_type().name()?.to_string();
            return Err(PyTypeError::new_err(format!("expected bytes, not {class}")));
        };
        Ok(Payload(Bytes::copy_from_slice(&bytes)))
    }
}

/// A number of nanoseconds, a seed, a generation: whatever needs 64 bits and no sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Whole(pub u64);

impl<'py> IntoPyObject<'py> for Whole {
    type Target = PyInt;
    type Output = Bound<'py, PyInt>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        self.0.into_pyobject(py)
    }
}

impl FromPyObject<'_, '_> for Whole {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Whole> {
        value.extract().map(Whole).map_err(|error| {
            if !error.is_instance_of::<PyOverflowError>(value.py()) {
                return error;
            }
            let range = "expected a whole number from 0 to 2**64 - 1";
            Failure::Config(format!("{} is out of range, {range}", &*value)).into()
        })
    }
}

/// A span of time, in Python a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seconds(pub Duration);

impl<'py> IntoPyObject<'py> for Seconds {
    type Target = PyFloat;
    type Output = Bound<'py, PyFloat>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyFloat::new(py, self.0.as_secs_f64()))
    }
}

impl FromPyObject<'_, '_> for Seconds {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Seconds> {
        let seconds: f64 = value.extract()?;
        let refused = |_| {
            Failure::Config(format!("{seconds} is no span of time; expected seconds of 0 or more"))
        };
        Ok(Seconds(Duration::try_from_secs_f64(seconds).map_err(refused)?))
    }
}

/// The Euclidean part of a coordinate, a tuple of floats in Python.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Vector(pub [f64; DIMENSIONS]);

impl<'py> IntoPyObject<'py> for Vector {
    type Target = PyTuple;
    type Output = Bound<'py, PyTuple>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        PyTuple::new(py, self.0)
    }
}

impl FromPyObject<'_, '_> for Vector {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Vector> {
        let components: Vec<f64> = value.extract()?;
        let size = components.len();
        let wrong =
            |_| Failure::Config(format!("a vector has {DIMENSIONS} components, not {size}"));
        Ok(Vector(components.try_into().map_err(wrong)?))
    }
}

/// One secret as `bytes`, or a sequence of them, the one to seal with first.
pub(crate) struct Secrets(pub Vec<Secret>);

impl FromPyObject<'_, '_> for Secrets {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Secrets> {
        let wrong_type = || {
            let hint = "a secret is bytes (or a list of bytes, to rotate it); encode a str first";
            PyTypeError::new_err(hint)
        };
        let secret = |value: &Bound<'_, PyAny>| -> PyResult<Secret> {
            let bytes = value.cast::<PyBytes>().map_err(|_| wrong_type())?;
            Ok(Secret::new(bytes.as_bytes()).map_err(Failure::from)?)
        };
        if value.is_instance_of::<PyBytes>() {
            return Ok(Secrets(vec![secret(&value)?]));
        }
        if value.is_instance_of::<PyString>() {
            return Err(wrong_type());
        }
        let items = value.try_iter().map_err(|_| wrong_type())?;
        // One more than a ring holds is enough to refuse it, however many there are.
        let items = items.take(SECRET_COUNT_MAX + 1);
        items.map(|item| secret(&item?)).collect::<PyResult<_>>().map(Secrets)
    }
}
