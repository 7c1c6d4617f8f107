//! The coordinate system as a whole: a small cluster of trackers whose true round trips are known.

mod defects;
mod poisoning;
mod properties;

use super::*;
use crate::random::Random;
use crate::time::{Duration, Instant};

/// Nodes in a space of eight dimensions and behind access links, so that a perfect fit exists.
struct Cluster {
    trackers: Vec<Tracker>,
    places: Vec<Coordinate>,
    now: Instant,
    random: Random,
}

impl Cluster {
    fn new(count: usize, seed: u64) -> Cluster {
        let mut random = Random::new(seed);
        let places = (0..count)
            .map(|_| {
                let vector = std::array::from_fn(|_| (random.unit() - 0.5) * 0.08);
                Coordinate { vector, height: 0.005 * random.unit(), adjustment: 0.0, error: 0.1 }
            })
            .collect();
        let trackers = (0..count).map(|_| Tracker::new(count as u32, random.fork())).collect();
        Cluster { trackers, places, now: Instant::from_millis(1_000), random }
    }

    /// A cluster that has settled.
    fn settled(count: usize, seed: u64) -> Cluster {
        let mut cluster = Cluster::new(count, seed);
        cluster.run(600);
        cluster
    }

    fn round_trip(&self, from: usize, to: usize) -> Duration {
        Duration::from_secs_f64(self.places[from].distance(&self.places[to]))
    }

    /// Lets one node probe another; the answer tells `coordinate`.
    fn probe(
        &mut self,
        from: usize,
        to: usize,
        coordinate: &Coordinate,
        round_trip: Duration,
    ) -> Result<(), Refusal> {
        self.trackers[from].observe(to as u32, coordinate, Some(round_trip), self.now)
    }

    /// Every node probes one random other node per cycle, once a second.
    fn run(&mut self, cycles: usize) {
        for _ in 0..cycles {
            self.now += Duration::from_secs(1);
            for from in 0..self.trackers.len() {
                let to = self.random.below(self.trackers.len() as u32 - 1) as usize;
                let to = to + usize::from(to >= from);
                let told = *self.trackers[to].coordinate();
                let round_trip = self.round_trip(from, to);
                self.probe(from, to, &told, round_trip).expect("honest samples are used");
            }
        }
    }

    /// The prediction for a pair from the published coordinates, in seconds.
    fn predicted(&self, from: usize, to: usize) -> f64 {
        self.trackers[from].coordinate().distance(self.trackers[to].coordinate())
    }

    /// The median relative error over all pairs.
    fn median_error(&self) -> f64 {
        let mut errors = Vec::new();
        for from in 0..self.trackers.len() {
            for to in 0..from {
                let truth = self.places[from].distance(&self.places[to]);
                errors.push((self.predicted(from, to) - truth).abs() / truth);
            }
        }
        errors.sort_unstable_by(f64::total_cmp);
        errors[errors.len() / 2]
    }
}

fn at(first: f64, height: f64, adjustment: f64) -> Coordinate {
    let mut vector = [0.0; DIMENSIONS];
    vector[0] = first;
    Coordinate { vector, height, adjustment, error: 0.1 }
}

#[test]
fn adjustments_shorten_a_prediction_only_so_far() {
    let origin = at(0.0, 0.001, 0.0);
    assert!((origin.distance(&at(0.030, 0.002, 0.0)) - 0.033).abs() < 1e-12);
    assert!((origin.distance(&at(0.030, 0.002, -0.010)) - 0.023).abs() < 1e-12);
    assert!((origin.distance(&at(0.030, 0.002, -0.050)) - 0.012).abs() < 1e-12);
    assert_eq!(origin.distance(&at(0.0, 0.0, -0.050)), PREDICTION_SECONDS_MIN);
}

#[test]
fn a_network_that_fits_is_fitted() {
    for seed in 1..=3 {
        let cluster = Cluster::settled(30, seed);
        assert!(cluster.median_error() < 0.01, "{}", cluster.median_error());
        assert!(cluster.trackers.iter().all(Tracker::is_converged));
        assert!(cluster.trackers.iter().all(|tracker| tracker.quality() > 0.9));
    }
}

#[test]
fn two_nodes_agree_at_once() {
    for microseconds in [30, 500, 80_000, 2_000_000] {
        let mut cluster = Cluster::new(2, 1);
        let round_trip = Duration::from_micros(microseconds);
        for _ in 0..40 {
            cluster.now += Duration::from_secs(1);
            for (from, to) in [(0, 1), (1, 0)] {
                let told = *cluster.trackers[to].coordinate();
                cluster.probe(from, to, &told, round_trip).unwrap();
            }
        }
        let wrong = cluster.predicted(0, 1) / round_trip.as_secs_f64() - 1.0;
        assert!(wrong.abs() < 0.05, "{microseconds} us: {wrong}");
    }
}

#[test]
fn a_recent_measurement_is_preferred_then_the_prediction_then_nothing() {
    let mut cluster = Cluster::settled(10, 1);
    let told = *cluster.trackers[1].coordinate();
    cluster.now += Duration::from_secs(1);
    for _ in 0..3 {
        cluster.now += Duration::from_secs(1);
        cluster.probe(0, 1, &told, Duration::from_millis(77)).unwrap();
    }
    let tracker = &cluster.trackers[0];
    let measured = tracker.rtt(1, cluster.now).unwrap();
    assert!((measured.ms - 77.0).abs() < 1e-3);
    assert!((measured.upper_ms - 84.7).abs() < 8.0, "{measured:?}");
    assert!(measured.quality > tracker.prediction(1, cluster.now).unwrap().quality);

    let later = cluster.now + Duration::from_secs(3_601);
    assert_eq!(tracker.rtt(1, later), None, "the coordinate is as old as the measurement");
    cluster.trackers[0].observe(1, &told, None, later).unwrap();
    let predicted = cluster.trackers[0].rtt(1, later).unwrap();
    assert_eq!(Some(predicted), cluster.trackers[0].prediction(1, later));
    assert!((predicted.ms - 77.0).abs() > 0.01);
}

