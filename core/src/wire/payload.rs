//! What follows the updates of a message, by its kind.
//!
//! | kind | payload |
//! |---|---|
//! | sync request | digest of the sender's member table, 8 bytes, or nothing |
//! | state reply | generation 8, version 4, total size 4, then bytes from the offset in the parameter |
//! | probe, ack, nack, indirect ones, gossip | broadcasts: origin 18, generation 8, sequence 4, size 2, then bytes |
//! | jobs | job messages, see [`jobs::messages`](crate::jobs::messages) |
//! | federation | messages of elections and probes, see [`federation::messages`](crate::federation::messages) |
//! | others | nothing |

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::native::{Kind, Malformed, MessageWriter, WireAddress};
use crate::config::BROADCAST_SIZE_MAX;
use crate::node::{Address, Generation};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireBroadcast {
    origin: WireAddress,
    generation: U64,
    sequence: U32,
    size: U16,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct WireStatePart {
    generation: U64,
    version: U32,
    total_size: U32,
}

/// Bytes that a host sends to every member once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast<'a> {
    /// Who sent it first.
    pub origin: Address,
    /// Which run of the origin.
    pub generation: Generation,
    /// The origin's count of its broadcasts.
    pub sequence: u32,
    /// The host's bytes.
    pub bytes: &'a [u8],
}

impl Broadcast<'_> {
    /// Bytes it takes in a datagram.
    pub fn size_on_wire(bytes: &[u8]) -> usize {
        size_of::<WireBroadcast>() + bytes.len()
    }
}

/// A part of a member's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatePart<'a> {
    /// Which run of the member the state belongs to.
    pub generation: Generation,
    /// The version of the state, 0 when the answering node has none.
    pub version: u32,
    /// The size of the whole state, in bytes.
    pub total_size: u32,
    /// The bytes of this part.
    pub bytes: &'a [u8],
}

/// Checks a payload before anything of its message is used.
pub(super) fn check(kind: Kind, payload: &[u8]) -> Result<(), Malformed> {
    match kind {
        Kind::SyncRequest if matches!(payload.len(), 0 | 8) => Ok(()),
        Kind::StateReply => state_part(payload).map(|_| ()).ok_or(Malformed),
        Kind::SyncRequest | Kind::SyncReply | Kind::StateRequest => {
            if payload.is_empty() {
                Ok(())
            } else {
                Err(Malformed)
            }
        }
        Kind::Jobs => crate::jobs::desk::check_messages(payload),
        Kind::Federation => crate::federation::check_messages(payload),
        _ => {
            let mut unread = payload;
            while !unread.is_empty() {
                (_, unread) = read_broadcast(unread).ok_or(Malformed)?;
            }
            Ok(())
        }
    }
}

/// The broadcasts in a checked payload.
pub fn broadcasts(payload: &[u8]) -> impl Iterator<Item = Broadcast<'_>> {
    let mut unread = payload;
    std::iter::from_fn(move || {
        let (broadcast, rest) = read_broadcast(unread)?;
        unread = rest;
        Some(broadcast)
    })
}

fn read_broadcast(bytes: &[u8]) -> Option<(Broadcast<'_>, &[u8])> {
    let (wire, rest) = WireBroadcast::ref_from_prefix(bytes).ok()?;
    let size = usize::from(wire.size.get());
    if size > BROADCAST_SIZE_MAX {
        return None;
    }
    let (bytes, rest) = rest.split_at_checked(size)?;
    let broadcast = Broadcast {
        origin: wire.origin.address(),
        generation: Generation(wire.generation.get()),
        sequence: wire.sequence.get(),
        bytes,
    };
    Some((broadcast, rest))
}

/// Adds a broadcast; false when there is no room for it.
pub fn push_broadcast(writer: &mut MessageWriter, broadcast: &Broadcast) -> bool {
    let wire = WireBroadcast {
        origin: broadcast.origin.into(),
        generation: U64::new(broadcast.generation.0),
        sequence: U32::new(broadcast.sequence),
        size: U16::new(broadcast.bytes.len() as u16),
    };
    writer.push_payload(&[wire.as_bytes(), broadcast.bytes])
}

/// The part of a state in a payload.
pub fn state_part(payload: &[u8]) -> Option<StatePart<'_>> {
    let (wire, bytes) = WireStatePart::ref_from_prefix(payload).ok()?;
    Some(StatePart {
        generation: Generation(wire.generation.get()),
        version: wire.version.get(),
        total_size: wire.total_size.get(),
        bytes,
    })
}

/// Fills the room that is left with `state` from `offset` on.
pub fn push_state_part(
    writer: &mut MessageWriter,
    generation: Generation,
    version: u32,
    state: &[u8],
    offset: u32,
) {
    let wire = WireStatePart {
        generation: U64::new(generation.0),
        version: U32::new(version),
        total_size: U32::new(state.len() as u32),
    };
    let rest = state.get(offset as usize..).unwrap_or_default();
    let room = writer.room().saturating_sub(size_of::<WireStatePart>());
    writer.push_payload(&[wire.as_bytes(), &rest[..rest.len().min(room)]]);
}

/// The digest in a sync request.
pub fn digest(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_truncation_of_a_broadcast_is_malformed() {
        let wire = WireBroadcast {
            origin: Address::from_parts([1; 16], 5).into(),
            generation: U64::new(3),
            sequence: U32::new(4),
            size: U16::new(3),
        };
        let whole = [wire.as_bytes(), b"abc"].concat();
        let both = [whole.clone(), whole.clone()].concat();
        assert_eq!(check(Kind::Gossip, &both), Ok(()));
        let read: Vec<_> = broadcasts(&both).collect();
        assert_eq!((read.len(), read[1].bytes, read[1].sequence), (2, &b"abc"[..], 4));
        for size in (1..both.len()).filter(|&size| size != whole.len()) {
            assert_eq!(check(Kind::Gossip, &both[..size]), Err(Malformed), "{size}");
        }
        assert_eq!(check(Kind::SyncReply, &whole), Err(Malformed));
    }

    #[test]
    fn digests_and_parts_have_their_size() {
        assert_eq!(check(Kind::SyncRequest, &[0; 8]), Ok(()));
        assert_eq!(check(Kind::SyncRequest, &[0; 7]), Err(Malformed));
        assert_eq!(check(Kind::StateReply, &[0; 15]), Err(Malformed));
        assert_eq!(check(Kind::StateReply, &[0; 16]), Ok(()));
        assert_eq!(digest(&7u64.to_le_bytes()), Some(7));
    }
}
