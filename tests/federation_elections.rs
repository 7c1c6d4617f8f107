//! Elections of simulated managers under crashes and partitions: a term has one leader, one leads at a time,
//! nobody goes back, and a majority is never without a leader for long.
//!
//! `SHOAL_SEEDS=1000 cargo test --release -p shoal-tests --test federation_elections -- --nocapture` for a long
//! search with figures. A failure prints the command that replays it.
#![allow(missing_docs)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use shoal_core::Duration;
use shoal_simulator::elections::{self, ELECTION_LIMIT, Outcome};

/// Seeds of a quick run.
const SEEDS: u64 = 24;

fn seed_count() -> u64 {
    let asked = std::env::var("SHOAL_SEEDS").ok();
    asked.map_or(SEEDS, |text| text.parse().expect("SHOAL_SEEDS is a number"))
}

#[test]
fn no_seed_breaks_a_rule_of_leaders() {
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::<Outcome>::new());
    let failures = Mutex::new(Vec::<String>::new());
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seed_count() {
                return;
            }
            match elections::run(seed) {
                Ok(outcome) => outcomes.lock().unwrap().push(outcome),
                Err(failure) => failures.lock().unwrap().push(failure.to_string()),
            }
        }
    };
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let (outcomes, failures) = (outcomes.into_inner().unwrap(), failures.into_inner().unwrap());
    assert!(failures.is_empty(), "{} seeds:\n{}", failures.len(), failures.join("\n\n"));

    let sorted = |figure: fn(&Outcome) -> Duration| {
        let mut figures: Vec<Duration> = outcomes.iter().map(figure).collect();
        figures.sort();
        let at = |share: f64| figures[((figures.len() - 1) as f64 * share) as usize];
        (at(0.5), at(0.99), at(1.0))
    };
    let succession = sorted(|outcome| outcome.succession);
    let sum = |figure: fn(&Outcome) -> u64| outcomes.iter().map(figure).sum::<u64>();
    println!("{} runs, {} leaderships", outcomes.len(), sum(|outcome| outcome.terms));
    println!(
        "faults {}, messages of earlier terms refused {}",
        sum(|o| o.faults.into()),
        sum(|o| o.stale_terms)
    );
    println!("median, p99, most: first election {:?}", sorted(|outcome| outcome.first_election));
    println!("                   after a crash  {succession:?}");
    println!("                   after healing  {:?}", sorted(|outcome| outcome.recovery));
    assert!(succession.2 < ELECTION_LIMIT);
    // A run without faults or without a second leadership would prove little.
    assert!(sum(|outcome| outcome.terms) > 3 * outcomes.len() as u64);
    assert!(sum(|outcome| outcome.stale_terms) > 0 || outcomes.len() < 10);
}

#[test]
fn the_same_seed_gives_the_same_elections() {
    for seed in [2, 7] {
        assert_eq!(elections::run(seed).unwrap(), elections::run(seed).unwrap());
    }
}
