//! A cluster that forms, loses some of its nodes, and is timed: `shoal simulate` without more.
//!
//! Nodes join through three seeds within the first second. When every node has confirmed every
//! other, `crashes` of them crash at random times, none of them a seed as long as there are others,
//! and it is noted who declares what dead, and when. Where nobody knows everybody, because tables are
//! smaller than the cluster, those crash whom many know.

use shoal_core::random::Random;
use shoal_core::{
    Config, ConfigError, Duration, Event, Generation, Instant, MemberState, Role, Secret,
};

use crate::clock::Clock;
use crate::host::{address_of, host_at};
use crate::mesh::Mesh;
use crate::network::{Delay, NetworkOptions};
use crate::report::{Percentiles, Report, hash_text};
use crate::simulation::Simulation;

/// Nodes through which all others join.
const SEED_COUNT: u32 = 3;
/// Nodes start within this much time.
const START_SPREAD: Duration = Duration::from_secs(1);
/// A crash leaves at least this much time for its detection.
const DETECTION_ROOM: Duration = Duration::from_secs(20);
/// Nodes up to which everybody knows everybody: about a kilobyte for each pair.
pub const MESH_NODES_MAX: u32 = 2_048;
/// Members that a node of a larger cluster knows, itself included,
const VIEW_CAPACITY: u32 = 512;
/// and of how many it keeps the keys.
const VIEW_SESSIONS: u32 = 128;
/// How often it is asked whether the cluster has formed.
const FORMATION_STEP: Duration = Duration::from_millis(50);

/// What to simulate. Start from [`SimulationOptions::new`] and change fields.
#[derive(Clone, Debug)]
pub struct SimulationOptions {
    /// How many nodes; 2 to 65,536.
    pub nodes: u32,
    /// How long the cluster runs, in virtual seconds. A run is longer when its cluster forms so
    /// late that crashes could not be detected.
    pub seconds: u64,
    /// What decides everything.
    pub seed: u64,
    /// That a datagram is lost, 0 to 1.
    pub loss: f64,
    /// How many nodes crash.
    pub crashes: u32,
    /// How long a datagram is under way.
    pub delay: Delay,
    /// What every node is started with, but for its address.
    pub config: Config,
}

impl SimulationOptions {
    /// A cluster on a local network for a minute, with one crash.
    pub fn new(nodes: u32, seed: u64) -> SimulationOptions {
        SimulationOptions {
            nodes,
            seconds: 60,
            seed,
            loss: 0.0,
            crashes: 1,
            delay: NetworkOptions::local().delay,
            // Managers would hold elections besides.
            config: Config { role: Role::Worker, ..default_config(nodes) },
        }
    }
}

/// The configuration of a node in a simulated cluster of so many. In one beyond [`MESH_NODES_MAX`]
/// nobody knows everybody: each node keeps its table and its sessions small, so that memory grows with
/// the nodes and not with their square.
pub fn default_config(nodes: u32) -> Config {
    let secret = Secret::new([7; 32]).expect("32 bytes are a secret");
    let mut config = Config::new(address_of(0), secret);
    config.generation = Generation(1);
    if nodes > MESH_NODES_MAX {
        config.member_capacity = VIEW_CAPACITY;
        config.session_capacity = VIEW_SESSIONS;
    }
    config
}

/// A simulation that cannot be run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SimulationError {
    /// Too few nodes for a cluster, or more than there are addresses.
    #[error("{nodes} nodes, expected 2 to 65536")]
    Nodes {
        /// How many were asked for.
        nodes: u32,
    },
    /// No node would be left to notice.
    #[error("{crashes} crashes of {nodes} nodes leave nobody to detect them")]
    Crashes {
        /// How many were asked for.
        crashes: u32,
        /// Of how many nodes.
        nodes: u32,
    },
    /// A probability that is none.
    #[error("a loss of {loss}, expected 0 to 1")]
    Loss {
        /// What was asked for.
        loss: f64,
    },
    /// Engines cannot run with the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl SimulationOptions {
    fn check(&self) -> Result<(), SimulationError> {
        let (nodes, crashes, loss) = (self.nodes, self.crashes, self.loss);
        if !(2..=65_536).contains(&nodes) {
            return Err(SimulationError::Nodes { nodes });
        }
        if crashes + 1 > nodes {
            return Err(SimulationError::Crashes { crashes, nodes });
        }
        if !(0.0..=1.0).contains(&loss) {
            return Err(SimulationError::Loss { loss });
        }
        Ok(())
    }
}

