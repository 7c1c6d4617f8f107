//! Jobs arrive at the gates, and each gate's own engine says where they go (AD-36).
//!
//! The program does what any host does: it tells the load of each datacenter, asks the gate for a
//! place, sends the job there and says what became of it. Who leads, who answers, how far everybody
//! is and where a job that failed may go next is the nodes' affair.

use std::collections::VecDeque;

use shoal_core::federation::{DatacenterLoad, DatacenterView};
use shoal_core::io::Node;
use shoal_core::jobs::JobId;
use shoal_core::random::Random;
use shoal_core::routing::{DatacenterId, Decision};
use shoal_core::{DatacenterName, MemberState, Route};

use super::cluster::DATACENTERS;
use super::record::{Explained, Refused, Routing, RoutingBin, Weighed, quantile};
use super::stage::Stage;
use crate::exit::Failure;

/// Jobs routed before the failure.
pub const JOB_COUNT: u64 = 1_000;
/// Jobs per second.
const JOB_RATE: f64 = 200.0;
/// How long a job occupies its core, in milliseconds.
const JOB_DURATION_MS: f64 = 100.0;
/// Cores of a datacenter: two workers with sixteen each.
const CORES: u32 = 32;
/// How often managers are told how busy their datacenter is, in milliseconds.
const LOAD_INTERVAL_MS: f64 = 200.0;
/// The width of the bins in which jobs are counted, in milliseconds.
const BIN_MS: f64 = 250.0;

/// When a job is routed, seen from the failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Era {
    Before,
    /// Somebody does not know of the failure yet.
    During,
    After,
}

/// A job that occupies a core, or went to a manager that was dead.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u64,
    gate: usize,
    datacenter: usize,
    ends_ms: f64,
}

/// Jobs arrive at the gates in turn, at a steady rate.
pub struct JobStream {
    /// The number of the next job.
    pub next: u64,
    /// When it arrives.
    due_ms: f64,
    random: Random,
    /// First to end first.
    running: VecDeque<Sent>,
    stranded: Vec<Sent>,
    told_ms: f64,
    /// The last decision of each gate before the failure.
    latest: Vec<Option<Explained>>,
    /// Round trips from gate to chosen and to random managers, in milliseconds.
    chosen_ms: Vec<f64>,
    random_ms: Vec<f64>,
    last_misdirected_ms: f64,
}

impl JobStream {
    /// No job has arrived yet; every manager learns that its datacenter is idle.
    pub fn new(stage: &mut Stage) -> Result<JobStream, Failure> {
        let count = stage.outcome.datacenters.len();
        let table = || vec![vec![0; count]; count];
        stage.outcome.routing = Routing { before: table(), after: table(), ..Routing::default() };
        let jobs = JobStream {
            next: 1,
            due_ms: 0.0,
            random: Random::new(stage.outcome.seed),
            running: VecDeque::new(),
            stranded: Vec::new(),
            told_ms: 0.0,
            latest: vec![None; count],
            chosen_ms: Vec::new(),
            random_ms: Vec::new(),
            last_misdirected_ms: 0.0,
        };
        jobs.tell_loads(stage)?;
        Ok(jobs)
    }

    /// Whether no job waits for its gate to notice that its manager is dead.
    pub fn is_settled(&self) -> bool {
        self.stranded.is_empty()
    }

    /// When the last job was sent to a dead manager, in milliseconds since the demo began.
    pub fn last_misdirected_ms(&self) -> f64 {
        self.last_misdirected_ms
    }

    /// Routes the jobs that have arrived by now, and again those whose manager turned out to be
    /// dead.
    pub fn advance(&mut self, stage: &mut Stage, era: Era) -> Result<(), Failure> {
        let now_ms = stage.now_ms();
        if self.due_ms == 0.0 {
            self.due_ms = now_ms;
        }
        self.end(stage, now_ms)?;
        if now_ms - self.told_ms >= LOAD_INTERVAL_MS {
            self.told_ms = now_ms;
            self.tell_loads(stage)?;
        }
        // A slow tick has several jobs to catch up with, but none beyond the count.
        let last = if era == Era::Before { JOB_COUNT } else { u64::MAX };
        while self.due_ms <= now_ms && self.next <= last {
            let gate = self.next as usize % self.latest.len();
            let explained = self.route(stage, self.next, gate, era)?;
            if era == Era::Before {
                self.latest[gate] = Some(explained);
            }
            self.next += 1;
            self.due_ms += 1e3 / JOB_RATE;
        }
        self.route_again(stage, era)
    }

