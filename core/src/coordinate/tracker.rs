//! Keeps the node's own coordinate and what it knows of each peer's.

use super::{Coordinate, DIMENSIONS, Refusal, Rtt};
use crate::random::Random;
use crate::time::{Duration, Instant};

/// The coordinates of this node and of its peers, by member slot.
#[derive(Debug)]
pub struct Tracker {
    own: Coordinate,
    peers: Vec<Option<(Coordinate, Option<Duration>)>>,
}

impl Tracker {
    /// A tracker for `peer_capacity` slots.
    pub fn new(peer_capacity: u32, mut random: Random) -> Tracker {
        let vector = std::array::from_fn(|_| (random.unit() - 0.5) * 1e-3);
        let own = Coordinate { vector, height: 1e-5, adjustment: 0.0, error: 1.5 };
        Tracker { own, peers: vec![None; peer_capacity as usize] }
    }

    /// The node's own published coordinate.
    pub fn coordinate(&self) -> &Coordinate {
        &self.own
    }

    /// Takes note of a peer's coordinate and, after an exchange, of the round trip to it.
    pub fn observe(
        &mut self,
        slot: u32,
        coordinate: &Coordinate,
        round_trip: Option<Duration>,
        _now: Instant,
    ) -> Result<(), Refusal> {
        let measured =
            round_trip.or(self.peers[slot as usize].as_ref().and_then(|(_, measured)| *measured));
        self.peers[slot as usize] = Some((*coordinate, measured));
        Ok(())
    }

    /// What is known about the round trip to the peer in this slot.
    pub fn rtt(&self, slot: u32, _now: Instant) -> Option<Rtt> {
        let (coordinate, measured) = self.peers[slot as usize].as_ref()?;
        let _ = (coordinate, DIMENSIONS);
        let ms = measured.as_ref()?.as_secs_f64() * 1e3;
        Some(Rtt { ms, upper_ms: ms * 2.0, quality: 1.0 })
    }

    /// The peer's coordinate as last heard.
    pub fn peer_coordinate(&self, slot: u32) -> Option<&Coordinate> {
        self.peers[slot as usize].as_ref().map(|(coordinate, _)| coordinate)
    }

    /// Forgets the peer: its slot is given to another.
    pub fn forget(&mut self, slot: u32) {
        self.peers[slot as usize] = None;
    }
}
