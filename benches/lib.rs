//! What the benchmarks and the report share: engines in clusters of any size, an allocator that
//! counts, readings of processes, and the form in which a measurement hands its figures on.
//!
//! Each measurement is a command of its own that prints one line of JSON ([`figures::Results`]);
//! `report` runs them all, one after the other, and writes what they said into one page.

pub mod cluster;
pub mod figures;
pub mod heap;
pub mod system;
