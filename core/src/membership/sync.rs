//! Joining, comparing tables, healing and leaving.
//!
//! To join, a node asks its seeds for their members, page by page; the pages are ordinary updates, so what
//! they name is hearsay until confirmed. Now and then every node reads the table of a random peer
//! in the same way, which repairs what gossip lost, and asks one seed or dead member, which joins the halves of
//! a healed partition again.

use super::reading::request_page;
use super::table::OWN_SLOT;
use super::{Context, Membership};
use crate::config::SEED_COUNT_MAX;
use crate::effects::{Outgoing, Timer};
use crate::error::CommandError;
use crate::events::Event;
use crate::node::{Address, MemberState};
use crate::stats::Counter;
use crate::time::Duration;
use crate::wire::native::{Header, Kind};

/// The pause between attempts to join grows up to this many times the first.
const BACKOFF_MAX: u32 = 32;
/// The host is told after this many attempts, and each time they have doubled.
const ATTEMPTS_TOLD: u32 = 4;
/// A page that begins behind every slot: the answer to a peer that knows the same members.
const NO_PAGE: u32 = u32::MAX;
/// A goodbye is said this often, one gossip interval apart.
const GOODBYE_ROUNDS: u8 = 3;
/// How many peers hear each goodbye directly; gossip carries it to the others.
const GOODBYE_COUNT_MAX: usize = 64;

/// How far a node is with joining and leaving.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    seeds: Vec<Address>,
    join_attempts: u32,
    has_joined: bool,
    /// What requests of the current round carry.
    sequence: u32,
    goodbyes_left: Option<u8>,
    pub is_gone: bool,
}

impl Membership {
    /// Adds seeds and starts asking them.
    pub(crate) fn join(
        &mut self,
        context: &mut Context,
        seeds: &[Address],
    ) -> Result<(), CommandError> {
        if self.is_leaving() {
            return Err(CommandError::Leaving);
        }
        if let Some(&address) = seeds.iter().find(|seed| !seed.is_reachable()) {
            return Err(CommandError::SeedAddress { address });
        }
        let known = &self.presence.seeds;
        let added: Vec<Address> =
            seeds.iter().copied().filter(|seed| !known.contains(seed)).collect();
        if known.len() + added.len() > SEED_COUNT_MAX {
            return Err(CommandError::SeedCount);
        }
        self.presence.seeds.extend(added);
        self.presence.has_joined = false;
        self.presence.join_attempts = 0;
        context.effects.set_timer(Timer::JoinRound, context.now);
        Ok(())
    }

    /// Asks every seed until one has answered.
    pub(crate) fn join_round(&mut self, context: &mut Context) {
        if self.presence.has_joined {
            return;
        }
        let interval = Duration::from_millis(context.config.join_interval_ms);
        if !self.readings.is_empty() {
            // A seed has answered, and its table is on the way.
            context.effects.set_timer(Timer::JoinRound, context.now + interval);
            return;
        }
        self.presence.sequence = context.random.next_u64() as u32;
        let own = self.table.own().address;
        for &seed in self.presence.seeds.iter().filter(|seed| **seed != own) {
            request_page(context, seed, Address::UNSPECIFIED, self.presence.sequence, 0);
        }
        let attempts = self.presence.join_attempts + 1;
        self.presence.join_attempts = attempts;
        if attempts >= ATTEMPTS_TOLD && attempts.is_power_of_two() {
            context.effects.emit(Event::JoinDelayed { attempts, at: context.now });
        }
        let backoff = (1 << attempts.min(31).saturating_sub(1)).min(BACKOFF_MAX);
        let pause = interval * backoff;
        // Half a pause of jitter keeps nodes that start together from asking together for ever.
        let pause = pause.mul_f64(0.75 + 0.5 * context.random.unit());
        context.effects.set_timer(Timer::JoinRound, context.now + pause);
    }

    /// Compares tables with a random peer and looks for those lost from sight.
    pub(crate) fn sync_round(&mut self, context: &mut Context) {
        let expired = context.tracker.cleanup(context.now);
        context.effects.stats.add(Counter::CoordinatesExpired, u64::from(expired));
        self.presence.sequence = context.random.next_u64() as u32;
        let sequence = self.presence.sequence;
        for &slot in self.table.sample_active(1, OWN_SLOT, context.random).slots() {
            let peer = self.table.get(slot).address;
            request_page(context, peer, peer, sequence, 0);
        }
        if let Some(address) = self.draw_lost(context) {
            let recipient = self.table.find(address).map_or(Address::UNSPECIFIED, |_| address);
            request_page(context, address, recipient, sequence, 0);
        }
        self.schedule_sync(context);
    }

