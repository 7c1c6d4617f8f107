//! Keeps the node's own coordinate and what it knows of each peer's, by member slot.
//!
//! A slot costs 68 bytes whether or not its peer was ever measured: coordinates are kept as `f32`,
//! which is exact to a tenth of a microsecond at one second. The table grows with the slots in use.

use super::vivaldi::Vivaldi;
use super::{Coordinate, DIMENSIONS, ERROR_MAX, ROUND_TRIP_SECONDS_MAX, Refusal, Rtt};
use crate::coordinate::VivaldiConfig;
use crate::random::Random;
use crate::time::{Duration, Instant};

/// Round trips kept per peer; the median of them is used, so that one delayed ack changes nothing.
const SAMPLE_COUNT: usize = 3;

/// What is remembered of one peer.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    vector: [f32; DIMENSIONS],
    height: f32,
    adjustment: f32,
    /// Zero while no coordinate has been heard.
    error: f32,
    samples: [f32; SAMPLE_COUNT],
    /// The median of the samples in seconds, zero while there is none.
    measured: f32,
    /// When the newest sample was taken, in milliseconds of the host's clock.
    measured_at_ms: u64,
    sample_total: u32,
}

impl Peer {
    fn coordinate(&self) -> Option<Coordinate> {
        (self.error > 0.0).then(|| Coordinate {
            vector: self.vector.map(f64::from),
            height: f64::from(self.height),
            adjustment: f64::from(self.adjustment),
            error: f64::from(self.error),
        })
    }

    fn remember(&mut self, coordinate: &Coordinate) {
        self.vector = coordinate.vector.map(|component| component as f32);
        self.height = coordinate.height as f32;
        self.adjustment = coordinate.adjustment as f32;
        self.error = (coordinate.error as f32).max(f32::MIN_POSITIVE);
    }

    fn measure(&mut self, seconds: f64, now: Instant) -> f64 {
        self.samples[self.sample_total as usize % SAMPLE_COUNT] = seconds as f32;
        self.sample_total = self.sample_total.saturating_add(1).max(1);
        let [a, b, c] = self.samples;
        self.measured = match self.sample_total {
            1 => a,
            2 => a.min(b),
            _ => a.min(b).max(a.max(b).min(c)),
        };
        self.measured_at_ms = now.as_millis();
        f64::from(self.measured)
    }
}

/// The coordinates of this node and of its peers, by member slot.
#[derive(Debug)]
pub struct Tracker {
    vivaldi: Vivaldi,
    peers: Vec<Peer>,
    peer_capacity: u32,
}

impl Tracker {
    /// A tracker for at most `peer_capacity` slots, with the default constants.
    pub fn new(peer_capacity: u32, random: Random) -> Tracker {
        Tracker::with_config(VivaldiConfig::default(), peer_capacity, random)
    }

    /// A tracker for at most `peer_capacity` slots.
    ///
    /// # Panics
    /// When the constants do not pass [`VivaldiConfig::check`].
    pub fn with_config(config: VivaldiConfig, peer_capacity: u32, random: Random) -> Tracker {
        config.check().expect("the constants were checked by the caller");
        Tracker { vivaldi: Vivaldi::new(config, random), peers: Vec::new(), peer_capacity }
    }

    /// The node's own published coordinate.
    pub fn coordinate(&self) -> &Coordinate {
        self.vivaldi.coordinate()
    }

    /// Takes note of a peer's coordinate and, after an exchange, of the round trip to it.
    ///
    /// # Errors
    /// Why nothing was taken; the tracker is unchanged.
    ///
    /// # Panics
    /// When the slot is not below the capacity.
    pub fn observe(
        &mut self,
        slot: u32,
        coordinate: &Coordinate,
        round_trip: Option<Duration>,
        now: Instant,
    ) -> Result<(), Refusal> {
        assert!(slot < self.peer_capacity, "a slot lies below the capacity");
        if !coordinate.is_valid() {
            return Err(Refusal::Coordinate);
        }
        let seconds = round_trip.map(|duration| duration.as_secs_f64());
        if seconds.is_some_and(|seconds| seconds <= 0.0 || seconds > ROUND_TRIP_SECONDS_MAX) {
            return Err(Refusal::RoundTrip);
        }
        let index = slot as usize;
        if index >= self.peers.len() {
            self.peers.resize(index + 1, Peer::default());
        }
        let peer = &mut self.peers[index];
        peer.remember(coordinate);
        if let Some(seconds) = seconds {
            let median = peer.measure(seconds, now);
            self.vivaldi.update(coordinate, median);
        }
        Ok(())
    }

