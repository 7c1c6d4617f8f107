//! Managers and gates under everything at once: loss, delay, repetition, reordering, partitions,
//! crashes, changes of leader and of gate, with and without those replaced knowing.
//!
//! Beside the trackers runs a model that knows the truth about every job: when it started, when it
//! last progressed, what it was granted, when it finished. Every event of every tracker is judged
//! against it the moment it is told. After some time the weather clears; then every job has to end
//! and nothing may be left. `SHOAL_SEEDS` sets how many such histories are run, `SHOAL_SEED=N` runs one and
//! tells it.
#![allow(missing_docs)]

#[path = "support/jobs.rs"]
mod support;

use std::collections::BTreeMap;

use shoal_core::jobs::{
    DatacenterTarget, FenceToken, GateJobStart, JobEvent, JobId, JobOutcome, JobSnapshot, JobStart,
    JobsConfig, LeaderChange, TimeoutReason, TimeoutRule,
};
use shoal_core::random::Random;
use shoal_core::{Duration, Instant};
use support::{Network, Role, Weather, event_job, millis, seconds};

const SEEDS: u64 = 40;
/// Seeds that failed once: a gate that had been replaced took the silence of those who had left it for a
/// standstill, and what remained for all that was left.
const FOUND: [u64; 2] = [165, 1_615];
const JOBS: usize = 12;
const STORM: Duration = Duration::from_secs(2_400);
const DATACENTERS: [&str; 4] = ["east", "west", "north", "south"];
/// A job that works shows it at least this often, and again soon after a change of leader.
const PROGRESS_INTERVAL_MAX: u32 = 100;
const REAPPEARANCE_MAX: u32 = 25;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Waiting,
    Running,
    Finished,
    TimedOut,
}

/// The truth about a job in one datacenter.
#[derive(Clone, Debug)]
struct Truth {
    datacenter: usize,
    fate: Fate,
    started_at: Instant,
    progressed_at: Instant,
    extension: Duration,
    /// From here on it makes no progress.
    hangs_at: Instant,
    completes_at: Instant,
    progress_interval: Duration,
    /// Whether it was over time at any moment so far, by the rules of managers.
    was_overdue: bool,
    /// The leadership whose events count.
    fence: FenceToken,
    /// Whether there was a leader that did not know it had been replaced, and so did not know of
    /// later extensions.
    had_former_leader: bool,
}

#[derive(Clone, Debug)]
struct ModelJob {
    id: JobId,
    timeout: Duration,
    has_gate: bool,
    submitted_at: Instant,
    is_decided: bool,
    sites: Vec<Truth>,
}

#[derive(Clone, Debug)]
enum Action {
    Submit(usize),
    Start(usize, usize),
    Progress(usize, usize),
    Extend(usize, usize),
    Complete(usize, usize),
    /// The leader of a datacenter crashes.
    CrashLeader(usize),
    /// The leader of a datacenter is replaced without knowing it.
    Depose(usize),
    /// A datacenter elects another leader, who takes over these jobs as they were at that moment.
    Elect(usize, Vec<JobSnapshot>, Instant),
    /// A manager learns that it lost the leadership of these jobs.
    Release(usize, Vec<JobId>),
    RestartManager(usize),
    CrashGate,
    /// All managers report to another gate, which may have the state of the last.
    SwitchGate(bool),
    RestartGate(usize),
    Partition(usize, usize),
    Heal,
}

struct Datacenter {
    managers: Vec<usize>,
    leader: Option<usize>,
    term: u64,
}

struct World {
    network: Network,
    random: Random,
    jobs: Vec<ModelJob>,
    datacenters: Vec<Datacenter>,
    gates: Vec<usize>,
    gate: usize,
    actions: BTreeMap<(Instant, u64), Action>,
    scheduled: u64,
    judged: usize,
    is_calm: bool,
    is_told: bool,
    timeouts: BTreeMap<&'static str, u32>,
}

