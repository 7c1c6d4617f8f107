//! Probing: whom to ask next, which questions are open, and what an answer or its absence means.
//!
//! SWIM, section 4.3: every member is probed once in each pass over a shuffled list, so the time to
//! notice a failure is bounded. A probe waits as long as the measured or predicted round trip suggests;
//! then helpers are asked, all at once, together with a second direct try. Helpers that fail too say so
//! (Lifeguard, section IV-A), which tells a dead target from a deaf prober.

use super::table::{MemberTable, NONE};
use super::{Context, Membership, STRANGER, greet};
use crate::config::{Config, INDIRECT_PROBE_COUNT_MAX};
use crate::coordinate::{Coordinate, Rtt};
use crate::effects::{Outgoing, Timer};
use crate::node::{Address, MemberState};
use crate::planted::{PlantedFault, is_planted};
use crate::random::Random;
use crate::slots;
use crate::stats::{Counter, Distribution};
use crate::time::{Duration, Instant};
use crate::wire::native::{Header, Kind};

/// A probe waits this many times the round trip's upper bound before helpers are asked.
const TIMEOUT_FACTOR: f64 = 1.5;
/// No single wait of a probe is longer, whatever the round trip and the local health.
const TIMEOUT_CEILING: Duration = Duration::from_secs(30);
/// A Python node is given this much time, whatever the round trip: it handles one thing at a time.
const FOREIGN_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// How many nodes that hear of a suspicion check it themselves, on average.
const RECHECK_COUNT: f64 = 6.0;
/// How much longer than the list of active members the list of a pass may become.
const SLACK: usize = 64;

/// Why a probe is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To detect a failure.
    Detection,
    /// To turn hearsay into a two-way exchange.
    Confirmation,
    /// Because another node asked: the answer goes there.
    OnBehalf { requester: Address, destination: Address, sequence: u32 },
}

/// One open question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub sequence: u32,
    pub target: Address,
    pub purpose: Purpose,
    /// When it was written into its datagram; unset again when a second try makes the answer ambiguous.
    sent_at: Option<Instant>,
    has_helpers: bool,
    helper_count: u8,
    nack_count: u8,
    is_open: bool,
}

/// The probes in flight, in reused places. A sequence number holds the place in its low half, so
/// an answer finds its question in O(1), and a changing number in its high half, so that an old
/// answer does not pass for a new one.
#[derive(Debug)]
pub(crate) struct Probes {
    places: Vec<Probe>,
    free: Vec<u32>,
    capacity: usize,
    confirmation_count: usize,
    turn: u16,
}

impl Probes {
    pub fn new(capacity: u32, random: &mut Random) -> Probes {
        let turn = random.next_u64() as u16;
        let (places, free) = (Vec::new(), Vec::new());
        Probes { places, free, capacity: capacity as usize, confirmation_count: 0, turn }
    }

    fn open(&mut self, target: Address, purpose: Purpose) -> Option<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < self.capacity => self.places.len() as u32,
            None => return None,
        };
        self.turn = self.turn.wrapping_add(1);
        self.confirmation_count += usize::from(purpose == Purpose::Confirmation);
        let probe = Probe {
            sequence: u32::from(self.turn) << 16 | place,
            target,
            purpose,
            sent_at: None,
            has_helpers: false,
            helper_count: 0,
            nack_count: 0,
            is_open: true,
        };
        match self.places.get_mut(place as usize) {
            Some(free) => *free = probe,
            None => self.places.push(probe),
        }
        Some(place)
    }

    pub fn open_count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// How many of the open probes ask an unconfirmed peer to show itself.
    pub fn confirmation_count(&self) -> usize {
        self.confirmation_count
    }

    /// The places of all open probes. Allocates, so it is for rare occasions.
    pub fn open_places(&self) -> Vec<u32> {
        (0..self.places.len() as u32).filter(|&place| self.places[place as usize].is_open).collect()
    }

    pub fn close(&mut self, place: u32) -> Probe {
        let probe = &mut self.places[place as usize];
        assert!(probe.is_open, "a probe ends once");
        probe.is_open = false;
        self.confirmation_count -= usize::from(probe.purpose == Purpose::Confirmation);
        self.free.push(place);
        *probe
    }

    fn find(&mut self, sequence: u32) -> Option<u32> {
        let place = sequence & 0xffff;
        let probe = self.places.get(place as usize)?;
        (probe.is_open && probe.sequence == sequence).then_some(place)
    }

    /// The datagram that asks has been written.
    pub fn note_sent(&mut self, sequence: u32, now: Instant) {
        if let Some(place) = self.find(sequence) {
            let probe = &mut self.places[place as usize];
            // Karn's rule: an answer after a second try could belong to either.
            probe.sent_at = (!probe.has_helpers).then_some(now);
        }
    }
}

