//! The sealed envelope: `salt 16 | nonce 12 | ciphertext | tag 16`, AES-256-GCM without further
//! data.
//!
//! The key of a datagram is `HKDF-SHA256(secret, salt)`, so whoever knows the secret opens every
//! datagram by itself, and nothing has to be remembered about senders. The Python node draws salt
//! and nonce for every datagram. Here a sender draws its salt once and counts in the nonce: the
//! pair is as unique, the receiver cannot tell, and sealing is spared a key derivation. So is
//! opening: the key of a salt that comes again is kept, see `Keys`. As in the native format the
//! salt comes from the node's generation and seed, so two nodes of one cluster need different seeds.
//!
//! There is no replay protection in this format: what is repeated within seconds is recognised
//! above, by its payload.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::config::Secret;
use crate::random::Random;
use crate::stats::Counter;

const SALT_SIZE: usize = 16;
const NONCE_SIZE: usize = 12;
const TAG_SIZE: usize = 16;
/// How many senders' keys are kept.
const KEY_COUNT: usize = 64;
const KEY_PURPOSE: &[u8] = b"hyperscale-distributed-rewrite-encryption-v1";

/// Where the sealed part begins in a datagram.
pub const SEALED_OFFSET: usize = SALT_SIZE + NONCE_SIZE;
/// What sealing adds, in bytes; the size of the shortest datagram.
pub const OVERHEAD: usize = SEALED_OFFSET + TAG_SIZE;
/// The largest datagram that UDP carries over IPv4.
pub const RECEIVED_SIZE_MAX: usize = 65_507;

type SaltBytes = [u8; SALT_SIZE];

fn key(secret: &Secret, salt: &SaltBytes) -> LessSafeKey {
    let root = Salt::new(HKDF_SHA256, salt).extract(secret.as_bytes());
    let info = [KEY_PURPOSE];
    let expanded = root.expand(&info, &AES_256_GCM).expect("one key is within what HKDF gives");
    LessSafeKey::new(UnboundKey::from(expanded))
}

/// One salt, and its key once it has come twice.
#[derive(Debug, Default)]
struct Place {
    salt: SaltBytes,
    /// The last salt that was looked for here. Salts that are drawn anew every time come once and
    /// displace no key.
    candidate: SaltBytes,
    /// The number of the secret and the key. A sender that changes its secret keeps its salt.
    kept: Option<(usize, LessSafeKey)>,
}

/// The keys of senders that keep their salt. What is displaced is derived again.
#[derive(Debug)]
struct Keys {
    places: Box<[Place]>,
}

impl Keys {
    fn new() -> Keys {
        Keys { places: (0..KEY_COUNT).map(|_| Place::default()).collect() }
    }

    fn index(&self, salt: &SaltBytes) -> usize {
        let (words, _) = salt.as_chunks::<8>();
        let mixed = words.iter().fold(0, |mixed, word| mixed ^ u64::from_le_bytes(*word));
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % KEY_COUNT
    }

    fn find(&self, salt: &SaltBytes, secret: usize) -> Option<&LessSafeKey> {
        let place = &self.places[self.index(salt)];
        let (number, key) = place.kept.as_ref().filter(|_| place.salt == *salt)?;
        (*number == secret).then_some(key)
    }

    /// Takes note of a salt with which a datagram was opened.
    fn opened(&mut self, salt: &SaltBytes, secret: usize, key: LessSafeKey) {
        let place = &mut self.places[self.index(salt)];
        if place.candidate == *salt {
            place.salt = *salt;
            place.kept = Some((secret, key));
        } else {
            place.candidate = *salt;
        }
    }
}

/// Seals this node's datagrams and opens those of its peers.
#[derive(Debug)]
pub struct Envelopes {
    secrets: Vec<Secret>,
    salt: SaltBytes,
    own_key: LessSafeKey,
    keys: Keys,
    counter: u64,
    /// A datagram as it came, for the second secret; used only while there are several.
    copy: Vec<u8>,
}

