//! What passes between the host and peers in this format, and is not the engine's to act upon: messages
//! of elections and between datacenters, embedded states, and news of nodes' health and of workers.

use std::collections::VecDeque;

use bytes::Bytes;

use super::peers::Question;
use super::{Exchange, Inbound, Session, digest, fold};
use crate::config::DATAGRAM_SIZE_MAX;
use crate::effects::Outgoing;
use crate::engine::{Engine, Transmit};
use crate::error::{CommandError, ForeignError};
use crate::events::{Event, ForeignHealth, ForeignMessage, ForeignWorker};
use crate::node::Address;
use crate::stats::Counter;
use crate::time::{Duration, Instant};
use crate::wire::hyperscale::draft::Argument;
use crate::wire::hyperscale::{
    Draft, FrameKind, HANDLER, HealthEntry, Name, PAYLOAD_SIZE_MAX, WorkerEntry,
};
use crate::wire::native::Kind;

/// The largest embedded state that is read, in bytes: what fits a payload.
const STATE_SIZE_MAX: usize = PAYLOAD_SIZE_MAX;
/// The largest pickled body that is sent, in bytes: what fits a datagram, with some room.
const BODY_SIZE_MAX: usize = 1_024;
/// How many of the host's requests wait to be sent.
const REQUEST_COUNT_MAX: usize = 64;
/// Of how many nodes and workers the latest news is remembered; a later one with the same place in the
/// table displaces an earlier, whose next news is told again.
const REPORT_COUNT: usize = 1_024;
/// News of what was silent for so long is told again, whatever its timestamp: the node may have started
/// anew, with another clock.
const REPORT_LIFETIME: Duration = Duration::from_secs(30);

/// A message of an election or between datacenters that the host sends to a node of the Python system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignRequest {
    /// What it is.
    pub name: Name,
    /// Its numbers, where it has some: the term first, then the local health or the vote.
    pub arguments: [Option<u64>; 2],
    /// The node it is about, where it is about one.
    pub target: Option<Address>,
    /// The pickled body, where it has one.
    pub body: Bytes,
}

/// What the host wants to be said.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    requests: VecDeque<(Address, ForeignRequest)>,
    cross_answer: Option<Bytes>,
}

impl Outbox {
    /// Whether a probe from another datacenter is answered.
    pub fn has_cross_answer(&self) -> bool {
        self.cross_answer.is_some()
    }

    /// With what.
    pub fn cross_answer(&self) -> &[u8] {
        self.cross_answer.as_deref().unwrap_or_default()
    }
}

/// The latest news of one node or worker.
#[derive(Clone, Copy, Debug)]
struct Report {
    key: u64,
    /// Later news has more: a worker's incarnation first, then the timestamp.
    order: (u32, f64),
    content: u64,
    heard_at: Instant,
}

/// What of others was told to the host lately.
#[derive(Debug)]
pub(super) struct Reports {
    places: Box<[Option<Report>]>,
    key: u64,
}

impl Reports {
    /// Nothing was told.
    pub fn new(key: u64) -> Reports {
        Reports { places: vec![None; REPORT_COUNT].into(), key }
    }

    /// Whether this is news: later than what was told of the same, and different.
    fn is_news(&mut self, name: &str, order: (u32, f64), content: u64, now: Instant) -> bool {
        let key = digest(self.key, name.as_bytes());
        let place = &mut self.places[key as usize % REPORT_COUNT];
        let known = place.filter(|known| {
            known.key == key && now.saturating_since(known.heard_at) < REPORT_LIFETIME
        });
        if known.is_some_and(|known| known.order >= order) {
            return false;
        }
        *place = Some(Report { key, order, content, heard_at: now });
        known.is_none_or(|known| known.content != content)
    }

    fn is_health_news(&mut self, entry: &HealthEntry, now: Instant) -> bool {
        let flags = entry.overload as u64 | u64::from(entry.is_accepting) << 8;
        let content = fold(fold(1, flags), entry.capacity as u64);
        let content = digest(content, entry.node_type.as_bytes());
        self.is_news(entry.node_id, (0, entry.timestamp), content, now)
    }

