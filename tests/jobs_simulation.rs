//! Jobs on real engines under everything at once: loss, partitions, crashes, leaders and gates replaced.
//!
//! `SHOAL_SEEDS=1000 cargo test --release -p shoal-tests --test jobs_simulation` for a long search. Every seed
//! that ever failed stands in `jobs_seeds.txt` and runs first. A failure prints the command that replays it.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_core::jobs::TimeoutReason;
use shoal_simulator::jobs::{self, Failure, Outcome};

/// Seeds of a quick run.
const SEEDS: u64 = 60;

fn seed_count() -> u64 {
    let asked = std::env::var("SHOAL_SEEDS").ok();
    asked.map_or(SEEDS, |text| text.parse().expect("SHOAL_SEEDS is a number"))
}

/// Runs these seeds on all processors.
fn run_all(seeds: &[u64]) -> Vec<Result<Outcome, Failure>> {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let work = || {
        let mut outcomes = Vec::new();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            outcomes.push(jobs::run(seed));
        }
        outcomes
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it catches panics")).collect()
    })
}

#[test]
fn every_job_ends_once_and_in_time_on_real_engines() {
    let known = include_str!("jobs_seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let known = known.filter_map(|line| line.split_whitespace().next());
    let mut seeds: Vec<u64> = known.map(|seed| seed.parse().expect("a seed is a number")).collect();
    seeds.extend(0..seed_count());
    let (mut counts, mut failures) = (BTreeMap::<&str, u64>::new(), Vec::new());
    for outcome in run_all(&seeds) {
        match outcome {
            Ok(outcome) => {
                outcome.counts.iter().for_each(|(what, n)| *counts.entry(what).or_default() += n);
            }
            Err(failure) => failures.push(failure.to_string()),
        }
    }
    println!("{counts:?}");
    let of = seeds.len();
    assert!(failures.is_empty(), "{} of {of} seeds:\n{}", failures.len(), failures.join("\n\n"));
    // Runs in which nothing happens prove nothing.
    let reasons = TimeoutReason::ALL.iter().map(|reason| reason.name());
    let others = ["decisions", "corrections", "elections", "gate changes", "superseded"];
    for what in reasons.chain(others) {
        assert!(counts.contains_key(what), "no {what} in {counts:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 14] {
        assert_eq!(jobs::run(seed).unwrap(), jobs::run(seed).unwrap());
    }
}
