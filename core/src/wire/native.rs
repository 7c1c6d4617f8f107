//! The native message: a fixed little-endian layout, read where it lies.
//!
//! ```text
//! header 94 | coordinate 44, if flagged | datacenter name 1..31 | updates, each 42 + name | payload
//! ```
//!
//! Every message introduces its sender completely (address, generation, incarnation, role, datacenter,
//! health, coordinate), so any single datagram is enough to know a peer. What room is left carries member
//! updates (SWIM, section 4.1: piggyback), then a payload whose meaning depends on the kind: user
//! broadcasts, a part of a host's state, or a digest of the member table. [`Message::parse`] checks the whole message before the first
//! field is used: there is no state from half a message.

use zerocopy::little_endian::{F32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::coordinate::{Coordinate, DIMENSIONS};
use crate::node::{Address, DatacenterName, Generation, Incarnation, MemberState, Role};

/// What a message asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Are you there? Answered with [`Kind::Ack`].
    Probe = 1,
    /// I am here.
    Ack = 2,
    /// Probe the subject for me. Answered with [`Kind::IndirectAck`] or [`Kind::Nack`].
    IndirectProbe = 3,
    /// The subject answered me.
    IndirectAck = 4,
    /// The subject did not answer me either (Lifeguard, section IV-A).
    Nack = 5,
    /// Tell me your members from the slot in the parameter on; the way to join. Answered with [`Kind::SyncReply`].
    SyncRequest = 6,
    /// A page of members; the parameter says where the next begins, 0 that there is none.
    SyncReply = 7,
    /// Nothing but updates and broadcasts. Not answered.
    Gossip = 8,
    /// Give me a part of the subject's state. Answered with [`Kind::StateReply`].
    StateRequest = 9,
    /// A part of the subject's state.
    StateReply = 10,
    /// Messages between managers and gates about jobs, acknowledged among themselves.
    Jobs = 11,
    /// Messages of elections among managers, and of gates that watch datacenters.
    Federation = 12,
}

