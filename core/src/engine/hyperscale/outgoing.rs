//! What membership wants to send, written in the Python node's format.

use super::peers::Question;
use super::{Exchange, JOIN, Reply, Session};
use crate::config::DATAGRAM_SIZE_MAX;
use crate::effects::Outgoing;
use crate::engine::{Engine, Transmit};
use crate::membership::table::OWN_SLOT;
use crate::node::{Address, Incarnation, MemberState};
use crate::stats::Counter;
use crate::time::Instant;
use crate::wire::hyperscale::coordinate::NATIVE_VERSION;
use crate::wire::hyperscale::draft::{Argument, write_coordinate};
use crate::wire::hyperscale::entry::Overload;
use crate::wire::hyperscale::{
    Draft, ENTRY_COUNT_SENT_MAX, Envelopes, FrameKind, HANDLER, HealthEntry, MemberEntry, Name,
    NativeAbility, PeerCoordinate, UpdateKind,
};
use crate::wire::native::{Kind, Message, MessageWriter};

/// What an embedded state must leave for members, health and coordinate, in bytes.
const ROOM_BEHIND_STATE: usize = 450;
/// A native message without payload and with as many updates as this format carries is smaller.
const NATIVE_SIZE_MAX: usize = 700;

impl Engine {
    /// Writes what membership wants to send; `None` when this format has no such message.
    pub(in crate::engine) fn transmit_hyperscale(
        &mut self,
        outgoing: &Outgoing,
        now: Instant,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let mut session = self.hyperscale.take().expect("only called with a session");
        let transmit = self.write_hyperscale(&mut session, outgoing, now, buffer);
        self.hyperscale = Some(session);
        transmit
    }

    fn write_hyperscale(
        &mut self,
        session: &mut Session,
        outgoing: &Outgoing,
        now: Instant,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let reply = match outgoing.kind {
            Kind::Ack | Kind::IndirectAck | Kind::Nack => Reply::of_sequence(outgoing.sequence),
            _ => None,
        };
        if reply.is_none() && !self.is_translatable(outgoing) {
            self.effects.count(Counter::Untranslatable);
            return None;
        }
        let Session { envelopes, exchange, .. } = session;
        self.refresh_coordinate(exchange);
        let (kind, clock) = match reply {
            Some(_) => (FrameKind::Reply, exchange.clock.time()),
            None => (FrameKind::Request, exchange.clock.tick()),
        };
        if outgoing.kind == Kind::IndirectProbe {
            self.membership.excuse_helper(outgoing.sequence);
        }
        if reply.is_none() {
            let Outgoing { kind, sequence, subject, .. } = *outgoing;
            let question = Question { kind, sequence, subject, clock, sent_at: now };
            exchange.peers.meet(outgoing.destination, now).ask(question);
        }
        let own = exchange.own_text.as_bytes();
        let mut draft = Draft::new(&mut buffer[..DATAGRAM_SIZE_MAX], kind, own, HANDLER, clock);
        match reply {
            Some(Reply::Empty) => {}
            Some(Reply::CrossAck) => {
                draft.message_with_body(Name::CrossAck, exchange.outbox.cross_answer());
            }
            Some(reply) => self.write_reply(&mut draft, reply, outgoing),
            None => self.write_request(&mut draft, outgoing),
        }
        if outgoing.kind == Kind::SyncRequest && outgoing.parameter != JOIN {
            // The present Python node stumbles over the coordinate and answers `nack` without acting: that
            // tells it from one that works, and spares it its defence against a probe.
            draft.push_coordinate_text(exchange.coordinate.text());
        } else if reply.is_none_or(|reply| reply == Reply::Ack) {
            self.write_sections(&mut draft, exchange, outgoing, now);
        }
        Some(self.finish(draft, envelopes, outgoing.destination))
    }

    /// Seals a draft on its way to `target`.
    pub(super) fn finish(
        &mut self,
        draft: Draft,
        envelopes: &mut Envelopes,
        target: Address,
    ) -> Transmit {
        let size = draft.seal(envelopes).len();
        self.effects.count(Counter::DatagramsSent);
        self.effects.stats.add(Counter::BytesSent, size as u64);
        Transmit { target, size }
    }

    /// Whether a question has a form in this format and is worth it: comparing tables has none, so
    /// only those who are not active here are asked for theirs.
    fn is_translatable(&self, outgoing: &Outgoing) -> bool {
        match outgoing.kind {
            Kind::Probe | Kind::IndirectProbe | Kind::Gossip => true,
            Kind::SyncRequest => {
                let table = &self.membership.table;
                let slot = table.find(outgoing.recipient);
                outgoing.parameter == JOIN
                    || !slot.is_some_and(|slot| table.get(slot).state.is_active())
            }
            _ => false,
        }
    }

