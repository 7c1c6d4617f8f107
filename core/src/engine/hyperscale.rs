//! The Python node's format: its way into and out of the engine.
//!
//! Membership knows one kind of message. A datagram in this format is *translated* into one, and
//! what membership wants to send is translated back; what is left are the rules of the
//! conversation. Every request gets one reply, to the address it came from. A reply belongs to the
//! oldest question that it can answer (see [`peers`]).
//!
//! # What has no place in this format
//! * *Generations.* A Shoal node tells its own beside its coordinate. A Python node has none: its
//!   record keeps the generation it has, and one that speaks after its death begins a new one.
//! * *Refutation by the present Python node*, whose incarnation never rises. When one that is
//!   suspected answers a question of ours, this node raises the incarnation in its stead: an answer
//!   is proof enough.
//! * *Proof of a two-way exchange*: only an answer to an own question confirms a peer.
//! * *Tables, states, broadcasts and job messages* go to peers that speak the native format only.
//!
//! # Toward the Python node as it is
//! It strips only `#|h` and `#|m` from requests and damages the last entry before `#|v`, so requests
//! have the own health in front of the coordinate, twice. The time in it also keeps a repeated request
//! from looking like a duplicate. When it is probed it refutes before everybody it knows, one after the
//! other, and answers nobody meanwhile; so whether it lives is asked with `alive`, which it
//! acknowledges at once. A `join` locks it for good, so a seed is probed, with nothing but the
//! coordinate, at which it stumbles and answers `nack`: that makes this node known as well. It is
//! asked to let it join only after an answer that the present version never gives.

mod host;
mod outgoing;
mod peers;
#[cfg(test)]
mod tests;

pub use self::host::ForeignRequest;
use self::host::{Outbox, Reports};
use self::peers::Peers;
use super::Engine;
use crate::config::{Config, Secret};
use crate::coordinate::{Coordinate, ERROR_MAX};
use crate::effects::Outgoing;
use crate::node::{Address, DatacenterName, Generation, Incarnation, MemberState, Role};
use crate::random::Random;
use crate::stats::Counter;
use crate::time::{Duration, Instant};
use crate::wire::hyperscale::coordinate::{COORDINATE_TEXT_SIZE_MAX, NATIVE_VERSION};
use crate::wire::hyperscale::message::PROTOCOL_VERSION;
use crate::wire::hyperscale::{
    Clock, ENTRY_COUNT_MAX, Envelopes, Frame, FrameKind, HANDLER, Message, Name, PAYLOAD_SIZE_MAX,
    Payload, PeerCoordinate, Unpacker,
};
use crate::wire::native::{self, Header, Kind, UPDATE_SIZE_MAX, Update};

/// How long a request is recognised when it comes again.
const REPEAT_WINDOW: Duration = Duration::from_secs(30);
/// How many requests are remembered for that; a later one with the same place in the table
/// displaces an earlier.
const RECENT_COUNT: usize = 2_048;
/// How long a helper may take for its probe, in ms; the Python node waits for a second.
const PATIENCE_MS: u32 = 800;
/// A Python node's error is in seconds and says little; it counts as at least this much.
const FOREIGN_ERROR_MIN: f64 = 0.5;
/// Marks the sequence of an answer as that of a reply in this format.
const REPLY: u32 = 0xffff_ff00;
/// Marks a sync request that asks to take part.
const JOIN: u32 = u32::MAX - 1;

/// What is replied. Everything but an ack has no sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Reply {
    Ack,
    BareAck,
    Alive,
    Leave,
    Nack,
    NackUnknown,
    NackInvalid,
    NackVersionRequired,
    NackVersionMismatch,
    PingedSelf,
    PingedUnknown,
    CrossNack,
    /// What the host has given to be answered.
    CrossAck,
    /// A payload of no bytes.
    Empty,
    /// Of a probe on behalf, whose end decides what it says.
    Pinged,
}

