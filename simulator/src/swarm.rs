//! Swarm testing: a cluster in which everything is drawn from the seed, and everything is checked.
//!
//! Each run draws its size, its settings, its network and the kinds of faults it has, leaving out
//! most (Groce, Zhang, Eide, Chen and Regehr, ISSTA 2012: runs that lack features find more than
//! runs that have all). In the first phase faults happen, and the rules of
//! [`checkers`] hold at every step. Then everything heals but the nodes that are
//! gone, and the views of all nodes must come to agree with the truth within a bound and stay so.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use shoal_core::random::Random;
use shoal_core::{Config, Duration, Event, Generation, Instant, MemberEvent, MemberState, Role};

use crate::checkers::{self, Ledger, Leniency, Rule};
use crate::clock::Clock;
use crate::detection::default_config;
use crate::faults::{FaultKind, FaultRates, Faults, Memory, Order};
use crate::host::host_at;
use crate::insider::Insider;
use crate::network::{Delay, NetworkCounts, NetworkOptions};
use crate::simulation::Simulation;

/// How often it is asked whether views agree.
const CONVERGENCE_STEP: Duration = Duration::from_secs(1);
/// Once they do, nothing may happen for this long,
const REST: Duration = Duration::from_secs(20);
/// and for this many probe intervals, which bring the worst local health back to perfect.
const REST_PROBES: u32 = 60;
/// A probe that a sick node began before everything healed may take so long to end,
/// because both of its waits are stretched up to their ceiling.
const LONGEST_PROBE: Duration = Duration::from_secs(60);
/// Generations begin here, so that earlier ones exist.
const FIRST_GENERATION: u64 = 1_000;

/// Everything that a run draws.
#[derive(Clone, Debug)]
pub struct SwarmOptions {
    /// How many nodes.
    pub nodes: u32,
    /// Through how many of them all join.
    pub seeds: u32,
    /// The role of every node.
    pub roles: Vec<Role>,
    /// The clock of every node.
    pub clocks: Vec<Clock>,
    /// What every node is started with, but for its address, role and generation.
    pub config: Config,
    /// The network while it is calm.
    pub network: NetworkOptions,
    /// What else goes wrong.
    pub faults: FaultRates,
    /// How long faults happen.
    pub duration: Duration,
    /// Which rules do not hold because of them.
    pub leniency: Leniency,
}

/// Draws from ranges; a shorthand.
struct Draw<'a>(&'a mut Random);

impl Draw<'_> {
    fn between(&mut self, min: u32, max: u32) -> u32 {
        min + self.0.below(max - min + 1)
    }

    fn share(&mut self, min: f64, max: f64) -> f64 {
        min + (max - min) * self.0.unit()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.below(choices.len() as u32) as usize]
    }

    fn millis(&mut self, min: u32, max: u32) -> Duration {
        Duration::from_millis(u64::from(self.between(min, max)))
    }
}

impl SwarmOptions {
    /// What the run with this seed draws.
    pub fn draw(random: &mut Random) -> SwarmOptions {
        let mut draw = Draw(random);
        let nodes = draw.one_of(&[2, 3, 3, 4, 5, 5, 6, 8, 10, 12, 16]);
        let is_gentle = draw.0.chance(0.25);
        let one_role = draw.0.chance(0.4).then(|| draw.one_of(&Role::ALL));
        let roles = (0..nodes).map(|_| one_role.unwrap_or_else(|| draw.one_of(&Role::ALL)));
        let roles = roles.collect();
        let drift = draw.one_of(&[0, 0, 100, 1_000, 20_000]);
        let clocks = (0..nodes).map(|_| draw_clock(&mut draw, drift)).collect();
        let faults = if is_gentle { gentle_faults(&mut draw) } else { draw_faults(&mut draw) };
        let leniency = Leniency {
            forgery: faults.means.contains_key(&FaultKind::Forgery),
            false_deaths: !is_gentle,
        };
        SwarmOptions {
            nodes,
            seeds: draw.between(1, nodes.min(3)),
            roles,
            clocks,
            config: draw_config(&mut draw, nodes, is_gentle),
            network: draw_network(&mut draw, is_gentle),
            faults,
            duration: draw.millis(15_000, 60_000),
            leniency,
        }
    }
}

fn draw_clock(draw: &mut Draw, drift: u32) -> Clock {
    let drift_ppm = draw.between(0, 2 * drift) as i32 - drift as i32;
    Clock::new(draw.0.next_u64() >> draw.between(14, 40), drift_ppm)
}

fn gentle_faults(draw: &mut Draw) -> FaultRates {
    let means = [(FaultKind::Crash, draw.millis(5_000, 20_000))];
    FaultRates {
        means: means.into_iter().filter(|_| draw.0.chance(0.7)).collect(),
        duration_max: draw.millis(100, 30_000),
        restart: draw.share(0.0, 1.0),
        amnesia: false,
    }
}

