//! Which news to spread next: least-sent first, in O(1) whatever the number of members.
//!
//! SWIM (section 4.1) piggybacks the updates sent least often. Here an update is just a slot number,
//! because its content is the member's record at the moment of sending, so a newer update replaces an
//! older one by itself. The queue is one first-in-first-out list per number of times sent, threaded
//! through what the numbers stand for, with a bit mask of lists that are not empty. So a member's link is
//! part of its record, which the processor has at hand when there is news of it.

use super::table::NONE;

/// No update is sent more often than this.
pub(crate) const TRANSMISSIONS_MAX: usize = 128;

/// The place of a record in the queue; packed, because a record has to fit into a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed)]
pub(crate) struct Link {
    next: u32,
    previous: u32,
    /// How often it has been sent, [`IDLE`] when it is not queued.
    sent: u8,
}

const IDLE: u8 = u8::MAX;
const _: () = assert!(TRANSMISSIONS_MAX <= IDLE as usize);

impl Link {
    /// A record that is not queued.
    pub const NONE: Link = Link { next: NONE, previous: NONE, sent: IDLE };

    fn is_queued(self) -> bool {
        self.sent != IDLE
    }
}

/// What a queue is threaded through: a link for every slot in it.
pub(crate) trait Links {
    fn link_mut(&mut self, slot: u32) -> &mut Link;
}

/// An update taken out of the queue to be written into a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub slot: u32,
    /// How often it has been sent before.
    pub sent: u8,
}

#[derive(Debug)]
pub(crate) struct GossipQueue {
    heads: [u32; TRANSMISSIONS_MAX],
    tails: [u32; TRANSMISSIONS_MAX],
    occupied: u128,
    count: usize,
}

