//! Emulated networks for Shoal, so that its behaviour over wide areas and under faults can be seen
//! on one machine.
#![deny(unsafe_code)]

pub mod accuracy;
pub mod chaos;
pub mod checkers;
pub mod clock;
pub mod detection;
pub mod elections;
pub mod faults;
pub mod host;
mod insider;
pub mod jobs;
pub mod lifeguard;
pub mod matrix;
mod mesh;
pub mod network;
mod queue;
pub mod relay;
pub mod report;
pub mod routing;
pub mod schedule;
pub mod simulation;
pub mod swarm;

pub use detection::{SimulationOptions, run};
pub use report::Report;
pub use simulation::Simulation;
