//! A hostile insider: it holds the secret, so what it invents is sealed correctly.
//!
//! It speaks in the name of others, spreads failures and departures that never happened, invents
//! members, leaps ahead with incarnations and generations, and lies about coordinates. Its
//! datagrams follow the format; what must stop it is the engine's judgement. It does not use
//! generations or incarnations at the very end of their range: against a cluster member that burns
//! those only rotating the secret helps.

use shoal_core::config::{DATAGRAM_SIZE_MAX, Secret};
use shoal_core::coordinate::DIMENSIONS;
use shoal_core::random::Random;
use shoal_core::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use shoal_core::wire::native::{Header, Kind, MessageWriter, Update};
use shoal_core::{Address, Coordinate, Generation, Incarnation, Instant, MemberState, Role};

use crate::host::address_of;
use crate::simulation::Simulation;

/// Most invented updates in one datagram.
const UPDATE_COUNT_MAX: u32 = 6;
/// Addresses behind those of the hosts that it invents members for.
const GHOST_COUNT: u32 = 8;

/// Forges datagrams.
#[derive(Debug)]
pub(crate) struct Insider {
    envelopes: Envelopes,
    random: Random,
}

impl Insider {
    pub fn new(secrets: &[Secret], mut random: Random) -> Insider {
        Insider { envelopes: Envelopes::new(secrets, 1, 2, &mut random), random }
    }

    /// Sends one forged datagram to a node.
    pub fn strike(&mut self, simulation: &mut Simulation, target: u32) {
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        let header = self.header(simulation, target);
        let datacenter = "east".parse().expect("a plain word is a name");
        let coordinate = self.coordinate();
        let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
        let mut writer = MessageWriter::new(body, &header, &datacenter, &coordinate);
        for _ in 0..self.random.below(UPDATE_COUNT_MAX + 1) {
            let update = self.update(simulation);
            writer.push_update(&update);
        }
        let size = writer.finish();
        let size = self.envelopes.seal(&mut buffer, size);
        let source = address_of(self.any_host(simulation));
        simulation.inject(source, target, &buffer[..size]);
    }

    fn any_host(&mut self, simulation: &Simulation) -> u32 {
        self.random.below(simulation.host_count())
    }

    /// A node, or now and then one that does not exist.
    fn anybody(&mut self, simulation: &Simulation) -> u32 {
        match self.random.below(6) {
            0 => simulation.host_count() + self.random.below(GHOST_COUNT),
            _ => self.any_host(simulation),
        }
    }

    /// The truth about a node, or something near it.
    fn version(&mut self, simulation: &Simulation, node: u32) -> (Generation, Incarnation) {
        let engine = (node < simulation.host_count()).then(|| simulation.engine(node)).flatten();
        let own = engine.and_then(|engine| engine.member_at(0, Instant::ZERO));
        let (generation, incarnation) =
            own.map_or((1, 0), |own| (own.generation.0, own.incarnation.0));
        let leap = [0, 0, 1, 1, 5, 900, 5_000][self.random.below(7) as usize];
        let later = [0, 0, 0, 0, 1, 40][self.random.below(6) as usize];
        (Generation(generation + later), Incarnation(incarnation.saturating_add(leap)))
    }

    fn header(&mut self, simulation: &Simulation, target: u32) -> Header {
        const KINDS: [Kind; 8] = [
            Kind::Gossip,
            Kind::Gossip,
            Kind::Probe,
            Kind::Ack,
            Kind::IndirectProbe,
            Kind::Nack,
            Kind::SyncRequest,
            Kind::SyncReply,
        ];
        let sender = self.anybody(simulation);
        let (generation, incarnation) = self.version(simulation, sender);
        let subject = self.anybody(simulation);
        let (recipient_generation, _) = self.version(simulation, target);
        Header {
            kind: KINDS[self.random.below(8) as usize],
            sequence: self.random.next_u64() as u32,
            sender: address_of(sender),
            generation,
            incarnation,
            role: Role::Manager,
            health_score: self.random.below(256) as u8,
            recipient: address_of(target),
            recipient_generation,
            subject: address_of(subject),
            parameter: self.random.next_u64() as u32 >> self.random.below(32),
            state_version: self.lie_about_state(),
        }
    }

    fn update(&mut self, simulation: &Simulation) -> Update {
        const STATES: [MemberState; 5] = [
            MemberState::Unconfirmed,
            MemberState::Alive,
            MemberState::Suspect,
            MemberState::Dead,
            MemberState::Left,
        ];
        let node = self.anybody(simulation);
        let (generation, incarnation) = self.version(simulation, node);
        let is_nowhere = self.random.chance(0.05);
        Update {
            address: if is_nowhere { Address::UNSPECIFIED } else { address_of(node) },
            generation,
            incarnation,
            state: STATES[self.random.below(5) as usize],
            role: Role::ALL[self.random.below(3) as usize],
            health_score: self.random.below(256) as u8,
            datacenter: "east".parse().expect("a plain word is a name"),
            accuser: self.random.next_u64() as u32,
            state_version: self.lie_about_state(),
        }
    }

    /// Mostly none: every version that is named is asked for.
    fn lie_about_state(&mut self) -> u32 {
        [0, 0, 0, 1, 900][self.random.below(5) as usize]
    }

    fn coordinate(&mut self) -> Coordinate {
        const ODD: [f64; 8] = [0.0, -1.0, 1e-30, 9.9, 10.0, 1e30, f64::INFINITY, f64::NAN];
        let mut odd = || ODD[self.random.below(8) as usize];
        Coordinate {
            vector: [(); DIMENSIONS].map(|()| odd()),
            height: odd(),
            adjustment: odd(),
            error: odd(),
        }
    }
}