    /// What is known about the round trip to the peer in this slot: the measured one while it is
    /// recent, else the prediction from both coordinates.
    pub fn rtt(&self, slot: u32, now: Instant) -> Option<Rtt> {
        let peer = self.peers.get(slot as usize)?;
        let config = self.vivaldi.config();
        let age_ms = now.as_millis().saturating_sub(peer.measured_at_ms);
        let own = self.coordinate();
        if peer.measured > 0.0 && (age_ms as f64) < config.measured_ttl_seconds * 1e3 {
            let ms = f64::from(peer.measured) * 1e3;
            let spread = peer.samples.iter().fold(0.0f32, |largest, &s| largest.max(s));
            let upper_ms = (f64::from(spread) * 1e3).max(ms * 1.25);
            let quality = 0.5 + 0.5 * f64::from(peer.sample_total.min(3)) / 3.0;
            return Some(Rtt { ms, upper_ms, quality });
        }
        let coordinate = peer.coordinate()?;
        let ms = own.distance(&coordinate) * 1e3;
        let relative = own.error + coordinate.error;
        let upper_ms = ms * (1.0 + config.sigma_count * relative);
        let quality = 0.5 * (1.0 - (relative / (2.0 * ERROR_MAX)).min(1.0));
        Some(Rtt { ms, upper_ms, quality })
    }

    /// The peer's coordinate as last heard, to the precision of `f32`.
    pub fn peer_coordinate(&self, slot: u32) -> Option<Coordinate> {
        self.peers.get(slot as usize)?.coordinate()
    }

    /// Forgets the peer: its slot is given to another.
    pub fn forget(&mut self, slot: u32) {
        if let Some(peer) = self.peers.get_mut(slot as usize) {
            *peer = Peer::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker() -> Tracker {
        Tracker::new(16, Random::new(1))
    }

    fn far() -> Coordinate {
        let mut vector = [0.0; DIMENSIONS];
        vector[3] = 0.020;
        Coordinate { vector, height: 0.001, adjustment: 0.0, error: 0.2 }
    }

    #[test]
    fn prefers_a_recent_measurement() {
        let mut tracker = tracker();
        let now = Instant::from_millis(5);
        assert_eq!(tracker.rtt(3, now), None);
        tracker.observe(3, &far(), Some(Duration::from_millis(42)), now).unwrap();
        assert!((tracker.rtt(3, now).unwrap().ms - 42.0).abs() < 1e-3);
        let later = now + Duration::from_secs(400);
        assert!((tracker.rtt(3, later).unwrap().ms - 42.0).abs() > 0.1);
        tracker.forget(3);
        assert_eq!(tracker.rtt(3, now), None);
        assert_eq!(tracker.peer_coordinate(3), None);
    }

    #[test]
    fn refuses_what_cannot_be() {
        let mut tracker = tracker();
        let before = *tracker.coordinate();
        let now = Instant::ZERO;
        let second = Some(Duration::from_secs(1));
        for value in [f64::NAN, f64::INFINITY, -1e300, 1e300] {
            let mut broken = far();
            broken.vector[7] = value;
            assert_eq!(tracker.observe(0, &broken, second, now), Err(Refusal::Coordinate));
            let broken = Coordinate { error: value, ..far() };
            assert_eq!(tracker.observe(0, &broken, second, now), Err(Refusal::Coordinate));
            let broken = Coordinate { height: value, ..far() };
            assert_eq!(tracker.observe(0, &broken, second, now), Err(Refusal::Coordinate));
        }
        for round_trip in [Duration::ZERO, Duration::from_secs(11)] {
            let refused = tracker.observe(0, &far(), Some(round_trip), now);
            assert_eq!(refused, Err(Refusal::RoundTrip));
        }
        assert_eq!(*tracker.coordinate(), before);
        assert_eq!(tracker.peer_coordinate(0), None);
    }
}
