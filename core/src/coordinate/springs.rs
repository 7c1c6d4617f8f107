//! The remembered samples that the node relaxes against.
//!
//! Plain Vivaldi uses a round trip once and forgets it. In a large cluster a node measures each
//! peer rarely, so it pays to use a sample again: with every new one the node relaxes against the
//! block of eight that holds it, and while it is new against one further block, in turn. A peer has
//! at most one spring, kept up to date with its newest coordinate; the memory is dense and bounded,
//! and when it is full the oldest spring makes room.

use super::lanes::{Block, LANE_COUNT, Lanes, Peer, SpringBlock};

/// Marks a peer without a spring.
pub(super) const NONE: u16 = u16::MAX;

const SLACK: SpringBlock = SpringBlock {
    peers: Block { offset: Lanes::ZERO, ..Block::EMPTY },
    rest: Lanes::ZERO,
    stiffness: Lanes::ZERO,
    error: Lanes::splat(1.0),
};

/// A bounded set of springs, each to the peer in one slot.
#[derive(Clone, Debug)]
pub(super) struct Springs {
    blocks: Vec<SpringBlock>,
    slots: Vec<u32>,
    capacity: usize,
    /// The spring to be replaced next when all are in use.
    oldest: usize,
    /// The block to be relaxed against next.
    next_block: usize,
}

/// A spring that changed its place: the owner of the slot must remember the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub slot: u32,
    pub index: u16,
}

impl Springs {
    pub(super) fn new(capacity: u32) -> Springs {
        assert!(capacity > 0 && capacity < u32::from(NONE), "the capacity was checked");
        let capacity = capacity as usize;
        Springs { blocks: Vec::new(), slots: Vec::new(), capacity, oldest: 0, next_block: 0 }
    }

    /// Where a spring to a further peer goes, and the slot that loses its spring to it.
    pub(super) fn insert(&mut self, slot: u32) -> (u16, Option<u32>) {
        if self.slots.len() < self.capacity {
            if self.slots.len().is_multiple_of(LANE_COUNT) {
                self.blocks.push(SLACK);
            }
            self.slots.push(slot);
            return ((self.slots.len() - 1) as u16, None);
        }
        let index = self.oldest;
        self.oldest = (index + 1) % self.capacity;
        let evicted = std::mem::replace(&mut self.slots[index], slot);
        (index as u16, Some(evicted))
    }

    /// Puts the far end of a spring where the peer now is.
    pub(super) fn place(&mut self, index: u16, peer: &Peer) {
        let (block, lane) = self.locate(index);
        block.peers.set(lane, peer);
        block.error.0[lane] = peer.error;
    }

    /// Gives a spring its length at rest, in seconds. One that is not to be listened to counts for
    /// nothing but keeps its place.
    pub(super) fn stretch(&mut self, index: u16, round_trip: f64, counts: bool) {
        let (block, lane) = self.locate(index);
        block.rest.0[lane] = round_trip as f32;
        // Near peers weigh more: a millisecond of mismatch is a larger part of their round trip.
        block.stiffness.0[lane] = if counts { (1.0 / round_trip as f32).sqrt() } else { 0.0 };
    }

    /// Removes a spring. The last one takes its place.
    pub(super) fn remove(&mut self, index: u16) -> Option<Moved> {
        let last = self.slots.len() - 1;
        let (from, from_lane) = (last / LANE_COUNT, last % LANE_COUNT);
        let (to, to_lane) = (index as usize / LANE_COUNT, index as usize % LANE_COUNT);
        let source = self.blocks[from];
        let target = &mut self.blocks[to];
        for (row, source) in target.peers.vector.iter_mut().zip(source.peers.vector) {
            row.0[to_lane] = source.0[from_lane];
        }
        target.peers.offset.0[to_lane] = source.peers.offset.0[from_lane];
        target.rest.0[to_lane] = source.rest.0[from_lane];
        target.stiffness.0[to_lane] = source.stiffness.0[from_lane];
        target.error.0[to_lane] = source.error.0[from_lane];

        self.blocks[from].stiffness.0[from_lane] = 0.0;
        self.slots.swap_remove(index as usize);
        self.blocks.truncate(self.slots.len().div_ceil(LANE_COUNT));
        if self.oldest >= self.slots.len() {
            self.oldest = 0;
        }
        self.slots.get(index as usize).map(|&slot| Moved { slot, index })
    }

    /// The block that holds a spring.
    pub(super) fn block_of(&self, index: u16) -> &SpringBlock {
        &self.blocks[index as usize / LANE_COUNT]
    }

    /// The block whose turn it is.
    pub(super) fn next_block(&mut self) -> &SpringBlock {
        self.next_block += 1;
        if self.next_block >= self.blocks.len() {
            self.next_block = 0;
        }
        &self.blocks[self.next_block]
    }

    fn locate(&mut self, index: u16) -> (&mut SpringBlock, usize) {
        let index = index as usize;
        (&mut self.blocks[index / LANE_COUNT], index % LANE_COUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinate::DIMENSIONS;

    fn peer(first: f32) -> Peer {
        let mut vector = [0.0; DIMENSIONS];
        vector[0] = first;
        Peer { vector, offset: first, error: 0.5 }
    }

    fn rest(springs: &Springs, index: u16) -> f32 {
        springs.blocks[index as usize / LANE_COUNT].rest.0[index as usize % LANE_COUNT]
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut springs = Springs::new(16);
        for slot in 0..16 {
            assert_eq!(springs.insert(slot), (slot as u16, None));
        }
        assert_eq!(springs.insert(100), (0, Some(0)));
        assert_eq!(springs.insert(101), (1, Some(1)));
        assert_eq!(springs.slots.len(), 16);
    }

    #[test]
    fn removal_keeps_the_memory_dense() {
        let mut springs = Springs::new(16);
        for slot in 0..10 {
            let (index, _) = springs.insert(slot);
            springs.place(index, &peer(slot as f32));
            springs.stretch(index, 1.0 + f64::from(slot), true);
        }
        assert_eq!(springs.remove(3), Some(Moved { slot: 9, index: 3 }));
        assert_eq!(rest(&springs, 3), 10.0);
        assert_eq!(springs.blocks[0].peers.vector[0].0[3], 9.0);
        assert_eq!(springs.remove(8), None);
        assert_eq!(springs.blocks.len(), 1);
        while !springs.slots.is_empty() {
            springs.remove(0);
        }
        assert_eq!(springs.insert(50), (0, None));
    }

    #[test]
    fn every_block_has_its_turn() {
        let mut springs = Springs::new(32);
        for slot in 0..32 {
            let (index, _) = springs.insert(slot);
            springs.stretch(index, f64::from(slot / 8 + 1), true);
        }
        let mut turns: Vec<f32> = (0..4).map(|_| springs.next_block().rest.0[0]).collect();
        turns.sort_by(f32::total_cmp);
        assert_eq!(turns, [1.0, 2.0, 3.0, 4.0]);
    }
}
