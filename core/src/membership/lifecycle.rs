//! The life of a member as this node sees it, and which news counts.
//!
//! ```text
//!  gossip            two-way exchange          no answer            no refutation
//!    v                      v                      v                      v
//! Unconfirmed ----------> Alive <-----------> Suspect ----------------> Dead ---> forgotten
//!    |  silent too long     |   refutation        |   higher incarnation  |
//!    v                      +-------- goodbye: Left <---------------------+
//! forgotten
//! ```
//!
//! News is ordered by (generation, incarnation, state): a later run of the program beats everything said
//! about an earlier one, a higher incarnation beats a lower, and at the same incarnation Left beats Dead
//! beats Suspect beats Alive (SWIM, section 4.2). So stale "alive" never revives the dead, and
//! a restart is never held back by the death of its predecessor. Hearsay makes a member known, not alive.

use super::confirmation::Strategy;
use super::probe::Purpose;
use super::suspicion::{Suspicion, Terms};
use super::table::{Identity, NONE, OWN_SLOT, Record};
use super::{Context, Membership};
use crate::config::Config;
use crate::effects::Timer;
use crate::events::{Event, MemberEvent};
use crate::node::{Address, Generation, Incarnation, MemberState, Role};
use crate::planted::{PlantedFault, is_planted};
use crate::stats::{Counter, Distribution};
use crate::time::Duration;
use crate::wire::native::{Header, Message, Update, fingerprint};

/// Incarnations rise by one per refutation, so a leap is forged or damaged.
const INCARNATION_LEAP_MAX: u32 = 1_000;
/// How much longer a Python node may be suspected: it answers nobody while it waits for others. In a
/// small cluster that makes the 5 to 30 s that its own suspicions last.
const FOREIGN_PATIENCE: f64 = 12.0;
/// How often a worker introduces itself to a peer that has not answered.
const INTRODUCTION_COUNT: u8 = 8;
/// And how long it waits at least before it does so again.
const INTRODUCTION_PAUSE_MIN: Duration = Duration::from_secs(1);
/// First attempts to confirm are spread over this much time per known peer, and at most a second, so that
/// not all ask a newcomer at once.
const CONFIRMATION_SPREAD: Duration = Duration::from_millis(1);
const CONFIRMATION_SPREAD_MAX: Duration = Duration::from_secs(1);
/// And over this much time per peer that waits to be confirmed: a node that learns of thousands at once
/// asks at most 500 of them a second.
const CONFIRMATION_PACE: Duration = Duration::from_millis(4);
/// Questions to unconfirmed peers that may be open at a time. Where many nodes start together on few
/// processors, answers take longer, and then fewer questions are asked.
const CONFIRMATION_WINDOW: usize = 64;

/// What a piece of news is worth against a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Stale,
    /// A leap that no node makes.
    Implausible,
    /// Same suspicion, perhaps by another accuser.
    Confirmation,
    Newer,
    NewRun,
}

fn rank(state: MemberState) -> u8 {
    match state {
        MemberState::Unconfirmed | MemberState::Alive => 0,
        MemberState::Suspect => 1,
        MemberState::Dead => 2,
        MemberState::Left | MemberState::Removed => 3,
    }
}

/// Whether a member has been restarted since it had the generation that is known.
fn is_later_run(told: Generation, known: Generation) -> bool {
    told > known && !is_planted(PlantedFault::RestartIgnored)
}

fn worth(record: &Record, update: &Update) -> Worth {
    let is_revived = record.state == MemberState::Dead && rank(update.state) == 0;
    if is_planted(PlantedFault::StaleAliveRevives) && is_revived {
        return Worth::Newer;
    }
    if update.generation != record.generation {
        let is_later = is_later_run(update.generation, record.generation);
        return if is_later { Worth::NewRun } else { Worth::Stale };
    }
    let (told, known) = (update.incarnation.0, record.incarnation.0);
    if told > known.saturating_add(INCARNATION_LEAP_MAX) {
        Worth::Implausible
    } else if record.state == MemberState::Left || told < known {
        Worth::Stale
    } else if told > known || rank(update.state) > rank(record.state) {
        Worth::Newer
    } else if update.state == MemberState::Suspect && record.state == MemberState::Suspect {
        Worth::Confirmation
    } else {
        Worth::Stale
    }
}

