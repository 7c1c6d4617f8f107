//! Settings: dataclasses in Python, structures of the engine in Rust, one list of names between
//! them.
//!
//! The Python classes take their defaults from here, so a default is written once, in the engine. A
//! test compares the names with the engine's.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyAttributeError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use shoal_core::coordinate::VivaldiConfig;
use shoal_core::coordinate::hyperscale::HyperscaleConfig;
use shoal_core::jobs::{ExtensionConfig, JobsConfig, TimeoutRule};
use shoal_core::routing::{
    BootstrapConfig, FilterConfig, HysteresisConfig, ObservedConfig, RouterConfig, ScoringConfig,
};
use shoal_core::{Address, Config, ConfigError, Secret, WireFormat};

use crate::errors::Failure;
use crate::names::Name;

/// A setting or a group of them: a number, a name, a tuple or a dataclass in Python.
pub(crate) trait Setting: Sized {
    fn read(value: &Bound<'_, PyAny>) -> PyResult<Self>;
    fn write(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>>;
}

/// Declares a group of settings by the names of its fields. What is not named keeps its default.
macro_rules! setting_group {
    ($group:ty, $default:expr, [$($name:ident,)*]) => {
        impl $crate::config::Setting for $group {
            #[allow(clippy::needless_update, reason = "a group may name all its fields")]
            fn read(value: &Bound<'_, PyAny>) -> PyResult<$group> {
                Ok(Self {
                    $($name: $crate::config::read_field(value, stringify!($name))?,)*
                    ..$default
                })
            }

            fn write(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
                let fields = pyo3::types::PyDict::new(py);
                $(fields.set_item(stringify!($name), self.$name.write(py)?)?;)*
                Ok(fields.into_any())
            }
        }
    };
}

setting_group!(
    Config,
    nobody(),
    [
        wire_format,
        source_request_rate,
        probe_interval_ms,
        probe_timeout_min_ms,
        probe_timeout_unknown_ms,
        indirect_probe_count,
        suspicion_min_factor,
        suspicion_max_factor,
        job_suspicion_min_ms,
        job_suspicion_max_ms,
        gossip_factor,
        gossip_interval_ms,
        gossip_fanout,
        sync_interval_ms,
        join_interval_ms,
        dead_retention_ms,
        confirmation_timeout_ms,
        confirmation_interval_ms,
        confirmation_attempts,
        state_size_max,
        jobs,
        member_capacity,
        session_capacity,
        transmit_capacity,
        event_capacity,
        probe_capacity,
    ]
);

setting_group!(
    JobsConfig,
    JobsConfig::default(),
    [
        stuck_after_ms,
        report_interval_ms,
        fallback_after_ms,
        resume_grace_ms,
        retry_min_ms,
        retry_max_ms,
        outcome_lifetime_ms,
        gate_rule,
        gate_stuck_after_ms,
        gate_silent_after_ms,
        gate_deadline_grace_ms,
        gate_retention_ms,
        gate_decision_lifetime_ms,
        extension,
        job_capacity,
        worker_capacity,
        gate_job_capacity,
        gate_site_capacity,
        workflow_capacity,
        workflow_history,
        workflow_event_capacity,
    ]
);

setting_group!(
    ExtensionConfig,
    ExtensionConfig::default(),
    [base_ms, grant_min_ms, count_max, warning_count, grace_ms,]
);

pub(crate) use setting_group;

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
    let mut config = group(settings, "Config", nobody)?;
    config.secrets = secrets;
    // Whether peers can reach the address is known when a socket is bound; the rest can be told
    // now.
    config.check().map_err(Failure::from)?;
    config.advertise = advertise;
    Ok(config)
}

/// A group of settings from the dataclass of this name, or the default from `None`.
pub(crate) fn group<T: Setting>(
    settings: Option<&Bound<'_, PyAny>>,
    class: &str,
    default: impl FnOnce() -> T,
) -> PyResult<T> {
    let Some(settings) = settings else { return Ok(default()) };
    let expected = settings.py().import("shoal")?.getattr(class)?;
    if !settings.is_instance(&expected)? {
        let found = settings.get_type().name()?.to_string();
        return Err(PyTypeError::new_err(format!("config is a shoal.{class}, not {found}")));
    }
    T::read(settings)
}

/// Lists the groups that are Python classes: the defaults of each, and how it is checked.
macro_rules! groups {
    ($($class:ident, $default:expr, $check:expr;)*) => {
        /// The defaults of every group of settings by its class, in the order of the engine's
        /// documentation.
        #[pyfunction]
        pub(crate) fn config_defaults(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
            let defaults = PyDict::new(py);
            $(defaults.set_item(stringify!($class), $default.write(py)?)?;)*
            Ok(defaults)
        }

        /// Raises what is wrong with a group of settings.
        #[pyfunction]
        pub(crate) fn check_config(config: &Bound<'_, PyAny>) -> PyResult<()> {
            let class = config.get_type().name()?.to_string();
            let checked: Result<(), ConfigError> = match class.as_str() {
                $(stringify!($class) => {
                    let check: fn(&$class) -> Result<(), ConfigError> = $check;
                    check(&$class::read(config)?)
                })*
                _ => {
                    let message = format!("{class} holds no settings of Shoal");
                    return Err(PyTypeError::new_err(message));
                }
            };
            Ok(checked.map_err(Failure::from)?)
        }
    };
}

groups! {
    Config, nobody(), Config::check;
    JobsConfig, JobsConfig::default(), JobsConfig::check;
    // Checked with the group that it belongs to; by itself only its types are.
    ExtensionConfig, ExtensionConfig::default(), |_| Ok(());
    VivaldiConfig, VivaldiConfig::default(), VivaldiConfig::check;
    HyperscaleConfig, HyperscaleConfig::default(), HyperscaleConfig::check;
    FilterConfig, FilterConfig::default(), FilterConfig::check;
    ScoringConfig, ScoringConfig::default(), ScoringConfig::check;
    BootstrapConfig, BootstrapConfig::default(), BootstrapConfig::check;
    HysteresisConfig, HysteresisConfig::default(), HysteresisConfig::check;
    ObservedConfig, ObservedConfig::default(), ObservedConfig::check;
    RouterConfig, RouterConfig::default(), RouterConfig::check;
}

/// Reads one field of a group, with its name in whatever is wrong with it.
pub(crate) fn read_field<T: Setting>(group: &Bound<'_, PyAny>, name: &str) -> PyResult<T> {
    let py = group.py();
    let value = group.getattr(name)?;
    T::read(&value).map_err(|error| {
        let message = error.value(py);
        if error.is_instance_of::<PyOverflowError>(py) {
            return Failure::Config(format!("{name} is {value}, far outside of its range")).into();
        }
        if error.is_instance_of::<PyAttributeError>(py) {
            let found =
                value.get_type().name().map_or_else(|_| "?".into(), |name| name.to_string());
            return PyTypeError::new_err(format!("{name}: expected settings, not {found}"));
        }
        if error.is_instance_of::<PyValueError>(py) {
            return Failure::Config(format!("{name}: {message}")).into();
        }
        PyTypeError::new_err(format!("{name}: {message}"))
    })
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

plain_settings!(bool, u8, u16, u32, u64, usize, f64);

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

/// Settings that are one of a few words.
macro_rules! named_settings {
    ($($type:ty),*) => {
        $(impl Setting for $type {
            fn read(value: &Bound<'_, PyAny>) -> PyResult<$type> {
                value.extract::<Name<$type>>().map(|name| name.0)
            }

            fn write(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
                self.name().into_bound_py_any(py)
            }
        })*
    };
}

named_settings!(TimeoutRule, WireFormat);
