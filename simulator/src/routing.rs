//! How well jobs are routed: real gates and managers over a matrix of round trips.
//!
//! Every other site of the matrix is a datacenter (two managers, a worker), every site between is a gate
//! with clients, so that no gate has a datacenter at hand. All nodes are real engines in one cluster on
//! the virtual network; each datagram takes up to a fifth more or less than the matrix says, in each direction by
//! itself. The gates know only what their engines tell them.
//!
//! 1. *Warm-up*: the cluster forms and coordinates settle.
//! 2. *Steady*: new jobs arrive at every gate as a Poisson process and hold a core for some seconds;
//!    every gate also asks again and again for its standing jobs. This gives the distances, the share of switches
//!    and the variation of load.
//! 3. *Failover*: one datacenter after the other loses all its managers without a word, while every gate keeps
//!    asking. A job has failed over when it is routed elsewhere for good.
//!
//! On every decision it is checked that no eligible datacenter stands in a better bucket than the chosen one:
//! among those that the decision ranks, and among all that the gate watches, judged here anew.

use std::sync::Arc;

use shoal_core::federation::DatacenterLoad;
use shoal_core::random::Random;
use shoal_core::routing::{Bucket, DatacenterId, Decision, FilterConfig, JobId};
use shoal_core::{Config, DatacenterName, Duration, Engine, Generation, Instant, Role};

use crate::clock::Clock;
use crate::detection::default_config;
use crate::matrix::{Matrix, World};
use crate::network::{Delay, NetworkOptions};
use crate::report::{RoutingReport, percentile};
use crate::simulation::Simulation;

/// Most sites that are simulated; of a larger matrix that many are taken, evenly spaced.
pub const SITE_COUNT_MAX: usize = 40;
/// One way inside a site.
const LOCAL_DELAY: Duration = Duration::from_micros(250);
/// One way where the matrix does not know.
const UNKNOWN_DELAY: Duration = Duration::from_millis(100);
/// How much more or less a datagram takes.
const JITTER: f64 = 0.2;
const WARM_UP: Duration = Duration::from_secs(40);
const STEADY: Duration = Duration::from_secs(120);
/// Jobs and decisions are made in steps of this.
const TICK: Duration = Duration::from_millis(50);
/// How often a host tells the load of its datacenter.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);
/// Jobs that each gate keeps asking for.
const STANDING_JOBS: u64 = 40;
/// How often it does, in ticks: every two seconds in peace, and as fast as it can in a failure.
const STANDING_TICKS: u64 = 40;
/// New jobs per second at each gate.
const ARRIVAL_RATE: f64 = 12.0;
/// How long a job holds its core.
const JOB_DURATION: Duration = Duration::from_secs(5);
/// Cores of a datacenter: enough for the clients of several gates, since the nearest datacenter of one
/// is often that of its neighbours. Without room nothing would be told of jitter: a full datacenter is busy, and
/// jobs leave it whatever the distance.
const CORES: u32 = 480;
/// Datacenters that fail.
const FAILURES: usize = 5;
/// How long a failure lasts, and how long things are let settle after it.
const OUTAGE: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_secs(40);

/// What to simulate.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingOptions {
    /// Decides arrivals, jitter and everything else that is random.
    pub seed: u64,
    /// How much more or less a datagram takes, as a share; 0 to 1.
    pub jitter: f64,
    /// How long jobs arrive while everything is well.
    pub steady: Duration,
    /// How many datacenters fail, one after the other.
    pub failures: usize,
}

impl RoutingOptions {
    /// The defaults with this seed.
    pub fn new(seed: u64) -> RoutingOptions {
        RoutingOptions { seed, jitter: JITTER, steady: STEADY, failures: FAILURES }
    }
}

/// A world of thirty cities, none like the other.
pub fn generated_world(seed: u64) -> Matrix {
    World { node_count: 30, city_count: 30, access_ms_max: 2.0, seed, ..World::default() }.matrix()
}