/// A node that crashed and who has noticed.
#[derive(Debug)]
struct Crash {
    victim: u32,
    at: Instant,
    /// Who knew it as active.
    witnesses: Vec<u32>,
    noticed: Vec<Option<Instant>>,
}

/// A run under way.
#[derive(Debug)]
struct Run {
    simulation: Simulation,
    /// Who holds whom for a member that takes part.
    mesh: Mesh,
    crashes: Vec<Crash>,
    false_positives: u64,
}

impl Run {
    fn start(options: &SimulationOptions, random: &mut Random) -> Result<Run, SimulationError> {
        let network =
            NetworkOptions { loss: options.loss, ..NetworkOptions::perfect(options.delay.clone()) };
        let mut run = Run {
            simulation: Simulation::new(random.next_u64(), network),
            mesh: Mesh::new(options.nodes),
            crashes: Vec::new(),
            false_positives: 0,
        };
        let seeds: Vec<u32> = (0..SEED_COUNT.min(options.nodes)).collect();
        let pause = START_SPREAD / options.nodes;
        for node in 0..options.nodes {
            run.simulation.add_host(Clock::TRUE);
            run.simulation.start(node, options.config.clone(), &seeds)?;
            let now = run.simulation.now();
            run.run_until(now + pause);
        }
        Ok(run)
    }

    fn run_until(&mut self, end: Instant) {
        while self.simulation.step(end).is_some() {
            for observation in self.simulation.observations() {
                let Event::Member(event) = &observation.event else { continue };
                let (observer, subject) = (observation.observer, host_at(event.address));
                self.mesh.note(observer, subject, event.state.is_active());
                if event.state != MemberState::Dead {
                    continue;
                }
                match self.crashes.iter_mut().find(|crash| crash.victim == subject) {
                    Some(crash) => {
                        crash.noticed[observer as usize].get_or_insert(observation.at);
                    }
                    None => self.false_positives += 1,
                }
            }
        }
        if let Some(violation) = self.simulation.violation() {
            panic!("{violation}");
        }
    }

    /// Runs until everybody has confirmed everybody, or until `end`.
    fn form(&mut self, end: Instant) -> Option<Instant> {
        while self.simulation.now() < end {
            if self.mesh.is_whole() {
                return Some(self.simulation.now());
            }
            self.run_until(end.min(self.simulation.now() + FORMATION_STEP));
        }
        None
    }

    fn crash(&mut self, victim: u32) {
        self.simulation.crash(victim);
        let nodes = 0..self.simulation.host_count();
        let witnesses = nodes.clone().filter(|&node| self.believes_in(node, victim)).collect();
        let noticed = vec![None; nodes.len()];
        self.crashes.push(Crash { victim, at: self.simulation.now(), witnesses, noticed });
    }

    /// Whether a running node holds another for active.
    fn believes_in(&self, observer: u32, subject: u32) -> bool {
        let now = self.simulation.local_time(observer);
        let engine = self.simulation.engine(observer);
        let member = engine.and_then(|engine| engine.member(address_of(subject), now));
        member.is_some_and(|member| member.state.is_active())
    }

    /// Crashed nodes that some running node does not hold for dead.
    fn undetected(&self) -> u64 {
        let nodes = 0..self.simulation.host_count();
        let is_missed = |crash: &&Crash| nodes.clone().any(|n| self.believes_in(n, crash.victim));
        self.crashes.iter().filter(is_missed).count() as u64
    }

    fn detection_times(&self) -> (Vec<Duration>, Vec<Duration>) {
        let mut first = Vec::new();
        let mut all = Vec::new();
        for crash in &self.crashes {
            first.extend(crash.noticed.iter().flatten().min().map(|&at| at - crash.at));
            let running = crash.witnesses.iter().filter(|&&node| self.simulation.is_up(node));
            let last = running
                .map(|&node| crash.noticed[node as usize])
                .try_fold(Instant::ZERO, |last, noticed| noticed.map(|at| last.max(at)));
            let last = last.filter(|_| !crash.witnesses.is_empty());
            all.extend(last.map(|at| at - crash.at));
        }
        (first, all)
    }
}

