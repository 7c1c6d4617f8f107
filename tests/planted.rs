//! Proof that the simulator finds faults: each of those in `planted.rs` of the engine, within 200
//! seeds.
//!
//! `make test` runs it after all other tests, in a build of its own: without the feature
//! `planted-faults` an engine has no place for a fault.

use shoal_core::planted::{PlantedFault, plant};
use shoal_simulator::swarm;

const SEED_COUNT: u64 = 200;

/// The first seed whose run breaks a rule, and how.
fn find(fault: PlantedFault) -> Option<swarm::Failure> {
    plant(Some(fault));
    let found = (0..SEED_COUNT).find_map(|seed| swarm::run(seed).err());
    plant(None);
    found
}

#[test]
fn every_planted_fault_is_found_within_200_seeds() {
    // The panics of broken engines are caught and counted as found; their reports are only noise.
    std::panic::set_hook(Box::new(|_| ()));
    let found = PlantedFault::ALL.map(|fault| (fault, find(fault)));
    let _ = std::panic::take_hook();
    for (fault, failure) in &found {
        match failure {
            Some(failure) => println!("{fault:?}: seed {}: {}", failure.seed, failure.reason),
            None => println!("{fault:?}: not found"),
        }
    }
    let missed: Vec<_> = found.iter().filter(|(_, failure)| failure.is_none()).collect();
    assert!(missed.is_empty(), "not found within {SEED_COUNT} seeds: {missed:?}");
}

#[test]
fn without_a_fault_there_is_nothing_to_find() {
    assert_eq!((0..20).find_map(|seed| swarm::run(seed).err()), None);
}
