//! Membership: who is in the cluster, who is alive, and how everybody learns of it.
//!
//! SWIM (Das, Gupta, Motivala, DSN 2002) with Lifeguard's local health and suspicion (Dadgar, Phillips,
//! Currey, 2017) and the roles, confirmation and adaptive timeouts of AD-29, AD-30 and AD-35. Each file
//! holds one concern, its data first and then what it adds to [`Membership`].

pub(crate) mod broadcast;
pub(crate) mod confirmation;
pub(crate) mod gossip;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod lifecycle;
pub(crate) mod probe;
pub(crate) mod reading;
pub(crate) mod state;
pub(crate) mod suspicion;
pub(crate) mod sync;
pub(crate) mod table;

use crate::config::Config;
use crate::coordinate::{Coordinate, Tracker};
use crate::effects::{Effects, Outgoing, Timer};
use crate::node::{Address, Generation, MemberState};
use crate::planted::{PlantedFault, is_planted};
use crate::random::Random;
use crate::stats::{Counter, Distribution, Gauges};
use crate::time::{Duration, Instant};
use crate::wire::native::{Header, Kind, Message, MessageWriter, UPDATE_SIZE_MAX, Update};
use crate::wire::payload;
use broadcast::Broadcasts;
use gossip::GossipQueue;
use health::LocalHealth;
use jobs::JobLayer;
use probe::{ProbeOrder, Probes};
use reading::Readings;
use state::States;
use suspicion::{Suspicions, log10};
use sync::Presence;
use table::{Identity, MemberTable, NONE, OWN_SLOT};

/// Marks a gossip message that is worth sending without any news.
const GREETING: u32 = 1;
/// Marks a gossip message that tells its recipient what is known of it.
pub(crate) const REMINDER: u32 = 2;
/// Marks the ack of a node that has not heard an answer of its recipient yet.
pub(crate) const STRANGER: u32 = 1;
/// Most updates that one datagram can carry: the smallest takes 43 bytes.
const UPDATE_COUNT_MAX: usize = 32;
/// What a sync request needs behind its updates.
const DIGEST_SIZE: usize = 8;
/// How long the answer to a request may take at least.
const PATIENCE_MIN: Duration = Duration::from_millis(200);

/// What a handler may look at and act on besides the membership itself.
pub(crate) struct Context<'a> {
    pub now: Instant,
    /// When the datagram that is acted on arrived: before `now` if it waited in the socket; `now` if there
    /// is none.
    pub received_at: Instant,
    pub config: &'a Config,
    pub random: &'a mut Random,
    pub tracker: &'a mut Tracker,
    pub effects: &'a mut Effects,
}

#[derive(Debug)]
pub(crate) struct Membership {
    pub table: MemberTable,
    gossip: GossipQueue,
    suspicions: Suspicions,
    probes: Probes,
    probe_order: ProbeOrder,
    health: LocalHealth,
    presence: Presence,
    readings: Readings,
    states: States,
    broadcasts: Broadcasts,
    job_layer: JobLayer,
    gossip_factor: u32,
    /// Whether suspects are told by everyone who writes to them.
    has_buddies: bool,
}

impl Membership {
    /// A cluster of one.
    pub fn new(context: &mut Context) -> Membership {
        let Config { advertise, generation, role, datacenter, .. } = *context.config;
        let own = Identity {
            address: advertise,
            generation,
            incarnation: Default::default(),
            role,
            datacenter,
            health_score: 0,
        };
        let hash_key = context.random.next_u64();
        let capacity = context.config.member_capacity;
        let membership = Membership {
            table: MemberTable::new(&own, capacity, hash_key, context.now),
            gossip: GossipQueue::new(),
            suspicions: Suspicions::default(),
            probes: Probes::new(context.config.probe_capacity, context.random),
            probe_order: ProbeOrder::default(),
            health: LocalHealth::new(context.config.mechanisms.local_health),
            presence: Presence::default(),
            readings: Readings::default(),
            states: States::new(),
            broadcasts: Broadcasts::new(),
            job_layer: JobLayer::new(context.now),
            gossip_factor: context.config.gossip_factor,
            has_buddies: context.config.mechanisms.buddy,
        };
        let offset = context.config.probe_interval().mul_f64(context.random.unit());
        context.effects.set_timer(Timer::ProbeRound, context.now + offset);
        membership.schedule_sync(context);
        context.effects.change(OWN_SLOT);
        membership
    }

