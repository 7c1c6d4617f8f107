//! What tracking jobs costs with a million of them: starting, progressing, finishing, an idle tick,
//! memory.
//!
//! `cargo bench -p shoal-benches --bench suites -- jobs`

use std::hint::black_box;
use std::time::Instant as Clock;

use criterion::{Criterion, criterion_group};
use shoal_benches::heap;
use shoal_core::jobs::{
    DatacenterTarget, GateJobStart, GateJobTracker, JobId, JobOutcome, JobStart, JobTracker,
    JobsConfig, WorkflowCounts, WorkflowId, WorkflowState, WorkflowStateMachine,
};
use shoal_core::random::Random;
use shoal_core::{Address, Duration, Instant};

const JOBS: u32 = 1_000_000;
const TIMEOUT: Duration = Duration::from_secs(3_600);
const START: Instant = Instant::from_millis(1_000_000);

/// Ids as a host would draw them, in no order that a table could profit from.
fn ids(count: u32) -> Vec<JobId> {
    let mut random = Random::new(11);
    let draw =
        |random: &mut Random| u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    (0..count).map(|_| JobId::from(draw(&mut random))).collect()
}

fn gate() -> Address {
    "10.0.0.1:7946".parse().expect("an address")
}

/// A tracker with these jobs, started over ten minutes.
fn tracker(ids: &[JobId], gate: Option<Address>) -> JobTracker {
    let mut tracker = JobTracker::new(JobsConfig::default(), 1, START).expect("a config");
    for (number, &job) in ids.iter().enumerate() {
        let now = START + Duration::from_micros(600 * number as u64);
        let start = JobStart { gate, ..JobStart::new(job, TIMEOUT) };
        tracker.job_started(now, &start).expect("room");
        while black_box(tracker.poll_message(now)).is_some() {}
    }
    tracker
}

fn memory(_: &mut Criterion) {
    let ids = ids(JOBS);
    let per_job = |bytes: usize| bytes as f64 / f64::from(JOBS);
    for (name, gate) in [("local authority", None), ("gate-coordinated", Some(gate()))] {
        let before = heap::in_use();
        let tracker = tracker(&ids, gate);
        let bytes = heap::in_use() - before;
        assert_eq!(tracker.len(), JOBS as usize);
        println!("memory, {name}: {:.1} B per job", per_job(bytes));
        assert!(per_job(bytes) <= 200.0, "at most 200 B per job");
    }
    for count in [1, 3] {
        let names = ["east", "west", "north"];
        let targets: Vec<_> = names[..count]
            .iter()
            .map(|name| {
                let datacenter = name.parse().expect("a name");
                DatacenterTarget { datacenter, leader: None }
            })
            .collect();
        let before = heap::in_use();
        let mut gate = GateJobTracker::new(JobsConfig::default(), 1, START).expect("a config");
        for &job in &ids {
            let start = GateJobStart { job, timeout: TIMEOUT, datacenters: &targets };
            gate.job_started(START, &start).expect("room");
        }
        let bytes = heap::in_use() - before;
        println!("memory, gate with {count} datacenters per job: {:.1} B per job", per_job(bytes));
    }
}

/// The mean over `count` calls of each of the steps, among a million jobs.
fn steps(criterion: &mut Criterion) {
    let ids = ids(2 * JOBS);
    let (tracked, fresh) = ids.split_at(JOBS as usize);
    let now = START + Duration::from_secs(601);
    for (name, gate) in [("local", None), ("gate", Some(gate()))] {
        let mut group = criterion.benchmark_group(format!("jobs/{name}"));
        let mut tracker = tracker(tracked, gate);
        group.bench_function("start, then finish", |bencher| {
            let mut next = 0;
            bencher.iter(|| {
                let job = fresh[next % fresh.len()];
                next += 1;
                let start = JobStart { gate, ..JobStart::new(job, TIMEOUT) };
                tracker.job_started(now, &start).expect("room");
                tracker.job_finished(now, job, JobOutcome::Completed);
                while let Some(message) = black_box(tracker.poll_message(now)) {
                    black_box(message);
                }
            });
        });
        let mut next = 0;
        group.bench_function("progress", |bencher| {
            bencher.iter(|| {
                let job = tracked[next % tracked.len()];
                next += 1;
                tracker.job_progress(now, black_box(job), Some(WorkflowCounts::default()))
            });
        });
        group.finish();
    }
}

