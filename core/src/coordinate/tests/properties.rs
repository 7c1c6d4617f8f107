//! What holds for every input: random samples, valid and not, in random order.

use super::*;

/// A number that is usually reasonable, sometimes at an edge, sometimes nonsense.
fn number(random: &mut Random, scale: f64) -> f64 {
    match random.below(20) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => -1e300,
        3 => f64::MIN_POSITIVE,
        4 => COMPONENT_SECONDS_MAX,
        5 => -COMPONENT_SECONDS_MAX,
        6 => 0.0,
        7 => -0.0,
        _ => (random.unit() - 0.5) * 2.0 * scale,
    }
}

fn coordinate(random: &mut Random) -> Coordinate {
    // Most are valid: nonsense in one of eight components would leave few of them.
    let is_wild = random.chance(0.3);
    let component = |random: &mut Random, scale: f64| {
        if is_wild { number(random, scale) } else { (random.unit() - 0.5) * scale }
    };
    Coordinate {
        vector: std::array::from_fn(|_| component(random, 0.3)),
        height: component(random, 0.05).abs(),
        adjustment: component(random, 0.05),
        error: component(random, 3.0).abs(),
    }
}

fn round_trip(random: &mut Random) -> Option<Duration> {
    match random.below(12) {
        0 => None,
        1 => Some(Duration::ZERO),
        2 => Some(Duration::from_nanos(1)),
        3 => Some(Duration::from_secs(10)),
        4 => Some(Duration::MAX),
        _ => Some(Duration::from_nanos(u64::from(random.below(400_000_000)))),
    }
}

/// Feeds a tracker with anything and hands every step to `check`.
fn feed(config: VivaldiConfig, seed: u64, mut check: impl FnMut(&Tracker, u32, Instant)) {
    let mut random = Random::new(seed);
    let mut tracker = Tracker::with_config(config, 64, random.fork()).unwrap();
    let mut now = Instant::from_millis(u64::from(random.below(1 << 30)));
    for _ in 0..1_500 {
        let slot = random.below(64);
        match random.below(50) {
            0 => tracker.forget(slot),
            1 => {
                tracker.cleanup(now);
            }
            2 => now += Duration::from_secs(u64::from(random.below(5_000))),
            3 => drop(tracker.measure(slot, Duration::from_millis(20), now)),
            4 => drop(tracker.observe(slot, &coordinate(&mut random), None, Instant::ZERO)),
            _ => {
                now += Duration::from_millis(u64::from(random.below(60)));
                let coordinate = coordinate(&mut random);
                let _ = tracker.observe(slot, &coordinate, round_trip(&mut random), now);
            }
        }
        check(&tracker, slot, now);
    }
}

#[test]
fn the_own_coordinate_is_always_valid() {
    for seed in 0..40 {
        feed(VivaldiConfig::default(), seed, |tracker, _, _| {
            assert!(tracker.coordinate().is_valid(), "{:?}", tracker.coordinate());
        });
    }
}

#[test]
fn the_own_coordinate_is_always_finite_in_the_hyperscale_profile() {
    for seed in 0..20 {
        feed(VivaldiConfig::hyperscale(), seed, |tracker, _, _| {
            let own = tracker.coordinate();
            assert!(own.vector.iter().all(|component| component.is_finite()));
            assert!(own.height.is_finite() && own.height >= 0.0);
            assert!(own.adjustment.abs() <= 1.0 && (0.05..=10.0).contains(&own.error));
        });
    }
}

#[test]
fn estimates_are_positive_bounded_and_below_their_upper_bound() {
    let rtt_max_ms = 1e3 * 2.0 * COMPONENT_SECONDS_MAX * 6.0;
    for seed in 100..120 {
        feed(VivaldiConfig::default(), seed, |tracker, slot, now| {
            for rtt in [tracker.rtt(slot, now), tracker.prediction(slot, now)].into_iter().flatten()
            {
                assert!(rtt.ms > 0.0 && rtt.ms <= rtt_max_ms, "{rtt:?}");
                assert!(rtt.upper_ms >= rtt.ms && rtt.upper_ms.is_finite(), "{rtt:?}");
                assert!((0.0..=1.0).contains(&rtt.quality), "{rtt:?}");
            }
            assert!((0.0..=1.0).contains(&tracker.quality()));
        });
    }
}

#[test]
fn the_same_samples_give_the_same_bits() {
    let run = |seed| {
        let mut bits = Vec::new();
        feed(VivaldiConfig::default(), seed, |tracker, slot, now| {
            let own = tracker.coordinate();
            bits.extend(own.vector.map(f64::to_bits));
            bits.push(own.height.to_bits() ^ own.error.to_bits());
            bits.push(tracker.rtt(slot, now).map_or(0, |rtt| rtt.upper_ms.to_bits()));
        });
        bits
    };
    assert!(run(7) == run(7));
    assert!(run(7) != run(8));
}

#[test]
fn a_forgotten_slot_knows_nothing() {
    for seed in 200..210 {
        feed(VivaldiConfig::default(), seed, |tracker, slot, now| {
            let mut copy = tracker.clone();
            copy.forget(slot);
            assert_eq!(copy.rtt(slot, now), None);
            assert_eq!(copy.peer_coordinate(slot), None);
            assert_eq!(copy.measured_ms(slot), None);
            let mut swept = Vec::new();
            copy.table().estimate_all(copy.coordinate(), &mut swept);
            assert!(swept.get(slot as usize).is_none_or(|ms| ms.is_infinite()));
            assert_eq!(copy.coordinate(), tracker.coordinate());
        });
    }
}

#[test]
fn moves_keep_to_the_stated_bound() {
    for seed in 300..320 {
        let mut before: Option<Tracker> = None;
        feed(VivaldiConfig::default(), seed, |tracker, _, _| {
            if let Some(before) = &before {
                let (from, to) = (before.coordinate(), tracker.coordinate());
                let config = tracker.config();
                // These samples are noise, so the node stays hot: the bound is that of a new node.
                let bound = 2.0 * config.gain_start * config.limit_seconds_max + 1e-3;
                assert!(from.euclidean_distance(to) <= bound);
                assert!((from.offset() - to.offset()).abs() <= bound);
            }
            before = Some(tracker.clone());
        });
    }
}
