//! Datacenters and their leaders: managers elect one per datacenter, gates watch them (AD-33).
//!
//! ```text
//!            datacenter east                       datacenter west
//!   manager <-- votes, heartbeats --> manager     manager ... manager
//!      ^ leader                                      ^ leader
//!      |  probe, ack with a summary                  |
//!      +-------------------- gate -------------------+
//!                             |
//!                   candidates for the router
//! ```
//!
//! [`Federation`] is the part of one node in this, by its role: a manager votes, leads and answers
//! gates; a gate watches every datacenter and makes [`DatacenterCandidate`] rows of what it hears;
//! a worker only listens. It is pure state: time is an argument, messages and events are taken out
//! with `poll_*`, everything is bounded, and the same seed and inputs give the same outputs.
//!
//! * [`leadership`] says what holds about leaders, terms and leases, and under which assumptions;
//!   [`voters`] whose vote counts.
//! * [`health`] says when a datacenter is suspected and unreachable, [`correlation`] when the
//!   gate's own network is blamed instead.
//! * [`datacenter`] says how routing sees all that.

pub mod config;
pub mod correlation;
pub mod datacenter;
pub mod health;
pub mod leadership;
pub mod messages;
#[cfg(test)]
mod model;
mod outbox;
#[cfg(test)]
mod tests;
pub mod voters;

pub use config::{FederationConfig, LeadershipMode};
pub use datacenter::{DatacenterView, MemberCounts};
pub use health::{CONTACT_COUNT_MAX, Reachability};
pub use messages::{DatacenterSummary, FederationMessage};
pub use outbox::{FederationEvent, FederationStats, Outgoing, ResignationReason};
pub use voters::VOTER_COUNT_MAX;

use crate::config::DATACENTER_COUNT_MAX;
use crate::coordinate::Rtt;
use crate::error::ConfigError;
use crate::node::{Address, DatacenterName, Generation, MemberState, Role};
use crate::random::Random;
use crate::routing::{DatacenterCandidate, DatacenterId, Datacenters};
use crate::time::Instant;
use crate::wire::native::Malformed;
use datacenter::{Census, Resident};
use health::Monitor;
use leadership::Leadership;
use messages::LeaderProbeAck;
use outbox::Outbox;

/// Who a node is, as far as elections and probes care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where it is reached.
    pub address: Address,
    /// Which run of its program. Terms start from it where it is a wall clock in nanoseconds.
    pub generation: Generation,
    /// What it does.
    pub role: Role,
    /// Where it runs.
    pub datacenter: DatacenterName,
}

/// A member as the member table has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Who it is.
    pub identity: Identity,
    /// Where it stands in its life.
    pub state: MemberState,
    /// Its local health score as it last told, 0 to 8.
    pub health_score: u8,
}

/// Who sent a message, as the header of the datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Where it is reached.
    pub address: Address,
    /// Which run of its program.
    pub generation: Generation,
    /// What it does.
    pub role: Role,
    /// Where it runs.
    pub datacenter: DatacenterName,
    /// Its local health score, 0 to 8.
    pub health_score: u8,
}

/// The load of a datacenter, as the host of its leader reports it. It goes out with every answer to
/// a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatacenterLoad {
    /// Workers that are registered; 0 leaves the counting of workers to membership.
    pub worker_count: u32,
    /// Workers that work; more than are registered count as all of them.
    pub healthy_worker_count: u32,
    /// Cores of all registered workers.
    pub total_cores: u32,
    /// Cores that are free on healthy workers; more than there are count as all of them.
    pub available_cores: u32,
    /// Jobs that wait.
    pub queue_depth: u32,
    /// Jobs that run.
    pub active_job_count: u32,
}

/// Why a leader was not named. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameLeaderError {
    /// The node is no manager.
    #[error("only a manager follows a leader")]
    Role,
    /// The managers elect their leader.
    #[error("the managers elect their leader, set leadership to external to name one")]
    Elected,
    /// The term is over, belongs to another, or is too high to be one.
    #[error("term {term} is over, taken or too high, the last known is {known}")]
    StaleTerm {
        /// The term as given.
        term: u64,
        /// The highest term known.
        known: u64,
    },
}

/// The leadership of a node's own datacenter, as the node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeadershipView {
    /// Who leads, if anybody is known to.
    pub leader: Option<Address>,
    /// The highest term known. While there is a leader, the one it leads in: its fencing token.
    pub term: u64,
    /// Whether it is this node, and its lease holds.
    pub is_own: bool,
}

/// The part of one node in the federation.
#[derive(Debug)]
pub struct Federation {
    identity: Identity,
    names: Datacenters,
    own_datacenter: DatacenterId,
    census: Census,
    leadership: Option<Leadership>,
    monitor: Option<Monitor>,
    load: Option<(DatacenterLoad, Instant)>,
    outbox: Outbox,
}