    fn is_worker_news(&mut self, entry: &WorkerEntry, now: Instant) -> bool {
        let ports = u64::from(entry.tcp_port) << 16 | u64::from(entry.udp_port);
        let cores = u64::from(entry.total_cores) << 32 | u64::from(entry.available_cores);
        let texts = [entry.owner_id, entry.host, entry.datacenter];
        let content = [entry.state as u64, ports, cores].into_iter().fold(2, fold);
        let content = texts.iter().fold(content, |hash, text| digest(hash, text.as_bytes()));
        self.is_news(entry.worker_id, (entry.incarnation, entry.timestamp), content, now)
    }
}

impl Session {
    /// Whether nothing of the host's is left to transmit.
    pub fn is_drained(&self) -> bool {
        self.exchange.outbox.requests.is_empty()
    }
}

impl Engine {
    /// Sends a message of an election or between datacenters to a node of the Python system. What the node
    /// answers comes as [`Event::Foreign`] when it is of that kind itself.
    ///
    /// # Errors
    /// [`CommandError::Foreign`] or [`CommandError::Leaving`]; nothing is sent.
    pub fn send_foreign(
        &mut self,
        now: Instant,
        recipient: Address,
        request: ForeignRequest,
    ) -> Result<(), CommandError> {
        self.begin_input(now);
        let outbox = self.outbox(request.body.len())?;
        if !request.name.is_election() && !request.name.has_body() {
            return Err(ForeignError::EngineMessage { name: request.name.text() }.into());
        }
        if !recipient.is_reachable() {
            return Err(ForeignError::RecipientAddress { address: recipient }.into());
        }
        if outbox.requests.len() >= REQUEST_COUNT_MAX {
            return Err(ForeignError::QueueFull.into());
        }
        outbox.requests.push_back((recipient, request));
        Ok(())
    }

    /// Answers every probe from another datacenter (`xprobe`) with this pickled body from now on (`xack`);
    /// `None` says that this node is no leader (`xnack`), as in the beginning.
    ///
    /// # Errors
    /// [`CommandError::Foreign`] or [`CommandError::Leaving`]; the earlier answer stays.
    pub fn set_cross_answer(&mut self, body: Option<Bytes>) -> Result<(), CommandError> {
        let size = body.as_ref().map_or(0, Bytes::len);
        self.outbox(size)?.cross_answer = body;
        Ok(())
    }

    /// Where the host's words go, when a body of this size may be among them.
    fn outbox(&mut self, body_size: usize) -> Result<&mut Outbox, CommandError> {
        if self.membership.is_leaving() {
            return Err(CommandError::Leaving);
        }
        if body_size > BODY_SIZE_MAX {
            return Err(ForeignError::BodySize { size: body_size }.into());
        }
        let session = self.hyperscale.as_mut().ok_or(ForeignError::NativeOnly)?;
        Ok(&mut session.exchange.outbox)
    }

    /// Writes the next request of the host's.
    pub(in crate::engine) fn transmit_from_host(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let session = self.hyperscale.as_mut()?;
        let (recipient, request) = session.exchange.outbox.requests.pop_front()?;
        let mut session = self.hyperscale.take().expect("it was there");
        let transmit = self.write_from_host(&mut session, recipient, &request, now, buffer);
        self.hyperscale = Some(session);
        Some(transmit)
    }

    fn write_from_host(
        &mut self,
        session: &mut Session,
        recipient: Address,
        request: &ForeignRequest,
        now: Instant,
        buffer: &mut [u8],
    ) -> Transmit {
        let ForeignRequest { name, arguments, target, ref body } = *request;
        let Session { envelopes, exchange, .. } = session;
        self.refresh_coordinate(exchange);
        let (kind, clock) = (Kind::Gossip, exchange.clock.tick());
        let subject = Address::UNSPECIFIED;
        let question = Question { kind, sequence: 0, subject, clock, sent_at: now };
        exchange.peers.meet(recipient, now).ask(question);
        let buffer = &mut buffer[..DATAGRAM_SIZE_MAX];
        let own = exchange.own_text.as_bytes();
        let mut draft = Draft::new(buffer, FrameKind::Request, own, HANDLER, clock);
        if name.has_body() {
            // Sections would be taken for part of the body.
            let is_written = draft.message_with_body(name, body);
            assert!(is_written, "a body within its limit fits");
        } else {
            let numbers = arguments.map(|number| Argument::Number(number.unwrap_or(0)));
            let count = arguments.iter().take_while(|number| number.is_some()).count();
            draft.message(name, &numbers[..count], target);
            self.write_sections(&mut draft, exchange, &Outgoing::new(kind, recipient), now);
        }
        self.finish(draft, envelopes, recipient)
    }

