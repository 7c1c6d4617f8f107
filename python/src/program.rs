//! The `shoal` program inside the Python package.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the `shoal` program with a command line, whose first word is its name, and gives its exit
/// code. Where help is asked for, the process ends.
#[pyfunction]
pub(crate) fn run_program(py: Python<'_>, command_line: Vec<OsString>) -> u8 {
    py.detach(|| shoal_cli::run_program(command_line))
}
