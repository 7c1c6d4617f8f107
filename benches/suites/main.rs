//! What the parts cost, measured by Criterion: one suite a subject.
//!
//! `cargo bench -p shoal-benches --bench suites -- engine` runs the suite of that name, `-- wire/read` one
//! part of it, and without a name all are run. They are one program, because each program is optimised as a
//! whole: eight would take eight times as long to build.
#![allow(missing_docs)]

mod coordinate;
mod engine;
mod handoff;
mod jobs;
mod routing;
mod timers;
mod updates;
mod wire;

use std::time::Duration;

use criterion::Criterion;

#[global_allocator]
static ALLOCATOR: shoal_benches::heap::Measuring = shoal_benches::heap::Measuring;

/// Each with the word that the names of all its benchmarks begin with.
const SUITES: [(&str, fn()); 8] = [
    ("coordinate", coordinate::benches),
    ("engine", engine::benches),
    ("handoff", handoff::benches),
    ("jobs", jobs::benches),
    ("routing", routing::benches),
    ("timers", timers::benches),
    ("updates", updates::benches),
    ("wire", wire::benches),
];

/// Shorter than Criterion would take, for suites whose sizes are many.
fn brief() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

fn main() {
    // Criterion itself leaves out what a name does not ask for, but only once it is set up, which may take
    // a million jobs.
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |suite: &str| words.iter().any(|word| word.starts_with(suite));
    let is_any_named = SUITES.iter().any(|(suite, _)| is_named(suite));
    for (_, run) in SUITES.iter().filter(|(suite, _)| is_named(suite) || !is_any_named) {
        run();
    }
    Criterion::default().configure_from_args().final_summary();
}