fn draw_faults(draw: &mut Draw) -> FaultRates {
    let mut means = BTreeMap::new();
    for kind in FaultKind::ALL {
        let (min, max, chance) = match kind {
            FaultKind::Forgery => (20, 2_000, 0.15),
            FaultKind::Leave => (5_000, 30_000, 0.3),
            FaultKind::Crash => (2_000, 20_000, 0.5),
            FaultKind::Chatter => (50, 5_000, 0.3),
            _ => (1_000, 20_000, 0.35),
        };
        let mean = draw.millis(min, max);
        if draw.0.chance(chance) {
            means.insert(kind, mean);
        }
    }
    FaultRates {
        means,
        duration_max: draw.millis(50, 30_000),
        restart: draw.share(0.0, 1.0),
        amnesia: draw.0.chance(0.3),
    }
}

fn draw_network(draw: &mut Draw, is_gentle: bool) -> NetworkOptions {
    let micros = |micros: u32| Duration::from_micros(u64::from(micros));
    let delay = match draw.between(0, 3) {
        0 => Delay::Constant(micros(draw.between(20, 5_000))),
        1 => Delay::Uniform { min: micros(50), max: micros(draw.between(100, 20_000)) },
        2 => NetworkOptions::local().delay,
        _ => Delay::LongTail {
            min: micros(draw.between(50, 30_000)),
            median: micros(draw.between(50, 10_000)),
            spread: draw.share(0.0, 1.5),
        },
    };
    let mut sometimes = |chance: f64, max: f64| match draw.0.chance(chance) {
        true => max * draw.0.unit(),
        false => 0.0,
    };
    let scale = if is_gentle { 1.0 } else { 3.0 };
    NetworkOptions {
        delay,
        loss: sometimes(0.5, 0.10 * scale),
        duplication: sometimes(0.3, 0.10),
        reordering: sometimes(0.3, 0.03 * scale),
        holdback: Duration::from_millis(200),
        corruption: sometimes(0.2, 0.01 * scale),
        truncation: sometimes(0.2, 0.01),
        replay: sometimes(0.3, 0.05),
    }
}

fn draw_config(draw: &mut Draw, nodes: u32, is_gentle: bool) -> Config {
    let mut config = default_config(nodes);
    let millis = |draw: &mut Draw, min, max| u64::from(draw.between(min, max));
    config.sync_interval_ms = millis(draw, 1_000, 10_000);
    // The last is so long that nothing is repaired by forgetting.
    config.dead_retention_ms = draw.one_of(&[5_000, 20_000, 120_000, 3_600_000]);
    config.confirmation_timeout_ms = [(); 3].map(|()| millis(draw, 3_000, 15_000));
    config.confirmation_interval_ms = millis(draw, 300, 3_000);
    config.session_capacity = draw.one_of(&[8, 64, 4_096]);
    config.transmit_capacity = draw.one_of(&[64, 1_024]);
    config.probe_capacity = draw.one_of(&[16, 256]);
    config.member_capacity = draw.one_of(&[2 * nodes + 8, 1_000]);
    if is_gentle {
        return config;
    }
    config.probe_interval_ms = millis(draw, 100, 1_000);
    config.probe_timeout_min_ms = config.probe_interval_ms / millis(draw, 2, 8);
    config.probe_timeout_unknown_ms = config.probe_interval_ms;
    config.indirect_probe_count = draw.between(0, 4) as usize;
    config.suspicion_min_factor = draw.share(1.0, 5.0);
    config.suspicion_max_factor = draw.share(1.0, 6.0);
    config.gossip_factor = draw.between(2, 6);
    config.gossip_interval_ms = millis(draw, 20, 200);
    config.gossip_fanout = draw.between(1, 4) as usize;
    config.join_interval_ms = millis(draw, 50, 500);
    config
}

/// What a run without a broken rule has to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What decided everything.
    pub seed: u64,
    /// How many nodes.
    pub nodes: u32,
    /// How long the cluster ran on its own clock.
    pub virtual_time: Duration,
    /// Datagrams that engines have been given.
    pub datagrams: u64,
    /// From healing until all views agreed for good.
    pub recovery: Duration,
    /// How long that was allowed to take.
    pub recovery_limit: Duration,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What the network did.
    pub network: NetworkCounts,
    /// Events that began a suspicion.
    pub suspicions: u64,
    /// Events that declared a node dead.
    pub deaths: u64,
    /// Those about nodes that were well.
    pub false_deaths: u64,
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
        write!(formatter, "{reason}\nreplay with: shoal simulate --swarm --seed {seed}")
    }
}

impl std::error::Error for Failure {}

/// Takes a line about something that happened.
pub type Narrator<'a> = &'a mut dyn FnMut(&str);