impl Federation {
    /// A node that knows nobody yet. `seed` decides everything that is random about it.
    ///
    /// # Errors
    /// The first setting that it cannot run with.
    pub fn new(
        config: &FederationConfig,
        identity: Identity,
        seed: u64,
        now: Instant,
    ) -> Result<Federation, ConfigError> {
        config.check()?;
        let random = Random::new(seed);
        let mut names = Datacenters::new(DATACENTER_COUNT_MAX);
        let own_datacenter = names.intern(identity.datacenter).expect("there is room for one");
        let (mut leadership, mut monitor) = (None, None);
        match identity.role {
            Role::Manager => leadership = Some(Leadership::new(config, &identity, random, now)),
            Role::Gate => monitor = Some(Monitor::new(config, random, now)),
            Role::Worker => {}
        }
        Ok(Federation {
            identity,
            names,
            own_datacenter,
            census: Census::default(),
            leadership,
            monitor,
            load: None,
            outbox: Outbox::default(),
        })
    }

    /// A slot of the member table changed: it holds this member now, or none. Tell every change of
    /// address, state, run, role, datacenter or health, this node's own slot included; repetitions
    /// do no harm.
    pub fn observe(&mut self, now: Instant, slot: u32, member: Option<&MemberView>) {
        let resident = member.and_then(|member| self.resident(member));
        let previous = self.census.set(slot, resident);
        if let Some(previous) = previous {
            let is_same = resident.is_some_and(|resident| resident.address == previous.address);
            self.release(now, &previous, is_same.then_some(resident).flatten());
        }
        if let (Some(member), Some(resident)) = (member, resident) {
            self.admit(now, member, &resident);
        }
        let datacenters = [previous, resident].into_iter().flatten();
        for datacenter in datacenters.map(|resident| resident.datacenter) {
            let counts = self.census.counts(datacenter);
            if let Some(monitor) = &mut self.monitor {
                let is_lost = counts.managers > 0 && counts.alive_managers == 0;
                monitor.note_lost(now, datacenter, is_lost, &mut self.outbox);
            }
        }
    }

    /// Gives a gate a manager to ask, for a datacenter that its membership does not reach into.
    /// False when nothing was noted: the node is no gate, or there is no room.
    pub fn add_contact(
        &mut self,
        now: Instant,
        datacenter: DatacenterName,
        address: Address,
    ) -> bool {
        let (Some(monitor), Ok(id)) = (&mut self.monitor, self.names.intern(datacenter)) else {
            return false;
        };
        let is_known = monitor.add_contact(now, id, datacenter, address);
        self.outbox.stats.contacts_refused += u64::from(!is_known);
        is_known
    }

    /// Stops watching a datacenter, for example one that was closed. It is watched again when one
    /// of its managers is observed.
    pub fn forget_datacenter(&mut self, now: Instant, datacenter: &DatacenterName) {
        if let (Some(monitor), Some(id)) = (&mut self.monitor, self.names.id(datacenter)) {
            monitor.forget(now, id, &mut self.outbox);
        }
    }

    /// Tells how much this node distrusts its own view, 0 to 8. (Lifeguard: local health.)
    pub fn set_health_score(&mut self, score: u8) {
        if let Some(leadership) = &mut self.leadership {
            leadership.set_health_score(score);
        }
    }

    /// Tells the load of this node's datacenter, which gates hear while this node leads it.
    pub fn set_load(&mut self, now: Instant, load: DatacenterLoad) {
        self.load = Some((load, now));
    }

    /// Takes the leader that the host names, in [`LeadershipMode::External`]; `None` that there is
    /// none. A term belongs to the first that was named in it. The leader tells the other managers,
    /// so naming it there is enough.
    ///
    /// # Errors
    /// [`NameLeaderError`]; nothing has changed then.
    pub fn name_leader(
        &mut self,
        now: Instant,
        leader: Option<Address>,
        term: u64,
    ) -> Result<(), NameLeaderError> {
        let leadership = self.leadership.as_mut().ok_or(NameLeaderError::Role)?;
        leadership.name_leader(now, leader, term, &mut self.outbox)
    }

    /// The node is going to say goodbye: a leader hands over. To be called before others are told,
    /// because the hand-over must not come after the goodbye.
    pub fn leave(&mut self, now: Instant) {
        if let Some(leadership) = &mut self.leadership {
            leadership.leave(now, &mut self.outbox);
        }
    }