    /// Keeps why each gate chose as it did, for the page.
    pub fn explain(&mut self, stage: &mut Stage) {
        let latest = self.latest.iter_mut().filter_map(Option::take);
        stage.outcome.routing.decisions.extend(latest);
    }

    /// The median round trip of the jobs since the last call, and that of a random choice.
    pub fn medians(&mut self) -> (f64, f64) {
        let medians = (quantile(&mut self.chosen_ms, 0.5), quantile(&mut self.random_ms, 0.5));
        self.chosen_ms.clear();
        self.random_ms.clear();
        medians
    }

    /// Says of jobs that have run for long enough that they have ended well.
    fn end(&mut self, stage: &Stage, now_ms: f64) -> Result<(), Failure> {
        while self.running.front().is_some_and(|job| job.ends_ms <= now_ms) {
            let job = self.running.pop_front().expect("there is a first one");
            let (gate, id) = (gate(stage, job.gate)?, id_of(job.number));
            gate.job_ended(id, name_of(job.datacenter), true).map_err(Failure::failed)?;
            gate.forget_route(id).map_err(Failure::failed)?;
        }
        Ok(())
    }

    /// Tells every manager how busy its datacenter is; gates hear it from the leaders.
    fn tell_loads(&self, stage: &Stage) -> Result<(), Failure> {
        for datacenter in 0..self.latest.len() {
            let busy =
                self.running.iter().filter(|job| job.datacenter == datacenter).count() as u32;
            let load = DatacenterLoad {
                total_cores: CORES,
                available_cores: CORES.saturating_sub(busy),
                queue_depth: busy.saturating_sub(CORES),
                active_job_count: busy,
                ..DatacenterLoad::default()
            };
            let managers = stage.cluster.managers(datacenter);
            for manager in managers.iter().filter_map(|&manager| stage.cluster.node(manager)) {
                manager.set_load(load).map_err(Failure::failed)?;
            }
        }
        Ok(())
    }

    /// Routes jobs again whose gate knows by now that nobody had them.
    fn route_again(&mut self, stage: &mut Stage, era: Era) -> Result<(), Failure> {
        let known = |job: &Sent| {
            let gate = stage.cluster.gate(job.gate);
            let managers = stage.cluster.managers(job.datacenter);
            managers.map(|manager| stage.states[gate][manager]) == [Some(MemberState::Dead); 2]
        };
        let (again, still): (Vec<Sent>, Vec<Sent>) =
            self.stranded.iter().partition(|job| known(job));
        self.stranded = still;
        for job in again {
            let (id, datacenter) = (id_of(job.number), name_of(job.datacenter));
            gate(stage, job.gate)?.job_failed(id, datacenter).map_err(Failure::failed)?;
            let explained = self.route(stage, job.number, job.gate, era)?;
            if stage.outcome.routing.rerouted == 0 {
                stage.note(&format!(
                    "the gate of {} routes job {} again: {}",
                    DATACENTERS[job.gate],
                    job.number,
                    explained.reason.replace('_', " ")
                ));
                stage.outcome.routing.decisions.push(explained);
            }
            stage.outcome.routing.rerouted += 1;
        }
        Ok(())
    }

