//! The chaos experiment: what stops, loss and kills do to failure detection.
//!
//! A cluster lives through one [`schedule`]: nodes are stopped for 0.2 to 4 s as by SIGSTOP, two are
//! killed, and up to a quarter of all datagrams is lost. The `measure chaos` of the benchmarks does
//! the same to processes. Counted are declarations of a death: those about nodes that ran at that moment
//! are *false*, and those of them about nodes that had not been stopped in the last ten seconds are
//! *false of settled*.

use std::fmt;

use serde::Serialize;
use shoal_core::random::Random;
use shoal_core::{Config, ConfigError, Counter, Duration, Event, Instant, MemberState, Role};

use crate::clock::Clock;
use crate::detection::default_config;
use crate::host::{address_of, host_at};
use crate::network::NetworkOptions;
use crate::report::{Percentiles, hash_text};
use crate::schedule::{self, Action, Condition, Step, condition};
use crate::simulation::Simulation;

/// How long a cluster has to form before the schedule begins.
const REST: Duration = Duration::from_secs(5);
/// After the schedule, for what is still under way.
const QUIET: Duration = Duration::from_secs(15);

/// What to run. Start from [`ChaosOptions::new`] and change fields.
#[derive(Clone, Debug)]
pub struct ChaosOptions {
    /// How many nodes; 6 to 200.
    pub nodes: u32,
    /// How long a schedule lasts, in virtual seconds.
    pub seconds: u64,
    /// The seed of the first run; the others have the ones that follow.
    pub seed: u64,
    /// How many schedules are lived through.
    pub repetitions: u32,
    /// What every node is started with, but for its address.
    pub config: Config,
}

impl ChaosOptions {
    /// 16 nodes for 90 s, as the report of the benchmarks has it.
    pub fn new(seed: u64, repetitions: u32) -> ChaosOptions {
        let nodes = 16;
        // Managers would hold elections besides.
        let config = Config { role: Role::Worker, ..default_config(nodes) };
        ChaosOptions { nodes, seconds: 90, seed, repetitions, config }
    }
}

/// A death that was declared of a node that ran.
#[derive(Clone, Debug, Serialize)]
pub struct FalseDeath {
    /// The seed of the run.
    pub seed: u64,
    /// Since the start of the schedule, in ms.
    pub at_ms: f64,
    /// Which node declared it.
    pub observer: usize,
    /// Of which node.
    pub subject: usize,
    /// For how long the subject had been stopped the last time, in ms; `null` when it never was.
    pub stopped_ms: Option<f64>,
    /// How long ago that ended, in ms.
    pub resumed_ms: Option<f64>,
    /// How long ago a stop of the observer ended, in ms; `null` when it never was stopped.
    pub observer_resumed_ms: Option<f64>,
    /// Whether the observer's own patience ended; otherwise it took another's word.
    pub is_own_verdict: bool,
}

/// What the runs showed.
#[derive(Clone, Debug, Serialize)]
pub struct ChaosReport {
    /// Nodes of each run.
    pub nodes: u32,
    /// The seed of the first run.
    pub seed: u64,
    /// How many runs.
    pub runs: u32,
    /// How long each schedule lasted, in virtual seconds.
    pub virtual_seconds: u64,
    /// How often a node was stopped.
    pub stops: u64,
    /// Deaths declared of nodes that were stopped.
    pub deaths_of_stopped: u64,
    /// Deaths declared of nodes that ran.
    pub false_deaths: u64,
    /// Those of them of nodes that had not been stopped in the last ten seconds.
    pub false_of_settled: u64,
    /// From a kill until the first node declared it.
    pub detect_first_ms: Percentiles,
    /// From a kill until the last node did.
    pub detect_all_ms: Percentiles,
    /// How often a node that ran did not declare a kill.
    pub missed: u64,
    /// Datagrams that nodes sent.
    pub datagrams: u64,
    /// Every false death.
    pub details: Vec<FalseDeath>,
    /// A digest of all that was sent and told; equal for equal runs.
    pub trace_hash: String,
}

