//! State: bytes that a host attaches to its node and that every other node comes to hold.
//!
//! A node's state has a version that rises with each change. Versions travel with every message and every
//! update; whoever learns of one it does not hold asks the teller for it, part by part, and then
//! tells others. So a new state spreads like gossip although it may be larger than a datagram, and each
//! node reads it once. Only the newest version matters: an older one under way is dropped.
//!
//! Bounds: a state has at most `state_size_max` bytes, and [`FETCH_COUNT_MAX`] are read at a time. A
//! version that finds no place is noticed again with the next message that names it.

use bytes::Bytes;

use super::table::OWN_SLOT;
use super::{Context, Membership};
use crate::config::FETCH_COUNT_MAX;
use crate::effects::{Outgoing, Timer};
use crate::error::CommandError;
use crate::events::Event;
use crate::node::{Address, Generation};
use crate::slots;
use crate::stats::Counter;
use crate::wire::native::{Header, Kind, MessageWriter};
use crate::wire::payload;

/// How often a part is asked for before the reading is given up.
const ATTEMPTS_MAX: u8 = 4;

#[derive(Clone, Debug, Default)]
struct Held {
    version: u32,
    bytes: Bytes,
}

/// One state being read.
#[derive(Debug)]
struct Fetch {
    slot: u32,
    generation: Generation,
    version: u32,
    teller: Address,
    sequence: u32,
    bytes: Vec<u8>,
    attempts: u8,
}

/// The states this node holds, by slot, and those it is reading.
#[derive(Debug)]
pub(crate) struct States {
    held: Vec<Held>,
    fetches: [Option<Fetch>; FETCH_COUNT_MAX as usize],
    turn: u32,
}

impl States {
    pub fn new() -> States {
        States { held: Vec::new(), fetches: [const { None }; FETCH_COUNT_MAX as usize], turn: 0 }
    }

    /// The version held for a slot, 0 when none.
    pub fn version(&self, slot: u32) -> u32 {
        self.held.get(slot as usize).map_or(0, |held| held.version)
    }

    pub fn bytes(&self, slot: u32) -> Option<&Bytes> {
        self.held.get(slot as usize).filter(|held| held.version > 0).map(|held| &held.bytes)
    }

    /// Forgets what belonged to a slot that changes hands.
    pub fn forget(&mut self, slot: u32) {
        if let Some(held) = self.held.get_mut(slot as usize) {
            *held = Held::default();
        }
        // A fetch for the slot ends by itself: its generation no longer fits.
    }

    fn hold(&mut self, slot: u32, version: u32, bytes: Bytes) {
        slots::reach(&mut self.held, slot, Held::default());
        self.held[slot as usize] = Held { version, bytes };
    }

    fn open(&mut self, fetch: Fetch) -> Option<u32> {
        let place = self.fetches.iter().position(Option::is_none)?;
        self.fetches[place] = Some(fetch);
        Some(place as u32)
    }

    fn next_sequence(&mut self, place: u32) -> u32 {
        self.turn = self.turn.wrapping_add(1);
        self.turn << 8 | place
    }
}

const _: () = assert!(FETCH_COUNT_MAX <= 256, "a place fits into the low byte of a sequence");

impl Membership {
    pub(crate) fn state(&self, address: Address) -> Option<&Bytes> {
        self.states.bytes(self.table.find(address)?)
    }

    pub(crate) fn state_at(&self, slot: u32) -> Option<&Bytes> {
        self.states.bytes(slot)
    }

    /// Replaces this node's own state.
    pub(crate) fn set_state(
        &mut self,
        context: &mut Context,
        bytes: Bytes,
    ) -> Result<(), CommandError> {
        let size_max = context.config.state_size_max as usize;
        if bytes.len() > size_max {
            return Err(CommandError::StateSize { size: bytes.len(), size_max });
        }
        if self.is_leaving() {
            return Err(CommandError::Leaving);
        }
        let version = self.states.version(OWN_SLOT) + 1;
        self.states.hold(OWN_SLOT, version, bytes);
        context.effects.refresh(OWN_SLOT);
        self.gossip.push(&mut self.table, OWN_SLOT);
        self.settle(context);
        Ok(())
    }

    /// Somebody named a version of a member's state: reads it from the teller if it is news.
    pub(crate) fn note_state_version(
        &mut self,
        context: &mut Context,
        slot: u32,
        version: u32,
        teller: Address,
    ) {
        if version <= self.states.version(slot) {
            return;
        }
        if slot == OWN_SLOT {
            // Only an earlier start in the same generation can have told it, and its versions are not ours.
            self.count_on(context, self.table.own().generation);
            return;
        }
        let generation = self.table.get(slot).generation;
        let mut open = self.states.fetches.iter().flatten();
        if open.any(|fetch| fetch.slot == slot && fetch.generation == generation) {
            return;
        }
        let (bytes, attempts, sequence) = (Vec::new(), 0, 0);
        let fetch = Fetch { slot, generation, version, teller, sequence, bytes, attempts };
        match self.states.open(fetch) {
            Some(place) => self.request_state(context, place),
            None => context.effects.count(Counter::StatesDeferred),
        }
    }

