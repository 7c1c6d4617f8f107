//! Emulated networks for Shoal, so that its behaviour over wide areas and under faults can be seen on
//! one machine.
#![deny(unsafe_code)]

pub mod relay;
