//! Names of jobs, workers and workflows: 128 bits, made from what the program calls them.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyType};
use pyo3::{Borrowed, intern};
use shoal_core::id;

use crate::errors::Failure;

/// Declares the Python class of one kind of name, and the type of arguments that name one.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $argument:ident) => {
        $(#[$doc])*
        ///
        /// Made from a `str`, which is taken by its SHA-256 as in every other layer of Shoal, or
        /// from 128 bits as they are: an `int`, a `uuid.UUID`, or 16 `bytes`.
        #[pyclass(frozen, eq, ord, hash, from_py_object, module = "shoal")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) id::$name);

        #[pymethods]
        impl $name {
            #[new]
            fn new(name: $argument) -> $name {
                $name(name.0)
            }

            /// The 16 bytes.
            #[getter]
            fn bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
                PyBytes::new(py, self.0.as_bytes())
            }

            fn __int__(&self) -> u128 {
                u128::from_be_bytes(*self.0.as_bytes())
            }

            fn __str__(&self) -> String {
                self.0.to_string()
            }

            fn __repr__(&self) -> String {
                format!(concat!(stringify!($name), "(0x{})"), self.0)
            }

            fn __reduce__<'py>(
                value: &Bound<'py, Self>,
            ) -> (Bound<'py, PyType>, (Bound<'py, PyBytes>,)) {
                (value.get_type(), (value.get().bytes(value.py()),))
            }
        }

        /// What names one in a call.
        pub(crate) struct $argument(pub(crate) id::$name);

        impl FromPyObject<'_, '_> for $argument {
            type Error = PyErr;

            fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<$argument> {
                if let Ok(known) = value.cast::<$name>() {
                    return Ok($argument(known.get().0));
                }
                if let Ok(text) = value.cast::<PyString>() {
                    return Ok($argument(id::$name::from_name(text.to_cow()?.as_bytes())));
                }
                Ok($argument(id::$name::from_bytes(raw_bytes(value, stringify!($name))?)))
            }
        }
    };
}

identifier! {
    /// A job.
    JobId, JobArgument
}

identifier! {
    /// A worker that takes part in a job.
    WorkerId, WorkerArgument
}

identifier! {
    /// A workflow: one of the parts that a job consists of.
    WorkflowId, WorkflowArgument
}

/// 128 bits that are taken as they are.
fn raw_bytes(value: Borrowed<'_, '_, PyAny>, what: &str) -> PyResult<[u8; 16]> {
    let py = value.py();
    if value.is_instance_of::<PyInt>() {
        let number = value.extract::<u128>().map_err(|error| {
            if !error.is_instance_of::<PyOverflowError>(py) {
                return error;
            }
            Failure::Config(format!("{what}: expected an int from 0 to 2**128 - 1")).into()
        })?;
        return Ok(number.to_be_bytes());
    }
    // A UUID has an attribute of this name, and so have the names of the other kinds.
    let owner = value.getattr_opt(intern!(py, "bytes"))?.unwrap_or_else(|| value.to_owned());
    let bytes = owner.cast::<PyBytes>().ok();
    let Some(bytes) = bytes else {
        let class = value.get_type().name()?.to_string();
        let expected = "a str, an int, a uuid.UUID or 16 bytes";
        return Err(PyTypeError::new_err(format!("{what}: expected {expected}, not {class}")));
    };
    let bytes = bytes.as_bytes();
    let wrong_size = || Failure::Config(format!("{what}: {} bytes, expected 16", bytes.len()));
    Ok(bytes.try_into().map_err(|_| wrong_size())?)
}