impl Envelopes {
    /// Envelopes for a node with these secrets, of which there is at least one: the first,
    /// *primary* one seals, all of them open.
    pub fn new(secrets: &[Secret], generation: u64, random: &mut Random) -> Envelopes {
        let mut salt = SaltBytes::default();
        salt[..8].copy_from_slice(&(generation ^ random.next_u64()).to_le_bytes());
        salt[8..].copy_from_slice(&random.next_u64().to_le_bytes());
        let own_key = key(&secrets[0], &salt);
        let keys = Keys::new();
        Envelopes { secrets: secrets.to_vec(), salt, own_key, keys, counter: 0, copy: Vec::new() }
    }

    /// Seals with the first of these secrets from now on and opens with any of them.
    pub fn set_secrets(&mut self, secrets: &[Secret]) {
        self.secrets = secrets.to_vec();
        // The counter goes on, so a secret that comes back meets no nonce again.
        self.own_key = key(&secrets[0], &self.salt);
        self.keys = Keys::new();
    }

    /// Seals the `size` bytes that stand at [`SEALED_OFFSET`] of `buffer` and returns the size of
    /// the datagram, which starts at the beginning of `buffer`.
    ///
    /// # Panics
    /// When the buffer has no room for the tag.
    pub fn seal(&mut self, buffer: &mut [u8], size: usize) -> usize {
        let mut nonce = [0; NONCE_SIZE];
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        buffer[..SALT_SIZE].copy_from_slice(&self.salt);
        buffer[SALT_SIZE..SEALED_OFFSET].copy_from_slice(&nonce);
        let (content, rest) = buffer[SEALED_OFFSET..].split_at_mut(size);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.own_key.seal_in_place_separate_tag(nonce, Aad::empty(), content);
        let tag = sealed.expect("a datagram is far below the cipher's limit");
        rest[..TAG_SIZE].copy_from_slice(tag.as_ref());
        OVERHEAD + size
    }

