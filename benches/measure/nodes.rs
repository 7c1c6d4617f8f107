//! How many nodes one thread can carry: real sockets, real datagrams, one ring.

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shoal_benches::figures::Results;
use shoal_benches::system::{resident_bytes, thread_cpu_nanos};
use shoal_core::io::{BackendChoice, Node, NodeOptions, NodeThread};
use shoal_core::{Address, Config, Counter, Role, Secret};

/// How long all may take to know all.
const PATIENCE: Duration = Duration::from_secs(90);
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
    for _ in 0..count {
        let secret = Secret::new([5; 32]).expect("32 bytes are a secret");
        let mut config = Config::new(Address::UNSPECIFIED, secret);
        config.member_capacity = count as u32 + 2;
        // Workers are not probed before they have spoken; managers are, so that all come to be
        // probed.
        config.role = Role::Manager;
        let bind = "127.0.0.1:0".parse().expect("an address");
        let mut options = NodeOptions::new(bind, config);
        options.join = nodes.first().map(Node::address).into_iter().collect();
        let node = thread.start_node(options);
        nodes.push(node.map_err(|error| format!("node {}: {error}", nodes.len() + 1))?);
    }
    let started = start.elapsed();
    let knows_all = |node: &Node| node.members().len() >= count;
    let asked = nodes.iter().step_by((count / ASKED).max(1));
    while !asked.clone().all(knows_all) {
        if start.elapsed() > PATIENCE {
            return Err(format!("{count} nodes on a thread did not all know all in time"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let known = start.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    let received =
        || nodes.iter().map(|n| n.stats().value(Counter::DatagramsReceived)).sum::<u64>();
    let (datagrams, cpu, watch) = (received(), thread_cpu_nanos("shoal-node"), Instant::now());
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let elapsed = watch.elapsed().as_secs_f64();
    let cpu = (thread_cpu_nanos("shoal-node") - cpu) as f64 / 1e9 / elapsed;
    let mut results = Results::default();
    let mut add =
        |what: &str, value, unit| results.add(format!("nodes/{what}/{count}"), value, unit);
    add("started", started.as_secs_f64(), "s");
    add("known", known.as_secs_f64(), "s");
    add("datagrams", (received() - datagrams) as f64 / elapsed, "1/s");
    add("cpu", cpu * 100.0, "%");
    add("cpu per node", cpu * 100.0 / count as f64, "%");
    let resident = resident_bytes(std::process::id()).saturating_sub(before) as f64;
    add("memory per node", resident / count as f64 / 1e3, "kB");
    Ok(results)
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
