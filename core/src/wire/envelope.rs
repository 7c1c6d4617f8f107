//! The sealed envelope of the native format: AES-256-GCM under a key that belongs to one sender.
//!
//! ```text
//! magic "SHL" | version 1 | key id 4 | session 16 | counter 8 | ciphertext | tag 16
//! ```
//!
//! A sender draws a *session* (16 bytes, from its generation and its seed) when it starts. Its key is
//! `HKDF-SHA256(secret, session)`, so every sender has its own and derives it once; receivers derive it
//! when they first hear the session and remember it. The nonce is the sender's datagram counter: never
//! repeated under one key, and the input of a replay window. The key id is derived from the secret, so
//! that a receiver with several secrets picks the right one at once. The 32 clear bytes are
//! authenticated. The whole costs 48 bytes a datagram.
//!
//! A bad datagram is refused before anything is stored: a session enters the table only after its first
//! datagram proved to be sealed with the secret. The table is bounded; the sender silent for longest
//! makes room (second-chance order).

use hashbrown::HashTable;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::config::{DATAGRAM_SIZE_MAX, Secret};
use crate::random::Random;
use crate::slots;
use crate::stats::Counter;
use crate::wire::replay::ReplayWindow;

const MAGIC: [u8; 3] = *b"SHL";
const VERSION: u8 = 1;
const HEADER_SIZE: usize = size_of::<Header>();
const TAG_SIZE: usize = 16;

/// What sealing adds to a message, in bytes.
pub const OVERHEAD: usize = HEADER_SIZE + TAG_SIZE;
/// Where the message begins in a datagram.
pub const BODY_OFFSET: usize = HEADER_SIZE;
/// The largest message that fits into a datagram.
pub const BODY_SIZE_MAX: usize = DATAGRAM_SIZE_MAX - OVERHEAD;

type SessionId = [u8; 16];
type KeyId = [u8; 4];

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 3],
    version: u8,
    key_id: KeyId,
    session: SessionId,
    counter: U64,
}

const _: () = assert!(HEADER_SIZE == 32);

/// One secret, ready to derive sender keys.
#[derive(Clone, Debug)]
struct RingKey {
    id: KeyId,
    root: Prk,
}

impl RingKey {
    fn new(secret: &Secret) -> RingKey {
        let root = Salt::new(HKDF_SHA256, b"shoal native 1").extract(secret.as_bytes());
        let mut id = KeyId::default();
        root.expand(&[b"key id"], Size(id.len()))
            .and_then(|expanded| expanded.fill(&mut id))
            .expect("four bytes are within what HKDF gives");
        RingKey { id, root }
    }

    fn sender_key(&self, session: &SessionId) -> LessSafeKey {
        let info = [b"sender key", session.as_slice()];
        let expanded =
            self.root.expand(&info, &AES_256_GCM).expect("one key is within what HKDF gives");
        LessSafeKey::new(UnboundKey::from(expanded))
    }
}

/// An HKDF output length.
struct Size(usize);

