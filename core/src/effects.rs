//! What handling an input brings about: datagrams to write, events, changed members, timers and counts.
//!
//! The state machines below the engine share one [`Effects`] and never see each other's outputs. All
//! queues are bounded by the configuration; what does not fit is counted.

use std::collections::VecDeque;

use crate::config::{Config, FETCH_COUNT_MAX, READING_COUNT_MAX};
use crate::events::Event;
use crate::node::Address;
use crate::slots;
use crate::stats::{Counter, Stats};
use crate::time::Instant;
use crate::timer::TimerWheel;
use crate::wire::native::Kind;

/// A datagram to be written when the host asks for it. Its content is read from the state of that
/// moment, so nothing is copied and nothing is stale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub kind: Kind,
    /// Where the host sends it.
    pub destination: Address,
    /// The node it is meant for, unspecified when only a seed's address is known.
    pub recipient: Address,
    pub sequence: u32,
    pub subject: Address,
    pub parameter: u32,
}

impl Outgoing {
    /// A message for a node at its own address.
    pub fn new(kind: Kind, recipient: Address) -> Outgoing {
        let subject = Address::UNSPECIFIED;
        Outgoing { kind, destination: recipient, recipient, sequence: 0, subject, parameter: 0 }
    }
}

/// Everything that has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    ProbeRound,
    GossipRound,
    SyncRound,
    JoinRound,
    LeaveRound,
    /// A state being read, by its place.
    Fetch(u32),
    /// A table being read, by its place.
    Reading(u32),
    /// A probe in flight, by its place.
    Probe(u32),
    /// What a member's state waits for: confirmation, the end of a suspicion, removal.
    Member(u32),
}

const FIRST_FETCH: u32 = 5;
const FIRST_READING: u32 = FIRST_FETCH + FETCH_COUNT_MAX;
const FIRST_PROBE: u32 = FIRST_READING + READING_COUNT_MAX;

/// Slot numbers in the order of their first mention, each at most once.
#[derive(Debug, Default)]
struct SlotQueue {
    slots: VecDeque<u32>,
    /// A bit for every slot.
    is_listed: Vec<u64>,
}

/// The word and the bit in it that stand for a slot.
fn bit_of(slot: u32) -> (u32, u64) {
    (slot / u64::BITS, 1 << (slot % u64::BITS))
}

impl SlotQueue {
    fn push(&mut self, slot: u32) {
        let (index, bit) = bit_of(slot);
        slots::reach(&mut self.is_listed, index, 0);
        let word = &mut self.is_listed[index as usize];
        if *word & bit == 0 {
            *word |= bit;
            self.slots.push_back(slot);
        }
    }

    fn pop(&mut self) -> Option<u32> {
        let slot = self.slots.pop_front()?;
        let (index, bit) = bit_of(slot);
        self.is_listed[index as usize] &= !bit;
        Some(slot)
    }
}

#[derive(Debug)]
pub(crate) struct Effects {
    pub stats: Stats,
    transmits: VecDeque<Outgoing>,
    transmit_capacity: usize,
    events: VecDeque<Event>,
    event_capacity: usize,
    lost_events: u64,
    /// Slots to be read by whoever mirrors the table.
    changes: SlotQueue,
    /// Slots whose member is, or stands, otherwise than before: what the federation is told.
    moves: SlotQueue,
    timers: TimerWheel,
    probe_capacity: u32,
}

impl Effects {
    pub fn new(config: &Config, now: Instant) -> Effects {
        let transmit_capacity = config.transmit_capacity as usize;
        Effects {
            stats: Stats::default(),
            transmits: VecDeque::with_capacity(transmit_capacity),
            transmit_capacity,
            events: VecDeque::new(),
            event_capacity: config.event_capacity as usize,
            lost_events: 0,
            changes: SlotQueue::default(),
            moves: SlotQueue::default(),
            timers: TimerWheel::new(now),
            probe_capacity: config.probe_capacity,
        }
    }

