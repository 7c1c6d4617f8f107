//! The sealed envelope of Shoal's own datagrams, alone: for programs that watch, relay or make
//! traffic without a node, and for datagrams of the program's own under the same secrets. Nodes
//! and engines seal and open by themselves. AES-256-GCM under a key that belongs to one sender;
//! a datagram opens once.

use crate::call::{Failure, Health, Outcome, array, guarded_with_detail, required};
use crate::config::{read_secrets, shoal_secret};
use crate::engine::give;
use crate::status::{
    SHOAL_BUFFER_TOO_SMALL, SHOAL_DATAGRAM_FOREIGN, SHOAL_DATAGRAM_FORGED, SHOAL_DATAGRAM_OWN,
    SHOAL_DATAGRAM_REPLAYED, SHOAL_DATAGRAM_UNKNOWN_KEY, SHOAL_INVALID_ARGUMENT,
    SHOAL_NULL_POINTER, SHOAL_OK, SHOAL_OUT_OF_RESOURCES, shoal_status,
};
use shoal_core::Counter;
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes, OVERHEAD};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// What sealing adds to a message, in bytes.
pub const SHOAL_ENVELOPE_OVERHEAD: usize = 48;
const _: () = assert!(SHOAL_ENVELOPE_OVERHEAD == OVERHEAD);

/// The most senders that one envelope remembers.
const SENDER_CAPACITY_MAX: u32 = 1 << 20;

/// The keys of one sender, and of those it has heard.
#[derive(Debug)]
pub struct shoal_envelope {
    health: Health,
    envelopes: Envelopes,
}

/// Makes a sender that seals with the first of these secrets and opens with any. It remembers
/// `sender_capacity` other senders, 1 to 1,048,576 below 1 kB each, to know what it has
/// opened before; then the one silent for longest makes room, and its earlier datagrams would
/// open again. The sender's key comes from the system's randomness: none is used twice.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_envelope_new(
    secrets: *const shoal_secret,
    secret_count: usize,
    sender_capacity: u32,
    envelope: Option<&mut MaybeUninit<*mut shoal_envelope>>,
    detail: *mut c_char,
    detail_size: usize,
) -> shoal_status {
    let work = || {
        let target = required(envelope, "envelope")?;
        // SAFETY: `secrets` has `secret_count` items, each with its bytes.
        let secrets = unsafe { read_secrets(secrets, secret_count)? };
        if !(1..=SENDER_CAPACITY_MAX).contains(&sender_capacity) {
            let detail = "sender_capacity needs to be 1 to 1,048,576";
            return Err(Failure::new(SHOAL_INVALID_ARGUMENT, detail));
        }
        // Two draws of 64 bits, so that the 128 bits of the sender's session are all random.
        let (generation, mut random) = (system_random()?, Random::new(system_random()?));
        let envelopes = Envelopes::new(&secrets, generation, sender_capacity, &mut random);
        let handle = shoal_envelope { health: Health::default(), envelopes };
        target.write(Box::into_raw(Box::new(handle)));
        Ok(SHOAL_OK)
    };
    // SAFETY: `detail` has `detail_size` bytes.
    unsafe { guarded_with_detail(detail, detail_size, work) }
}

/// Forgets all keys.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_envelope_free(envelope: Option<Box<shoal_envelope>>) {
    crate::call::release(envelope);
}

/// Copies one sentence about the latest failure of this envelope, cut to `size` bytes; empty
/// before the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_envelope_error(
    envelope: Option<&shoal_envelope>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_envelope { health, .. }) = envelope else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    unsafe { health.copy_detail(buffer, size) }
}

/// Replaces the secrets, as `shoal_node_set_secrets` does. What was opened before still does
/// not open again, as long as the secret it was sealed with is among the new ones.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_envelope_set_secrets(
    envelope: Option<&mut shoal_envelope>,
    secrets: *const shoal_secret,
    secret_count: usize,
) -> shoal_status {
    act(envelope, |envelopes| {
        // SAFETY: `secrets` has `secret_count` items, each with its bytes.
        envelopes.set_secrets(&unsafe { read_secrets(secrets, secret_count)? });
        Ok(SHOAL_OK)
    })
}