/// Simulates and judges.
///
/// # Errors
/// One line that says which decision broke the rule of buckets, or that nothing could be routed.
pub fn run(matrix: &Matrix, options: &RoutingOptions) -> Result<RoutingReport, String> {
    let mut world = Sites::new(matrix, options);
    world.start();
    world.run_for(WARM_UP, Load::Arrivals)?;
    world.figures = Figures::default();
    world.run_for(options.steady, Load::Arrivals)?;
    let steady = std::mem::take(&mut world.figures);
    let failover = world.fail_over(options.failures)?;
    world.judge(steady, failover)
}

/// Whether jobs arrive, and how often gates ask for the standing ones.
#[derive(Clone, Copy, PartialEq)]
enum Load {
    Arrivals,
    /// Gates ask for every standing job at every tick.
    Impatient,
}

/// What was seen.
#[derive(Debug, Default)]
struct Figures {
    chosen_ms: Vec<f64>,
    random_ms: Vec<f64>,
    oracle_ms: Vec<f64>,
    decisions: u64,
    standing: u64,
    switches: u64,
    bootstrap: u64,
    /// Running and waiting jobs of each datacenter, each second.
    loads: Vec<Vec<f64>>,
}

/// The jobs of one datacenter: when those that run end, and how many wait.
#[derive(Debug, Default)]
struct Site {
    ends: Vec<(Instant, u32, JobId)>,
    waiting: std::collections::VecDeque<(u32, JobId)>,
}

/// All sites. Node `site + copy x sites` stands at `site`.
struct Sites<'a> {
    matrix: &'a Matrix,
    sites: Vec<usize>,
    simulation: Simulation,
    random: Random,
    jobs: Vec<Site>,
    figures: Figures,
    decision: Decision,
    next_job: u128,
    tick: u64,
    /// The best bucket that a gate had at a tick.
    best: Option<(u64, usize, Option<Bucket>)>,
    generation: u64,
    /// Where the standing jobs of each gate were last sent, by site; and when they were last sent to the
    /// site that fails.
    standing: Vec<Vec<Option<usize>>>,
}

impl<'a> Sites<'a> {
    fn new(matrix: &'a Matrix, options: &RoutingOptions) -> Sites<'a> {
        let nodes = matrix.node_count();
        let count = nodes.min(SITE_COUNT_MAX);
        let sites: Vec<usize> = (0..count).map(|site| site * nodes / count).collect();
        let delay = |from: usize, to: usize| match matrix.round_trip_ms(sites[from], sites[to]) {
            _ if from == to => LOCAL_DELAY,
            Some(ms) => Duration::from_secs_f64(ms / 2e3),
            None => UNKNOWN_DELAY,
        };
        let table: Vec<Duration> =
            (0..count * count).map(|pair| delay(pair / count, pair % count)).collect();
        let delay = Delay::UnsteadyPairs {
            table: Arc::from(table),
            count: count as u32,
            share: options.jitter,
        };
        let mut random = Random::new(options.seed);
        let mut simulation = Simulation::new(random.next_u64(), NetworkOptions::perfect(delay));
        for _ in 0..3 * count {
            simulation.add_host(Clock::new(random.next_u64() >> 24, 0));
        }
        Sites {
            matrix,
            simulation,
            random,
            jobs: (0..count).map(|_| Site::default()).collect(),
            figures: Figures::default(),
            decision: Decision::default(),
            next_job: 1 << 64,
            tick: 0,
            best: None,
            generation: 1,
            standing: vec![vec![None; STANDING_JOBS as usize]; count],
            sites,
        }
    }

    fn count(&self) -> usize {
        self.sites.len()
    }

    /// Sites with a datacenter.
    fn datacenters(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.count()).step_by(2)
    }

    /// Sites with a gate, whose node has the number of the site.
    fn gates(&self) -> impl Iterator<Item = usize> + use<> {
        (1..self.count()).step_by(2)
    }

    fn managers(&self, site: usize) -> [u32; 2] {
        [site as u32, (site + self.count()) as u32]
    }