impl Reply {
    const ALL: [Reply; 15] = [
        Reply::Ack,
        Reply::BareAck,
        Reply::Alive,
        Reply::Leave,
        Reply::Nack,
        Reply::NackUnknown,
        Reply::NackInvalid,
        Reply::NackVersionRequired,
        Reply::NackVersionMismatch,
        Reply::PingedSelf,
        Reply::PingedUnknown,
        Reply::CrossNack,
        Reply::CrossAck,
        Reply::Empty,
        Reply::Pinged,
    ];

    fn sequence(self) -> u32 {
        REPLY | u32::from(self as u8)
    }

    fn of_sequence(sequence: u32) -> Option<Reply> {
        let is_reply = sequence & REPLY == REPLY;
        Reply::ALL.get((sequence & !REPLY) as usize).copied().filter(|_| is_reply)
    }
}

/// What a request means for membership, and what is replied.
struct Decision {
    kind: Kind,
    reply: Reply,
    subject: Address,
    /// What the message itself says of a member.
    news: Option<(Address, MemberState, u32)>,
}

impl Decision {
    fn reply(reply: Reply) -> Decision {
        Decision { kind: Kind::Gossip, reply, subject: Address::UNSPECIFIED, news: None }
    }

    fn news(reply: Reply, subject: Address, state: MemberState, incarnation: u32) -> Decision {
        Decision { news: Some((subject, state, incarnation)), ..Decision::reply(reply) }
    }
}

/// A frame that came, and from where.
struct Inbound<'a> {
    sender: Address,
    source: Address,
    received_at: Instant,
    clock: Option<u64>,
    payload: Payload<'a>,
    message: Message<'a>,
}

/// Mixes a word into a hash.
fn fold(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
    (product as u64) ^ (product >> 64) as u64
}

/// Mixes bytes and their number into a hash.
fn digest(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word));
    words.fold(fold(hash, bytes.len() as u64), fold)
}

/// Requests seen lately, by the hash of their sender and payload.
#[derive(Debug)]
struct Recent {
    seen: Box<[(u64, Instant)]>,
    key: u64,
}

impl Recent {
    /// Whether this request was seen within [`REPEAT_WINDOW`]; it has been then.
    fn is_repeated(&mut self, sender: Address, payload: &[u8], now: Instant) -> bool {
        let key = fold(self.key, u64::from(sender.port()));
        let hash = digest(digest(key, sender.ip_bytes()), payload);
        let place = &mut self.seen[hash as usize % RECENT_COUNT];
        let is_repeated = place.0 == hash && now.saturating_since(place.1) < REPEAT_WINDOW;
        if !is_repeated {
            *place = (hash, now);
        }
        is_repeated
    }
}

/// The text of the own coordinate, written anew when it has changed.
#[derive(Debug)]
struct OwnCoordinate {
    written: Option<PeerCoordinate>,
    text: [u8; COORDINATE_TEXT_SIZE_MAX],
    size: usize,
}

impl OwnCoordinate {
    fn text(&self) -> &[u8] {
        &self.text[..self.size]
    }
}

/// The conversations with peers in this format.
#[derive(Debug)]
pub(super) struct Session {
    envelopes: Envelopes,
    unpacker: Unpacker,
    exchange: Exchange,
}

/// All of it that outlives a datagram.
#[derive(Debug)]
struct Exchange {
    clock: Clock,
    peers: Peers,
    recent: Recent,
    reports: Reports,
    outbox: Outbox,
    coordinate: OwnCoordinate,
    own_text: String,
    own_node_id: String,
    rate: f64,
    /// Updates in their native form, while a datagram is translated.
    updates: Box<[u8]>,
    unknown: DatacenterName,
}

impl Session {
    /// Nothing has been said.
    pub fn new(config: &Config, random: &mut Random) -> Session {
        let rate = f64::from(config.source_request_rate);
        let own_text = config.advertise.to_string();
        let update_count = ENTRY_COUNT_MAX + 1;
        let exchange = Exchange {
            clock: Clock::default(),
            peers: Peers::new(config.session_capacity, rate, random.next_u64()),
            recent: Recent {
                seen: vec![(0, Instant::ZERO); RECENT_COUNT].into(),
                key: random.next_u64(),
            },
            reports: Reports::new(random.next_u64()),
            outbox: Outbox::default(),
            coordinate: OwnCoordinate {
                written: None,
                text: [0; COORDINATE_TEXT_SIZE_MAX],
                size: 0,
            },
            own_node_id: format!("{}-{own_text}", config.datacenter),
            own_text,
            rate,
            updates: vec![0; update_count * UPDATE_SIZE_MAX].into(),
            unknown: DatacenterName::from_bytes(b"unknown").expect("a plain word is a name"),
        };
        let envelopes = Envelopes::new(&config.secrets, config.generation.0, random);
        Session { envelopes, unpacker: Unpacker::new(), exchange }
    }