/// A run under way.
struct Swarm<'a> {
    options: SwarmOptions,
    simulation: Simulation,
    ledger: Ledger,
    faults: Faults,
    generations: Vec<u64>,
    random: Random,
    /// Who is told what happens.
    narrator: Option<Narrator<'a>>,
}

impl<'a> Swarm<'a> {
    fn new(seed: u64, narrator: Option<Narrator<'a>>) -> Swarm<'a> {
        let mut random = Random::new(seed);
        let options = SwarmOptions::draw(&mut random);
        let mut simulation = Simulation::new(random.next_u64(), options.network.clone());
        for &clock in &options.clocks {
            simulation.add_host(clock);
        }
        let insider = Insider::new(&options.config.secrets, random.fork());
        let faults = Faults::new(
            options.faults.clone(),
            insider,
            options.network.clone(),
            options.seeds,
            random.fork(),
        );
        Swarm {
            simulation,
            ledger: Ledger::new(options.nodes, options.leniency),
            faults,
            generations: vec![FIRST_GENERATION; options.nodes as usize],
            options,
            random,
            narrator,
        }
    }

    fn tell(&mut self, line: impl FnOnce(&Swarm) -> String) {
        if let Some(narrator) = self.narrator.take() {
            let seconds = self.simulation.now().as_nanos() as f64 / 1e9;
            narrator(&format!("{seconds:11.6} {}", line(self)));
            self.narrator = Some(narrator);
        }
    }

    /// Tells what a node has just told its host.
    fn tell_events(&mut self) {
        if self.narrator.is_none() {
            return;
        }
        for index in 0..self.simulation.observations().len() {
            self.tell(|swarm| {
                let observation = &swarm.simulation.observations()[index];
                format!("node {} {}", observation.observer, event_text(&observation.event))
            });
        }
    }

    fn start(&mut self, node: u32) -> Result<(), String> {
        let generation = Generation(self.generations[node as usize]);
        let role = self.options.roles[node as usize];
        let config = Config { generation, role, ..self.options.config.clone() };
        let seeds: Vec<u32> = (0..self.options.seeds).collect();
        self.ledger.note_start(node);
        let started = self.simulation.start(node, config, &seeds);
        started.map_err(|error| format!("a drawn configuration is refused: {error}"))?;
        self.check(node)
    }

    fn check(&mut self, node: u32) -> Result<(), String> {
        self.tell_events();
        let checked = self.ledger.check_step(&mut self.simulation, node);
        let now = self.simulation.now();
        checked.map_err(|rule| checkers::Violation { at: now, node, rule }.to_string())
    }

    fn run_until(&mut self, end: Instant) -> Result<(), String> {
        while let Some(node) = self.simulation.step(end) {
            self.check(node)?;
        }
        match self.simulation.violation() {
            Some(violation) => Err(violation.to_string()),
            None => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<(), String> {
        self.tell(|swarm| format!("{:?}", swarm.options));
        for node in 0..self.options.nodes {
            self.start(node)?;
            let pause = Duration::from_millis(u64::from(self.random.below(300)));
            self.run_until(self.simulation.now() + pause)?;
        }
        Ok(())
    }

    fn suffer(&mut self) -> Result<(), String> {
        let end = self.simulation.now() + self.options.duration;
        while let Some(at) = self.faults.next_at().filter(|&at| at < end) {
            self.run_until(at.max(self.simulation.now()))?;
            self.tell(|swarm| swarm.faults.next_text());
            let order = self.faults.act(&mut self.simulation);
            self.ledger.note_command(&self.simulation);
            if let Some(Order::Restart(node, memory)) = order {
                self.restart(node, memory)?;
            }
            self.audit()?;
        }
        self.run_until(end)
    }

    fn restart(&mut self, node: u32, memory: Memory) -> Result<(), String> {
        let generation = &mut self.generations[node as usize];
        *generation = match memory {
            Memory::Later => *generation + u64::from(1 + self.random.below(5)),
            Memory::Same => *generation,
            Memory::Earlier => *generation - u64::from(1 + self.random.below(5)),
        };
        self.start(node)
    }

    /// Ends the faults. Seeds come back, so that there is a cluster to be part of.
    fn heal(&mut self) -> Result<(), String> {
        self.tell(|_| "everything heals".to_owned());
        self.faults.heal(&mut self.simulation);
        self.ledger.note_command(&self.simulation);
        for node in 0..self.options.nodes {
            let own = self
                .simulation
                .member(node)
                .and_then(|engine| engine.members(Instant::ZERO).next());
            let is_here = own.is_some_and(|own| own.state == MemberState::Alive);
            if !is_here && node < self.options.seeds {
                self.restart(node, Memory::Later)?;
            }
        }
        Ok(())
    }

    /// Waits until views agree, and then until nothing happens any more.
    fn recover(&mut self) -> Result<(Duration, Duration), String> {
        let limit = {
            let SwarmOptions { config, nodes, leniency, .. } = &self.options;
            checkers::recovery_limit(config, *nodes, *leniency)
        };
        let start = self.simulation.now();
        loop {
            let changes = self.ledger.suspicions() + self.ledger.deaths();
            let agreed = self.agreed(start + limit)?;
            let rest = self.options.config.probe_interval() * REST_PROBES;
            self.run_until(agreed + rest.max(REST))?;
            let is_changed = self.ledger.suspicions() + self.ledger.deaths() > changes;
            if !is_changed && checkers::converged(&self.simulation, self.options.leniency).is_ok() {
                self.calm_down()?;
                return Ok((agreed - start, limit));
            }
            if agreed > start + limit {
                return Err("long after healing somebody is still suspected".to_owned());
            }
        }
    }

    /// Compares all records with what was told of them.
    fn audit(&self) -> Result<(), String> {
        let audited = self.ledger.audit(&self.simulation);
        let seconds = self.simulation.now().as_nanos() as f64 / 1e9;
        audited.map_err(|Rule { name, detail }| format!("at {seconds:.6} s: {name}: {detail}"))
    }

    /// Waits until views agree and says when they did.
    fn agreed(&mut self, deadline: Instant) -> Result<Instant, String> {
        while let Err(rule) = checkers::converged(&self.simulation, self.options.leniency) {
            if self.simulation.now() > deadline {
                return Err(format!("long after healing: {}: {}", rule.name, rule.detail));
            }
            self.run_until(self.simulation.now() + CONVERGENCE_STEP)?;
            self.audit()?;
        }
        Ok(self.simulation.now())
    }

    /// Waits until every node trusts itself again.
    fn calm_down(&mut self) -> Result<(), String> {
        let deadline = self.simulation.now() + LONGEST_PROBE;
        while let Err(reason) = (0..self.options.nodes).try_for_each(|node| self.check_rest(node)) {
            if self.simulation.now() > deadline {
                return Err(reason);
            }
            self.run_until(self.simulation.now() + CONVERGENCE_STEP)?;
        }
        Ok(())
    }

    /// A node at rest is well.
    fn check_rest(&self, node: u32) -> Result<(), String> {
        let Some(engine) = self.simulation.member(node) else { return Ok(()) };
        let mut members = engine.members(self.simulation.local_time(node)).skip(1);
        let has_peers = members.any(|member| member.state.is_active());
        match engine.health_score() {
            score if score > 0 && has_peers => {
                Err(format!("node {node} still has a score of {score}"))
            }
            _ => Ok(()),
        }
    }

    fn run(mut self, seed: u64) -> Result<Outcome, String> {
        self.begin()?;
        self.suffer()?;
        self.heal()?;
        let (recovery, recovery_limit) = self.recover()?;
        Ok(Outcome {
            seed,
            nodes: self.options.nodes,
            virtual_time: self.simulation.now() - Instant::ZERO,
            datagrams: self.simulation.delivered(),
            recovery,
            recovery_limit,
            faults: self.faults.counts().clone(),
            network: *self.simulation.network().counts(),
            suspicions: self.ledger.suspicions(),
            deaths: self.ledger.deaths(),
            false_deaths: self.ledger.false_deaths(),
            trace_hash: self.simulation.trace_hash(),
        })
    }
}

fn event_text(event: &Event) -> String {
    match event {
        Event::Member(member) => {
            let MemberEvent { address, state, generation, incarnation, .. } = member;
            let who = host_at(*address);
            format!("sees {who} {state}, generation {} incarnation {}", generation.0, incarnation.0)
        }
        Event::State { address, state, .. } => {
            format!("holds {} bytes of state of {}", state.len(), host_at(*address))
        }
        Event::Broadcast { source, payload, .. } => {
            format!("hears {} bytes from {}", payload.len(), host_at(*source))
        }
        event => format!("{event:?}"),
    }
}

/// Runs the simulation that this seed decides.
///
/// # Errors
/// What went wrong and the command that shows it again. A panic of an engine is one, too.
pub fn run(seed: u64) -> Result<Outcome, Failure> {
    run_guarded(seed, None)
}

/// The same, with a line for every fault and every event, to see how it came to a failure.
///
/// # Errors
/// As [`run`].
pub fn replay(seed: u64, narrator: Narrator) -> Result<Outcome, Failure> {
    run_guarded(seed, Some(narrator))
}

fn run_guarded(seed: u64, narrator: Option<Narrator>) -> Result<Outcome, Failure> {
    let outcome = catch_unwind(AssertUnwindSafe(|| Swarm::new(seed, narrator).run(seed)));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("an engine panicked: {}", text.unwrap_or("without a message")))
    });
    outcome.map_err(|reason| Failure { seed, reason })
}