    /// A seed that is not active here, or a dead member.
    fn draw_lost(&self, context: &mut Context) -> Option<Address> {
        let own = self.table.own().address;
        let is_lost = |address: Address| {
            let state = self.table.find(address).map(|slot| self.table.get(slot).state);
            address != own && !state.is_some_and(MemberState::is_active)
        };
        let seeds = &self.presence.seeds;
        let dead = self.table.draw_departed(context.random).map(|slot| self.table.get(slot));
        let dead = dead.filter(|record| record.state == MemberState::Dead);
        if seeds.is_empty() || (dead.is_some() && context.random.chance(0.5)) {
            return dead.map(|record| record.address);
        }
        let seed = seeds[context.random.below(seeds.len() as u32) as usize];
        is_lost(seed).then_some(seed).or(dead.map(|record| record.address))
    }

    pub(crate) fn schedule_sync(&self, context: &mut Context) {
        if context.config.sync_interval_ms > 0 {
            let interval = Duration::from_millis(context.config.sync_interval_ms);
            let interval = interval.mul_f64(0.5 + context.random.unit());
            context.effects.set_timer(Timer::SyncRound, context.now + interval);
        }
    }

    /// A peer wants a page of members, unless its digest is the same as ours.
    pub(crate) fn answer_sync(
        &mut self,
        context: &mut Context,
        source: Address,
        header: &Header,
        digest: Option<u64>,
    ) {
        let is_same = digest == Some(self.table.digest());
        let parameter = if is_same { NO_PAGE } else { header.parameter };
        let answer = Outgoing::new(Kind::SyncReply, header.sender);
        let sequence = header.sequence;
        context.effects.transmit(Outgoing { destination: source, sequence, parameter, ..answer });
    }

    /// A page of members has been applied.
    pub(crate) fn synced(
        &mut self,
        context: &mut Context,
        source: Address,
        slot: Option<u32>,
        header: &Header,
    ) {
        let reading = self.find_reading(header.sequence);
        let is_first = header.sequence == self.presence.sequence && !self.is_leaving();
        if reading.is_none() && !is_first {
            return;
        }
        if let Some(slot) = slot {
            self.confirm(context, slot);
        }
        match (header.parameter, reading) {
            (0, reading) => {
                if let Some(place) = reading {
                    self.end_reading(context, place);
                }
                self.note_joined(context, header.sender);
            }
            (next, Some(place)) => self.read_on(context, place, next),
            (_, None) => self.begin_reading(context, source, header),
        }
    }

    /// A table has been read to its end.
    fn note_joined(&mut self, context: &mut Context, seed: Address) {
        if self.presence.has_joined || self.presence.seeds.is_empty() {
            return;
        }
        self.presence.has_joined = true;
        context.effects.clear_timer(Timer::JoinRound);
        context.effects.emit(Event::Joined { seed, at: context.now });
        // Nodes that join together find few others in the first table they read; look again soon.
        let soon = context.config.probe_interval().mul_f64(1.0 + context.random.unit());
        context.effects.set_timer(Timer::SyncRound, context.now + soon);
    }

    /// Begins to say goodbye.
    pub(crate) fn leave(&mut self, context: &mut Context) -> Result<(), CommandError> {
        if self.is_leaving() {
            return Err(CommandError::Leaving);
        }
        self.table.set_incarnation(OWN_SLOT, self.table.own().incarnation.next());
        self.table.set_state(OWN_SLOT, MemberState::Left, context.now);
        self.announce(context, OWN_SLOT);
        self.gossip.push(&mut self.table, OWN_SLOT);
        self.presence.goodbyes_left = Some(GOODBYE_ROUNDS);
        for timer in [Timer::ProbeRound, Timer::SyncRound, Timer::JoinRound] {
            context.effects.clear_timer(timer);
        }
        self.end_all_readings(context);
        context.effects.set_timer(Timer::LeaveRound, context.now);
        Ok(())
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.presence.goodbyes_left.is_some()
    }

    /// Says goodbye once more, or is gone.
    pub(crate) fn leave_round(&mut self, context: &mut Context) {
        let left = self.presence.goodbyes_left.expect("only a leaving node has this timer");
        if left == 0 || self.table.active_count() == 0 {
            self.presence.is_gone = true;
            context.effects.emit(Event::Left { at: context.now });
            return;
        }
        self.presence.goodbyes_left = Some(left - 1);
        for slot in self.table.walk_active(GOODBYE_COUNT_MAX, context.random) {
            let peer = self.table.get(slot).address;
            context.effects.transmit(Outgoing::new(Kind::Gossip, peer));
        }
        let interval = Duration::from_millis(context.config.gossip_interval_ms);
        context.effects.set_timer(Timer::LeaveRound, context.now + interval);
    }
}