/// Whether those who believe this news of a node's present run would refuse any refutation by it: they
/// know its goodbye, or an incarnation too far from its own.
fn is_beyond_refutation(own: &Record, update: &Update) -> bool {
    let (told, current) = (update.incarnation.0, own.incarnation.0);
    let is_doubt = rank(update.state) > 0;
    update.generation == own.generation
        && !is_planted(PlantedFault::GoodbyeBelieved)
        && (update.state == MemberState::Left
            || told > current.saturating_add(INCARNATION_LEAP_MAX)
            || is_doubt && current > told.saturating_add(INCARNATION_LEAP_MAX))
}

impl From<&Update> for Identity {
    fn from(update: &Update) -> Identity {
        Identity {
            address: update.address,
            generation: update.generation,
            incarnation: update.incarnation,
            role: update.role,
            datacenter: update.datacenter,
            health_score: update.health_score,
        }
    }
}

/// The factors that lengthen the time a suspect gets: three of AD-35, and what kind of node it is.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    latency: f64,
    load: f64,
    confidence: f64,
    patience: f64,
}

/// A message that came from an earlier run of its sender.
#[derive(Debug)]
pub(crate) struct StaleSender;

impl Membership {
    /// Learns from a message who sent it. `None` when the table has no room for the sender.
    pub(crate) fn hear(
        &mut self,
        context: &mut Context,
        message: &Message,
    ) -> Result<Option<u32>, StaleSender> {
        let header = &message.header;
        let identity = sender_identity(message);
        let slot = match self.table.find(header.sender) {
            None => match self.discover(context, &identity) {
                Some(slot) => slot,
                None => return Ok(None),
            },
            Some(slot) => {
                let record = self.table.get(slot);
                if header.generation < record.generation {
                    return Err(StaleSender);
                }
                if is_later_run(header.generation, record.generation) {
                    self.begin_run(context, slot, &identity);
                } else {
                    self.hear_known(context, slot, &identity);
                }
                slot
            }
        };
        if header.recipient_generation == self.table.own().generation {
            self.confirm(context, slot);
        }
        Ok(Some(slot))
    }

    fn hear_known(&mut self, context: &mut Context, slot: u32, identity: &Identity) {
        let record = *self.table.get(slot);
        let leap = identity.incarnation.0.saturating_sub(record.incarnation.0);
        if leap > INCARNATION_LEAP_MAX {
            context.effects.count(Counter::UpdatesRefused);
            return;
        }
        let incarnation = identity.incarnation.max(record.incarnation);
        let is_changed = record.role != identity.role
            || record.health_score != identity.health_score
            || *self.table.datacenter(slot) != identity.datacenter;
        if leap > 0 && record.state != MemberState::Left {
            self.refuted(context, slot, incarnation);
        }
        if is_changed && self.table.set_identity(slot, &Identity { incarnation, ..*identity }) {
            context.effects.change(slot);
        }
    }

    /// A peer not known so far: it becomes unconfirmed.
    fn discover(&mut self, context: &mut Context, identity: &Identity) -> Option<u32> {
        if self.table.is_full()
            && let Some(oldest) = self.table.draw_oldest_departed(context.random)
        {
            context.effects.count(Counter::MembersEvicted);
            self.forget(context, oldest);
        }
        let Ok(slot) = self.table.insert(identity, context.now) else {
            context.effects.count(Counter::MembersRefused);
            return None;
        };
        self.announce(context, slot);
        self.begin_confirmation(context, slot);
        Some(slot)
    }

