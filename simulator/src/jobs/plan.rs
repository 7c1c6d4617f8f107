//! What a run is made of: datacenters, a network, jobs and what becomes of them, and what goes wrong when.
//!
//! A plan is drawn from the seed as a whole before anything happens, so that it can be read, and so that a
//! scenario can be written by hand in the same words. Times count from the moment the cluster has formed.

use shoal_core::Duration;
use shoal_core::jobs::{ExtensionConfig, JobsConfig, TimeoutRule};
use shoal_core::random::Random;

use crate::clock::Clock;
use crate::network::{Delay, NetworkOptions, NodeSet};

/// Gates of a cluster: one that jobs come through, and one to take its place.
pub const GATES: u32 = 2;
/// The most that a clock runs fast or slow, in millionths: a bad crystal.
const DRIFT_PPM: u32 = 100;

/// Everything that a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many datacenters.
    pub datacenters: usize,
    /// How many managers each of them has.
    pub managers: u32,
    /// The clock of every machine.
    pub clocks: Vec<Clock>,
    /// How jobs are timed.
    pub settings: JobsConfig,
    /// How often nodes probe each other, in ms.
    pub probe_interval_ms: u64,
    /// The network while nothing is wrong with it.
    pub network: NetworkOptions,
    /// The jobs.
    pub jobs: Vec<JobPlan>,
    /// What goes wrong.
    pub faults: Vec<(Duration, Fault)>,
    /// How long things go wrong; then everything heals.
    pub trouble: Duration,
}

/// A job as it would go if nobody interfered.
#[derive(Clone, Debug)]
pub struct JobPlan {
    /// When it is submitted.
    pub submitted_at: Duration,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether it comes through a gate. One that does not runs in one datacenter.
    pub has_gate: bool,
    /// Where it runs.
    pub sites: Vec<SitePlan>,
}

/// What a job does in one datacenter.
#[derive(Clone, Debug)]
pub struct SitePlan {
    /// Which one.
    pub datacenter: usize,
    /// How often it makes progress,
    pub progress_interval: Duration,
    /// until it hangs, if it does.
    pub hangs_at: Option<Duration>,
    /// When it is done, if it gets there.
    pub completes_at: Option<Duration>,
    /// When a worker asks for more time.
    pub extends_at: Vec<Duration>,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The manager that leads in a datacenter crashes, and starts again without memory.
    CrashLeader {
        /// Where.
        datacenter: usize,
        /// How much later it starts again.
        back_after: Duration,
    },
    /// Another manager is made the leader, and the present one does not hear of it at once.
    Depose {
        /// Where.
        datacenter: usize,
    },
    /// The gate crashes, and starts again without memory.
    CrashGate {
        /// How much later it starts again.
        back_after: Duration,
    },
    /// The other gate is made the gate, and the present one does not hear of it.
    SwitchGate,
    /// Nothing that one of the first machines sends reaches one of the others.
    Cut(NodeSet, NodeSet),
    /// All cuts end.
    Mend,
    /// The network loses this share of the datagrams.
    Loss(f64),
    /// The network is what it was again.
    Calm,
}

impl Plan {
    /// A cluster in which nothing happens and nothing goes wrong.
    pub fn quiet(datacenters: usize, managers: u32) -> Plan {
        let host_count = GATES as usize + datacenters * managers as usize;
        Plan {
            datacenters,
            managers,
            clocks: (0..host_count).map(|host| Clock::new(1 << (20 + host), 0)).collect(),
            settings: quick_settings(TimeoutRule::Any),
            probe_interval_ms: 300,
            network: NetworkOptions::perfect(Delay::Constant(Duration::from_millis(20))),
            jobs: Vec::new(),
            faults: Vec::new(),
            trouble: Duration::from_secs(60),
        }
    }

    /// The plan that these random numbers make.
    pub fn draw(random: &mut Random) -> Plan {
        let mut draw = Draw(random);
        let datacenters = draw.one_of(&[1, 2, 3, 3, 4]);
        let mut plan = Plan::quiet(datacenters, draw.one_of(&[2, 2, 3]));
        for clock in &mut plan.clocks {
            let drift_ppm = draw.0.below(2 * DRIFT_PPM + 1) as i32 - DRIFT_PPM as i32;
            *clock = Clock::new(draw.0.next_u64() >> (14 + draw.0.below(26)), drift_ppm);
        }
        plan.settings = quick_settings(draw.one_of(&[TimeoutRule::Any, TimeoutRule::Majority]));
        plan.probe_interval_ms = draw.one_of(&[200, 300, 500]);
        plan.network = draw_network(&mut draw);
        plan.jobs = (0..6 + draw.0.below(8)).map(|_| draw_job(&mut draw, datacenters)).collect();
        plan.faults = draw_faults(&mut draw, &plan);
        plan
    }

    /// The machines of the managers of a datacenter. The gates have the first numbers.
    pub fn managers_of(&self, datacenter: usize) -> std::ops::Range<u32> {
        let first = GATES + datacenter as u32 * self.managers;
        first..first + self.managers
    }

    /// The datacenter of a machine.
    pub fn datacenter_of(&self, host: u32) -> usize {
        match host.checked_sub(GATES) {
            Some(manager) => (manager / self.managers) as usize,
            None => host as usize % self.datacenters,
        }
    }

    /// The name of a datacenter.
    pub fn name_of(&self, datacenter: usize) -> &'static str {
        ["east", "west", "north", "south"][datacenter]
    }
}

