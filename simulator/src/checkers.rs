//! What must always be true: one function per rule, and the ledger that remembers what was true
//! before.
//!
//! Rules about a single input are checked as it is handled. The [`Ledger`] follows what every node
//! says about every other and compares it with what really happened; it is told of each step. Rules
//! about the end of a run, when the network is well again, are in [`converged`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use shoal_core::config::{Config, DATAGRAM_SIZE_MAX, HEALTH_SCORE_MAX};
use shoal_core::wire::envelope::OVERHEAD;
use shoal_core::{
    Address, Coordinate, Duration, Engine, Event, Generation, Incarnation, Instant, Member,
    MemberEvent, MemberState, Transmit,
};

use crate::host::{address_of, host_at};
use crate::simulation::Simulation;

/// The engine computes logarithms from integers, up to 6 % too small.
const LOG_SLACK: f64 = 0.94;

/// How much a far and uncertain peer and the worst local health can lengthen a suspicion (AD-35):
/// 10 x 1.15 x 9, of which the base-2 logarithm where the engine takes base 10 gives a factor of 3.
const SUSPICION_STRETCH: f64 = 35.0;
/// How much a far and uncertain manager and the worst local health can lengthen the time after which
/// hearsay is forgotten (AD-35): 10 x 1.5 x 5.
const CONFIRMATION_STRETCH: u32 = 75;
/// How much longer recovery may take from what an insider did.
const FORGERY_RECOVERY: Duration = Duration::from_secs(900);

/// Which rule was broken and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The rule, as a short sentence.
    pub name: &'static str,
    /// What was seen instead.
    pub detail: String,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The true time.
    pub at: Instant,
    /// The node that broke it.
    pub node: u32,
    /// The rule.
    pub rule: Rule,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { at, node, rule } = self;
        let seconds = at.as_nanos() as f64 / 1e9;
        write!(formatter, "at {seconds:.6} s, node {node}: {}: {}", rule.name, rule.detail)
    }
}

fn require(holds: bool, name: &'static str, detail: impl FnOnce() -> String) -> Result<(), Rule> {
    if holds { Ok(()) } else { Err(Rule { name, detail: detail() }) }
}

/// After a timeout was handled and everything drained, the next one lies ahead; else a driver would
/// spin.
pub fn deadline_lies_ahead(deadline: Option<Instant>, now: Instant) -> Result<(), Rule> {
    require(deadline.is_none_or(|deadline| deadline > now), "the next deadline lies ahead", || {
        format!("{deadline:?} at {now:?}")
    })
}

/// A datagram has a legal size and somebody else to go to, and a drain comes to an end. `count` is
/// how many the drain has brought so far.
pub fn transmit_is_sane(engine: &Engine, transmit: &Transmit, count: u32) -> Result<(), Rule> {
    let size_is_legal = (OVERHEAD..=DATAGRAM_SIZE_MAX).contains(&transmit.size);
    require(size_is_legal, "a datagram keeps within the limit", || format!("{transmit:?}"))?;
    let config = engine.config();
    let target_is_legal = transmit.target.is_reachable() && transmit.target != config.advertise;
    require(target_is_legal, "a datagram has somebody else to go to", || format!("{transmit:?}"))?;
    require(count <= config.transmit_capacity, "a drain comes to an end", || {
        format!("{count} datagrams of one input")
    })
}

/// A coordinate can be computed with.
pub fn coordinate_is_sane(coordinate: &Coordinate) -> Result<(), Rule> {
    require(coordinate.is_valid(), "coordinates are finite and in range", || {
        format!("{coordinate:?}")
    })
}

/// The table is within its limit and the health score within its range.
pub fn limits_hold(engine: &Engine) -> Result<(), Rule> {
    let (slots, capacity) = (engine.slot_count(), engine.config().member_capacity);
    require(slots <= capacity, "the table keeps within its limit", || format!("{slots} slots"))?;
    let score = engine.health_score();
    require(score <= HEALTH_SCORE_MAX, "the health score is at most 8", || score.to_string())
}