/// The shuffled list of members that one pass walks over.
#[derive(Debug, Default)]
pub(crate) struct ProbeOrder {
    slots: Vec<u32>,
    next: usize,
}

impl ProbeOrder {
    /// A newcomer takes a random place in the rest of the pass.
    pub fn insert(&mut self, slot: u32, table: &MemberTable, random: &mut Random) {
        if self.slots.len() > 2 * table.active_count() + SLACK {
            // Members came and went many times within one pass: begin the next one.
            self.slots.truncate(self.next);
            return;
        }
        let place = self.next + random.below((self.slots.len() - self.next) as u32 + 1) as usize;
        slots::push(&mut self.slots, slot);
        let last = self.slots.len() - 1;
        self.slots.swap(place, last);
    }

    /// The next member to probe, `None` when there is no active one.
    pub fn take(&mut self, table: &MemberTable, random: &mut Random) -> Option<u32> {
        // One walk to the end of this pass and one through the next find an active member if there is one.
        for _ in 0..2 {
            while let Some(&slot) = self.slots.get(self.next) {
                self.next += 1;
                if table.occupied(slot).is_some_and(|record| record.state.is_active()) {
                    return Some(slot);
                }
            }
            self.slots.clear();
            self.slots.extend_from_slice(table.active());
            random.shuffle(&mut self.slots);
            self.next = 0;
        }
        None
    }
}

/// How long a direct probe waits before helpers are asked, at perfect local health.
fn base_timeout(config: &Config, rtt: Option<Rtt>) -> Duration {
    let min = Duration::from_millis(config.probe_timeout_min_ms);
    match rtt.filter(|_| config.mechanisms.distance) {
        Some(rtt) => {
            let wait = Duration::from_nanos((rtt.upper_ms * TIMEOUT_FACTOR * 1e6) as u64);
            wait.clamp(min, TIMEOUT_CEILING)
        }
        None => Duration::from_millis(config.probe_timeout_unknown_ms),
    }
}

impl Membership {
    /// Whether there is an open probe in this place that waits for helpers: its next deadline is its last.
    pub(crate) fn has_asked_helpers(&self, place: u32) -> bool {
        let probe = &self.probes.places[place as usize];
        probe.is_open && probe.has_helpers
    }

    /// Time for the next probe of this node.
    pub(crate) fn probe_round(&mut self, context: &mut Context) {
        if let Some(slot) = self.probe_order.take(&self.table, context.random) {
            self.probe_member(context, slot, Purpose::Detection);
        }
        let interval = self.health.scale(context.config.probe_interval());
        context.effects.set_timer(Timer::ProbeRound, context.now + interval);
    }

    /// Some of those who hear of a suspicion look for themselves, at once.
    pub(crate) fn recheck(&mut self, context: &mut Context, slot: u32) {
        if !context.config.mechanisms.recheck {
            return;
        }
        // All that take part hear of it, but for the suspect and who accuses it.
        let hearers = self.table.active_count().saturating_sub(1).max(1);
        let share = RECHECK_COUNT / hearers as f64;
        if context.random.chance(share) {
            self.probe_member(context, slot, Purpose::Detection);
        }
    }