impl KeyType for Size {
    fn len(&self) -> usize {
        self.0
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// A sender whose datagrams have been opened before.
#[derive(Debug)]
struct Session {
    id: SessionId,
    key_id: KeyId,
    key: LessSafeKey,
    window: ReplayWindow,
    is_recent: bool,
}

/// Seals this node's datagrams and opens those of its peers.
#[derive(Debug)]
pub struct Envelopes {
    ring: Vec<RingKey>,
    own_session: SessionId,
    own_key: LessSafeKey,
    own_counter: u64,
    sessions: Vec<Session>,
    index: HashTable<u32>,
    hash_key: u64,
    capacity: usize,
    hand: usize,
}

impl Envelopes {
    /// Envelopes for a node with these secrets, of which there is at least one.
    pub fn new(
        secrets: &[Secret],
        generation: u64,
        session_capacity: u32,
        random: &mut Random,
    ) -> Envelopes {
        let ring: Vec<RingKey> = secrets.iter().map(RingKey::new).collect();
        let mut own_session = SessionId::default();
        own_session[..8].copy_from_slice(&(generation ^ random.next_u64()).to_le_bytes());
        own_session[8..].copy_from_slice(&random.next_u64().to_le_bytes());
        Envelopes {
            own_key: ring[0].sender_key(&own_session),
            ring,
            own_session,
            own_counter: 0,
            sessions: Vec::new(),
            index: HashTable::new(),
            hash_key: random.next_u64(),
            capacity: session_capacity as usize,
            hand: 0,
        }
    }

    /// Seals with the first of these secrets from now on and opens with any of them. Senders known by a
    /// secret that is no longer here are forgotten.
    pub fn set_secrets(&mut self, secrets: &[Secret]) {
        self.ring = secrets.iter().map(RingKey::new).collect();
        self.own_key = self.ring[0].sender_key(&self.own_session);
        let ring = &self.ring;
        self.sessions.retain(|session| ring.iter().any(|key| key.id == session.key_id));
        self.hand = 0;
        self.index.clear();
        for slot in 0..self.sessions.len() {
            let hash = self.hash(&self.sessions[slot].id);
            let Envelopes { index, sessions, hash_key, .. } = self;
            index.insert_unique(hash, slot as u32, |&other| {
                hash_session(*hash_key, &sessions[other as usize].id)
            });
        }
    }

    /// Seals the message of `size` bytes that stands at [`BODY_OFFSET`] of `buffer`, and returns the
    /// size of the datagram, which starts at the beginning of `buffer`.
    ///
    /// # Panics
    /// When the buffer has no room for the tag.
    pub fn seal(&mut self, buffer: &mut [u8], size: usize) -> usize {
        let counter = self.own_counter;
        self.own_counter += 1;
        let header = Header {
            magic: MAGIC,
            version: VERSION,
            key_id: self.ring[0].id,
            session: self.own_session,
            counter: U64::new(counter),
        };
        let (clear, rest) = buffer.split_at_mut(HEADER_SIZE);
        clear.copy_from_slice(header.as_bytes());
        let (body, rest) = rest.split_at_mut(size);
        let tag = self
            .own_key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(&*clear), body)
            .expect("a datagram is far below the cipher's limit");
        rest[..TAG_SIZE].copy_from_slice(tag.as_ref());
        HEADER_SIZE + size + TAG_SIZE
    }

    /// Whether a datagram begins as one of this format, sealed with a secret of this node. Random
    /// bytes do once in 2^64.
    pub fn is_native(&self, datagram: &[u8]) -> bool {
        Header::ref_from_prefix(datagram).is_ok_and(|(header, _)| {
            let is_known = self.ring.iter().any(|key| key.id == header.key_id);
            header.magic == MAGIC && header.version == VERSION && is_known
        })
    }

    /// Opens a datagram in place and returns its message.
    ///
    /// # Errors
    /// The counter to raise. Nothing is stored about the sender, and the bytes are worthless.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<Opened<'a>, Counter> {
        if datagram.len() > DATAGRAM_SIZE_MAX {
            return Err(Counter::DroppedOversized);
        }
        if datagram.len() < OVERHEAD {
            return Err(Counter::DroppedTruncated);
        }
        let (clear, sealed) = datagram.split_at_mut(HEADER_SIZE);
        let clear = &*clear;
        let header = Header::ref_from_bytes(clear).expect("split at the header's size");
        if header.magic != MAGIC || header.version != VERSION {
            return Err(Counter::DroppedForeign);
        }
        if header.session == self.own_session {
            return Err(Counter::DroppedOwn);
        }
        let counter = header.counter.get();
        let known = self.find(&header.session, &header.key_id);
        let mut evicted = false;
        let body = match known {
            Some(slot) => {
                let session = &mut self.sessions[slot];
                if !session.window.is_new(counter) {
                    return Err(Counter::DroppedReplayed);
                }
                let body = open_in_place(&session.key, counter, clear, sealed)?;
                session.window.insert(counter);
                session.is_recent = true;
                body
            }
            None => {
                let key = self.ring.iter().find(|key| key.id == header.key_id);
                let key = key.ok_or(Counter::DroppedUnknownKey)?.sender_key(&header.session);
                let body = open_in_place(&key, counter, clear, sealed)?;
                evicted = self.remember(&header.session, &header.key_id, key, counter);
                body
            }
        };
        Ok(Opened { body, evicted_session: evicted })
    }

    fn find(&self, id: &SessionId, key_id: &KeyId) -> Option<usize> {
        let matches = |&slot: &u32| {
            let session = &self.sessions[slot as usize];
            session.id == *id && session.key_id == *key_id
        };
        self.index.find(self.hash(id), matches).map(|&slot| slot as usize)
    }

    fn remember(&mut self, id: &SessionId, key_id: &KeyId, key: LessSafeKey, counter: u64) -> bool {
        let mut window = ReplayWindow::default();
        window.insert(counter);
        let session = Session { id: *id, key_id: *key_id, key, window, is_recent: true };
        let is_full = self.sessions.len() >= self.capacity;
        let slot = if is_full { self.evict() } else { self.sessions.len() };
        if is_full {
            self.sessions[slot] = session;
        } else {
            slots::push(&mut self.sessions, session);
        }
        let hash = self.hash(id);
        let Envelopes { index, sessions, hash_key, .. } = self;
        index.insert_unique(hash, slot as u32, |&other| {
            hash_session(*hash_key, &sessions[other as usize].id)
        });
        is_full
    }

    /// Frees the slot of a sender that was silent since the hand last came by.
    fn evict(&mut self) -> usize {
        loop {
            let slot = self.hand;
            self.hand = (slot + 1) % self.sessions.len();
            if !std::mem::take(&mut self.sessions[slot].is_recent) {
                let hash = self.hash(&self.sessions[slot].id);
                let entry = self.index.find_entry(hash, |&other| other as usize == slot);
                entry.expect("every session is indexed").remove();
                return slot;
            }
        }
    }

    fn hash(&self, id: &SessionId) -> u64 {
        hash_session(self.hash_key, id)
    }
}