/// A node is alive to itself, or has left.
pub fn own_record_is_sane(own: &Member) -> Result<(), Rule> {
    let is_legal = matches!(own.state, MemberState::Alive | MemberState::Left);
    require(is_legal, "a node never doubts that it lives", || format!("{own:?}"))
}

/// What a run of a member and its refutations have come to.
type Version = (Generation, Incarnation);

/// Knowledge of a member never goes back.
pub fn version_never_falls(before: Version, after: Version, who: Address) -> Result<(), Rule> {
    require(after >= before, "generation and incarnation never fall", || {
        format!("{who} from {before:?} to {after:?}")
    })
}

/// Which steps a member's life may take in the eyes of one observer.
pub fn transition_is_legal(before: Option<&View>, event: &MemberEvent) -> Result<(), Rule> {
    use MemberState::*;
    let is_legal = match before {
        None => event.state == Unconfirmed,
        Some(view) => {
            let is_new_run = event.generation > view.version.0;
            let is_refuted = is_new_run || event.incarnation > view.version.1;
            match (view.state, event.state) {
                (_, Removed) => !view.state.is_active(),
                (_, Unconfirmed) => is_new_run,
                (Unconfirmed, Alive) => true,
                (Unconfirmed, _) => false,
                (Alive, Suspect | Dead | Left) => true,
                (Suspect, Dead | Left) => true,
                (Suspect | Dead, Alive) => is_refuted,
                (Dead, Suspect) => is_refuted,
                (Dead, Left) => true,
                (Dead, Dead) => is_refuted,
                (Left, Dead) => is_new_run,
                (Left, Left) => is_new_run,
                _ => false,
            }
        }
    };
    require(is_legal, "a member's life takes legal steps only", || {
        let before = before.map(|view| (view.state, view.version));
        format!("{} went from {before:?} to {event:?}", event.address)
    })
}

/// The first node to declare a member dead has waited at least as long as its own terms say.
/// `active_count` is how many members it knows as active now.
pub fn suspicion_took_its_time(
    view: Option<&View>,
    event: &MemberEvent,
    active_count: u32,
    config: &Config,
) -> Result<(), Rule> {
    let suspected = view.filter(|view| view.state == MemberState::Suspect);
    let waited = suspected.map(|view| event.at.saturating_since(view.since));
    // Terms may be renewed while it lasts, for the members that are left.
    let count = suspected.map_or(0, |view| view.active_count.min(active_count)).max(1);
    let logarithm = f64::from(count).log10() * LOG_SLACK;
    let periods = (config.suspicion_min_factor * logarithm).max(1.0);
    let needed = config.probe_interval().mul_f64(periods);
    require(waited >= Some(needed), "no death without a suspicion of full length", || {
        format!("{} declared dead after {waited:?}, not {needed:?}", event.address)
    })
}

/// Nobody knows more of a node than the node itself has told.
pub fn nobody_speaks_for_another(told: Version, event_version: Version) -> Result<(), Rule> {
    require(event_version <= told, "only a node itself raises its incarnation", || {
        format!("{event_version:?} is beyond {told:?}")
    })
}

/// What one observer thinks of one member.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// What it is.
    pub state: MemberState,
    /// Which run of it, and its refutations.
    pub version: Version,
    /// Since when, on the observer's clock.
    pub since: Instant,
    /// The fewest members the observer has known as active since then, itself included.
    pub active_count: u32,
}

/// What really happened to one node.
#[derive(Clone, Debug, Default)]
struct Truth {
    /// The latest run and incarnation that it has ever told of itself.
    told: Version,
    /// The latest of the run that is under way.
    own: Version,
    has_left: bool,
    /// The latest run that anybody has had a two-way exchange with.
    confirmed: Generation,
    /// The latest that anybody has declared dead.
    died: Option<Version>,
}