fn at(duration: Duration) -> Instant {
    Instant::ZERO + duration
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let rules = [TimeoutRule::Any, TimeoutRule::Majority];
        let gate_rule = rules[random.below(2) as usize];
        let config = JobsConfig { gate_rule, ..JobsConfig::default() };
        let mut network = Network::new(config, seed);
        network.weather = Weather {
            delay_min_ms: 1,
            delay_max_ms: 1 + random.below(400),
            loss: [0.0, 0.05, 0.3][random.below(3) as usize],
            duplication: 0.1,
        };
        let mut origin = || seconds(random.below(10_000_000).into());
        let gates = vec![network.add_gate(origin()), network.add_gate(origin())];
        let datacenters = DATACENTERS.iter().map(|name| {
            let managers =
                vec![network.add_manager(name, origin()), network.add_manager(name, origin())];
            Datacenter { leader: Some(managers[0]), managers, term: 1 }
        });
        let datacenters = datacenters.collect();
        let mut world = World {
            network,
            random,
            jobs: Vec::new(),
            datacenters,
            gate: gates[0],
            gates,
            actions: BTreeMap::new(),
            scheduled: 0,
            judged: 0,
            is_calm: false,
            is_told: false,
            timeouts: BTreeMap::new(),
        };
        (0..JOBS).for_each(|number| world.plan_job(number));
        world.plan_faults();
        world
    }

    fn draw(&mut self, low: u32, high: u32) -> Duration {
        millis(u64::from(low) * 1_000 + u64::from(self.random.below((high - low) * 1_000)))
    }

    fn plan(&mut self, when: Instant, action: Action) {
        self.scheduled += 1;
        self.actions.insert((when, self.scheduled), action);
    }

    fn plan_in(&mut self, low: u32, high: u32, action: Action) {
        let when = self.network.now + self.draw(low, high);
        self.plan(when, action);
    }

    fn plan_job(&mut self, number: usize) {
        let has_gate = self.random.chance(0.8);
        let mut places: Vec<usize> = (0..DATACENTERS.len()).collect();
        self.random.shuffle(&mut places);
        let count = if has_gate { 1 + self.random.below(4) as usize } else { 1 };
        let submitted_at = at(self.draw(0, 900));
        let timeout = self.draw(30, 1_200);
        let sites = places[..count].iter().map(|&datacenter| {
            let hangs = self.random.chance(0.4);
            let completes = self.random.chance(0.6);
            let hangs_at = if hangs { submitted_at + self.draw(0, 900) } else { Instant::MAX };
            let completes_at =
                if completes { submitted_at + self.draw(10, 1_200) } else { Instant::MAX };
            Truth {
                datacenter,
                fate: Fate::Waiting,
                started_at: submitted_at,
                progressed_at: submitted_at,
                extension: Duration::ZERO,
                hangs_at,
                // What hangs does not complete either.
                completes_at: if completes_at < hangs_at { completes_at } else { Instant::MAX },
                progress_interval: self.draw(2, PROGRESS_INTERVAL_MAX),
                was_overdue: false,
                fence: FenceToken(0),
                had_former_leader: false,
            }
        });
        let sites = sites.collect();
        let id = JobId::from(number as u128 + 1);
        let is_decided = false;
        self.jobs.push(ModelJob { id, timeout, has_gate, submitted_at, is_decided, sites });
        self.plan(submitted_at, Action::Submit(number));
    }

    fn plan_faults(&mut self) {
        let hosts = self.network.hosts.len() as u32;
        let storm = STORM.as_secs() as u32;
        for datacenter in 0..DATACENTERS.len() {
            for _ in 0..self.random.below(4) {
                self.plan_in(0, storm, Action::CrashLeader(datacenter));
            }
            for _ in 0..self.random.below(3) {
                self.plan_in(0, storm, Action::Depose(datacenter));
            }
        }
        for _ in 0..self.random.below(3) {
            self.plan_in(0, storm, Action::CrashGate);
        }
        if self.random.chance(0.3) {
            self.plan_in(0, storm, Action::SwitchGate(false));
        }
        for _ in 0..self.random.below(30) {
            let (one, other) = (self.random.below(hosts), self.random.below(hosts));
            self.plan_in(0, storm, Action::Partition(one as usize, other as usize));
        }
        for _ in 0..self.random.below(12) {
            self.plan_in(0, storm, Action::Heal);
        }
    }

    /// The storm, then clear weather until everything has ended and been forgotten.
    fn run(&mut self) {
        self.run_until(at(STORM));
        self.is_calm = true;
        self.network.weather = support::CALM;
        self.network.unblock_all();
        for host in self.gates.clone() {
            self.restart_gate(host);
        }
        self.run_until(at(STORM) + seconds(60));
        self.check_that_decisions_arrived();
        self.run_until(at(STORM) + seconds(4 * 3_600));
        self.check_that_all_is_over();
    }

    fn run_until(&mut self, end: Instant) {
        while let Some((&(when, number), _)) = self.actions.first_key_value() {
            if when > end {
                break;
            }
            self.network.run_until(when);
            self.judge();
            let action = self.actions.remove(&(when, number)).unwrap();
            self.act(action);
            self.judge();
        }
        self.network.run_until(end);
        self.judge();
    }

    fn act(&mut self, action: Action) {
        if self.is_told && !matches!(action, Action::Progress(..)) {
            println!("{:?}: gate {}, {action:?}", self.network.now, self.gate);
        }
        match action {
            Action::Submit(job) => self.submit(job),
            Action::Start(job, site) => self.start(job, site),
            Action::Progress(job, site) => self.progress(job, site),
            Action::Extend(job, site) => self.extend(job, site),
            Action::Complete(job, site) => self.complete(job, site),
            Action::CrashLeader(datacenter) if !self.is_calm => self.unseat(datacenter, true),
            Action::Depose(datacenter) if !self.is_calm => self.unseat(datacenter, false),
            Action::CrashLeader(_) | Action::Depose(_) => {}
            Action::Elect(datacenter, snapshots, taken_at) => {
                self.elect(datacenter, snapshots, taken_at);
            }
            Action::Release(host, jobs) => self.release(host, &jobs),
            Action::RestartManager(host) => {
                if matches!(self.network.hosts[host].role, Role::Down) {
                    self.network.start_manager(host);
                }
            }
            Action::CrashGate if !self.is_calm => self.crash_gate(),
            Action::CrashGate => {}
            Action::SwitchGate(with_state) => self.switch_gate(with_state),
            Action::RestartGate(host) => self.restart_gate(host),
            Action::Partition(one, other) if !self.is_calm => self.network.block(one, other),
            Action::Partition(..) => {}
            Action::Heal => self.network.unblock_all(),
        }
    }

    fn is_up(&self, host: usize) -> bool {
        !matches!(self.network.hosts[host].role, Role::Down)
    }

    fn submit(&mut self, number: usize) {
        let job = self.jobs[number].clone();
        if job.has_gate {
            if !self.is_up(self.gate) {
                return self.plan_in(1, 10, Action::Submit(number));
            }
            let targets: Vec<_> = job
                .sites
                .iter()
                .map(|site| DatacenterTarget {
                    datacenter: DATACENTERS[site.datacenter].parse().unwrap(),
                    leader: None,
                })
                .collect();
            let (job, timeout) = (job.id, job.timeout);
            let start = GateJobStart { job, timeout, datacenters: &targets };
            self.network.with_gate(self.gate, |gate, now| gate.job_started(now, &start)).unwrap();
        }
        self.jobs[number].submitted_at = self.network.now;
        for site in 0..job.sites.len() {
            self.plan_in(0, 2, Action::Start(number, site));
        }
    }

    fn start(&mut self, number: usize, site: usize) {
        let job = &self.jobs[number];
        let datacenter = &self.datacenters[job.sites[site].datacenter];
        let Some(leader) = datacenter.leader else {
            return self.plan_in(1, 5, Action::Start(number, site));
        };
        let fence = FenceToken(datacenter.term);
        let gate = job.has_gate.then(|| self.network.address(self.gate));
        let datacenter_count = job.sites.len() as u16;
        let (job, timeout) = (job.id, job.timeout);
        let start = JobStart { job, timeout, gate, datacenter_count, fence };
        let is_new = self.network.with_manager(leader, |m, now| m.job_started(now, &start));
        assert_eq!(is_new, Ok(true));
        let now = self.network.now;
        let truth = &mut self.jobs[number].sites[site];
        (truth.fate, truth.fence) = (Fate::Running, fence);
        (truth.started_at, truth.progressed_at) = (now, now);
        let completes_at = truth.completes_at;
        if completes_at < Instant::MAX {
            self.plan(completes_at.max(now), Action::Complete(number, site));
        }
        self.plan_progress(number, site);
        if self.random.chance(0.3) {
            self.plan_in(1, 900, Action::Extend(number, site));
        }
    }

    fn plan_progress(&mut self, number: usize, site: usize) {
        let truth = &self.jobs[number].sites[site];
        let next = self.network.now + truth.progress_interval;
        if truth.fate == Fate::Running && next < truth.hangs_at {
            self.plan(next, Action::Progress(number, site));
        }
    }

    fn leader_of(&self, number: usize, site: usize) -> Option<usize> {
        self.datacenters[self.jobs[number].sites[site].datacenter].leader
    }

    /// Whether a job was over time at some moment up to now.
    fn note_overdue(truth: &mut Truth, timeout: Duration, now: Instant) -> bool {
        let extension = if truth.had_former_leader { Duration::ZERO } else { truth.extension };
        let is_over = now >= truth.started_at + timeout + extension;
        let is_stuck = now - truth.progressed_at >= seconds(120);
        // A former leader does not know of the end either.
        let is_running = truth.fate == Fate::Running || truth.had_former_leader;
        truth.was_overdue |= is_running && (is_over || is_stuck);
        truth.was_overdue
    }

    fn progress(&mut self, number: usize, site: usize) {
        self.plan_progress(number, site);
        let (job, now) = (self.jobs[number].id, self.network.now);
        let Some(leader) = self.leader_of(number, site) else { return };
        let timeout = self.jobs[number].timeout;
        let truth = &mut self.jobs[number].sites[site];
        if truth.fate != Fate::Running {
            return;
        }
        Self::note_overdue(truth, timeout, now);
        truth.progressed_at = now;
        assert!(self.network.progress(leader, job), "{job} runs, but its leader does not know it");
    }

    fn extend(&mut self, number: usize, site: usize) {
        let Some(leader) = self.leader_of(number, site) else { return };
        let (job, now, timeout) =
            (self.jobs[number].id, self.network.now, self.jobs[number].timeout);
        let grant = self.draw(1, 60);
        let truth = &mut self.jobs[number].sites[site];
        if truth.fate != Fate::Running || now >= truth.hangs_at {
            return;
        }
        Self::note_overdue(truth, timeout, now);
        truth.extension += grant;
        truth.progressed_at = now;
        assert!(self.network.with_manager(leader, |m, now| m.extension_granted(now, job, grant)));
    }

    fn complete(&mut self, number: usize, site: usize) {
        if self.jobs[number].sites[site].fate != Fate::Running {
            return;
        }
        let Some(leader) = self.leader_of(number, site) else {
            return self.plan_in(1, 5, Action::Complete(number, site));
        };
        let job = self.jobs[number].id;
        let outcome = JobOutcome::ALL[self.random.below(3) as usize];
        assert!(self.network.with_manager(leader, |m, now| m.job_finished(now, job, outcome)));
        let (timeout, now) = (self.jobs[number].timeout, self.network.now);
        let truth = &mut self.jobs[number].sites[site];
        Self::note_overdue(truth, timeout, now);
        truth.fate = Fate::Finished;
    }

    /// Takes the leader of a datacenter away, and has another elected from its state.
    fn unseat(&mut self, number: usize, crashes: bool) {
        let Some(leader) = self.datacenters[number].leader.take() else { return };
        let clock = self.network.clock(leader);
        let snapshots: Vec<_> = self.network.manager(leader).snapshots(clock).collect();
        if crashes {
            self.network.crash(leader);
            self.plan_in(10, 60, Action::RestartManager(leader));
        } else {
            // Under local authority a leader has to know that its lease has ended; with a gate it
            // may go on for a while.
            let (gated, local): (Vec<_>, Vec<_>) =
                snapshots.iter().partition(|snapshot| snapshot.gate.is_some());
            let ids = |snapshots: Vec<&JobSnapshot>| snapshots.iter().map(|s| s.job).collect();
            let (gated, local): (Vec<JobId>, Vec<JobId>) = (ids(gated), ids(local));
            self.release(leader, &local);
            self.plan_in(1, 200, Action::Release(leader, gated));
        }
        // From here on only what the next leader says counts.
        let next = FenceToken(self.datacenters[number].term + 1);
        let sites = self.jobs.iter_mut().flat_map(|job| &mut job.sites);
        for site in sites.filter(|site| site.datacenter == number) {
            site.fence = next;
            site.had_former_leader |= !crashes;
        }
        let now = self.network.now;
        self.plan_in(2, 30, Action::Elect(number, snapshots, now));
    }

    fn release(&mut self, host: usize, jobs: &[JobId]) {
        let is_leader = self.datacenters.iter().any(|datacenter| datacenter.leader == Some(host));
        if !self.is_up(host) || is_leader {
            return;
        }
        for &job in jobs {
            let lost = LeaderChange::Lost;
            self.network.with_manager(host, |m, now| m.leader_changed(now, job, &lost)).unwrap();
        }
    }

    fn elect(&mut self, number: usize, snapshots: Vec<JobSnapshot>, taken_at: Instant) {
        let mut managers = self.datacenters[number].managers.clone();
        managers.rotate_left(self.random.below(2) as usize);
        let Some(&leader) = managers.iter().find(|&&host| self.is_up(host)) else {
            return self.plan_in(1, 10, Action::Elect(number, snapshots, taken_at));
        };
        let datacenter = &mut self.datacenters[number];
        datacenter.leader = Some(leader);
        datacenter.term += 1;
        let term = FenceToken(datacenter.term);
        let gate = self.network.address(self.gate);
        // What is left from an earlier leadership and not in the agreed state is over.
        let clock = self.network.clock(leader);
        let tracked = self.network.manager(leader).snapshots(clock).map(|snapshot| snapshot.job);
        let agreed = |job: &JobId| snapshots.iter().any(|snapshot| snapshot.job == *job);
        let left: Vec<_> = tracked.filter(|job| !agreed(job)).collect();
        for job in left {
            let lost = LeaderChange::Lost;
            self.network.with_manager(leader, |m, now| m.leader_changed(now, job, &lost)).unwrap();
        }
        for snapshot in snapshots {
            let job = snapshot.job;
            let snapshot = JobSnapshot { gate: snapshot.gate.map(|_| gate), ..snapshot };
            let snapshot = snapshot.aged(self.network.now - taken_at);
            let change = LeaderChange::Gained { snapshot, term };
            self.network
                .with_manager(leader, |m, now| m.leader_changed(now, job, &change))
                .unwrap();
            let index = self.jobs.iter().position(|known| known.id == job).unwrap();
            let sites = &mut self.jobs[index].sites;
            let site = sites.iter().position(|site| site.datacenter == number).unwrap();
            sites[site].fence = term;
            // Workers that work show it to the new leader soon.
            if self.network.now < sites[site].hangs_at {
                self.plan_in(0, REAPPEARANCE_MAX, Action::Progress(index, site));
            }
        }
    }

    fn crash_gate(&mut self) {
        let gate = self.gate;
        if self.is_up(gate) {
            self.network.crash(gate);
            self.plan_in(30, 900, Action::RestartGate(gate));
            self.plan_in(5, 20, Action::SwitchGate(false));
        }
    }

    fn switch_gate(&mut self, is_second_try: bool) {
        let old = self.gate;
        let new = self.gates[usize::from(old == self.gates[0])];
        if !self.is_up(new) {
            if !is_second_try {
                self.plan_in(30, 60, Action::SwitchGate(true));
            }
            return;
        }
        self.gate = new;
        if self.is_up(old) && self.random.chance(0.5) {
            // The next gate may be given what the last one knew, which may be anything but new.
            let clock = self.network.clock(old);
            let snapshots: Vec<_> = self.network.gate(old).snapshots(clock).collect();
            for snapshot in snapshots {
                self.network.with_gate(new, |gate, now| gate.job_resumed(now, &snapshot)).unwrap();
            }
        }
        let (old, new) = (self.network.address(old), self.network.address(new));
        for host in 0..self.network.hosts.len() {
            if matches!(self.network.hosts[host].role, Role::Manager(_)) {
                self.network.manager(host).gate_changed(old, new).unwrap();
            }
        }
    }

    fn restart_gate(&mut self, host: usize) {
        if !self.is_up(host) {
            self.network.start_gate(host);
        }
    }

    /// Looks at everything the hosts were told since the last time.
    fn judge(&mut self) {
        while let Some(&(host, when, event)) = self.network.events.get(self.judged) {
            self.judged += 1;
            let job = event_job(&event);
            let index = self.jobs.iter().position(|known| known.id == job).unwrap();
            match event {
                JobEvent::GlobalTimeout { reason, .. } => {
                    self.judge_gate(host, index, reason, when)
                }
                JobEvent::TimedOut { reason, fence, .. } => {
                    self.judge_manager(host, index, reason, fence, when);
                }
                JobEvent::Stuck { fence, .. } => {
                    let site = self.site_on(host, index);
                    let truth = &self.jobs[index].sites[site];
                    if fence < truth.fence {
                        // It hears of no progress any more, and the gate may hear only of it.
                        self.jobs[index].sites[site].was_overdue = true;
                        continue;
                    }
                    assert!(when >= truth.hangs_at, "{job} works, but was called stuck: {truth:?}");
                    assert!(when - truth.progressed_at >= seconds(120), "{truth:?}");
                }
                JobEvent::Superseded { fence, .. } => {
                    let site = self.site_on(host, index);
                    assert!(fence < self.jobs[index].sites[site].fence, "it still leads {job}");
                }
                JobEvent::StatusCorrection { .. } => assert!(self.jobs[index].is_decided),
                other => panic!("nothing of the kind was expected: {other:?}"),
            }
        }
    }

    fn site_on(&self, host: usize, index: usize) -> usize {
        let datacenter =
            self.datacenters.iter().position(|place| place.managers.contains(&host)).unwrap();
        let sites = &self.jobs[index].sites;
        sites.iter().position(|site| site.datacenter == datacenter).unwrap()
    }

    fn judge_manager(
        &mut self,
        host: usize,
        index: usize,
        reason: TimeoutReason,
        fence: FenceToken,
        when: Instant,
    ) {
        let site = self.site_on(host, index);
        let ModelJob { id, timeout, is_decided, .. } = self.jobs[index];
        let truth = &mut self.jobs[index].sites[site];
        // A host acts on what the leader of the datacenter says, not on what a former one does.
        if fence != truth.fence {
            assert!(fence < truth.fence, "{id}: {reason:?} of a leader to come");
            return;
        }
        assert_eq!(truth.fate, Fate::Running, "{id} ended twice in {site}: {reason:?} at {when:?}");
        let is_over = when >= truth.started_at + timeout + truth.extension;
        let is_stuck = when - truth.progressed_at >= seconds(120);
        let is_just = match reason {
            TimeoutReason::Deadline => is_over,
            TimeoutReason::Stuck => is_stuck,
            TimeoutReason::GateSilent => is_over || is_stuck,
            _ => is_decided,
        };
        assert!(is_just, "{id}: {reason:?} at {when:?} is early: {truth:?}");
        truth.fate = Fate::TimedOut;
        // A fallback is known to the gate as a timeout of this datacenter.
        truth.was_overdue |= !reason.is_global();
        *self.timeouts.entry(reason.name()).or_default() += 1;
    }

    fn judge_gate(&mut self, gate: usize, index: usize, reason: TimeoutReason, when: Instant) {
        *self.timeouts.entry("decisions").or_default() += 1;
        let is_any = self.network.config.gate_rule == TimeoutRule::Any;
        let job = &mut self.jobs[index];
        let timeout = job.timeout;
        // A second gate may hear first from datacenters that the decision of the first has ended.
        let is_first = !std::mem::replace(&mut job.is_decided, true);
        for site in &mut job.sites {
            Self::note_overdue(site, timeout, when);
        }
        let job = &self.jobs[index];
        let heard_at = |site: &Truth| {
            let datacenter = DATACENTERS[site.datacenter].parse().unwrap();
            let reports = self.network.heard.get(&(gate, job.id, datacenter))?;
            reports.iter().map(|&(at, ..)| at).rfind(|&at| at <= when)
        };
        let is_silent = |site: &Truth| heard_at(site).is_none_or(|at| when - at >= seconds(300));
        let is_late = |site: &Truth| site.was_overdue || site.fate == Fate::TimedOut;
        let late = job.sites.iter().filter(|site| is_late(site)).count();
        let mut working =
            job.sites.iter().filter(|site| site.fate == Fate::Running && !is_late(site));
        let is_just = match reason {
            TimeoutReason::GlobalDeadline => {
                let first = job.sites.iter().map(|site| site.started_at).min().unwrap();
                when >= job.submitted_at.min(first) + timeout
            }
            TimeoutReason::DatacentersTimedOut if is_any => late > 0,
            TimeoutReason::DatacentersTimedOut => {
                late > 0 && (2 * late > job.sites.len() || working.all(is_silent))
            }
            TimeoutReason::AllStuck => {
                working.all(|site| when - site.progressed_at >= seconds(180) || is_silent(site))
            }
            other => panic!("{other:?} is no reason of a gate"),
        };
        assert!(is_just || !is_first, "{reason:?} at {when:?} is early: {job:?}");
    }

    /// Once everybody can be reached, a job that timed out globally has timed out everywhere.
    fn check_that_decisions_arrived(&mut self) {
        let clock = self.network.clock(self.gate);
        let gate = self.network.gate(self.gate);
        let decided: Vec<_> =
            gate.snapshots(clock).filter(|job| job.decision.is_some()).map(|job| job.job).collect();
        for id in decided {
            let job = self.jobs.iter().find(|job| job.id == id).unwrap();
            let leaders = job.sites.iter().filter(|site| site.fate == Fate::Running);
            let late: Vec<_> = leaders.collect();
            assert!(late.is_empty(), "{id} still runs a minute after the storm: {late:?}");
        }
    }

    fn check_that_all_is_over(&mut self) {
        for job in &self.jobs {
            for site in &job.sites {
                let is_over = matches!(site.fate, Fate::Finished | Fate::TimedOut);
                assert!(is_over, "{} never ended: {site:?}", job.id);
            }
        }
        for (number, host) in self.network.hosts.iter().enumerate() {
            let left = match &host.role {
                Role::Gate(gate) => gate.len() + gate.site_count(),
                Role::Manager(manager) => manager.len() + manager.worker_count(),
                Role::Down => 0,
            };
            assert_eq!(left, 0, "host {number} holds something for ever");
        }
        assert_eq!(self.network.next_at(), None, "somebody still waits for something");
    }
}

#[test]
fn every_job_ends_once_and_in_time_whoever_fails() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let one: Option<u64> = number("SHOAL_SEED");
    let seeds = match one {
        Some(seed) => vec![seed],
        None => FOUND.into_iter().chain(0..number("SHOAL_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let mut timeouts: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.is_told = one.is_some();
            world.run();
            world.timeouts
        });
        let counts = outcome.unwrap_or_else(|_| {
            panic!(
                "seed {seed} failed; replay with: SHOAL_SEED={seed} cargo test -p shoal-tests --test jobs_model \
                 -- --nocapture"
            )
        });
        for (reason, count) in counts {
            *timeouts.entry(reason).or_default() += count;
        }
    }
    println!("{timeouts:?}");
    // A history in which nothing happens proves nothing.
    for reason in TimeoutReason::ALL.into_iter().filter(|_| one.is_none()) {
        assert!(timeouts.contains_key(reason.name()), "no {reason:?} in {timeouts:?}");
    }
}
