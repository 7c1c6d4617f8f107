//! Instructions of the hot paths, counted by callgrind: the same in every run, whatever else the
//! machine does, so that a change that makes a path longer is seen at once.
//!
//! The program runs itself under valgrind, one case at a time; only what happens inside
//! [`measured`] counts. The counts to compare with stand in `instructions.json` beside this folder,
//! with the compiler they belong to: another compiler may need them written anew
//! (`INSTRUCTIONS=write make bench-check`).

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use shoal_benches::cluster::{NewsSource, Peer, address, drain, engine_with};
use shoal_benches::figures::Results;
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::coordinate::{Coordinate, Tracker, VivaldiConfig};
use shoal_core::random::Random;
use shoal_core::routing::{
    DatacenterCandidate, DatacenterId, Decision, JobId, Router, RouterConfig,
};
use shoal_core::{Duration, Instant, Rtt};

/// How often a case runs its path; counts are per run.
const RUNS: u32 = 200;
const CASES: [(&str, fn()); 5] = [
    ("answer a probe", answer_a_probe),
    ("handle 20 updates", handle_updates),
    ("coordinate sample", coordinate_sample),
    ("round trip upper bound", round_trip),
    ("route among 100 datacenters", route),
];

/// The counts to compare with, as committed.
#[derive(Debug, Serialize, Deserialize)]
struct Baseline {
    compiler: String,
    tolerance_percent: f64,
    instructions_per_run: BTreeMap<String, f64>,
}

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

/// Counts every case and compares with the committed counts, or writes them.
///
/// # Errors
/// When valgrind is missing, or a count is more than the tolerance above the committed one.
pub fn check(write: bool) -> Result<Results, String> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err("valgrind is not installed; `make deps` or `apt-get install valgrind`".into());
    }
    let compiler = compiler();
    let mut counts = BTreeMap::new();
    for (case, _) in CASES {
        counts.insert(case.to_owned(), count(case)?);
    }
    let path = baseline_path();
    if write {
        let tolerance_percent = 3.0;
        let baseline = Baseline { compiler, tolerance_percent, instructions_per_run: counts };
        let json = serde_json::to_string_pretty(&baseline).expect("counts are plain data");
        std::fs::write(&path, json + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
        eprintln!("written: {}", path.display());
        return Ok(Results::default());
    }
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let baseline: Baseline =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    compare(&counts, &baseline, &compiler)
}

fn compare(
    counts: &BTreeMap<String, f64>,
    baseline: &Baseline,
    compiler: &str,
) -> Result<Results, String> {
    let mut results = Results::default();
    let mut longer = Vec::new();
    for (case, &count) in counts {
        let Some(&before) = baseline.instructions_per_run.get(case) else {
            longer.push(format!("{case}: {count:.0}, with nothing to compare with"));
            continue;
        };
        let percent = (count / before - 1.0) * 100.0;
        eprintln!("{case:<30}{count:>10.0}  committed {before:>8.0}  {percent:+.2} %");
        results.add(format!("instructions/{case}"), count, "");
        results.add(format!("instructions/{case}/committed"), before, "");
        if percent > baseline.tolerance_percent {
            longer.push(format!("{case}: {count:.0} instead of {before:.0}, {percent:+.1} %"));
        }
    }
    if longer.is_empty() {
        return Ok(results);
    }
    let mut why = format!("more instructions than committed: {}", longer.join("; "));
    if compiler != baseline.compiler {
        why += &format!("; but they were counted with {}, this is {compiler}", baseline.compiler);
    }
    Err(why)
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "an unknown compiler".to_owned())
}

