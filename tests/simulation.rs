//! The swarm: clusters in which everything is drawn from a seed and everything is checked.
//!
//! Beside it what is promised of detection, in clusters of 5 and of 1,000.
//!
//! * `SHOAL_SEEDS=10000` runs so many seeds in place of the usual 200;
//! * `SHOAL_SEED=77` runs only that one and tells what happens in it;
//! * `seeds.txt` holds seeds that found something once. They are run first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shoal_simulator::swarm::{self, Failure, Outcome};
use shoal_simulator::{SimulationOptions, report};

const SEED_COUNT: u64 = 200;
/// Where the numbered seeds begin. `SHOAL_SEEDS` goes on from there.
const FIRST_SEED: u64 = 0;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text:?} is not a number")))
}

/// Seeds that failed once, without what is said about them.
fn remembered_seeds() -> Vec<u64> {
    let lines = include_str!("seeds.txt").lines();
    let words = lines.filter_map(|line| line.split('#').next()?.split_whitespace().next());
    words.map(|word| word.parse().expect("seeds.txt has one number to a line")).collect()
}

/// Runs every seed, on all cores, and returns what came of them in their order.
fn run_all(seeds: &[u64]) -> Vec<Result<Outcome, Failure>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(&seed) = seeds.get(index)
        {
            done.push((index, swarm::run(seed)));
        }
        done
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<_>| thread.join().expect("panics are caught");
        threads.into_iter().flat_map(join).collect()
    });
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[test]
fn every_rule_holds_in_every_run_of_the_swarm() {
    if let Some(seed) = variable("SHOAL_SEED") {
        let outcome = swarm::replay(seed, &mut |line| println!("{line}"));
        println!("{:#?}", outcome.unwrap_or_else(|failure| panic!("{failure}")));
        return;
    }
    let count = variable("SHOAL_SEEDS").unwrap_or(SEED_COUNT);
    let mut seeds = remembered_seeds();
    seeds.extend(FIRST_SEED..FIRST_SEED + count);
    let results = run_all(&seeds);
    let failures: Vec<String> =
        results.iter().filter_map(|result| Some(result.as_ref().err()?.to_string())).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), seeds.len(), failures.join("\n"));
    check_variety(&results.into_iter().flatten().collect::<Vec<_>>());
}

/// A swarm that does not do much does not prove much.
fn check_variety(outcomes: &[Outcome]) {
    use shoal_simulator::faults::FaultKind;
    for kind in FaultKind::ALL {
        let with = outcomes.iter().filter(|outcome| outcome.faults.contains_key(&kind)).count();
        assert!(with * 20 > outcomes.len(), "only {with} runs had a {}", kind.name());
    }
    let total = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    let sums = [
        total(|outcome| outcome.suspicions),
        total(|outcome| outcome.deaths),
        total(|outcome| outcome.false_deaths),
        total(|outcome| outcome.network.lost),
        total(|outcome| outcome.network.cut),
        total(|outcome| outcome.network.duplicated),
        total(|outcome| outcome.network.reordered),
        total(|outcome| outcome.network.corrupted),
        total(|outcome| outcome.network.truncated),
        total(|outcome| outcome.network.replayed),
    ];
    assert!(sums.iter().all(|&sum| sum > outcomes.len() as u64 / 2), "{sums:?}");
}

#[test]
fn equal_seeds_give_equal_runs() {
    let seeds: Vec<u64> = (0..10).collect();
    let first = run_all(&seeds);
    let hashes: std::collections::BTreeSet<u64> =
        first.iter().flatten().map(|outcome| outcome.trace_hash).collect();
    assert_eq!(hashes.len(), seeds.len());
    assert_eq!(first, run_all(&seeds));
}

/// Runs a cluster of five on a local network with one crash for every seed, on all cores. Returns how
/// long it took until all knew, sorted.
fn detect_among_five(loss: f64, seeds: u64) -> Vec<f64> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut times = Vec::new();
        while let seed = next.fetch_add(1, Ordering::Relaxed) as u64
            && seed < seeds
        {
            let options = SimulationOptions { loss, ..SimulationOptions::new(5, seed) };
            let report = shoal_simulator::run(&options).expect("the options are legal");
            let wrong = (report.false_positives, report.undetected);
            assert_eq!(wrong, (0, 0), "seed {seed}, loss {loss}: false deaths, missed crashes");
            times.push(report.detect_all_ms.p99.expect("one node crashed"));
        }
        times
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut times: Vec<f64> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no run fails")).collect()
    });
    times.sort_by(f64::total_cmp);
    times
}

/// `SHOAL_SEEDS=1000` as long as is promised.
#[test]
fn five_nodes_know_of_a_crash_within_two_and_a_half_seconds_and_bury_nobody_alive() {
    let seeds = variable("SHOAL_SEEDS").unwrap_or(SEED_COUNT).min(1_000);
    for loss in [0.0, 0.02, 0.05, 0.1] {
        let times = detect_among_five(loss, seeds);
        let p99 = report::percentile(&times, 99.0).expect("there are some");
        println!("loss {loss}: known to all after {p99:.0} ms at the 99th percentile");
        assert!(p99 <= 2_500.0, "loss {loss}: {p99} ms");
    }
}

/// While a cluster forms, news of suspicions and of refutations gets lost most easily. With `SHOAL_SEEDS=1000`
/// also a thousand nodes at a loss of 10 %.
#[test]
fn a_lossy_cluster_becomes_whole_and_buries_nobody_alive() {
    let seeds = variable("SHOAL_SEEDS").unwrap_or(SEED_COUNT).min(1_000) / 50;
    let is_long = variable("SHOAL_SEEDS") >= Some(1_000);
    let networks = [(256, 0.2, seeds), (1_000, 0.1, if is_long { 6 } else { 0 })];
    for (nodes, loss, seeds) in networks {
        for seed in 1..=seeds {
            let options =
                SimulationOptions { loss, seconds: 30, ..SimulationOptions::new(nodes, seed) };
            let report = shoal_simulator::run(&options).expect("the options are legal");
            let wrong = (report.false_positives, report.undetected);
            assert_eq!(wrong, (0, 0), "{nodes} nodes, seed {seed}: false deaths, missed crashes");
            let formed = report.formed_ms.unwrap_or(f64::INFINITY);
            println!("{nodes} nodes, loss {loss}, seed {seed}: formed after {formed:.0} ms");
            assert!(formed <= 30_000.0, "{nodes} nodes, seed {seed}: not whole after 30 s");
        }
    }
}

/// A thousand nodes with `SHOAL_SEEDS=1000`, fewer otherwise: acquainting a million pairs takes half a minute.
#[test]
fn a_large_cluster_knows_of_a_crash_within_five_seconds() {
    let nodes = if variable("SHOAL_SEEDS") >= Some(1_000) { 1_000 } else { 300 };
    let options =
        SimulationOptions { crashes: 20, seconds: 23, ..SimulationOptions::new(nodes, 1) };
    let report = shoal_simulator::run(&options).expect("the options are legal");
    assert_eq!((report.false_positives, report.undetected), (0, 0));
    let p99 = report.detect_all_ms.p99.expect("nodes crashed");
    println!("{nodes} nodes: known to all after {p99:.0} ms at the 99th percentile");
    assert!(p99 <= 5_000.0, "known to all after {p99} ms at the 99th percentile");
}
