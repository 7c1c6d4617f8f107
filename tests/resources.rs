//! Nodes give back what they take (threads, descriptors, addresses), and running ones take no more
//! memory. In a program of its own, because it counts what the whole process has.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shoal_core::io::{BackendChoice, Node, NodeOptions, NodeThread};
use shoal_core::{Address, Config, Counter, Secret};

/// Counts the allocations of all threads.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged to the system allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's guarantees are the ones asked for.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Held by each test, so that no other runs in this process meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

const CYCLES: usize = 1_000;

fn options(backend: BackendChoice, bind: &str) -> NodeOptions {
    let secret = Secret::new(*b"a secret for tests on loopback").unwrap();
    let mut config = Config::new(Address::UNSPECIFIED, secret);
    config.member_capacity = 64;
    let mut options = NodeOptions::new(bind.parse().unwrap(), config);
    options.backend = backend;
    options
}

/// Node threads and open descriptors of this process.
fn held() -> (usize, usize) {
    let is_node = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name == "shoal-node\n")
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    (tasks.filter(is_node).count(), std::fs::read_dir("/proc/self/fd").unwrap().count())
}

/// The kernel lists a thread for a moment after it has been joined.
const MOMENT: Duration = Duration::from_millis(50);

fn held_after_a_moment() -> (usize, usize) {
    std::thread::sleep(MOMENT);
    held()
}

fn assert_held(before: (usize, usize), by: &str) {
    let deadline = Instant::now() + MOMENT * 100;
    while held() != before && Instant::now() < deadline {
        std::thread::sleep(MOMENT);
    }
    assert_eq!(held(), before, "{by}");
}

#[test]
fn a_thousand_nodes_in_turn_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for backend in [BackendChoice::Uring, BackendChoice::Poll] {
        let first = Node::start(options(backend, "127.0.0.1:0")).unwrap();
        let bind = first.local_address().to_string();
        first.stop();
        let before = held_after_a_moment();
        // On one address: it is free as soon as the node has stopped.
        for _ in 0..CYCLES / 2 {
            Node::start(options(backend, &bind)).unwrap().stop();
        }
        assert_held(before, "nodes with threads of their own");
        let thread = NodeThread::start(backend, None).unwrap();
        let before = held_after_a_moment();
        for _ in 0..CYCLES / 2 {
            thread.start_node(options(backend, &bind)).unwrap().stop();
        }
        assert_held(before, "nodes on a shared thread");
        // Starts that fail leave nothing either.
        let running = thread.start_node(options(backend, &bind)).unwrap();
        let before = held_after_a_moment();
        for _ in 0..CYCLES / 10 {
            assert!(thread.start_node(options(backend, &bind)).is_err());
            assert!(Node::start(options(backend, &bind)).is_err());
        }
        assert_held(before, "failed starts");
        running.stop();
    }
}

#[test]
fn running_nodes_allocate_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for backend in [BackendChoice::Uring, BackendChoice::Poll] {
        let thread = NodeThread::start(backend, None).unwrap();
        let mut nodes: Vec<Node> = Vec::new();
        for _ in 0..3 {
            let mut options = options(backend, "127.0.0.1:0");
            options.config.probe_interval_ms = 10;
            options.join = nodes.first().map(Node::address).into_iter().collect();
            nodes.push(thread.start_node(options).unwrap());
        }
        let acked =
            || nodes.iter().map(|node| node.stats().value(Counter::ProbesAcked)).sum::<u64>();
        std::thread::sleep(Duration::from_millis(1_500));
        let before = (ALLOCATIONS.load(Ordering::Relaxed), acked());
        std::thread::sleep(Duration::from_millis(1_500));
        let after = (ALLOCATIONS.load(Ordering::Relaxed), acked());
        assert!(after.1 > before.1 + 100, "only {} exchanges", after.1 - before.1);
        assert_eq!(after.0 - before.0, 0, "allocations in {} exchanges", after.1 - before.1);
    }
}
