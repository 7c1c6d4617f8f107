//! What a node remembers of the peers it speaks with in the Python node's format.
//!
//! Open questions, because that format numbers none: a reply belongs to the oldest question to its
//! sender that it can answer. A reply carries a Lamport time above that of its question, which
//! tells some of the others apart. Whether a peer also speaks the native format. How much of its
//! share a source has used.
//!
//! The memory is bounded: places are found by the address's hash, four to choose from, and the peer
//! not heard for longest gives way to a new one. A peer forgotten early loses its open questions,
//! whose replies are then counted as unmatched.

use crate::node::{Address, Generation};
use crate::time::{Duration, Instant};
use crate::wire::native::Kind;

/// Questions to one peer that may be open at a time; the oldest gives way.
const QUESTION_COUNT_MAX: usize = 8;
/// A question open for longer counts as lost. The Python node may answer seconds later, and gives
/// up itself after this time.
const QUESTION_LIFETIME: Duration = Duration::from_secs(30);
/// After a lost question, replies may belong to earlier ones for this long and measure nothing.
const DOUBT: Duration = Duration::from_secs(30);
/// How long the native format is used after the peer's last sign that it speaks it.
const NATIVE_TRUST: Duration = Duration::from_secs(30);
/// Places that an address can be in.
const WAYS: usize = 4;

/// A request that has been sent and not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub kind: Kind,
    pub sequence: u32,
    pub subject: Address,
    /// The Lamport time it carried.
    pub clock: u64,
    pub sent_at: Instant,
}

/// A question that has been answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub question: Question,
    /// Whether no other question can be meant, so that the time it took is a round trip.
    pub is_certain: bool,
}

/// One peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    address: Address,
    used_at: Instant,
    questions: [Option<Question>; QUESTION_COUNT_MAX],
    doubted_until: Instant,
    native_until: Instant,
    /// The run that it named, when it speaks the native format.
    pub generation: Option<Generation>,
    /// Whether it has been asked to let this node take part.
    pub is_join_sent: bool,
    /// Tells a new embedded state from a known one.
    pub state_digest: u64,
    tokens: f64,
    tokens_at: Instant,
}

impl Peer {
    fn new(address: Address, now: Instant, burst: f64) -> Peer {
        Peer {
            address,
            used_at: now,
            questions: [None; QUESTION_COUNT_MAX],
            doubted_until: Instant::ZERO,
            native_until: Instant::ZERO,
            generation: None,
            is_join_sent: false,
            state_digest: 0,
            tokens: burst,
            tokens_at: now,
        }
    }

    /// The peer showed that it speaks the native format, in this run.
    pub fn speaks_native(&mut self, generation: Generation, now: Instant) {
        self.generation = Some(generation);
        self.native_until = now + NATIVE_TRUST;
    }

    /// The peer said where it is, and did not say that it speaks the native format, or it is no more.
    pub fn speaks_hyperscale_only(&mut self) {
        self.generation = None;
        self.native_until = Instant::ZERO;
    }

    /// Notes a request.
    pub fn ask(&mut self, question: Question) {
        self.expire(question.sent_at);
        if self.questions[QUESTION_COUNT_MAX - 1].is_some() {
            self.remove(0);
            self.doubted_until = question.sent_at + DOUBT;
        }
        let free = self.questions.iter_mut().find(|place| place.is_none());
        *free.expect("the oldest gave way") = Some(question);
    }

    /// Finds the question that a reply with this Lamport time answers, among those that `fits`.
    pub fn answered(
        &mut self,
        clock: Option<u64>,
        now: Instant,
        fits: impl Fn(&Question) -> bool,
    ) -> Option<Answered> {
        self.expire(now);
        let can_answer = |question: &Question| clock.is_none_or(|clock| clock > question.clock);
        let mut open = self.questions.iter().map_while(Option::as_ref);
        let index = open.position(|question| can_answer(question) && fits(question))?;
        let is_only = self.questions.iter().flatten().count() == 1;
        let question = self.remove(index);
        Some(Answered { question, is_certain: is_only && now >= self.doubted_until })
    }

    fn expire(&mut self, now: Instant) {
        while let Some(oldest) = &self.questions[0]
            && now.saturating_since(oldest.sent_at) > QUESTION_LIFETIME
        {
            self.remove(0);
            self.doubted_until = now + DOUBT;
        }
    }

    /// Takes out a question; the younger ones move up.
    fn remove(&mut self, index: usize) -> Question {
        let question = self.questions[index].take().expect("it was found");
        self.questions[index..].rotate_left(1);
        question
    }

    /// Uses up a request of the peer's share, if there is one.
    pub fn take_token(&mut self, now: Instant, rate: f64) -> bool {
        let earned = now.saturating_since(self.tokens_at).as_secs_f64() * rate;
        self.tokens = (self.tokens + earned).min(rate);
        self.tokens_at = self.tokens_at.max(now);
        let has_one = self.tokens >= 1.0;
        self.tokens -= f64::from(u8::from(has_one));
        has_one
    }
}

/// The peers.
#[derive(Debug)]
pub(super) struct Peers {
    places: Vec<Option<Peer>>,
    hash_key: u64,
    burst: f64,
}

impl Peers {
    /// Room for at least `capacity` peers, each with `burst` requests to begin with.
    pub fn new(capacity: u32, burst: f64, hash_key: u64) -> Peers {
        let sets = (capacity as usize).div_ceil(WAYS).next_power_of_two();
        Peers { places: vec![None; sets * WAYS], hash_key, burst }
    }