/// Which rules a run can be held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency {
    /// An insider with the key forges news, so nodes may hear what nobody told.
    pub forgery: bool,
    /// Healthy nodes may be declared dead.
    pub false_deaths: bool,
}

/// Remembers what every node said of every other, and what really happened.
#[derive(Debug)]
pub struct Ledger {
    leniency: Leniency,
    views: Vec<BTreeMap<Address, View>>,
    /// How many members each node knew as active after its last step.
    active_counts: Vec<u32>,
    truths: Vec<Truth>,
    /// The broadcasts that each node has heard.
    broadcasts: Vec<BTreeSet<(Address, Bytes)>>,
    false_deaths: u64,
    suspicions: u64,
    deaths: u64,
}

impl Ledger {
    /// A ledger for a cluster of so many.
    pub fn new(host_count: u32, leniency: Leniency) -> Ledger {
        let count = host_count as usize;
        Ledger {
            leniency,
            views: vec![BTreeMap::new(); count],
            active_counts: vec![1; count],
            truths: vec![Truth::default(); count],
            broadcasts: vec![BTreeSet::new(); count],
            false_deaths: 0,
            suspicions: 0,
            deaths: 0,
        }
    }

    /// Events that declared a node dead which ran and had not been stopped.
    pub fn false_deaths(&self) -> u64 {
        self.false_deaths
    }

    /// Events that put a node under suspicion.
    pub fn suspicions(&self) -> u64 {
        self.suspicions
    }

    /// Events that declared a node dead.
    pub fn deaths(&self) -> u64 {
        self.deaths
    }

    /// A node starts from nothing on a machine.
    pub fn note_start(&mut self, node: u32) {
        let truth = &mut self.truths[node as usize];
        truth.own = Version::default();
        truth.has_left = false;
        self.views[node as usize].clear();
        self.broadcasts[node as usize].clear();
    }