    /// What is not for the engine goes to the host, who gets it only while there is room for events
    /// of membership as well.
    pub(super) fn tell_host(&mut self, inbound: &Inbound) {
        let message = &inbound.message;
        let Some(name) = message.name else { return };
        let body = if name.has_body() { message.body } else { &[] };
        self.effects.emit_if_calm(Event::Foreign(ForeignMessage {
            sender: inbound.sender,
            name,
            arguments: [message.number(0), message.number(1)],
            target: message.target(),
            body: Bytes::copy_from_slice(body),
            at: self.now,
        }));
    }

    /// A state that came embedded, when it is another than before.
    pub(super) fn tell_state(&mut self, exchange: &mut Exchange, inbound: &Inbound) {
        let mut buffer = [0; STATE_SIZE_MAX];
        let Some(state) = inbound.payload.decode_state(&mut buffer) else { return };
        let digest = digest(1, state);
        let peer = exchange.peers.meet(inbound.sender, self.now);
        if std::mem::replace(&mut peer.state_digest, digest) != digest {
            let state = Bytes::copy_from_slice(state);
            let (address, at) = (inbound.sender, self.now);
            self.effects.emit_if_calm(Event::State { address, state, at });
        }
    }

    /// News of health and of workers, as far as it is news.
    pub(super) fn tell_reports(&mut self, exchange: &mut Exchange, inbound: &Inbound) {
        let (sender, at) = (inbound.sender, self.now);
        let mut refused = 0;
        for entry in inbound.payload.health() {
            match entry {
                Ok(entry) if exchange.reports.is_health_news(&entry, at) => {
                    let told = ForeignHealth {
                        sender,
                        node_id: entry.node_id.into(),
                        node_type: entry.node_type.into(),
                        overload: entry.overload,
                        is_accepting: entry.is_accepting,
                        capacity: entry.capacity,
                        throughput: entry.throughput,
                        expected: entry.expected,
                        timestamp: entry.timestamp,
                        at,
                    };
                    self.effects.emit_if_calm(Event::ForeignHealth(Box::new(told)));
                }
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
        for entry in inbound.payload.workers() {
            match entry {
                Ok(entry) if exchange.reports.is_worker_news(&entry, at) => {
                    let told = ForeignWorker {
                        sender,
                        worker_id: entry.worker_id.into(),
                        owner_id: entry.owner_id.into(),
                        host: entry.host.into(),
                        tcp_port: entry.tcp_port,
                        udp_port: entry.udp_port,
                        state: entry.state,
                        incarnation: entry.incarnation,
                        total_cores: entry.total_cores,
                        available_cores: entry.available_cores,
                        timestamp: entry.timestamp,
                        datacenter: entry.datacenter.into(),
                        at,
                    };
                    self.effects.emit_if_calm(Event::ForeignWorker(Box::new(told)));
                }
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
        self.effects.stats.add(Counter::EntriesRefused, refused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_later_and_different() {
        let mut reports = Reports::new(7);
        let at = |seconds: u64| Instant::from_millis(1_000 * seconds);
        for (order, content, second, expected) in [
            ((0, 1.0), 5, 1, true),
            ((0, 1.0), 6, 1, false),
            ((0, 2.0), 5, 2, false),
            ((0, 1.5), 6, 2, false),
            ((0, 3.0), 6, 3, true),
            ((1, 0.5), 7, 3, true),
            ((0, 9.0), 6, 4, false),
            ((0, 0.1), 6, 33, true),
        ] {
            assert_eq!(
                reports.is_news("n", order, content, at(second)),
                expected,
                "{order:?} {content} at {second} s"
            );
        }
        assert!(reports.is_news("m", (0, 0.0), 6, at(33)));
    }
}
