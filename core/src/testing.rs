//! A handful of engines on a perfect network with a virtual clock: the vocabulary of the engine's tests.
//! The simulator crate has the imperfect ones.

use std::collections::BTreeMap;

use crate::config::{Config, DATAGRAM_SIZE_MAX, Secret};
use crate::coordinate::Coordinate;
use crate::engine::Engine;
use crate::events::Event;
use crate::node::{Address, Generation, Incarnation, MemberState, Role};
use crate::random::Random;
use crate::time::{Duration, Instant};
use crate::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use crate::wire::native::{Header, Kind, MessageWriter, Update};

pub(crate) fn address(number: u16) -> Address {
    format!("10.0.0.1:{}", 7_000 + number).parse().unwrap()
}

pub(crate) fn config(number: u16) -> Config {
    let mut config = Config::new(address(number), Secret::new([7; 32]).unwrap());
    config.generation = Generation(1);
    config
}

/// Engines that exchange datagrams. Their number is also their port.
pub(crate) struct Cluster {
    pub now: Instant,
    pub engines: BTreeMap<u16, Engine>,
    pub events: Vec<(u16, Event)>,
    /// Datagrams under way, by arrival and order of sending.
    in_flight: BTreeMap<(Instant, u64), (Address, Address, Vec<u8>)>,
    sent: u64,
    /// A digest of every byte sent, in order.
    pub trace: u64,
    /// How long a datagram is under way.
    pub one_way: Duration,
    /// Directions in which nothing arrives.
    pub cut: Vec<(Address, Address)>,
    /// That a datagram is lost, 0 to 1.
    pub loss: f64,
    random: Random,
}

impl Cluster {
    pub fn new() -> Cluster {
        Cluster {
            now: Instant::from_millis(1_000),
            engines: BTreeMap::new(),
            events: Vec::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            trace: 0,
            one_way: Duration::from_micros(150),
            cut: Vec::new(),
            loss: 0.0,
            random: Random::new(1),
        }
    }

    /// A cluster in which everybody has joined through node 0 and knows everybody.
    pub fn formed(count: u16, role: Role) -> Cluster {
        let mut cluster = Cluster::new();
        for number in 0..count {
            cluster.start(number, Config { role, ..config(number) });
        }
        cluster.run_for(Duration::from_secs(5));
        cluster
    }

    pub fn start(&mut self, number: u16, config: Config) {
        // Never the same twice, as two runs of a node never have the same session.
        let seed = u64::from(number) + 100 * config.generation.0 + (self.sent << 20);
        let mut engine = Engine::new(config, seed, self.now).unwrap();
        if number > 0 {
            engine.join(self.now, &[address(0)]).unwrap();
        }
        self.engines.insert(number, engine);
        self.drain(number);
    }

    pub fn engine(&mut self, number: u16) -> &mut Engine {
        self.engines.get_mut(&number).unwrap()
    }

    /// Takes a node off the network without a word.
    pub fn kill(&mut self, number: u16) {
        self.engines.remove(&number);
    }

    pub fn leave(&mut self, number: u16) {
        let now = self.now;
        self.engine(number).leave(now).unwrap();
        self.drain(number);
    }

    /// What `observer` thinks of `subject`.
    pub fn state(&self, observer: u16, subject: u16) -> Option<MemberState> {
        let engine = &self.engines[&observer];
        engine.member(address(subject), self.now).map(|member| member.state)
    }

    /// Whether every running node thinks this of `subject`, itself excepted.
    pub fn all_see(&self, subject: u16, state: MemberState) -> bool {
        let mut observers = self.engines.keys().filter(|&&observer| observer != subject);
        observers.all(|&observer| self.state(observer, subject) == Some(state))
    }

    pub fn is_full_mesh(&self) -> bool {
        self.engines.keys().all(|&subject| self.all_see(subject, MemberState::Alive))
    }

    /// Events about `subject` in the state, by anybody.
    pub fn seen(&self, subject: u16, state: MemberState) -> usize {
        let is_it = |event: &Event| {
            matches!(event, Event::Member(member)
                if member.address == address(subject) && member.state == state)
        };
        self.events.iter().filter(|(_, event)| is_it(event)).count()
    }

