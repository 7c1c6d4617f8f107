//! A datagram being written, in the buffer that will be sent.
//!
//! First the base, then the sections in the order of the format, each as far as it fits: `m`, `h`
//! and `w` up to five entries, nothing more once fewer than 50 bytes are left, `v` only while there
//! are 150. What is asked for and does not fit is left out whole; nothing is ever cut.

use super::compression::{self, PACKING_OVERHEAD};
use super::coordinate;
use super::entry::{HealthEntry, MemberEntry, WorkerEntry};
use super::envelope::{Envelopes, OVERHEAD, SEALED_OFFSET};
use super::frame::{self, FrameKind};
use super::message::{Name, PROTOCOL_VERSION};
use super::payload::{BASE64, COORDINATE, HEALTH, MEMBERS, STATE, WORKERS};
use super::text::TextWriter;
use super::{ENTRY_COUNT_SENT_MAX, PAYLOAD_SIZE_MAX, PeerCoordinate};
use crate::node::Address;
use base64::Engine as _;

const FRAME_OFFSET: usize = SEALED_OFFSET + PACKING_OVERHEAD;
const TAG_SIZE: usize = OVERHEAD - SEALED_OFFSET;
/// With less room than this no section follows the members.
const ROOM_AFTER_MEMBERS_MIN: usize = 50;
/// With less room than this the coordinate is not tried.
const ROOM_FOR_COORDINATE_MIN: usize = 150;

/// One argument of a message.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// In decimal digits.
    Number(u64),
    /// As it is.
    Text(&'a str),
}

/// The sections, in the order of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Base,
    State,
    Members,
    Health,
    Workers,
    Coordinate,
}

/// A datagram whose payload is being written.
#[derive(Debug)]
pub struct Draft<'a> {
    buffer: &'a mut [u8],
    payload_offset: usize,
    size: usize,
    size_max: usize,
    section: Section,
    entry_count: usize,
}