impl fmt::Display for ChaosReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChaosReport { nodes, runs, seed, virtual_seconds, stops, .. } = self;
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0} ms"));
        writeln!(
            formatter,
            "{runs} runs of {nodes} nodes for {virtual_seconds} s from seed {seed}: {stops} stops, {} \
             datagrams, trace {}",
            self.datagrams, self.trace_hash
        )?;
        for (name, figures) in [("first", self.detect_first_ms), ("all", self.detect_all_ms)] {
            let (p50, p99) = (shown(figures.p50), shown(figures.p99));
            writeln!(
                formatter,
                "kill known to {name}: {p50} at the median, {p99} at the 99th percentile"
            )?;
        }
        writeln!(
            formatter,
            "declared dead: {} that were stopped, {} that ran, {} of these long since; {} kills missed",
            self.deaths_of_stopped, self.false_deaths, self.false_of_settled, self.missed
        )?;
        for death in &self.details {
            writeln!(formatter, "{death}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FalseDeath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FalseDeath { seed, at_ms, observer, subject, is_own_verdict, .. } = self;
        let verdict = if *is_own_verdict { "own verdict" } else { "hearsay" };
        let shown = |value: Option<f64>| value.map_or("never".to_owned(), |ms| format!("{ms:.0}"));
        write!(
            formatter,
            "seed {seed}, {at_ms:.0} ms: {observer} of {subject} by {verdict}; stopped for {} ms, resumed \
             {} ms ago, observer {} ms ago",
            shown(self.stopped_ms),
            shown(self.resumed_ms),
            shown(self.observer_resumed_ms)
        )
    }
}

/// The last stop of a node before a moment of the schedule that has ended by then: when it began and ended.
fn last_stop(steps: &[Step], node: usize, at: Duration) -> Option<(Duration, Duration)> {
    let past = steps.iter().take_while(|step| step.at <= at);
    let (mut began, mut last) = (Duration::ZERO, None);
    for step in past {
        match step.action {
            Action::Stop(stopped) if stopped == node => began = step.at,
            Action::Continue(resumed) if resumed == node => last = Some((began, step.at)),
            _ => {}
        }
    }
    last
}

/// One schedule under way.
struct Run {
    seed: u64,
    simulation: Simulation,
    steps: Vec<Step>,
    start: Instant,
    /// How many suspicions each node has let expire.
    expired: Vec<u64>,
    /// Who declared what dead and when, the oldest first, and whether it was its own verdict.
    deaths: Vec<Death>,
}

