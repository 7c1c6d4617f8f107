//! Leaders and datacenters inside the engine: what membership sees goes to the federation, what the
//! federation wants sent goes into datagrams, and what it finds out becomes events (AD-33).
//!
//! * A member that is new, gone, or stands otherwise is told before the messages of the same
//!   datagram are, so that a vote never comes from an unknown manager.
//! * Federation messages leave before everything else: a heartbeat that waits behind a table page may cost
//!   a lease, and a leader hands over before it says goodbye.
//! * A manager that is elected leads its jobs under its term from then on: the term is their fence
//!   (AD-34, part 7).

use super::{Engine, Transmit};
use crate::effects::Outgoing;
use crate::error::CommandError;
use crate::events::Event;
use crate::federation::messages::MESSAGE_SIZE_MAX;
use crate::federation::{
    DatacenterLoad, DatacenterView, FederationEvent, FederationStats, Identity, LeadershipView,
    MemberView, NameLeaderError, Sender,
};
use crate::jobs::FenceToken;
use crate::jobs::desk::JobDesk;
use crate::membership::Membership;
use crate::membership::table::OWN_SLOT;
use crate::node::{Address, DatacenterName, Role};
use crate::stats::{Counter, Stats};
use crate::time::Instant;
use crate::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX};
use crate::wire::native::{Kind, Message, MessageWriter};

impl Engine {
    /// Who leads this node's own datacenter. A manager knows it from its elections, a gate from its
    /// probes, a worker does not know it.
    pub fn leader(&self, now: Instant) -> LeadershipView {
        self.federation.leadership(self.now.max(now))
    }

    /// Names the leader of this manager's datacenter, in
    /// [`LeadershipMode::External`](crate::federation::LeadershipMode::External); `None` says that there is
    /// none. The named leader tells the other managers, so naming it there is enough.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no manager, [`CommandError::NameLeader`] when the managers
    /// elect their leader or the term is over; nothing has changed then.
    pub fn name_leader(
        &mut self,
        now: Instant,
        leader: Option<Address>,
        term: u64,
    ) -> Result<(), CommandError> {
        self.begin_input(now);
        let named = self.federation.name_leader(self.now, leader, term);
        named.map_err(|error| match error {
            NameLeaderError::Role => CommandError::Role { needed: Role::Manager },
            error => error.into(),
        })?;
        self.settle();
        Ok(())
    }

    /// Tells how busy this manager's datacenter is. While it leads, gates hear that with every answer
    /// to a probe, and how old it is: news older than
    /// [`health_stale_after_ms`](crate::routing::FilterConfig::health_stale_after_ms) demotes the
    /// datacenter. A host that never tells its load is routed to by distance alone.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no manager.
    pub fn set_load(&mut self, now: Instant, load: DatacenterLoad) -> Result<(), CommandError> {
        self.now = self.now.max(now);
        if self.config.role != Role::Manager {
            return Err(CommandError::Role { needed: Role::Manager });
        }
        self.federation.set_load(self.now, load);
        Ok(())
    }

