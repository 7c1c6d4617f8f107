//! Reading the table of a peer, page by page.
//!
//! The side that answers keeps no state: a request says at which slot its page begins, and the reply where
//! the next one does. A page that does not come is asked for again, a few times and ever more patiently: the
//! table of a large cluster fills dozens of datagrams, so that on a network that loses some hardly any
//! reading would reach its end.
//!
//! Bounds: [`READING_COUNT_MAX`] tables are read at a time. Of a further one the first page counts, which
//! has been sent anyway; the rest is left to the next round, and counted.

use super::{Context, Membership};
use crate::config::READING_COUNT_MAX;
use crate::effects::{Outgoing, Timer};
use crate::node::Address;
use crate::stats::Counter;
use crate::wire::native::{Header, Kind};

/// How often a page is asked for before the reading is given up.
const ATTEMPTS_MAX: u8 = 5;

/// The table of one peer, and how far it has been read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    peer: Address,
    /// Where the peer's datagrams come from.
    source: Address,
    /// The slot at which the page begins that is awaited.
    page: u32,
    /// Its answer is known by this, whichever attempt it answers.
    sequence: u32,
    attempts: u8,
}

/// The tables that are being read.
#[derive(Debug, Default)]
pub(crate) struct Readings([Option<Reading>; READING_COUNT_MAX as usize]);

impl Readings {
    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    fn find(&self, is_it: impl Fn(&Reading) -> bool) -> Option<u32> {
        let place = self.0.iter().position(|reading| reading.as_ref().is_some_and(&is_it));
        place.map(|place| place as u32)
    }

    fn open(&mut self, reading: Reading) -> Option<u32> {
        let place = self.0.iter().position(Option::is_none)?;
        self.0[place] = Some(reading);
        Some(place as u32)
    }
}

impl Membership {
    /// The reading whose next page was asked for by this sequence.
    pub(crate) fn find_reading(&self, sequence: u32) -> Option<u32> {
        self.readings.find(|reading| reading.sequence == sequence)
    }

    /// Reads the rest of a table whose first page has come.
    pub(crate) fn begin_reading(
        &mut self,
        context: &mut Context,
        source: Address,
        header: &Header,
    ) {
        let (peer, page) = (header.sender, header.parameter);
        if self.readings.find(|reading| reading.peer == peer).is_some() {
            return;
        }
        match self.readings.open(Reading { peer, source, page: 0, sequence: 0, attempts: 0 }) {
            Some(place) => self.read_on(context, place, page),
            None => context.effects.count(Counter::ReadingsDeferred),
        }
    }

    /// Asks for the page that begins at a slot.
    pub(crate) fn read_on(&mut self, context: &mut Context, place: u32, page: u32) {
        let sequence = context.random.next_u64() as u32;
        let reading = self.readings.0[place as usize].as_mut().expect("the reading is open");
        if page <= reading.page {
            // A peer whose pages do not advance would be read for ever.
            return self.give_up_reading(context, place);
        }
        *reading = Reading { page, sequence, attempts: 0, ..*reading };
        self.request_reading(context, place);
    }

    fn request_reading(&mut self, context: &mut Context, place: u32) {
        let reading = self.readings.0[place as usize].as_mut().expect("the reading is open");
        reading.attempts += 1;
        let Reading { peer, source, page, sequence, attempts } = *reading;
        request_page(context, source, peer, sequence, page);
        let patience = self.patience(context, peer) * (1 << (attempts - 1));
        context.effects.set_timer(Timer::Reading(place), context.now + patience);
    }

    /// A page did not come in time.
    pub(crate) fn reading_expired(&mut self, context: &mut Context, place: u32) {
        match self.readings.0[place as usize] {
            Some(reading) if reading.attempts < ATTEMPTS_MAX => {
                self.request_reading(context, place);
            }
            Some(_) => self.give_up_reading(context, place),
            None => {}
        }
    }

    fn give_up_reading(&mut self, context: &mut Context, place: u32) {
        context.effects.count(Counter::ReadingsFailed);
        self.end_reading(context, place);
    }

    pub(crate) fn end_reading(&mut self, context: &mut Context, place: u32) {
        self.readings.0[place as usize] = None;
        context.effects.clear_timer(Timer::Reading(place));
    }

    /// Reads nothing more.
    pub(crate) fn end_all_readings(&mut self, context: &mut Context) {
        for place in 0..READING_COUNT_MAX {
            self.end_reading(context, place);
        }
    }
}

/// Asks a peer for the page of its table that begins at slot `page`.
pub(crate) fn request_page(
    context: &mut Context,
    destination: Address,
    recipient: Address,
    sequence: u32,
    page: u32,
) {
    let question = Outgoing::new(Kind::SyncRequest, recipient);
    context.effects.transmit(Outgoing { destination, sequence, parameter: page, ..question });
}