impl Kind {
    fn from_wire(number: u8) -> Option<Kind> {
        use Kind::*;
        let kinds = [
            Probe,
            Ack,
            IndirectProbe,
            IndirectAck,
            Nack,
            SyncRequest,
            SyncReply,
            Gossip,
            StateRequest,
            StateReply,
            Jobs,
            Federation,
        ];
        kinds.get(usize::from(number).checked_sub(1)?).copied()
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct WireAddress {
    ip: [u8; 16],
    port: U16,
}

impl From<Address> for WireAddress {
    fn from(address: Address) -> WireAddress {
        WireAddress { ip: *address.ip_bytes(), port: U16::new(address.port()) }
    }
}

impl WireAddress {
    pub(crate) fn address(self) -> Address {
        Address::from_parts(self.ip, self.port.get())
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireHeader {
    kind: u8,
    flags: u8,
    role: u8,
    health_score: u8,
    sequence: U32,
    generation: U64,
    recipient_generation: U64,
    incarnation: U32,
    parameter: U32,
    sender: WireAddress,
    recipient: WireAddress,
    subject: WireAddress,
    update_count: u8,
    datacenter_size: u8,
    state_version: U32,
    payload_size: U16,
}

const HAS_COORDINATE: u8 = 1;
const _: () = assert!(size_of::<WireHeader>() == 94);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireCoordinate {
    vector: [F32; DIMENSIONS],
    height: F32,
    adjustment: F32,
    error: F32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireUpdate {
    address: WireAddress,
    generation: U64,
    incarnation: U32,
    accuser: U32,
    state_version: U32,
    state: u8,
    role: u8,
    health_score: u8,
    datacenter_size: u8,
}

const _: () = assert!(size_of::<WireUpdate>() == 42);

/// The most bytes that one update takes.
pub const UPDATE_SIZE_MAX: usize = size_of::<WireUpdate>() + DatacenterName::SIZE_MAX;

/// The fixed part of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Header {
    /// What is asked or answered.
    pub kind: Kind,
    /// Pairs an answer with its question.
    pub sequence: u32,
    /// Where the sender is reached.
    pub sender: Address,
    /// Which run of the sender's program.
    pub generation: Generation,
    /// The sender's incarnation.
    pub incarnation: Incarnation,
    /// The sender's role.
    pub role: Role,
    /// The sender's local health score.
    pub health_score: u8,
    /// Whom the message is for; unspecified when the sender knows only a seed's address.
    pub recipient: Address,
    /// Which run of the recipient the sender has heard from itself, 0 when none: the second half of
    /// a two-way exchange, and stale after the recipient restarted.
    pub recipient_generation: Generation,
    /// Whom an indirect probe is about.
    pub subject: Address,
    /// For a page of members, where it begins or the next one will; for an indirect probe, how long the
    /// asking node waits, in ms; 0 otherwise.
    pub parameter: u32,
    /// The latest version of the sender's state, 0 when it has none.
    pub state_version: u32,
}

/// News of one member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Where the member is reached.
    pub address: Address,
    /// Which run of its program.
    pub generation: Generation,
    /// The incarnation the news is about.
    pub incarnation: Incarnation,
    /// What it is said to be.
    pub state: MemberState,
    /// What it does.
    pub role: Role,
    /// Its local health score.
    pub health_score: u8,
    /// Where it runs.
    pub datacenter: DatacenterName,
    /// The [`fingerprint`] of the node that suspects it, so that confirmations by different
    /// nodes are told apart wherever they arrive from; 0 for other news.
    pub accuser: u32,
    /// The version of its state that the teller holds, 0 when none.
    pub state_version: u32,
}

/// A short name for a run of a node, for telling accusers apart.
pub fn fingerprint(address: Address, generation: Generation) -> u32 {
    let (low, high) = address.ip_bytes().split_at(8);
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half of sixteen"));
    let mut mixed = generation.0 ^ u64::from(address.port()).rotate_left(48);
    for half in [word(low), word(high)] {
        mixed = (mixed ^ half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^= mixed >> 29;
    }
    // 0 stands for "nobody".
    ((mixed >> 32) as u32).max(1)
}

/// A message that does not follow the layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A parsed message; the updates still lie in the datagram.
#[derive(Debug)]
pub struct Message<'a> {
    /// The fixed part.
    pub header: Header,
    /// Where the sender runs.
    pub datacenter: DatacenterName,
    /// Where the sender is in the latency space.
    pub coordinate: Option<Coordinate>,
    updates: &'a [u8],
    /// What the kind says it is; empty when the message has none.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message that came in another format, with updates as [`write_update`] wrote them.
    pub(crate) fn translated(
        header: Header,
        datacenter: DatacenterName,
        coordinate: Option<Coordinate>,
        updates: &'a [u8],
    ) -> Message<'a> {
        Message { header, datacenter, coordinate, updates, payload: &[] }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When any byte of it breaks the format, down to the last update.
    pub fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let (wire, rest) = WireHeader::ref_from_prefix(bytes).map_err(|_| Malformed)?;
        let header = Header {
            kind: Kind::from_wire(wire.kind).ok_or(Malformed)?,
            sequence: wire.sequence.get(),
            sender: wire.sender.address(),
            generation: Generation(wire.generation.get()),
            incarnation: Incarnation(wire.incarnation.get()),
            role: Role::from_wire(wire.role).ok_or(Malformed)?,
            health_score: wire.health_score,
            recipient: wire.recipient.address(),
            recipient_generation: Generation(wire.recipient_generation.get()),
            subject: wire.subject.address(),
            parameter: wire.parameter.get(),
            state_version: wire.state_version.get(),
        };
        if !header.sender.is_reachable() || wire.flags & !HAS_COORDINATE != 0 {
            return Err(Malformed);
        }
        let (coordinate, rest) = match wire.flags & HAS_COORDINATE {
            0 => (None, rest),
            _ => {
                let (wire, rest) = WireCoordinate::ref_from_prefix(rest).map_err(|_| Malformed)?;
                (Some(read_coordinate(wire)), rest)
            }
        };
        let (datacenter, rest) = read_name(rest, wire.datacenter_size)?;
        let mut payload = rest;
        for _ in 0..wire.update_count {
            (_, payload) = read_update(payload)?;
        }
        if payload.len() != usize::from(wire.payload_size.get()) {
            return Err(Malformed);
        }
        super::payload::check(header.kind, payload)?;
        let updates = &rest[..rest.len() - payload.len()];
        Ok(Message { header, datacenter, coordinate, updates, payload })
    }

    /// The member updates, in order of importance to the sender.
    pub fn updates(&self) -> impl Iterator<Item = Update> + use<'a> {
        let mut unread = self.updates;
        std::iter::from_fn(move || {
            let (update, rest) = read_update(unread).ok()?;
            unread = rest;
            Some(update)
        })
    }

    /// Whom the updates are about, in the same order.
    pub fn subjects(&self) -> impl Iterator<Item = Address> + Clone + use<'a> {
        let mut unread = self.updates;
        std::iter::from_fn(move || {
            let (wire, rest) = WireUpdate::ref_from_prefix(unread).ok()?;
            unread = rest.get(usize::from(wire.datacenter_size)..)?;
            Some(wire.address.address())
        })
    }
}