/// Instructions of one run of a case.
fn count(case: &str) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = std::env::temp_dir().join(format!("shoal-callgrind-{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--toggle-collect=*instructions*measured*"]);
    command.arg(format!("--callgrind-out-file={}", out.display())).arg(program);
    let output = command.args(["instructions", "--case", case]).output();
    let output = output.map_err(|error| format!("valgrind: {error}"))?;
    let text = std::fs::read_to_string(&out).unwrap_or_default();
    // It was only for this.
    let _ = std::fs::remove_file(&out);
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.and_then(|total| total.trim().parse::<f64>().ok());
    match total.filter(|&total| output.status.success() && total > 0.0) {
        Some(total) => Ok(total / f64::from(RUNS)),
        None => Err(format!("{case}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Runs one case, under callgrind.
///
/// # Errors
/// When there is no such case.
pub fn run_case(case: &str) -> Result<Results, String> {
    let found = CASES.iter().find(|(name, _)| *name == case);
    let (_, run) = found.ok_or_else(|| format!("no case {case}"))?;
    run();
    Ok(Results::default())
}

/// What counts: callgrind looks for this name.
#[inline(never)]
fn measured(path: &mut dyn FnMut()) {
    path();
    // Keeps the call above from becoming a jump that callgrind takes for the end of this function.
    black_box(());
}

fn answer_a_probe() {
    let (mut engine, mut now) = engine_with(200);
    let mut peer = Peer::new(2);
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    for _ in 0..RUNS {
        now += Duration::from_micros(50);
        let mut probe = peer.probe();
        measured(&mut || {
            engine.handle_datagram(now, address(2), black_box(&mut probe));
            while engine.poll_transmit(now, black_box(&mut buffer)).is_some() {}
        });
        drain(&mut engine, now);
    }
}

fn handle_updates() {
    let (mut engine, now) = engine_with(1_000);
    let mut source = NewsSource::new(1_000);
    for _ in 0..RUNS {
        let mut datagram = source.datagram();
        measured(&mut || engine.handle_datagram(now, address(1), black_box(&mut datagram)));
        drain(&mut engine, now);
    }
}

/// A tracker that has heard of a hundred peers.
fn tracker() -> (Tracker, Vec<Coordinate>, Instant) {
    let mut random = Random::new(7);
    let place = |random: &mut Random| Coordinate {
        vector: std::array::from_fn(|_| (random.unit() - 0.5) * 0.1),
        height: random.unit() * 0.005,
        adjustment: 0.0,
        error: 0.1,
    };
    let peers: Vec<Coordinate> = (0..100).map(|_| place(&mut random)).collect();
    let mut tracker = Tracker::with_config(VivaldiConfig::default(), 100, random).expect("legal");
    let mut now = Instant::ZERO;
    for _ in 0..20 {
        for (slot, peer) in peers.iter().enumerate() {
            now += Duration::from_millis(50);
            let rtt = Some(Duration::from_millis(20 + slot as u64));
            tracker.observe(slot as u32, peer, rtt, now).expect("no refusal");
        }
    }
    (tracker, peers, now)
}

fn coordinate_sample() {
    let (mut tracker, peers, mut now) = tracker();
    for run in 0..RUNS {
        now += Duration::from_millis(50);
        let slot = run % 100;
        let rtt = Some(Duration::from_millis(20 + u64::from(slot)));
        measured(&mut || {
            let observed = tracker.observe(slot, black_box(&peers[slot as usize]), rtt, now);
            observed.expect("no refusal");
        });
    }
}

fn round_trip() {
    let (tracker, _, now) = tracker();
    for run in 0..RUNS {
        measured(&mut || {
            black_box(tracker.rtt(black_box(run % 100), now));
        });
    }
}

fn route() {
    let now = Instant::from_millis(1_000_000);
    let mut router = Router::new(RouterConfig::default(), 1).expect("the defaults are legal");
    let mut random = Random::new(3);
    let candidates: Vec<_> = (0..100)
        .map(|index| {
            let id = DatacenterId::from_index(index).expect("a small number");
            let upper_ms = 1.0 + 300.0 * random.unit();
            DatacenterCandidate {
                available_cores: random.below(512),
                total_cores: 512,
                manager_count: 3,
                usable_manager_count: 3,
                rtt: Some(Rtt { ms: upper_ms * 0.8, upper_ms, quality: random.unit() }),
                ..DatacenterCandidate::new(id, now)
            }
        })
        .collect();
    let mut decision = Decision::default();
    let mut job = |number: u32| {
        let job = JobId::from(u128::from(number));
        router.route(now, job, &candidates, &[], &mut decision).expect("legal");
    };
    (0..RUNS).for_each(&mut job);
    for number in 0..RUNS {
        measured(&mut || job(black_box(number)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(count: f64) -> BTreeMap<String, f64> {
        BTreeMap::from([("path".to_owned(), count)])
    }

    #[test]
    fn a_longer_path_fails_and_a_shorter_one_does_not() {
        let baseline = Baseline {
            compiler: "rustc 1".to_owned(),
            tolerance_percent: 3.0,
            instructions_per_run: counts(1_000.0),
        };
        assert!(compare(&counts(1_029.0), &baseline, "rustc 1").is_ok());
        assert!(compare(&counts(500.0), &baseline, "rustc 1").is_ok());
        let why = compare(&counts(1_031.0), &baseline, "rustc 2").unwrap_err();
        assert!(why.contains("1031 instead of 1000") && why.contains("rustc 2"), "{why}");
        let unknown = BTreeMap::from([("new path".to_owned(), 1.0)]);
        assert!(compare(&unknown, &baseline, "rustc 1").is_err());
    }

    #[test]
    fn every_case_runs() {
        for (case, _) in CASES {
            run_case(case).unwrap();
        }
        assert!(run_case("nothing").is_err());
    }

    #[test]
    fn counts_are_committed_for_every_case() {
        let text = std::fs::read_to_string(baseline_path()).unwrap();
        let baseline: Baseline = serde_json::from_str(&text).unwrap();
        let committed: Vec<&str> =
            baseline.instructions_per_run.keys().map(String::as_str).collect();
        let mut cases = CASES.map(|(case, _)| case);
        cases.sort_unstable();
        assert_eq!(committed, cases);
    }
}
