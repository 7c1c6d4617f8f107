//! User broadcasts: small messages of a host that reach every member, by gossip.
//!
//! A broadcast is named by its origin, the origin's run and a count, so each node delivers it once: a window of
//! 64 per origin tells what came before, as in a replay window. It is passed on twice as often as a member update,
//! because no table exchange repairs a miss: a node is left out about once in a hundred thousand times. Both kinds of news have the first claim to the room of every other datagram, so neither starves
//! the other. The queue is bounded: a host's own broadcast is refused when it is full, a
//! stranger's is delivered but not passed on, and counted.

use bytes::Bytes;

use super::gossip::{GossipQueue, Link, Links, Taken};
use super::table::OWN_SLOT;
use super::{Context, Membership};
use crate::config::{BROADCAST_COUNT_MAX, BROADCAST_SIZE_MAX};
use crate::error::CommandError;
use crate::events::Event;
use crate::node::{Address, Generation};
use crate::planted::{PlantedFault, is_planted};
use crate::slots;
use crate::stats::Counter;
use crate::wire::native::MessageWriter;
use crate::wire::payload::{Broadcast, push_broadcast};

/// Most broadcasts in one datagram.
const PER_DATAGRAM_MAX: usize = 16;
/// How far behind the newest broadcast of an origin one may come and still be told from a repetition.
const WINDOW: u32 = u64::BITS;

#[derive(Clone, Debug)]
struct Queued {
    origin: Address,
    generation: Generation,
    sequence: u32,
    bytes: Bytes,
}

/// Which broadcasts of one origin have been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// One above the highest.
    next: u32,
    /// Bit `n`: whether the one `n + 1` below `next` was seen.
    bits: u64,
}

impl Seen {
    /// Notes a broadcast; false when it was seen, or is too old to tell.
    fn insert(&mut self, sequence: u32) -> bool {
        if sequence >= self.next {
            let ahead = sequence - self.next + 1;
            self.bits = self.bits.checked_shl(ahead).unwrap_or(0) | 1;
            self.next = sequence.saturating_add(1);
            return true;
        }
        let behind = self.next - 1 - sequence;
        if behind >= WINDOW || self.bits >> behind & 1 == 1 {
            return is_planted(PlantedFault::BroadcastRepeated);
        }
        self.bits |= 1 << behind;
        true
    }
}

/// The links of the queue, one for every place.
#[derive(Debug, Default)]
struct PlaceLinks(Vec<Link>);

impl Links for PlaceLinks {
    fn link_mut(&mut self, place: u32) -> &mut Link {
        &mut self.0[place as usize]
    }
}

/// The broadcasts that are being passed on.
#[derive(Debug)]
pub(crate) struct Broadcasts {
    places: Vec<Option<Queued>>,
    queue: GossipQueue,
    links: PlaceLinks,
    seen: Vec<Seen>,
    own_sequence: u32,
    has_first_claim: bool,
}

