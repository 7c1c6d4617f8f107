//! What the engine costs as the cluster grows: a probe round, and writing news into a datagram.
//!
//! What a datagram with news costs to handle stands in `updates.rs`, next to foca; memory in
//! `measure`.
//!
//! `cargo bench -p shoal-benches --bench suites -- engine`

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group};
use shoal_benches::cluster::{NewsSource, Peer, SIZES, address, drain, engine_with};
use shoal_core::config::DATAGRAM_SIZE_MAX;

/// Pieces of news that wait to be spread when a datagram is written.
const PENDING: u32 = 1_000;

fn probe_round(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine/a probe round with its datagram");
    for size in SIZES {
        let (mut engine, mut now) = engine_with(size);
        group.bench_function(BenchmarkId::new("members", size), |bencher| {
            let mut buffer = [0; DATAGRAM_SIZE_MAX];
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    now = now.max(engine.poll_timeout().expect("a deadline"));
                    let start = std::time::Instant::now();
                    engine.handle_timeout(now);
                    while engine.poll_transmit(now, black_box(&mut buffer)).is_some() {}
                    spent += start.elapsed();
                    drain(&mut engine, now);
                }
                spent
            });
        });
    }
    group.finish();
}

/// The answer to a probe, sealed: without news, and with as much as fits of what a thousand members
/// have told. The difference, by piece of news, is what spreading costs.
fn write_news(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine/answer a probe");
    for pending in [0, PENDING] {
        let (mut engine, now) = engine_with(PENDING);
        let mut source = NewsSource::new(PENDING);
        // Not the one who tells the news: counters of two in one session would look like replays.
        let mut peer = Peer::new(2);
        engine.handle_datagram(now, address(2), &mut peer.probe());
        drain(&mut engine, now);
        group.bench_function(BenchmarkId::new("pending", pending), |bencher| {
            let mut buffer = [0; DATAGRAM_SIZE_MAX];
            bencher.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    if pending > 0 {
                        // Twice what one answer takes along: the queue stays full of news.
                        for _ in 0..2 {
                            engine.handle_datagram(now, address(1), &mut source.datagram());
                            while engine.poll_event().is_some() {}
                            while engine.poll_change().is_some() {}
                        }
                    }
                    engine.handle_datagram(now, address(2), &mut peer.probe());
                    let start = std::time::Instant::now();
                    let answer = engine.poll_transmit(now, black_box(&mut buffer));
                    while engine.poll_transmit(now, black_box(&mut buffer)).is_some() {}
                    spent += start.elapsed();
                    assert!(answer.is_some(), "a probe is answered");
                    drain(&mut engine, now);
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = crate::brief();
    targets = probe_round, write_news
}