    /// Hands a datagram to a node as if the network had brought it.
    pub fn deliver(&mut self, target: u16, source: Address, bytes: &mut [u8]) {
        let now = self.now;
        self.engine(target).handle_datagram(now, source, bytes);
        self.drain(target);
    }

    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until the condition holds; panics when it has not after `limit`.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Cluster) -> bool) -> Duration {
        let start = self.now;
        while !condition(self) {
            assert!(self.now - start < limit, "not reached within {limit:?}");
            self.run_for(Duration::from_millis(10));
        }
        self.now - start
    }

    fn step(&mut self, end: Instant) -> bool {
        let arrival = self.in_flight.keys().next().map(|&(at, _)| at);
        let deadlines = self.engines.iter();
        let deadline =
            deadlines.filter_map(|(&number, engine)| Some((engine.poll_timeout()?, number))).min();
        match (arrival, deadline) {
            (Some(at), deadline) if at <= end && deadline.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                let (_, (source, target, mut bytes)) = self.in_flight.pop_first().unwrap();
                let number = target.port() - 7_000;
                let is_lost = self.random.chance(self.loss);
                let is_cut = self.cut.contains(&(source, target));
                if !is_lost
                    && !is_cut
                    && self.engines.contains_key(&number)
                    && target == address(number)
                {
                    self.deliver(number, source, &mut bytes);
                }
                true
            }
            (_, Some((due, number))) if due <= end => {
                self.now = self.now.max(due);
                let now = self.now;
                self.engine(number).handle_timeout(now);
                self.drain(number);
                true
            }
            _ => false,
        }
    }

    /// Takes what an input brought about.
    pub fn drain(&mut self, number: u16) {
        let (arrival, now, source) = (self.now + self.one_way, self.now, address(number));
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        while let Some(transmit) = self.engine(number).poll_transmit(now, &mut buffer) {
            let bytes = buffer[..transmit.size].to_vec();
            for &byte in &bytes {
                self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
            self.sent += 1;
            self.in_flight.insert((arrival, self.sent), (source, transmit.target, bytes));
        }
        while let Some(event) = self.engine(number).poll_event() {
            self.events.push((number, event));
        }
    }
}

/// What an insider that holds the secret can send in the name of node 1.
pub(crate) fn forged(recipient: u16, update: &Update) -> Vec<u8> {
    forged_all(recipient, &[*update])
}

/// The same with several updates in one datagram.
pub(crate) fn forged_all(recipient: u16, updates: &[Update]) -> Vec<u8> {
    forged_message(recipient, Kind::Gossip, 0, 0, updates)
}

/// A message of any kind in the name of node 1.
pub(crate) fn forged_message(
    recipient: u16,
    kind: Kind,
    sequence: u32,
    parameter: u32,
    updates: &[Update],
) -> Vec<u8> {
    let own = config(1);
    // A session of its own, so that it does not count as replayed.
    let mark = |first: &Update| first.incarnation.0 + u32::from(first.address.port());
    let seed = 77 + u64::from(updates.first().map_or(sequence, mark));
    let mut envelopes = Envelopes::new(&own.secrets, 1, 2, &mut Random::new(seed));
    let header = Header {
        kind,
        sequence,
        sender: own.advertise,
        generation: own.generation,
        incarnation: Incarnation(0),
        role: own.role,
        health_score: 0,
        recipient: address(recipient),
        recipient_generation: Generation(0),
        subject: Address::UNSPECIFIED,
        parameter,
        state_version: 0,
    };
    let coordinate = Coordinate { vector: [0.0; 8], height: 0.0, adjustment: 0.0, error: 1.0 };
    let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
    let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
    let mut writer = MessageWriter::new(body, &header, &own.datacenter, &coordinate);
    assert!(updates.iter().all(|update| writer.push_update(update)));
    let size = writer.finish();
    let size = envelopes.seal(&mut buffer, size);
    buffer.truncate(size);
    buffer
}

/// News of a node at an incarnation of its first run.
pub(crate) fn claim(subject: u16, state: MemberState, incarnation: u32) -> Update {
    let config = config(subject);
    Update {
        address: config.advertise,
        generation: config.generation,
        incarnation: Incarnation(incarnation),
        state,
        role: config.role,
        health_score: 0,
        datacenter: config.datacenter,
        accuser: 5,
        state_version: 0,
    }
}