    fn start(&mut self) {
        for site in self.datacenters() {
            self.start_site(site);
        }
        for site in self.gates() {
            self.start_node(site as u32, site, Role::Gate);
        }
    }

    fn start_site(&mut self, site: usize) {
        for manager in self.managers(site) {
            self.start_node(manager, site, Role::Manager);
        }
        let worker = (site + 2 * self.count()) as u32;
        if !self.simulation.is_up(worker) {
            self.start_node(worker, site, Role::Worker);
        }
    }

    fn start_node(&mut self, node: u32, site: usize, role: Role) {
        let datacenter = name_of(site);
        let generation = Generation(self.generation);
        let config = default_config(3 * self.count() as u32);
        let mut config = Config { role, datacenter, generation, ..config };
        if role == Role::Manager {
            config.federation.manager_count_min = 2;
        }
        let seeds = [0, 1, 2, 4].into_iter().filter(|&seed| seed != node);
        let seeds: Vec<u32> = seeds.filter(|&seed| (seed as usize) < self.count()).collect();
        self.simulation.start(node, config, &seeds).expect("the settings are legal");
    }

    fn run_for(&mut self, duration: Duration, load: Load) -> Result<(), String> {
        let end = self.simulation.now() + duration;
        while self.simulation.now() < end {
            self.tick += 1;
            self.simulation.run_until(self.simulation.now() + TICK);
            if let Some(violation) = self.simulation.violation() {
                return Err(violation.to_string());
            }
            self.work();
            if self.tick.is_multiple_of((LOAD_INTERVAL.as_nanos() / TICK.as_nanos()) as u64) {
                self.tell_loads();
            }
            for gate in self.gates() {
                self.arrive(gate)?;
                self.ask_again(gate, load)?;
            }
        }
        Ok(())
    }

    /// New jobs come to a gate.
    fn arrive(&mut self, gate: usize) -> Result<(), String> {
        // A Poisson process: the gaps between events are exponential.
        let mut gap = -(1.0 - self.random.unit()).ln() / ARRIVAL_RATE;
        while gap < TICK.as_secs_f64() {
            let job = JobId::from(self.next_job);
            self.next_job += 1;
            if let Some(site) = self.route(gate, job)? {
                let now = self.simulation.local_time(gate as u32);
                let engine = self.engine(gate);
                let id = engine.datacenter_id(&name_of(site)).expect("it was chosen");
                engine.job_sent(now, job, id, None).expect("gates route");
                self.jobs[site].waiting.push_back((gate as u32, job));
                self.note_distance(gate, site);
            }
            gap -= (1.0 - self.random.unit()).ln() / ARRIVAL_RATE;
        }
        Ok(())
    }

    fn note_distance(&mut self, gate: usize, site: usize) {
        let any = 2 * self.random.below(self.datacenters().count() as u32) as usize;
        let oracle = self.datacenters().filter_map(|site| self.distance(gate, site));
        let oracle = oracle.fold(f64::INFINITY, f64::min);
        let (chosen, random) = (self.distance(gate, site), self.distance(gate, any));
        if let (Some(chosen), Some(random)) = (chosen, random) {
            self.figures.chosen_ms.push(chosen);
            self.figures.random_ms.push(random);
            self.figures.oracle_ms.push(oracle);
        }
    }

    fn distance(&self, gate: usize, site: usize) -> Option<f64> {
        self.matrix.round_trip_ms(self.sites[gate], self.sites[site])
    }

    /// A gate asks for its standing jobs, a part of them at each tick.
    fn ask_again(&mut self, gate: usize, load: Load) -> Result<(), String> {
        for number in 0..STANDING_JOBS {
            let turn = (self.tick + number * STANDING_TICKS / STANDING_JOBS) % STANDING_TICKS;
            if turn != 0 && load == Load::Arrivals {
                continue;
            }
            let job = JobId::from(u128::from(number) << 32 | gate as u128);
            let site = self.route(gate, job)?;
            let switched = self.decision.switched();
            self.standing[gate][number as usize] = site;
            self.figures.standing += 1;
            self.figures.switches += u64::from(switched);
        }
        Ok(())
    }