impl Broadcasts {
    pub fn new() -> Broadcasts {
        Broadcasts {
            places: Vec::new(),
            queue: GossipQueue::new(),
            links: PlaceLinks::default(),
            seen: Vec::new(),
            own_sequence: 0,
            has_first_claim: false,
        }
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Forgets what was seen of a slot that changes hands.
    pub fn forget(&mut self, slot: u32) {
        if let Some(seen) = self.seen.get_mut(slot as usize) {
            *seen = Seen::default();
        }
    }

    fn note(&mut self, slot: u32, sequence: u32) -> bool {
        slots::reach(&mut self.seen, slot, Seen::default());
        self.seen[slot as usize].insert(sequence)
    }

    fn push(&mut self, queued: Queued) -> bool {
        let free = self.places.iter().position(Option::is_none);
        let place = match free {
            Some(place) => place,
            None if self.places.len() < BROADCAST_COUNT_MAX => {
                self.places.push(None);
                self.links.0.push(Link::NONE);
                self.places.len() - 1
            }
            None => return false,
        };
        self.places[place] = Some(queued);
        self.queue.push(&mut self.links, place as u32);
        true
    }

    /// Bytes that updates must leave free in the next datagram.
    pub fn claim(&mut self) -> usize {
        self.has_first_claim = !self.has_first_claim;
        match self.queue.peek() {
            Some(place) if self.has_first_claim => {
                let queued = self.places[place as usize].as_ref().expect("queued places are full");
                Broadcast::size_on_wire(&queued.bytes)
            }
            _ => 0,
        }
    }

    /// Fills the room that is left; `limit` is how often a member update is sent.
    pub fn write(&mut self, writer: &mut MessageWriter, limit: usize) {
        let mut sent: [Option<Taken>; PER_DATAGRAM_MAX] = [None; PER_DATAGRAM_MAX];
        let mut count = 0;
        while count < PER_DATAGRAM_MAX {
            let Some(taken) = self.queue.take(&mut self.links) else { break };
            let queued = self.places[taken.slot as usize].as_ref().expect("queued places are full");
            let broadcast = Broadcast {
                origin: queued.origin,
                generation: queued.generation,
                sequence: queued.sequence,
                bytes: &queued.bytes,
            };
            if !push_broadcast(writer, &broadcast) {
                self.queue.put_back_unsent(&mut self.links, taken);
                break;
            }
            sent[count] = Some(taken);
            count += 1;
        }
        for taken in sent.into_iter().flatten() {
            if !self.queue.put_back_sent(&mut self.links, taken, 2 * limit) {
                self.places[taken.slot as usize] = None;
            }
        }
    }
}

impl Membership {
    /// Sends bytes to every member once.
    pub(crate) fn broadcast(
        &mut self,
        context: &mut Context,
        bytes: Bytes,
    ) -> Result<(), CommandError> {
        if bytes.len() > BROADCAST_SIZE_MAX {
            return Err(CommandError::BroadcastSize { size: bytes.len() });
        }
        if self.is_leaving() {
            return Err(CommandError::Leaving);
        }
        let own = self.table.own();
        let (origin, generation) = (own.address, own.generation);
        let sequence = self.broadcasts.own_sequence;
        if !self.broadcasts.push(Queued { origin, generation, sequence, bytes }) {
            return Err(CommandError::BroadcastQueueFull);
        }
        self.broadcasts.own_sequence += 1;
        self.settle(context);
        Ok(())
    }

    /// A broadcast has come, perhaps not for the first time.
    pub(crate) fn broadcast_received(&mut self, context: &mut Context, broadcast: &Broadcast) {
        let slot = self.table.find(broadcast.origin).filter(|&slot| slot != OWN_SLOT);
        let slot = slot.filter(|&slot| self.table.get(slot).generation == broadcast.generation);
        let Some(slot) = slot else {
            // Our own, or of a run that is not known here.
            context.effects.count(Counter::BroadcastsRefused);
            return;
        };
        if !self.broadcasts.note(slot, broadcast.sequence) {
            context.effects.count(Counter::BroadcastsRepeated);
            return;
        }
        let Broadcast { origin, generation, sequence, .. } = *broadcast;
        let bytes = Bytes::copy_from_slice(broadcast.bytes);
        let payload = bytes.clone();
        context.effects.emit(Event::Broadcast { source: origin, payload, at: context.now });
        if !self.broadcasts.push(Queued { origin, generation, sequence, bytes }) {
            context.effects.count(Counter::BroadcastsNotRelayed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::BTreeSet;

    #[test]
    fn each_is_seen_once_whatever_the_order() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (mut seen, mut model, mut highest) = (Seen::default(), BTreeSet::new(), 0u32);
            for _ in 0..2_000 {
                let ahead = random.below(3) * random.below(60);
                let sequence = (highest + ahead).saturating_sub(random.below(80));
                let is_too_old = highest >= WINDOW && sequence <= highest - WINDOW;
                let is_new = !model.contains(&sequence) && (!is_too_old || model.is_empty());
                assert_eq!(seen.insert(sequence), is_new, "{sequence} of {highest}");
                if is_new {
                    model.insert(sequence);
                    highest = highest.max(sequence);
                }
            }
        }
    }
}
