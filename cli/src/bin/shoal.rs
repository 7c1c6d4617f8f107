//! The `shoal` program by itself; the Python package runs the same as `python -m shoal`.
#![deny(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(shoal_cli::run_program(std::env::args_os()))
}
