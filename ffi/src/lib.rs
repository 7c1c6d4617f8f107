//! Shoal for C and C++: SWIM membership, network coordinates, datacenter routing and job
//! timeouts.
//!
//! A *node* (`shoal_node`) runs by itself: it has a socket, a thread, and a file descriptor
//! that is readable while events wait. An *engine* (`shoal_engine`) is the same without socket,
//! thread and clock, for a program with a loop of its own. `docs/c.md` shows both; `examples/c`
//! holds programs to start from.
//!
//! # Status
//! Functions that can fail return a `shoal_status`: `SHOAL_OK` (0), `SHOAL_NONE` (1) when there
//! is nothing to give and nothing is wrong, or a negative code. `shoal_status_text` says in
//! general what a code means; the handle keeps one sentence about its latest failure, which
//! `shoal_node_error` and its siblings copy out. A function that was to create a handle writes
//! that sentence into its `detail`, which may be NULL and should have room for
//! `SHOAL_DETAIL_SIZE` bytes. Codes are never reused.
//!
//! # Parameters
//! Inputs are scalars or point to `const`; outputs come last and are written only on
//! `SHOAL_OK`. The size of a buffer or array follows it. A NULL pointer where an object is
//! needed gives `SHOAL_NULL_POINTER`, and the only arrays that may be NULL are those of size 0.
//! Datagrams are the one thing changed in place. What is passed in is copied: nothing needs to
//! outlive the call.
//!
//! # Ownership
//! What a `_new` or `_start` function gave goes back exactly once to the `_free` function whose
//! name begins alike, which takes NULL as well. Handles are independent of each other: free
//! them in any order. Text returned as `const char *` is static.
//!
//! # Threads
//! A handle passed as `const` may be used by any number of threads at the same time; passed
//! without `const` it must not be used by any other thread during the call. So every call on a
//! node but `shoal_node_free` can come from any thread at any time, while an engine is driven
//! by one thread at a time. No function calls back into the program.
//!
//! # Growth
//! Structures of settings (`shoal_config`, `shoal_router_config`, `shoal_timeouts_config`)
//! begin with their size, so that a program and a library of different age understand each
//! other. All other structures have a fixed size; their `reserved` bytes are zero, and must be
//! zero where a program fills them in. A change that breaks compiled programs raises
//! `SHOAL_ABI_VERSION`.
//!
//! # Bugs
//! A failed assertion inside Shoal is caught at this border: the call returns `SHOAL_PANIC`,
//! and so does every later call on that handle except to free it or to ask for its error.
//!
//! # Units
//! Times end in `_ns` (nanoseconds of a monotonic clock) or `_ms` (milliseconds). A node's
//! clock is `CLOCK_MONOTONIC`; an engine's is whatever the program passes as `now_ns`.
#![allow(non_camel_case_types)]
// The conventions above say once what every function asks of its pointers.
#![allow(clippy::missing_safety_doc)]

pub mod address;
pub mod call;
pub mod candidate;
pub mod config;
pub mod coordinate;
pub mod engine;
pub mod engine_jobs;
pub mod engine_routes;
pub mod envelope;
pub mod gate_snapshot;
pub mod gate_timeouts;
mod growth;
pub mod jobs;
pub mod member;
pub mod metrics;
pub mod node;
pub mod node_jobs;
pub mod node_routes;
pub mod router;
pub mod router_config;
pub mod status;
pub mod timeouts;
pub mod timeouts_config;
pub mod version;
