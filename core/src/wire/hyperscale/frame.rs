//! The frame: who speaks, to which handler, at which Lamport time, and the payload.
//!
//! ```text
//! type "<" address "<" handler "<" clock 64, big-endian | length 4, big-endian | payload
//! ```
//!
//! The address is what the sender calls itself. It tells who the sender is, never where an answer
//! goes. Clocks have 512 bits on the wire; a value beyond [`Clock::MAX`] comes from no honest count
//! of messages and is not adopted, so that no peer can drive this node's clock, or through it
//! another's, to its end.

use crate::node::Address;

use super::text;

const CLOCK_SIZE: usize = 64;
const LENGTH_SIZE: usize = 4;

/// Whether an answer is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Asks; answered with exactly one reply.
    Request,
    /// Answers.
    Reply,
}

/// A frame, as views of the unpacked datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whether it asks or answers.
    pub kind: FrameKind,
    /// The address the sender gives itself, as text. It is a legal one, but may name a host.
    pub sender: &'a [u8],
    /// Which of the receiver's functions is meant.
    pub handler: &'a [u8],
    /// The sender's Lamport time, `None` when it is beyond [`Clock::MAX`].
    pub clock: Option<u64>,
    /// The message.
    pub payload: &'a [u8],
    /// Whether the sender announced a longer payload than came. Nothing in it may be acted upon,
    /// because its last words may be cut short and mean something else.
    pub is_cut_short: bool,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Frame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// When there are fewer than three separators, the type is neither request nor reply, or the
    /// address cannot be one. A missing end is none: the Python node reads what is there.
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, Malformed> {
        let (kind, rest) = text::split_once(bytes, b'<').ok_or(Malformed)?;
        let (sender, rest) = text::split_once(rest, b'<').ok_or(Malformed)?;
        let (handler, rest) = text::split_once(rest, b'<').ok_or(Malformed)?;
        let kind = match kind {
            b"c" => FrameKind::Request,
            b"s" => FrameKind::Reply,
            _ => return Err(Malformed),
        };
        if !text::is_endpoint(sender) {
            return Err(Malformed);
        }
        let (clock, rest) = rest.split_at(rest.len().min(CLOCK_SIZE));
        let (length, rest) = rest.split_at(rest.len().min(LENGTH_SIZE));
        let length = length.iter().fold(0, |value, &byte| value << 8 | usize::from(byte));
        let payload = &rest[..rest.len().min(length)];
        let is_cut_short = payload.len() < length;
        Ok(Frame { kind, sender, handler, clock: Clock::read(clock), payload, is_cut_short })
    }

    /// The sender's address when it is numeric and can be sent to: a name or `0.0.0.0` says
    /// nothing.
    pub fn sender_address(&self) -> Option<Address> {
        text::address(self.sender).filter(Address::is_reachable)
    }
}

/// A Lamport clock that peers cannot drive to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    time: u64,
}

impl Clock {
    /// Times beyond are not adopted. A cluster that exchanged a million messages a second would
    /// take nine thousand years to get there.
    pub const MAX: u64 = 1 << 58;

    /// The time now.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The time to put into a request.
    pub fn tick(&mut self) -> u64 {
        // Far above the limit for adopted times, so it ends in no lifetime.
        self.time += 1;
        self.time
    }

    /// A request came with this time; what is returned goes into its reply.
    pub fn request_received(&mut self, time: Option<u64>) -> u64 {
        self.reply_received(time);
        self.tick()
    }

    /// A reply came with this time.
    pub fn reply_received(&mut self, time: Option<u64>) {
        self.time = self.time.max(time.unwrap_or(0));
    }

    /// Reads up to 64 bytes; `None` when the value is above [`Clock::MAX`].
    fn read(bytes: &[u8]) -> Option<u64> {
        let (high, low) = bytes.split_at(bytes.len().saturating_sub(8));
        let time = low.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        (high.iter().all(|&byte| byte == 0) && time <= Clock::MAX).then_some(time)
    }
}

/// Writes everything but length and payload at the beginning of `buffer` and returns where the
/// payload begins, `None` when the buffer is too small.
pub(super) fn write_prefix(
    buffer: &mut [u8],
    kind: FrameKind,
    sender: &[u8],
    handler: &[u8],
    clock: u64,
) -> Option<usize> {
    let letter = match kind {
        FrameKind::Request => b"c",
        FrameKind::Reply => b"s",
    };
    let mut clock_bytes = [0; CLOCK_SIZE];
    clock_bytes[CLOCK_SIZE - 8..].copy_from_slice(&clock.to_be_bytes());
    let mut size = 0;
    for part in
        [letter, b"<".as_slice(), sender, b"<", handler, b"<", &clock_bytes, &[0; LENGTH_SIZE]]
    {
        buffer.get_mut(size..size + part.len())?.copy_from_slice(part);
        size += part.len();
    }
    Some(size)
}

