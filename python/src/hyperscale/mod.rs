//! Parts of `shoal.hyperscale`: classes with the names and the arithmetic of the Python node.
//!
//! Only what is on a hot path is here; the rest of that package is Python. Unlike the classes of
//! `shoal` itself these are mutable, because the ones they stand in for are. Coordinates are read
//! and set number by number, as a dataclass is; of the others, a second thread that touches one in
//! the middle of a call gets an exception, never a torn value.

pub(crate) mod candidates;
pub(crate) mod coordinates;
pub(crate) mod gossip;
pub(crate) mod place;

/// Seconds of the clock that `time.monotonic()` reads.
fn monotonic_seconds() -> f64 {
    crate::clock::time(None).as_nanos() as f64 * 1e-9
}

/// The same to a few milliseconds, which costs a fraction: the time that the system wrote down last.
/// For marks of which seconds matter.
#[cfg(target_os = "linux")]
fn recent_seconds() -> f64 {
    let recent = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    recent.tv_sec as f64 + recent.tv_nsec as f64 * 1e-9
}

#[cfg(not(target_os = "linux"))]
fn recent_seconds() -> f64 {
    monotonic_seconds()
}