/// What it costs to read one word of a random job's memory, each address known only from the last: the
/// yardstick for steps over jobs that no cache holds.
fn random_read() -> f64 {
    const WORDS: usize = 24;
    let mut order: Vec<u32> = (0..JOBS).collect();
    Random::new(5).shuffle(&mut order);
    let mut memory = vec![[0u64; WORDS]; JOBS as usize];
    for (&from, &to) in order.iter().zip(order[1..].iter().chain(&order[..1])) {
        memory[from as usize][0] = u64::from(to);
    }
    let clock = Clock::now();
    let end = (0..JOBS).fold(0, |place, _| memory[black_box(place) as usize][0]);
    black_box(end);
    clock.elapsed().as_nanos() as f64 / f64::from(JOBS)
}

/// Every step over all million jobs in random order, by the clock: no job is warm in a cache.
fn sweeps(_: &mut Criterion) {
    let ids = ids(JOBS);
    let mut order = ids.clone();
    Random::new(3).shuffle(&mut order);
    for (name, gate) in [("local", None), ("gate", Some(gate()))] {
        let mut best = [f64::MAX; 3];
        for _ in 0..5 {
            let mut tracker = JobTracker::new(JobsConfig::default(), 1, START).expect("a config");
            let mut step = |number: usize, call: &mut dyn FnMut(&mut JobTracker, JobId)| {
                let order = if number == 0 { &ids } else { &order };
                let clock = Clock::now();
                order.iter().for_each(|&job| call(&mut tracker, job));
                let nanos = clock.elapsed().as_nanos() as f64 / f64::from(JOBS);
                best[number] = best[number].min(nanos);
                while tracker.poll_message(START).is_some() {}
            };
            step(0, &mut |tracker, job| {
                let start = JobStart { gate, ..JobStart::new(job, TIMEOUT) };
                tracker.job_started(START, &start).expect("room");
            });
            let later = START + Duration::from_secs(1);
            step(1, &mut |tracker, job| {
                black_box(tracker.job_progress(later, job, None));
            });
            step(2, &mut |tracker, job| {
                black_box(tracker.job_finished(later, job, JobOutcome::Completed));
            });
        }
        let [start, progress, finish] = best;
        println!(
            "sweep over {JOBS} jobs, {name}: start {start:.0} ns, progress {progress:.0} ns, \
             finish {finish:.0} ns; one random read {:.0} ns",
            random_read()
        );
    }
}

fn idle_tick(criterion: &mut Criterion) {
    let ids = ids(JOBS);
    let mut tracker = tracker(&ids, None);
    let mut now = START + Duration::from_secs(601);
    criterion.bench_function("jobs/tick with nothing due", |bencher| {
        // All jobs progressed lately and their timers stand far ahead.
        ids.iter().for_each(|&job| assert!(tracker.job_progress(now, job, None)));
        tracker.handle_timeout(now);
        while tracker.poll_event().is_some() {}
        bencher.iter(|| {
            now += Duration::from_nanos(100);
            tracker.handle_timeout(black_box(now));
            black_box(tracker.poll_timeout())
        });
    });
}

fn workflows(criterion: &mut Criterion) {
    let ids = ids(10_000);
    let config = JobsConfig::default();
    let mut machine = WorkflowStateMachine::new(&config, 1).expect("a config");
    for number in 0..100_000u32 {
        let job = ids[number as usize % ids.len()];
        machine.add(START, WorkflowId::from(u128::from(number)), job).expect("room");
    }
    let mut number = 0u32;
    criterion.bench_function("jobs/workflow, four steps", |bencher| {
        bencher.iter(|| {
            let workflow = WorkflowId::from(u128::from(number) + 1_000_000);
            number += 1;
            machine.add(START, workflow, ids[0]).expect("room");
            for state in
                [WorkflowState::Dispatched, WorkflowState::Running, WorkflowState::Completed]
            {
                machine.transition(START, workflow, state, "").expect("legal");
            }
            while black_box(machine.poll_event()).is_some() {}
            machine.remove(workflow)
        });
    });
}

criterion_group!(benches, memory, sweeps, steps, idle_tick, workflows);