    /// Asks a suspect of which only hearsay is known, once its time is over. Returns whether that has
    /// begun, so that the verdict must wait.
    pub(crate) fn hears_suspect(&mut self, context: &mut Context, slot: u32) -> bool {
        let place = self.table.get(slot).suspicion;
        let is_enabled = context.config.mechanisms.recheck;
        if !is_enabled || place == NONE || !self.suspicions.get(place).needs_hearing(context.now) {
            return false;
        }
        self.probe_member(context, slot, Purpose::Detection);
        // The direct attempt, and twice as long for helpers.
        let rtt = context.tracker.rtt(slot, context.now);
        let wait = base_timeout(context.config, rtt) * 3;
        // Where another has seen it, this node's own health is not in question.
        let is_reported = self.suspicions.get(place).is_reported();
        let wait = if is_reported { wait } else { self.health.scale(wait) };
        let until = context.now + wait.min(TIMEOUT_CEILING * 2);
        self.suspicions.get_mut(place).hear_until(until);
        context.effects.set_timer(Timer::Member(slot), until);
        true
    }

    /// Probes a member unless a probe of ours is on its way already.
    pub(crate) fn probe_member(&mut self, context: &mut Context, slot: u32, purpose: Purpose) {
        let record = self.table.get(slot);
        if record.is_probed {
            return;
        }
        let (target, rtt) = (record.address, context.tracker.rtt(slot, context.now));
        let timeout = base_timeout(context.config, rtt);
        let timeout = if record.is_foreign { timeout.max(FOREIGN_TIMEOUT_MIN) } else { timeout };
        let timeout = self.health.scale(timeout);
        if self.start_probe(context, target, purpose, timeout) {
            self.table.get_mut(slot).is_probed = true;
        }
    }

    fn start_probe(
        &mut self,
        context: &mut Context,
        target: Address,
        purpose: Purpose,
        timeout: Duration,
    ) -> bool {
        let Some(place) = self.probes.open(target, purpose) else {
            context.effects.count(Counter::DroppedProbes);
            return false;
        };
        let sequence = self.probes.places[place as usize].sequence;
        context.effects.transmit(Outgoing { sequence, ..Outgoing::new(Kind::Probe, target) });
        let deadline = context.now + timeout.min(TIMEOUT_CEILING);
        context.effects.set_timer(Timer::Probe(place), deadline);
        context.effects.count(Counter::ProbesSent);
        true
    }

    /// A probe has waited long enough.
    pub(crate) fn probe_expired(&mut self, context: &mut Context, place: u32) {
        let probe = self.probes.places[place as usize];
        let slot = self.table.find(probe.target);
        let state = slot.map(|slot| self.table.get(slot).state);
        let is_detection = probe.purpose == Purpose::Detection;
        if is_detection && !probe.has_helpers && state.is_some_and(MemberState::is_active) {
            self.ask_helpers(context, place, slot.unwrap_or(NONE));
            return;
        }
        self.probes.close(place);
        if let Purpose::OnBehalf { requester, destination, sequence } = probe.purpose {
            let answer = Outgoing::new(Kind::Nack, requester);
            let subject = probe.target;
            context.effects.transmit(Outgoing { destination, sequence, subject, ..answer });
            return;
        }
        let Some(slot) = slot else { return };
        self.table.get_mut(slot).is_probed = is_planted(PlantedFault::ProbeNeverEnds);
        match self.table.get(slot).state {
            // It was asked before it was restarted, and could not be asked again until now.
            MemberState::Unconfirmed if is_detection => {
                context.effects.set_timer(Timer::Member(slot), context.now);
            }
            _ if is_detection => self.probe_failed(context, slot, &probe),
            _ => {}
        }
    }