/// Draws who crashes and when, earliest first.
fn plan_crashes(
    options: &SimulationOptions,
    formed: Instant,
    end: Instant,
    random: &mut Random,
) -> Vec<(Instant, u32)> {
    let seeds = SEED_COUNT.min(options.nodes - options.crashes);
    // Where tables are too small for everybody they hold those who came first.
    let known = options.nodes.min(options.config.member_capacity / 2).max(seeds + options.crashes);
    let mut victims: Vec<u32> = (seeds..known).collect();
    random.shuffle(&mut victims);
    let room = end.saturating_since(formed).saturating_sub(DETECTION_ROOM);
    let mut plan: Vec<(Instant, u32)> = victims[..options.crashes as usize]
        .iter()
        .map(|&victim| (formed + room.mul_f64(random.unit()), victim))
        .collect();
    plan.sort_unstable();
    plan
}

/// Runs a simulation.
///
/// # Errors
/// [`SimulationError`] when it cannot be run as asked.
///
/// # Panics
/// When an engine breaks a rule of [`checkers`](crate::checkers).
pub fn run(options: &SimulationOptions) -> Result<Report, SimulationError> {
    options.check()?;
    let mut random = Random::new(options.seed);
    let mut run = Run::start(options, &mut random)?;
    let asked = Instant::ZERO + Duration::from_secs(options.seconds);
    let formed = run.form(asked);
    let begun = formed.unwrap_or(run.simulation.now());
    let end = if options.crashes > 0 { asked.max(begun + DETECTION_ROOM) } else { asked };
    for (at, victim) in plan_crashes(options, begun, end, &mut random) {
        run.run_until(at);
        run.crash(victim);
    }
    run.run_until(end);
    let (first, all) = run.detection_times();
    Ok(Report {
        seed: options.seed,
        nodes: options.nodes,
        virtual_seconds: run.simulation.now().as_nanos() as f64 / 1e9,
        datagrams: run.simulation.delivered(),
        formed_ms: formed.map(|at| at.as_nanos() as f64 / 1e6),
        false_positives: run.false_positives,
        undetected: run.undetected(),
        detect_first_ms: Percentiles::of_durations(&first),
        detect_all_ms: Percentiles::of_durations(&all),
        coordinate: None,
        routing: None,
        trace_hash: hash_text(run.simulation.trace_hash()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_cluster_forms_and_notices_its_crash() {
        let report = run(&SimulationOptions::new(5, 1)).unwrap();
        assert_eq!((report.false_positives, report.undetected), (0, 0));
        assert!(report.formed_ms.unwrap() < 3_000.0, "{report:?}");
        assert!(report.detect_all_ms.p99.unwrap() > 500.0, "{report:?}");
        assert!(report.detect_all_ms.p99.unwrap() < 5_000.0, "{report:?}");
        assert_eq!(report.virtual_seconds, 60.0);
    }

    #[test]
    fn equal_seeds_give_equal_runs_and_others_do_not() {
        let trace = |seed| run(&SimulationOptions::new(8, seed)).unwrap();
        assert_eq!(trace(3), trace(3));
        assert_ne!(trace(3).trace_hash, trace(4).trace_hash);
    }

    #[test]
    fn impossible_options_are_refused() {
        let options = SimulationOptions::new(4, 1);
        let refused = |options: SimulationOptions| run(&options).unwrap_err();
        let error = refused(SimulationOptions { nodes: 1, ..options.clone() });
        assert_eq!(error, SimulationError::Nodes { nodes: 1 });
        let error = refused(SimulationOptions { crashes: 4, ..options.clone() });
        assert!(matches!(error, SimulationError::Crashes { .. }));
        let error = refused(SimulationOptions { loss: f64::NAN, ..options });
        assert!(matches!(error, SimulationError::Loss { .. }));
    }
}