/// The settings of the documents, thirty times as fast, so that a run takes minutes and not hours.
pub fn quick_settings(gate_rule: TimeoutRule) -> JobsConfig {
    JobsConfig {
        stuck_after_ms: 4_000,
        report_interval_ms: 400,
        fallback_after_ms: 10_000,
        resume_grace_ms: 1_000,
        retry_min_ms: 100,
        retry_max_ms: 400,
        outcome_lifetime_ms: 20_000,
        gate_rule,
        gate_stuck_after_ms: 6_000,
        gate_silent_after_ms: 10_000,
        gate_deadline_grace_ms: 500,
        gate_retention_ms: 5_000,
        gate_decision_lifetime_ms: 40_000,
        extension: ExtensionConfig {
            base_ms: 2_000,
            grant_min_ms: 100,
            grace_ms: 500,
            ..ExtensionConfig::default()
        },
        ..JobsConfig::default()
    }
}

struct Draw<'a>(&'a mut Random);

impl Draw<'_> {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.0.below(choices.len() as u32) as usize]
    }

    fn millis(&mut self, min: u32, max: u32) -> Duration {
        Duration::from_millis(u64::from(min + self.0.below(max - min)))
    }

    fn sometimes<T>(&mut self, chance: f64, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.chance(chance).then(|| draw(self))
    }
}

fn draw_network(draw: &mut Draw) -> NetworkOptions {
    let min = Duration::from_micros(100);
    let max = draw.millis(1, 80);
    NetworkOptions {
        delay: Delay::Uniform { min, max },
        loss: draw.one_of(&[0.0, 0.02, 0.1]),
        duplication: draw.one_of(&[0.0, 0.1]),
        reordering: draw.one_of(&[0.0, 0.05]),
        holdback: Duration::from_millis(300),
        corruption: draw.one_of(&[0.0, 0.01]),
        truncation: 0.0,
        replay: draw.one_of(&[0.0, 0.02]),
    }
}

fn draw_job(draw: &mut Draw, datacenters: usize) -> JobPlan {
    let has_gate = draw.0.chance(0.8);
    let mut places: Vec<usize> = (0..datacenters).collect();
    draw.0.shuffle(&mut places);
    let count = if has_gate { 1 + draw.0.below(datacenters as u32) as usize } else { 1 };
    let submitted_at = draw.millis(0, 30_000);
    let sites = places[..count].iter().map(|&datacenter| {
        let hangs_at = draw.sometimes(0.4, |draw| submitted_at + draw.millis(0, 30_000));
        let completes_at = draw.sometimes(0.6, |draw| submitted_at + draw.millis(300, 40_000));
        let extensions = if draw.0.chance(0.3) { draw.0.below(7) } else { 0 };
        SitePlan {
            datacenter,
            progress_interval: draw.millis(50, PROGRESS_INTERVAL_MAX_MS),
            hangs_at,
            // What hangs does not complete either.
            completes_at: completes_at.filter(|&at| hangs_at.is_none_or(|hangs| at < hangs)),
            extends_at: (0..extensions).map(|_| submitted_at + draw.millis(50, 30_000)).collect(),
        }
    });
    let sites = sites.collect();
    JobPlan { submitted_at, timeout: draw.millis(1_000, 40_000), has_gate, sites }
}

/// A job that works shows it at least this often: in less time than makes it stuck.
const PROGRESS_INTERVAL_MAX_MS: u32 = 3_300;

fn draw_faults(draw: &mut Draw, plan: &Plan) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let trouble = plan.trouble.as_millis() as u32;
    // Leaving out most kinds finds more than having all (Groce et al., ISSTA 2012).
    let [crashes, depositions, gates, cuts, losses] = [(); 5].map(|()| draw.0.chance(0.5));
    for datacenter in 0..plan.datacenters {
        for _ in 0..if crashes { draw.0.below(4) } else { 0 } {
            let back_after = draw.millis(100, 15_000);
            faults.push((draw.millis(0, trouble), Fault::CrashLeader { datacenter, back_after }));
        }
        for _ in 0..if depositions { draw.0.below(3) } else { 0 } {
            faults.push((draw.millis(0, trouble), Fault::Depose { datacenter }));
        }
    }
    if gates {
        for _ in 0..draw.0.below(3) {
            let back_after = draw.millis(500, 25_000);
            faults.push((draw.millis(0, trouble), Fault::CrashGate { back_after }));
        }
        if draw.0.chance(0.4) {
            faults.push((draw.millis(0, trouble), Fault::SwitchGate));
        }
    }
    for _ in 0..if cuts { 1 + draw.0.below(4) } else { 0 } {
        let at = draw.millis(0, trouble);
        let some: NodeSet = plan.clocks.iter().map(|_| draw.0.chance(0.4)).collect();
        let others: NodeSet = some.iter().map(|is_in| !is_in).collect();
        // One way in three breaks in one direction only.
        if draw.0.chance(0.7) {
            faults.push((at, Fault::Cut(others.clone(), some.clone())));
        }
        faults.push((at, Fault::Cut(some, others)));
        faults.push((at + draw.millis(200, 20_000), Fault::Mend));
    }
    for _ in 0..if losses { 1 + draw.0.below(3) } else { 0 } {
        let at = draw.millis(0, trouble);
        faults.push((at, Fault::Loss(0.3 + 0.6 * draw.0.unit())));
        faults.push((at + draw.millis(500, 10_000), Fault::Calm));
    }
    faults.sort_by_key(|&(at, _)| at);
    faults
}