    /// A known address speaks, or is spoken of, as a later run of its program.
    fn begin_run(&mut self, context: &mut Context, slot: u32, identity: &Identity) {
        if !self.table.set_identity(slot, identity) {
            context.effects.count(Counter::MembersRefused);
            return;
        }
        self.close_suspicion(context, slot);
        self.release(context, slot);
        self.table.get_mut(slot).confirmation_attempts = 0;
        self.table.set_state(slot, MemberState::Unconfirmed, context.now);
        self.announce(context, slot);
        self.gossip.remove(&mut self.table, slot);
        self.begin_confirmation(context, slot);
    }

    fn begin_confirmation(&mut self, context: &mut Context, slot: u32) {
        let spread = CONFIRMATION_SPREAD * self.table.peer_count() as u32;
        let spread = spread.min(CONFIRMATION_SPREAD_MAX).mul_f64(context.random.unit());
        self.await_turn(context, slot, spread);
    }

    /// Sets when an unconfirmed peer is asked: not before `wait` is over, and in the turn of all that wait.
    fn await_turn(&mut self, context: &mut Context, slot: u32, wait: Duration) {
        // Those that wait already were spread over shorter times. The square root puts later ones behind
        // them, so that all attempts together come at no more than twice the pace.
        let backlog = CONFIRMATION_PACE * self.table.unconfirmed_count() as u32;
        let turn = backlog.mul_f64(context.random.unit().sqrt());
        context.effects.set_timer(Timer::Member(slot), context.now + wait.max(turn));
    }

    /// Time to ask an unconfirmed peer again, or to forget it.
    fn confirmation_expired(&mut self, context: &mut Context, slot: u32) {
        let record = *self.table.get(slot);
        let strategy = Strategy::of(record.role, context.config);
        if record.is_probed {
            // An earlier question is still open. Its end brings the next one.
            context.effects.set_timer(Timer::Member(slot), context.now + strategy.interval);
            return;
        }
        if record.confirmation_attempts < self.confirmation_limit(&strategy) {
            if self.probes.confirmation_count() >= CONFIRMATION_WINDOW {
                return self.await_turn(context, slot, Duration::ZERO);
            }
            self.table.get_mut(slot).confirmation_attempts += 1;
            context.effects.count(Counter::ConfirmationAttempts);
            self.probe_member(context, slot, Purpose::Confirmation);
            let pause = self.confirmation_pause(&strategy);
            context.effects.set_timer(Timer::Member(slot), context.now + pause);
            return;
        }
        let rtt = context.tracker.rtt(slot, context.now);
        let patience = strategy.effective_timeout(self.health.multiplier(), rtt);
        if context.now - record.since >= patience {
            context.effects.count(match record.role {
                Role::Gate => Counter::UnconfirmedGatesRemoved,
                Role::Manager => Counter::UnconfirmedManagersRemoved,
                Role::Worker => Counter::UnconfirmedWorkersRemoved,
            });
            self.forget(context, slot);
        } else {
            context.effects.set_timer(Timer::Member(slot), record.since + patience);
        }
    }

    /// Whether this node makes itself known to whomever it learns of, because nobody asks it.
    fn introduces_itself(&self) -> bool {
        self.table.own().role == Role::Worker
    }

    /// How often this node asks an unconfirmed peer of that role to show itself.
    fn confirmation_limit(&self, strategy: &Strategy) -> u8 {
        strategy.attempts.max(if self.introduces_itself() { INTRODUCTION_COUNT } else { 0 })
    }

    /// How long this node waits before it asks an unconfirmed peer again: with few that have not answered
    /// only until an answer must be lost, with many until they can have answered.
    fn confirmation_pause(&self, strategy: &Strategy) -> Duration {
        let turn = CONFIRMATION_PACE * 2 * self.table.unconfirmed_count() as u32;
        match self.introduces_itself() {
            true => turn.max(INTRODUCTION_PAUSE_MIN).min(strategy.interval),
            false => strategy.interval,
        }
    }