    /// A node acted. Checks everything that may have changed.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check_step(&mut self, simulation: &mut Simulation, node: u32) -> Result<(), Rule> {
        let now = simulation.engine_time(node);
        let Some(engine) = simulation.engine(node) else { return Ok(()) };
        let own = engine.member_at(0, now).expect("a node is in its own table");
        own_record_is_sane(&own)?;
        limits_hold(engine)?;
        let truth = &mut self.truths[node as usize];
        let version = (own.generation, own.incarnation);
        version_never_falls(truth.own, version, own.address)?;
        truth.own = version;
        truth.told = truth.told.max(version);
        for observation in simulation.observations() {
            match &observation.event {
                Event::Member(event) => self.check_event(simulation, node, event)?,
                Event::Broadcast { source, payload, .. } => {
                    self.check_broadcast(node, *source, payload)?;
                }
                _ => {}
            }
            self.check_silence(node, &observation.event)?;
        }
        self.check_changes(simulation, node, now)?;
        self.note_active_count(node, simulation.engine(node).map_or(1, active_count));
        Ok(())
    }

    /// A host gave its node a command, which may tell others of a new incarnation at once.
    pub fn note_command(&mut self, simulation: &Simulation) {
        for (node, truth) in self.truths.iter_mut().enumerate() {
            let engine = simulation.engine(node as u32);
            let own = engine.and_then(|engine| engine.member_at(0, Instant::ZERO));
            truth.told =
                own.map_or(truth.told, |own| truth.told.max((own.generation, own.incarnation)));
        }
    }

    fn note_active_count(&mut self, node: u32, count: u32) {
        let before = std::mem::replace(&mut self.active_counts[node as usize], count);
        if count < before {
            for view in self.views[node as usize].values_mut() {
                view.active_count = view.active_count.min(count);
            }
        }
    }

    fn check_event(
        &mut self,
        simulation: &Simulation,
        node: u32,
        event: &MemberEvent,
    ) -> Result<(), Rule> {
        let subject = host_at(event.address);
        if subject == node {
            return Ok(());
        }
        let engine = simulation.engine(node).expect("the node acted");
        let version = (event.generation, event.incarnation);
        let before = self.views[node as usize].get(&event.address).copied();
        if let Some(view) = &before {
            version_never_falls(view.version, version, event.address)?;
        }
        transition_is_legal(before.as_ref(), event)?;
        if event.state == MemberState::Removed {
            self.views[node as usize].remove(&event.address);
            // With its record goes the memory of what it has sent.
            self.broadcasts[node as usize].retain(|(source, _)| *source != event.address);
            return Ok(());
        }
        if !self.leniency.forgery
            && let Some(truth) = self.truths.get(subject as usize)
        {
            nobody_speaks_for_another(truth.told, version)?;
        }
        self.check_hearsay(simulation, node, event)?;
        self.suspicions += u64::from(event.state == MemberState::Suspect);
        // Other events of this step may have come before or after, so the smaller count is safe.
        let active_count = self.active_counts[node as usize].min(active_count(engine));
        if event.state == MemberState::Dead {
            self.check_death(simulation, node, before.as_ref(), event, active_count)?;
        }
        let view = View { state: event.state, version, since: event.at, active_count };
        self.views[node as usize].insert(event.address, view);
        Ok(())
    }

    /// A node learns of a run from its own datagrams or from somebody who has answered it: what
    /// nobody has heard is not passed on, or it would be for ever.
    fn check_hearsay(
        &mut self,
        simulation: &Simulation,
        node: u32,
        event: &MemberEvent,
    ) -> Result<(), Rule> {
        let subject = host_at(event.address);
        let Some(truth) = self.truths.get_mut(subject as usize) else { return Ok(()) };
        if event.state == MemberState::Alive {
            truth.confirmed = truth.confirmed.max(event.generation);
        }
        let is_founded = event.state != MemberState::Unconfirmed
            || event.generation <= truth.confirmed
            || simulation.sources().contains(&subject);
        require(is_founded || self.leniency.forgery, "hearsay is not passed on", || {
            format!("{node} knows {event:?} from nobody who had heard it")
        })
    }

    fn check_death(
        &mut self,
        simulation: &Simulation,
        node: u32,
        before: Option<&View>,
        event: &MemberEvent,
        active_count: u32,
    ) -> Result<(), Rule> {
        self.deaths += 1;
        let subject = host_at(event.address);
        let Some(truth) = self.truths.get_mut(subject as usize) else { return Ok(()) };
        let version = (event.generation, event.incarnation);
        if truth.died.is_none_or(|died| died < version) {
            truth.died = Some(version);
            if !self.leniency.forgery {
                let config = simulation.engine(node).expect("the node acted").config();
                suspicion_took_its_time(before, event, active_count, config)?;
            }
        }
        if simulation.is_well(subject) && truth.own.0 == event.generation && !truth.has_left {
            self.false_deaths += 1;
            return require(self.leniency.false_deaths, "no healthy node is declared dead", || {
                format!("{event:?}")
            });
        }
        Ok(())
    }

    /// A broadcast is heard once. Those of the simulation are all different.
    fn check_broadcast(&mut self, node: u32, source: Address, bytes: &Bytes) -> Result<(), Rule> {
        let is_new = self.broadcasts[node as usize].insert((source, bytes.clone()));
        require(is_new, "a broadcast is heard once", || {
            format!("{} bytes from {source}", bytes.len())
        })
    }

    /// A node that has said goodbye says nothing more.
    fn check_silence(&mut self, node: u32, event: &Event) -> Result<(), Rule> {
        let truth = &mut self.truths[node as usize];
        let was_gone = truth.has_left;
        truth.has_left |= matches!(event, Event::Left { .. });
        require(!was_gone, "a node that has left is silent", || format!("{event:?}"))
    }

    /// Everything that records say has been told as a change or an event.
    ///
    /// # Errors
    /// The first record that changed in silence.
    pub fn audit(&self, simulation: &Simulation) -> Result<(), Rule> {
        for node in 0..simulation.host_count() {
            let now = simulation.local_time(node);
            let members =
                simulation.engine(node).into_iter().flat_map(|engine| engine.members(now));
            for member in members.skip(1) {
                let view = self.views[node as usize].get(&member.address);
                let told = view.map(|view| (view.state, view.version));
                let held = (member.state, (member.generation, member.incarnation));
                require(told == Some(held), "no record changes in silence", || {
                    format!("{node} told {told:?} of {} and holds {held:?}", member.address)
                })?;
            }
        }
        Ok(())
    }

    /// The records agree with the events, and hold what they may.
    fn check_changes(
        &mut self,
        simulation: &mut Simulation,
        node: u32,
        now: Instant,
    ) -> Result<(), Rule> {
        let Some(engine) = simulation.engine_mut(node) else { return Ok(()) };
        while let Some(slot) = engine.poll_change() {
            let Some(member) = engine.member_at(slot, now) else { continue };
            if let Some(coordinate) = &member.coordinate {
                coordinate_is_sane(coordinate)?;
            }
            if slot == 0 {
                continue;
            }
            let view = self.views[node as usize].get_mut(&member.address);
            let agrees = view.as_ref().is_some_and(|view| view.state == member.state);
            require(agrees, "events tell every change of state", || {
                format!("{member:?} but {view:?}")
            })?;
            if let Some(view) = view {
                let version = (member.generation, member.incarnation);
                version_never_falls(view.version, version, member.address)?;
                if version > view.version {
                    // A new suspicion after a refutation that was not heard of.
                    (view.version, view.since) = (version, now);
                    view.active_count = active_count(engine);
                }
            }
        }
        Ok(())
    }
}

