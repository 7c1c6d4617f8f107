//! What an idle agent costs in a cluster of twenty: resident memory and processor time, with and
//! without a control plane. Judged in release builds; a debug build only shows that it can be
//! measured.
#![cfg(target_os = "linux")]
#![allow(missing_docs)]

mod agent;
mod program;

use std::fs;
use std::time::{Duration, Instant};

use agent::{Agent, wait_full_mesh};

const CLUSTER_SIZE: usize = 20;
const RESIDENT_KIB_MAX: u64 = 8 * 1024;
/// A thousandth of a core.
const PROCESSOR_SHARE_MAX: f64 = 0.001;

/// Resident memory of a process in KiB.
fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time of a process, from the scheduler's own books, which count nanoseconds.
fn processor_time(process: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let nanos = tasks.map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}

#[test]
fn an_idle_agent_is_small_and_quiet() {
    let folder = std::env::temp_dir().join(format!("shoal-idle-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let control = folder.join("control").to_str().unwrap().to_owned();
    let snapshot = folder.join("snapshot").to_str().unwrap().to_owned();
    let with_plane = [
        "--bind",
        "127.0.0.1:0",
        "--control",
        &control,
        "--snapshot",
        &snapshot,
        "--metrics",
        "127.0.0.1:0",
    ];
    let mut agents = vec![Agent::start(&with_plane)];
    let seed = agents[0].address.clone();
    agents.extend(
        (1..CLUSTER_SIZE).map(|_| Agent::start(&["--bind", "127.0.0.1:0", "--join", &seed])),
    );
    wait_full_mesh(&agents);
    std::thread::sleep(Duration::from_secs(2));
    let measured = [agents[0].child.id(), agents[1].child.id()];
    let (before, started) = (measured.map(processor_time), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let (after, elapsed) = (measured.map(processor_time), started.elapsed());
    for (index, name) in ["with a control plane", "alone"].into_iter().enumerate() {
        let share = (after[index] - before[index]).as_secs_f64() / elapsed.as_secs_f64();
        let resident = resident_kib(measured[index]);
        println!("{name}: {resident} KiB resident, {:.4} % of a core", share * 100.0);
        if !cfg!(debug_assertions) {
            assert!(resident <= RESIDENT_KIB_MAX, "{name}: {resident} KiB");
            assert!(share <= PROCESSOR_SHARE_MAX, "{name}: {share} of a core");
        }
    }
    drop(agents);
    fs::remove_dir_all(&folder).unwrap();
}
