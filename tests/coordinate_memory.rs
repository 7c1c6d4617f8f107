//! What coordinates cost in memory: nothing per sample, and a stated amount per peer.

use allocation_counter::measure;
use shoal_core::coordinate::{Coordinate, Tracker, VivaldiConfig, table};
use shoal_core::random::Random;
use shoal_core::{Duration, Instant};

fn peer(random: &mut Random) -> Coordinate {
    let vector = std::array::from_fn(|_| (random.unit() - 0.5) * 0.1);
    Coordinate { vector, height: 0.001 * random.unit(), adjustment: 0.0, error: 0.1 }
}

#[test]
fn a_hundred_thousand_peers_take_at_most_110_bytes_each() {
    const PEER_COUNT: u32 = 100_000;
    let mut random = Random::new(1);
    let mut tracker = None;
    let info = measure(|| {
        let mut made = Tracker::new(1 << 20, Random::new(2));
        let mut now = Instant::ZERO;
        for slot in 0..PEER_COUNT {
            now += Duration::from_millis(1);
            made.observe(slot, &peer(&mut random), Some(Duration::from_millis(40)), now).unwrap();
        }
        tracker = Some(made);
    });
    let held = u32::try_from(info.bytes_current).unwrap();
    println!("{} bytes for each of {PEER_COUNT} peers", held / PEER_COUNT);
    assert!(held <= 110 * PEER_COUNT, "{held} bytes");
    drop(tracker);
}

#[test]
fn an_idle_tracker_takes_little_however_large_its_capacity() {
    let mut tracker = None;
    let info = measure(|| tracker = Some(Tracker::new(1 << 20, Random::new(1))));
    assert!(info.bytes_current <= 1_024, "{} bytes", info.bytes_current);
    drop(tracker);
}

#[test]
fn samples_estimates_and_sweeps_allocate_nothing_after_warm_up() {
    for config in [VivaldiConfig::default(), VivaldiConfig::hyperscale()] {
        let mut random = Random::new(3);
        let peers: Vec<Coordinate> = (0..600).map(|_| peer(&mut random)).collect();
        let mut tracker = Tracker::with_config(config, 600, random.fork()).unwrap();
        let (mut swept, mut nearest) = (Vec::new(), Vec::new());
        let mut now = Instant::ZERO;
        let mut round = |tracker: &mut Tracker| {
            for (slot, coordinate) in (0..).zip(&peers) {
                now += Duration::from_millis(30);
                let round_trip = Duration::from_micros(1_000 + u64::from(slot) * 100);
                tracker.observe(slot, coordinate, Some(round_trip), now).unwrap();
                tracker.observe(slot, coordinate, None, now).unwrap();
                tracker.rtt(slot, now).unwrap();
                tracker.prediction(slot, now).unwrap();
            }
            tracker.rtt_all(now, &mut swept);
            table::nearest(&swept, 16, &mut nearest);
            // Slots that come and go reuse what there is.
            for slot in 0..50 {
                tracker.forget(slot);
            }
            tracker.cleanup(now);
            tracker.metrics();
        };
        round(&mut tracker);
        let info = measure(|| round(&mut tracker));
        assert_eq!(info.count_total, 0);
    }
}
