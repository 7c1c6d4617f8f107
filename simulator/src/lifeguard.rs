//! The Lifeguard experiment: what slow agents do to failure detection, and what each mechanism is
//! worth.
//!
//! Dadgar, Phillips and Currey, "Lifeguard: SWIM-ing with Situational Awareness", section V. 128
//! agents rest for 15 s; then C of them become anomalous together: they block immediately before
//! sending and after receiving any message, while their timers run. In the *threshold* experiment
//! they do so once, for D, and the run lasts until everybody sees everybody healthy again, or 120
//! s. In the *interval* experiment they are blocked for D and free for I in turn, until 120 s have
//! passed.
//!
//! A blocked agent is what memberlist's is: the thread that probes, the one that gossips and the one that
//! compares tables each get stuck in their next send, and what they wanted to say waits as it was
//! written; see [`Engine::hold`](shoal_core::Engine::hold).
//!
//! A false positive (FP) is a failure event about an agent that is not anomalous; FP- is one that
//! was also raised by an agent that is not. Detection is timed from the start of the anomaly to the
//! first failure event of another agent, and to the last one of all healthy agents.
//!
//! Plain SWIM and the mechanisms of the paper run with its settings (memberlist's for local
//! networks, alpha 5 and beta 6). Shoal runs with its own, slowed down as a whole until it probes as
//! often as SWIM, so that messages compare.

mod tables;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use shoal_core::config::Mechanisms;
use shoal_core::random::Random;
use shoal_core::{Config, Counter, Duration, Event, Instant, MemberState, Role};

use crate::clock::Clock;
use crate::detection::default_config;
use crate::host::host_at;
use crate::mesh::Mesh;
use crate::network::NetworkOptions;
use crate::simulation::Simulation;

pub use tables::{Accuracy, Latency, LifeguardReport, Load};

/// Agents in the experiment.
const NODES: u32 = 128;
/// How long they rest before the anomaly.
const REST: Duration = Duration::from_secs(15);
/// How long a run lasts after the anomaly began, at most or at least.
const LENGTH: Duration = Duration::from_secs(120);
/// How often it is asked whether everybody is healthy again.
const STEP: Duration = Duration::from_millis(100);
/// Memberlist's probe interval, which all configurations share.
const PROBE_INTERVAL_MS: u64 = 1_000;

/// C: how many agents are anomalous.
pub const ANOMALOUS_COUNTS: [u32; 9] = [1, 4, 8, 12, 16, 20, 24, 28, 32];
/// D: how long they block, in ms.
pub const DURATIONS_MS: [u64; 6] = [128, 512, 2_048, 8_192, 16_384, 32_768];
/// I: how long they are free in between, in ms.
pub const INTERVALS_MS: [u64; 8] = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384];

/// What to run. Start from [`LifeguardOptions::full`] or [`LifeguardOptions::sample`].
#[derive(Clone, Debug)]
pub struct LifeguardOptions {
    /// What decides everything.
    pub seed: u64,
    /// How often every combination is run; the paper: 10.
    pub repetitions: u32,
    /// Which numbers of anomalous agents.
    pub counts: Vec<u32>,
    /// Which durations of an anomaly, in ms.
    pub durations_ms: Vec<u64>,
    /// Which times between two anomalies, in ms.
    pub intervals_ms: Vec<u64>,
    /// The columns; percentages are of the first.
    pub configurations: Vec<Configuration>,
    /// How many runs at a time. Results do not depend on it.
    pub threads: usize,
}