    /// Acts on a message. `received_at` is when it was received, which may lie before `now`: round
    /// trips use it.
    pub fn handle_message(
        &mut self,
        now: Instant,
        received_at: Instant,
        sender: &Sender,
        message: &FederationMessage,
    ) {
        let outbox = &mut self.outbox;
        match (message, sender.role) {
            (FederationMessage::LeaderProbe { sequence }, Role::Gate) => {
                self.answer_probe(now, sender.address, *sequence);
            }
            (FederationMessage::LeaderProbeAck(ack), Role::Manager) => {
                match (&mut self.monitor, self.names.id(&sender.datacenter)) {
                    (Some(monitor), Some(id)) => {
                        monitor.handle_ack(now, received_at, id, sender.address, ack, outbox);
                    }
                    _ => outbox.stats.messages_refused += 1,
                }
            }
            (FederationMessage::LeaderProbe { .. } | FederationMessage::LeaderProbeAck(_), _) => {
                outbox.stats.messages_refused += 1;
            }
            (_, role) => {
                let is_peer =
                    role == Role::Manager && sender.datacenter == self.identity.datacenter;
                match &mut self.leadership {
                    Some(leadership) if is_peer => leadership.handle(now, sender, message, outbox),
                    _ => outbox.stats.messages_refused += 1,
                }
            }
        }
    }

    /// Acts on the messages in a payload that [`check_messages`] let pass.
    pub fn handle_payload(
        &mut self,
        now: Instant,
        received_at: Instant,
        sender: &Sender,
        payload: &[u8],
    ) {
        let mut unread = payload;
        while let Ok((message, rest)) = FederationMessage::parse(unread) {
            self.handle_message(now, received_at, sender, &message);
            unread = rest;
        }
    }

