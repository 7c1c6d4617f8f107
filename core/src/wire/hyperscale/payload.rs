//! A payload taken apart: the base, and the sections that ride on it.
//!
//! A section begins with `#|` and its letter: `s` the embedded state, `m` members, `h` health, `w`
//! workers, `v` the sender's coordinate. The Python node writes them in this order and searches for
//! them one at a time, which loses or damages some on its way through. Here they are found in one
//! pass, in any order; of several with one letter the first counts.

use super::coordinate::PeerCoordinate;
use super::entry::{HealthEntry, MemberEntry, WorkerEntry};
use super::{ENTRY_COUNT_MAX, coordinate};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

pub(super) const STATE: &[u8] = b"#|s";
pub(super) const MEMBERS: &[u8] = b"#|m";
pub(super) const HEALTH: &[u8] = b"#|h";
pub(super) const WORKERS: &[u8] = b"#|w";
pub(super) const COORDINATE: &[u8] = b"#|v";

/// Standard alphabet; padding is written and not insisted on.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A section entry that breaks its form. The others are not touched by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedEntry;

/// Views of one payload. Any bytes can be read as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The message itself, see [`Message`](super::Message).
    pub base: &'a [u8],
    /// What the sender's host embedded, in base64.
    pub state: Option<&'a [u8]>,
    members: &'a [u8],
    health: &'a [u8],
    workers: &'a [u8],
    coordinate: Option<&'a [u8]>,
}

impl<'a> Payload<'a> {
    /// Takes a payload apart.
    pub fn parse(bytes: &'a [u8]) -> Payload<'a> {
        let mut payload = Payload { base: bytes, ..Payload::default() };
        let mut open: Option<(u8, usize)> = None;
        let mut seen = 0u32;
        for at in memchr::memchr_iter(b'#', bytes) {
            let Some(&[b'|', letter]) = bytes.get(at + 1..at + 3) else { continue };
            if at == 0 || !b"smhwv".contains(&letter) {
                continue;
            }
            match open {
                None => payload.base = &bytes[..at],
                Some((letter, start)) => payload.close(letter, &bytes[start..at], &mut seen),
            }
            open = Some((letter, at + 3));
        }
        if let Some((letter, start)) = open {
            payload.close(letter, &bytes[start..], &mut seen);
        }
        payload
    }

    fn close(&mut self, letter: u8, content: &'a [u8], seen: &mut u32) {
        let flag = 1 << (letter - b'a');
        if std::mem::replace(seen, *seen | flag) & flag != 0 {
            return;
        }
        match letter {
            b's' => self.state = Some(content),
            b'm' => self.members = content,
            b'h' => self.health = content,
            b'w' => self.workers = content,
            _ => self.coordinate = Some(content),
        }
    }

    /// News of members, the first [`ENTRY_COUNT_MAX`].
    pub fn members(&self) -> impl Iterator<Item = Result<MemberEntry, MalformedEntry>> + use<'a> {
        entries(self.members, b'|').map(|entry| MemberEntry::parse(entry).ok_or(MalformedEntry))
    }

    /// News of members' health, the first [`ENTRY_COUNT_MAX`].
    pub fn health(
        &self,
    ) -> impl Iterator<Item = Result<HealthEntry<'a>, MalformedEntry>> + use<'a> {
        entries(self.health, b';').map(|entry| HealthEntry::parse(entry).ok_or(MalformedEntry))
    }

    /// News of workers, the first [`ENTRY_COUNT_MAX`].
    pub fn workers(
        &self,
    ) -> impl Iterator<Item = Result<WorkerEntry<'a>, MalformedEntry>> + use<'a> {
        entries(self.workers, b'|').map(|entry| WorkerEntry::parse(entry).ok_or(MalformedEntry))
    }

    /// Where the sender says it is, `None` when it does not say.
    pub fn coordinate(&self) -> Option<Result<PeerCoordinate, MalformedEntry>> {
        self.coordinate.map(|json| coordinate::parse(json).ok_or(MalformedEntry))
    }

