//! One test for each defect of the Python node's coordinates: what must not happen here.

use super::*;

/// There, nodes start at the origin and coincident nodes part along the first dimension only.
#[test]
fn defect_v1_all_dimensions_are_used() {
    let cluster = Cluster::settled(40, 1);
    for dimension in 0..DIMENSIONS {
        let spread = cluster
            .trackers
            .iter()
            .map(|tracker| tracker.coordinate().vector[dimension].powi(2))
            .sum::<f64>();
        let spread = (spread / cluster.trackers.len() as f64).sqrt();
        assert!(spread > 0.005, "dimension {dimension} spreads over {spread} s");
    }
}

/// There, sigma is at least 100 ms and quality at most 0.4, so routing and timeouts are blind.
#[test]
fn defect_v2_upper_bounds_tell_near_from_far() {
    let mut cluster = Cluster::new(12, 2);
    // Two sites, 150 ms apart.
    for (index, place) in cluster.places.iter_mut().enumerate() {
        *place = at(if index % 2 == 0 { 0.0 } else { 0.149 }, 0.0005, 0.0);
        place.vector[1] = 0.0001 * index as f64;
    }
    cluster.run(400);
    let tracker = &cluster.trackers[0];
    let (near, far) =
        (tracker.prediction(2, cluster.now).unwrap(), tracker.prediction(1, cluster.now).unwrap());
    assert!(near.upper_ms < 10.0, "{near:?}");
    assert!(far.ms > 140.0 && far.upper_ms < 200.0, "{far:?}");
    assert!(tracker.quality() > 0.9);
    assert!(tracker.rtt(2, cluster.now).unwrap().quality > 0.9);
}

/// There, samples are filed under a key that all peers share, or never arrive.
#[test]
fn defect_v3_round_trips_reach_the_tracker_under_their_own_peer() {
    let mut tracker = Tracker::new(4, Random::new(3));
    let now = Instant::from_millis(1);
    for slot in 0..4 {
        let round_trip = Duration::from_millis(10 * (u64::from(slot) + 1));
        tracker.observe(slot, &at(0.01, 0.0, 0.0), Some(round_trip), now).unwrap();
    }
    assert_eq!(tracker.metrics().updates, 4);
    for slot in 0..4 {
        let ms = tracker.rtt(slot, now).unwrap().ms;
        assert!((ms - 10.0 * (f64::from(slot) + 1.0)).abs() < 1e-3);
    }
}

/// There, stale peers are never dropped.
#[test]
fn defect_v4_stale_peers_are_dropped() {
    let mut cluster = Cluster::settled(10, 4);
    let tracker = &mut cluster.trackers[0];
    assert_eq!(tracker.cleanup(cluster.now), 0);
    let later = cluster.now + Duration::from_secs(3_000);
    tracker.observe(5, &at(0.02, 0.0, 0.0), None, later).unwrap();
    let later = cluster.now + Duration::from_secs(4_000);
    assert_eq!(tracker.rtt(3, later), None, "what is stale is not told even before the cleanup");
    assert_eq!(tracker.cleanup(later), 8);
    assert_eq!(tracker.peer_coordinate(3), None);
    assert!(tracker.peer_coordinate(5).is_some());
    assert_eq!(tracker.cleanup(later), 0);
}

/// There, gravity takes one per cent of every vector with every sample.
#[test]
fn defect_v4_gravity_spares_a_network_of_earthly_size() {
    let cluster = Cluster::settled(30, 5);
    let mut ratio = 0.0;
    for from in 0..30 {
        for to in 0..from {
            ratio += cluster.predicted(from, to)
                / cluster.places[from].distance(&cluster.places[to])
                / 435.0;
        }
    }
    assert!((ratio - 1.0).abs() < 0.005, "predictions are {ratio} of the truth on average");
}

/// There, one coordinate with NaN, huge or negative values makes the local one useless for ever.
#[test]
fn defect_v5_no_coordinate_poisons_the_own_one() {
    let mut cluster = Cluster::settled(10, 6);
    let before = *cluster.trackers[0].coordinate();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
        let poisons = [
            Coordinate { vector: [value; DIMENSIONS], ..before },
            Coordinate { height: value, ..before },
            Coordinate { adjustment: value, ..before },
            Coordinate { error: value, ..before },
        ];
        for poison in poisons {
            cluster.now += Duration::from_secs(1);
            let refused = cluster.probe(0, 1, &poison, Duration::from_millis(50));
            assert_eq!(refused, Err(Refusal::Coordinate));
        }
    }
    assert_eq!(*cluster.trackers[0].coordinate(), before);
    cluster.run(10);
    assert!(cluster.median_error() < 0.02);
}

/// There, acks with a large state carry no coordinate, and the round trip is lost with it.
#[test]
fn defect_v6_a_round_trip_without_a_coordinate_counts() {
    let mut tracker = Tracker::new(4, Random::new(7));
    let now = Instant::from_millis(1);
    tracker.measure(2, Duration::from_millis(33), now).unwrap();
    assert!((tracker.rtt(2, now).unwrap().ms - 33.0).abs() < 1e-3);
    assert_eq!(tracker.prediction(2, now), None);
    assert_eq!(tracker.metrics().updates, 0);
    let mut swept = Vec::new();
    tracker.rtt_all(now, &mut swept);
    assert_eq!(swept[..2], [f32::INFINITY; 2]);
    assert!((swept[2] - 33.0).abs() < 1e-3);
}
