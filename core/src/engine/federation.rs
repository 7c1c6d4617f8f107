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
use crate::node::{Address, DatacenterName, MemberState, Role};
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

    /// Tells the federation which members changed, and the session which are gone.
    pub(super) fn observe_members(&mut self) {
        while let Some(slot) = self.effects.next_move() {
            let member = member_view(&self.membership, slot);
            if let (Some(session), Some(member)) = (&mut self.hyperscale, &member)
                && matches!(member.state, MemberState::Dead | MemberState::Left)
            {
                session.lost(member.identity.address);
            }
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

    /// The fence with which this manager goes on with a job that another one led: its own term where it was
    /// elected, and beyond the latest term it knows of where the host made it the leader.
    pub(super) fn fence_at_takeover(&self, fence: FenceToken) -> FenceToken {
        let leadership = self.federation.leadership(self.now);
        let term = FenceToken(leadership.term);
        match leadership.term {
            0 => fence,
            _ if leadership.is_own => fence.max(term),
            _ => fence.max(term.next()),
        }
    }

    /// Writes a datagram of federation messages: as many to one node as fit.
    pub(super) fn transmit_federation(
        &mut self,
        now: Instant,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        while self.federation.next_target().is_some_and(|target| !self.speaks_native(target)) {
            self.federation.poll_message(now).expect("it has a target");
            self.effects.count(Counter::Untranslatable);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::federation::{LeadershipMode, Reachability};
    use crate::id::JobId;
    use crate::jobs::{JobSnapshot, JobStart, LeaderChange};
    use crate::testing::{Cluster, address, config};
    use crate::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// Gate 0 and managers 1 to 3 in east, managers 4 to 6 in west, one worker each.
    fn cluster(change: impl Fn(&mut Config)) -> Cluster {
        let mut cluster = Cluster::new();
        for number in 0..9 {
            let role = match number {
                0 => Role::Gate,
                1..=6 => Role::Manager,
                _ => Role::Worker,
            };
            let is_east = matches!(number, 0..=3 | 7);
            let datacenter = if is_east { "east" } else { "west" }.parse().unwrap();
            let mut config = Config { role, datacenter, ..config(number) };
            change(&mut config);
            cluster.start(number, config);
        }
        cluster.run_for(8 * SECOND);
        cluster
    }

    fn leader(cluster: &Cluster, managers: [u16; 3]) -> Option<u16> {
        let leads = |number: &u16| {
            let engine = cluster.engines.get(number);
            engine.is_some_and(|engine| engine.leader(cluster.now).is_own)
        };
        let leaders: Vec<u16> = managers.into_iter().filter(leads).collect();
        assert!(leaders.len() <= 1, "two lead: {leaders:?}");
        leaders.first().copied()
    }

    fn told(cluster: &Cluster, number: u16) -> impl Iterator<Item = &FederationEvent> {
        let own = cluster.events.iter().filter(move |(n, _)| *n == number);
        own.filter_map(|(_, event)| match event {
            Event::Federation(event) => Some(event),
            _ => None,
        })
    }

    #[test]
    fn each_datacenter_elects_one_and_everybody_concerned_knows_it() {
        let cluster = cluster(|_| {});
        for (managers, name) in [([1, 2, 3], "east"), ([4, 5, 6], "west")] {
            let elected = leader(&cluster, managers).expect("somebody leads");
            let term = cluster.engines[&elected].leader(cluster.now).term;
            for follower in managers {
                let view = cluster.engines[&follower].leader(cluster.now);
                assert_eq!((view.leader, view.term), (Some(address(elected)), term));
                let is_it = |event: &FederationEvent| {
                    matches!(event,
                    FederationEvent::LeaderElected { leader, .. } if *leader == address(elected))
                };
                assert_eq!(told(&cluster, follower).filter(|event| is_it(event)).count(), 1);
            }
            let gate = &cluster.engines[&0];
            let mut views = gate.datacenters(cluster.now);
            let view = views.find(|view| view.name.as_str() == name).unwrap();
            assert_eq!(view.reachability, Reachability::Reachable);
            assert_eq!(view.leader, Some((address(elected), term)));
        }
        assert_eq!(cluster.engines[&7].leader(cluster.now).leader, None, "workers do not know it");
        let stats = cluster.engines[&0].stats();
        assert!(stats.value(Counter::DatacenterProbesAcked) > 0);
        assert_eq!(stats.value(Counter::DatacenterProbesFailed), 0);
        let won = |number| cluster.engines[&number].stats().value(Counter::ElectionsWon);
        assert_eq!((1..=3).map(won).sum::<u64>(), 1);
    }

    #[test]
    fn a_leader_that_crashes_is_replaced_under_a_later_term() {
        let mut cluster = cluster(|_| {});
        let first = leader(&cluster, [4, 5, 6]).unwrap();
        let term = cluster.engines[&first].leader(cluster.now).term;
        cluster.kill(first);
        cluster.run_until(10 * SECOND, |cluster| leader(cluster, [4, 5, 6]).is_some());
        let second = leader(&cluster, [4, 5, 6]).unwrap();
        assert_ne!(second, first);
        assert!(cluster.engines[&second].leader(cluster.now).term > term);
        cluster.run_until(5 * SECOND, |cluster| {
            let mut views = cluster.engines[&0].datacenters(cluster.now);
            views.any(|view| view.leader.is_some_and(|(leader, _)| leader == address(second)))
        });
    }

    #[test]
    fn a_leader_that_leaves_hands_over_before_its_goodbye() {
        let mut cluster = cluster(|_| {});
        let first = leader(&cluster, [1, 2, 3]).unwrap();
        cluster.leave(first);
        let took = cluster.run_until(SECOND, |cluster| leader(cluster, [1, 2, 3]).is_some());
        assert!(took < Duration::from_millis(200), "{took:?}: nobody was waited for");
        cluster.run_for(2 * SECOND);
        let own: Vec<&Event> =
            cluster.events.iter().filter(|(n, _)| *n == first).map(|(_, event)| event).collect();
        assert!(matches!(own.last(), Some(Event::Left { .. })), "{own:?}");
        let is_goodbye = |event: &&&Event| {
            matches!(event, Event::Federation(FederationEvent::SteppedDown { .. }))
        };
        assert_eq!(own.iter().filter(is_goodbye).count(), 1);
    }

    #[test]
    fn the_jobs_of_an_elected_manager_carry_its_term() {
        let mut cluster = Cluster::new();
        cluster.start(0, config(0));
        let now = cluster.now;
        let early = JobStart::new(JobId::from(1), 100 * SECOND);
        let later_fence =
            JobStart { fence: FenceToken(90), ..JobStart::new(JobId::from(2), SECOND * 100) };
        for start in [early, later_fence] {
            assert!(cluster.engine(0).job_started(now, &start).unwrap());
        }
        cluster.drain(0);
        let fence = |cluster: &Cluster, job: u128| {
            cluster.engines[&0].job_snapshot(cluster.now, JobId::from(job)).unwrap().fence
        };
        assert_eq!(fence(&cluster, 1), FenceToken(1));
        cluster.run_until(10 * SECOND, |cluster| cluster.engines[&0].leader(cluster.now).is_own);
        let term = cluster.engines[&0].leader(cluster.now).term;
        assert!(term < 90, "small generations have small terms");
        assert_eq!(fence(&cluster, 1), FenceToken(term));
        assert_eq!(fence(&cluster, 2), FenceToken(90), "a later fence stays");
        let now = cluster.now;
        let late = JobStart { fence: FenceToken(0), ..JobStart::new(JobId::from(3), 100 * SECOND) };
        assert!(cluster.engine(0).job_started(now, &late).unwrap());
        assert_eq!(fence(&cluster, 3), FenceToken(term));
        let snapshot = cluster.engines[&0].job_snapshot(now, JobId::from(1)).unwrap();
        let snapshot = JobSnapshot { job: JobId::from(4), fence: FenceToken(0), ..snapshot };
        let change = LeaderChange::Gained { snapshot, term: FenceToken(0) };
        assert!(cluster.engine(0).leader_changed(now, JobId::from(4), &change).unwrap());
        assert_eq!(fence(&cluster, 4), FenceToken(term), "taken over in its own term");
    }

    #[test]
    fn a_host_that_names_the_leader_is_followed() {
        let mut cluster = cluster(|config| config.federation.leadership = LeadershipMode::External);
        assert_eq!(leader(&cluster, [1, 2, 3]), None, "nobody stands");
        let now = cluster.now;
        cluster.engine(2).name_leader(now, Some(address(2)), 7).unwrap();
        cluster.drain(2);
        cluster.run_for(3 * SECOND);
        assert_eq!(leader(&cluster, [1, 2, 3]), Some(2));
        assert_eq!(cluster.engines[&3].leader(cluster.now).leader, Some(address(2)));
        let now = cluster.now;
        let stale = cluster.engine(3).name_leader(now, Some(address(3)), 6).unwrap_err();
        assert!(matches!(stale, CommandError::NameLeader(NameLeaderError::StaleTerm { .. })));
        let error = cluster.engine(0).name_leader(now, None, 9).unwrap_err();
        assert_eq!(error, CommandError::Role { needed: Role::Manager });
    }

    #[test]
    fn who_elects_cannot_be_told_a_leader() {
        let mut cluster = cluster(|_| {});
        let now = cluster.now;
        let error = cluster.engine(1).name_leader(now, Some(address(1)), 1 << 40).unwrap_err();
        assert_eq!(error, CommandError::NameLeader(NameLeaderError::Elected));
        let load = DatacenterLoad::default();
        let error = cluster.engine(0).set_load(now, load).unwrap_err();
        assert_eq!(error, CommandError::Role { needed: Role::Manager });
        let west = "west".parse().unwrap();
        let error = cluster.engine(1).watch_datacenter(now, west, address(4)).unwrap_err();
        assert_eq!(error, CommandError::Role { needed: Role::Gate });
    }
}
