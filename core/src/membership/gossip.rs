//! Which news to spread next: least-sent first, in O(1) whatever the number of members.
//!
//! SWIM (section 4.1) piggybacks the updates sent least often. Here an update is just a slot number,
//! because its content is the member's record at the moment of sending, so a newer update replaces an
//! older one by itself. The queue is one first-in-first-out list per number of times sent, threaded
//! through an array by slot, with a bit mask of lists that are not empty.

use super::table::NONE;
use crate::slots;

/// No update is sent more often than this.
pub(crate) const TRANSMISSIONS_MAX: usize = 128;

#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    previous: u32,
    sent: u8,
    is_queued: bool,
}

const IDLE: Link = Link { next: NONE, previous: NONE, sent: 0, is_queued: false };

/// An update taken out of the queue to be written into a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub slot: u32,
    /// How often it has been sent before.
    pub sent: u8,
}

#[derive(Debug)]
pub(crate) struct GossipQueue {
    links: Vec<Link>,
    heads: [u32; TRANSMISSIONS_MAX],
    tails: [u32; TRANSMISSIONS_MAX],
    occupied: u128,
    count: usize,
}

impl GossipQueue {
    pub fn new() -> GossipQueue {
        GossipQueue {
            links: Vec::new(),
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

    /// Spreads the record in this slot, as news not sent before.
    pub fn push(&mut self, slot: u32) {
        self.remove(slot);
        slots::reach(&mut self.links, slot, IDLE);
        self.append(slot, 0);
    }

    /// Spreads it no longer.
    pub fn remove(&mut self, slot: u32) {
        if self.links.get(slot as usize).is_some_and(|link| link.is_queued) {
            self.unlink(slot);
        }
    }

    /// Takes out the update that was sent least often, the longest waiting of those.
    pub fn take(&mut self) -> Option<Taken> {
        if self.occupied == 0 {
            return None;
        }
        let slot = self.heads[self.occupied.trailing_zeros() as usize];
        let sent = self.links[slot as usize].sent;
        self.unlink(slot);
        Some(Taken { slot, sent })
    }

    /// The update that [`GossipQueue::take`] would take.
    pub fn peek(&self) -> Option<u32> {
        (self.occupied != 0).then(|| self.heads[self.occupied.trailing_zeros() as usize])
    }

    /// Puts back an update that has been sent once more, unless that was the last of `limit` times: then
    /// it returns false.
    pub fn put_back_sent(&mut self, taken: Taken, limit: usize) -> bool {
        let sent = usize::from(taken.sent) + 1;
        let is_wanted = sent < limit.min(TRANSMISSIONS_MAX);
        if is_wanted {
            self.append(taken.slot, sent as u8);
        }
        is_wanted
    }

    /// Puts back an update that was not sent after all, first in its list as it was.
    pub fn put_back_unsent(&mut self, taken: Taken) {
        let Taken { slot, sent } = taken;
        let list = usize::from(sent);
        let head = self.heads[list];
        self.links[slot as usize] = Link { next: head, previous: NONE, sent, is_queued: true };
        match head {
            NONE => self.tails[list] = slot,
            head => self.links[head as usize].previous = slot,
        }
        self.heads[list] = slot;
        self.occupied |= 1 << list;
        self.count += 1;
    }

    fn append(&mut self, slot: u32, sent: u8) {
        let list = usize::from(sent);
        let tail = self.tails[list];
        self.links[slot as usize] = Link { next: NONE, previous: tail, sent, is_queued: true };
        match tail {
            NONE => self.heads[list] = slot,
            tail => self.links[tail as usize].next = slot,
        }
        self.tails[list] = slot;
        self.occupied |= 1 << list;
        self.count += 1;
    }

    fn unlink(&mut self, slot: u32) {
        let Link { next, previous, sent, .. } = self.links[slot as usize];
        let list = usize::from(sent);
        match previous {
            NONE => self.heads[list] = next,
            previous => self.links[previous as usize].next = next,
        }
        match next {
            NONE => self.tails[list] = previous,
            next => self.links[next as usize].previous = previous,
        }
        if self.heads[list] == NONE {
            self.occupied &= !(1 << list);
        }
        self.links[slot as usize].is_queued = false;
        self.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send_one(queue: &mut GossipQueue, limit: usize) -> Option<u32> {
        let taken = queue.take()?;
        queue.put_back_sent(taken, limit);
        Some(taken.slot)
    }

    #[test]
    fn the_least_sent_goes_first_and_each_is_sent_the_same_number_of_times() {
        let mut queue = GossipQueue::new();
        (0..10).for_each(|slot| queue.push(slot));
        let order: Vec<u32> = std::iter::from_fn(|| send_one(&mut queue, 3)).collect();
        let expected: Vec<u32> = (0..3).flat_map(|_| 0..10).collect();
        assert_eq!(order, expected);
        assert!(queue.is_empty());
    }

    #[test]
    fn fresh_news_overtakes_and_replaces_old_news() {
        let mut queue = GossipQueue::new();
        queue.push(1);
        queue.push(2);
        assert_eq!(send_one(&mut queue, 9), Some(1));
        queue.push(3);
        assert_eq!(send_one(&mut queue, 9), Some(2));
        queue.push(1);
        assert_eq!(send_one(&mut queue, 9), Some(3));
        assert_eq!(send_one(&mut queue, 9), Some(1));
        queue.remove(2);
        let left: Vec<u32> = std::iter::from_fn(|| queue.take()).map(|taken| taken.slot).collect();
        assert_eq!(left, [3, 1]);
    }

    #[test]
    fn unsent_news_keeps_its_place() {
        let mut queue = GossipQueue::new();
        (0..3).for_each(|slot| queue.push(slot));
        let taken = queue.take().unwrap();
        queue.put_back_unsent(taken);
        assert_eq!(queue.take().unwrap(), Taken { slot: 0, sent: 0 });
    }
}
