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

mod federation;
mod hold;
mod hyperscale;
mod jobs;
mod routing;

use bytes::Bytes;

pub use self::hyperscale::ForeignRequest;
use self::hyperscale::Session;
use crate::config::{Config, DATAGRAM_SIZE_MAX, SECRET_COUNT_MAX, Secret, WireFormat};
use crate::coordinate::{self, Coordinate, Refusal, Rtt, Tracker};
use crate::effects::Effects;
use crate::error::{CommandError, ConfigError};
use crate::events::Event;
use crate::federation::Federation;
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
pub use routing::Route;
use routing::RoutingDesk;

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
    /// Conversations in the Python node's format, when the node is to speak it.
    hyperscale: Option<Box<Session>>,
    tracker: Tracker,
    membership: Membership,
    jobs: JobDesk,
    /// The first job message to send, taken out so that it is known that there is one.
    held_job_message: Option<crate::jobs::Outgoing>,
    /// What waits while the host cannot send.
    hold: Option<hold::Hold>,
    federation: Federation,
    /// Whether the federation was told something since its events were last collected.
    is_federation_active: bool,
    routing: Option<Box<RoutingDesk>>,
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
            received_at: now,
            config: &config,
            random: &mut random,
            tracker: &mut tracker,
            effects: &mut effects,
        });
        let jobs = JobDesk::new(config.role, &config.jobs, random.next_u64(), now)?;
        let federation = Federation::new(
            &config.federation,
            federation::identity(&config),
            random.next_u64(),
            now,
        )?;
        let routing = RoutingDesk::new(config.role, &config.routing, &mut random)?;
        let hyperscale = match config.wire_format {
            WireFormat::Native => None,
            WireFormat::Hyperscale => Some(Box::new(Session::new(&config, &mut random))),
        };
        let mut engine = Engine {
            config,
            now,
            random,
            envelopes,
            hyperscale,
            tracker,
            membership,
            jobs,
            held_job_message: None,
            hold: None,
            federation,
            is_federation_active: false,
            routing,
            effects,
        };
        engine.settle_federation();
        Ok(engine)
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
        if self.hyperscale.is_some() && !self.envelopes.is_native(datagram) {
            self.handle_hyperscale(now, source, datagram);
            self.observe_members();
            self.settle_federation();
            return self.settle_jobs();
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
        context.received_at = now;
        let is_taken = membership.handle_message(&mut context, source, &message);
        if let Some(session) = self.hyperscale.as_mut().filter(|_| is_taken) {
            let sender = message.header.sender;
            session.heard_native(sender, message.header.generation, self.now);
            if let Some(slot) = self.membership.table.find(sender) {
                self.membership.table.get_mut(slot).is_foreign = false;
            }
        }
        self.observe_members();
        if is_taken && message.header.kind == Kind::Jobs {
            let sender = message.header.sender;
            self.jobs.handle_messages(self.now, sender, &message.datacenter, message.payload);
        }
        if is_taken && message.header.kind == Kind::Federation {
            self.handle_federation(&message, now);
        }
        self.settle_federation();
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
            if self.hold.as_mut().is_some_and(|hold| hold.takes(timer, &self.membership)) {
                continue;
            }
            let (membership, mut context) = self.split();
            membership.handle_timer(&mut context, timer);
        }
        let (membership, mut context) = self.split();
        membership.expire_job_layer(&mut context);
        if !self.membership.is_gone() {
            self.observe_members();
            self.expire_federation();
        }
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
            self.federation.next_deadline(),
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
        if let Some(transmit) = self.transmit_federation(now, buffer) {
            return Some(transmit);
        }
        loop {
            let Some(outgoing) = self.effects.next_transmit() else {
                let from_host = self.transmit_from_host(now, buffer);
                return from_host.or_else(|| self.transmit_jobs(buffer));
            };
            if !self.membership.is_worth_sending(&outgoing) {
                continue;
            }
            let session = self.hyperscale.as_ref();
            if session.is_some_and(|session| session.speaks_for(&outgoing, self.now)) {
                match self.transmit_hyperscale(&outgoing, now, buffer) {
                    Some(transmit) => return Some(transmit),
                    None => continue,
                }
            }
            let recipient = self.membership.table.find(outgoing.recipient);
            let header = self.membership.header_to(&outgoing, recipient);
            let body = &mut buffer[BODY_OFFSET..][..BODY_SIZE_MAX];
            let datacenter = self.membership.table.datacenter(OWN_SLOT);
            let mut writer =
                MessageWriter::new(body, &header, datacenter, self.tracker.coordinate());
            let (membership, effects) = (&mut self.membership, &mut self.effects);
            membership.write_updates(&outgoing, recipient, &mut writer, effects, now);
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
    /// beyond it is told by [`Event::Overflow`]. Events of jobs are never lost: those for which there is no
    /// room wait with their jobs.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.settle_job_events();
        self.effects.next_event()
    }

    /// A slot whose member changed since it was last named here, for hosts that mirror the table.
    /// Read it with [`Engine::member_at`].
    pub fn poll_change(&mut self) -> Option<u32> {
        self.effects.next_change()
    }

    /// Whether nothing is left to transmit, so that the next input may come.
    pub fn is_drained(&self) -> bool {
        !self.effects.has_transmits()
            && self.held_job_message.is_none()
            && self.federation.next_target().is_none()
            && self.hyperscale.as_ref().is_none_or(|session| session.is_drained())
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
        membership.leave(&mut context)?;
        self.federation.leave(self.now);
        self.is_federation_active = true;
        self.settle_federation();
        Ok(())
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
        if let Some(session) = &mut self.hyperscale {
            session.set_secrets(&secrets);
        }
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
        self.settle_federation();
        self.settle_jobs();
    }

    fn split(&mut self) -> (&mut Membership, Context<'_>) {
        let Engine { config, now, random, tracker, membership, effects, .. } = self;
        (membership, Context { now: *now, received_at: *now, config, random, tracker, effects })
    }
}

#[cfg(test)]
mod defects;
#[cfg(test)]
mod tests;