    fn ask_helpers(&mut self, context: &mut Context, place: u32, slot: u32) {
        let count = context.config.indirect_probe_count.min(INDIRECT_PROBE_COUNT_MAX);
        let helpers = self.table.sample_active(count, slot, context.random);
        let rtt = context.tracker.rtt(slot, context.now);
        // Helpers need their own round trip to the target and one to us.
        let patience =
            self.health.scale(base_timeout(context.config, rtt) * 2).min(TIMEOUT_CEILING);
        let probe = &mut self.probes.places[place as usize];
        probe.has_helpers = true;
        probe.helper_count = helpers.slots().len() as u8;
        let (sequence, subject) = (probe.sequence, probe.target);
        context.effects.transmit(Outgoing { sequence, ..Outgoing::new(Kind::Probe, subject) });
        for &helper in helpers.slots() {
            let question = Outgoing::new(Kind::IndirectProbe, self.table.get(helper).address);
            let parameter = patience.as_millis() as u32;
            context.effects.transmit(Outgoing { sequence, subject, parameter, ..question });
            context.effects.count(Counter::IndirectProbesSent);
        }
        context.effects.set_timer(Timer::Probe(place), context.now + patience);
    }

    fn probe_failed(&mut self, context: &mut Context, slot: u32, probe: &Probe) {
        context.effects.count(Counter::ProbesFailed);
        let state = self.table.get(slot).state;
        if !state.is_active() {
            return;
        }
        // Helpers that are silent, too, hint at this node; those that said no clear it.
        let silent = probe.helper_count.saturating_sub(probe.nack_count);
        self.health.worsen(if probe.helper_count == 0 { 1 } else { silent });
        self.witness(context, slot);
    }

    /// Somebody asks whether this node is there.
    pub(crate) fn answer_probe(
        &mut self,
        context: &mut Context,
        source: Address,
        slot: Option<u32>,
        header: &Header,
    ) {
        context.effects.count(Counter::ProbesReceived);
        let state = slot.map(|slot| self.table.get(slot).state);
        let parameter = if state == Some(MemberState::Unconfirmed) { STRANGER } else { 0 };
        let answer = Outgoing::new(Kind::Ack, header.sender);
        let sequence = header.sequence;
        context.effects.transmit(Outgoing { destination: source, sequence, parameter, ..answer });
    }

    /// Somebody asks whether this node can reach another.
    pub(crate) fn help(&mut self, context: &mut Context, source: Address, header: &Header) {
        context.effects.count(Counter::IndirectProbesReceived);
        let subject = header.subject;
        let known = self.table.find(subject).filter(|_| subject != self.table.own().address);
        let purpose = Purpose::OnBehalf {
            requester: header.sender,
            destination: source,
            sequence: header.sequence,
        };
        // The answer should reach the requester before its patience ends.
        let patience = Duration::from_millis(u64::from(header.parameter)).mul_f64(0.8);
        let patience = patience.clamp(Duration::from_millis(1), TIMEOUT_CEILING);
        if known.is_none() || !self.start_probe(context, subject, purpose, patience) {
            let answer = Outgoing::new(Kind::Nack, header.sender);
            let sequence = header.sequence;
            context.effects.transmit(Outgoing { destination: source, sequence, subject, ..answer });
        }
    }

    /// A probed node answers.
    pub(crate) fn acked(
        &mut self,
        context: &mut Context,
        slot: Option<u32>,
        header: &Header,
        coordinate: Option<&Coordinate>,
    ) {
        if header.parameter == STRANGER {
            // Give it the third leg of the handshake, even if its answer took so long that nobody waits.
            greet(context, header.sender);
        }
        let Some(place) = self.probes.find(header.sequence) else {
            context.effects.count(Counter::UnmatchedAcks);
            return;
        };
        if self.probes.places[place as usize].target != header.sender {
            context.effects.count(Counter::UnmatchedAcks);
            return;
        }
        let probe = self.end_probe(context, place);
        if let (Some(slot), Some(coordinate), Some(sent_at)) = (slot, coordinate, probe.sent_at) {
            let round_trip = context.received_at.saturating_since(sent_at);
            let seconds = round_trip.as_secs_f64();
            context.effects.stats.observe(Distribution::ProbeRoundTrip, seconds);
            self.note_coordinate(context, slot, coordinate, Some(round_trip));
        }
        if let Purpose::OnBehalf { requester, destination, sequence } = probe.purpose {
            let answer = Outgoing::new(Kind::IndirectAck, requester);
            let subject = probe.target;
            context.effects.transmit(Outgoing { destination, sequence, subject, ..answer });
        }
        if let Some(slot) = slot {
            self.confirm(context, slot);
        }
    }