/// How many members a node knows as active, itself included.
fn active_count(engine: &Engine) -> u32 {
    let members = engine.members(Instant::ZERO);
    members.filter(|member| member.state.is_active()).count() as u32
}

/// Whether every running node sees the cluster as it is: all that run are alive, in the run that
/// they are, and nobody else is.
///
/// # Errors
/// The first pair of which this is not so.
pub fn converged(simulation: &Simulation, leniency: Leniency) -> Result<(), Rule> {
    for observer in 0..simulation.host_count() {
        let Some(engine) = simulation.member(observer) else { continue };
        let now = simulation.local_time(observer);
        nobody_is_invented(engine, simulation.host_count(), now)?;
        for subject in (0..simulation.host_count()).filter(|&subject| subject != observer) {
            let seen = engine.member(address_of(subject), now);
            let agrees = match simulation.member(subject) {
                Some(subject) => {
                    let own = subject.member_at(0, now).expect("a node is in its own table");
                    let address = own.address;
                    let is_current = |seen: &Member| {
                        seen.state == MemberState::Alive
                            && seen.generation == own.generation
                            && (leniency.forgery || seen.incarnation == own.incarnation)
                            && engine.state(address) == subject.state(address)
                    };
                    seen.as_ref().is_some_and(is_current)
                }
                None => seen.as_ref().is_none_or(is_over),
            };
            require(agrees, "views agree with the truth once the network is well", || {
                let is_up = simulation.member(subject).is_some();
                let seen = seen.map(|m| (m.state, m.generation, m.incarnation));
                format!("{observer} sees {subject} (up: {is_up}) as {seen:?}")
            })?;
        }
    }
    Ok(())
}

/// Whether nothing is expected of a member any more. One that is only known from hearsay must not
/// live on in the tables of nodes that tell each other of it.
fn is_over(member: &Member) -> bool {
    matches!(member.state, MemberState::Dead | MemberState::Left)
}

/// Members that an insider invented are found out in the end.
fn nobody_is_invented(engine: &Engine, host_count: u32, now: Instant) -> Result<(), Rule> {
    let is_invented = |member: &Member| host_at(member.address) >= host_count && !is_over(member);
    let invented = engine.members(now).find(is_invented);
    require(invented.is_none(), "nobody believes in a member that was invented", || {
        format!("{} believes in {invented:?}", engine.config().advertise)
    })
}