#[test]
fn bulk_questions_agree_with_single_ones() {
    let mut cluster = Cluster::settled(40, 3);
    let later = cluster.now + Duration::from_secs(3_000);
    cluster.trackers[0].observe(7, &cluster.places[7], None, later).unwrap();
    for now in [cluster.now, later, later + Duration::from_secs(3_000)] {
        let tracker = &cluster.trackers[0];
        let mut swept = Vec::new();
        tracker.rtt_all(now, &mut swept);
        for (slot, &ms) in swept.iter().enumerate() {
            match tracker.rtt(slot as u32, now) {
                Some(rtt) => assert!((f64::from(ms) - rtt.ms).abs() <= 1e-4 * rtt.ms),
                None => assert_eq!(ms, f32::INFINITY),
            }
        }
        let mut nearest = Vec::new();
        table::nearest(&swept, 5, &mut nearest);
        let best = swept.iter().copied().fold(f32::INFINITY, f32::min);
        assert!(nearest.is_empty() == best.is_infinite());
        assert!(nearest.first().is_none_or(|peer| peer.ms == best));
    }
}

#[test]
fn a_snapshot_brings_a_node_back_to_its_place() {
    let mut cluster = Cluster::settled(20, 5);
    let before = cluster.median_error();
    let snapshot = cluster.trackers[4].snapshot();
    let mut fresh = Tracker::new(20, Random::new(99));
    fresh.restore(&snapshot).unwrap();
    assert_eq!(fresh.coordinate(), cluster.trackers[4].coordinate());
    assert!(fresh.is_converged());
    assert_eq!(fresh.snapshot(), snapshot);
    cluster.trackers[4] = fresh;
    cluster.run(20);
    assert!(cluster.median_error() < before + 0.01);
}

#[test]
fn a_broken_snapshot_changes_nothing() {
    let mut tracker = Tracker::new(4, Random::new(1));
    let good = tracker.snapshot();
    let broken = [
        Snapshot { mismatch_seconds: f64::NAN, ..good },
        Snapshot { round_trip_seconds: -1.0, ..good },
        Snapshot { coordinate: Coordinate { error: 0.0, ..good.coordinate }, ..good },
        Snapshot { coordinate: Coordinate { height: 1e300, ..good.coordinate }, ..good },
    ];
    for snapshot in broken {
        assert_eq!(tracker.restore(&snapshot), Err(Refusal::Coordinate));
        assert_eq!(tracker.snapshot(), good);
    }
}

#[test]
fn a_node_goes_on_from_any_snapshot_that_is_taken() {
    let extreme = [-COMPONENT_SECONDS_MAX, 0.0, COMPONENT_SECONDS_MAX];
    for (adjustment, seconds) in extreme.into_iter().flat_map(|a| extreme.map(|s| (a, s.abs()))) {
        let mut cluster = Cluster::settled(8, 8);
        let snapshot = Snapshot {
            coordinate: Coordinate { height: seconds, ..at(seconds, 0.0, adjustment) },
            mismatch_seconds: seconds,
            round_trip_seconds: seconds,
            sample_count: u64::MAX,
        };
        cluster.trackers[0].restore(&snapshot).unwrap();
        assert!(cluster.trackers[0].coordinate().is_valid());
        for _ in 0..300 {
            cluster.now += Duration::from_secs(1);
            let to = 1 + cluster.random.below(7) as usize;
            let told = *cluster.trackers[to].coordinate();
            let round_trip = cluster.round_trip(0, to);
            let _ = cluster.probe(0, to, &told, round_trip);
        }
        let truth = cluster.places[0].distance(&cluster.places[3]);
        let wrong = (cluster.predicted(0, 3) - truth).abs() / truth;
        assert!(wrong < 0.3, "{snapshot:?}: {wrong}");
    }
}

#[test]
fn metrics_tell_updates_errors_and_convergence() {
    let cluster = Cluster::settled(20, 6);
    let metrics = cluster.trackers[3].metrics();
    assert_eq!(metrics.updates, 600);
    assert_eq!(metrics.refused, [0; Refusal::ALL.len()]);
    assert!(metrics.prediction_error < 0.1 && metrics.mismatch_seconds < 0.01);
    let time = metrics.convergence_time.unwrap();
    assert!((Duration::from_secs(9)..Duration::from_secs(200)).contains(&time), "{time:?}");
}

#[test]
fn a_path_that_changes_is_followed() {
    let mut cluster = Cluster::settled(20, 7);
    // The access link of one node becomes 60 ms longer: every one of its springs is wrong at once.
    cluster.places[2].height += 0.060;
    for _ in 0..300 {
        cluster.now += Duration::from_secs(1);
        for from in 0..20 {
            let to = (from + 1 + cluster.random.below(19) as usize) % 20;
            let told = *cluster.trackers[to].coordinate();
            let round_trip = cluster.round_trip(from, to);
            // Others may take the change for a lie at first, and say so.
            let _ = cluster.probe(from, to, &told, round_trip);
        }
    }
    assert!(cluster.median_error() < 0.02, "{}", cluster.median_error());
    let truth = cluster.places[2].distance(&cluster.places[9]);
    let wrong = (cluster.predicted(2, 9) - truth).abs() / truth;
    assert!(wrong < 0.1, "{wrong}");
}