    /// What waits and what is open just now; events are not this module's to know.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            health_score: self.health.score(),
            updates_waiting: self.gossip.len(),
            broadcasts_waiting: self.broadcasts.len(),
            events_waiting: 0,
            probes_open: self.probes.open_count(),
            suspicions_open: self.suspicions.open_count(),
        }
    }

    pub fn health_score(&self) -> u8 {
        self.health.score()
    }

    /// When [`Membership::expire_job_layer`] has something to do.
    pub fn next_job_deadline(&self) -> Option<Instant> {
        self.job_layer.next_deadline()
    }

    pub fn is_gone(&self) -> bool {
        self.presence.is_gone
    }

    /// Acts on a message that was opened and parsed. False when it was not for this node or came from
    /// an earlier run of its sender: then nothing in it counts.
    pub fn handle_message(
        &mut self,
        context: &mut Context,
        source: Address,
        message: &Message,
    ) -> bool {
        let header = &message.header;
        let own = self.table.own().address;
        let for_any = header.recipient == Address::UNSPECIFIED && header.kind == Kind::SyncRequest;
        if header.recipient != own && !for_any {
            context.effects.count(Counter::DroppedMisdirected);
            return false;
        }
        // A forged source would make this node answer itself.
        if header.sender == own || source == own {
            context.effects.count(Counter::DroppedOwn);
            return false;
        }
        let Ok(slot) = self.hear(context, message) else {
            context.effects.count(Counter::DroppedStaleSender);
            self.remind(context, source, header);
            // Two nodes that each know a later run of the other would never tell each other.
            for update in message.updates().filter(|update| update.address == own) {
                self.apply(context, &update, header.sender, OWN_SLOT);
            }
            self.settle(context);
            return false;
        };
        self.apply_all(context, message);
        // An update in the same message may have spoken of its sender.
        let slot = slot.filter(|&slot| self.table.is_at(slot, header.sender));
        if let Some(slot) = slot {
            self.note_state_version(context, slot, header.state_version, header.sender);
        }
        self.dispatch(context, source, slot, message);
        self.settle(context);
        true
    }

    /// Takes in all the news of a message.
    fn apply_all(&mut self, context: &mut Context, message: &Message) {
        let places: [u32; UPDATE_COUNT_MAX] = self.table.find_all(message.subjects());
        // A message of another format may have brought more.
        let places = places.into_iter().chain(std::iter::repeat(NONE));
        for (update, place) in message.updates().zip(places) {
            self.apply(context, &update, message.header.sender, place);
        }
    }

    /// Tells a node that does not know of a later run of itself, so that it counts on from there. It
    /// would be shut out until that run is forgotten. Gossip is not answered, so this ends.
    fn remind(&mut self, context: &mut Context, source: Address, header: &Header) {
        if header.kind != Kind::Gossip {
            let reminder = Outgoing::new(Kind::Gossip, header.sender);
            let parameter = REMINDER;
            context.effects.transmit(Outgoing { destination: source, parameter, ..reminder });
        }
    }

    fn dispatch(
        &mut self,
        context: &mut Context,
        source: Address,
        slot: Option<u32>,
        message: &Message,
    ) {
        let header = &message.header;
        let coordinate = message.coordinate.as_ref();
        if let (Some(slot), Some(coordinate)) = (slot, coordinate)
            && header.kind != Kind::Ack
        {
            self.note_coordinate(context, slot, coordinate, None);
        }
        match header.kind {
            Kind::Probe => self.answer_probe(context, source, slot, header),
            Kind::Ack => self.acked(context, slot, header, coordinate),
            Kind::IndirectProbe => self.help(context, source, header),
            Kind::IndirectAck => self.acked_indirectly(context, header),
            Kind::Nack => self.nacked(context, header),
            Kind::SyncRequest => {
                self.answer_sync(context, source, header, payload::digest(message.payload));
            }
            Kind::SyncReply => self.synced(context, source, slot, header),
            Kind::Gossip | Kind::Jobs | Kind::Federation => {}
            Kind::StateRequest => self.answer_state(context, source, header),
            Kind::StateReply => {
                let part = payload::state_part(message.payload).expect("checked by the parser");
                self.state_part_received(context, header, part);
            }
        }
        if carries_broadcasts(header.kind) {
            for broadcast in payload::broadcasts(message.payload) {
                self.broadcast_received(context, &broadcast);
            }
        }
    }

    /// Remembers where a peer says it is and, after a probe, how far it was.
    fn note_coordinate(
        &mut self,
        context: &mut Context,
        slot: u32,
        coordinate: &Coordinate,
        round_trip: Option<Duration>,
    ) {
        use crate::coordinate::Refusal;
        let prediction = round_trip.and_then(|_| context.tracker.prediction(slot, context.now));
        let was_settled = context.tracker.metrics().convergence_time.is_some();
        match context.tracker.observe(slot, coordinate, round_trip, context.now) {
            Ok(()) if round_trip.is_some() => {
                context.effects.count(Counter::CoordinatesUpdated);
                context.effects.refresh(slot);
                context.effects.refresh(OWN_SLOT);
                if let (Some(prediction), Some(round_trip)) = (prediction, round_trip) {
                    let error = (prediction.ms / 1e3 - round_trip.as_secs_f64()).abs();
                    context.effects.stats.observe(Distribution::PredictionError, error);
                }
                let settled_after = context.tracker.metrics().convergence_time;
                if let (false, Some(time)) = (was_settled, settled_after) {
                    let seconds = time.as_secs_f64();
                    context.effects.stats.observe(Distribution::ConvergenceTime, seconds);
                }
            }
            Ok(()) => {}
            Err(Refusal::Coordinate | Refusal::Dimension | Refusal::Contradiction) => {
                context.effects.count(Counter::CoordinatesRefused);
            }
            Err(Refusal::RoundTrip | Refusal::Time | Refusal::Rate) => {
                context.effects.count(Counter::RoundTripsRefused);
            }
        }
    }

    /// Acts on a deadline.
    pub fn handle_timer(&mut self, context: &mut Context, timer: Timer) {
        match timer {
            Timer::ProbeRound => self.probe_round(context),
            Timer::GossipRound => self.gossip_round(context),
            Timer::SyncRound => self.sync_round(context),
            Timer::JoinRound => self.join_round(context),
            Timer::LeaveRound => self.leave_round(context),
            Timer::Fetch(place) => self.fetch_expired(context, place),
            Timer::Reading(place) => self.reading_expired(context, place),
            Timer::Probe(place) => self.probe_expired(context, place),
            Timer::Member(slot) => self.member_expired(context, slot),
        }
    }

    /// Makes sure that news does not wait for a probe to carry it.
    pub fn settle(&mut self, context: &mut Context) {
        let is_due = self.has_news() && self.table.active_count() > 0;
        if is_due && !context.effects.is_timer_set(Timer::GossipRound) {
            let interval = Duration::from_millis(context.config.gossip_interval_ms);
            context.effects.set_timer(Timer::GossipRound, context.now + interval);
        }
    }

    /// How long a peer's answer to a request may take.
    fn patience(&self, context: &Context, peer: Address) -> Duration {
        let rtt = self.table.find(peer).and_then(|slot| context.tracker.rtt(slot, context.now));
        let twice = rtt.map(|rtt| Duration::from_secs_f64(rtt.upper_ms / 500.0));
        twice.map_or(PATIENCE_MIN, |twice| twice.max(PATIENCE_MIN))
    }

    fn gossip_round(&mut self, context: &mut Context) {
        let fanout = context.config.gossip_fanout;
        for &slot in self.table.sample_active(fanout, OWN_SLOT, context.random).slots() {
            context.effects.transmit(Outgoing::new(Kind::Gossip, self.table.get(slot).address));
        }
    }

    /// Whether a queued datagram still has a purpose.
    pub fn is_worth_sending(&self, outgoing: &Outgoing) -> bool {
        let is_plain_gossip = outgoing.kind == Kind::Gossip && outgoing.parameter == 0;
        !(is_plain_gossip && !self.has_news() && !self.is_leaving())
    }

    fn has_news(&self) -> bool {
        !self.gossip.is_empty() || !self.broadcasts.is_empty()
    }

    /// The fixed part of an outgoing message.
    pub fn header(&self, outgoing: &Outgoing) -> Header {
        self.header_to(outgoing, self.table.find(outgoing.recipient))
    }

    /// The same for a recipient that has been looked up.
    pub fn header_to(&self, outgoing: &Outgoing, recipient: Option<u32>) -> Header {
        let own = self.table.own();
        let recipient = recipient.map(|slot| self.table.get(slot));
        // Only a run that we have heard ourselves may take this as proof of a two-way exchange. Whom an
        // ack answers was heard just now.
        let is_heard = |record: &&table::Record| {
            record.state != MemberState::Unconfirmed || outgoing.kind == Kind::Ack
        };
        let heard = recipient.filter(is_heard);
        Header {
            kind: outgoing.kind,
            sequence: outgoing.sequence,
            sender: own.address,
            generation: own.generation,
            incarnation: own.incarnation,
            role: own.role,
            health_score: self.health.score(),
            recipient: outgoing.recipient,
            recipient_generation: heard.map_or(Generation(0), |record| record.generation),
            subject: outgoing.subject,
            parameter: outgoing.parameter,
            state_version: self.states.version(OWN_SLOT),
        }
    }

    /// Fills the room that is left with updates, those that matter most to the recipient first.
    /// `recipient` is its slot.
    pub fn write_updates(
        &mut self,
        outgoing: &Outgoing,
        recipient: Option<u32>,
        writer: &mut MessageWriter,
        effects: &mut Effects,
        now: Instant,
    ) {
        self.write_first_updates(outgoing, recipient, writer, now);
        match outgoing.kind {
            Kind::SyncReply => self.write_page(outgoing.parameter, writer),
            Kind::StateReply => self.write_state_part(outgoing, writer),
            Kind::StateRequest | Kind::Jobs | Kind::Federation => {}
            Kind::SyncRequest => {
                self.write_gossip(writer, DIGEST_SIZE);
                if outgoing.parameter == 0 {
                    writer.push_payload(&[&self.table.digest().to_le_bytes()]);
                }
            }
            _ => {
                let claim = self.broadcasts.claim();
                self.write_gossip(writer, claim);
                let limit = self.transmission_limit();
                self.broadcasts.write(writer, limit);
            }
        }
        effects.stats.add(Counter::UpdatesSent, u64::from(writer.update_count()));
    }

    /// The same for a format that carries updates and nothing else.
    pub fn write_updates_only(
        &mut self,
        outgoing: &Outgoing,
        writer: &mut MessageWriter,
        effects: &mut Effects,
        now: Instant,
    ) {
        let recipient = self.table.find(outgoing.recipient);
        self.write_first_updates(outgoing, recipient, writer, now);
        self.write_gossip(writer, 0);
        effects.stats.add(Counter::UpdatesSent, u64::from(writer.update_count()));
    }

    /// What the recipient must know before anything else.
    fn write_first_updates(
        &mut self,
        outgoing: &Outgoing,
        recipient: Option<u32>,
        writer: &mut MessageWriter,
        now: Instant,
    ) {
        if outgoing.kind == Kind::Probe {
            self.probes.note_sent(outgoing.sequence, now);
        }
        if self.is_leaving() {
            writer.push_update(&self.update(OWN_SLOT, 0));
        }
        // Whoever is doubted must be the first to know (Lifeguard, section IV-C: buddy system).
        let is_reminder = outgoing.kind == Kind::Gossip && outgoing.parameter == REMINDER;
        if let Some(slot) = recipient
            && (is_reminder || self.is_told_its_state(self.table.get(slot).state))
        {
            writer.push_update(&self.update(slot, 0));
        }
        // A helper passes a doubt on to whom it concerns; and whoever asks for help may have missed a
        // refutation, or a death, of which nobody speaks any more.
        if matches!(outgoing.kind, Kind::IndirectProbe | Kind::IndirectAck | Kind::Nack)
            && let Some(slot) = self.table.find(outgoing.subject)
        {
            let state = self.table.get(slot).state;
            let is_answer = outgoing.kind != Kind::IndirectProbe;
            if self.is_told_its_state(state)
                || is_answer && state == MemberState::Alive && self.has_buddies
            {
                writer.push_update(&self.update(slot, 0));
            }
        }
    }

    /// Whether a member in this state hears of it with everything that is sent to it.
    fn is_told_its_state(&self, state: MemberState) -> bool {
        match state {
            MemberState::Suspect => self.has_buddies,
            state => matches!(state, MemberState::Dead | MemberState::Left),
        }
    }

    fn write_page(&self, first: u32, writer: &mut MessageWriter) {
        let mut next = 0;
        for slot in first..self.table.slot_count() {
            let is_told = |record: &table::Record| {
                record.state != MemberState::Unconfirmed
                    || is_planted(PlantedFault::HearsayPassedOn)
            };
            if self.table.occupied(slot).is_some_and(is_told)
                && !writer.push_update(&self.update(slot, 0))
            {
                next = slot;
                break;
            }
        }
        writer.set_parameter(next);
    }

    /// Fills the room with updates, but for the bytes that are claimed for what follows.
    fn write_gossip(&mut self, writer: &mut MessageWriter, claimed: usize) {
        let limit = self.transmission_limit();
        let mut sent = [None; UPDATE_COUNT_MAX];
        let mut count = 0;
        while count < UPDATE_COUNT_MAX {
            let Some(taken) = self.gossip.take(&mut self.table) else { break };
            let has_room = writer.room() >= claimed + UPDATE_SIZE_MAX;
            if !has_room || !writer.push_update(&self.update(taken.slot, taken.sent)) {
                self.gossip.put_back_unsent(&mut self.table, taken);
                break;
            }
            sent[count] = Some(taken);
            count += 1;
        }
        for taken in sent.into_iter().flatten() {
            self.gossip.put_back_sent(&mut self.table, taken, limit);
        }
    }

    /// SWIM, section 4.1: lambda log n, the logarithm rounded up so that a small or still forming cluster does
    /// not stop too early: with 8 sends a news misses one of 15 nodes about once in 3,000 times.
    fn transmission_limit(&self) -> usize {
        let members = self.table.active_count() + 2;
        self.gossip_factor as usize * log10(members).ceil() as usize
    }

    /// The news of a member, as its record stands.
    fn update(&self, slot: u32, sent: u8) -> Update {
        let record = self.table.get(slot);
        let accuser = match record.suspicion {
            NONE => 0,
            place => self.suspicions.get(place).accuser_to_tell(sent),
        };
        Update {
            address: record.address,
            generation: record.generation,
            incarnation: record.incarnation,
            state: record.state,
            role: record.role,
            health_score: if slot == OWN_SLOT { self.health.score() } else { record.health_score },
            datacenter: *self.table.datacenter(slot),
            accuser,
            state_version: self.states.version(slot),
        }
    }
}

/// Lets a peer hear from this node, whether there is news or not.
fn greet(context: &mut Context, peer: Address) {
    let greeting = Outgoing::new(Kind::Gossip, peer);
    context.effects.transmit(Outgoing { parameter: GREETING, ..greeting });
}

fn carries_broadcasts(kind: Kind) -> bool {
    use Kind::*;
    !matches!(kind, SyncRequest | SyncReply | StateRequest | StateReply | Jobs | Federation)
}
