//! What a call through C costs beyond the same call in Rust: predictions of round trips, asked
//! for by a C program and by this one, in turns, best of several runs each.

#[path = "../tests/toolchain/mod.rs"]
mod toolchain;

use shoal_core::coordinate::Tracker;
use shoal_core::random::Random;
use shoal_core::{Instant, Rtt};
use std::hint::black_box;
use std::path::Path;
use toolchain::{Build, Library, run};

const PEERS: u32 = 256;
const CALLS: u32 = 2_000_000;
const RUNS: usize = 9;
const NOW: Instant = Instant::from_nanos(1_000_000_000);

fn tracker() -> Tracker {
    let mut tracker = Tracker::new(PEERS, Random::new(1));
    let mut coordinate = *tracker.coordinate();
    for peer in 0..PEERS {
        coordinate.vector[peer as usize % 8] = 0.001 * f64::from(1 + peer);
        tracker.observe(peer, &coordinate, None, NOW).expect("the coordinate is valid");
    }
    tracker
}

/// The best time of one call, in nanoseconds.
fn measure<T>(mut call: impl FnMut(u32) -> T) -> f64 {
    let time = |_| {
        let start = std::time::Instant::now();
        for number in 0..CALLS {
            black_box(call(black_box(number) % PEERS));
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

fn measure_c(program: &Path) -> [f64; 2] {
    let output = run(program, &[]);
    let mut numbers = output.split_whitespace().map(|number| number.parse().expect("a number"));
    [(); 2].map(|()| numbers.next().expect("two numbers"))
}

fn main() {
    let build = |name, library| {
        let (flags, sources) = (&["-O2"], &["benches/overhead.c"]);
        Build { compiler: "cc", name, sources, flags, library }.finish()
    };
    let programs =
        [build("overhead-shared", Library::Shared), build("overhead-static", Library::Static)];
    let tracker = tracker();
    let mut best = [[f64::INFINITY; 2]; 3];
    for _ in 0..3 {
        let whole = measure(|peer| tracker.rtt(peer, NOW));
        let estimate = measure(|peer| tracker.rtt(peer, NOW).map(|Rtt { ms, .. }| ms));
        let [shared, fixed] = [&programs[0], &programs[1]].map(|path| measure_c(path));
        for (kept, new) in best.iter_mut().zip([[whole, estimate], shared, fixed]) {
            *kept = [kept[0].min(new[0]), kept[1].min(new[1])];
        }
    }
    println!("ns per call          rtt   over Rust   estimate   over Rust");
    let [rust, ..] = best;
    for (name, [whole, estimate]) in ["Rust", "C, libshoal.so", "C, libshoal.a"].iter().zip(best) {
        let (more, more_estimate) = (whole - rust[0], estimate - rust[1]);
        println!("{name:<16} {whole:>7.1} {more:>11.1} {estimate:>10.1} {more_estimate:>11.1}");
    }
}