    pub fn set_secrets(&mut self, secrets: &[Secret]) {
        self.envelopes.set_secrets(secrets);
    }

    /// A native datagram of this peer was taken.
    pub fn heard_native(&mut self, peer: Address, generation: Generation, now: Instant) {
        self.exchange.peers.meet(peer, now).speaks_native(generation, now);
    }

    /// This member is dead or has left: who comes up at its address may be a Python node.
    pub fn lost(&mut self, member: Address) {
        if let Some(peer) = self.exchange.peers.find_mut(member) {
            peer.speaks_hyperscale_only();
        }
    }

    /// Whether this peer is spoken to in the native format.
    pub fn is_native(&self, peer: Address, now: Instant) -> bool {
        self.exchange.peers.is_native(peer, now)
    }

    /// Whether this goes out in the Python node's format.
    pub fn speaks_for(&self, outgoing: &Outgoing, now: Instant) -> bool {
        match outgoing.kind {
            Kind::Ack | Kind::IndirectAck | Kind::Nack => {
                Reply::of_sequence(outgoing.sequence).is_some()
            }
            _ => !self.exchange.peers.is_native(outgoing.destination, now),
        }
    }
}

impl Engine {
    /// Whether a message that only the native format has can go to this peer.
    pub(super) fn speaks_native(&self, peer: Address) -> bool {
        let session = self.hyperscale.as_ref();
        session.is_none_or(|session| session.is_native(peer, self.now))
    }

    /// Takes a datagram that is not in the native format.
    pub(super) fn handle_hyperscale(&mut self, at: Instant, source: Address, datagram: &mut [u8]) {
        let mut session = self.hyperscale.take().expect("only called with a session");
        self.receive(&mut session, at, source, datagram);
        self.hyperscale = Some(session);
    }

    fn receive(&mut self, session: &mut Session, at: Instant, source: Address, bytes: &mut [u8]) {
        let Session { envelopes, unpacker, exchange } = session;
        let unpacked = envelopes.open(bytes).and_then(|packed| unpacker.unpack(packed));
        let unpacked = match unpacked {
            Ok(unpacked) => unpacked,
            Err(reason) => return self.effects.count(reason),
        };
        let Ok(frame) = Frame::parse(unpacked) else {
            return self.effects.count(Counter::DroppedMalformed);
        };
        if frame.handler != HANDLER {
            return self.effects.count(Counter::DroppedMalformed);
        }
        let own = self.membership.table.own().address;
        let sender = frame.sender_address().unwrap_or(source);
        // A forged source would make this node answer itself.
        if sender == own || source == own {
            return self.effects.count(Counter::DroppedOwn);
        }
        if frame.clock.is_none() {
            self.effects.count(Counter::ClocksRefused);
        }
        let payload = Payload::parse(frame.payload);
        let message = Message::parse(payload.base);
        let clock = frame.clock;
        let inbound = Inbound { sender, source, received_at: at, clock, payload, message };
        match frame.kind {
            FrameKind::Request => self.requested(exchange, &inbound, &frame),
            FrameKind::Reply if frame.is_cut_short => {
                self.effects.count(Counter::DroppedMalformed);
            }
            FrameKind::Reply => self.replied(exchange, &inbound),
        }
    }