    /// Asks the engine of a gate, and checks what it says. `None` when nothing is eligible.
    fn route(&mut self, gate: usize, job: JobId) -> Result<Option<usize>, String> {
        let now = self.simulation.local_time(gate as u32);
        let mut decision = std::mem::take(&mut self.decision);
        let engine = self.engine(gate);
        engine.route(now, job, &[], &mut decision).map_err(|error| error.to_string())?;
        let selected = decision.selected();
        let site = selected.map(|id| site_of(engine, id));
        let ranked = decision.ranked().iter().map(|ranked| ranked.bucket).min();
        let best = self.best_bucket(gate, now);
        let is_best = decision.primaries().all(|ranked| Some(ranked.bucket) == best);
        if decision.bucket() != best || ranked != best || !is_best {
            return Err(format!(
                "a job went to {:?} while {best:?} was to be had: {decision:?}",
                decision.bucket()
            ));
        }
        self.figures.decisions += 1;
        self.figures.bootstrap += u64::from(decision.is_bootstrap());
        self.decision = decision;
        Ok(site)
    }

    /// The best bucket with an eligible datacenter, of all that a gate watches. It is the same for all
    /// decisions of one tick.
    fn best_bucket(&mut self, gate: usize, now: Instant) -> Option<Bucket> {
        if let Some((tick, of, best)) = self.best
            && (tick, of) == (self.tick, gate)
        {
            return best;
        }
        let filter = FilterConfig::default().at(now);
        let views = self.engine(gate).datacenters(now);
        let eligible = views.filter_map(|view| filter.admit(&view.candidate).ok());
        let best = eligible.map(|admission| admission.bucket).min();
        self.best = Some((self.tick, gate, best));
        best
    }

    fn engine(&mut self, node: usize) -> &mut Engine {
        self.simulation.engine_mut(node as u32).expect("gates never stop")
    }

    /// Jobs begin and end.
    fn work(&mut self) {
        let now = self.simulation.now();
        for site in self.datacenters() {
            let mut ended = Vec::new();
            let jobs = &mut self.jobs[site];
            jobs.ends.retain(|&(end, gate, job)| {
                let is_over = end <= now;
                if is_over {
                    ended.push((gate, job));
                }
                !is_over
            });
            while jobs.ends.len() < CORES as usize
                && let Some((gate, job)) = jobs.waiting.pop_front()
            {
                jobs.ends.push((now + JOB_DURATION, gate, job));
            }
            for (gate, job) in ended {
                self.engine(gate as usize).forget_route(job);
            }
        }
    }

    /// The hosts of all managers tell how busy they are.
    fn tell_loads(&mut self) {
        let mut loads = Vec::new();
        for site in self.datacenters() {
            let (running, waiting) = (self.jobs[site].ends.len(), self.jobs[site].waiting.len());
            loads.push((running + waiting) as f64);
            let load = DatacenterLoad {
                worker_count: 1,
                healthy_worker_count: 1,
                total_cores: CORES,
                available_cores: CORES - running as u32,
                queue_depth: waiting as u32,
                active_job_count: running as u32,
            };
            for manager in self.managers(site) {
                let now = self.simulation.local_time(manager);
                if let Some(engine) = self.simulation.engine_mut(manager) {
                    engine.set_load(now, load).expect("managers tell it");
                }
            }
        }
        self.figures.loads.push(loads);
    }

