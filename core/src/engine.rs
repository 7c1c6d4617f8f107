//! The engine: every input enters here, every output leaves here.

use crate::config::{Config, Secret};
use crate::coordinate::{Coordinate, Rtt};
use crate::error::{CommandError, ConfigError};
use crate::events::Event;
use crate::node::{Address, DatacenterName, Generation, Incarnation, MemberState, Role};
use crate::stats::Stats;
use crate::time::Instant;

/// A datagram that [`Engine::poll_transmit`] wrote into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to send it.
    pub target: Address,
    /// How many bytes of the buffer it fills.
    pub size: usize,
}

/// One member as this node sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// Where it is reached.
    pub address: Address,
    /// Where it stands in its life.
    pub state: MemberState,
    /// Which run of its program.
    pub generation: Generation,
    /// Its count of refutations.
    pub incarnation: Incarnation,
    /// What it does.
    pub role: Role,
    /// Where it runs.
    pub datacenter: DatacenterName,
    /// Its local health score as it last told, 0 (well) to 8.
    pub health_score: u8,
    /// The round trip to it, when something is known.
    pub rtt: Option<Rtt>,
    /// Its coordinate as it last told.
    pub coordinate: Option<Coordinate>,
}

/// One node's whole state, without I/O and without a clock.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    stats: Stats,
}

#[allow(unused_variables, missing_docs)]
impl Engine {
    pub fn new(config: Config, seed: u64, now: Instant) -> Result<Engine, ConfigError> {
        config.check()?;
        Ok(Engine { config, stats: Stats::default() })
    }
    pub fn handle_datagram(&mut self, now: Instant, source: Address, datagram: &mut [u8]) {}
    pub fn handle_timeout(&mut self, now: Instant) {}
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<Transmit> {
        None
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }
    /// The slot of a member whose record changed since it was last polled. Slot 0 is this node.
    pub fn poll_change(&mut self) -> Option<u32> {
        None
    }
    pub fn join(&mut self, now: Instant, seeds: &[Address]) -> Result<(), CommandError> {
        Ok(())
    }
    pub fn leave(&mut self, now: Instant) -> Result<(), CommandError> {
        Ok(())
    }
    pub fn set_secrets(&mut self, secrets: Vec<Secret>) -> Result<(), CommandError> {
        Ok(())
    }
    pub fn config(&self) -> &Config {
        &self.config
    }
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
    pub fn health_score(&self) -> u8 {
        0
    }
    pub fn coordinate(&self) -> &Coordinate {
        panic!("being written")
    }
    /// The member in a slot, `None` when the slot is free. Slot 0 is this node.
    pub fn member_at(&self, slot: u32, now: Instant) -> Option<Member> {
        None
    }
    /// How many slots have ever been in use: slots are `0..slot_count`.
    pub fn slot_count(&self) -> u32 {
        0
    }
    pub fn members(&self, now: Instant) -> impl Iterator<Item = Member> + '_ {
        (0..self.slot_count()).filter_map(move |slot| self.member_at(slot, now))
    }
    pub fn member(&self, address: Address, now: Instant) -> Option<Member> {
        None
    }
    pub fn rtt(&self, address: Address, now: Instant) -> Option<Rtt> {
        None
    }
}