    /// Somebody asks or tells; one reply follows, at once or when a probe on its behalf has ended.
    fn requested(&mut self, exchange: &mut Exchange, inbound: &Inbound, frame: &Frame) {
        let now = self.now;
        exchange.clock.request_received(inbound.clock);
        let is_legal = (1..=PAYLOAD_SIZE_MAX).contains(&frame.payload.len());
        if !is_legal || frame.is_cut_short {
            self.effects.count(Counter::RequestsRefused);
            return self.reply(inbound, Reply::Nack);
        }
        if !exchange.peers.meet(inbound.source, now).take_token(now, exchange.rate) {
            self.effects.count(Counter::RequestsLimited);
            return self.reply(inbound, Reply::Nack);
        }
        if exchange.recent.is_repeated(inbound.sender, frame.payload, now) {
            self.effects.count(Counter::RequestsRepeated);
            return self.reply(inbound, Reply::BareAck);
        }
        let decision = self.decide(exchange, inbound);
        if inbound.message.name.is_some_and(|name| name.is_election() || name.has_body()) {
            self.tell_host(inbound);
        }
        let mut header = self.header_of(exchange, inbound);
        header.kind = decision.kind;
        header.subject = decision.subject;
        header.sequence = decision.reply.sequence();
        header.parameter = PATIENCE_MS;
        self.take(exchange, inbound, header, decision.news, true);
        if decision.kind == Kind::Gossip {
            self.reply(inbound, decision.reply);
        }
    }

    /// What a request means.
    fn decide(&self, exchange: &Exchange, inbound: &Inbound) -> Decision {
        let message = &inbound.message;
        let table = &self.membership.table;
        let own = table.own().address;
        let target = message.target();
        let known = target.filter(|&target| table.find(target).is_some());
        let incarnation = message.incarnation();
        match message.name {
            Some(Name::Probe) => match target {
                Some(target) if target == own => {
                    Decision { kind: Kind::Probe, ..Decision::reply(Reply::Ack) }
                }
                Some(_) if known.is_some() => Decision::reply(Reply::Ack),
                Some(_) => Decision::reply(Reply::NackUnknown),
                None => Decision::reply(Reply::Nack),
            },
            Some(Name::Ack) if target.is_some() && known.is_none() => {
                Decision::reply(Reply::NackUnknown)
            }
            Some(Name::PingReq) => match target {
                Some(target) if target == own => Decision::reply(Reply::PingedSelf),
                Some(subject) if known.is_some() => {
                    let kind = Kind::IndirectProbe;
                    Decision { kind, subject, ..Decision::reply(Reply::Pinged) }
                }
                Some(_) => Decision::reply(Reply::PingedUnknown),
                None => Decision::reply(Reply::NackInvalid),
            },
            Some(Name::Join) => match (message.version(), target) {
                (None, _) => Decision::reply(Reply::NackVersionRequired),
                (Some((major, _)), _) if major != PROTOCOL_VERSION.0 => {
                    Decision::reply(Reply::NackVersionMismatch)
                }
                (_, None) => Decision::reply(Reply::Nack),
                (_, Some(target)) if target == own => Decision::reply(Reply::BareAck),
                (_, Some(target)) => Decision::news(Reply::Ack, target, MemberState::Alive, 0),
            },
            Some(Name::Leave) => match known {
                Some(target) if target == own => Decision::reply(Reply::Leave),
                Some(target) => {
                    let slot = table.find(target).expect("it is known");
                    let incarnation = table.get(slot).incarnation.0;
                    Decision::news(Reply::Ack, target, MemberState::Left, incarnation)
                }
                None => Decision::reply(Reply::Nack),
            },
            Some(Name::Suspect) if target == Some(own) => {
                Decision::news(Reply::Alive, own, MemberState::Suspect, incarnation)
            }
            Some(Name::Suspect) if let Some(target) = known => {
                Decision::news(Reply::Ack, target, MemberState::Suspect, incarnation)
            }
            Some(Name::Alive) if let Some(target) = target => {
                Decision::news(Reply::Ack, target, MemberState::Alive, incarnation)
            }
            Some(Name::CrossProbe) if exchange.outbox.has_cross_answer() => {
                Decision::reply(Reply::CrossAck)
            }
            Some(Name::CrossProbe) => Decision::reply(Reply::CrossNack),
            Some(Name::CrossAck | Name::CrossNack) => Decision::reply(Reply::Empty),
            Some(_) => Decision::reply(Reply::Ack),
            None => Decision::reply(Reply::NackUnknown),
        }
    }