    /// Kills datacenters and returns how long each standing job there kept going to it, in ms.
    fn fail_over(&mut self, failures: usize) -> Result<Vec<f64>, String> {
        let mut took = Vec::new();
        let mut victims: Vec<usize> = self.datacenters().collect();
        victims.sort_by_key(|&site| std::cmp::Reverse(self.standing_at(site)));
        for site in victims.into_iter().take(failures) {
            let victims = self.standing_at(site);
            if victims == 0 {
                continue;
            }
            let start = self.simulation.now();
            for manager in self.managers(site) {
                self.simulation.crash(manager);
            }
            let mut left = victims;
            while self.simulation.now() < start + OUTAGE {
                self.run_for(TICK, Load::Impatient)?;
                let staying = self.standing_at(site);
                let ms = (self.simulation.now() - start).as_secs_f64() * 1e3;
                // One that comes back has not left for good.
                took.extend((staying..left).map(|_| ms));
                took.truncate(took.len() - staying.saturating_sub(left).min(took.len()));
                left = staying;
            }
            took.extend((0..left).map(|_| OUTAGE.as_secs_f64() * 1e3));
            self.generation += 1;
            self.start_site(site);
            self.run_for(SETTLE, Load::Arrivals)?;
        }
        Ok(took)
    }

    /// Standing jobs that were last sent to a site.
    fn standing_at(&self, site: usize) -> usize {
        self.standing.iter().flatten().filter(|&&sent| sent == Some(site)).count()
    }

    fn judge(&self, mut steady: Figures, mut failover: Vec<f64>) -> Result<RoutingReport, String> {
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            percentile(values, 50.0).ok_or("no job was routed".to_owned())
        };
        failover.sort_by(f64::total_cmp);
        Ok(RoutingReport {
            gates: self.gates().count() as u32,
            datacenters: self.datacenters().count() as u32,
            median_rtt_ms: median(&mut steady.chosen_ms)?,
            random_median_rtt_ms: median(&mut steady.random_ms)?,
            oracle_median_rtt_ms: median(&mut steady.oracle_ms)?,
            switch_rate: steady.switches as f64 / steady.standing.max(1) as f64,
            load_cv: variation(&steady.loads),
            failover_ms_p99: percentile(&failover, 99.0).ok_or("no job had to fail over")?,
            decisions: steady.decisions + self.figures.decisions,
            bootstrap_rate: steady.bootstrap as f64 / steady.decisions.max(1) as f64,
        })
    }
}

/// How much the load of a datacenter varies over time: the standard deviations of all datacenters over
/// their mean loads.
fn variation(loads: &[Vec<f64>]) -> f64 {
    let sites = loads.first().map_or(0, Vec::len);
    let (mut means, mut deviations) = (0.0, 0.0);
    for site in 0..sites {
        let values = || loads.iter().map(|all| all[site]);
        let mean = values().sum::<f64>() / loads.len() as f64;
        let variance = values().map(|load| (load - mean).powi(2)).sum::<f64>() / loads.len() as f64;
        means += mean;
        deviations += variance.sqrt();
    }
    deviations / means.max(f64::MIN_POSITIVE)
}

fn name_of(site: usize) -> DatacenterName {
    format!("site{site}").parse().expect("a plain word is a name")
}

fn site_of(engine: &Engine, id: DatacenterId) -> usize {
    let name = engine.datacenter_names().name(id).expect("it was chosen");
    name.as_str()["site".len()..].parse().expect("sites are numbered")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variation_is_over_time_and_not_between_datacenters() {
        assert_eq!(variation(&[vec![10.0, 100.0], vec![10.0, 100.0]]), 0.0);
        let swinging = variation(&[vec![0.0, 100.0], vec![100.0, 0.0]]);
        assert_eq!(swinging, 1.0);
        assert_eq!(variation(&[]), 0.0);
    }

    #[test]
    fn large_matrices_are_thinned_and_small_ones_taken_whole() {
        let options = RoutingOptions::new(1);
        let small = World { node_count: 5, city_count: 5, ..World::default() }.matrix();
        assert_eq!(Sites::new(&small, &options).sites, [0, 1, 2, 3, 4]);
        let large = World::default().matrix();
        let sites = Sites::new(&large, &options).sites;
        assert_eq!((sites.len(), sites[1], sites[39]), (SITE_COUNT_MAX, 2, 97));
    }
}
