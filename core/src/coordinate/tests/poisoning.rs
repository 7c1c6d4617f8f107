//! One hostile datagram of each kind. Those that cannot be true are refused and change nothing;
//! those that could be true move no estimate between others by more than the stated bound.

use super::*;

const ATTACKER: usize = 1;
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Sends one hostile sample to a settled node and asserts that it is refused for this reason,
/// counted, and that not a bit of the node's coordinate or of any estimate changed.
fn assert_refused(reason: Refusal, hostile: impl Fn(Coordinate) -> (Coordinate, Duration)) {
    let mut cluster = Cluster::settled(10, 1);
    let before = cluster.trackers[0].clone();
    let told = *cluster.trackers[ATTACKER].coordinate();
    cluster.now += Duration::from_secs(1);
    let (coordinate, round_trip) = hostile(told);
    assert_eq!(cluster.probe(0, ATTACKER, &coordinate, round_trip), Err(reason));
    let after = &cluster.trackers[0];
    assert_eq!(after.metrics().refused(reason), 1);
    assert_eq!(after.coordinate(), before.coordinate());
    for slot in 0..10 {
        assert_eq!(after.rtt(slot, cluster.now), before.rtt(slot, cluster.now));
        assert_eq!(after.peer_coordinate(slot), before.peer_coordinate(slot));
    }
}

/// Gives one node a hostile sample that could be true, and its twin an honest one in its place.
/// Then both get the same honest samples, while the spring that the lie left behind has its turns.
/// Asserts that no estimate between others ever differs by more than the stated bound.
fn assert_bounded(hostile: impl Fn(Coordinate) -> (Coordinate, Duration)) {
    let mut cluster = Cluster::settled(20, 2);
    let honest = (*cluster.trackers[ATTACKER].coordinate(), cluster.round_trip(0, ATTACKER));
    let [mut victim, mut twin] = [cluster.trackers[0].clone(), cluster.trackers[0].clone()];
    let snapshot = victim.snapshot();
    // The bound holds for the vector and for the height, and an estimate contains both.
    let bound = 2.0
        * victim.config().sample_move_max(snapshot.mismatch_seconds, snapshot.round_trip_seconds);

    cluster.now += Duration::from_secs(1);
    let lie = hostile(honest.0);
    // What is too much may be refused as well, but need not be.
    let _ = victim.observe(ATTACKER as u32, &lie.0, Some(lie.1), cluster.now);
    twin.observe(ATTACKER as u32, &honest.0, Some(honest.1), cluster.now).unwrap();
    for _ in 0..200 {
        for peer in &cluster.trackers[2..] {
            let estimate = |tracker: &Tracker| tracker.coordinate().distance(peer.coordinate());
            let moved = (estimate(&victim) - estimate(&twin)).abs();
            assert!(moved <= bound, "{moved} s, {bound} s allowed");
        }
        assert!(victim.coordinate().is_valid());
        cluster.now += Duration::from_secs(1);
        let to = 2 + cluster.random.below(18) as usize;
        let (told, round_trip) = (*cluster.trackers[to].coordinate(), cluster.round_trip(0, to));
        for tracker in [&mut victim, &mut twin] {
            tracker.observe(to as u32, &told, Some(round_trip), cluster.now).unwrap();
        }
    }
}

#[test]
fn hostile_error_below_zero_is_refused() {
    assert_refused(Refusal::Coordinate, |told| (Coordinate { error: -1.5, ..told }, ROUND_TRIP));
}

#[test]
fn hostile_error_zero_is_refused() {
    assert_refused(Refusal::Coordinate, |told| (Coordinate { error: 0.0, ..told }, ROUND_TRIP));
}

#[test]
fn hostile_error_above_range_is_refused() {
    assert_refused(Refusal::Coordinate, |told| (Coordinate { error: 1.6, ..told }, ROUND_TRIP));
}

#[test]
fn hostile_height_below_zero_is_refused() {
    assert_refused(Refusal::Coordinate, |told| (Coordinate { height: -1e3, ..told }, ROUND_TRIP));
}