    /// Opens a datagram in place and returns what was sealed.
    ///
    /// # Errors
    /// The counter to raise. The bytes are worthless then.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], Counter> {
        if datagram.len() > RECEIVED_SIZE_MAX {
            return Err(Counter::DroppedOversized);
        }
        if datagram.len() < OVERHEAD {
            return Err(Counter::DroppedTruncated);
        }
        let (clear, sealed) = datagram.split_at_mut(SEALED_OFFSET);
        let (salt, nonce) = clear.split_at(SALT_SIZE);
        let salt: &SaltBytes = salt.try_into().expect("split at its size");
        let last = self.secrets.len() - 1;
        if last > 0 {
            self.copy.clear();
            self.copy.extend_from_slice(sealed);
        }
        let mut opened = None;
        for (number, secret) in self.secrets.iter().enumerate() {
            let nonce = Nonce::try_assume_unique_for_key(nonce).expect("split at its size");
            let kept = self.keys.find(salt, number);
            let derived = kept.is_none().then(|| key(secret, salt));
            let key = kept.or(derived.as_ref()).expect("it is derived where it is not kept");
            let result = key.open_in_place(nonce, Aad::empty(), sealed);
            match result {
                Ok(content) => {
                    opened = Some(content.len());
                    if let Some(key) = derived {
                        self.keys.opened(salt, number, key);
                    }
                    break;
                }
                // A failed attempt leaves the bytes worthless.
                Err(_) if number < last => sealed.copy_from_slice(&self.copy),
                Err(_) => {}
            }
        }
        let size = opened.ok_or(Counter::DroppedForged)?;
        Ok(&sealed[..size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let pairs = hex.as_bytes().chunks(2);
        let digits = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    const PROBE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b62a601fa98dddf247d40\
        2b46db340a4773a906be69f8d08d9b5ec8def6a816aa726e7efdbe2cd986ba143193b1acf71e0fc4bf279e05ebd310e3\
        403fa1dd1ce96b9668361f152186fc";
    const SECRET: &str = "research-shared-secret-0123456789";

    fn seal(envelopes: &mut Envelopes, content: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; OVERHEAD + content.len()];
        buffer[SEALED_OFFSET..][..content.len()].copy_from_slice(content);
        assert_eq!(envelopes.seal(&mut buffer, content.len()), buffer.len());
        buffer
    }

    fn envelopes(secrets: &[Secret], seed: u64) -> Envelopes {
        Envelopes::new(secrets, 1, &mut Random::new(seed))
    }

    #[test]
    fn opens_what_the_python_node_sealed_with_any_of_its_secrets() {
        let old = secret("another secret, of earlier");
        for ring in [vec![secret(SECRET)], vec![old.clone(), secret(SECRET)]] {
            let mut datagram = bytes(PROBE);
            let opened = envelopes(&ring, 1).open(&mut datagram).unwrap().to_vec();
            assert_eq!(opened.len(), 57);
            assert_eq!(opened[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        }
        let mut datagram = bytes(PROBE);
        assert_eq!(envelopes(&[old], 1).open(&mut datagram), Err(Counter::DroppedForged));
    }

    #[test]
    fn no_two_datagrams_share_salt_and_nonce() {
        let mut alice = envelopes(&[secret(SECRET)], 1);
        let mut bob = envelopes(&[secret(SECRET)], 2);
        let first = seal(&mut alice, b"one");
        alice.set_secrets(&[secret("something else, later")]);
        alice.set_secrets(&[secret(SECRET)]);
        let datagrams = [first, seal(&mut alice, b"one"), seal(&mut bob, b"one")];
        for (number, datagram) in datagrams.iter().enumerate() {
            let others = datagrams.iter().skip(number + 1);
            assert!(others.into_iter().all(|other| other[..28] != datagram[..28]));
            assert_eq!(bob.open(&mut datagram.clone()).unwrap(), b"one");
        }
    }

    #[test]
    fn the_key_of_a_sender_that_keeps_its_salt_is_kept() {
        let (old, new) = (secret(SECRET), secret("something else, later"));
        let mut alice = envelopes(std::slice::from_ref(&old), 1);
        let mut bob = envelopes(&[old.clone(), new.clone()], 2);
        let salt = alice.salt;
        for number in 0..4 {
            assert_eq!(bob.keys.find(&salt, 0).is_some(), number > 1);
            let mut forged = seal(&mut alice, b"one");
            forged[30] ^= 1;
            assert_eq!(bob.open(&mut forged), Err(Counter::DroppedForged));
            assert_eq!(bob.open(&mut seal(&mut alice, b"one")).unwrap(), b"one");
        }
        alice.set_secrets(&[new.clone(), old.clone()]);
        for number in 0..3 {
            assert_eq!(bob.keys.find(&salt, 1).is_some(), number > 0);
            assert_eq!(bob.open(&mut seal(&mut alice, b"two")).unwrap(), b"two");
        }
        bob.set_secrets(&[new]);
        assert_eq!(bob.open(&mut seal(&mut alice, b"two")).unwrap(), b"two");
        alice.set_secrets(&[old]);
        assert_eq!(bob.open(&mut seal(&mut alice, b"one")), Err(Counter::DroppedForged));
        // Salts that come once displace nothing.
        let mut carol = envelopes(&[secret(SECRET)], 3);
        let mut dora = envelopes(&[secret(SECRET)], 4);
        let kept = dora.salt;
        for _ in 0..2 {
            carol.open(&mut seal(&mut dora, b"one")).unwrap();
        }
        for seed in 10..400 {
            carol.open(&mut seal(&mut envelopes(&[secret(SECRET)], seed), b"one")).unwrap();
        }
        assert!(carol.keys.find(&kept, 0).is_some());
    }

    #[test]
    fn refuses_what_is_too_short_too_long_or_changed() {
        let mut bob = envelopes(&[secret(SECRET)], 2);
        let good = bytes(PROBE);
        assert_eq!(bob.open(&mut []), Err(Counter::DroppedTruncated));
        assert_eq!(bob.open(&mut good[..43].to_vec()), Err(Counter::DroppedTruncated));
        assert_eq!(bob.open(&mut vec![0; 65_508]), Err(Counter::DroppedOversized));
        for index in 0..good.len() {
            let mut changed = good.clone();
            changed[index] ^= 1;
            assert_eq!(bob.open(&mut changed), Err(Counter::DroppedForged), "byte {index}");
        }
    }
}
