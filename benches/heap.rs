//! An allocator that counts: bytes in use and calls. A program that measures memory makes it its
//! own:
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: shoal_benches::heap::Measuring = shoal_benches::heap::Measuring;
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counted.
pub struct Measuring;

/// Bytes allocated and not given back, by this whole process.
pub fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed)
}

/// Allocations so far, by this whole process.
pub fn calls() -> usize {
    CALLS.load(Ordering::Relaxed)
}

fn count(size: usize) {
    IN_USE.fetch_add(size, Ordering::Relaxed);
    CALLS.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to the system allocator, which keeps the contract.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