    /// Somebody else hears an unconfirmed peer. When it has been asked in vain, perhaps across a broken
    /// path, it is worth asking again.
    fn ask_again(&mut self, context: &mut Context, slot: u32) {
        let record = *self.table.get(slot);
        let strategy = Strategy::of(record.role, context.config);
        let limit = self.confirmation_limit(&strategy);
        let is_exhausted = record.confirmation_attempts >= limit && limit > 0;
        if record.state == MemberState::Unconfirmed && is_exhausted {
            self.table.get_mut(slot).confirmation_attempts = 0;
            self.await_turn(context, slot, Duration::ZERO);
        }
    }

    /// A two-way exchange took place.
    pub(crate) fn confirm(&mut self, context: &mut Context, slot: u32) {
        let record = self.table.get(slot);
        if record.state == MemberState::Unconfirmed {
            let was_asked = record.confirmation_attempts > 0;
            context.effects.stats.add(Counter::ConfirmationsLate, u64::from(was_asked));
            context.effects.count(Counter::UnconfirmedToAlive);
            context.effects.clear_timer(Timer::Member(slot));
            self.become_alive(context, slot);
        }
    }

    fn become_alive(&mut self, context: &mut Context, slot: u32) {
        let was_active = self.table.get(slot).state.is_active();
        self.table.set_state(slot, MemberState::Alive, context.now);
        if !was_active {
            self.probe_order.insert(slot, &self.table, context.random);
        }
        self.announce(context, slot);
        self.gossip.push(&mut self.table, slot);
    }

    /// The member itself raised its incarnation: it lives.
    fn refuted(&mut self, context: &mut Context, slot: u32, incarnation: Incarnation) {
        let is_doubled = is_planted(PlantedFault::IncarnationInvented);
        let incarnation = if is_doubled { incarnation.next() } else { incarnation };
        self.table.set_incarnation(slot, incarnation);
        match self.table.get(slot).state {
            MemberState::Suspect => {
                context.effects.count(Counter::SuspicionsRefuted);
                self.close_suspicion(context, slot);
                self.become_alive(context, slot);
            }
            MemberState::Dead => {
                context.effects.clear_timer(Timer::Member(slot));
                self.become_alive(context, slot);
            }
            // It stands where it stood, so only mirrors care.
            MemberState::Alive => {
                self.gossip.push(&mut self.table, slot);
                context.effects.refresh(slot);
            }
            _ => context.effects.refresh(slot),
        }
    }

    /// News of a member, from gossip or a table of `teller`. `place` is where the member was found, if it
    /// was, before other news of the same message.
    pub(crate) fn apply(
        &mut self,
        context: &mut Context,
        update: &Update,
        teller: Address,
        place: u32,
    ) {
        context.effects.count(Counter::UpdatesReceived);
        let is_there = self.table.is_at(place, update.address);
        let slot = if is_there { Some(place) } else { self.table.find(update.address) };
        self.apply_record(context, update, slot);
        if update.state_version > 0
            && let Some(slot) = self.table.find(update.address)
            && self.table.get(slot).generation == update.generation
        {
            self.note_state_version(context, slot, update.state_version, teller);
        }
    }

    fn apply_record(&mut self, context: &mut Context, update: &Update, slot: Option<u32>) {
        if update.address == self.table.own().address {
            self.apply_to_self(context, update);
            return;
        }
        let is_hearsay = update.state == MemberState::Unconfirmed;
        if is_hearsay && !is_planted(PlantedFault::HearsayPassedOn) {
            // Hearsay of hearsay: a member that nobody has heard would be passed on for ever.
            context.effects.count(Counter::UpdatesStale);
            return;
        }
        let Some(slot) = slot else {
            if rank(update.state) >= rank(MemberState::Dead) {
                // The death of a stranger is no news, and its record would only take room.
                context.effects.count(Counter::UpdatesStale);
            } else if update.address.is_reachable() {
                self.discover(context, &update.into());
            } else {
                context.effects.count(Counter::UpdatesRefused);
            }
            return;
        };
        let worth = worth(self.table.get(slot), update);
        if rank(update.state) == 0 && matches!(worth, Worth::Stale | Worth::Newer) {
            self.ask_again(context, slot);
        }
        match worth {
            Worth::Stale => context.effects.count(Counter::UpdatesStale),
            Worth::Implausible => context.effects.count(Counter::UpdatesRefused),
            Worth::Confirmation => self.suspect(context, slot, update.accuser),
            Worth::NewRun => self.apply_new_run(context, slot, update),
            Worth::Newer => self.apply_newer(context, slot, update),
        }
    }

