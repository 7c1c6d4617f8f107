//! The default for every `now_ns` that a program leaves out: the clock of `time.monotonic_ns()`.
//!
//! Read without Python: its value is taken once, together with the standard library's clock, which
//! is the same one of the system and is counted on from there.

use std::sync::OnceLock;
use std::time::Instant as StdInstant;

use pyo3::prelude::*;
use shoal_core::{Duration, Instant};

use crate::convert::Whole;

static ORIGIN: OnceLock<(StdInstant, Duration)> = OnceLock::new();

/// Ties the two clocks together. Called when the module is imported.
pub(crate) fn start(py: Python<'_>) -> PyResult<()> {
    let python_ns: u64 = py.import("time")?.getattr("monotonic_ns")?.call0()?.extract()?;
    ORIGIN.get_or_init(|| (StdInstant::now(), Duration::from_nanos(python_ns)));
    Ok(())
}

/// The time that a program gave, or the present.
pub(crate) fn time(given: Option<Whole>) -> Instant {
    if let Some(Whole(nanos)) = given {
        return Instant::from_nanos(nanos);
    }
    let (started, offset) = ORIGIN.get().expect("set when the module was imported");
    Instant::ZERO + (started.elapsed() + *offset)
}
