//! `shoal._native`: the engine and its running nodes as a Python extension module.
//!
//! This crate converts and nothing else. It knows no event loop and keeps no Python object alive: the asyncio
//! side, the exceptions, the enums and the settings class are Python code in `pysrc/shoal`, which
//! imports from here and adds what is Python's own. Every class is frozen and guards its state itself,
//! so that the module needs no global interpreter lock.

mod config;
mod convert;
mod engine;
mod errors;
mod events;
mod fork;
mod node;
mod stats;
mod values;

/// The native part of Shoal. Import `shoal` instead.
#[pyo3::pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::config::{check_config, config_defaults};
    #[pymodule_export]
    use crate::engine::Engine;
    #[pymodule_export]
    use crate::events::{
        Broadcast, JoinDelayed, Joined, Left, MemberEvent, OtherEvent, Overflow, Refuted, Stalled,
        StateChanged,
    };
    #[pymodule_export]
    use crate::fork::after_fork_in_child;
    #[pymodule_export]
    use crate::node::{Node, NodeThread};
    #[pymodule_export]
    use crate::values::{Coordinate, Member, Rtt};

    /// The version of the package.
    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name is Python's")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
