//! What is known of every peer, by member slot.
//!
//! Coordinates lie in blocks of eight, one row per dimension, so that predictions to all peers
//! sweep through memory; the rest lies in one record per slot. A slot costs 84 bytes. Coordinates
//! are kept as `f32`, which is exact to 0.03 us for peers up to half a second from the origin. The
//! table grows with the slots in use, up to its capacity.

use super::filter::RoundTripFilter;
use super::guard::Distrust;
use super::lanes::{Block, LANE_COUNT, Origin, Peer, Width};
use super::springs;
use super::{Coordinate, DIMENSIONS, EUCLIDEAN_SHARE_MIN, PREDICTION_SECONDS_MIN, greater, length};
use crate::slots;
use crate::time::{Duration, Instant};

/// A point in time in units of 2^24 ns, about 17 ms. Ages are exact to one unit and right up to one
/// year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tick(u32);

const TICK_BITS: u32 = 24;

impl Tick {
    /// How many units a time lasts at least.
    pub(super) fn units_of(duration: Duration) -> i32 {
        i32::try_from(duration.as_nanos().div_ceil(1 << TICK_BITS)).unwrap_or(i32::MAX)
    }

    pub(super) fn of(now: Instant) -> Tick {
        Tick((now.as_nanos() >> TICK_BITS) as u32)
    }

    /// Units from `earlier` to this, negative when it is later.
    pub(super) fn units_since(self, earlier: Tick) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// Time from `earlier` to this, zero when it is later.
    pub(super) fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(u64::from(self.units_since(earlier).max(0) as u32) << TICK_BITS)
    }
}

/// What is known of one peer besides its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub height: f32,
    pub adjustment: f32,
    /// Zero while no coordinate has been heard.
    pub error: f32,
    pub filter: RoundTripFilter,
    pub heard_at: Tick,
    pub measured_at: Tick,
    /// The peer's spring, or [`springs::NONE`].
    pub spring: u16,
    pub distrust: Distrust,
}

impl Record {
    pub(super) const EMPTY: Record = Record {
        height: 0.0,
        adjustment: 0.0,
        error: 0.0,
        filter: RoundTripFilter::EMPTY,
        heard_at: Tick(0),
        measured_at: Tick(0),
        spring: springs::NONE,
        distrust: Distrust::NONE,
    };

    pub(super) fn is_heard(&self) -> bool {
        self.error > 0.0
    }
}

/// The peers' coordinates and records. A clone is a snapshot that another thread can search.
#[derive(Clone, Debug)]
pub struct Table {
    blocks: Vec<Block>,
    records: Vec<Record>,
    capacity: usize,
    floor: Floor,
    width: Width,
}

/// What no prediction falls below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    /// A share of the Euclidean distance.
    pub euclidean_share: f64,
    /// A time in seconds.
    pub seconds: f64,
}

impl Floor {
    pub(super) const NATIVE: Floor =
        Floor { euclidean_share: EUCLIDEAN_SHARE_MIN, seconds: PREDICTION_SECONDS_MIN };
    pub(super) const HYPERSCALE: Floor = Floor { euclidean_share: 0.0, seconds: 0.0 };
}

impl Table {
    pub(super) fn new(capacity: u32, floor: Floor) -> Table {
        let (blocks, records) = (Vec::new(), Vec::new());
        Table { blocks, records, capacity: capacity as usize, floor, width: Width::detect() }
    }

    /// How many slots have been in use: their numbers are below this.
    pub fn slot_count(&self) -> u32 {
        self.records.len() as u32
    }

    /// Memory held, in bytes.
    pub fn memory_size(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>() + self.records.capacity() * size_of::<Record>()
    }

    /// The coordinate last heard from the peer in a slot, to the precision of `f32`.
    pub fn coordinate(&self, slot: u32) -> Option<Coordinate> {
        let record = self.record(slot)?;
        if !record.is_heard() {
            return None;
        }
        let (block, lane) = self.locate(slot);
        let mut vector = [0.0; DIMENSIONS];
        for (component, row) in vector.iter_mut().zip(&block.vector) {
            *component = f64::from(row.0[lane]);
        }
        Some(Coordinate {
            vector,
            height: f64::from(record.height),
            adjustment: f64::from(record.adjustment),
            error: f64::from(record.error),
        })
    }

    /// The predicted round trip from `own` to the peer in a slot, in seconds; exact for what is
    /// stored.
    pub fn distance(&self, own: &Coordinate, slot: u32) -> Option<f64> {
        if !self.record(slot)?.is_heard() {
            return None;
        }
        let (block, lane) = self.locate(slot);
        let peer = |d: usize| f64::from(block.vector[d].0[lane]);
        let euclidean = length(&std::array::from_fn(|d| own.vector[d] - peer(d)));
        let adjusted = euclidean + (own.offset() + f64::from(block.offset.0[lane]));
        let least = self.floor.euclidean_share * euclidean;
        Some(greater(greater(adjusted, least), self.floor.seconds))
    }

    /// Predictions in milliseconds from `own`, this node's coordinate or any other, to every slot;
    /// in single precision, so within 0.01 % or 0.1 us of [`Table::distance`]. Infinite for unknown
    /// peers. Allocates only when there are more slots than ever before.
    pub fn estimate_all(&self, own: &Coordinate, estimates_ms: &mut Vec<f32>) {
        estimates_ms.resize(self.records.len(), 0.0);
        let origin = Origin {
            vector: own.vector.map(|component| component as f32),
            offset: own.offset() as f32,
            euclidean_share: self.floor.euclidean_share as f32,
            seconds_min: self.floor.seconds as f32,
        };
        self.width.predict_all(&origin, &self.blocks, estimates_ms);
    }