    pub fn count(&mut self, counter: Counter) {
        self.stats.count(counter);
    }

    pub fn transmit(&mut self, outgoing: Outgoing) {
        if self.transmits.len() < self.transmit_capacity {
            self.transmits.push_back(outgoing);
        } else {
            self.count(Counter::DroppedTransmits);
        }
    }

    pub fn next_transmit(&mut self) -> Option<Outgoing> {
        self.transmits.pop_front()
    }

    pub fn has_transmits(&self) -> bool {
        !self.transmits.is_empty()
    }

    pub fn emit(&mut self, event: Event) {
        if self.has_event_room() {
            self.events.push_back(event);
        } else {
            self.count(Counter::DroppedEvents);
            self.lost_events += 1;
        }
    }

    /// Tells the host unless half of the room for events is taken: for what peers can send at will,
    /// so that it never displaces news of members.
    pub fn emit_if_calm(&mut self, event: Event) {
        if self.events.len() < self.event_capacity / 2 {
            self.emit(event);
        } else {
            self.count(Counter::DroppedEvents);
            self.lost_events += 1;
        }
    }

    /// Whether another event would be kept.
    pub fn has_event_room(&self) -> bool {
        self.events.len() < self.event_capacity
    }

    /// How many events wait for the host.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// The oldest event. A loss is told after the events that were kept, which are older.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front().or_else(|| {
            let lost = std::mem::take(&mut self.lost_events);
            (lost > 0).then_some(Event::Overflow { lost })
        })
    }

    /// Notes that a member's record changed; many changes before the host looks are one.
    pub fn change(&mut self, slot: u32) {
        self.changes.push(slot);
        self.moves.push(slot);
    }

    /// The same for what only mirrors care about: distance and state, which change all the time.
    pub fn refresh(&mut self, slot: u32) {
        self.changes.push(slot);
    }

    pub fn next_change(&mut self) -> Option<u32> {
        self.changes.pop()
    }

    pub fn next_move(&mut self) -> Option<u32> {
        self.moves.pop()
    }

    pub fn set_timer(&mut self, timer: Timer, deadline: Instant) {
        self.timers.set(self.timer_number(timer), deadline);
    }

    pub fn clear_timer(&mut self, timer: Timer) {
        self.timers.clear(self.timer_number(timer));
    }

    pub fn is_timer_set(&self, timer: Timer) -> bool {
        self.timers.is_set(self.timer_number(timer))
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    pub fn expired_timer(&mut self, now: Instant) -> Option<Timer> {
        self.timers.expire(now).map(|number| self.timer_of(number))
    }

    /// Timer numbers are dense: rounds first, then readings, probes, and members, which may become many.
    fn timer_number(&self, timer: Timer) -> u32 {
        match timer {
            Timer::ProbeRound => 0,
            Timer::GossipRound => 1,
            Timer::SyncRound => 2,
            Timer::JoinRound => 3,
            Timer::LeaveRound => 4,
            Timer::Fetch(place) => FIRST_FETCH + place,
            Timer::Reading(place) => FIRST_READING + place,
            Timer::Probe(place) => FIRST_PROBE + place,
            Timer::Member(slot) => FIRST_PROBE + self.probe_capacity + slot,
        }
    }

    fn timer_of(&self, number: u32) -> Timer {
        match number {
            0 => Timer::ProbeRound,
            1 => Timer::GossipRound,
            2 => Timer::SyncRound,
            3 => Timer::JoinRound,
            4 => Timer::LeaveRound,
            number if number < FIRST_READING => Timer::Fetch(number - FIRST_FETCH),
            number if number < FIRST_PROBE => Timer::Reading(number - FIRST_READING),
            number if number < FIRST_PROBE + self.probe_capacity => {
                Timer::Probe(number - FIRST_PROBE)
            }
            number => Timer::Member(number - FIRST_PROBE - self.probe_capacity),
        }
    }
}
