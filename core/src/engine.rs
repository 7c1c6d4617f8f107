//! The engine: every input enters here, every output leaves here.
//!
//! # The drive loop
//! **One input, then drain until `None`, then wait.** After each input ([`Engine::handle_datagram`],
//! [`Engine::handle_timeout`], or a command) call [`Engine::poll_transmit`] until it returns `None`, then
//! [`Engine::poll_event`] until it returns `None` or the host can take no more; then wait for a
//! datagram or for [`Engine::poll_timeout`]. The engine asserts that nothing is left to transmit
//! when the next input comes.
//!
//! The engine performs no I/O and reads no clock: the same seed and the same inputs give the same
//! outputs, bit for bit.

mod jobs;

use bytes::Bytes;

use crate::config::{Config, DATAGRAM_SIZE_MAX, SECRET_COUNT_MAX, Secret};
use crate::coordinate::{self, Coordinate, Refusal, Rtt, Tracker};
use crate::effects::Effects;
use crate::error::{CommandError, ConfigError};
use crate::events::Event;
use crate::id::JobId;
use crate::jobs::desk::JobDesk;
pub use crate::membership::jobs::JobStanding;
use crate::membership::table::OWN_SLOT;
use crate::membership::{Context, Membership};
use crate::node::{Address, DatacenterName, Generation, Incarnation, MemberState, Role};
use crate::random::Random;
use crate::stats::{Counter, Distribution, Gauges, Stats};
use crate::time::Instant;
use crate::wire::envelope::{BODY_OFFSET, BODY_SIZE_MAX, Envelopes};
use crate::wire::native::{Kind, Message, MessageWriter};

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
    /// The round trip to it, when something is known; zero for this node itself.
    pub rtt: Option<Rtt>,
    /// Its coordinate as it last told.
    pub coordinate: Option<Coordinate>,
}

/// One node's whole state, without I/O and without a clock.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    /// The latest time the engine was told.
    now: Instant,
    random: Random,
    envelopes: Envelopes,
    tracker: Tracker,
    membership: Membership,
    jobs: JobDesk,
    /// The first job message to send, taken out so that it is known that there is one.
    held_job_message: Option<crate::jobs::Outgoing>,
    effects: Effects,
}

impl Engine {
    /// A node that knows only itself. `seed` decides everything that is random about it; two nodes of one
    /// cluster need different seeds, because the seed also names the session its datagrams are sealed in.
    ///
    /// # Errors
    /// The first setting that the engine cannot run with.
    pub fn new(config: Config, seed: u64, now: Instant) -> Result<Engine, ConfigError> {
        config.check()?;
        let mut random = Random::new(seed);
        let generation = config.generation.0;
        let mut effects = Effects::new(&config, now);
        let mut tracker = Tracker::new(config.member_capacity, random.fork());
        let envelopes =
            Envelopes::new(&config.secrets, generation, config.session_capacity, &mut random);
        let membership = Membership::new(&mut Context {
            now,
            config: &config,
            random: &mut random,
            tracker: &mut tracker,
            effects: &mut effects,
        });
        let jobs = JobDesk::new(config.role, &config.jobs, random.next_u64(), now)?;
        let held_job_message = None;
        Ok(Engine {
            config,
            now,
            random,
            envelopes,
            tracker,
            membership,
            jobs,
            held_job_message,
            effects,
        })
    }

    /// Takes a datagram that came from `source`. It is opened where it lies, so its bytes are
    /// worthless afterwards. Bad ones are counted and dropped.
    ///
    /// `now` is when it was received, best by the kernel's clock. It may lie before the time of an earlier
    /// input: round trips use it as it is, everything else uses the latest time known.
    ///
    /// # Panics
    /// When transmits of the last input have not been drained.
    pub fn handle_datagram(&mut self, now: Instant, source: Address, datagram: &mut [u8]) {
        self.begin_input(now);
        self.effects.count(Counter::DatagramsReceived);
        self.effects.stats.add(Counter::BytesReceived, datagram.len() as u64);
        if self.membership.is_gone() {
            self.effects.count(Counter::DroppedLeaving);
            return;
        }
        let opened = match self.envelopes.open(datagram) {
            Ok(opened) => opened,
            Err(reason) => return self.effects.count(reason),
        };
        if opened.evicted_session {
            self.effects.count(Counter::SessionsEvicted);
        }
        let Ok(message) = Message::parse(opened.body) else {
            return self.effects.count(Counter::DroppedMalformed);
        };
        let (membership, mut context) = self.split();
        let is_taken = membership.handle_message(&mut context, source, &message, now);
        if is_taken && message.header.kind == Kind::Jobs {
            let sender = message.header.sender;
            self.jobs.handle_messages(self.now, sender, &message.datacenter, message.payload);
        }
        self.settle_jobs();
    }