    /// Asks for the next part.
    fn request_state(&mut self, context: &mut Context, place: u32) {
        let sequence = self.states.next_sequence(place);
        let fetch = self.states.fetches[place as usize].as_mut().expect("the fetch is open");
        fetch.sequence = sequence;
        fetch.attempts += 1;
        let subject = self.table.get(fetch.slot).address;
        let parameter = fetch.bytes.len() as u32;
        let teller = fetch.teller;
        let question = Outgoing::new(Kind::StateRequest, teller);
        context.effects.transmit(Outgoing { sequence, subject, parameter, ..question });
        let deadline = context.now + self.patience(context, teller);
        context.effects.set_timer(Timer::Fetch(place), deadline);
    }

    /// A part did not come in time: asks the owner itself, a few times.
    pub(crate) fn fetch_expired(&mut self, context: &mut Context, place: u32) {
        let Some(fetch) = &mut self.states.fetches[place as usize] else { return };
        let owner = self.table.occupied(fetch.slot);
        let owner = owner.filter(|record| record.generation == fetch.generation);
        match owner {
            Some(record) if fetch.attempts < ATTEMPTS_MAX => {
                fetch.teller = record.address;
                self.request_state(context, place);
            }
            _ => self.end_fetch(context, place),
        }
    }

    fn end_fetch(&mut self, context: &mut Context, place: u32) {
        self.states.fetches[place as usize] = None;
        context.effects.clear_timer(Timer::Fetch(place));
    }

    /// Somebody wants a part of a state.
    pub(crate) fn answer_state(&mut self, context: &mut Context, source: Address, header: &Header) {
        let answer = Outgoing::new(Kind::StateReply, header.sender);
        let Header { sequence, subject, parameter, .. } = *header;
        context.effects.transmit(Outgoing {
            destination: source,
            sequence,
            subject,
            parameter,
            ..answer
        });
    }

    pub(crate) fn write_state_part(&self, outgoing: &Outgoing, writer: &mut MessageWriter) {
        let slot = self.table.find(outgoing.subject);
        let held = slot.and_then(|slot| {
            let bytes = self.states.bytes(slot)?;
            Some((self.table.get(slot).generation, self.states.version(slot), bytes))
        });
        let (generation, version, bytes) = match held {
            Some((generation, version, bytes)) => (generation, version, &bytes[..]),
            None => (Generation(0), 0, &[][..]),
        };
        payload::push_state_part(writer, generation, version, bytes, outgoing.parameter);
    }

    /// A part of a state has come.
    pub(crate) fn state_part_received(
        &mut self,
        context: &mut Context,
        header: &Header,
        part: payload::StatePart,
    ) {
        let place = header.sequence & 0xff;
        let fetch = self.states.fetches.get_mut(place as usize).and_then(Option::as_mut);
        let Some(fetch) = fetch.filter(|fetch| fetch.sequence == header.sequence) else { return };
        let record = self.table.occupied(fetch.slot);
        let is_owner = record.is_some_and(|record| {
            record.address == header.subject && record.generation == fetch.generation
        });
        if !is_owner {
            return self.end_fetch(context, place);
        }
        if part.total_size > context.config.state_size_max {
            context.effects.count(Counter::StatesRefused);
            return self.end_fetch(context, place);
        }
        if part.generation != fetch.generation || part.version < fetch.version {
            // The teller does not hold it after all: the timer will turn to the owner.
            return;
        }
        if part.version > fetch.version {
            fetch.version = part.version;
            fetch.bytes.clear();
        }
        if header.parameter as usize == fetch.bytes.len() {
            fetch.bytes.extend_from_slice(part.bytes);
            fetch.attempts = 0;
        }
        let size = fetch.bytes.len();
        if size < part.total_size as usize {
            if part.bytes.is_empty() {
                return;
            }
            self.request_state(context, place);
        } else if size == part.total_size as usize {
            let (slot, version) = (fetch.slot, fetch.version);
            let bytes = Bytes::from(std::mem::take(&mut fetch.bytes));
            self.end_fetch(context, place);
            self.states.hold(slot, version, bytes.clone());
            self.gossip.push(&mut self.table, slot);
            context.effects.refresh(slot);
            let address = self.table.get(slot).address;
            context.effects.emit(Event::State { address, state: bytes, at: context.now });
        } else {
            context.effects.count(Counter::StatesRefused);
            self.end_fetch(context, place);
        }
    }
}