    /// Acts on the deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(leadership) = &mut self.leadership {
            leadership.handle_timeout(now, &mut self.outbox);
        }
        if let Some(monitor) = &mut self.monitor {
            monitor.handle_timeout(now, &mut self.outbox);
        }
    }

    /// When [`Federation::handle_timeout`] should be called next. Any input may change it.
    pub fn next_deadline(&self) -> Option<Instant> {
        let leadership = self.leadership.as_ref().and_then(Leadership::next_deadline);
        let monitor = self.monitor.as_ref().and_then(Monitor::next_deadline);
        [leadership, monitor].into_iter().flatten().min()
    }

    /// The next message to send, oldest first. `now` should be the time of sending: round trips are
    /// counted from it.
    pub fn poll_message(&mut self, now: Instant) -> Option<Outgoing> {
        let outgoing = self.outbox.next_message()?;
        if let (FederationMessage::LeaderProbe { sequence }, Some(monitor)) =
            (outgoing.message, &mut self.monitor)
        {
            monitor.note_sent(sequence, now);
        }
        Some(outgoing)
    }

    /// Whom the next message is for, `None` when there is nothing to send.
    pub fn next_target(&self) -> Option<Address> {
        self.outbox.next_target()
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<FederationEvent> {
        self.outbox.next_event()
    }

    /// Who leads the node's own datacenter now. A gate knows it from its probes, a worker does not.
    pub fn leadership(&self, now: Instant) -> LeadershipView {
        if let Some(leadership) = &self.leadership {
            let (leader, term) = (leadership.leader(now), leadership.term());
            return LeadershipView { leader, term, is_own: leadership.is_leading(now) };
        }
        let site = self.monitor.as_ref().and_then(|monitor| monitor.site(self.own_datacenter));
        let known = site.and_then(|site| site.leader());
        LeadershipView {
            leader: known.map(|(leader, _)| leader),
            term: known.map_or(0, |(_, term)| term),
            is_own: false,
        }
    }

    /// Fills `candidates` with a row for every datacenter that a gate watches, for
    /// [`Router::route`](crate::routing::Router::route). `rtt` gives the round trip to a leader as
    /// membership knows it; without one the probes' own is used.
    pub fn candidates(
        &self,
        now: Instant,
        rtt: impl Fn(Address) -> Option<Rtt>,
        candidates: &mut Vec<DatacenterCandidate>,
    ) {
        candidates.clear();
        candidates.extend(self.views(now, rtt).map(|view| view.candidate));
    }

    /// What a gate knows of each datacenter that it watches.
    pub fn views(
        &self,
        now: Instant,
        rtt: impl Fn(Address) -> Option<Rtt>,
    ) -> impl Iterator<Item = DatacenterView> {
        let monitor = self.monitor.iter();
        monitor.flat_map(|monitor| monitor.sites().zip(std::iter::repeat(monitor))).map(
            move |(site, monitor)| {
                let rtt = site.leader().and_then(|(leader, _)| rtt(leader));
                let counts = self.census.counts(site.id());
                datacenter::view(site, &counts, monitor.is_network_blamed(), rtt, now)
            },
        )
    }

    /// The managers that a gate can turn to in a datacenter, at most [`CONTACT_COUNT_MAX`] of them.
    pub fn managers(&self, datacenter: DatacenterId) -> &[Address] {
        let site = self.monitor.as_ref().and_then(|monitor| monitor.site(datacenter));
        site.map_or(&[], |site| site.contacts())
    }

    /// Whether this gate blames its own network for the silence of datacenters.
    pub fn is_network_suspected(&self) -> bool {
        self.monitor.as_ref().is_some_and(Monitor::is_network_blamed)
    }

    /// The members of a datacenter as membership sees them.
    pub fn member_counts(&self, datacenter: &DatacenterName) -> MemberCounts {
        self.names.id(datacenter).map_or_else(MemberCounts::default, |id| self.census.counts(id))
    }

    /// The numbers that stand for datacenters in candidates and decisions.
    pub fn names(&self) -> &Datacenters {
        &self.names
    }

    /// What has been counted.
    pub fn stats(&self) -> &FederationStats {
        &self.outbox.stats
    }

    /// Takes in a member whose datacenter can be remembered.
    fn resident(&mut self, member: &MemberView) -> Option<Resident> {
        let Identity { address, role, datacenter, .. } = member.identity;
        if member.state == MemberState::Removed {
            return None;
        }
        match self.names.intern(datacenter) {
            Ok(datacenter) => Some(Resident { address, datacenter, role, state: member.state }),
            Err(_) => {
                self.outbox.stats.datacenters_refused += 1;
                None
            }
        }
    }

    /// A slot's member is gone, or is something else now.
    fn release(&mut self, now: Instant, previous: &Resident, present: Option<Resident>) {
        let is_manager = |resident: &Resident, datacenter: DatacenterId| {
            resident.role == Role::Manager && resident.datacenter == datacenter
        };
        let is_still = |datacenter| present.is_some_and(|present| is_manager(&present, datacenter));
        let address = previous.address;
        if is_manager(previous, self.own_datacenter)
            && !is_still(self.own_datacenter)
            && let Some(leadership) = &mut self.leadership
        {
            // One that moved away said no goodbye, but is bound like one that did.
            let state = if present.is_some() { MemberState::Left } else { MemberState::Removed };
            leadership.observe(now, address, Generation(0), 0, state, &mut self.outbox);
        }
        if let Some(monitor) = &mut self.monitor
            && !is_still(previous.datacenter)
        {
            monitor.remove_contact(previous.datacenter, address);
        }
    }

    fn admit(&mut self, now: Instant, member: &MemberView, resident: &Resident) {
        let Identity { address, generation, role, datacenter } = member.identity;
        if role != Role::Manager {
            return;
        }
        if let Some(leadership) = &mut self.leadership
            && resident.datacenter == self.own_datacenter
        {
            let (health_score, state) = (member.health_score, member.state);
            leadership.observe(now, address, generation, health_score, state, &mut self.outbox);
        }
        let Some(monitor) = &mut self.monitor else { return };
        if matches!(member.state, MemberState::Dead | MemberState::Left) {
            monitor.remove_contact(resident.datacenter, address);
        } else if !monitor.add_contact(now, resident.datacenter, datacenter, address) {
            self.outbox.stats.contacts_refused += 1;
        }
    }

    fn answer_probe(&mut self, now: Instant, gate: Address, sequence: u32) {
        let Some(leadership) = &self.leadership else {
            self.outbox.stats.messages_refused += 1;
            return;
        };
        let summary = leadership.is_leading(now).then(|| self.summary(now));
        let (leader, term) = (leadership.leader(now), leadership.term());
        let ack = LeaderProbeAck { sequence, term, leader, summary };
        self.outbox.send(gate, FederationMessage::LeaderProbeAck(ack));
    }

    fn summary(&self, now: Instant) -> DatacenterSummary {
        let counts = self.census.counts(self.own_datacenter);
        let (load, told_at) = self.load.unwrap_or((DatacenterLoad::default(), now));
        let (worker_count, healthy_worker_count) = match load.worker_count {
            0 => (counts.workers, counts.alive_workers),
            workers => (workers, load.healthy_worker_count.min(workers)),
        };
        // This node answers, so it is one of the managers even before its own record has been told.
        let manager_count = counts.managers.max(1);
        DatacenterSummary {
            manager_count,
            healthy_manager_count: counts.alive_managers.clamp(1, manager_count),
            worker_count,
            healthy_worker_count,
            total_cores: load.total_cores,
            available_cores: load.available_cores.min(load.total_cores),
            queue_depth: load.queue_depth,
            active_job_count: load.active_job_count,
            age: now - told_at,
        }
    }
}

/// Checks a payload before anything of its datagram is used.
///
/// # Errors
/// When any message in it breaks the format.
pub fn check_messages(payload: &[u8]) -> Result<(), Malformed> {
    let mut unread = payload;
    while !unread.is_empty() {
        (_, unread) = FederationMessage::parse(unread)?;
    }
    Ok(())
}