    /// Acts on every deadline that has passed. Call it when [`Engine::poll_timeout`] says so; calling it
    /// earlier does nothing.
    ///
    /// # Panics
    /// When transmits of the last input have not been drained.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.begin_input(now);
        if self.membership.is_gone() {
            return;
        }
        let due = self.effects.next_deadline().unwrap_or(self.now);
        let (membership, mut context) = self.split();
        let lateness = context.now.saturating_since(due);
        context.effects.stats.observe(Distribution::LoopLag, lateness.as_secs_f64());
        membership.note_lateness(&mut context, lateness);
        while !self.membership.is_gone()
            && let Some(timer) = self.effects.expired_timer(self.now)
        {
            let (membership, mut context) = self.split();
            membership.handle_timer(&mut context, timer);
        }
        let (membership, mut context) = self.split();
        membership.expire_job_layer(&mut context);
        self.jobs.handle_timeout(self.now);
        self.settle();
    }

    /// When [`Engine::handle_timeout`] should be called next; `None` when the node has left.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.membership.is_gone() {
            return None;
        }
        let deadlines = [
            self.effects.next_deadline(),
            self.membership.next_job_deadline(),
            self.jobs.poll_timeout(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Writes the next datagram to send into `buffer`. `now` should be the time of sending: round
    /// trips are counted from it.
    ///
    /// # Panics
    /// When the buffer is smaller than [`DATAGRAM_SIZE_MAX`].
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<Transmit> {
        assert!(buffer.len() >= DATAGRAM_SIZE_MAX, "a datagram may need 1,400 bytes");
        loop {
            let Some(outgoing) = self.effects.next_transmit() else {
                return self.transmit_jobs(buffer);
            };
            if !self.membership.is_worth_sending(&outgoing) {
                continue;
            }
            let header = self.membership.header(&outgoing);
            let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
            let datacenter = self.membership.table.datacenter(OWN_SLOT);
            let mut writer =
                MessageWriter::new(body, &header, datacenter, self.tracker.coordinate());
            self.membership.write_updates(&outgoing, &mut writer, &mut self.effects, now);
            let size = writer.finish();
            return Some(self.seal(buffer, size, outgoing.destination));
        }
    }

    /// Seals a message that has been written.
    fn seal(&mut self, buffer: &mut [u8], size: usize, target: Address) -> Transmit {
        let size = self.envelopes.seal(buffer, size);
        self.effects.count(Counter::DatagramsSent);
        self.effects.stats.add(Counter::BytesSent, size as u64);
        Transmit { target, size }
    }

    /// The next event, oldest first. Events the host does not take are kept up to a limit; what was lost
    /// beyond it is told by [`Event::Overflow`].
    pub fn poll_event(&mut self) -> Option<Event> {
        self.effects.next_event()
    }

    /// A slot whose member changed since it was last named here, for hosts that mirror the table.
    /// Read it with [`Engine::member_at`].
    pub fn poll_change(&mut self) -> Option<u32> {
        self.effects.next_change()
    }

    /// Whether nothing is left to transmit, so that the next input may come.
    pub fn is_drained(&self) -> bool {
        !self.effects.has_transmits() && self.held_job_message.is_none()
    }

    /// Joins a cluster through any of these seeds, which are kept: the node asks them until one answers
    /// ([`Event::Joined`]), and again whenever they are lost from sight.
    ///
    /// # Errors
    /// [`CommandError::SeedAddress`], [`CommandError::SeedCount`] or [`CommandError::Leaving`]; nothing
    /// has changed then.
    pub fn join(&mut self, now: Instant, seeds: &[Address]) -> Result<(), CommandError> {
        self.begin_input(now);
        let (membership, mut context) = self.split();
        membership.join(&mut context, seeds)
    }

    /// Says goodbye. [`Event::Left`] follows when it has been said; from then on the engine is silent.
    ///
    /// # Errors
    /// [`CommandError::Leaving`] when it is leaving already.
    pub fn leave(&mut self, now: Instant) -> Result<(), CommandError> {
        self.begin_input(now);
        let (membership, mut context) = self.split();
        membership.leave(&mut context)
    }

    /// Attaches bytes to this node that every member comes to hold ([`Event::State`] there), in place of the
    /// earlier ones. For what others should know of this node now, not for a stream: of changes in
    /// quick succession only the last is sure to arrive.
    ///
    /// # Errors
    /// [`CommandError::StateSize`] or [`CommandError::Leaving`]; the earlier state stays.
    pub fn set_state(&mut self, now: Instant, state: Bytes) -> Result<(), CommandError> {
        self.begin_input(now);
        let (membership, mut context) = self.split();
        membership.set_state(&mut context, state)
    }

    /// The state of the member at an address, as far as it has come here.
    pub fn state(&self, address: Address) -> Option<&Bytes> {
        self.membership.state(address)
    }

    /// The same by slot, for hosts that mirror the table.
    pub fn state_at(&self, slot: u32) -> Option<&Bytes> {
        self.membership.state_at(slot)
    }

    /// Sends bytes to every member once ([`Event::Broadcast`] there), by gossip and without an answer.
    ///
    /// # Errors
    /// [`CommandError::BroadcastSize`], [`CommandError::BroadcastQueueFull`] or [`CommandError::Leaving`];
    /// nothing is sent.
    pub fn broadcast(&mut self, now: Instant, payload: Bytes) -> Result<(), CommandError> {
        self.begin_input(now);
        let (membership, mut context) = self.split();
        membership.broadcast(&mut context, payload)
    }

    /// Somebody says that a member does not serve a job. Unless enough vouch for it in time,
    /// [`Event::JobMemberDead`] follows. Returns whether the accusation is news: a member that is not
    /// active is not accused, and each accuser counts once. (AD-30.)
    ///
    /// # Errors
    /// [`CommandError::JobSuspicionsFull`]; nothing has changed.
    pub fn accuse_for_job(
        &mut self,
        now: Instant,
        job: JobId,
        member: Address,
        accuser: Address,
    ) -> Result<bool, CommandError> {
        self.begin_input(now);
        let (membership, mut context) = self.split();
        membership.accuse_for_job(&mut context, job, member, accuser)
    }

    /// Somebody says that a member serves a job after all. Returns whether it had been accused.
    pub fn vouch_for_job(&mut self, job: JobId, member: Address) -> bool {
        self.membership.vouch_for_job(job, member)
    }

    /// Forgets all accusations of a job that is over.
    pub fn forget_job(&mut self, job: JobId) {
        self.membership.forget_job(job);
    }

    /// What a member is to a job.
    pub fn job_standing(&self, job: JobId, member: Address) -> JobStanding {
        self.membership.job_standing(job, member)
    }

    /// Seals with the first of these secrets from now on and opens with any of them. To rotate without
    /// losing a datagram: everywhere add the new one at the end, then move it to the front, then
    /// drop the old one.
    ///
    /// # Errors
    /// [`CommandError::KeyRing`] when there are none or too many; the old ones stay.
    pub fn set_secrets(&mut self, secrets: Vec<Secret>) -> Result<(), CommandError> {
        if secrets.is_empty() || secrets.len() > SECRET_COUNT_MAX {
            let count = secrets.len();
            return Err(CommandError::KeyRing(ConfigError::SecretCount { count }));
        }
        self.envelopes.set_secrets(&secrets);
        self.config.secrets = secrets;
        Ok(())
    }

    /// The settings the node was started with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.effects.stats
    }

    /// What waits and what is open just now.
    pub fn gauges(&self) -> Gauges {
        Gauges { events_waiting: self.effects.event_count(), ..self.membership.gauges() }
    }

    /// What to keep of this node's place in the latency space for a restart.
    pub fn coordinate_snapshot(&self) -> coordinate::Snapshot {
        self.tracker.snapshot()
    }

    /// Takes the node back to where a snapshot saw it, so that its predictions are good at once.
    ///
    /// # Errors
    /// [`Refusal::Coordinate`] when a field is not finite or out of its range; nothing has changed.
    pub fn restore_coordinate(&mut self, snapshot: &coordinate::Snapshot) -> Result<(), Refusal> {
        self.tracker.restore(snapshot)?;
        self.effects.change(OWN_SLOT);
        Ok(())
    }

    /// How much the node distrusts its own view, 0 (not at all) to 8. (Lifeguard: local health.)
    pub fn health_score(&self) -> u8 {
        self.membership.health_score()
    }

    /// Where the node is in the latency space.
    pub fn coordinate(&self) -> &Coordinate {
        self.tracker.coordinate()
    }

    /// All members, this node first, then in the order of their slots.
    pub fn members(&self, now: Instant) -> impl Iterator<Item = Member> + '_ {
        (0..self.slot_count()).filter_map(move |slot| self.member_at(slot, now))
    }

    /// The member in a slot, `None` when the slot is free. Slot 0 is this node.
    pub fn member_at(&self, slot: u32, now: Instant) -> Option<Member> {
        let record = self.membership.table.occupied(slot)?;
        let is_own = slot == OWN_SLOT;
        let here = Rtt { ms: 0.0, upper_ms: 0.0, quality: 1.0 };
        Some(Member {
            address: record.address,
            state: record.state,
            generation: record.generation,
            incarnation: record.incarnation,
            role: record.role,
            datacenter: *self.membership.table.datacenter(slot),
            health_score: if is_own { self.health_score() } else { record.health_score },
            rtt: if is_own { Some(here) } else { self.tracker.rtt(slot, now) },
            coordinate: if is_own {
                Some(*self.coordinate())
            } else {
                self.tracker.peer_coordinate(slot)
            },
        })
    }

    /// Slots ever used: every member's slot is below.
    pub fn slot_count(&self) -> u32 {
        self.membership.table.slot_count()
    }

    /// The member at an address.
    pub fn member(&self, address: Address, now: Instant) -> Option<Member> {
        self.member_at(self.membership.table.find(address)?, now)
    }

    /// What is known of the round trip to an address.
    pub fn rtt(&self, address: Address, now: Instant) -> Option<Rtt> {
        self.member(address, now)?.rtt
    }

    fn begin_input(&mut self, now: Instant) {
        assert!(self.is_drained(), "poll_transmit must be drained before the next input");
        self.now = self.now.max(now);
    }

    fn settle(&mut self) {
        let (membership, mut context) = self.split();
        membership.settle(&mut context);
        self.settle_jobs();
    }

    fn split(&mut self) -> (&mut Membership, Context<'_>) {
        let Engine { config, now, random, tracker, membership, effects, .. } = self;
        (membership, Context { now: *now, config, random, tracker, effects })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, address, config};
    use crate::time::Duration;
    use crate::wire::native::{Header, Kind, Update};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn clusters_of_any_role_form_a_full_mesh_within_three_seconds() {
        for role in Role::ALL {
            let mut cluster = Cluster::new();
            for number in 0..5 {
                cluster.start(number, Config { role, ..config(number) });
            }
            cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
            cluster.run_for(60 * SECOND);
            assert!(cluster.is_full_mesh());
            assert_eq!((0..5).map(|n| cluster.seen(n, MemberState::Suspect)).sum::<usize>(), 0);
        }
    }

    /// The Python node never declares a killed node dead.
    #[test]
    fn defect_s6_a_killed_node_is_declared_dead_by_all() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        cluster.kill(3);
        let took = cluster.run_until(4 * SECOND, |c| c.all_see(3, MemberState::Dead));
        assert!(took > Duration::from_millis(500), "{took:?} is too quick to be sure");
        assert_eq!(cluster.seen(3, MemberState::Dead), 4);
        for other in [0, 1, 2, 4] {
            assert_eq!(cluster.seen(other, MemberState::Dead), 0);
        }
    }

    /// In the Python node a node that died can never come back.
    #[test]
    fn defect_s7_a_restarted_node_is_alive_again_everywhere() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        cluster.kill(3);
        cluster.run_until(5 * SECOND, |c| c.all_see(3, MemberState::Dead));
        cluster.start(3, Config { generation: Generation(2), ..config(3) });
        cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
    }

    #[test]
    fn a_restart_before_anybody_noticed_is_not_mistaken_for_a_death() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        cluster.kill(3);
        cluster.start(3, Config { generation: Generation(2), ..config(3) });
        cluster.run_until(3 * SECOND, |c| {
            let runs = c.engines.values().filter_map(|e| e.member(address(3), c.now));
            c.is_full_mesh() && runs.into_iter().all(|member| member.generation.0 == 2)
        });
        cluster.run_for(20 * SECOND);
        assert_eq!(cluster.seen(3, MemberState::Dead), 0);
    }

    #[test]
    fn a_clock_set_back_before_a_restart_does_not_shut_a_node_out() {
        let mut cluster = Cluster::new();
        for number in 0..4 {
            let generation = Generation(if number == 3 { 50 } else { 1 });
            cluster.start(number, Config { generation, ..config(number) });
        }
        cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
        cluster.kill(3);
        cluster.start(3, Config { generation: Generation(9), ..config(3) });
        cluster.run_until(30 * SECOND, |c| {
            let is_new = |e: &Engine| e.member(address(3), c.now).map(|m| m.generation.0 > 50);
            c.is_full_mesh() && c.engines.values().all(|engine| is_new(engine) == Some(true))
        });
    }

    #[test]
    fn a_goodbye_is_heard_as_left_and_never_as_dead() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        cluster.leave(2);
        cluster.run_for(SECOND);
        assert!(cluster.events.iter().any(|(n, e)| *n == 2 && matches!(e, Event::Left { .. })));
        assert_eq!(cluster.engines[&2].poll_timeout(), None);
        cluster.kill(2);
        assert!(cluster.all_see(2, MemberState::Left));
        cluster.run_for(30 * SECOND);
        assert!(cluster.all_see(2, MemberState::Left));
        assert_eq!(cluster.seen(2, MemberState::Dead), 0);
    }

    #[test]
    fn nothing_is_told_after_the_goodbye_even_when_timers_come_late() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        cluster.kill(3);
        cluster.run_until(4 * SECOND, |c| c.state(2, 3) == Some(MemberState::Suspect));
        let mut now = cluster.now;
        let engine = cluster.engine(2);
        engine.leave(now).unwrap();
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        for pause in [0, 100, 100, 60_000] {
            now += Duration::from_millis(pause);
            engine.handle_timeout(now);
            while engine.poll_transmit(now, &mut buffer).is_some() {}
        }
        let events: Vec<Event> = std::iter::from_fn(|| engine.poll_event()).collect();
        assert!(matches!(events.last(), Some(Event::Left { .. })), "{events:?}");
    }

    /// In the Python node the cleanup of old coordinates is never called.
    #[test]
    fn defect_v4_coordinates_of_the_long_silent_are_forgotten() {
        let mut cluster = Cluster::new();
        for number in 0..3 {
            cluster.start(number, Config { dead_retention_ms: 100_000_000, ..config(number) });
        }
        cluster.run_for(5 * SECOND);
        cluster.kill(2);
        let rtt = |c: &Cluster| c.engines[&0].rtt(address(2), c.now);
        cluster.run_for(60 * SECOND);
        assert!(rtt(&cluster).is_some(), "forgotten too soon");
        cluster.run_for(10_000 * SECOND);
        assert_eq!(rtt(&cluster), None);
        assert!(cluster.engines[&0].stats().value(Counter::CoordinatesExpired) > 0);
    }

    /// In the Python node being probed counts as an accusation.
    #[test]
    fn defect_p4_being_probed_is_not_an_accusation() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        cluster.run_for(30 * SECOND);
        for engine in cluster.engines.values() {
            assert_eq!(engine.health_score(), 0);
            assert_eq!(engine.stats().value(Counter::Refutations), 0);
        }
    }

    /// In the Python node indirect probes never succeed.
    #[test]
    fn defect_p1_helpers_save_a_node_whose_direct_path_is_cut() {
        let mut cluster = Cluster::formed(5, Role::Manager);
        cluster.cut = vec![(address(0), address(1)), (address(1), address(0))];
        cluster.run_for(60 * SECOND);
        assert_eq!(cluster.seen(1, MemberState::Dead), 0);
        assert_eq!(cluster.seen(0, MemberState::Dead), 0);
        assert!(cluster.engines[&0].stats().value(Counter::IndirectProbesSent) > 10);
        assert!(cluster.is_full_mesh());
    }

    #[test]
    fn a_partition_that_heals_becomes_one_cluster_again_by_itself() {
        let mut cluster = Cluster::formed(6, Role::Manager);
        for left in 0..3 {
            for right in 3..6 {
                cluster.cut.push((address(left), address(right)));
                cluster.cut.push((address(right), address(left)));
            }
        }
        cluster.run_until(30 * SECOND, |c| {
            (0..3).all(|n| (3..6).all(|m| c.state(n, m) == Some(MemberState::Dead)))
        });
        cluster.cut.clear();
        cluster.run_until(60 * SECOND, Cluster::is_full_mesh);
    }

    fn state_of(observer: &Engine, number: u16) -> Option<&[u8]> {
        observer.state(address(number)).map(|bytes| &bytes[..])
    }

    #[test]
    fn a_state_larger_than_a_datagram_reaches_everybody_and_newcomers() {
        let mut cluster = Cluster::formed(8, Role::Manager);
        for (size, fill) in [(10, 1u8), (16_384, 2), (0, 3), (5_000, 4)] {
            let state = vec![fill; size];
            let now = cluster.now;
            cluster.engine(2).set_state(now, state.clone().into()).unwrap();
            cluster.run_until(10 * SECOND, |c| {
                c.engines.values().all(|engine| state_of(engine, 2) == Some(&state))
            });
        }
        cluster.start(9, config(9));
        cluster.run_until(5 * SECOND, |c| state_of(&c.engines[&9], 2) == Some(&[4; 5_000]));
        cluster.kill(2);
        cluster.start(2, Config { generation: Generation(2), ..config(2) });
        cluster.run_until(5 * SECOND, |c| {
            c.is_full_mesh() && c.engines.values().all(|engine| state_of(engine, 2).is_none())
        });
        let too_large = vec![0; 16_385].into();
        let now = cluster.now;
        assert!(matches!(
            cluster.engine(2).set_state(now, too_large),
            Err(CommandError::StateSize { size: 16_385, .. })
        ));
    }

    #[test]
    fn a_broadcast_reaches_everybody_exactly_once() {
        let mut cluster = Cluster::formed(20, Role::Gate);
        for round in 0..30u16 {
            let now = cluster.now;
            let payload = vec![round as u8; usize::from(round) * 35];
            cluster.engine(round % 20).broadcast(now, payload.into()).unwrap();
            cluster.run_for(Duration::from_millis(20));
        }
        cluster.run_for(10 * SECOND);
        for number in 0..20u16 {
            let received = cluster.events.iter().filter(|(observer, event)| {
                *observer == number && matches!(event, Event::Broadcast { .. })
            });
            let own = (0..30).filter(|round| round % 20 == number).count();
            assert_eq!(received.count(), 30 - own, "node {number}");
        }
        let now = cluster.now;
        let error = cluster.engine(0).broadcast(now, vec![0; 1_025].into()).unwrap_err();
        assert_eq!(error, CommandError::BroadcastSize { size: 1_025 });
    }

    #[test]
    fn a_full_broadcast_queue_refuses_and_recovers() {
        let mut cluster = Cluster::formed(3, Role::Gate);
        let now = cluster.now;
        let engine = cluster.engine(0);
        let accepted = (0..1_000).take_while(|_| engine.broadcast(now, Bytes::new()).is_ok());
        assert_eq!(accepted.count(), crate::config::BROADCAST_COUNT_MAX);
        cluster.run_for(60 * SECOND);
        let now = cluster.now;
        cluster.engine(0).broadcast(now, Bytes::new()).unwrap();
    }

    #[test]
    fn nodes_that_agree_exchange_digests_and_not_tables() {
        let mut cluster = Cluster::formed(10, Role::Manager);
        cluster.run_for(30 * SECOND);
        let updates = |c: &Cluster| -> u64 {
            c.engines.values().map(|e| e.stats().value(Counter::UpdatesSent)).sum()
        };
        let before = updates(&cluster);
        cluster.run_for(60 * SECOND);
        assert_eq!(updates(&cluster), before);
    }

    /// Datagrams wait in the socket while a process is stopped; here they are lost, which is worse.
    #[test]
    fn a_node_that_was_stopped_doubts_itself_first() {
        let mut cluster = Cluster::formed(8, Role::Manager);
        let stopped = cluster.engines.remove(&5).unwrap();
        cluster.run_for(5 * SECOND);
        cluster.engines.insert(5, stopped);
        let (now, events) = (cluster.now, cluster.events.len());
        cluster.run_until(20 * SECOND, Cluster::is_full_mesh);
        let own = &cluster.engines[&5];
        assert_eq!(own.stats().value(Counter::Stalls), 1);
        let wrong = cluster.events[events..].iter().filter(|(observer, event)| {
            matches!(event, Event::Member(member)
                if *observer == 5 && member.state == MemberState::Dead)
        });
        assert_eq!(wrong.count(), 0, "accused others after its own absence at {now:?}");
    }

    #[test]
    fn same_seed_and_inputs_give_the_same_bytes() {
        let run = || {
            let mut cluster = Cluster::formed(5, Role::Worker);
            cluster.kill(4);
            cluster.run_for(10 * SECOND);
            cluster.leave(1);
            cluster.run_for(5 * SECOND);
            (cluster.trace, cluster.events)
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn bad_datagrams_are_counted_and_change_nothing() {
        let mut cluster = Cluster::formed(2, Role::Manager);
        let mut stranger = Config { secrets: vec![Secret::new([9; 32]).unwrap()], ..config(9) };
        stranger.probe_interval_ms = 10;
        let mut foreign = Engine::new(stranger, 1, cluster.now).unwrap();
        foreign.join(cluster.now, &[address(0)]).unwrap();
        foreign.handle_timeout(cluster.now);
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        let size = foreign.poll_transmit(cluster.now, &mut buffer).unwrap().size;
        let before: Vec<Member> = cluster.engines[&0].members(cluster.now).collect();
        let sent = cluster.engines[&0].stats().value(Counter::DatagramsSent);
        let mut random = Random::new(5);
        for length in [0, 1, 31, 47, 48, 500, 1_400, 1_401, 9_000] {
            let mut bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
            cluster.deliver(0, address(9), &mut bytes);
        }
        cluster.deliver(0, address(9), &mut buffer[..size]);
        let engine = &cluster.engines[&0];
        let value = |counter| engine.stats().value(counter);
        assert_eq!(value(Counter::DroppedTruncated), 4);
        assert_eq!(value(Counter::DroppedForeign), 3);
        assert_eq!(value(Counter::DroppedOversized), 2);
        assert_eq!(value(Counter::DroppedUnknownKey), 1);
        assert_eq!(value(Counter::DatagramsSent), sent, "a bad datagram was answered");
        assert_eq!(engine.members(cluster.now).collect::<Vec<_>>(), before);
    }

    /// What an insider that holds the secret can send in the name of node 1.
    fn forged(recipient: u16, update: &Update) -> Vec<u8> {
        let own = config(1);
        // A session of its own, so that it does not count as replayed.
        let seed = 77 + u64::from(update.incarnation.0) + u64::from(update.address.port());
        let mut envelopes = Envelopes::new(&own.secrets, 1, 2, &mut Random::new(seed));
        let header = Header {
            kind: Kind::Gossip,
            sequence: 0,
            sender: own.advertise,
            generation: own.generation,
            incarnation: Incarnation(0),
            role: own.role,
            health_score: 0,
            recipient: address(recipient),
            recipient_generation: Generation(0),
            subject: Address::UNSPECIFIED,
            parameter: 0,
            state_version: 0,
        };
        let coordinate = Coordinate { vector: [0.0; 8], height: 0.0, adjustment: 0.0, error: 1.0 };
        let mut buffer = vec![0; DATAGRAM_SIZE_MAX];
        let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
        let mut writer = MessageWriter::new(body, &header, &own.datacenter, &coordinate);
        assert!(writer.push_update(update));
        let size = writer.finish();
        let size = envelopes.seal(&mut buffer, size);
        buffer.truncate(size);
        buffer
    }

    fn claim(subject: u16, state: MemberState, incarnation: u32) -> Update {
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

    fn generation(cluster: &Cluster, number: u16) -> u64 {
        cluster.engines[&number].member_at(OWN_SLOT, cluster.now).unwrap().generation.0
    }

    #[test]
    fn a_false_goodbye_does_not_shut_a_node_out() {
        let mut cluster = Cluster::formed(4, Role::Manager);
        for observer in [0, 1, 3] {
            let mut bytes = forged(observer, &claim(2, MemberState::Left, 0));
            cluster.deliver(observer, address(1), &mut bytes);
            cluster.run_for(Duration::from_millis(1));
        }
        cluster.run_until(10 * SECOND, |c| generation(c, 2) > 1 && c.is_full_mesh());
    }

    #[test]
    fn an_incarnation_too_far_to_refute_begins_a_new_run() {
        for leap in [0, 5, 900, 5_000] {
            let mut cluster = Cluster::formed(3, Role::Manager);
            let mut bytes = forged(2, &claim(2, MemberState::Suspect, leap));
            cluster.deliver(2, address(1), &mut bytes);
            assert_eq!(generation(&cluster, 2) > 1, leap == 5_000, "leap of {leap}");
        }
        // Peers that missed the leaps would refuse to believe the incarnation that they led to.
        let mut cluster = Cluster::formed(3, Role::Manager);
        for incarnation in [900, 1_800, 1] {
            let mut bytes = forged(2, &claim(2, MemberState::Suspect, incarnation));
            cluster.deliver(2, address(1), &mut bytes);
        }
        assert!(generation(&cluster, 2) > 1);
    }

    #[test]
    fn every_new_incarnation_is_told_to_mirrors() {
        let mut cluster = Cluster::formed(3, Role::Manager);
        for incarnation in [1, 4] {
            while cluster.engine(0).poll_change().is_some() {}
            let mut bytes = forged(0, &claim(2, MemberState::Suspect, incarnation));
            cluster.deliver(0, address(1), &mut bytes);
            let now = cluster.now;
            let engine = cluster.engine(0);
            let changed = std::iter::from_fn(|| engine.poll_change()).collect::<Vec<_>>();
            let slot = changed.into_iter().find(|&slot| {
                engine.member_at(slot, now).is_some_and(|member| member.address == address(2))
            });
            assert!(slot.is_some(), "incarnation {incarnation}");
        }
    }

    #[test]
    fn a_forged_source_does_not_make_a_node_answer_itself() {
        let mut cluster = Cluster::formed(2, Role::Manager);
        let later = cluster.now + SECOND;
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        cluster.engine(1).handle_timeout(later);
        let size = cluster.engine(1).poll_transmit(later, &mut buffer).unwrap().size;
        let sent = cluster.engines[&0].stats().value(Counter::DatagramsSent);
        cluster.deliver(0, address(0), &mut buffer[..size]);
        let stats = cluster.engines[&0].stats();
        assert_eq!(stats.value(Counter::DroppedOwn), 1);
        assert_eq!(stats.value(Counter::DatagramsSent), sent);
    }

    #[test]
    fn who_left_may_come_back_with_any_generation() {
        for generation in [9, 50, 51] {
            let mut cluster = Cluster::new();
            for number in 0..4 {
                let first = Generation(if number == 3 { 50 } else { 1 });
                cluster.start(number, Config { generation: first, ..config(number) });
            }
            cluster.run_until(3 * SECOND, Cluster::is_full_mesh);
            cluster.leave(3);
            cluster.run_for(SECOND);
            cluster.kill(3);
            cluster.start(3, Config { generation: Generation(generation), ..config(3) });
            cluster.run_until(10 * SECOND, Cluster::is_full_mesh);
        }
    }

    #[test]
    fn two_nodes_that_know_later_runs_of_each_other_meet_again() {
        let mut cluster = Cluster::formed(3, Role::Manager);
        for (observer, subject) in [(0, 2), (2, 0)] {
            let later =
                Update { generation: Generation(40), ..claim(subject, MemberState::Alive, 0) };
            let mut bytes = forged(observer, &later);
            cluster.deliver(observer, address(1), &mut bytes);
        }
        cluster.kill(1);
        cluster.run_until(30 * SECOND, |c| {
            c.state(0, 2) == Some(MemberState::Alive) && c.state(2, 0) == Some(MemberState::Alive)
        });
    }

    #[test]
    fn a_state_of_an_earlier_start_in_the_same_generation_is_not_taken_for_a_new_one() {
        let mut cluster = Cluster::formed(4, Role::Manager);
        for fill in 1..=3 {
            let now = cluster.now;
            cluster.engine(3).set_state(now, vec![fill; 5].into()).unwrap();
            cluster.run_for(3 * SECOND);
        }
        assert!((0..3).all(|n| state_of(&cluster.engines[&n], 3) == Some(&[3; 5])));
        cluster.kill(3);
        cluster.start(3, config(3));
        cluster.run_for(SECOND);
        let now = cluster.now;
        cluster.engine(3).set_state(now, vec![9; 5].into()).unwrap();
        cluster.run_until(20 * SECOND, |c| {
            c.is_full_mesh() && (0..3).all(|n| state_of(&c.engines[&n], 3) == Some(&[9; 5]))
        });
    }

    #[test]
    fn hearsay_of_a_peer_that_nobody_heard_is_not_passed_on() {
        let mut cluster = Cluster::formed(4, Role::Manager);
        let mut stranger = Engine::new(config(9), 1, cluster.now).unwrap();
        stranger.join(cluster.now, &[address(0)]).unwrap();
        stranger.handle_timeout(cluster.now);
        let mut buffer = [0; DATAGRAM_SIZE_MAX];
        let size = stranger.poll_transmit(cluster.now, &mut buffer).unwrap().size;
        cluster.deliver(0, address(9), &mut buffer[..size]);
        cluster.run_for(40 * SECOND);
        assert_eq!(cluster.state(0, 9), Some(MemberState::Unconfirmed));
        assert!((1..4).all(|observer| cluster.state(observer, 9).is_none()));
        cluster.run_for(100 * SECOND);
        assert_eq!(cluster.state(0, 9), None);
    }

    #[test]
    fn a_peer_asked_in_vain_is_asked_again_when_others_hear_it() {
        for role in Role::ALL {
            let mut cluster = Cluster::new();
            cluster.cut = vec![(address(1), address(2)), (address(2), address(1))];
            for number in 0..3 {
                let role = if number == 2 { role } else { Role::Gate };
                cluster.start(number, Config { role, ..config(number) });
            }
            cluster.run_for(40 * SECOND);
            assert_eq!(cluster.state(1, 2), Some(MemberState::Unconfirmed));
            cluster.cut.clear();
            cluster.run_until(25 * SECOND, Cluster::is_full_mesh);
        }
    }

    #[test]
    fn joining_nobody_is_told_and_goes_on() {
        let mut cluster = Cluster::new();
        cluster.start(1, config(1));
        cluster.run_for(20 * SECOND);
        let delayed = |event: &Event| matches!(event, Event::JoinDelayed { .. });
        assert!(cluster.events.iter().any(|(_, event)| delayed(event)));
        cluster.start(0, config(0));
        cluster.run_until(20 * SECOND, Cluster::is_full_mesh);
        assert!(cluster.events.iter().any(|(_, event)| matches!(event, Event::Joined { .. })));
    }

    #[test]
    fn commands_say_what_is_wrong_and_change_nothing() {
        let mut engine = Engine::new(config(1), 1, Instant::ZERO).unwrap();
        let nowhere = "0.0.0.0:1".parse().unwrap();
        let error = engine.join(Instant::ZERO, &[nowhere]).unwrap_err();
        assert_eq!(error, CommandError::SeedAddress { address: nowhere });
        assert!(engine.set_secrets(Vec::new()).is_err());
        engine.leave(Instant::ZERO).unwrap();
        assert_eq!(engine.leave(Instant::ZERO).unwrap_err(), CommandError::Leaving);
        assert_eq!(engine.join(Instant::ZERO, &[]).unwrap_err(), CommandError::Leaving);
    }

    #[test]
    #[should_panic(expected = "must be drained")]
    fn the_drive_loop_is_asserted() {
        let mut engine = Engine::new(config(1), 1, Instant::ZERO).unwrap();
        engine.join(Instant::ZERO, &[address(0)]).unwrap();
        engine.handle_timeout(Instant::ZERO);
        engine.handle_timeout(Instant::ZERO);
    }

    #[test]
    fn secrets_rotate_in_a_running_cluster() {
        let mut cluster = Cluster::formed(3, Role::Gate);
        let (old, new) = (Secret::new([7; 32]).unwrap(), Secret::new([8; 32]).unwrap());
        let rings = [vec![old.clone(), new.clone()], vec![new.clone(), old], vec![new]];
        for ring in rings {
            for number in 0..3 {
                cluster.engine(number).set_secrets(ring.clone()).unwrap();
                cluster.run_for(2 * SECOND);
            }
        }
        cluster.run_for(10 * SECOND);
        assert!(cluster.is_full_mesh());
        for (number, engine) in &cluster.engines {
            assert_eq!(engine.stats().value(Counter::DroppedUnknownKey), 0);
            assert_eq!(cluster.seen(*number, MemberState::Suspect), 0);
        }
    }
}
