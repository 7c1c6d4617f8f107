//! The format of the Python node: text in a Lamport-clocked frame, in zstd, in a sealed envelope.
//!
//! ```text
//! datagram = salt 16 | nonce 12 | AES-256-GCM( zstd( frame ) ) | tag 16              envelope, compression
//! frame    = type "<" address "<" handler "<" clock 64 | length 4 | payload          frame
//! payload  = base [ "#|s" state ] [ "#|m" members ] [ "#|h" health ] [ "#|w" workers ] [ "#|v" coordinate ]
//! base     = name [ ":" argument ]* [ ">" target ]                                    message
//! ```
//!
//! Each file holds one layer; nothing here remembers a peer or decides anything. What comes in is
//! read where it lies: [`Envelopes::open`] decrypts in place, [`Unpacker::unpack`] fills one buffer
//! that is used again for every datagram, and [`Frame`], [`Payload`] and [`Message`] are views of
//! it. What goes out is written once, by a [`Draft`] in the buffer that will be sent.
//!
//! # What is read and what is written
//! Reading is as liberal as the Python node where its behaviour is sound, and accepts what its
//! present version really sends (a coroutine's text in place of an incarnation, for example). A
//! section entry that breaks its form is skipped and counted; the other entries stand on their own.
//! Writing keeps to what both the present version and a repaired one read: IP addresses as numbers,
//! entries whole, datagrams of at most 1,400 bytes, zstd frames of raw blocks, which cost a copy.
//!
//! # Limits
//! Sizes are checked before anything is unpacked and no size that a peer declares is ever
//! allocated: a frame has at most [`FRAME_SIZE_MAX`] bytes and at most [`UNPACKING_RATIO_MAX`]
//! times the bytes it came in. Pickled bodies and embedded states are bytes to this code; it never
//! looks into them.

pub mod compression;
pub mod coordinate;
pub mod draft;
pub mod entry;
pub mod envelope;
pub mod frame;
pub mod message;
pub mod payload;
mod text;

pub use compression::Unpacker;
pub use coordinate::{NativeAbility, PeerCoordinate};
pub use draft::Draft;
pub use entry::{HealthEntry, MemberEntry, UpdateKind, WorkerEntry};
pub use envelope::Envelopes;
pub use frame::{Clock, Frame, FrameKind};
pub use message::{Message, Name};
pub use payload::Payload;
pub use text::{ADDRESS_TEXT_SIZE_MAX, address_text};

/// The largest frame that is unpacked, in bytes. A frame is a header of some hundred bytes and a
/// payload that the Python node never makes longer than about 2,700 bytes.
pub const FRAME_SIZE_MAX: usize = 65_536;
/// How many times larger than its packed form a frame may be.
pub const UNPACKING_RATIO_MAX: usize = 100;
/// The longest payload of a request that is acted upon; a longer one is answered with `nack`.
pub const PAYLOAD_SIZE_MAX: usize = 1_400;
/// Most entries of one section that are read; the rest is ignored.
pub const ENTRY_COUNT_MAX: usize = 100;
/// Most entries of one section that are written.
pub const ENTRY_COUNT_SENT_MAX: usize = 5;
/// The handler that every membership message names.
pub const HANDLER: &[u8] = b"receive";
