//! Jobs on real engines under everything at once: loss, partitions, crashes, leaders and gates replaced.
//!
//! `SHOAL_SEEDS=1000 cargo test --release -p shoal-tests --test jobs_simulation` for a long search. Every seed
//! that ever failed stands in `jobs_seeds.txt` and runs first. A failure prints the command that replays it.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_core::Duration;
use shoal_core::jobs::{FenceToken, JobEvent, TimeoutReason};
use shoal_simulator::jobs::plan::{Fault, JobPlan, SitePlan};
use shoal_simulator::jobs::{self, Failure, Outcome, Plan, Telling};

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

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A job that is submitted after a second, works in these datacenters for ever, and has 30 s.
fn endless_job(datacenters: usize) -> JobPlan {
    let site = |datacenter| SitePlan {
        datacenter,
        progress_interval: Duration::from_millis(500),
        hangs_at: None,
        completes_at: None,
        extends_at: Vec::new(),
    };
    JobPlan {
        submitted_at: seconds(1),
        timeout: seconds(30),
        has_gate: true,
        sites: (0..datacenters).map(site).collect(),
    }
}

/// What ended the job, according to managers: when, where, under which fence.
fn endings(outcome: &Outcome) -> Vec<(Duration, u32, FenceToken)> {
    let endings = outcome.told.iter().filter_map(|&Telling { at, node, event }| match event {
        JobEvent::TimedOut { fence, .. } => Some((at, node, fence)),
        _ => None,
    });
    endings.collect()
}

fn decisions(outcome: &Outcome) -> Vec<(Duration, u32)> {
    let is_decision = |telling: &&Telling| matches!(telling.event, JobEvent::GlobalTimeout { .. });
    outcome.told.iter().filter(is_decision).map(|telling| (telling.at, telling.node)).collect()
}

/// Membership finds the leader dead, the next manager goes on from the same start under a higher fence.
#[test]
fn scenario_1_the_next_leader_ends_the_job_when_the_first_would_have() {
    let mut plan = Plan::quiet(1, 2);
    plan.jobs = vec![endless_job(1)];
    let back_after = seconds(300);
    plan.faults = vec![(seconds(10), Fault::CrashLeader { datacenter: 0, back_after })];
    let outcome = jobs::run_plan(plan).unwrap();
    let [(at, node, fence)] = endings(&outcome)[..] else { panic!("{:?}", outcome.told) };
    assert_eq!((node, fence), (3, FenceToken(2)));
    assert!((seconds(31)..seconds(32)).contains(&at), "{at:?}");
}

/// The gate dies just before the deadline. The other one learns everything from the reports of managers.
#[test]
fn scenario_2_another_gate_learns_of_the_job_and_ends_it_everywhere() {
    let mut plan = Plan::quiet(3, 2);
    plan.jobs = vec![endless_job(3)];
    plan.faults = vec![(seconds(29), Fault::CrashGate { back_after: seconds(300) })];
    let outcome = jobs::run_plan(plan).unwrap();
    let [(_, gate)] = decisions(&outcome)[..] else { panic!("{:?}", outcome.told) };
    assert_eq!(gate, 1);
    let mut nodes: Vec<u32> = endings(&outcome).iter().map(|&(_, node, _)| node).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, [2, 4, 6], "the leader of each datacenter");
    // Five seconds until the death is seen at the latest, a second and a half to tell everyone.
    let last = endings(&outcome).iter().map(|&(at, ..)| at).max().unwrap();
    assert!((seconds(31)..seconds(38)).contains(&last), "{last:?}");
}

/// A datacenter changes its leader twice and the gate does not hear of it. Its decision is refused there; when
/// it hears the correction, it addresses the right leadership.
#[test]
fn scenario_3_a_stale_global_timeout_is_refused_and_then_corrected() {
    let mut plan = Plan::quiet(2, 2);
    let mut job = endless_job(2);
    job.sites[1].hangs_at = Some(seconds(10));
    plan.jobs = vec![job];
    let set = |members: &[usize]| (0..6).map(|host| members.contains(&host)).collect();
    plan.faults = vec![
        (seconds(5), Fault::Cut(set(&[2, 3]), set(&[0]))),
        (seconds(6), Fault::Depose { datacenter: 0 }),
        (seconds(12), Fault::Depose { datacenter: 0 }),
        (seconds(20), Fault::Mend),
    ];
    let outcome = jobs::run_plan(plan).unwrap();
    let [(decided_at, 0)] = decisions(&outcome)[..] else { panic!("{:?}", outcome.told) };
    assert!(
        (seconds(13)..seconds(15)).contains(&decided_at),
        "four seconds after the last progress"
    );
    let [(first, 4, FenceToken(1)), (second, 2, FenceToken(3))] = endings(&outcome)[..] else {
        panic!("{:?}", outcome.told)
    };
    assert!(first < seconds(15) && (seconds(20)..seconds(22)).contains(&second));
    let corrected = outcome.told.iter().find_map(|telling| match telling.event {
        JobEvent::StatusCorrection { outcome, fence, .. } => Some((outcome, fence)),
        _ => None,
    });
    assert_eq!(corrected, Some((None, FenceToken(3))));
}

/// Nothing is wrong, so nothing is late: a job ends in every datacenter as soon as the news can travel.
#[test]
fn in_quiet_weather_a_job_ends_on_time_everywhere() {
    for datacenters in [1, 3] {
        let mut plan = Plan::quiet(datacenters, 2);
        plan.jobs = vec![endless_job(datacenters)];
        let outcome = jobs::run_plan(plan).unwrap();
        assert_eq!((decisions(&outcome).len(), endings(&outcome).len()), (1, datacenters));
        // Datacenters start the job within 0.2 s, and a message takes 20 ms.
        let due = seconds(31)..seconds(31) + Duration::from_millis(250);
        assert!(endings(&outcome).iter().all(|(at, ..)| due.contains(at)), "{:?}", outcome.told);
    }
}