    pub(super) fn record(&self, slot: u32) -> Option<&Record> {
        self.records.get(slot as usize)
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// The record of a slot, which comes into use by this.
    ///
    /// # Panics
    /// When the slot is not below the capacity.
    pub(super) fn record_mut(&mut self, slot: u32) -> &mut Record {
        assert!((slot as usize) < self.capacity, "a slot lies below the capacity");
        slots::reach(&mut self.records, slot, Record::EMPTY);
        slots::reach(&mut self.blocks, slot / LANE_COUNT as u32, Block::EMPTY);
        &mut self.records[slot as usize]
    }

    /// Remembers where a peer is; `peer` is the same coordinate as `coordinate`.
    pub(super) fn place(&mut self, slot: u32, coordinate: &Coordinate, peer: &Peer, now: Tick) {
        let index = slot as usize;
        self.blocks[index / LANE_COUNT].set(index % LANE_COUNT, peer);
        let record = &mut self.records[index];
        record.height = coordinate.height as f32;
        record.adjustment = coordinate.adjustment as f32;
        record.error = peer.error;
        record.heard_at = now;
    }

    /// Forgets a slot's coordinate and record.
    pub(super) fn clear(&mut self, slot: u32) {
        let (block, lane) =
            (&mut self.blocks[slot as usize / LANE_COUNT], slot as usize % LANE_COUNT);
        for row in &mut block.vector {
            row.0[lane] = 0.0;
        }
        block.offset.0[lane] = f32::INFINITY;
        self.records[slot as usize] = Record::EMPTY;
    }

    fn locate(&self, slot: u32) -> (&Block, usize) {
        (&self.blocks[slot as usize / LANE_COUNT], slot as usize % LANE_COUNT)
    }
}

/// A peer and the round trip to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Its slot.
    pub slot: u32,
    /// The round trip in milliseconds.
    pub ms: f32,
}

/// Fills `nearest` with the `count` smallest of the estimates, nearest first, and of equal ones
/// the lower slot first. Infinite estimates, of unknown peers, are left out.
pub fn nearest(estimates_ms: &[f32], count: usize, nearest: &mut Vec<Nearest>) {
    nearest.clear();
    if count == 0 {
        return;
    }
    let mut worst = f32::INFINITY;
    for (slot, &ms) in estimates_ms.iter().enumerate() {
        if ms < worst {
            if nearest.len() == count {
                nearest.pop();
            }
            let place = nearest.partition_point(|other| other.ms <= ms);
            nearest.insert(place, Nearest { slot: slot as u32, ms });
            if nearest.len() == count {
                worst = nearest[count - 1].ms;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn coordinate(random: &mut Random) -> Coordinate {
        let vector = std::array::from_fn(|_| (random.unit() - 0.5) * 0.3);
        Coordinate { vector, height: random.unit() * 0.01, adjustment: -0.004, error: 0.2 }
    }

    #[test]
    fn a_sweep_agrees_with_single_estimates() {
        let mut random = Random::new(4);
        let mut table = Table::new(100, Floor::NATIVE);
        let own = coordinate(&mut random);
        for slot in (0..93).filter(|slot| slot % 5 != 0) {
            table.record_mut(slot);
            let peer = coordinate(&mut random);
            table.place(slot, &peer, &Peer::of(&peer), Tick::default());
        }
        let mut estimates = Vec::new();
        table.estimate_all(&own, &mut estimates);
        assert_eq!(estimates.len(), 93);
        for slot in 0..93 {
            let swept = f64::from(estimates[slot as usize]);
            match table.distance(&own, slot) {
                None => assert_eq!(swept, f64::INFINITY),
                Some(seconds) => {
                    let ms = seconds * 1e3;
                    assert!((swept - ms).abs() <= 1e-4 * ms + 1e-4, "{swept} {ms}");
                    let peer = table.coordinate(slot).unwrap();
                    assert!((own.distance(&peer) - seconds).abs() < 1e-9);
                }
            }
        }
    }

    #[test]
    fn nearest_first_and_unknown_never() {
        let estimates = [5.0, f32::INFINITY, 1.0, 3.0, 1.0, 9.0];
        let mut found = Vec::new();
        nearest(&estimates, 3, &mut found);
        let slots: Vec<u32> = found.iter().map(|peer| peer.slot).collect();
        assert_eq!(slots, [2, 4, 3]);
        nearest(&estimates, 10, &mut found);
        assert_eq!(found.len(), 5);
        nearest(&estimates, 0, &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn grows_with_the_slots_in_use() {
        let mut table = Table::new(1 << 20, Floor::NATIVE);
        assert_eq!(table.memory_size(), 0);
        assert_eq!(size_of::<Block>() / LANE_COUNT + size_of::<Record>(), 84);
        for slot in 0..100_000 {
            table.record_mut(slot);
        }
        let per_slot = table.memory_size() as f64 / 100_000.0;
        assert!(per_slot < 100.0, "{per_slot} bytes per slot");
    }

    #[test]
    fn ticks_survive_the_end_of_their_counter() {
        let end = Instant::from_nanos((1 << 56) - 1);
        let later = end + Duration::from_secs(60);
        let age = Tick::of(later).since(Tick::of(end));
        assert!(age.abs_diff(Duration::from_secs(60)) < Duration::from_millis(40), "{age:?}");
        assert_eq!(Tick::of(end).since(Tick::of(later)), Duration::ZERO);
    }
}