/// Writes the length of the payload that begins at `payload_offset`.
pub(super) fn write_length(buffer: &mut [u8], payload_offset: usize, length: usize) {
    let length = u32::try_from(length).expect("a payload fits a datagram");
    buffer[payload_offset - LENGTH_SIZE..payload_offset].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: &str, sender: &str, clock: [u8; 64], length: u32, payload: &[u8]) -> Vec<u8> {
        let head = format!("{kind}<{sender}<receive<").into_bytes();
        [&head[..], &clock, &length.to_be_bytes(), payload].concat()
    }

    fn clock(value: u64) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[56..].copy_from_slice(&value.to_be_bytes());
        bytes
    }

    #[test]
    fn reads_what_the_writer_wrote() {
        let mut buffer = [0; 300];
        let sender = b"127.0.0.1:9003";
        let at = write_prefix(&mut buffer, FrameKind::Request, sender, b"receive", 7).unwrap();
        assert_eq!(at, 93);
        buffer[at..at + 20].copy_from_slice(b"probe>127.0.0.1:9001");
        write_length(&mut buffer, at, 20);
        let parsed = Frame::parse(&buffer[..at + 20]).unwrap();
        assert_eq!(buffer[..at + 20], frame("c", "127.0.0.1:9003", clock(7), 20, parsed.payload));
        let expected = Frame {
            kind: FrameKind::Request,
            sender,
            handler: b"receive",
            clock: Some(7),
            payload: b"probe>127.0.0.1:9001",
            is_cut_short: false,
        };
        assert_eq!(parsed, expected);
        assert_eq!(parsed.sender_address(), Some("127.0.0.1:9003".parse().unwrap()));
        assert_eq!(write_prefix(&mut [0; 40], FrameKind::Reply, sender, b"receive", 7), None);
    }

    #[test]
    fn separators_in_clock_and_payload_belong_to_them() {
        let bytes = frame("s", "10.0.0.1:1", [b'<'; 64], 5, b"a<b<c");
        let parsed = Frame::parse(&bytes).unwrap();
        assert_eq!((parsed.payload, parsed.clock), (&b"a<b<c"[..], None));
    }

    #[test]
    fn a_missing_end_is_read_as_far_as_it_goes() {
        let whole = frame("c", "10.0.0.1:1", clock(3), 4, b"abcd");
        let head = whole.len() - 72;
        for size in head..whole.len() {
            let parsed = Frame::parse(&whole[..size]).unwrap();
            assert!(parsed.payload.len() < 4);
            assert_eq!(parsed.is_cut_short, size >= whole.len() - 4, "{size}");
        }
        let longer = frame("c", "10.0.0.1:1", clock(3), 2, b"abcd");
        assert_eq!(Frame::parse(&longer).unwrap().payload, b"ab");
        let shorter = frame("c", "10.0.0.1:1", clock(3), u32::MAX, b"abcd");
        assert!(Frame::parse(&shorter).unwrap().is_cut_short);
    }

    #[test]
    fn refuses_other_types_and_addresses() {
        for (kind, sender) in [
            ("x", "10.0.0.1:1"),
            ("", "10.0.0.1:1"),
            ("cc", "10.0.0.1:1"),
            ("c", ""),
            ("c", "10.0.0.1"),
            ("c", "10.0.0.1:0"),
            ("c", "10.0.0.1:65536"),
            ("c", "10.0.0.1:9000#"),
            ("c", "a b:9"),
            ("c", "[::1]"),
            ("c", ":9"),
        ] {
            let bytes = frame(kind, sender, clock(1), 0, b"");
            assert_eq!(Frame::parse(&bytes), Err(Malformed), "{kind} {sender}");
        }
        assert_eq!(Frame::parse(b"c<10.0.0.1:1<receive"), Err(Malformed));
        assert_eq!(Frame::parse(b""), Err(Malformed));
        let named = frame("c", "host-1.example:9", clock(1), 0, b"");
        assert_eq!(Frame::parse(&named).unwrap().sender_address(), None);
    }

    #[test]
    fn a_clock_out_of_bounds_is_not_adopted() {
        let mut own = Clock::default();
        for bytes in [[0xff; 64], clock(u64::MAX), clock(Clock::MAX + 1)] {
            let bytes = frame("c", "10.0.0.1:1", bytes, 0, b"");
            let parsed = Frame::parse(&bytes).unwrap();
            assert_eq!(parsed.clock, None);
            own.request_received(parsed.clock);
        }
        assert_eq!(own.time(), 3);
        assert_eq!(own.request_received(Some(10)), 11);
        own.reply_received(Some(5));
        assert_eq!(own.tick(), 12);
        own.reply_received(Some(Clock::MAX));
        assert_eq!(own.tick(), Clock::MAX + 1);
    }
}