    fn apply_new_run(&mut self, context: &mut Context, slot: u32, update: &Update) {
        let is_over = rank(update.state) >= rank(MemberState::Dead);
        if is_over && self.table.get(slot).state == MemberState::Unconfirmed {
            self.forget(context, slot);
        } else if is_over && self.table.set_identity(slot, &update.into()) {
            self.depart(context, slot, update.state);
        } else if !is_over {
            self.begin_run(context, slot, &update.into());
        }
    }

    fn apply_newer(&mut self, context: &mut Context, slot: u32, update: &Update) {
        let record = *self.table.get(slot);
        if record.state == MemberState::Unconfirmed {
            match update.state {
                MemberState::Dead | MemberState::Left => self.forget(context, slot),
                _ => {
                    self.table.set_incarnation(slot, update.incarnation);
                    context.effects.refresh(slot);
                }
            }
            return;
        }
        match update.state {
            MemberState::Alive | MemberState::Unconfirmed => {
                self.refuted(context, slot, update.incarnation);
            }
            MemberState::Suspect => {
                if record.state == MemberState::Dead {
                    // It refuted its death since, and is doubted again.
                    self.refuted(context, slot, update.incarnation);
                }
                self.close_suspicion(context, slot);
                self.table.set_incarnation(slot, update.incarnation);
                self.suspect(context, slot, update.accuser);
                self.recheck(context, slot);
            }
            MemberState::Dead => {
                self.table.set_incarnation(slot, update.incarnation);
                context.effects.refresh(slot);
                self.hear_of_death(context, slot, update.accuser);
            }
            MemberState::Left => {
                self.table.set_incarnation(slot, update.incarnation);
                self.depart(context, slot, MemberState::Left);
            }
            MemberState::Removed => unreachable!("the parser refuses it"),
        }
    }

    /// Somebody speaks of this node. False news of a failure is refuted.
    fn apply_to_self(&mut self, context: &mut Context, update: &Update) {
        let own = *self.table.own();
        if is_planted(PlantedFault::LostRefutation) {
            return;
        }
        if self.is_leaving() || update.generation < own.generation {
            context.effects.count(Counter::UpdatesStale);
            return;
        }
        let leap = update.incarnation.0.saturating_sub(own.incarnation.0);
        if update.generation > own.generation || is_beyond_refutation(&own, update) {
            self.count_on(context, update.generation);
            return;
        }
        let is_accusation = rank(update.state) > 0 && update.incarnation >= own.incarnation;
        if !is_accusation && leap == 0 {
            context.effects.count(Counter::UpdatesStale);
            return;
        }
        self.health.worsen(u8::from(is_accusation));
        self.table.set_incarnation(OWN_SLOT, update.incarnation.next());
        self.tell_refutation(context);
    }

    /// Goes on as a later run than one that peers remember. A record of such a run can only come from a
    /// clock that was set back before this run began, from one that stood still, or from a forger. Counting on
    /// from there keeps this node from being stale for ever.
    pub(crate) fn count_on(&mut self, context: &mut Context, remembered: Generation) {
        self.table.succeed(remembered);
        self.tell_refutation(context);
    }

    fn tell_refutation(&mut self, context: &mut Context) {
        let incarnation = self.table.own().incarnation;
        context.effects.count(Counter::Refutations);
        context.effects.emit(Event::Refuted { incarnation, at: context.now });
        context.effects.change(OWN_SLOT);
        self.gossip.push(&mut self.table, OWN_SLOT);
    }