    fn write_reply(&self, draft: &mut Draft, reply: Reply, outgoing: &Outgoing) {
        let own = self.membership.table.own();
        let because = |reason| Some(Argument::Text(reason));
        let (name, argument) = match reply {
            Reply::Ack | Reply::BareAck => (Name::Ack, None),
            Reply::Alive => (Name::Alive, Some(Argument::Number(own.incarnation.0.into()))),
            Reply::Leave => (Name::Leave, None),
            Reply::Nack => (Name::Nack, None),
            Reply::NackUnknown => (Name::Nack, because("unknown")),
            Reply::NackInvalid => (Name::Nack, because("invalid")),
            Reply::NackVersionRequired => (Name::Nack, because("version_required")),
            Reply::NackVersionMismatch => (Name::Nack, because("version_mismatch")),
            Reply::PingedSelf => (Name::PingReqAck, because("alive")),
            Reply::PingedUnknown => (Name::PingReqAck, because("unknown")),
            Reply::Pinged if outgoing.kind == Kind::IndirectAck => {
                (Name::PingReqAck, because("alive"))
            }
            Reply::Pinged => (Name::PingReqAck, because("timeout")),
            Reply::CrossNack => (Name::CrossNack, None),
            Reply::CrossAck | Reply::Empty => unreachable!("they have no target"),
        };
        let target = if reply == Reply::Pinged { outgoing.subject } else { own.address };
        draft.message(name, argument.as_slice(), Some(target));
    }

    fn write_request(&self, draft: &mut Draft, outgoing: &Outgoing) {
        let table = &self.membership.table;
        let own = table.own();
        let number = |incarnation: Incarnation| Argument::Number(incarnation.0.into());
        match outgoing.kind {
            Kind::IndirectProbe => {
                let slot = table.find(outgoing.subject);
                let incarnation = slot.map_or(Incarnation(0), |slot| table.get(slot).incarnation);
                draft.message(Name::PingReq, &[number(incarnation)], Some(outgoing.subject))
            }
            Kind::Gossip if own.state == MemberState::Left => {
                draft.message(Name::Leave, &[], Some(own.address))
            }
            // Whoever is told that this node lives answers at once. So does a working node that is probed;
            // the present one defends itself against the probe before everybody that it knows, one after
            // the other, and answers nobody meanwhile.
            Kind::Gossip | Kind::Probe => {
                draft.message(Name::Alive, &[number(own.incarnation)], Some(own.address))
            }
            Kind::SyncRequest if outgoing.parameter == JOIN => {
                draft.message(Name::Join, &[], Some(own.address))
            }
            _ => draft.message(Name::Probe, &[], Some(outgoing.destination)),
        };
    }

    /// Everything that rides on a message: the host's state on replies, news, health, place.
    pub(super) fn write_sections(
        &mut self,
        draft: &mut Draft,
        exchange: &Exchange,
        outgoing: &Outgoing,
        now: Instant,
    ) {
        let is_reply = outgoing.kind == Kind::Ack;
        if let Some(state) = self.membership.state_at(OWN_SLOT).filter(|_| is_reply)
            && state.len().div_ceil(3) * 4 + ROOM_BEHIND_STATE <= draft.room()
        {
            draft.push_state(state);
        }
        let header = self.membership.header(outgoing);
        let datacenter = *self.membership.table.datacenter(OWN_SLOT);
        let mut bytes = [0; NATIVE_SIZE_MAX];
        let mut writer =
            MessageWriter::new(&mut bytes, &header, &datacenter, self.tracker.coordinate());
        writer.limit_updates(ENTRY_COUNT_SENT_MAX as u8);
        self.membership.write_updates_only(outgoing, &mut writer, &mut self.effects, now);
        let size = writer.finish();
        let message = Message::parse(&bytes[..size]).expect("it was just written");
        for update in message.updates() {
            if let Some(kind) = UpdateKind::of_state(update.state) {
                let (incarnation, address) = (update.incarnation.0, update.address);
                draft.push_member(&MemberEntry {
                    kind,
                    incarnation,
                    address,
                    role: Some(update.role),
                });
            }
        }
        let health = self.own_health(&exchange.own_node_id, now);
        draft.push_health(&health);
        if !is_reply {
            // The Python node reads the last entry of a request together with the coordinate behind
            // it.
            draft.push_health(&health);
        }
        draft.push_coordinate_text(exchange.coordinate.text());
    }

    /// How this node is, in the words of the Python node.
    fn own_health<'a>(&self, node_id: &'a str, now: Instant) -> HealthEntry<'a> {
        let overload = match self.membership.health_score() {
            0 | 1 => Overload::Healthy,
            2 | 3 => Overload::Busy,
            4..=6 => Overload::Stressed,
            _ => Overload::Overloaded,
        };
        HealthEntry {
            node_id,
            node_type: self.config.role.name(),
            overload,
            is_accepting: !self.membership.is_leaving(),
            capacity: 1,
            throughput: 0.0,
            expected: 0.0,
            timestamp: now.as_nanos() as f64 / 1e9,
        }
    }

    pub(super) fn refresh_coordinate(&self, exchange: &mut Exchange) {
        let generation = self.membership.table.own().generation;
        let native = Some(NativeAbility { version: NATIVE_VERSION, generation });
        let sample_count = self.tracker.metrics().updates;
        let coordinate = *self.tracker.coordinate();
        let peer = PeerCoordinate { coordinate, sample_count, native };
        let own = &mut exchange.coordinate;
        if own.written != Some(peer) {
            own.size = write_coordinate(&peer, &mut own.text);
            own.written = Some(peer);
        }
    }
}
