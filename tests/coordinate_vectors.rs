//! Updates recorded from hyperscale's own coordinate classes, reproduced by the profile
//! `hyperscale`.
//!
//! Each sequence is one node: a peer's coordinate, the round trip to it, what the classes estimated
//! before, and their coordinate, quality and convergence after.

use serde::Deserialize;
use shoal_core::coordinate::hyperscale::{Hyperscale, HyperscaleConfig};
use shoal_core::coordinate::{Coordinate, Tracker, VivaldiConfig};
use shoal_core::random::Random;
use shoal_core::{Duration, Instant};

const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Update {
    peer: Recorded,
    rtt_seconds: f64,
    estimate_ms_before: f64,
    upper_ms_before: f64,
    after: Recorded,
    quality_after: f64,
    converged_after: bool,
}

#[derive(Deserialize)]
struct Recorded {
    vec: Vec<f64>,
    height: f64,
    adjustment: f64,
    error: f64,
    sample_count: u64,
}

impl Recorded {
    fn coordinate(&self) -> Coordinate {
        Coordinate::from_parts(&self.vec, self.height, self.adjustment, self.error)
            .expect("the classes use eight dimensions")
    }
}

fn sequences() -> Vec<Vec<Update>> {
    serde_json::from_str(include_str!("vectors/vivaldi_hyperscale_profile.json"))
        .expect("the vectors are well formed")
}

fn assert_close(what: &str, step: usize, ours: f64, theirs: f64) {
    let scale = theirs.abs().max(1e-3);
    assert!((ours - theirs).abs() <= TOLERANCE * scale, "{what} of step {step}: {ours} {theirs}");
}

fn assert_same(step: usize, ours: &Coordinate, theirs: &Coordinate) {
    for (ours, theirs) in ours.vector.iter().zip(theirs.vector) {
        assert_close("vector", step, *ours, theirs);
    }
    assert_close("height", step, ours.height, theirs.height);
    assert_close("adjustment", step, ours.adjustment, theirs.adjustment);
    assert_close("error", step, ours.error, theirs.error);
}

#[test]
fn recorded_updates_are_reproduced() {
    let mut count = 0;
    for sequence in sequences() {
        let mut node = Hyperscale::new(HyperscaleConfig::default());
        for (step, update) in sequence.iter().enumerate() {
            let peer = update.peer.coordinate();
            assert_close("estimate", step, node.estimate_ms(&peer), update.estimate_ms_before);
            assert_close("upper bound", step, node.upper_ms(Some(&peer)), update.upper_ms_before);
            node.update(&peer, update.rtt_seconds);
            assert_same(step, node.coordinate(), &update.after.coordinate());
            assert_eq!(node.sample_count(), update.after.sample_count);
            let quality = node.quality(node.sample_count(), node.coordinate().error, 0.0);
            assert_close("quality", step, quality, update.quality_after);
            assert_eq!(node.is_converged(), update.converged_after, "step {step}");
            count += 1;
        }
    }
    assert_eq!(count, 360);
}

/// The tracker filters round trips, keeps peers in single precision and limits their rate; with one
/// sample per peer none of that shows in the node's own coordinate.
#[test]
fn the_tracker_moves_as_the_classes_do() {
    for sequence in sequences() {
        let mut tracker =
            Tracker::with_config(VivaldiConfig::hyperscale(), 200, Random::new(1)).unwrap();
        let mut now = Instant::ZERO;
        for (step, update) in sequence.iter().enumerate() {
            now += Duration::from_secs(1);
            // In whole nanoseconds, so not to the last digits.
            let round_trip = Duration::from_secs_f64(update.rtt_seconds);
            let peer = update.peer.coordinate();
            tracker.observe(step as u32, &peer, Some(round_trip), now).unwrap();
            let (ours, theirs) = (tracker.coordinate(), update.after.coordinate());
            assert!(ours.euclidean_distance(&theirs) < 1e-6, "step {step}");
            assert!((ours.height - theirs.height).abs() < 1e-6, "step {step}");
            assert_eq!(tracker.is_converged(), update.converged_after, "step {step}");
        }
    }
}