/// A declaration.
#[derive(Clone, Copy, Debug)]
struct Death {
    at: Duration,
    observer: usize,
    subject: usize,
    is_own_verdict: bool,
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Run {
    /// Lives through the schedule of a seed.
    fn new(options: &ChaosOptions, seed: u64) -> Run {
        let mut random = Random::new(seed);
        let mut run = Run {
            seed,
            simulation: Simulation::new(random.next_u64(), NetworkOptions::local()),
            steps: schedule::draw(options.nodes as usize, options.seconds as f64, seed),
            start: Instant::ZERO + REST,
            expired: vec![0; options.nodes as usize],
            deaths: Vec::new(),
        };
        for node in 0..options.nodes {
            run.simulation.add_host(Clock::TRUE);
            let started = run.simulation.start(node, options.config.clone(), &[0, 1, 2]);
            started.expect("the configuration passed its check");
        }
        for step in run.steps.clone() {
            run.advance(run.start + step.at);
            run.act(step.action);
        }
        run.advance(run.simulation.now() + QUIET);
        run
    }

    fn advance(&mut self, end: Instant) {
        while let Some(node) = self.simulation.step(end) {
            let engine = self.simulation.engine(node).expect("it has just acted");
            let expired = engine.stats().value(Counter::SuspicionsExpired);
            let is_own_verdict = expired > self.expired[node as usize];
            self.expired[node as usize] = expired;
            for observation in self.simulation.observations() {
                let Event::Member(event) = &observation.event else { continue };
                if event.state == MemberState::Dead {
                    self.deaths.push(Death {
                        at: observation.at - self.start,
                        observer: node as usize,
                        subject: host_at(event.address) as usize,
                        is_own_verdict,
                    });
                }
            }
        }
        assert_eq!(self.simulation.violation(), None);
    }

    fn act(&mut self, action: Action) {
        let network = self.simulation.network();
        match action {
            Action::Stop(node) => self.simulation.stop(node as u32),
            Action::Continue(node) => self.simulation.resume(node as u32),
            Action::Kill(node) => self.simulation.crash(node as u32),
            Action::Lose(loss) => {
                network.set_options(NetworkOptions { loss, ..NetworkOptions::local() });
            }
        }
    }

    fn false_death(&self, death: &Death) -> FalseDeath {
        let Death { at, observer, subject, is_own_verdict } = *death;
        let stop = last_stop(&self.steps, subject, at);
        let own_stop = last_stop(&self.steps, observer, at);
        FalseDeath {
            seed: self.seed,
            at_ms: ms(at),
            observer,
            subject,
            stopped_ms: stop.map(|(began, ended)| ms(ended - began)),
            resumed_ms: stop.map(|(_, ended)| ms(at - ended)),
            observer_resumed_ms: own_stop.map(|(_, ended)| ms(at - ended)),
            is_own_verdict,
        }
    }

    /// After a kill, when each node that lives to the end declared it.
    fn detection(&self, nodes: usize, victim: usize, killed_at: Duration) -> Vec<Option<Duration>> {
        let lives =
            |&node: &usize| condition(&self.steps, node, Duration::MAX) != Condition::Killed;
        let declared = |observer: usize| {
            let mut deaths = self.deaths.iter();
            let is_it =
                |d: &&Death| d.observer == observer && d.subject == victim && d.at >= killed_at;
            deaths.find(is_it).map(|death| death.at - killed_at)
        };
        (0..nodes).filter(lives).map(declared).collect()
    }
}

/// What all runs showed together.
#[derive(Default)]
struct Tally {
    stops: u64,
    deaths_of_stopped: u64,
    false_of_settled: u64,
    details: Vec<FalseDeath>,
    first: Vec<Duration>,
    all: Vec<Duration>,
    missed: u64,
    datagrams: u64,
    trace: u64,
}

impl Tally {
    fn add(&mut self, nodes: usize, run: &Run) {
        for death in &run.deaths {
            let condition = condition(&run.steps, death.subject, death.at);
            match condition {
                Condition::Killed => {}
                Condition::Stopped => self.deaths_of_stopped += 1,
                Condition::Resumed | Condition::Settled => {
                    self.false_of_settled += u64::from(condition == Condition::Settled);
                    self.details.push(run.false_death(death));
                }
            }
        }
        for step in &run.steps {
            match step.action {
                Action::Stop(_) => self.stops += 1,
                Action::Kill(victim) => {
                    let times = run.detection(nodes, victim, step.at);
                    self.missed += times.iter().filter(|time| time.is_none()).count() as u64;
                    self.first.extend(times.iter().flatten().min());
                    self.all.extend(times.iter().flatten().max());
                }
                Action::Continue(_) | Action::Lose(_) => {}
            }
        }
        self.datagrams += run.simulation.sent();
        self.trace = self.trace.rotate_left(1) ^ run.simulation.trace_hash();
    }
}

/// Runs the experiment.
///
/// # Errors
/// When engines cannot run with the configuration.
///
/// # Panics
/// When an engine breaks a rule, or there are fewer than six nodes.
pub fn run(options: &ChaosOptions) -> Result<ChaosReport, ConfigError> {
    Config { advertise: address_of(0), ..options.config.clone() }.check()?;
    let mut tally = Tally::default();
    for repetition in 0..options.repetitions {
        let run = Run::new(options, options.seed + u64::from(repetition));
        tally.add(options.nodes as usize, &run);
    }
    Ok(ChaosReport {
        nodes: options.nodes,
        seed: options.seed,
        runs: options.repetitions,
        virtual_seconds: options.seconds,
        stops: tally.stops,
        deaths_of_stopped: tally.deaths_of_stopped,
        false_deaths: tally.details.len() as u64,
        false_of_settled: tally.false_of_settled,
        detect_first_ms: Percentiles::of_durations(&tally.first),
        detect_all_ms: Percentiles::of_durations(&tally.all),
        missed: tally.missed,
        datagrams: tally.datagrams,
        details: tally.details,
        trace_hash: hash_text(tally.trace),
    })
}
