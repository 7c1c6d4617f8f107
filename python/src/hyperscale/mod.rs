//! Parts of `shoal.hyperscale`: classes with the names and the arithmetic of the Python node.
//!
//! Only what is on a hot path is here; the rest of that package is Python. Unlike the classes of
//! `shoal` itself these are mutable, because the ones they stand in for are. A second thread that
//! touches one in the middle of a call gets an exception, never a torn value.

pub(crate) mod candidates;
pub(crate) mod coordinates;
pub(crate) mod gossip;

/// Seconds of the clock that `time.monotonic()` reads.
fn monotonic_seconds() -> f64 {
    crate::clock::time(None).as_nanos() as f64 * 1e-9
}