    /// Decodes the embedded state into `buffer`; `None` when there is none, or it is no base64 or
    /// too large.
    pub fn decode_state<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let size = BASE64.decode_slice(self.state?, buffer).ok()?;
        Some(&buffer[..size])
    }
}

fn entries(section: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = (!section.is_empty()).then_some(section);
    std::iter::from_fn(move || super::text::field(&mut rest, separator)).take(ENTRY_COUNT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "ack>127.0.0.1:9001#|saGVsbG8tc3RhdGU=#|mjoin:0:127.0.0.1:9005:worker|suspect:2:127.0.0.1:9007\
        #|hDC1-50-0018a3b2c4d5e-f3a2b1c9d8e7|manager|healthy|1|8|1.50|2.00|1234.50\
        #|ww1:m1:127.0.0.1:9100:9101:registered:3:8:4:55.250000:DC1#|v{\"vec\":[0.001,0.0,0.0,0.0,0.0,0.0,0.0,0.0],\
        \"height\":0.0005,\"adjustment\":-0.0001,\"error\":0.25,\"sample_count\":12}";

    #[test]
    fn takes_all_five_sections_apart() {
        let payload = Payload::parse(ALL.as_bytes());
        assert_eq!(payload.base, b"ack>127.0.0.1:9001");
        let mut buffer = [0; 32];
        assert_eq!(payload.decode_state(&mut buffer), Some(&b"hello-state"[..]));
        assert_eq!(payload.members().filter(|entry| entry.is_ok()).count(), 2);
        assert_eq!(payload.health().filter(|entry| entry.is_ok()).count(), 1);
        assert_eq!(payload.workers().filter(|entry| entry.is_ok()).count(), 1);
        let coordinate = payload.coordinate().unwrap().unwrap();
        assert_eq!((coordinate.sample_count, coordinate.coordinate.height), (12, 0.0005));
    }

    #[test]
    fn sections_come_in_any_order_and_the_first_of_a_kind_counts() {
        let payload =
            Payload::parse(b"probe>1.2.3.4:5#|v{}#|mjoin:0:1.2.3.4:6#|mjoin:0:1.2.3.4:7#|h");
        assert_eq!(payload.base, b"probe>1.2.3.4:5");
        assert_eq!(payload.members().map(|m| m.unwrap().address.port()).collect::<Vec<_>>(), [6]);
        assert_eq!(payload.health().count(), 0);
        assert!(payload.coordinate().unwrap().is_err());
    }

    #[test]
    fn what_looks_like_a_section_and_is_none_stays_in_place() {
        for text in ["#|mjoin", "probe>#|x", "probe#", "probe#|", "", "a#b#|"] {
            assert_eq!(Payload::parse(text.as_bytes()).base, text.as_bytes(), "{text}");
        }
    }

    #[test]
    fn bad_entries_are_skipped_and_their_number_is_bounded() {
        let text = b"ack>1.2.3.4:5#|mjoin:0:1.2.3.4:9000#|bad|x|alive:1:1.2.3.4:9001:gate|";
        let read: Vec<_> = Payload::parse(text).members().collect();
        assert_eq!(read.iter().filter(|entry| entry.is_ok()).count(), 1);
        assert_eq!(read.len(), 5);
        let many = format!("ack>1.2.3.4:5#|m{}", "alive:1:1.2.3.4:9001|".repeat(10_000));
        assert_eq!(Payload::parse(many.as_bytes()).members().count(), ENTRY_COUNT_MAX);
    }

    #[test]
    fn a_state_that_is_no_base64_or_too_large_is_none() {
        let mut buffer = [0; 4];
        for text in ["ack>x#|s!!!!", "ack>x#|saGVsbG8tc3RhdGU=", "ack>x"] {
            assert_eq!(Payload::parse(text.as_bytes()).decode_state(&mut buffer), None, "{text}");
        }
    }
}