impl LifeguardOptions {
    /// The paper's whole grid, `repetitions` times.
    pub fn full(seed: u64, repetitions: u32) -> LifeguardOptions {
        LifeguardOptions {
            seed,
            repetitions,
            counts: ANOMALOUS_COUNTS.to_vec(),
            durations_ms: DURATIONS_MS.to_vec(),
            intervals_ms: INTERVALS_MS.to_vec(),
            configurations: configurations(),
            threads: thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// A fourteenth of the grid, once.
    pub fn sample(seed: u64) -> LifeguardOptions {
        LifeguardOptions {
            counts: vec![4, 16, 32],
            durations_ms: vec![2_048, 16_384, 32_768],
            intervals_ms: vec![4, 256, 4_096],
            ..LifeguardOptions::full(seed, 1)
        }
    }
}

/// One column of the experiment: a name and how its agents are configured.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// As the tables have it.
    pub name: &'static str,
    /// What every agent is started with.
    pub config: Config,
}

/// Plain SWIM, each mechanism of Lifeguard alone, all of them, and Shoal as it is.
pub fn configurations() -> Vec<Configuration> {
    let none = Mechanisms::NONE;
    let lifeguard =
        Mechanisms { local_health: true, confirmed_suspicion: true, buddy: true, ..none };
    let paper = |name, mechanisms| Configuration { name, config: paper_config(mechanisms) };
    vec![
        paper("SWIM", none),
        paper("LHA-Probe", Mechanisms { local_health: true, ..none }),
        paper("LHA-Suspicion", Mechanisms { confirmed_suspicion: true, ..none }),
        paper("Buddy System", Mechanisms { buddy: true, ..none }),
        paper("Lifeguard", lifeguard),
        Configuration { name: "Shoal", config: shoal_config() },
    ]
}

/// Memberlist's settings for local networks, with the paper's alpha and beta.
fn paper_config(mechanisms: Mechanisms) -> Config {
    let mut config = shoal_config();
    config.mechanisms = mechanisms;
    config.probe_timeout_min_ms = 500;
    config.probe_timeout_unknown_ms = 500;
    config.indirect_probe_count = 3;
    config.suspicion_min_factor = 5.0;
    config.suspicion_max_factor = 6.0;
    config.gossip_factor = 4;
    config.gossip_interval_ms = 200;
    config.gossip_fanout = 3;
    config.sync_interval_ms = 30_000;
    config
}

/// Shoal's defaults, slowed down as a whole until it probes as often as plain SWIM. Agents are workers,
/// because managers would hold elections, which are no part of the experiment.
fn shoal_config() -> Config {
    let mut config = default_config(NODES);
    config.role = Role::Worker;
    let slowed = |ms: u64| ms * PROBE_INTERVAL_MS / config.probe_interval_ms;
    config.probe_timeout_min_ms = slowed(config.probe_timeout_min_ms);
    config.probe_timeout_unknown_ms = slowed(config.probe_timeout_unknown_ms);
    config.gossip_interval_ms = slowed(config.gossip_interval_ms);
    config.sync_interval_ms = slowed(config.sync_interval_ms);
    config.probe_interval_ms = PROBE_INTERVAL_MS;
    config
}

/// One cell of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    configuration: usize,
    count: u32,
    duration: Duration,
    /// Time between two anomalies; a single one without.
    interval: Option<Duration>,
    seed: u64,
}

/// What one run showed.
#[derive(Clone, Debug, Default)]
struct Outcome {
    false_positives: u64,
    healthy_false_positives: u64,
    first: Vec<Duration>,
    full: Vec<Duration>,
    messages: u64,
    bytes: u64,
}

/// A run under way.
struct Run {
    simulation: Simulation,
    /// Who holds whom for alive.
    mesh: Mesh,
    is_anomalous: Vec<bool>,
    /// When the anomaly began.
    start: Instant,
    /// When each agent declared each anomalous one failed, in rows of subjects.
    declared: Vec<Option<Instant>>,
    outcome: Outcome,
}

impl Run {
    /// Agents that have formed a cluster and rested.
    fn new(trial: &Trial, config: &Config) -> Run {
        let mut random = Random::new(trial.seed);
        let mut run = Run {
            simulation: Simulation::new(random.next_u64(), NetworkOptions::local()),
            mesh: Mesh::new(NODES),
            is_anomalous: vec![false; NODES as usize],
            start: Instant::MAX,
            declared: vec![None; (NODES * NODES) as usize],
            outcome: Outcome::default(),
        };
        for node in 0..NODES {
            run.simulation.add_host(Clock::TRUE);
            run.simulation.start(node, config.clone(), &[0, 1, 2]).expect("the settings are legal");
            run.advance(Duration::from_millis(5));
        }
        run.advance(REST);
        assert!(run.mesh.is_whole(), "{NODES} agents know each other after {REST:?}");
        let mut nodes: Vec<u32> = (0..NODES).collect();
        random.shuffle(&mut nodes);
        for &node in &nodes[..trial.count as usize] {
            run.is_anomalous[node as usize] = true;
        }
        run.start = run.simulation.now();
        let (messages, bytes) = run.traffic();
        (run.outcome.messages, run.outcome.bytes) = (messages, bytes);
        run
    }

    fn advance(&mut self, duration: Duration) {
        let end = self.simulation.now() + duration;
        while self.simulation.step(end).is_some() {
            for observation in self.simulation.observations() {
                let Event::Member(event) = &observation.event else { continue };
                let (observer, subject) = (observation.observer, host_at(event.address));
                self.mesh.note(observer, subject, event.state == MemberState::Alive);
                if event.state != MemberState::Dead || self.start == Instant::MAX {
                    continue;
                }
                if self.is_anomalous[subject as usize] {
                    let place = (subject * NODES + observer) as usize;
                    self.declared[place].get_or_insert(observation.at);
                } else {
                    self.outcome.false_positives += 1;
                    let is_healthy = !self.is_anomalous[observer as usize];
                    self.outcome.healthy_false_positives += u64::from(is_healthy);
                }
            }
        }
        assert_eq!(self.simulation.violation(), None);
    }

    /// Lets all anomalous agents block for a while.
    fn suffer(&mut self, duration: Duration) {
        let anomalous = |run: &Run| -> Vec<u32> {
            (0..NODES).filter(|&node| run.is_anomalous[node as usize]).collect()
        };
        for node in anomalous(self) {
            self.simulation.block(node);
        }
        self.advance(duration);
        for node in anomalous(self) {
            self.simulation.unblock(node);
        }
    }

    fn elapsed(&self) -> Duration {
        self.simulation.now() - self.start
    }