fn read_coordinate(wire: &WireCoordinate) -> Coordinate {
    Coordinate {
        vector: wire.vector.map(|component| f64::from(component.get())),
        height: f64::from(wire.height.get()),
        adjustment: f64::from(wire.adjustment.get()),
        error: f64::from(wire.error.get()),
    }
}

fn read_name(bytes: &[u8], size: u8) -> Result<(DatacenterName, &[u8]), Malformed> {
    let (name, rest) = bytes.split_at_checked(usize::from(size)).ok_or(Malformed)?;
    Ok((DatacenterName::from_bytes(name).ok_or(Malformed)?, rest))
}

fn read_update(bytes: &[u8]) -> Result<(Update, &[u8]), Malformed> {
    let (wire, rest) = WireUpdate::ref_from_prefix(bytes).map_err(|_| Malformed)?;
    let (datacenter, rest) = read_name(rest, wire.datacenter_size)?;
    let state = MemberState::ALL.get(usize::from(wire.state)).copied().ok_or(Malformed)?;
    if state == MemberState::Removed {
        return Err(Malformed);
    }
    let update = Update {
        address: wire.address.address(),
        generation: Generation(wire.generation.get()),
        incarnation: Incarnation(wire.incarnation.get()),
        state,
        role: Role::from_wire(wire.role).ok_or(Malformed)?,
        health_score: wire.health_score,
        datacenter,
        accuser: wire.accuser.get(),
        state_version: wire.state_version.get(),
    };
    Ok((update, rest))
}

/// Writes an update at the beginning of `buffer` and returns its size, `None` when there is no room.
pub(crate) fn write_update(buffer: &mut [u8], update: &Update) -> Option<usize> {
    let name = update.datacenter.as_bytes();
    let wire = WireUpdate {
        address: update.address.into(),
        generation: U64::new(update.generation.0),
        incarnation: U32::new(update.incarnation.0),
        accuser: U32::new(update.accuser),
        state_version: U32::new(update.state_version),
        state: update.state as u8,
        role: update.role as u8,
        health_score: update.health_score,
        datacenter_size: name.len() as u8,
    };
    let size = size_of::<WireUpdate>() + name.len();
    let (fixed, rest) = buffer.get_mut(..size)?.split_at_mut(size_of::<WireUpdate>());
    fixed.copy_from_slice(wire.as_bytes());
    rest.copy_from_slice(name);
    Some(size)
}

