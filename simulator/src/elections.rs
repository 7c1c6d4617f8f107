//! Elections under fire: the managers of one datacenter and a gate, with crashes, partitions, stops and
//! goodbyes drawn from the seed, and the promises about leaders checked at every step.
//!
//! | rule | checked |
//! |---|---|
//! | a term has one leader, in one run of its program | at every step, for good |
//! | at most one manager leads at a time, by its own clock | at every step |
//! | nobody goes back to an earlier term, nor follows a second leader of one | at every step and event |
//! | a majority that hears each other has a leader within [`ELECTION_LIMIT`] | at the start, and after the leader crashes |
//! | one leader is known to all after everything healed | within [`RECOVERY_LIMIT`] |
//!
//! Every datacenter says how many managers it is meant to have (`manager_count_min`), which is what keeps
//! halves apart that have not met yet. Clocks start within a second of each other and run at rates that
//! differ by up to the share that the settings allow for.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shoal_core::federation::FederationEvent;
use shoal_core::random::Random;
use shoal_core::{Address, Config, Counter, Duration, Event, Generation, Instant, Role};

use crate::clock::Clock;
use crate::detection::default_config;
use crate::host::{address_of, host_at};
use crate::network::{Delay, NetworkOptions, NodeSet};
use crate::simulation::Simulation;

/// How long a majority may be without a leader once nothing but a crash stands in the way.
pub const ELECTION_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take after faults of all kinds until everybody follows one leader: views of
/// membership have to come together first.
pub const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// The wall clock at the true time zero, in nanoseconds.
const WALL_START: u64 = 1_800_000_000_000_000_000;
/// How far apart wall clocks are at most.
const SKEW_MAX: Duration = Duration::from_secs(1);
/// How often it is asked whether there is a leader.
const LOOK: Duration = Duration::from_millis(50);

/// What a run has to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What decided everything.
    pub seed: u64,
    /// Managers that elect.
    pub managers: u32,
    /// How long it ran on its own clock.
    pub virtual_time: Duration,
    /// Leaderships there were.
    pub terms: u64,
    /// Faults that were made.
    pub faults: u32,
    /// From the start of a majority until it had a leader.
    pub first_election: Duration,
    /// From healing until everybody followed one leader.
    pub recovery: Duration,
    /// From the crash of the leader until there was another one.
    pub succession: Duration,
    /// Messages of earlier terms that were refused.
    pub stale_terms: u64,
    /// A digest of all that was sent and told.
    pub trace_hash: u64,
}

/// A run that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What decided everything.
    pub seed: u64,
    /// What happened.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, reason } = self;
        write!(
            formatter,
            "{reason}\nreplay with: shoal simulate --experiment elections --seed {seed}"
        )
    }
}

impl std::error::Error for Failure {}

/// What ends a fault.
#[derive(Clone, Copy, Debug)]
enum Cure {
    Mend,
    Start(u32),
    Resume(u32),
}

/// A run under way. The managers are the nodes from 0 on, the gate is the last node.
struct Run {
    simulation: Simulation,
    random: Random,
    managers: u32,
    skews: Vec<Duration>,
    /// Which run of a node this is, from 1.
    runs: Vec<u32>,
    /// Who led in each term.
    leaders: BTreeMap<u64, (u32, u32)>,
    /// The latest term that each node was in, and whom it last heard to lead in which.
    terms: Vec<u64>,
    heard: Vec<Option<(Address, u64)>>,
    stale_terms: u64,
    faults: u32,
}

