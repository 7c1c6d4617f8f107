//! How many nodes one thread can carry: real sockets, real datagrams, one ring.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shoal_benches::figures::Results;
use shoal_benches::system::{resident_bytes, thread_cpu_nanos};
use shoal_core::io::{BackendChoice, Node, NodeOptions, NodeThread};
use shoal_core::{Address, Config, Counter, MemberState, Role, Secret};

/// How long all may take to know all.
const PATIENCE: Duration = Duration::from_secs(170);
/// Acquaintances that are made at a time. Everybody comes to know everybody, which for a thousand is
/// half a million conversations; a thread on which all began at once would not keep up.
const BATCH_PAIRS: usize = 15_000;
/// Descriptors that a node takes, with room.
const DESCRIPTORS: u64 = 4;
/// Nodes that are asked whether they know all yet.
const ASKED: usize = 16;

/// Starts so many nodes, waits until all know all, and watches.
///
/// # Errors
/// When a node does not start or the cluster does not form.
pub fn run(count: usize, seconds: f64) -> Result<Results, String> {
    if !(2..=10_000).contains(&count) {
        return Err(format!("{count} nodes, expected 2 to 10,000"));
    }
    raise_descriptor_limit(DESCRIPTORS * count as u64 + 64);
    let before = resident_bytes(std::process::id());
    let start = Instant::now();
    let thread = NodeThread::start(BackendChoice::Auto, None).map_err(|e| e.to_string())?;
    let mut nodes: Vec<Node> = Vec::with_capacity(count);
    while nodes.len() < count {
        let batch = (BATCH_PAIRS / nodes.len().max(100)).max(1);
        for _ in 0..batch.min(count - nodes.len()) {
            nodes.push(start_node(&thread, count, nodes.first())?);
        }
        let asked = || nodes.iter().step_by((nodes.len() / ASKED).max(1));
        if !wait_until(&nodes, start + PATIENCE, || asked().all(|n| knows(n, nodes.len()))) {
            return Err(format!("{} nodes on a thread did not all know all in time", nodes.len()));
        }
    }
    let known = start.elapsed();
    let is_quiet = |node: &Node| node.gauges().updates_waiting == 0;
    if !wait_until(&nodes, start + PATIENCE, || nodes.iter().all(is_quiet)) {
        return Err(format!("{count} nodes on a thread still spread news of their start"));
    }
    let received =
        || nodes.iter().map(|n| n.stats().value(Counter::DatagramsReceived)).sum::<u64>();
    let (datagrams, cpu, watch) = (received(), thread_cpu_nanos("shoal-node"), Instant::now());
    wait_until(&nodes, watch + Duration::from_secs_f64(seconds), || false);
    let elapsed = watch.elapsed().as_secs_f64();
    let cpu = (thread_cpu_nanos("shoal-node") - cpu) as f64 / 1e9 / elapsed;
    let mut results = Results::default();
    let mut add =
        |what: &str, value, unit| results.add(format!("nodes/{what}/{count}"), value, unit);
    add("known", known.as_secs_f64(), "s");
    add("datagrams", (received() - datagrams) as f64 / elapsed, "1/s");
    add("cpu", cpu * 100.0, "%");
    add("cpu per node", cpu * 100.0 / count as f64, "%");
    let resident = resident_bytes(std::process::id()).saturating_sub(before) as f64;
    add("memory per node", resident / count as f64 / 1e3, "kB");
    Ok(results)
}

/// Starts a node for a cluster of `count`, which it joins through `seed`.
fn start_node(thread: &NodeThread, count: usize, seed: Option<&Node>) -> Result<Node, String> {
    let secret = Secret::new([5; 32]).expect("32 bytes are a secret");
    let mut config = Config::new(Address::UNSPECIFIED, secret);
    config.member_capacity = count as u32 + 2;
    // So many managers would hold elections besides.
    config.role = Role::Worker;
    let bind = "127.0.0.1:0".parse().expect("an address");
    let mut options = NodeOptions::new(bind, config);
    options.join = seed.map(Node::address).into_iter().collect();
    thread.start_node(options).map_err(|error| format!("a node did not start: {error}"))
}

/// Whether a node has heard so many, itself included.
fn knows(node: &Node, count: usize) -> bool {
    node.members().iter().filter(|member| member.state == MemberState::Alive).count() >= count
}

/// Waits until it holds, at most until `deadline`, and says whether it does. Meanwhile it does what
/// hosts do: a node whose host reads no events looks again and again whether there is room.
fn wait_until(nodes: &[Node], deadline: Instant, mut holds: impl FnMut() -> bool) -> bool {
    while !holds() {
        if Instant::now() >= deadline {
            return false;
        }
        nodes.iter().for_each(|node| while node.poll_event().is_some() {});
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// A thousand sockets need more descriptors than a shell allows by default.
fn raise_descriptor_limit(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
    if limit.current.is_some_and(|current| current < wanted) {
        // If this fails, the node that finds no descriptor says so.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum });
    }
}