    /// Asks the gate for a place, and sends the job there.
    fn route(
        &mut self,
        stage: &mut Stage,
        number: u64,
        place: usize,
        era: Era,
    ) -> Result<Explained, Failure> {
        let (asked, id) = (gate(stage, place)?, id_of(number));
        let route = asked.route(id, &[]).map_err(Failure::failed)?;
        let found = route.datacenter().copied().zip(route.manager());
        let found = found.and_then(|(name, at)| Some((name, at, stage.cluster.index(at)?)));
        let Some((name, address, manager)) = found else {
            return Err(Failure::failed(format_args!(
                "no datacenter can take job {number}: {}",
                route.decision().reason()
            )));
        };
        asked.job_sent(id, name, Some(address)).map_err(Failure::failed)?;

        let now_ms = stage.now_ms();
        let explained = explain(&route, number, place, manager, now_ms);
        *stage.outcome.routing.reasons.entry(explained.reason).or_default() += 1;
        let datacenter = stage.cluster.records[manager].datacenter;
        count_bin(stage, datacenter);
        let sent = Sent { number, gate: place, datacenter, ends_ms: now_ms + JOB_DURATION_MS };
        let routing = &mut stage.outcome.routing;
        if stage.cluster.node(manager).is_none() {
            routing.misdirected += 1;
            self.last_misdirected_ms = now_ms;
            self.stranded.push(sent);
            return Ok(explained);
        }
        match era {
            Era::Before => routing.before[place][datacenter] += 1,
            Era::During => {}
            Era::After => routing.after[place][datacenter] += 1,
        }
        self.running.push_back(sent);
        let index = stage.cluster.gate(place);
        self.chosen_ms.push(stage.cluster.round_trip_ms(index, manager));
        let anywhere = self.random.below(self.latest.len() as u32) as usize;
        let [other, _] = stage.cluster.managers(anywhere);
        self.random_ms.push(stage.cluster.round_trip_ms(index, other));
        Ok(explained)
    }
}

/// Whether every gate knows the leader and the load of every datacenter.
pub fn is_ready(stage: &Stage) -> bool {
    (0..DATACENTERS.len()).all(|place| {
        let views = gate(stage, place).map(|gate| gate.datacenters());
        let Ok(Ok(views)) = views else { return false };
        let is_known =
            |view: &DatacenterView| view.leader.is_some() && view.candidate.total_cores == CORES;
        views.iter().filter(|view| is_known(view)).count() == DATACENTERS.len()
    })
}

fn gate(stage: &Stage, place: usize) -> Result<&Node, Failure> {
    let node = stage.cluster.node(stage.cluster.gate(place));
    node.ok_or_else(|| {
        Failure::failed(format_args!("the gate of {} does not run", DATACENTERS[place]))
    })
}

fn id_of(number: u64) -> JobId {
    JobId::from(u128::from(number))
}

fn name_of(datacenter: usize) -> DatacenterName {
    DATACENTERS[datacenter].parse().expect("a plain word is a name")
}

fn count_bin(stage: &mut Stage, datacenter: usize) {
    let now_ms = stage.now_ms();
    let count = stage.outcome.datacenters.len();
    let bins = &mut stage.outcome.routing.bins;
    let first = bins.first().map_or(now_ms, |bin| bin.at_ms);
    let index = ((now_ms - first) / BIN_MS) as usize;
    while bins.len() <= index {
        let at_ms = first + BIN_MS * bins.len() as f64;
        bins.push(RoutingBin { at_ms, jobs: vec![0; count] });
    }
    bins[index].jobs[datacenter] += 1;
}

/// The decision as the page shows it.
fn explain(route: &Route, job: u64, gate: usize, manager: usize, at_ms: f64) -> Explained {
    let decision: &Decision = route.decision();
    let index = |id: DatacenterId| {
        let name = route.name(id).as_str();
        DATACENTERS.iter().position(|known| *known == name)
    };
    let primary_count = decision.primaries().len();
    let weighed = decision.chain().enumerate().filter_map(|(rank, ranked)| {
        Some(Weighed {
            datacenter: index(ranked.datacenter)?,
            bucket: ranked.bucket.name(),
            latency_ms: ranked.score.latency_ms,
            load_factor: ranked.score.load_factor,
            quality_penalty: ranked.score.quality_penalty,
            multiplier: ranked.score.multiplier,
            score: ranked.score.value(),
            is_primary: rank < primary_count,
        })
    });
    let refused = decision.excluded().iter().filter_map(|excluded| {
        Some(Refused { datacenter: index(excluded.datacenter)?, reason: excluded.reason.name() })
    });
    Explained {
        job,
        gate,
        at_ms,
        reason: decision.reason().name(),
        is_bootstrap: decision.is_bootstrap(),
        previous: decision.previous().and_then(index),
        manager,
        weighed: weighed.collect(),
        refused: refused.collect(),
    }
}