    /// What this gate knows of each datacenter that it watches; nothing on other nodes.
    pub fn datacenters(&self, now: Instant) -> impl Iterator<Item = DatacenterView> + '_ {
        let now = self.now.max(now);
        self.federation
            .views(now, move |address| self.tracker.rtt(self.membership.table.find(address)?, now))
    }

    /// Gives this gate a manager to ask, for a datacenter that its membership does not reach into.
    /// Returns whether there was room for it.
    ///
    /// # Errors
    /// [`CommandError::Role`] when this node is no gate.
    pub fn watch_datacenter(
        &mut self,
        now: Instant,
        datacenter: DatacenterName,
        manager: Address,
    ) -> Result<bool, CommandError> {
        self.begin_input(now);
        if self.config.role != Role::Gate {
            return Err(CommandError::Role { needed: Role::Gate });
        }
        Ok(self.federation.add_contact(self.now, datacenter, manager))
    }

    /// Whether this gate blames its own network for the silence of datacenters.
    pub fn is_network_suspected(&self) -> bool {
        self.federation.is_network_suspected()
    }

    /// Acts on the federation's part of a datagram that membership has let pass.
    pub(super) fn handle_federation(&mut self, message: &Message<'_>, received_at: Instant) {
        let header = &message.header;
        let sender = Sender {
            address: header.sender,
            generation: header.generation,
            role: header.role,
            datacenter: message.datacenter,
            health_score: header.health_score,
        };
        self.federation.handle_payload(self.now, received_at, &sender, message.payload);
        self.is_federation_active = true;
    }

    pub(super) fn expire_federation(&mut self) {
        if self.federation.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            self.federation.handle_timeout(self.now);
            self.is_federation_active = true;
        }
    }

    /// Tells the federation which members changed.
    pub(super) fn observe_members(&mut self) {
        while let Some(slot) = self.effects.next_move() {
            let member = member_view(&self.membership, slot);
            self.federation.observe(self.now, slot, member.as_ref());
            self.is_federation_active = true;
        }
    }

    /// Collects what the last input brought about in the federation.
    pub(super) fn settle_federation(&mut self) {
        // The goodbye is the last word.
        if self.membership.is_gone() {
            return;
        }
        self.observe_members();
        self.federation.set_health_score(self.membership.health_score());
        if !std::mem::take(&mut self.is_federation_active) {
            return;
        }
        while let Some(event) = self.federation.poll_event() {
            self.follow(&event);
            self.effects.emit(Event::Federation(event));
        }
        count(self.federation.stats(), &mut self.effects.stats);
        if let Some(desk) = &mut self.routing {
            desk.mark_stale();
        }
    }

    /// What this node does about news of leaders and datacenters itself.
    fn follow(&mut self, event: &FederationEvent) {
        if let Some(desk) = &mut self.routing {
            let reset = desk.follow(self.federation.names(), event);
            self.effects.stats.add(Counter::JobRoutesReset, reset as u64);
        }
        if let FederationEvent::LeaderElected { leader, term, .. } = *event
            && leader == self.membership.table.own().address
            && let JobDesk::Manager(manager) = &mut self.jobs
        {
            manager.elected(self.now, FenceToken(term));
        }
    }

    /// The fence of a job that begins here: the term of this manager's leadership, where it has one.
    pub(super) fn fence_at_start(&self, fence: FenceToken) -> FenceToken {
        let leadership = self.federation.leadership(self.now);
        if leadership.is_own { fence.max(FenceToken(leadership.term)) } else { fence }
    }

    /// Writes a datagram of federation messages: as many to one node as fit.
    pub(super) fn transmit_federation(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let target = self.federation.next_target()?;
        let header = self.membership.header(&Outgoing::new(Kind::Federation, target));
        let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
        let datacenter = self.membership.table.datacenter(OWN_SLOT);
        let mut writer = MessageWriter::new(body, &header, datacenter, self.tracker.coordinate());
        while self.federation.next_target() == Some(target) && writer.room() >= MESSAGE_SIZE_MAX {
            let outgoing = self.federation.poll_message(now).expect("it has a target");
            let mut bytes = [0; MESSAGE_SIZE_MAX];
            let size = outgoing.message.write(&mut bytes);
            writer.push_payload(&[&bytes[..size]]);
        }
        let size = writer.finish();
        Some(self.seal(buffer, size, target))
    }
}

/// The part of this node in the federation.
pub(super) fn identity(config: &crate::config::Config) -> Identity {
    Identity {
        address: config.advertise,
        generation: config.generation,
        role: config.role,
        datacenter: config.datacenter,
    }
}

fn member_view(membership: &Membership, slot: u32) -> Option<MemberView> {
    let record = membership.table.occupied(slot)?;
    let identity = Identity {
        address: record.address,
        generation: record.generation,
        role: record.role,
        datacenter: *membership.table.datacenter(slot),
    };
    let is_own = slot == OWN_SLOT;
    let health_score = if is_own { membership.health_score() } else { record.health_score };
    Some(MemberView { identity, state: record.state, health_score })
}

/// Shows the federation's counts among the engine's.
fn count(federation: &FederationStats, stats: &mut Stats) {
    let overflows = [
        federation.voters_refused,
        federation.contacts_refused,
        federation.datacenters_refused,
        federation.messages_dropped,
        federation.events_dropped,
    ];
    for (counter, value) in [
        (Counter::Elections, federation.elections),
        (Counter::ElectionsWon, federation.elections_won),
        (Counter::ElectionRoundsFailed, federation.rounds_failed),
        (Counter::StepDowns, federation.step_downs),
        (Counter::StaleTerms, federation.stale_terms),
        (Counter::TermConflicts, federation.term_conflicts),
        (Counter::DatacenterProbesSent, federation.probes_sent),
        (Counter::DatacenterProbesAcked, federation.probes_acked),
        (Counter::DatacenterProbesFailed, federation.probes_failed),
        (Counter::NetworkSuspicions, federation.network_suspicions),
        (Counter::FederationRefused, federation.messages_refused + federation.acks_unmatched),
        (Counter::FederationOverflows, overflows.iter().sum()),
    ] {
        stats.set(counter, value);
    }
}