    /// An active member did not answer somebody.
    pub(crate) fn suspect(&mut self, context: &mut Context, slot: u32, accuser: u32) {
        let record = *self.table.get(slot);
        if record.suspicion != NONE {
            let suspicion = self.suspicions.get_mut(record.suspicion);
            if suspicion.confirm(accuser) {
                context.effects.set_timer(Timer::Member(slot), suspicion.deadline());
                self.gossip.push(&mut self.table, slot);
            }
            return;
        }
        let stretch = self.stretch(context, slot);
        let terms = self.terms(context, &stretch);
        let suspicion = Suspicion::new(context.now, accuser, terms);
        context.effects.set_timer(Timer::Member(slot), suspicion.deadline());
        context.effects.count(Counter::SuspicionsStarted);
        let stats = &mut context.effects.stats;
        stats.observe(Distribution::SuspicionTime, terms.max.as_secs_f64());
        stats.observe(Distribution::LatencyMultiplier, stretch.latency);
        stats.observe(Distribution::LoadMultiplier, stretch.load);
        stats.observe(Distribution::ConfidenceAdjustment, stretch.confidence);
        self.table.get_mut(slot).suspicion = self.suspicions.open(suspicion);
        if record.state != MemberState::Suspect {
            self.table.set_state(slot, MemberState::Suspect, context.now);
            self.announce(context, slot);
        }
        if !is_planted(PlantedFault::SilentChange) {
            context.effects.change(slot);
        }
        self.gossip.push(&mut self.table, slot);
    }

    /// This node's own probe of a member has failed. Others tell it of its own accusation, too, and that is no
    /// evidence.
    pub(crate) fn witness(&mut self, context: &mut Context, slot: u32) {
        self.suspect(context, slot, self.own_fingerprint());
        let terms = self.terms(context, &self.stretch(context, slot));
        let suspicion = self.suspicions.get_mut(self.table.get(slot).suspicion);
        suspicion.tighten(terms);
        suspicion.witness(context.now);
        context.effects.set_timer(Timer::Member(slot), suspicion.deadline());
    }

    /// Somebody declared a member dead: what this node waited for is over, once it has read what has come.
    fn hear_of_death(&mut self, context: &mut Context, slot: u32, accuser: u32) {
        let record = self.table.get(slot);
        if record.state == MemberState::Dead {
            // It refuted its death and has died again, and this node has missed its life in between.
            self.depart(context, slot, MemberState::Dead);
            return;
        }
        if record.suspicion == NONE {
            self.suspect(context, slot, accuser);
        }
        let suspicion = self.suspicions.get_mut(self.table.get(slot).suspicion);
        suspicion.report(context.now, context.received_at);
        context.effects.set_timer(Timer::Member(slot), suspicion.deadline());
    }

    /// AD-35: what lengthens the time that a suspect gets.
    fn stretch(&self, context: &Context, slot: u32) -> Stretch {
        let load = f64::from(self.health.multiplier());
        let patience = if self.table.get(slot).is_foreign { FOREIGN_PATIENCE } else { 1.0 };
        if !context.config.mechanisms.distance {
            return Stretch { latency: 1.0, load, confidence: 1.0, patience };
        }
        let rtt = context.tracker.rtt(slot, context.now);
        let coordinate = context.tracker.peer_coordinate(slot);
        Stretch {
            latency: rtt.map_or(1.0, |rtt| (rtt.upper_ms / 10.0).clamp(1.0, 10.0)),
            load,
            patience,
            confidence: coordinate.map_or(1.0, |coordinate| 1.0 + coordinate.error / 10.0),
        }
    }

    /// AD-35: base time x latency x health x confidence.
    fn terms(&self, context: &Context, stretch: &Stretch) -> Terms {
        let factor = stretch.latency * stretch.load * stretch.confidence * stretch.patience;
        self.base_terms(context.config).stretched(factor)
    }