    /// A helper reached the target.
    pub(crate) fn acked_indirectly(&mut self, context: &mut Context, header: &Header) {
        match self.probes.find(header.sequence) {
            Some(place) if self.probes.places[place as usize].target == header.subject => {
                self.end_probe(context, place);
            }
            _ => context.effects.count(Counter::UnmatchedAcks),
        }
    }

    /// A helper did not reach the target either.
    pub(crate) fn nacked(&mut self, context: &mut Context, header: &Header) {
        match self.probes.find(header.sequence) {
            Some(place) if self.probes.places[place as usize].target == header.subject => {
                context.effects.count(Counter::NacksReceived);
                let probe = &mut self.probes.places[place as usize];
                probe.nack_count = (probe.nack_count + 1).min(probe.helper_count);
            }
            _ => context.effects.count(Counter::UnmatchedAcks),
        }
    }

    /// A helper was asked in a format whose nodes may not answer in time: its silence says nothing about
    /// this node.
    pub(crate) fn excuse_helper(&mut self, sequence: u32) {
        if let Some(place) = self.probes.find(sequence) {
            let probe = &mut self.probes.places[place as usize];
            probe.nack_count = (probe.nack_count + 1).min(probe.helper_count);
        }
    }

    fn end_probe(&mut self, context: &mut Context, place: u32) -> Probe {
        let probe = self.probes.close(place);
        context.effects.clear_timer(Timer::Probe(place));
        if matches!(probe.purpose, Purpose::OnBehalf { .. }) {
            return probe;
        }
        context.effects.count(Counter::ProbesAcked);
        if let Some(slot) = self.table.find(probe.target) {
            self.table.get_mut(slot).is_probed = false;
        }
        if probe.purpose == Purpose::Detection {
            self.health.improve();
        }
        probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        format!("10.0.0.1:{port}").parse().unwrap()
    }

    #[test]
    fn answers_find_their_question_and_no_other() {
        let mut probes = Probes::new(2, &mut Random::new(1));
        let first = probes.open(address(1), Purpose::Detection).unwrap();
        let second = probes.open(address(2), Purpose::Detection).unwrap();
        assert_eq!(probes.open(address(3), Purpose::Detection), None);
        let sequence = probes.places[first as usize].sequence;
        assert_eq!(probes.find(sequence), Some(first));
        probes.close(first);
        assert_eq!(probes.find(sequence), None);
        let third = probes.open(address(3), Purpose::Detection).unwrap();
        assert_eq!(third, first);
        assert_eq!(probes.find(sequence), None, "an old answer passed for a new one");
        assert_ne!(second, third);
    }

    #[test]
    fn the_wait_follows_the_round_trip() {
        let secret = crate::config::Secret::new([1; 16]).unwrap();
        let config = Config::new(address(1), secret);
        let millis = |upper_ms| {
            let rtt = Rtt { ms: upper_ms / 2.0, upper_ms, quality: 1.0 };
            base_timeout(&config, Some(rtt)).as_millis() as u64
        };
        assert_eq!(millis(0.2), config.probe_timeout_min_ms);
        assert_eq!(millis(200.0), 300);
        assert_eq!(millis(1e9), 30_000);
        assert_eq!(base_timeout(&config, None).as_millis() as u64, config.probe_timeout_unknown_ms);
    }
}