impl<'a> Draft<'a> {
    /// Begins a datagram that fills at most `buffer`, from a node that calls itself `sender`.
    ///
    /// # Panics
    /// When the buffer has no room for an empty payload.
    pub fn new(
        buffer: &'a mut [u8],
        kind: FrameKind,
        sender: &[u8],
        handler: &[u8],
        clock: u64,
    ) -> Draft<'a> {
        let frame_end = buffer.len().checked_sub(TAG_SIZE).expect("room for a tag");
        let frame = &mut buffer[FRAME_OFFSET..frame_end];
        let prefix = frame::write_prefix(frame, kind, sender, handler, clock);
        let payload_offset = FRAME_OFFSET + prefix.expect("room for a frame");
        let size_max = frame_end.min(payload_offset + PAYLOAD_SIZE_MAX);
        let (size, section) = (payload_offset, Section::Base);
        Draft { buffer, payload_offset, size, size_max, section, entry_count: 0 }
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.size_max - self.size
    }

    /// Writes the message. False when it does not fit, which only a body can bring about.
    pub fn message(&mut self, name: Name, arguments: &[Argument], target: Option<Address>) -> bool {
        self.base(name, arguments, |writer| {
            if let Some(target) = target {
                if name == Name::Join {
                    let (major, minor) = PROTOCOL_VERSION;
                    writer.push(b"v").push_number(major.into()).push(b".");
                    writer.push_number(minor.into()).push(b"|");
                }
                writer.push_address(target);
            }
        })
    }

    /// Writes a message whose body the host has pickled. False when it does not fit.
    pub fn message_with_body(&mut self, name: Name, body: &[u8]) -> bool {
        self.base(name, &[], |writer| {
            writer.push(body);
        })
    }

    fn base(
        &mut self,
        name: Name,
        arguments: &[Argument],
        write_target: impl FnOnce(&mut TextWriter),
    ) -> bool {
        debug_assert_eq!(self.size, self.payload_offset, "the message comes first, once");
        self.append(|writer| {
            writer.push(name.text().as_bytes());
            for argument in arguments {
                writer.push(b":");
                match argument {
                    Argument::Number(number) => writer.push_number(*number),
                    Argument::Text(text) => writer.push(text.as_bytes()),
                };
            }
            writer.push(b">");
            write_target(writer);
        })
    }

    /// Embeds the host's state. False when it does not fit.
    pub fn push_state(&mut self, state: &[u8]) -> bool {
        debug_assert!(self.section < Section::State, "sections have an order");
        let size = STATE.len() + state.len().div_ceil(3) * 4;
        if size > self.room() {
            return false;
        }
        self.section = Section::State;
        self.append(|writer| {
            writer.push(STATE);
        });
        let place = &mut self.buffer[self.size..self.size_max];
        self.size += BASE64.encode_slice(state, place).expect("its room was checked");
        true
    }

    /// Adds news of a member. False when it does not fit, or five have been added.
    pub fn push_member(&mut self, entry: &MemberEntry) -> bool {
        self.entry(Section::Members, MEMBERS, b"|", |writer| entry.write(writer))
    }

    /// Adds news of a node's health. False when it does not fit, or five have been added.
    pub fn push_health(&mut self, entry: &HealthEntry) -> bool {
        self.has_room_behind_members()
            && self.entry(Section::Health, HEALTH, b";", |writer| entry.write(writer))
    }

    /// Adds news of a worker. False when it does not fit, or five have been added.
    pub fn push_worker(&mut self, entry: &WorkerEntry) -> bool {
        self.has_room_behind_members()
            && self.entry(Section::Workers, WORKERS, b"|", |writer| entry.write(writer))
    }

    /// Adds the sender's coordinate. False when it does not fit.
    pub fn push_coordinate(&mut self, peer: &PeerCoordinate) -> bool {
        self.room() >= ROOM_FOR_COORDINATE_MIN
            && self.entry(Section::Coordinate, COORDINATE, b"", |writer| {
                coordinate::write(peer, writer);
            })
    }

    /// The same, from the text that [`write_coordinate`] gave earlier.
    pub fn push_coordinate_text(&mut self, text: &[u8]) -> bool {
        self.room() >= ROOM_FOR_COORDINATE_MIN
            && self.entry(Section::Coordinate, COORDINATE, b"", |writer| {
                writer.push(text);
            })
    }

    /// Completes the datagram and returns it, the beginning of the buffer.
    pub fn seal(self, envelopes: &mut Envelopes) -> &'a mut [u8] {
        frame::write_length(self.buffer, self.payload_offset, self.size - self.payload_offset);
        let frame_size = self.size - FRAME_OFFSET;
        let packed = compression::pack(&mut self.buffer[SEALED_OFFSET..], frame_size);
        let size = envelopes.seal(self.buffer, packed);
        &mut self.buffer[..size]
    }

    /// Whether the section that is to follow the members is worth beginning.
    fn has_room_behind_members(&self) -> bool {
        self.room() >= ROOM_AFTER_MEMBERS_MIN
    }

    fn entry(
        &mut self,
        section: Section,
        prefix: &[u8],
        separator: &[u8],
        write: impl FnOnce(&mut TextWriter),
    ) -> bool {
        debug_assert!(self.section <= section, "sections have an order");
        let is_first = self.section < section;
        let limit = if section == Section::Coordinate { 1 } else { ENTRY_COUNT_SENT_MAX };
        if !is_first && self.entry_count >= limit {
            return false;
        }
        let lead = if is_first { prefix } else { separator };
        let is_written = self.append(|writer| {
            writer.push(lead);
            write(writer);
        });
        if is_written {
            self.section = section;
            self.entry_count = if is_first { 1 } else { self.entry_count + 1 };
        }
        is_written
    }

    /// Appends all that is written or, when it does not fit, nothing.
    fn append(&mut self, write: impl FnOnce(&mut TextWriter)) -> bool {
        let mut writer = TextWriter::new(&mut self.buffer[self.size..self.size_max]);
        write(&mut writer);
        let written = writer.finish();
        self.size += written.unwrap_or(0);
        written.is_some()
    }
}

