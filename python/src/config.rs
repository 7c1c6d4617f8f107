//! The settings of an engine, read from a `shoal.Config`.
//!
//! The Python class is a dataclass that takes its defaults from here. The list of settings below is the
//! only one in the bindings; a test compares it with the engine's.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{IntoPyObjectExt, intern};
use shoal_core::{Address, Config, Secret};

use crate::errors::Failure;

/// Names each setting of the engine that is a plain number or a tuple of them.
macro_rules! settings {
    ($($name:ident,)*) => {
        /// Takes every setting over from the attributes of a Python object.
        fn read_settings(settings: &Bound<'_, PyAny>, config: &mut Config) -> PyResult<()> {
            let py = settings.py();
            $(
                let value = settings.getattr(intern!(py, stringify!($name)))?;
                config.$name = read(stringify!($name), &value)?;
            )*
            Ok(())
        }

        /// Every setting with its default, in the order of the engine's documentation.
        #[pyfunction]
        pub(crate) fn config_defaults(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
            let defaults = PyDict::new(py);
            let config = nobody();
            $(defaults.set_item(stringify!($name), config.$name.write(py)?)?;)*
            Ok(defaults)
        }
    };
}

settings! {
    probe_interval_ms,
    probe_timeout_min_ms,
    probe_timeout_unknown_ms,
    indirect_probe_count,
    suspicion_min_factor,
    suspicion_max_factor,
    gossip_factor,
    gossip_interval_ms,
    gossip_fanout,
    sync_interval_ms,
    join_interval_ms,
    dead_retention_ms,
    confirmation_timeout_ms,
    confirmation_interval_ms,
    confirmation_attempts,
    member_capacity,
    session_capacity,
    transmit_capacity,
    event_capacity,
    probe_capacity,
}

/// The configuration of no node in particular: what identifies a node is a placeholder.
fn nobody() -> Config {
    let address = "127.0.0.1:1".parse().expect("a plain address is an address");
    let secret = Secret::new([0; 32]).expect("32 bytes are a secret");
    Config::new(address, secret)
}

/// The engine's configuration from a `shoal.Config`, or its defaults from `None`.
pub(crate) fn engine_config(
    settings: Option<&Bound<'_, PyAny>>,
    advertise: Address,
    secrets: Vec<Secret>,
) -> PyResult<Config> {
    let mut config = nobody();
    if let Some(settings) = settings {
        let class = settings.py().import("shoal._config")?.getattr("Config")?;
        if !settings.is_instance(&class)? {
            let found = settings.get_type().name()?.to_string();
            return Err(PyTypeError::new_err(format!("config is a shoal.Config, not {found}")));
        }
        read_settings(settings, &mut config)?;
    }
    config.secrets = secrets;
    // Whether peers can reach the address is known when a socket is bound; the rest can be told now.
    config.check().map_err(Failure::from)?;
    config.advertise = advertise;
    Ok(config)
}

/// Raises what is wrong with a `shoal.Config`.
#[pyfunction]
pub(crate) fn check_config(config: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut checked = nobody();
    read_settings(config, &mut checked)?;
    Ok(checked.check().map_err(Failure::from)?)
}

/// Reads one setting, with its name in whatever is wrong with it.
fn read<T: Setting>(name: &'static str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    T::read(value).map_err(|error| {
        let py = value.py();
        if error.is_instance_of::<PyOverflowError>(py) {
            let message = format!("{name} is {value}, far outside of its range");
            return Failure::Config(message).into();
        }
        PyTypeError::new_err(format!("{name}: {}", error.value(py)))
    })
}

/// A type of setting: a number, or several of them, which are a tuple in Python.
trait Setting: Sized {
    fn read(value: &Bound<'_, PyAny>) -> PyResult<Self>;
    fn write(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>>;
}

macro_rules! plain_settings {
    ($($type:ty),*) => {
        $(impl Setting for $type {
            fn read(value: &Bound<'_, PyAny>) -> PyResult<$type> {
                value.extract()
            }

            fn write(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
                self.into_bound_py_any(py)
            }
        })*
    };
}

plain_settings!(u8, u32, u64, usize, f64);

impl<T: Setting, const N: usize> Setting for [T; N] {
    fn read(value: &Bound<'_, PyAny>) -> PyResult<[T; N]> {
        let items = value.try_iter()?.map(|item| T::read(&item?)).collect::<PyResult<Vec<T>>>()?;
        let wrong = |items: Vec<T>| {
            PyTypeError::new_err(format!("expected {N} numbers, not {}", items.len()))
        };
        items.try_into().map_err(wrong)
    }

    fn write(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let items = self.into_iter().map(|item| item.write(py)).collect::<PyResult<Vec<_>>>()?;
        Ok(PyTuple::new(py, items)?.into_any())
    }
}