#[test]
fn hostile_height_above_range_is_refused() {
    assert_refused(Refusal::Coordinate, |told| (Coordinate { height: 1e3, ..told }, ROUND_TRIP));
}

#[test]
fn hostile_adjustment_of_a_million_seconds_is_refused() {
    assert_refused(Refusal::Coordinate, |told| {
        (Coordinate { adjustment: 1e6, ..told }, ROUND_TRIP)
    });
}

#[test]
fn hostile_vector_of_a_thousand_seconds_is_refused() {
    assert_refused(Refusal::Coordinate, |told| {
        (Coordinate { vector: [1e3; DIMENSIONS], ..told }, ROUND_TRIP)
    });
}

#[test]
fn hostile_vector_that_overflows_is_refused() {
    assert_refused(Refusal::Coordinate, |told| {
        (Coordinate { vector: [1e200; DIMENSIONS], ..told }, ROUND_TRIP)
    });
}

#[test]
fn hostile_not_a_number_is_refused() {
    assert_refused(Refusal::Coordinate, |mut told| {
        told.vector[5] = f64::NAN;
        (told, ROUND_TRIP)
    });
}

#[test]
fn hostile_infinity_is_refused() {
    assert_refused(Refusal::Coordinate, |mut told| {
        told.vector[0] = f64::NEG_INFINITY;
        (told, ROUND_TRIP)
    });
}

#[test]
fn hostile_dimension_is_refused() {
    for count in [0, 2, 7, 9, 1_000] {
        let refused = Coordinate::from_parts(&vec![0.0; count], 0.0, 0.0, 1.0);
        assert_eq!(refused, Err(Refusal::Dimension));
    }
    assert!(Coordinate::from_parts(&[0.0; 8], 0.0, 0.0, 1.0).is_ok());
}

#[test]
fn hostile_round_trip_of_zero_is_refused() {
    assert_refused(Refusal::RoundTrip, |told| (told, Duration::ZERO));
}

#[test]
fn hostile_round_trip_above_range_is_refused() {
    assert_refused(Refusal::RoundTrip, |told| (told, Duration::from_secs(11)));
    assert_refused(Refusal::RoundTrip, |told| (told, Duration::MAX));
}

#[test]
fn hostile_time_that_runs_backwards_is_refused() {
    let mut cluster = Cluster::settled(10, 1);
    let told = *cluster.trackers[ATTACKER].coordinate();
    cluster.now += Duration::from_secs(1);
    cluster.probe(0, ATTACKER, &told, ROUND_TRIP).unwrap();
    let before = *cluster.trackers[0].coordinate();
    let now = cluster.now.as_millis();
    cluster.now = Instant::from_millis(now - 500);
    assert_eq!(cluster.probe(0, ATTACKER, &told, ROUND_TRIP), Err(Refusal::Time));
    assert_eq!(*cluster.trackers[0].coordinate(), before);
    assert_eq!(cluster.trackers[0].metrics().refused(Refusal::Time), 1);
}

#[test]
fn hostile_rate_is_refused() {
    let mut cluster = Cluster::settled(10, 1);
    let told = *cluster.trackers[ATTACKER].coordinate();
    cluster.now += Duration::from_secs(1);
    cluster.probe(0, ATTACKER, &told, ROUND_TRIP).unwrap();
    let before = *cluster.trackers[0].coordinate();
    for _ in 0..1_000 {
        assert_eq!(cluster.probe(0, ATTACKER, &told, ROUND_TRIP), Err(Refusal::Rate));
    }
    assert_eq!(*cluster.trackers[0].coordinate(), before);
    assert_eq!(cluster.trackers[0].metrics().refused(Refusal::Rate), 1_000);
}

#[test]
fn hostile_coordinate_at_the_edge_of_the_range_is_bounded() {
    assert_bounded(|told| {
        let vector = [COMPONENT_SECONDS_MAX; DIMENSIONS];
        (Coordinate { vector, error: 1e-300, ..told }, ROUND_TRIP)
    });
}

#[test]
fn hostile_height_at_the_edge_of_the_range_is_bounded() {
    assert_bounded(|told| {
        (Coordinate { height: COMPONENT_SECONDS_MAX, error: 1e-9, ..told }, ROUND_TRIP)
    });
}