/// The text of a coordinate, for a sender whose coordinate changes less often than it is sent.
/// Returns its size.
///
/// # Panics
/// When `buffer` is smaller than
/// [`COORDINATE_TEXT_SIZE_MAX`](coordinate::COORDINATE_TEXT_SIZE_MAX).
pub fn write_coordinate(peer: &PeerCoordinate, buffer: &mut [u8]) -> usize {
    assert!(buffer.len() >= coordinate::COORDINATE_TEXT_SIZE_MAX, "a coordinate may need it");
    let mut writer = TextWriter::new(buffer);
    coordinate::write(peer, &mut writer);
    writer.finish().expect("twelve numbers fit a thousand bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DATAGRAM_SIZE_MAX, Secret};
    use crate::coordinate::Coordinate;
    use crate::node::Role;
    use crate::random::Random;
    use crate::wire::hyperscale::{Frame, HANDLER, Message, Payload, Unpacker, UpdateKind};

    const OWN: &[u8] = b"127.0.0.1:9001";

    fn member(port: u16) -> MemberEntry {
        let address = Address::from_parts([9; 16], port);
        MemberEntry { kind: UpdateKind::Join, incarnation: 7, address, role: Some(Role::Worker) }
    }

    fn coordinate() -> PeerCoordinate {
        let coordinate =
            Coordinate { vector: [0.125; 8], height: 0.25, adjustment: 0.0, error: 1.0 };
        PeerCoordinate { coordinate, sample_count: 3, native: None }
    }

    fn envelopes(seed: u64) -> Envelopes {
        let secret = Secret::new(*b"a secret of some bytes").unwrap();
        Envelopes::new(&[secret], 1, &mut Random::new(seed))
    }

    /// What a receiver makes of the datagram that `write` drafts in `size` bytes.
    fn received(size: usize, write: impl FnOnce(&mut Draft)) -> (usize, Vec<u8>) {
        let mut buffer = vec![0; size];
        let mut draft = Draft::new(&mut buffer, FrameKind::Request, OWN, HANDLER, 5);
        write(&mut draft);
        let datagram = draft.seal(&mut envelopes(1));
        let size = datagram.len();
        let mut receiver = envelopes(2);
        let mut unpacker = Unpacker::new();
        let frame = unpacker.unpack(receiver.open(datagram).unwrap()).unwrap();
        let frame = Frame::parse(frame).unwrap();
        assert_eq!((frame.sender, frame.handler, frame.clock), (OWN, HANDLER, Some(5)));
        assert!(!frame.is_cut_short);
        (size, frame.payload.to_vec())
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let target: Address = "10.1.2.3:77".parse().unwrap();
        for &name in Name::ALL {
            let arguments = [Argument::Number(12), Argument::Text("x")];
            let (_, payload) = received(DATAGRAM_SIZE_MAX, |draft| {
                assert!(match name.has_body() {
                    true => draft.message_with_body(name, b"\x80\x04>pickle."),
                    false => draft.message(name, &arguments, Some(target)),
                });
                assert!(draft.push_member(&member(1)));
            });
            let base = Payload::parse(&payload).base;
            let message = Message::parse(base);
            assert_eq!(message.name, Some(name));
            match name.has_body() {
                true => assert_eq!(message.body, b"\x80\x04>pickle."),
                false => {
                    assert_eq!((message.target(), message.number(0)), (Some(target), Some(12)))
                }
            }
        }
    }

    #[test]
    fn sections_go_in_whole_as_far_as_they_fit() {
        for size in 700..DATAGRAM_SIZE_MAX {
            let mut told = 0;
            let (sent, payload) = received(size, |draft| {
                assert!(draft.message(Name::Ack, &[], None));
                draft.push_state(&[1; 300]);
                told = (0..10).filter(|&port| draft.push_member(&member(port + 1))).count();
                draft.push_coordinate(&coordinate());
            });
            assert!(sent <= size);
            let payload = Payload::parse(&payload);
            assert!(payload.members().all(|entry| entry.is_ok()));
            assert_eq!(payload.members().count(), told);
            assert!(payload.coordinate().is_none_or(|read| read == Ok(coordinate())));
        }
        let (_, payload) = received(DATAGRAM_SIZE_MAX, |draft| {
            assert!(draft.message(Name::Ack, &[], None));
            assert!(!draft.push_state(&[1; 1_000]));
            assert_eq!((0..10).filter(|&port| draft.push_member(&member(port + 1))).count(), 5);
            assert!(draft.push_coordinate(&coordinate()));
            assert!(!draft.push_coordinate(&coordinate()));
        });
        assert_eq!(Payload::parse(&payload).coordinate(), Some(Ok(coordinate())));
    }

    #[test]
    fn health_and_workers_begin_only_with_fifty_bytes_left() {
        let health = HealthEntry::parse(b"n|gate|busy|1|8|1.50|2.00|4.50").unwrap();
        let worker = WorkerEntry::parse(b"w:m:h:1:2:dead:3:8:4:5.250000:D").unwrap();
        for (spare, expected) in
            [(48, [false; 3]), (52, [true, false, false]), (148, [true, true, false])]
        {
            let (_, payload) = received(DATAGRAM_SIZE_MAX, |draft| {
                assert!(draft.message(Name::Ack, &[], None));
                let fill = draft.room() - spare - STATE.len();
                assert!(draft.push_state(&vec![0; fill / 4 * 3]));
                assert!((spare..spare + 4).contains(&draft.room()));
                assert_eq!(draft.push_health(&health), expected[0]);
                assert_eq!(draft.push_worker(&worker), expected[1]);
                assert_eq!(draft.push_coordinate(&coordinate()), expected[2]);
            });
            let payload = Payload::parse(&payload);
            assert_eq!(payload.health().next(), expected[0].then_some(Ok(health)));
            assert_eq!(payload.workers().next(), expected[1].then_some(Ok(worker)));
        }
    }

    #[test]
    fn a_coordinate_kept_as_text_is_the_same() {
        let mut text = [0; coordinate::COORDINATE_TEXT_SIZE_MAX];
        let size = write_coordinate(&coordinate(), &mut text);
        let (_, payload) = received(DATAGRAM_SIZE_MAX, |draft| {
            assert!(draft.message(Name::Ack, &[], None));
            assert!(draft.push_coordinate_text(&text[..size]));
        });
        assert_eq!(Payload::parse(&payload).coordinate(), Some(Ok(coordinate())));
    }
}
