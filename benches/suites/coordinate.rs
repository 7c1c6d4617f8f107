//! What coordinates cost: one sample, one estimate, a sweep over all peers.
//!
//! `cargo bench -p shoal-benches --bench suites -- coordinate`

use std::cell::LazyCell;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use shoal_core::Instant;
use shoal_core::coordinate::{Coordinate, Tracker, VivaldiConfig, table};
use shoal_core::random::Random;

const PEERS: u32 = 1_000;

/// A peer somewhere within a few hundred milliseconds.
fn peer(random: &mut Random) -> Coordinate {
    let vector = std::array::from_fn(|_| (random.unit() - 0.5) * 0.1);
    Coordinate { vector, height: random.unit() * 0.005, adjustment: 0.0, error: 0.1 }
}

/// A tracker that has settled among its peers, with their coordinates and the round trips to them.
struct Settled {
    tracker: Tracker,
    peers: Vec<(Coordinate, Duration)>,
    now: Instant,
}

impl Settled {
    fn new(config: VivaldiConfig, count: u32) -> Settled {
        let mut random = Random::new(7);
        let own = peer(&mut random);
        let peers: Vec<_> = (0..count)
            .map(|_| {
                let peer = peer(&mut random);
                let seconds = own.distance(&peer) * (0.95 + 0.1 * random.unit());
                (peer, Duration::from_nanos((seconds * 1e9) as u64))
            })
            .collect();
        let tracker = Tracker::with_config(config, count, random).expect("the constants pass");
        let mut settled = Settled { tracker, peers, now: Instant::ZERO };
        for slot in (0..count).chain(0..count.min(2_000)) {
            settled.observe(slot);
        }
        settled
    }

    #[inline(always)]
    fn observe(&mut self, slot: u32) {
        self.now += Duration::from_millis(50);
        let (coordinate, round_trip) = &self.peers[slot as usize];
        self.tracker.observe(slot, coordinate, Some(*round_trip), self.now).expect("no refusal");
    }
}

fn samples(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coordinate/update");
    let profiles =
        [("native", VivaldiConfig::default()), ("hyperscale", VivaldiConfig::hyperscale())];
    for (name, config) in profiles {
        let mut settled = Settled::new(config, PEERS);
        let mut slot = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                slot = if slot + 1 == PEERS { 0 } else { slot + 1 };
                settled.observe(black_box(slot));
            });
        });
    }
    group.finish();
}

fn heard(criterion: &mut Criterion) {
    let mut settled = Settled::new(VivaldiConfig::default(), PEERS);
    let mut slot = 0;
    criterion.bench_function("coordinate/heard", |bencher| {
        bencher.iter(|| {
            slot = if slot + 1 == PEERS { 0 } else { slot + 1 };
            let coordinate = &settled.peers[slot as usize].0;
            settled.tracker.observe(black_box(slot), coordinate, None, settled.now)
        });
    });
}

fn estimates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coordinate/estimate");
    let settled = Settled::new(VivaldiConfig::default(), PEERS);
    let recent = settled.now;
    let later = recent + Duration::from_secs(3_000);
    let mut stale = settled.tracker.clone();
    for slot in 0..PEERS {
        let coordinate = stale.peer_coordinate(slot).expect("every peer was heard");
        stale.observe(slot, &coordinate, None, later).expect("a valid coordinate");
    }
    let later = later + Duration::from_secs(1_000);
    let mut slot = 0;
    let mut next = move || {
        slot = if slot + 1 == PEERS { 0 } else { slot + 1 };
        slot
    };
    group.bench_function("measured", |bencher| {
        bencher.iter(|| settled.tracker.rtt(black_box(next()), recent));
    });
    group.bench_function("predicted", |bencher| {
        bencher.iter(|| stale.rtt(black_box(next()), later));
    });
    let (own, other) = (settled.peers[0].0, settled.peers[1].0);
    group.bench_function("pair", |bencher| {
        bencher.iter(|| black_box(&own).distance(black_box(&other)));
    });
    group.finish();
}

fn sweeps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coordinate/sweep");
    for count in [1_000, 10_000, 100_000] {
        // Made when the first benchmark runs: a name may have left all of them out.
        let settled = LazyCell::new(|| Settled::new(VivaldiConfig::default(), count));
        let mut estimates = Vec::new();
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::new("predicted", count), |bencher| {
            let (table, own) = (settled.tracker.table(), settled.tracker.coordinate());
            bencher.iter(|| table.estimate_all(black_box(own), &mut estimates));
        });
        group.bench_function(BenchmarkId::new("measured preferred", count), |bencher| {
            let (tracker, now) = (&settled.tracker, settled.now);
            bencher.iter(|| tracker.rtt_all(now, &mut estimates));
        });
        let mut nearest = Vec::new();
        group.bench_function(BenchmarkId::new("nearest 8", count), |bencher| {
            settled.tracker.rtt_all(settled.now, &mut estimates);
            bencher.iter(|| table::nearest(black_box(&estimates), 8, &mut nearest));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = samples, heard, estimates, sweeps
}
