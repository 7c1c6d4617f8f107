//! Swarms of simulated clusters: every situation is drawn from a seed, every rule is checked.
//!
//! `SHOAL_SEEDS=10000 cargo test --release -p shoal-tests --test simulation` for a long search. Every seed that
//! ever failed stands in `seeds.txt` and runs first. A failure prints the command that replays it.
#![allow(missing_docs)]

use std::sync::atomic::{AtomicU64, Ordering};

use shoal_simulator::{SimulationOptions, swarm};

/// Seeds of a quick run.
const SEEDS: u64 = 200;

fn seed_count() -> u64 {
    let asked = std::env::var("SHOAL_SEEDS").ok();
    asked.map_or(SEEDS, |text| text.parse().expect("SHOAL_SEEDS is a number"))
}

/// Runs these seeds on all processors.
fn run_all(seeds: &[u64]) -> Vec<String> {
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let work = || {
        let mut failures = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if let Err(failure) = swarm::run(seed) {
                failures.push(failure.to_string());
            }
        }
        failures
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it catches panics")).collect()
    })
}

#[test]
fn no_seed_breaks_a_rule() {
    let known = include_str!("seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let known = known.filter_map(|line| line.split_whitespace().next());
    let mut seeds: Vec<u64> = known.map(|seed| seed.parse().expect("a seed is a number")).collect();
    seeds.extend(0..seed_count());
    let failures = run_all(&seeds);
    assert!(
        failures.is_empty(),
        "{} of {} seeds:\n{}",
        failures.len(),
        seeds.len(),
        failures.join("\n\n")
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14, 15] {
        assert_eq!(swarm::run(seed).unwrap(), swarm::run(seed).unwrap());
    }
}

#[test]
fn five_nodes_know_of_a_crash_within_two_and_a_half_seconds() {
    let mut times: Vec<f64> = (0..200)
        .map(|seed| {
            let report = shoal_simulator::run(&SimulationOptions::new(5, seed)).unwrap();
            assert_eq!((report.false_positives, report.undetected), (0, 0), "seed {seed}");
            report.detect_all_ms.p99.expect("one node crashed")
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let p99 = times[times.len() * 99 / 100 - 1];
    assert!(p99 <= 2_500.0, "known to all after {p99} ms at the 99th percentile");
}
