//! How soon a crash is known and how often a healthy node is declared dead, by size and loss: the
//! tables in `snapshots/detection.txt`, kept under version control so that a change shows in them.
//!
//! A row is a set of runs with seeds 0, 1, 2 and so on; in each, nodes on a local network form a
//! cluster and one of them crashes. The usual test computes a few rows anew and compares them with the
//! file. `SHOAL_SNAPSHOTS=check` compares all, `SHOAL_SNAPSHOTS=update` writes the file.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shoal_core::Duration;
use shoal_simulator::report::Percentiles;
use shoal_simulator::{Report, SimulationOptions};

/// Sizes and how many runs a row of each has.
const SIZES: [(u32, u64); 4] = [(3, 100), (5, 100), (16, 50), (64, 10)];
const LOSS_PERCENT: [u32; 6] = [0, 2, 5, 10, 20, 30];
/// The rows of the usual test.
const USUAL: [(u32, u32); 5] = [(5, 0), (5, 10), (5, 30), (16, 0), (16, 30)];
/// Virtual seconds of a run: the crash comes early enough to be known to all before they end.
const SECONDS: u64 = 30;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/detection.txt");
const HEAD: &str = "\
Detection of one crash on a local network, defaults, times in ms from the crash.
`first` is the first node that declares it, `all` the last one. `false` counts declarations about
nodes that ran, `missed` runs in which somebody did not know at the end.

nodes loss % runs | first: 50 %   99 % | all: 50 %   99 % | false missed
";

fn simulate(nodes: u32, loss_percent: u32, seed: u64) -> Report {
    let mut options = SimulationOptions::new(nodes, seed);
    options.loss = f64::from(loss_percent) / 100.0;
    options.seconds = SECONDS;
    shoal_simulator::run(&options).expect("the options are legal")
}

/// Runs the seeds of a row on all cores.
fn simulate_all(nodes: u32, loss_percent: u32, runs: u64) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let work = || {
        let seeds = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed) as u64);
        let seeds = seeds.take_while(|&seed| seed < runs);
        seeds.map(|seed| simulate(nodes, loss_percent, seed)).collect::<Vec<_>>()
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no run panics")).collect()
    })
}

fn row(nodes: u32, loss_percent: u32) -> String {
    let (_, runs) = SIZES.into_iter().find(|(size, _)| *size == nodes).expect("a listed size");
    let reports = simulate_all(nodes, loss_percent, runs);
    let percentiles = |value: fn(&Report) -> Option<f64>| {
        let nanos = |ms: f64| Duration::from_nanos((ms * 1e6) as u64);
        let times: Vec<Duration> = reports.iter().filter_map(value).map(nanos).collect();
        let Percentiles { p50, p99 } = Percentiles::of_durations(&times);
        [p50, p99].map(|ms| ms.map_or("-".to_owned(), |ms| format!("{ms:.0}")))
    };
    let first = percentiles(|report| report.detect_first_ms.p50);
    let all = percentiles(|report| report.detect_all_ms.p50);
    let false_positives: u64 = reports.iter().map(|report| report.false_positives).sum();
    let missed = reports.iter().filter(|report| report.undetected > 0).count();
    format!(
        "{nodes:>5} {loss_percent:>6} {runs:>4} | {:>11} {:>6} | {:>9} {:>6} | {false_positives:>5} \
         {missed:>6}",
        first[0], first[1], all[0], all[1]
    )
}

fn table() -> String {
    let mut table = HEAD.to_owned();
    for (nodes, _) in SIZES {
        for loss_percent in LOSS_PERCENT {
            writeln!(table, "{}", row(nodes, loss_percent)).expect("a string takes all");
        }
    }
    table
}

#[test]
fn detection_is_as_the_snapshot_says() {
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    match std::env::var("SHOAL_SNAPSHOTS").as_deref() {
        Ok("update") => std::fs::write(PATH, table()).expect("the snapshot can be written"),
        Ok("check") => assert_eq!(table(), committed, "SHOAL_SNAPSHOTS=update accepts the change"),
        Ok(other) => panic!("SHOAL_SNAPSHOTS={other:?}, expected check or update"),
        Err(_) => {
            assert!(committed.starts_with(HEAD), "the snapshot has another head");
            for (nodes, loss_percent) in USUAL {
                let row = row(nodes, loss_percent);
                let is_known = committed.lines().any(|line| line == row);
                assert!(is_known, "not in the snapshot:\n{row}\nSHOAL_SNAPSHOTS=update accepts it");
            }
        }
    }
}