/// An opened datagram.
#[derive(Debug)]
pub struct Opened<'a> {
    /// The message.
    pub body: &'a [u8],
    /// Whether the keys of another sender were forgotten to make room for this one.
    pub evicted_session: bool,
}

fn open_in_place<'a>(
    key: &LessSafeKey,
    counter: u64,
    clear: &[u8],
    sealed: &'a mut [u8],
) -> Result<&'a [u8], Counter> {
    let opened = key.open_in_place(nonce(counter), Aad::from(clear), sealed);
    opened.map(|body| &*body).map_err(|_| Counter::DroppedForged)
}

/// Session ids are random already; the key keeps a hostile insider from choosing collisions.
fn hash_session(key: u64, id: &SessionId) -> u64 {
    let halves = id.as_chunks::<8>().0;
    let low = u64::from_le_bytes(halves[0]) ^ key;
    let high = u64::from_le_bytes(halves[1]) ^ key.rotate_left(32);
    let product = u128::from(low | 1) * u128::from(high | 1);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"the quick brown fox";

    fn secret(fill: u8) -> Secret {
        Secret::new([fill; 32]).unwrap()
    }

    fn envelopes(secrets: &[Secret], seed: u64) -> Envelopes {
        Envelopes::new(secrets, 1, 4, &mut Random::new(seed))
    }

    fn seal(envelopes: &mut Envelopes) -> Vec<u8> {
        let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
        buffer[BODY_OFFSET..][..MESSAGE.len()].copy_from_slice(MESSAGE);
        let size = envelopes.seal(&mut buffer, MESSAGE.len());
        buffer.truncate(size);
        buffer
    }

    #[test]
    fn what_one_seals_another_opens_once() {
        let mut alice = envelopes(&[secret(1)], 1);
        let mut bob = envelopes(&[secret(1)], 2);
        let datagram = seal(&mut alice);
        assert_eq!(datagram.len(), MESSAGE.len() + OVERHEAD);
        assert_eq!(bob.open(&mut datagram.clone()).unwrap().body, MESSAGE);
        assert_eq!(bob.open(&mut datagram.clone()).unwrap_err(), Counter::DroppedReplayed);
        assert_eq!(alice.open(&mut datagram.clone()).unwrap_err(), Counter::DroppedOwn);
    }

    #[test]
    fn refuses_each_kind_of_bad_datagram_without_remembering_it() {
        let mut bob = envelopes(&[secret(1)], 2);
        let good = seal(&mut envelopes(&[secret(1)], 1));
        let with = |index: usize| {
            let mut bytes = good.clone();
            bytes[index] ^= 1;
            bytes
        };
        let foreign_key = seal(&mut envelopes(&[secret(9)], 1));
        let cases = [
            (vec![0; 1_401], Counter::DroppedOversized),
            (good[..OVERHEAD - 1].to_vec(), Counter::DroppedTruncated),
            (Vec::new(), Counter::DroppedTruncated),
            (vec![7; 600], Counter::DroppedForeign),
            (with(3), Counter::DroppedForeign),
            (foreign_key, Counter::DroppedUnknownKey),
            (with(8), Counter::DroppedForged),
            (with(24), Counter::DroppedForged),
            (with(BODY_OFFSET), Counter::DroppedForged),
            (with(good.len() - 1), Counter::DroppedForged),
            (good[..good.len() - 1].to_vec(), Counter::DroppedForged),
        ];
        for (mut bytes, expected) in cases {
            assert_eq!(bob.open(&mut bytes).unwrap_err(), expected);
        }
        assert!(bob.sessions.is_empty());
        assert!(bob.open(&mut good.clone()).is_ok());
    }

    #[test]
    fn secrets_rotate_without_losing_a_datagram() {
        let (old, new) = (secret(1), secret(2));
        let mut alice = envelopes(std::slice::from_ref(&old), 1);
        let mut bob = envelopes(std::slice::from_ref(&old), 2);
        assert!(bob.open(&mut seal(&mut alice)).is_ok());
        bob.set_secrets(&[old.clone(), new.clone()]);
        assert!(bob.open(&mut seal(&mut alice)).is_ok());
        alice.set_secrets(&[new.clone(), old]);
        assert!(bob.open(&mut seal(&mut alice)).is_ok());
        bob.set_secrets(&[new]);
        let mut last = seal(&mut alice);
        assert!(bob.open(&mut last.clone()).is_ok());
        assert_eq!(bob.open(&mut last).unwrap_err(), Counter::DroppedReplayed);
    }

    #[test]
    fn the_session_table_is_bounded_and_evicts_the_silent() {
        let mut bob = envelopes(&[secret(1)], 0);
        let mut senders: Vec<_> = (1..=5).map(|seed| envelopes(&[secret(1)], seed)).collect();
        for sender in &mut senders[..4] {
            assert!(!bob.open(&mut seal(sender)).unwrap().evicted_session);
        }
        assert!(bob.open(&mut seal(&mut senders[4])).unwrap().evicted_session);
        assert_eq!(bob.sessions.len(), 4);
        for sender in &mut senders {
            assert!(bob.open(&mut seal(sender)).is_ok());
        }
        assert_eq!(bob.index.len(), 4);
    }
}
