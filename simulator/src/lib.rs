//! Deterministic simulation of Shoal: the same engine code over a network that exists only in
//! memory, so that a run is a function of its seed.

pub mod accuracy;
pub mod matrix;

pub use accuracy::{CoordinateReport, Evaluation, Lie, evaluate};
pub use matrix::{Matrix, MatrixError, World};