    /// Somebody answers.
    fn replied(&mut self, exchange: &mut Exchange, inbound: &Inbound) {
        let now = self.now;
        exchange.clock.reply_received(inbound.clock);
        let message = &inbound.message;
        if message.name.is_some_and(|name| name.is_election() || name.has_body()) {
            self.tell_host(inbound);
        }
        let pinged = message.target().filter(|_| message.name == Some(Name::PingReqAck));
        let is_nack = message.name == Some(Name::Nack);
        let answered = exchange.peers.meet(inbound.source, now).answered(
            inbound.clock,
            now,
            |question| match (question.kind, pinged) {
                (Kind::IndirectProbe, Some(subject)) => question.subject == subject,
                (Kind::IndirectProbe, None) => is_nack,
                (_, pinged) => pinged.is_none(),
            },
        );
        let mut header = self.header_of(exchange, inbound);
        let Some(answered) = answered else {
            self.effects.count(Counter::UnmatchedReplies);
            self.take(exchange, inbound, header, None, true);
            return;
        };
        header.recipient_generation = self.membership.table.own().generation;
        self.vouch(exchange, &mut header);
        header.sequence = answered.question.sequence;
        header.subject = answered.question.subject;
        header.kind = match answered.question.kind {
            Kind::Probe => Kind::Ack,
            Kind::IndirectProbe if message.argument(0) == Some(b"alive") && pinged.is_some() => {
                Kind::IndirectAck
            }
            Kind::IndirectProbe => Kind::Nack,
            Kind::SyncRequest if !self.is_native(exchange, inbound) => Kind::SyncReply,
            _ => Kind::Gossip,
        };
        self.tell_state(exchange, inbound);
        self.take(exchange, inbound, header, None, answered.is_certain);
        let is_working = message.name == Some(Name::Ack) && inbound.payload.coordinate().is_some();
        let peer = exchange.peers.meet(inbound.source, now);
        if header.kind == Kind::SyncReply && is_working && !peer.is_join_sent {
            peer.is_join_sent = true;
            let question = Outgoing::new(Kind::SyncRequest, inbound.source);
            self.effects.transmit(Outgoing { parameter: JOIN, ..question });
        }
    }

    /// Whether the sender says in this very message that it speaks the native format.
    fn is_native(&self, exchange: &Exchange, inbound: &Inbound) -> bool {
        let told = inbound.payload.coordinate().and_then(Result::ok);
        told.is_some_and(|peer| peer.native.is_some())
            || exchange.peers.is_native(inbound.sender, self.now)
    }

    /// The sender as its record knows it: this format tells little of it.
    fn header_of(&self, exchange: &Exchange, inbound: &Inbound) -> Header {
        let table = &self.membership.table;
        let record = table.find(inbound.sender).map(|slot| table.get(slot));
        let told = inbound.payload.coordinate().and_then(Result::ok).and_then(|peer| peer.native);
        let earlier = exchange.peers.find(inbound.sender).and_then(|peer| peer.generation);
        let own_generation = told.map(|native| native.generation).or(earlier);
        let known = record.map_or(Generation(0), |record| record.generation);
        let is_back = record
            .is_some_and(|record| matches!(record.state, MemberState::Dead | MemberState::Left))
            && inbound.message.name != Some(Name::Leave);
        let next = Generation(known.0 + u64::from(is_back));
        Header {
            kind: Kind::Gossip,
            sequence: 0,
            sender: inbound.sender,
            generation: own_generation.unwrap_or(next),
            incarnation: record.map_or(Incarnation(0), |record| record.incarnation),
            role: record.map_or(Role::Manager, |record| record.role),
            health_score: record.map_or(0, |record| record.health_score),
            recipient: table.own().address,
            recipient_generation: Generation(0),
            subject: Address::UNSPECIFIED,
            parameter: 0,
            state_version: 0,
        }
    }

    /// A Python node that is suspected has answered: what it cannot say itself is said for it.
    fn vouch(&self, exchange: &Exchange, header: &mut Header) {
        let table = &self.membership.table;
        let slot = table.find(header.sender);
        let is_suspect = slot.is_some_and(|slot| table.get(slot).state == MemberState::Suspect);
        let peer = exchange.peers.find(header.sender);
        if is_suspect && peer.is_none_or(|peer| peer.generation.is_none()) {
            header.incarnation = header.incarnation.next();
        }
    }