impl GossipQueue {
    pub fn new() -> GossipQueue {
        GossipQueue {
            heads: [NONE; TRANSMISSIONS_MAX],
            tails: [NONE; TRANSMISSIONS_MAX],
            occupied: 0,
            count: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn len(&self) -> usize {
        self.count
    }

    /// Spreads the record in this slot, as news not sent before. One that still waits to be sent for the
    /// first time keeps its place: otherwise a record that changes all the time would never have its turn.
    pub fn push(&mut self, links: &mut impl Links, slot: u32) {
        if links.link_mut(slot).sent == 0 {
            return;
        }
        self.remove(links, slot);
        self.append(links, slot, 0);
    }

    /// Spreads it no longer.
    pub fn remove(&mut self, links: &mut impl Links, slot: u32) {
        if links.link_mut(slot).is_queued() {
            self.unlink(links, slot);
        }
    }

    /// Takes out the update that was sent least often, the longest waiting of those.
    pub fn take(&mut self, links: &mut impl Links) -> Option<Taken> {
        if self.occupied == 0 {
            return None;
        }
        let slot = self.heads[self.occupied.trailing_zeros() as usize];
        let sent = self.unlink(links, slot);
        Some(Taken { slot, sent })
    }

    /// The update that [`GossipQueue::take`] would take.
    pub fn peek(&self) -> Option<u32> {
        (self.occupied != 0).then(|| self.heads[self.occupied.trailing_zeros() as usize])
    }

    /// Puts back an update that has been sent once more, unless that was the last of `limit` times: then
    /// it returns false.
    pub fn put_back_sent(&mut self, links: &mut impl Links, taken: Taken, limit: usize) -> bool {
        let sent = usize::from(taken.sent) + 1;
        let is_wanted = sent < limit.min(TRANSMISSIONS_MAX);
        if is_wanted {
            self.append(links, taken.slot, sent as u8);
        }
        is_wanted
    }

    /// Puts back an update that was not sent after all, first in its list as it was.
    pub fn put_back_unsent(&mut self, links: &mut impl Links, taken: Taken) {
        let Taken { slot, sent } = taken;
        let list = usize::from(sent);
        let head = self.heads[list];
        *links.link_mut(slot) = Link { next: head, previous: NONE, sent };
        match head {
            NONE => self.tails[list] = slot,
            head => links.link_mut(head).previous = slot,
        }
        self.heads[list] = slot;
        self.occupied |= 1 << list;
        self.count += 1;
    }

    fn append(&mut self, links: &mut impl Links, slot: u32, sent: u8) {
        let list = usize::from(sent);
        let tail = self.tails[list];
        *links.link_mut(slot) = Link { next: NONE, previous: tail, sent };
        match tail {
            NONE => self.heads[list] = slot,
            tail => links.link_mut(tail).next = slot,
        }
        self.tails[list] = slot;
        self.occupied |= 1 << list;
        self.count += 1;
    }

    /// Takes a record out of its list and returns how often it has been sent.
    fn unlink(&mut self, links: &mut impl Links, slot: u32) -> u8 {
        let Link { next, previous, sent } = std::mem::replace(links.link_mut(slot), Link::NONE);
        let list = usize::from(sent);
        match previous {
            NONE => self.heads[list] = next,
            previous => links.link_mut(previous).next = next,
        }
        match next {
            NONE => self.tails[list] = previous,
            next => links.link_mut(next).previous = previous,
        }
        if self.heads[list] == NONE {
            self.occupied &= !(1 << list);
        }
        self.count -= 1;
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Links for [Link; 10] {
        fn link_mut(&mut self, slot: u32) -> &mut Link {
            &mut self[slot as usize]
        }
    }

    struct Gossip {
        queue: GossipQueue,
        links: [Link; 10],
    }

    impl Gossip {
        fn new() -> Gossip {
            Gossip { queue: GossipQueue::new(), links: [Link::NONE; 10] }
        }

        fn push(&mut self, slot: u32) {
            self.queue.push(&mut self.links, slot);
        }

        fn take(&mut self) -> Option<Taken> {
            self.queue.take(&mut self.links)
        }

        fn send_one(&mut self, limit: usize) -> Option<u32> {
            let taken = self.take()?;
            self.queue.put_back_sent(&mut self.links, taken, limit);
            Some(taken.slot)
        }
    }

    #[test]
    fn the_least_sent_goes_first_and_each_is_sent_the_same_number_of_times() {
        let mut gossip = Gossip::new();
        (0..10).for_each(|slot| gossip.push(slot));
        assert_eq!(gossip.queue.len(), 10);
        let order: Vec<u32> = std::iter::from_fn(|| gossip.send_one(3)).collect();
        let expected: Vec<u32> = (0..3).flat_map(|_| 0..10).collect();
        assert_eq!(order, expected);
        assert!(gossip.queue.is_empty());
    }

    #[test]
    fn fresh_news_overtakes_and_replaces_old_news() {
        let mut gossip = Gossip::new();
        gossip.push(1);
        gossip.push(2);
        assert_eq!(gossip.send_one(9), Some(1));
        gossip.push(3);
        assert_eq!(gossip.send_one(9), Some(2));
        gossip.push(1);
        assert_eq!(gossip.send_one(9), Some(3));
        assert_eq!(gossip.send_one(9), Some(1));
        gossip.queue.remove(&mut gossip.links, 2);
        let left: Vec<u32> = std::iter::from_fn(|| gossip.take()).map(|taken| taken.slot).collect();
        assert_eq!(left, [3, 1]);
    }

    #[test]
    fn news_that_changes_all_the_time_has_its_turn() {
        let mut gossip = Gossip::new();
        (0..3).for_each(|slot| gossip.push(slot));
        for slot in [0, 1, 2] {
            // All three change once more; what has been sent goes behind what has not.
            (0..3).for_each(|slot| gossip.push(slot));
            assert_eq!(gossip.take(), Some(Taken { slot, sent: 0 }));
        }
    }

    #[test]
    fn unsent_news_keeps_its_place() {
        let mut gossip = Gossip::new();
        (0..3).for_each(|slot| gossip.push(slot));
        let taken = gossip.take().unwrap();
        gossip.queue.put_back_unsent(&mut gossip.links, taken);
        assert_eq!(gossip.take().unwrap(), Taken { slot: 0, sent: 0 });
    }
}
