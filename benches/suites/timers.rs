//! What the timing wheel costs with a hundred, ten thousand and a million deadlines in it.
//!
//! The deadlines lie within ten seconds, as those of probes and suspicions do. `move` is what every
//! answered probe does; `come due` is setting a timer and handing it out when its time has come, once
//! per timer; `nothing due` is the look that the engine takes after every datagram.
//!
//! `cargo bench -p shoal-benches --bench suites -- timers`

use std::hint::black_box;
use std::time::Duration as Spent;

use criterion::{BenchmarkId, Criterion, criterion_group};
use shoal_core::random::Random;
use shoal_core::timer::TimerWheel;
use shoal_core::{Duration, Instant};

const SIZES: [u32; 3] = [100, 10_000, 1_000_000];
const HORIZON_MS: u32 = 10_000;
const START: Instant = Instant::from_millis(1_000_000);

fn deadline(random: &mut Random) -> Instant {
    START + Duration::from_millis(1 + u64::from(random.below(HORIZON_MS)))
}

fn filled(size: u32, random: &mut Random) -> TimerWheel {
    let mut wheel = TimerWheel::new(START);
    (0..size).for_each(|timer| wheel.set(timer, deadline(random)));
    wheel
}

fn move_timer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers/move");
    for size in SIZES {
        let mut random = Random::new(1);
        let mut wheel = filled(size, &mut random);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| wheel.set(random.below(size), deadline(&mut random)));
        });
    }
    group.finish();
}

fn come_due(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers/come due");
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let (mut random, end) = (Random::new(2), START + Duration::from_secs(10));
            bencher.iter_custom(|rounds| {
                let (mut spent, mut left) = (Spent::ZERO, rounds);
                // A whole wheel at a time; of the last one the share that was asked for.
                while left > 0 {
                    let count = left.min(u64::from(size)) as u32;
                    let deadlines: Vec<Instant> =
                        (0..size).map(|_| deadline(&mut random)).collect();
                    let mut wheel = TimerWheel::new(START);
                    let start = std::time::Instant::now();
                    for (timer, &deadline) in (0..).zip(&deadlines) {
                        wheel.set(timer, deadline);
                    }
                    while let Some(timer) = wheel.expire(end) {
                        black_box(timer);
                    }
                    spent += start.elapsed().mul_f64(f64::from(count) / f64::from(size));
                    left -= u64::from(count);
                }
                spent
            });
        });
    }
    group.finish();
}

fn nothing_due(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("timers/nothing due");
    for size in SIZES {
        let mut wheel = filled(size, &mut Random::new(3));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| (wheel.expire(black_box(START)), wheel.next_deadline()));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = crate::brief();
    targets = move_timer, come_due, nothing_due
}