    /// The peer at an address, new when it is not remembered.
    pub fn meet(&mut self, address: Address, now: Instant) -> &mut Peer {
        let start = self.set_of(address);
        let set = &mut self.places[start..start + WAYS];
        let is_it = |peer: &Peer| peer.address == address;
        let known = set.iter().position(|place| place.as_ref().is_some_and(is_it));
        let way = known.unwrap_or_else(|| {
            let used_at = |way: &usize| set[*way].as_ref().map(|peer| peer.used_at);
            let way = (0..WAYS).min_by_key(used_at).expect("a set has places");
            set[way] = Some(Peer::new(address, now, self.burst));
            way
        });
        let peer = set[way].as_mut().expect("it was found or made");
        peer.used_at = peer.used_at.max(now);
        peer
    }

    /// The peer at an address, if it is remembered.
    pub fn find(&self, address: Address) -> Option<&Peer> {
        let start = self.set_of(address);
        let mut set = self.places[start..start + WAYS].iter().flatten();
        set.find(|peer| peer.address == address)
    }

    /// The same, to change it.
    pub fn find_mut(&mut self, address: Address) -> Option<&mut Peer> {
        let start = self.set_of(address);
        let mut set = self.places[start..start + WAYS].iter_mut().flatten();
        set.find(|peer| peer.address == address)
    }

    /// Whether to speak to this address in the native format.
    pub fn is_native(&self, address: Address, now: Instant) -> bool {
        self.find(address).is_some_and(|peer| now < peer.native_until)
    }

    fn set_of(&self, address: Address) -> usize {
        let halves = address.ip_bytes().as_chunks::<8>().0;
        let port = u64::from(address.port());
        let low = u64::from_le_bytes(halves[0]) ^ self.hash_key;
        let high = u64::from_le_bytes(halves[1]) ^ port.rotate_left(48);
        let product = u128::from(low ^ high.rotate_left(32) | 1) * 0x9e37_79b9_7f4a_7c15_u128;
        let hash =
            (product as u64 ^ (product >> 64) as u64) ^ high.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let sets = self.places.len() / WAYS;
        ((hash >> 20) as usize & (sets - 1)) * WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(sequence: u32, clock: u64, sent_at: Instant) -> Question {
        Question { kind: Kind::Probe, sequence, subject: Address::UNSPECIFIED, clock, sent_at }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(1_000 * seconds)
    }

    fn peer() -> Peer {
        Peer::new("10.0.0.1:1".parse().unwrap(), at(0), 10.0)
    }

    #[test]
    fn replies_answer_the_oldest_question_that_they_can() {
        let mut peer = peer();
        for (sequence, clock) in [(1, 5), (2, 8), (3, 9)] {
            peer.ask(question(sequence, clock, at(1)));
        }
        let next = |peer: &mut Peer, clock| {
            peer.answered(clock, at(2), |_| true).map(|answered| answered.question.sequence)
        };
        assert_eq!(next(&mut peer, Some(5)), None);
        assert_eq!(next(&mut peer, Some(6)), Some(1));
        assert_eq!(next(&mut peer, Some(6)), None);
        assert_eq!(next(&mut peer, None), Some(2));
        assert_eq!(next(&mut peer, Some(100)), Some(3));
        assert_eq!(next(&mut peer, Some(100)), None);
    }

    #[test]
    fn only_a_lone_question_measures_a_round_trip() {
        let mut peer = peer();
        peer.ask(question(1, 1, at(1)));
        peer.ask(question(2, 2, at(1)));
        assert!(!peer.answered(Some(9), at(1), |_| true).unwrap().is_certain);
        assert!(peer.answered(Some(9), at(1), |_| true).unwrap().is_certain);
        peer.ask(question(3, 3, at(2)));
        peer.ask(question(4, 4, at(33)));
        let late = peer.answered(Some(9), at(33), |_| true).unwrap();
        assert_eq!((late.question.sequence, late.is_certain), (4, false));
        peer.ask(question(5, 5, at(64)));
        assert!(peer.answered(Some(9), at(64), |_| true).unwrap().is_certain);
    }

    #[test]
    fn the_oldest_of_too_many_questions_gives_way() {
        let mut peer = peer();
        (0..20).for_each(|sequence| peer.ask(question(sequence, 1, at(1))));
        let first = peer.answered(Some(9), at(1), |_| true).unwrap();
        assert_eq!((first.question.sequence, first.is_certain), (12, false));
    }

    #[test]
    fn a_share_is_used_up_and_earned_again() {
        let mut peer = peer();
        assert_eq!((0..100).filter(|_| peer.take_token(at(0), 10.0)).count(), 10);
        assert_eq!((0..100).filter(|_| peer.take_token(at(1), 10.0)).count(), 10);
        assert_eq!((0..100).filter(|_| peer.take_token(at(1_000), 10.0)).count(), 10);
    }

    #[test]
    fn peers_are_bounded_and_the_silent_give_way() {
        let mut peers = Peers::new(64, 1.0, 7);
        let address = |number: u16| Address::from_parts([3; 16], number);
        for number in 1..10_000 {
            peers.meet(address(1), at(number.into()));
            peers.meet(address(number), at(number.into()));
        }
        assert_eq!(peers.places.len(), 64);
        assert!(peers.places.iter().flatten().count() > 60);
        assert!(peers.find(address(1)).is_some() && peers.find(address(2)).is_none());
    }

    #[test]
    fn trust_in_the_native_format_ends() {
        let mut peers = Peers::new(64, 1.0, 7);
        let address = "10.0.0.1:1".parse().unwrap();
        assert!(!peers.is_native(address, at(1)));
        peers.meet(address, at(1)).speaks_native(Generation(1), at(1));
        assert!(peers.is_native(address, at(30)) && !peers.is_native(address, at(31)));
        peers.meet(address, at(2)).speaks_hyperscale_only();
        assert!(!peers.is_native(address, at(3)));
    }
}