/// Writes one message into the buffer it will be sent from.
///
/// Updates come before the payload: once a payload byte is written, no update may follow.
#[derive(Debug)]
pub struct MessageWriter<'a> {
    buffer: &'a mut [u8],
    size: usize,
    update_count: u8,
    update_count_max: u8,
    payload_size: u16,
}

impl<'a> MessageWriter<'a> {
    /// Begins a message. `buffer` is as large as the message may become.
    ///
    /// # Panics
    /// When the buffer has no room for a message without updates.
    pub fn new(
        buffer: &'a mut [u8],
        header: &Header,
        datacenter: &DatacenterName,
        coordinate: &Coordinate,
    ) -> MessageWriter<'a> {
        let name = datacenter.as_bytes();
        let wire = WireHeader {
            kind: header.kind as u8,
            flags: HAS_COORDINATE,
            role: header.role as u8,
            health_score: header.health_score,
            sequence: U32::new(header.sequence),
            generation: U64::new(header.generation.0),
            recipient_generation: U64::new(header.recipient_generation.0),
            incarnation: U32::new(header.incarnation.0),
            parameter: U32::new(header.parameter),
            sender: header.sender.into(),
            recipient: header.recipient.into(),
            subject: header.subject.into(),
            update_count: 0,
            datacenter_size: name.len() as u8,
            state_version: U32::new(header.state_version),
            payload_size: U16::ZERO,
        };
        let wire_coordinate = WireCoordinate {
            vector: coordinate.vector.map(|component| F32::new(component as f32)),
            height: F32::new(coordinate.height as f32),
            adjustment: F32::new(coordinate.adjustment as f32),
            error: F32::new(coordinate.error as f32),
        };
        let (update_count, update_count_max) = (0, u8::MAX);
        let mut writer =
            MessageWriter { buffer, size: 0, update_count, update_count_max, payload_size: 0 };
        writer.append(wire.as_bytes());
        writer.append(wire_coordinate.as_bytes());
        writer.append(name);
        writer
    }

    /// Takes at most this many updates.
    pub(crate) fn limit_updates(&mut self, count: u8) {
        self.update_count_max = count;
    }

    /// Adds an update; false, and nothing added, when there is no room for it.
    pub fn push_update(&mut self, update: &Update) -> bool {
        debug_assert_eq!(self.payload_size, 0, "updates come before the payload");
        if self.update_count >= self.update_count_max {
            return false;
        }
        let Some(size) = write_update(&mut self.buffer[self.size..], update) else { return false };
        self.size += size;
        self.update_count += 1;
        true
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.buffer.len() - self.size
    }

    /// Adds these parts to the payload, all or none; false when there is no room for them.
    pub fn push_payload(&mut self, parts: &[&[u8]]) -> bool {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if self.room() < size {
            return false;
        }
        parts.iter().for_each(|part| self.append(part));
        self.payload_size += size as u16;
        true
    }

    /// Tells the reader where the next page begins.
    pub fn set_parameter(&mut self, parameter: u32) {
        let at = std::mem::offset_of!(WireHeader, parameter);
        self.buffer[at..at + 4].copy_from_slice(&parameter.to_le_bytes());
    }

    /// How many updates have been added.
    pub fn update_count(&self) -> u8 {
        self.update_count
    }

    /// Completes the message and returns its size.
    pub fn finish(self) -> usize {
        self.buffer[std::mem::offset_of!(WireHeader, update_count)] = self.update_count;
        let at = std::mem::offset_of!(WireHeader, payload_size);
        self.buffer[at..at + 2].copy_from_slice(&self.payload_size.to_le_bytes());
        self.size
    }

    fn append(&mut self, bytes: &[u8]) {
        self.buffer[self.size..][..bytes.len()].copy_from_slice(bytes);
        self.size += bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::wire::payload::{Broadcast, broadcasts, push_broadcast};

    fn header() -> Header {
        Header {
            kind: Kind::IndirectProbe,
            sequence: 77,
            sender: "10.0.0.1:7946".parse().unwrap(),
            generation: Generation(5),
            incarnation: Incarnation(6),
            role: Role::Gate,
            health_score: 3,
            recipient: "[::1]:9".parse().unwrap(),
            recipient_generation: Generation(8),
            subject: "10.0.0.2:1".parse().unwrap(),
            parameter: 12,
            state_version: 4,
        }
    }

    fn update(port: u16) -> Update {
        Update {
            address: Address::from_parts([9; 16], port),
            generation: Generation(u64::from(port) * 3),
            incarnation: Incarnation(1),
            state: MemberState::Suspect,
            role: Role::Worker,
            health_score: 1,
            datacenter: "eu-west".parse().unwrap(),
            accuser: 99,
            state_version: 17,
        }
    }

    fn coordinate() -> Coordinate {
        Coordinate { vector: [0.5; 8], height: 0.25, adjustment: -0.125, error: 1.5 }
    }

    fn message(update_count: u16) -> Vec<u8> {
        let mut buffer = vec![0; 1_352];
        let datacenter = "us-east".parse().unwrap();
        let mut writer = MessageWriter::new(&mut buffer, &header(), &datacenter, &coordinate());
        for port in 0..update_count {
            assert!(writer.push_update(&update(port)));
        }
        let origin = header().sender;
        let bytes = b"payload";
        let broadcast =
            Broadcast { origin, generation: Generation(5), sequence: 1, bytes: &bytes[..] };
        assert!(push_broadcast(&mut writer, &broadcast));
        let size = writer.finish();
        buffer.truncate(size);
        buffer
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = message(20);
        let parsed = Message::parse(&bytes).unwrap();
        assert_eq!(parsed.header, header());
        assert_eq!(parsed.datacenter.as_str(), "us-east");
        assert_eq!(parsed.coordinate, Some(coordinate()));
        assert_eq!(broadcasts(parsed.payload).next().unwrap().bytes, b"payload");
        assert_eq!(parsed.updates().collect::<Vec<_>>(), (0..20).map(update).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_message_takes_no_more_updates() {
        let mut buffer = vec![0; 310];
        let name = "x".parse().unwrap();
        let mut writer = MessageWriter::new(&mut buffer, &header(), &name, &coordinate());
        let accepted = (0..10).filter(|&port| writer.push_update(&update(port))).count();
        assert_eq!(accepted, 3);
        let size = writer.finish();
        assert_eq!(Message::parse(&buffer[..size]).unwrap().updates().count(), 3);
    }

    #[test]
    fn kinds_survive_their_wire_form() {
        for number in 0..=u8::MAX {
            match Kind::from_wire(number) {
                Some(kind) => assert_eq!(kind as u8, number),
                None => assert!(number == 0 || number > Kind::Federation as u8, "{number}"),
            }
        }
    }

    #[test]
    fn every_truncation_is_malformed() {
        let bytes = message(3);
        for size in 0..bytes.len() {
            assert!(Message::parse(&bytes[..size]).is_err(), "{size} bytes were accepted");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(Message::parse(&longer).is_err());
    }

    #[test]
    fn random_damage_never_panics_and_never_half_parses() {
        let mut random = Random::new(11);
        let good = message(5);
        for _ in 0..100_000 {
            let mut bytes = good.clone();
            for _ in 0..=random.below(4) {
                let index = random.below(bytes.len() as u32) as usize;
                bytes[index] = random.next_u64() as u8;
            }
            if let Ok(parsed) = Message::parse(&bytes) {
                let told = bytes[std::mem::offset_of!(WireHeader, update_count)];
                assert_eq!(parsed.updates().count(), usize::from(told));
            }
        }
    }

    #[test]
    fn a_sender_that_cannot_be_answered_is_malformed() {
        let mut bytes = message(0);
        let at = std::mem::offset_of!(WireHeader, sender);
        bytes[at..at + 18].fill(0);
        assert!(Message::parse(&bytes).is_err());
    }
}