/// Seals a message of at most `SHOAL_DATAGRAM_SIZE_MAX` - `SHOAL_ENVELOPE_OVERHEAD` bytes and
/// writes the datagram, which is `SHOAL_ENVELOPE_OVERHEAD` bytes larger, and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_envelope_seal(
    envelope: Option<&mut shoal_envelope>,
    message: *const u8,
    message_size: usize,
    buffer: *mut u8,
    capacity: usize,
    size: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    act(envelope, |envelopes| {
        if message_size > BODY_SIZE_MAX {
            let detail = format!("{message_size} bytes, at most {BODY_SIZE_MAX} fit a datagram");
            return Err(Failure::new(SHOAL_INVALID_ARGUMENT, detail));
        }
        // SAFETY: `message` has `message_size` bytes.
        let message = unsafe { array(message, message_size, "message")? };
        let target = required(size, "size")?;
        if buffer.is_null() {
            return Err(Failure::new(SHOAL_NULL_POINTER, "buffer is NULL"));
        }
        let needed = message_size + OVERHEAD;
        if capacity < needed {
            let detail = format!("the buffer has {capacity} bytes, the datagram needs {needed}");
            return Err(Failure::new(SHOAL_BUFFER_TOO_SMALL, detail));
        }
        let mut datagram = [0; DATAGRAM_SIZE_MAX];
        datagram[BODY_OFFSET..][..message_size].copy_from_slice(message);
        let size = envelopes.seal(&mut datagram, message_size);
        // SAFETY: `buffer` has `capacity` bytes, which was found to be enough. It may overlap
        // the message, which has been copied.
        unsafe { buffer.copy_from_nonoverlapping(datagram.as_ptr(), size) };
        Ok(give(target, Some(size)))
    })
}

/// Opens a datagram where it lies and writes where in it the message begins, and its size. A
/// datagram that is refused is worthless afterwards, and nothing is kept about its sender.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_envelope_open(
    envelope: Option<&mut shoal_envelope>,
    datagram: *mut u8,
    size: usize,
    message: Option<&mut MaybeUninit<*const u8>>,
    message_size: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    act(envelope, |envelopes| {
        let target = required(message, "message")?;
        let target_size = required(message_size, "message_size")?;
        if datagram.is_null() {
            return Err(Failure::new(SHOAL_NULL_POINTER, "datagram is NULL"));
        }
        if size > DATAGRAM_SIZE_MAX {
            return Err(refused(Counter::DroppedOversized));
        }
        // SAFETY: `datagram` has `size` bytes, which no other part of the program uses during
        // the call.
        let bytes = unsafe { std::slice::from_raw_parts_mut(datagram, size) };
        let opened = envelopes.open(bytes).map_err(refused)?;
        target.write(opened.body.as_ptr());
        Ok(give(target_size, Some(opened.body.len())))
    })
}

/// Does the work of a function that changes an envelope.
fn act(
    envelope: Option<&mut shoal_envelope>,
    work: impl FnOnce(&mut Envelopes) -> Outcome,
) -> shoal_status {
    let Some(shoal_envelope { health, envelopes }) = envelope else { return SHOAL_NULL_POINTER };
    health.guard(|| work(envelopes))
}

fn refused(counter: Counter) -> Failure {
    let (status, detail) = match counter {
        Counter::DroppedOversized => (SHOAL_DATAGRAM_FOREIGN, "larger than any sealed datagram"),
        Counter::DroppedTruncated => (SHOAL_DATAGRAM_FOREIGN, "too short for an envelope"),
        Counter::DroppedUnknownKey => (SHOAL_DATAGRAM_UNKNOWN_KEY, "sealed with another secret"),
        Counter::DroppedForged => (SHOAL_DATAGRAM_FORGED, "the seal is broken"),
        Counter::DroppedReplayed => (SHOAL_DATAGRAM_REPLAYED, "opened before, or too old to tell"),
        Counter::DroppedOwn => (SHOAL_DATAGRAM_OWN, "sealed by this sender itself"),
        _ => (SHOAL_DATAGRAM_FOREIGN, "of another protocol or version"),
    };
    Failure::new(status, detail)
}

fn system_random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    // SAFETY: the buffer has as many bytes as is said.
    let size = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if size == bytes.len() as isize {
        return Ok(u64::from_ne_bytes(bytes));
    }
    Err(Failure::new(SHOAL_OUT_OF_RESOURCES, "the system gave no random bytes"))
}