/// How long views may take to agree for good once the network is well again. An insider can make an
/// invented member look so far away that its probes take a minute.
pub fn recovery_limit(config: &Config, host_count: u32, leniency: Leniency) -> Duration {
    let log = f64::from(host_count.max(2)).log2();
    let rounds = Duration::from_millis(config.sync_interval_ms).mul_f64(4.0 + 4.0 * log);
    let periods = (config.suspicion_min_factor * log).max(1.0) * config.suspicion_max_factor;
    let suspicion = config.probe_interval().mul_f64(periods * SUSPICION_STRETCH);
    let longest = config.confirmation_timeout_ms.iter().max().copied().unwrap_or(0);
    let forgery = if leniency.forgery { FORGERY_RECOVERY } else { Duration::ZERO };
    rounds + suspicion + Duration::from_millis(longest) * CONFIRMATION_STRETCH + forgery
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(state: MemberState, generation: u64, incarnation: u32) -> MemberEvent {
        MemberEvent {
            address: address_of(1),
            state,
            generation: Generation(generation),
            incarnation: Incarnation(incarnation),
            role: shoal_core::Role::Manager,
            datacenter: "east".parse().unwrap(),
            at: Instant::from_millis(10_000),
        }
    }

    fn view(state: MemberState) -> View {
        let version = (Generation(5), Incarnation(5));
        View { state, version, since: Instant::from_millis(8_000), active_count: 10 }
    }

    #[test]
    fn resurrection_needs_news_from_the_dead() {
        let dead = view(MemberState::Dead);
        assert!(transition_is_legal(Some(&dead), &event(MemberState::Alive, 5, 5)).is_err());
        assert!(transition_is_legal(Some(&dead), &event(MemberState::Alive, 5, 6)).is_ok());
        assert!(transition_is_legal(Some(&dead), &event(MemberState::Unconfirmed, 5, 6)).is_err());
        assert!(transition_is_legal(Some(&dead), &event(MemberState::Unconfirmed, 6, 0)).is_ok());
        let left = view(MemberState::Left);
        assert!(transition_is_legal(Some(&left), &event(MemberState::Alive, 5, 9)).is_err());
    }

    #[test]
    fn hearsay_is_neither_suspected_nor_dead() {
        let unconfirmed = view(MemberState::Unconfirmed);
        for state in [MemberState::Suspect, MemberState::Dead, MemberState::Left] {
            assert!(transition_is_legal(Some(&unconfirmed), &event(state, 5, 9)).is_err());
            assert!(transition_is_legal(None, &event(state, 5, 9)).is_err());
        }
        assert!(transition_is_legal(Some(&unconfirmed), &event(MemberState::Alive, 5, 5)).is_ok());
    }

    #[test]
    fn a_quick_death_is_noticed() {
        let secret = shoal_core::Secret::new([1; 16]).unwrap();
        let mut config = Config::new(address_of(0), secret);
        let death = event(MemberState::Dead, 5, 5);
        let check = |view: &View, config: &Config| {
            suspicion_took_its_time(Some(view), &death, 10, config).is_ok()
        };
        (config.probe_interval_ms, config.suspicion_min_factor) = (500, 2.0);
        assert!(check(&view(MemberState::Suspect), &config));
        config.probe_interval_ms = 1_100;
        assert!(!check(&view(MemberState::Suspect), &config));
        assert!(!check(&view(MemberState::Alive), &config));
    }

    #[test]
    fn knowledge_never_falls() {
        let low = (Generation(1), Incarnation(9));
        let high = (Generation(2), Incarnation(0));
        assert!(version_never_falls(low, high, address_of(1)).is_ok());
        assert!(version_never_falls(high, low, address_of(1)).is_err());
        assert!(nobody_speaks_for_another(low, high).is_err());
    }
}