    /// Messages and bytes that all agents have sent.
    fn traffic(&self) -> (u64, u64) {
        let sum = |counter| {
            let engines = (0..NODES).filter_map(|node| self.simulation.engine(node));
            engines.map(|engine| engine.stats().value(counter)).sum()
        };
        (sum(Counter::DatagramsSent), sum(Counter::BytesSent))
    }

    fn finish(mut self) -> Outcome {
        let (messages, bytes) = self.traffic();
        self.outcome.messages = messages - self.outcome.messages;
        self.outcome.bytes = bytes - self.outcome.bytes;
        for subject in (0..NODES).filter(|&node| self.is_anomalous[node as usize]) {
            let row = &self.declared[(subject * NODES) as usize..][..NODES as usize];
            let first = row.iter().flatten().min();
            self.outcome.first.extend(first.map(|&at| at - self.start));
            let healthy = (0..NODES).filter(|&node| !self.is_anomalous[node as usize]);
            let last = healthy
                .map(|node| row[node as usize])
                .try_fold(Instant::ZERO, |last, declared| declared.map(|at| last.max(at)));
            self.outcome.full.extend(last.map(|at| at - self.start));
        }
        self.outcome
    }
}

fn run_trial(trial: &Trial, config: &Config) -> Outcome {
    let mut run = Run::new(trial, config);
    match trial.interval {
        None => {
            run.suffer(trial.duration);
            while !run.mesh.is_whole() && run.elapsed() < LENGTH {
                run.advance(STEP);
            }
        }
        Some(interval) => {
            run.suffer(trial.duration);
            while run.elapsed() < LENGTH {
                run.advance(interval);
                run.suffer(trial.duration);
            }
        }
    }
    run.finish()
}

/// Every cell of the grid for every configuration, the same seeds for each.
fn plan(options: &LifeguardOptions) -> Vec<Trial> {
    let mut random = Random::new(options.seed);
    let mut trials = Vec::new();
    let no_interval = std::iter::once(None);
    let intervals = options.intervals_ms.iter().map(|&ms| Some(Duration::from_millis(ms)));
    for interval in no_interval.chain(intervals) {
        for &duration_ms in &options.durations_ms {
            for &count in &options.counts {
                for _ in 0..options.repetitions {
                    let seed = random.next_u64();
                    let duration = Duration::from_millis(duration_ms);
                    trials.extend((0..options.configurations.len()).map(|configuration| Trial {
                        configuration,
                        count,
                        duration,
                        interval,
                        seed,
                    }));
                }
            }
        }
    }
    trials
}

/// Runs the experiment. It takes about a quarter of a second of one core for each cell of the grid,
/// repetition and configuration. `progress` is told how many of all runs are done, from any thread.
///
/// # Panics
/// When an engine breaks a rule, or a cluster does not form.
pub fn run(options: &LifeguardOptions, progress: impl Fn(usize, usize) + Sync) -> LifeguardReport {
    let trials = plan(options);
    let next = AtomicUsize::new(0);
    let done_count = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
            let config = &options.configurations[trial.configuration].config;
            done.push((trial, run_trial(trial, config)));
            progress(done_count.fetch_add(1, Ordering::Relaxed) + 1, trials.len());
        }
        done
    };
    let results: Vec<(&Trial, Outcome)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads.max(1)).map(|_| scope.spawn(work)).collect();
        let join = |thread: thread::ScopedJoinHandle<_>| thread.join().expect("no run panics");
        threads.into_iter().flat_map(join).collect()
    });
    tables::report(options, &results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(configuration: usize, duration_ms: u64, interval_ms: Option<u64>) -> Outcome {
        let trial = Trial {
            configuration,
            count: 16,
            duration: Duration::from_millis(duration_ms),
            interval: interval_ms.map(Duration::from_millis),
            seed: 7,
        };
        run_trial(&trial, &configurations()[configuration].config)
    }

    #[test]
    fn plain_swim_detects_a_long_anomaly_after_its_suspicion_time() {
        let swim = outcome(0, 32_768, None);
        assert_eq!((swim.first.len(), swim.full.len()), (16, 16));
        // One to two periods to notice, 5 x log10(128) = 10.5 periods of suspicion.
        let fastest = swim.first.iter().min().unwrap().as_secs_f64();
        let slowest = swim.first.iter().max().unwrap().as_secs_f64();
        assert!(fastest > 10.5 && slowest < 20.0, "{fastest} to {slowest}");
    }

    #[test]
    fn a_short_anomaly_passes_unnoticed() {
        let swim = outcome(0, 128, None);
        assert_eq!((swim.first.len(), swim.false_positives), (0, 0));
    }

    #[test]
    fn the_plan_has_every_cell_once_for_every_configuration() {
        let plan = plan(&LifeguardOptions::full(1, 2));
        assert_eq!(plan.len(), 9 * 6 * (8 + 1) * 2 * 6);
        assert!(plan.chunks(6).all(|cells| cells.iter().all(|cell| cell.seed == cells[0].seed)));
    }
}
