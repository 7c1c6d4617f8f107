//! An engine in a cluster of any size, without the others: one counterpart speaks for each of them.

use std::net::SocketAddr;

use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use shoal_core::wire::native::{Header, Kind, Message, MessageWriter, Update};
use shoal_core::{
    Address, Config, Coordinate, Engine, Generation, Incarnation, Instant, MemberState, Role,
    Secret,
};

/// Sizes of clusters at which growth is looked at.
pub const SIZES: [u32; 4] = [100, 1_000, 10_000, 100_000];
/// Updates in the datagrams that are handled.
pub const UPDATES: usize = 20;

/// The address of a member; the engine under test is number 0.
pub fn address(number: u32) -> Address {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 7_946)).into()
}

/// The secret of every benchmark.
pub fn secret() -> Secret {
    Secret::new([5; 32]).expect("32 bytes are a secret")
}

/// A member that tells the engine under test what a benchmark wants.
#[derive(Debug)]
pub struct Peer {
    envelopes: Envelopes,
    number: u32,
    sequence: u32,
}

impl Peer {
    /// The member of this number.
    pub fn new(number: u32) -> Peer {
        let mut random = Random::new(u64::from(number) + 99);
        Peer { envelopes: Envelopes::new(&[secret()], 1, 4, &mut random), number, sequence: 0 }
    }

    /// A sealed datagram with news.
    pub fn tell(&mut self, updates: impl Iterator<Item = Update>) -> Vec<u8> {
        self.write(Kind::Gossip, updates)
    }

    /// A sealed probe without news.
    pub fn probe(&mut self) -> Vec<u8> {
        self.write(Kind::Probe, std::iter::empty())
    }

    /// Pieces of news in a datagram that the engine under test sent to this member.
    pub fn updates_in(&mut self, datagram: &mut [u8]) -> usize {
        let opened = self.envelopes.open(datagram).expect("the engine's datagram is sound");
        Message::parse(opened.body).expect("so is its message").updates().count()
    }

    fn write(&mut self, kind: Kind, updates: impl Iterator<Item = Update>) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header {
            kind,
            sequence: self.sequence,
            sender: address(self.number),
            generation: Generation(1),
            incarnation: Incarnation(0),
            role: Role::Manager,
            health_score: 0,
            recipient: address(0),
            recipient_generation: Generation(1),
            subject: Address::UNSPECIFIED,
            parameter: 0,
            state_version: 0,
        };
        let place = Coordinate { vector: [0.001; 8], height: 0.001, adjustment: 0.0, error: 0.3 };
        let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
        let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
        let datacenter = "bench".parse().expect("a plain word is a name");
        let mut writer = MessageWriter::new(body, &header, &datacenter, &place);
        for update in updates {
            assert!(writer.push_update(&update), "the updates fit into one datagram");
        }
        let size = writer.finish();
        let size = self.envelopes.seal(&mut buffer, size);
        buffer.truncate(size);
        buffer
    }
}

/// A member's own word that it is alive.
pub fn news(number: u32, incarnation: u32) -> Update {
    Update {
        address: address(number),
        generation: Generation(1),
        incarnation: Incarnation(incarnation),
        state: MemberState::Alive,
        role: Role::Manager,
        health_score: 0,
        datacenter: "bench".parse().expect("a plain word is a name"),
        accuser: 0,
        state_version: 0,
    }
}

/// Takes all that an engine has to say and throws it away.
pub fn drain(engine: &mut Engine, now: Instant) {
    let mut buffer = [0; DATAGRAM_SIZE_MAX];
    while engine.poll_transmit(now, &mut buffer).is_some() {}
    while engine.poll_event().is_some() {}
    while engine.poll_change().is_some() {}
}

/// An engine to which every one of `size` members has spoken, so that all are alive.
pub fn engine_with(size: u32) -> (Engine, Instant) {
    let mut config = Config::new(address(0), secret());
    config.generation = Generation(1);
    config.member_capacity = size + 2;
    let now = Instant::from_millis(1);
    let mut engine = Engine::new(config, 1, now).expect("the defaults are legal");
    for number in 1..=size {
        let mut datagram = Peer::new(number).tell(std::iter::empty());
        engine.handle_datagram(now, address(number), &mut datagram);
        drain(&mut engine, now);
    }
    let alive = engine.members(now).filter(|member| member.state == MemberState::Alive).count();
    assert_eq!(alive as u32, size + 1);
    (engine, now)
}

/// Datagrams with [`UPDATES`] pieces of news each about members drawn at random, all of them fresh.
#[derive(Debug)]
pub struct NewsSource {
    random: Random,
    peer: Peer,
    incarnations: Vec<u32>,
}

impl NewsSource {
    /// News about `size` members, told by the first.
    pub fn new(size: u32) -> NewsSource {
        let incarnations = vec![0; size as usize];
        NewsSource { random: Random::new(7), peer: Peer::new(1), incarnations }
    }

    /// The next datagram; its source is `address(1)`.
    pub fn datagram(&mut self) -> Vec<u8> {
        let size = self.incarnations.len() as u32;
        let NewsSource { random, peer, incarnations } = self;
        let draw = |_| {
            let number = 2 + random.below(size - 2);
            let incarnation = &mut incarnations[number as usize];
            *incarnation += 1;
            news(number, *incarnation)
        };
        peer.tell((0..UPDATES).map(draw))
    }
}