#[test]
fn hostile_adjustment_at_the_edge_of_the_range_is_bounded() {
    assert_bounded(|told| {
        (Coordinate { adjustment: -COMPONENT_SECONDS_MAX, error: 1e-9, ..told }, ROUND_TRIP)
    });
}

#[test]
fn hostile_delay_is_bounded() {
    assert_bounded(|told| (Coordinate { error: 1e-9, ..told }, Duration::from_secs(10)));
}

#[test]
fn hostile_hurry_is_bounded() {
    assert_bounded(|told| (Coordinate { error: 1e-9, ..told }, Duration::from_nanos(1)));
}

#[test]
fn hostile_lie_of_the_most_harmful_size_is_bounded() {
    for milliseconds in [0.3, 0.6, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0] {
        assert_bounded(|mut told| {
            told.vector[2] += milliseconds * 1e-3;
            (Coordinate { error: 1e-9, ..told }, ROUND_TRIP)
        });
        assert_bounded(|told| {
            (Coordinate { height: milliseconds * 1e-3, error: 1e-9, ..told }, ROUND_TRIP)
        });
    }
}

#[test]
fn hostile_echo_of_the_own_coordinate_is_bounded() {
    let own = *Cluster::settled(20, 2).trackers[0].coordinate();
    assert_bounded(|_| (own, ROUND_TRIP));
}

#[test]
fn hostile_first_datagram_is_bounded() {
    let mut cluster = Cluster::new(10, 4);
    let liar = Coordinate { error: 1e-9, ..at(COMPONENT_SECONDS_MAX, 0.0, 0.0) };
    cluster.probe(0, ATTACKER, &liar, Duration::from_secs(10)).unwrap();
    let config = cluster.trackers[0].config();
    let bound = 2.0 * config.gain_start * config.limit_seconds_max;
    let own = cluster.trackers[0].coordinate();
    let moved = own.vector.iter().map(|component| component * component).sum::<f64>().sqrt();
    assert!(moved <= bound + 1e-4 && own.height <= bound + 1e-4, "{moved} {own:?}");
    cluster.run(300);
    assert!(cluster.median_error() < 0.03, "{}", cluster.median_error());
}

#[test]
fn who_contradicts_itself_is_ignored_until_it_stops() {
    let mut cluster = Cluster::settled(20, 5);
    let honest = *cluster.trackers[ATTACKER].coordinate();
    let lie = Coordinate { error: 0.01, ..at(1.0, 0.0, 0.0) };
    let round_trip = cluster.round_trip(0, ATTACKER);
    let threshold = usize::from(cluster.trackers[0].config().distrust_after);
    for turn in 0..20 {
        cluster.now += Duration::from_secs(1);
        let expected = if turn < threshold { Ok(()) } else { Err(Refusal::Contradiction) };
        assert_eq!(cluster.probe(0, ATTACKER, &lie, round_trip), expected, "turn {turn}");
        for to in 2..6 {
            let told = *cluster.trackers[to].coordinate();
            let round_trip = cluster.round_trip(0, to);
            cluster.probe(0, to, &told, round_trip).unwrap();
        }
    }
    let now = cluster.now;
    let tracker = &cluster.trackers[0];
    assert_eq!(tracker.metrics().refused(Refusal::Contradiction), 20 - threshold as u64);
    let measured = tracker.rtt(ATTACKER as u32, now).unwrap().ms;
    assert!(
        (measured - round_trip.as_secs_f64() * 1e3).abs() < 1e-3,
        "its round trip still counts"
    );
    assert_eq!(tracker.prediction(ATTACKER as u32, now).unwrap().quality, 0.0);

    let refusals = (0..20).filter(|_| {
        cluster.now += Duration::from_secs(1);
        cluster.probe(0, ATTACKER, &honest, round_trip).is_err()
    });
    assert!(refusals.count() <= 2 * threshold);
    assert!(cluster.trackers[0].prediction(ATTACKER as u32, cluster.now).unwrap().quality > 0.5);
}