    /// Gives membership what a datagram says, in its own words.
    fn take(
        &mut self,
        exchange: &mut Exchange,
        inbound: &Inbound,
        header: Header,
        news: Option<(Address, MemberState, u32)>,
        is_place_wanted: bool,
    ) {
        let slot = self.membership.table.find(inbound.sender);
        let datacenter =
            slot.map_or(exchange.unknown, |slot| *self.membership.table.datacenter(slot));
        let coordinate = self.coordinate_of(exchange, inbound);
        let size = self.translate_updates(exchange, inbound, news);
        self.tell_reports(exchange, inbound);
        let message = native::Message::translated(
            header,
            datacenter,
            coordinate.filter(|_| is_place_wanted),
            &exchange.updates[..size],
        );
        let (membership, mut context) = self.split();
        context.received_at = inbound.received_at;
        membership.handle_message(&mut context, inbound.source, &message);
        let peer = exchange.peers.find(inbound.sender);
        let is_foreign = peer.is_none_or(|peer| peer.generation.is_none());
        if let Some(slot) = self.membership.table.find(inbound.sender) {
            self.membership.table.get_mut(slot).is_foreign = is_foreign;
        }
    }

    fn coordinate_of(&mut self, exchange: &mut Exchange, inbound: &Inbound) -> Option<Coordinate> {
        let peer = match inbound.payload.coordinate()? {
            Ok(peer) => peer,
            Err(_) => {
                self.effects.count(Counter::CoordinatesRefused);
                return None;
            }
        };
        let link = exchange.peers.meet(inbound.sender, self.now);
        match peer.native.filter(|native| native.version == NATIVE_VERSION) {
            Some(native) => {
                link.speaks_native(native.generation, self.now);
                Some(peer.coordinate)
            }
            None => {
                link.speaks_hyperscale_only();
                let error = peer.coordinate.error.clamp(FOREIGN_ERROR_MIN, ERROR_MAX);
                Some(Coordinate { error, ..peer.coordinate })
            }
        }
    }

    /// Writes what is told of members in native form and returns its size.
    fn translate_updates(
        &mut self,
        exchange: &mut Exchange,
        inbound: &Inbound,
        news: Option<(Address, MemberState, u32)>,
    ) -> usize {
        let accuser = native::fingerprint(inbound.sender, Generation(0));
        let table = &self.membership.table;
        let mut size = 0;
        let mut push =
            |address: Address, state: MemberState, incarnation: u32, role: Option<Role>| {
                let slot = table.find(address);
                let record = slot.map(|slot| table.get(slot));
                let update = Update {
                    address,
                    generation: record.map_or(Generation(0), |record| record.generation),
                    incarnation: Incarnation(incarnation),
                    state,
                    role: role.or(record.map(|record| record.role)).unwrap_or(Role::Manager),
                    health_score: record.map_or(0, |record| record.health_score),
                    datacenter: slot.map_or(exchange.unknown, |slot| *table.datacenter(slot)),
                    accuser: if state == MemberState::Suspect { accuser } else { 0 },
                    state_version: 0,
                };
                let written = native::write_update(&mut exchange.updates[size..], &update);
                size += written.expect("there is room for as many as are read");
            };
        if let Some((address, state, incarnation)) = news {
            push(address, state, incarnation, None);
        }
        let mut refused = 0;
        for entry in inbound.payload.members() {
            match entry {
                Ok(entry) => push(entry.address, entry.kind.state(), entry.incarnation, entry.role),
                Err(_) => refused += 1,
            }
        }
        self.effects.stats.add(Counter::EntriesRefused, refused);
        size
    }

    fn reply(&mut self, inbound: &Inbound, reply: Reply) {
        let answer = Outgoing::new(Kind::Ack, inbound.sender);
        let (destination, sequence) = (inbound.source, reply.sequence());
        self.effects.transmit(Outgoing { destination, sequence, ..answer });
    }
}
