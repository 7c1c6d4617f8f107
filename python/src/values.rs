//! Immutable values that Python compares, hashes, prints, pickles and matches like dataclasses.
//!
//! They hold the engine's own compact records. A list of a thousand members is a thousand small
//! copies, and a field becomes a Python object when it is read.

use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use shoal_core::{MemberState, Role};

use crate::convert::{AddressText, DatacenterText, Vector};
use crate::errors::Failure;
use crate::names::Name;

/// Declares a value class once: its fields, constructor, comparison, hash, text and pickled form.
macro_rules! value_class {
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
        $(signature ($($signature:tt)*) $text:literal;)?
        $(checked by $check:expr;)?
        $(methods { $($method:item)* })?
    ) => {
        $(#[$meta])*
        #[pyclass(frozen, eq, from_py_object, module = "shoal")]
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct $name {
            $($(#[$field_meta])* #[pyo3(get)] pub(crate) $field: $type,)*
        }

        #[pymethods]
        impl $name {
            #[new]
            $(#[pyo3(signature = ($($signature)*), text_signature = $text)])?
            #[allow(clippy::too_many_arguments, reason = "one for each field")]
            fn new($($field: $type),*) -> PyResult<$name> {
                let value = $name { $($field),* };
                $($check(&value)?;)?
                Ok(value)
            }

            #[classattr]
            fn __match_args__(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
                PyTuple::new(py, [$(stringify!($field)),*])
            }

            fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
                let names = [$(stringify!($field)),*];
                $crate::values::describe(stringify!($name), &names, &self.fields(py)?)
            }

            fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
                self.fields(py)?.hash()
            }

            fn __reduce__<'py>(
                value: &Bound<'py, Self>,
            ) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
                Ok((value.get_type(), value.get().fields(value.py())?))
            }

            $($($method)*)?
        }

        impl $name {
            fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
                use pyo3::IntoPyObjectExt;
                PyTuple::new(py, [$(self.$field.clone().into_bound_py_any(py)?),*])
            }
        }
    };
}
pub(crate) use value_class;

/// `Name(field=value, ...)`.
pub(crate) fn describe(
    class: &str,
    names: &[&str],
    fields: &Bound<'_, PyTuple>,
) -> PyResult<String> {
    let mut parts = Vec::with_capacity(names.len());
    for (name, field) in names.iter().zip(fields) {
        parts.push(format!("{name}={}", field.repr()?));
    }
    Ok(format!("{class}({})", parts.join(", ")))
}

value_class! {
    /// What is known about the round trip to a peer.
    Rtt {
        /// The best estimate, in milliseconds.
        ms: f64,
        /// A bound that the round trip rarely exceeds, in milliseconds.
        upper_ms: f64,
        /// How much to trust it, from 0 (a guess) to 1 (measured, fresh, consistent).
        quality: f64,
    }
}

impl Rtt {
    pub(crate) fn core(&self) -> shoal_core::Rtt {
        shoal_core::Rtt { ms: self.ms, upper_ms: self.upper_ms, quality: self.quality }
    }
}

impl From<shoal_core::Rtt> for Rtt {
    fn from(rtt: shoal_core::Rtt) -> Rtt {
        Rtt { ms: rtt.ms, upper_ms: rtt.upper_ms, quality: rtt.quality }
    }
}

value_class! {
    /// A place in the latency space. All fields are in seconds but `error`, which is relative.
    Coordinate {
        /// The Euclidean part: eight components, each within 10 of zero.
        vector: Vector,
        /// The access link, paid by every path; 0 to 10.
        height: f64,
        /// A correction of the prediction; within 10 of zero.
        adjustment: f64,
        /// How wrong predictions from here are, relative to the round trip; above 0, up to 1.5.
        /// In seconds and up to 10 where the coordinate comes from hyperscale's own arithmetic.
        error: f64,
    }
    checked by Coordinate::check;
    methods {
        /// The predicted round trip to another coordinate, in milliseconds.
        fn distance_ms(&self, other: &Coordinate) -> f64 {
            self.core().distance(&other.core()) * 1e3
        }
    }
}

impl Coordinate {
    pub(crate) fn core(&self) -> shoal_core::Coordinate {
        let Coordinate { vector: Vector(vector), height, adjustment, error } = *self;
        shoal_core::Coordinate { vector, height, adjustment, error }
    }

    fn check(&self) -> PyResult<()> {
        let message = "a coordinate needs finite components within 10 s of zero, a height of 0 to \
                       10 s, an adjustment within 10 s of zero and an error above 0, up to 10";
        // A tracker with the native profile asks for less error than one that counts it in seconds.
        let error_max = shoal_core::coordinate::hyperscale::ERROR_SECONDS_MAX;
        let is_error_valid = self.error > 0.0 && self.error <= error_max;
        let is_valid = shoal_core::Coordinate { error: 1.0, ..self.core() }.is_valid();
        let is_valid = is_error_valid && is_valid;
        if is_valid { Ok(()) } else { Err(Failure::Config(message.to_owned()).into()) }
    }
}

impl From<shoal_core::Coordinate> for Coordinate {
    fn from(coordinate: shoal_core::Coordinate) -> Coordinate {
        let shoal_core::Coordinate { vector, height, adjustment, error } = coordinate;
        Coordinate { vector: Vector(vector), height, adjustment, error }
    }
}

value_class! {
    /// One member of the cluster as a node sees it.
    Member {
        /// Where it is reached, `"ip:port"`.
        address: AddressText,
        /// Where it stands in its life.
        state: Name<MemberState>,
        /// What it does.
        role: Name<Role>,
        /// Where it runs.
        datacenter: DatacenterText,
        /// Which run of its program: later runs have larger numbers.
        generation: u64,
        /// Its own count of refutations.
        incarnation: u32,
        /// How much it distrusts its own view as it last told, 0 (not at all) to 8.
        health_score: u8,
        /// The round trip to it, when something is known; zero for the node itself.
        rtt: Option<Rtt>,
        /// Its coordinate as it last told.
        coordinate: Option<Coordinate>,
    }
}

impl From<shoal_core::Member> for Member {
    fn from(member: shoal_core::Member) -> Member {
        Member {
            address: AddressText(member.address),
            state: Name(member.state),
            role: Name(member.role),
            datacenter: DatacenterText(member.datacenter),
            generation: member.generation.0,
            incarnation: member.incarnation.0,
            health_score: member.health_score,
            rtt: member.rtt.map(Rtt::from),
            coordinate: member.coordinate.map(Coordinate::from),
        }
    }
}
