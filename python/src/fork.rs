//! Recognising objects that a fork has separated from their thread.
//!
//! A forked child has a copy of every object but none of the threads, so a node in it would wait
//! for ever for an answer. The package asks Python to call [`after_fork_in_child`]; every object
//! remembers the epoch in which it was made and refuses to work in a later one.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

use crate::errors::Failure;

static EPOCH: AtomicU64 = AtomicU64::new(0);

/// Makes every object that exists now one of the parent process.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    EPOCH.fetch_add(1, Ordering::Relaxed);
}

/// The process in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u64);

impl Process {
    /// This one.
    pub(crate) fn current() -> Process {
        Process(EPOCH.load(Ordering::Relaxed))
    }

    /// Whether it is another one.
    pub(crate) fn is_foreign(self) -> bool {
        self != Process::current()
    }

    /// Refuses to work in another one.
    pub(crate) fn check(self) -> Result<(), Failure> {
        if self.is_foreign() { Err(Failure::Forked) } else { Ok(()) }
    }
}