    /// How long a suspicion lasts at the least.
    pub(crate) fn shortest_suspicion(&self, context: &Context) -> Duration {
        self.base_terms(context.config).min
    }

    fn base_terms(&self, config: &Config) -> Terms {
        let confirmations = match config.mechanisms.confirmed_suspicion {
            true => config.indirect_probe_count,
            false => 0,
        };
        Terms::new(
            self.table.active_count() + 1,
            config.probe_interval(),
            config.suspicion_min_factor,
            config.suspicion_max_factor,
            confirmations,
        )
    }

    fn close_suspicion(&mut self, context: &mut Context, slot: u32) {
        let record = self.table.get_mut(slot);
        let place = std::mem::replace(&mut record.suspicion, NONE);
        if place != NONE {
            self.suspicions.close(place);
            context.effects.clear_timer(Timer::Member(slot));
        }
    }

    /// A member died or left; its record stays for a while, so that late news is recognised.
    fn depart(&mut self, context: &mut Context, slot: u32, state: MemberState) {
        self.close_suspicion(context, slot);
        self.job_layer.forget_member(slot);
        self.table.set_state(slot, state, context.now);
        let retention = Duration::from_millis(context.config.dead_retention_ms);
        context.effects.set_timer(Timer::Member(slot), context.now + retention);
        self.announce(context, slot);
        self.gossip.push(&mut self.table, slot);
    }

    fn forget(&mut self, context: &mut Context, slot: u32) {
        let event = self.member_event(context, slot);
        if event.state == MemberState::Unconfirmed {
            context.effects.count(Counter::UnconfirmedToRemoved);
        }
        self.table.remove(slot);
        let removed = MemberEvent { state: MemberState::Removed, ..event };
        context.effects.emit(Event::Member(removed));
        context.effects.clear_timer(Timer::Member(slot));
        self.gossip.remove(&mut self.table, slot);
        self.release(context, slot);
        context.effects.change(slot);
    }

    /// Clears what other parts know about a slot whose member is another now.
    fn release(&mut self, context: &mut Context, slot: u32) {
        context.tracker.forget(slot);
        self.states.forget(slot);
        self.broadcasts.forget(slot);
        self.job_layer.forget_member(slot);
    }

    /// What a member's state waited for has come.
    pub(crate) fn member_expired(&mut self, context: &mut Context, slot: u32) {
        match self.table.get(slot).state {
            MemberState::Unconfirmed => self.confirmation_expired(context, slot),
            MemberState::Suspect => {
                if self.hears_suspect(context, slot) {
                    return;
                }
                let suspicion = self.suspicions.get(self.table.get(slot).suspicion);
                let is_own = u64::from(!suspicion.is_reported());
                context.effects.stats.add(Counter::SuspicionsExpired, is_own);
                self.depart(context, slot, MemberState::Dead);
            }
            MemberState::Dead | MemberState::Left => self.forget(context, slot),
            MemberState::Alive | MemberState::Removed => {
                unreachable!("a member without a deadline has no timer")
            }
        }
    }

    /// Tells the host what a member is now.
    pub(crate) fn announce(&mut self, context: &mut Context, slot: u32) {
        let event = self.member_event(context, slot);
        context.effects.emit(Event::Member(event));
        context.effects.change(slot);
    }

    fn member_event(&self, context: &Context, slot: u32) -> MemberEvent {
        let record = self.table.get(slot);
        MemberEvent {
            address: record.address,
            state: record.state,
            generation: record.generation,
            incarnation: record.incarnation,
            role: record.role,
            datacenter: *self.table.datacenter(slot),
            at: context.now,
        }
    }

    pub(crate) fn own_fingerprint(&self) -> u32 {
        let own = self.table.own();
        fingerprint(own.address, own.generation)
    }
}

fn sender_identity(message: &Message) -> Identity {
    let Header { sender, generation, incarnation, role, health_score, .. } = message.header;
    let datacenter = message.datacenter;
    Identity { address: sender, generation, incarnation, role, datacenter, health_score }
}
