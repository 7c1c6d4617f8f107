//! Counters for Python, as a dictionary. Text for monitoring is the core's.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use shoal_core::Stats;

/// The value of every counter by its name.
pub(crate) fn stats_dict<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let values = PyDict::new(py);
    for (counter, value) in stats.iter() {
        values.set_item(counter.name(), value)?;
    }
    Ok(values)
}