/// Runs the elections that a seed draws.
///
/// # Errors
/// The first rule that was broken, and how to see it again.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    let result = catch_unwind(AssertUnwindSafe(|| Run::new(seed).finish(seed)));
    let result = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    result.map_err(|reason| Failure { seed, reason })
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = Random::new(seed);
        let managers = [3, 3, 3, 4, 5, 5, 7][random.below(7) as usize];
        let mut simulation = Simulation::new(random.next_u64(), draw_network(&mut random));
        let drift_max = [0, 100, 10_000][random.below(3) as usize];
        for _ in 0..=managers {
            let drift = random.below(2 * drift_max + 1) as i32 - drift_max as i32;
            simulation.add_host(Clock::new(random.next_u64() >> 20, drift));
        }
        let count = managers as usize + 1;
        Run {
            skews: (0..count).map(|_| SKEW_MAX.mul_f64(random.unit())).collect(),
            runs: vec![0; count],
            leaders: BTreeMap::new(),
            terms: vec![0; count],
            heard: vec![None; count],
            stale_terms: 0,
            faults: 0,
            simulation,
            random,
            managers,
        }
    }

    fn finish(mut self, seed: u64) -> Result<Outcome, String> {
        for node in 0..=self.managers {
            self.start(node);
            let pause = Duration::from_millis(u64::from(self.random.below(200)));
            self.run_for(pause)?;
        }
        let first_election = self.await_leader("a leader after the start")?;
        self.suffer()?;
        let recovery = self.recover()?;
        let succession = self.crash_leader()?;
        for node in 0..=self.managers {
            self.note_stale(node);
        }
        Ok(Outcome {
            seed,
            managers: self.managers,
            virtual_time: self.simulation.now() - Instant::ZERO,
            terms: self.leaders.len() as u64,
            faults: self.faults,
            first_election,
            recovery,
            succession,
            stale_terms: self.stale_terms,
            trace_hash: self.simulation.trace_hash(),
        })
    }

    fn start(&mut self, node: u32) {
        let wall = WALL_START
            + (self.simulation.now() - Instant::ZERO + self.skew(node)).as_nanos() as u64;
        let role = if node == self.managers { Role::Gate } else { Role::Manager };
        let mut config =
            Config { role, generation: Generation(wall), ..default_config(self.managers) };
        config.federation.manager_count_min = self.managers;
        let seeds: Vec<u32> = (0..self.managers).filter(|&seed| seed != node).collect();
        self.note_stale(node);
        self.runs[node as usize] += 1;
        (self.terms[node as usize], self.heard[node as usize]) = (0, None);
        self.simulation.start(node, config, &seeds).expect("the settings are legal");
    }

    fn skew(&self, node: u32) -> Duration {
        self.skews[node as usize]
    }

    fn note_stale(&mut self, node: u32) {
        let stats = self.simulation.engine(node).map(|engine| engine.stats());
        self.stale_terms += stats.map_or(0, |stats| stats.value(Counter::StaleTerms));
    }

    fn run_for(&mut self, duration: Duration) -> Result<(), String> {
        let end = self.simulation.now() + duration;
        while let Some(node) = self.simulation.step(end) {
            self.check(node)?;
        }
        match self.simulation.violation() {
            Some(violation) => Err(violation.to_string()),
            None => Ok(()),
        }
    }

    /// The manager that leads by its own clock.
    fn leader(&self) -> Result<Option<(u32, u64)>, String> {
        let mut leader = None;
        for node in 0..self.managers {
            let Some(engine) = self.simulation.engine(node) else { continue };
            let view = engine.leader(self.simulation.local_time(node));
            if !view.is_own {
                continue;
            }
            if let Some((other, term)) = leader.replace((node, view.term)) {
                let text =
                    format!("nodes {other} (term {term}) and {node} (term {}) lead", view.term);
                return Err(self.broken(&text));
            }
        }
        Ok(leader)
    }

    fn check(&mut self, node: u32) -> Result<(), String> {
        if let Some((leader, term)) = self.leader()? {
            self.claim(leader, term)?;
        }
        let Some(engine) = self.simulation.engine(node) else { return Ok(()) };
        if engine.stats().value(Counter::TermConflicts) > 0 {
            return Err(self.broken(&format!("node {node} heard of two leaders in one term")));
        }
        if node < self.managers {
            let term = engine.leader(self.simulation.local_time(node)).term;
            let before = std::mem::replace(&mut self.terms[node as usize], term);
            if term < before {
                return Err(self.broken(&format!("node {node} went from term {before} to {term}")));
            }
        }
        self.check_events()
    }

    /// Somebody leads in a term: nobody else ever did.
    fn claim(&mut self, leader: u32, term: u64) -> Result<(), String> {
        let run = (leader, self.runs[leader as usize]);
        let first = *self.leaders.entry(term).or_insert(run);
        if first == run {
            return Ok(());
        }
        let text = format!("term {term} belongs to node and run {first:?}, {run:?} leads in it");
        Err(self.broken(&text))
    }

    fn check_events(&mut self) -> Result<(), String> {
        for index in 0..self.simulation.observations().len() {
            let observation = &self.simulation.observations()[index];
            let node = observation.observer as usize;
            let Event::Federation(event) = &observation.event else { continue };
            match *event {
                FederationEvent::LeaderElected { leader, term, .. } => {
                    // A node that was stopped may win by news that waited in its socket, and find its
                    // lease over when it looks at its clock. The term is its own all the same.
                    if leader == address_of(node as u32) {
                        self.claim(node as u32, term)?;
                    }
                    if let Some((known, last)) = self.heard[node]
                        && (term < last || (term == last && known != leader))
                    {
                        let text = format!(
                            "node {node} follows node {} in term {term} after node {} in {last}",
                            host_at(leader),
                            host_at(known)
                        );
                        return Err(self.broken(&text));
                    }
                    let is_real =
                        self.leaders.get(&term).is_some_and(|&(led, _)| address_of(led) == leader);
                    if !is_real {
                        let text = format!(
                            "node {node} heard that node {} leads in {term}, which it never did",
                            host_at(leader)
                        );
                        return Err(self.broken(&text));
                    }
                    self.heard[node] = Some((leader, term));
                }
                // Whoever answers next from a datacenter that was given up is believed.
                FederationEvent::LeaderLost { .. } if node as u32 == self.managers => {
                    self.heard[node] = None;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn broken(&self, rule: &str) -> String {
        format!("at {:.3} s: {rule}", self.simulation.now().as_nanos() as f64 / 1e9)
    }

    /// Waits for a leader, for as long as one may be missing.
    fn await_leader(&mut self, what: &str) -> Result<Duration, String> {
        let start = self.simulation.now();
        while self.leader()?.is_none() {
            if self.simulation.now() - start >= ELECTION_LIMIT {
                return Err(self.broken(&format!("{what} is missing after {ELECTION_LIMIT:?}")));
            }
            self.run_for(LOOK)?;
        }
        Ok(self.simulation.now() - start)
    }

    /// Makes faults and ends them again.
    fn suffer(&mut self) -> Result<(), String> {
        let mut cures: BTreeMap<Instant, Cure> = BTreeMap::new();
        let end = self.simulation.now() + self.draw_millis(20_000, 60_000);
        let mean = self.draw_millis(1_000, 8_000);
        let mut next = self.simulation.now();
        while next < end {
            while let Some((&at, &cure)) = cures.first_key_value().filter(|(at, _)| **at <= next) {
                self.run_for(at.saturating_since(self.simulation.now()))?;
                cures.remove(&at);
                self.cure(cure);
            }
            self.run_for(next.saturating_since(self.simulation.now()))?;
            let lasting = self.draw_millis(100, 25_000);
            if let Some(cure) = self.harm() {
                self.faults += 1;
                let mut at = next + lasting;
                while cures.contains_key(&at) {
                    at += Duration::from_nanos(1);
                }
                cures.insert(at, cure);
            }
            next += mean.mul_f64(2.0 * self.random.unit());
        }
        for cure in cures.into_values() {
            self.cure(cure);
        }
        Ok(())
    }

    fn cure(&mut self, cure: Cure) {
        match cure {
            Cure::Mend => self.simulation.network().mend(),
            Cure::Start(node) => self.start(node),
            Cure::Resume(node) => self.simulation.resume(node),
        }
    }

    /// Makes a fault and returns what ends it.
    fn harm(&mut self) -> Option<Cure> {
        // Leaders are the interesting victims.
        let leader = self.leader().ok().flatten().map(|(leader, _)| leader);
        let anybody = self.random.below(self.managers);
        let victim = leader.filter(|_| self.random.chance(0.5)).unwrap_or(anybody);
        match self.random.below(6) {
            0 | 1 => {
                let (one, other) = self.split();
                self.simulation.network().cut(one.clone(), other.clone());
                self.simulation.network().cut(other, one);
                Some(Cure::Mend)
            }
            2 => {
                let (one, other) = self.split();
                self.simulation.network().cut(one, other);
                Some(Cure::Mend)
            }
            3 if self.simulation.is_well(victim) => {
                self.note_stale(victim);
                self.simulation.crash(victim);
                Some(Cure::Start(victim))
            }
            4 if self.simulation.is_well(victim) => {
                self.simulation.stop(victim);
                Some(Cure::Resume(victim))
            }
            5 if self.simulation.is_well(victim) => {
                // One that says goodbye for a second time has said it already.
                self.simulation.command(victim, |engine, now| drop(engine.leave(now)));
                Some(Cure::Start(victim))
            }
            _ => None,
        }
    }

    fn split(&mut self) -> (NodeSet, NodeSet) {
        let one: NodeSet = (0..=self.managers).map(|_| self.random.chance(0.5)).collect();
        let other = one.iter().map(|is_in| !is_in).collect();
        (one, other)
    }

    fn draw_millis(&mut self, min: u32, max: u32) -> Duration {
        Duration::from_millis(u64::from(min + self.random.below(max - min)))
    }

    /// Waits until every manager and the gate follow one leader.
    fn recover(&mut self) -> Result<Duration, String> {
        self.simulation.network().mend();
        self.simulation.network().set_options(NetworkOptions::local());
        let start = self.simulation.now();
        for node in 0..=self.managers {
            let has_left = self.simulation.member(node).is_none();
            if has_left {
                self.start(node);
            }
        }
        while !self.is_agreed()? {
            if self.simulation.now() - start >= RECOVERY_LIMIT {
                let text = format!("no common leader {RECOVERY_LIMIT:?} after everything healed");
                return Err(self.broken(&text));
            }
            self.run_for(LOOK)?;
        }
        Ok(self.simulation.now() - start)
    }

    fn is_agreed(&self) -> Result<bool, String> {
        let Some((leader, term)) = self.leader()? else { return Ok(false) };
        let mut views = (0..=self.managers).filter_map(|node| {
            let engine = self.simulation.member(node)?;
            Some(engine.leader(self.simulation.local_time(node)))
        });
        Ok(views.all(|view| (view.leader, view.term) == (Some(address_of(leader)), term)))
    }

    /// The leader crashes while everything is well.
    fn crash_leader(&mut self) -> Result<Duration, String> {
        // Nobody abstains any more, so that the crash is all that stands in the way.
        self.run_for(Duration::from_secs(10))?;
        let (leader, _) =
            self.leader()?.ok_or_else(|| self.broken("the leader was lost in peace"))?;
        self.note_stale(leader);
        self.simulation.crash(leader);
        let took = self.await_leader("a successor")?;
        self.run_for(Duration::from_secs(5))?;
        Ok(took)
    }
}

fn draw_network(random: &mut Random) -> NetworkOptions {
    let micros = |micros: u32| Duration::from_micros(u64::from(micros));
    let delay = match random.below(3) {
        0 => NetworkOptions::local().delay,
        1 => Delay::Uniform { min: micros(50), max: micros(100 + random.below(50_000)) },
        _ => Delay::LongTail {
            min: micros(50 + random.below(10_000)),
            median: micros(50 + random.below(10_000)),
            spread: 1.5 * random.unit(),
        },
    };
    let mut sometimes = |max: f64| if random.chance(0.5) { max * random.unit() } else { 0.0 };
    NetworkOptions {
        delay,
        loss: sometimes(0.15),
        duplication: sometimes(0.1),
        reordering: sometimes(0.1),
        holdback: Duration::from_secs(2),
        corruption: sometimes(0.01),
        truncation: 0.0,
        replay: sometimes(0.1),
    }
}
