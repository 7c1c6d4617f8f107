//! A run under way: engines, the programs that use them, and what goes wrong.
//!
//! The programs do what programs around Shoal do. Managers keep what a next leader needs in a store that
//! outlives them. The first manager of a datacenter that sees its leader dead takes over from there; a leader
//! that restarts does so, too. When the gate is seen dead, the other gate takes its place and all managers are
//! told, each at its own time.

use std::collections::BTreeMap;

use shoal_core::federation::LeadershipMode;
use shoal_core::jobs::{
    DatacenterTarget, ExtensionRequest, FenceToken, GateJobStart, JobEvent, JobId, JobOutcome,
    JobSnapshot, JobStart, LeaderChange, WorkerId,
};
use shoal_core::random::Random;
use shoal_core::{Config, Duration, Event, Generation, Instant, MemberState, Role};

use super::plan::{Fault, GATES, Plan};
use super::truth::{Fate, Truth};
use super::{Narrator, Outcome, Telling};
use crate::detection::default_config;
use crate::host::{address_of, host_at};
use crate::network::NetworkOptions;
use crate::simulation::Simulation;

/// How long the cluster may take to form before the plan begins.
const FORMATION: Duration = Duration::from_secs(5);
/// A datacenter without a leader gets one after this long, should membership not have brought one about.
const PATIENCE_MS: u64 = 5_000;
/// How long after everything healed a decision may take to reach every datacenter: time to find each other
/// again, to elect, and to repeat what was not heard.
const SPREAD_MAX: Duration = Duration::from_secs(15);
/// How long after everything healed the last job may take to end, and to be forgotten.
const END_MAX: Duration = Duration::from_secs(200);
/// How long it takes to tell all managers of another gate, in ms.
const TELLING_MAX_MS: u64 = 1_500;
/// Workers that work show it to a new leader sooner than it calls anything stuck, in ms.
const REAPPEARANCE_MAX_MS: u64 = 900;

#[derive(Debug)]
enum Action {
    Fault(Fault),
    Submit(usize),
    Start(usize, usize),
    /// The job makes progress, and again later.
    Progress(usize, usize),
    /// Workers that work show it to a new leader.
    Reappear(usize, usize),
    Extend(usize, usize),
    Complete(usize, usize),
    /// A machine starts its node again.
    Restart(u32),
    /// A datacenter gets a leader if it still has none.
    Elect(usize),
    /// A manager learns that it leads these jobs no more.
    Release(u32, Vec<JobId>),
    /// The other gate takes over, unless the gate is not this one any more.
    ReplaceGate(u32),
    /// A manager learns which gate to report to.
    TellGate(u32),
    /// A gate learns that it is none any more, when all managers know.
    ReleaseGate(u32),
}

/// Who leads in a datacenter.
#[derive(Debug, Default)]
struct Datacenter {
    leader: Option<u32>,
    /// The one that led last.
    last: u32,
    term: u64,
    /// What the leader kept before it crashed, and when.
    store: (Vec<JobSnapshot>, Instant),
}

pub(super) struct World<'a> {
    plan: Plan,
    simulation: Simulation,
    random: Random,
    truth: Truth,
    datacenters: Vec<Datacenter>,
    gate: u32,
    generations: Vec<u64>,
    agenda: BTreeMap<(Instant, u64), Action>,
    entered: u64,
    /// Observations of the present step that have been looked at.
    seen: usize,
    loss: Option<f64>,
    is_cut: bool,
    /// When something was wrong last.
    wrong_at: Instant,
    told: Vec<Telling>,
    narrator: Option<Narrator<'a>>,
}

impl<'a> World<'a> {
    pub fn new(plan: Plan, seed: u64, narrator: Option<Narrator<'a>>) -> World<'a> {
        let mut simulation = Simulation::new(seed, plan.network.clone());
        for &clock in &plan.clocks {
            simulation.add_host(clock);
        }
        let origin = Instant::ZERO + FORMATION;
        let leader = |datacenter| plan.managers_of(datacenter).start;
        let datacenters = (0..plan.datacenters).map(|datacenter| Datacenter {
            leader: Some(leader(datacenter)),
            last: leader(datacenter),
            term: 1,
            ..Datacenter::default()
        });
        let datacenters = datacenters.collect();
        let mut world = World {
            truth: Truth::new(&plan.jobs, &plan.settings, origin),
            simulation,
            random: Random::new(seed ^ 1),
            datacenters,
            gate: 0,
            generations: vec![0; plan.clocks.len()],
            agenda: BTreeMap::new(),
            entered: 0,
            seen: 0,
            loss: None,
            is_cut: false,
            wrong_at: Instant::ZERO,
            told: Vec::new(),
            narrator,
            plan,
        };
        for (at, fault) in world.plan.faults.clone() {
            world.enter(origin + at, Action::Fault(fault));
        }
        for job in 0..world.plan.jobs.len() {
            world.enter(origin + world.plan.jobs[job].submitted_at, Action::Submit(job));
        }
        world
    }

    /// Lives through the plan, heals, and waits for every job to end and to be forgotten.
    pub fn run(mut self, seed: u64) -> Result<Outcome, String> {
        self.tell(|world| format!("{:?}", world.plan));
        for host in 0..self.simulation.host_count() {
            self.start_host(host)?;
        }
        self.run_until(Instant::ZERO + FORMATION + self.plan.trouble)?;
        self.heal()?;
        let healed_at = self.simulation.now();
        self.run_until(healed_at + SPREAD_MAX)?;
        self.check_that_decisions_arrived()?;
        while !self.is_over() {
            if self.simulation.now() > healed_at + END_MAX {
                return Err(self.what_is_left());
            }
            self.run_until(self.simulation.now() + Duration::from_secs(1))?;
        }
        Ok(Outcome {
            seed,
            nodes: self.simulation.host_count(),
            jobs: self.plan.jobs.len(),
            virtual_time: self.simulation.now() - Instant::ZERO,
            datagrams: self.simulation.delivered(),
            counts: self.truth.counts,
            told: self.told,
            trace_hash: self.simulation.trace_hash(),
        })
    }

    fn tell(&mut self, line: impl FnOnce(&World) -> String) {
        if let Some(narrator) = self.narrator.take() {
            let seconds = (self.simulation.now() - Instant::ZERO).as_secs_f64();
            narrator(&format!("{seconds:11.6} {}", line(self)));
            self.narrator = Some(narrator);
        }
    }

    fn enter(&mut self, at: Instant, action: Action) {
        self.entered += 1;
        self.agenda.insert((at, self.entered), action);
    }

    fn enter_after(&mut self, delay: Duration, action: Action) {
        self.enter(self.simulation.now() + delay, action);
    }

    fn enter_within(&mut self, millis: u64, action: Action) {
        let delay = Duration::from_millis(u64::from(self.random.below(millis as u32)));
        self.enter_after(delay, action);
    }

    fn run_until(&mut self, end: Instant) -> Result<(), String> {
        loop {
            let due = self.agenda.first_key_value().map_or(end, |(&(at, _), _)| at.min(end));
            let acted = self.simulation.step(due.max(self.simulation.now()));
            self.seen = 0;
            self.look()?;
            if let Some(violation) = self.simulation.violation() {
                return Err(violation.to_string());
            }
            if acted.is_some() {
                continue;
            }
            match self.agenda.first_entry().filter(|entry| entry.key().0 <= due) {
                Some(entry) => {
                    let action = entry.remove();
                    self.note_wrong();
                    self.act(action)?;
                    self.note_wrong();
                }
                None => return Ok(()),
            }
        }
    }

    /// Lets a program use its engine. `None` when nothing runs there.
    fn command<T>(
        &mut self,
        host: u32,
        call: impl FnOnce(&mut shoal_core::Engine, Instant) -> T,
    ) -> Result<Option<T>, String> {
        let mut answer = None;
        self.simulation.command(host, |engine, now| answer = Some(call(engine, now)));
        self.look()?;
        Ok(answer)
    }

    /// Looks at everything that nodes have told since the last time.
    fn look(&mut self) -> Result<(), String> {
        while let Some(observation) = self.simulation.observations().get(self.seen).cloned() {
            self.seen += 1;
            let host = observation.observer;
            match observation.event {
                Event::Member(member) if member.state == MemberState::Dead => {
                    self.see_death(host, host_at(member.address))?;
                }
                Event::Job(event) => {
                    self.tell(|_| format!("node {host} says {event:?}"));
                    let at = self.simulation.now().saturating_since(Instant::ZERO + FORMATION);
                    self.told.push(Telling { at, node: host, event });
                    self.judge(host, &event)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn judge(&mut self, host: u32, event: &JobEvent) -> Result<(), String> {
        let (now, job) = (self.simulation.now(), job_of(event));
        let index = self.truth.find(job).ok_or_else(|| format!("nobody submitted job {job}"))?;
        if host < GATES {
            self.note_wrong();
            let silent_after = Duration::from_millis(self.plan.settings.gate_silent_after_ms);
            let is_excused = now.saturating_since(self.wrong_at) <= silent_after;
            return self.truth.judge_gate(now, index, event, is_excused);
        }
        let datacenter = self.plan.datacenter_of(host);
        let sites = &self.truth.jobs[index].sites;
        let site = sites.iter().position(|site| site.plan.datacenter == datacenter);
        let site = site.ok_or_else(|| format!("job {job} was never sent to node {host}"))?;
        self.truth.judge_manager(now, index, site, event).map(drop)
    }

    fn see_death(&mut self, host: u32, dead: u32) -> Result<(), String> {
        if dead == self.gate {
            self.tell(|_| format!("node {host} sees the gate, node {dead}, dead"));
            self.enter_within(300, Action::ReplaceGate(dead));
        }
        if host < GATES || dead < GATES || !self.simulation.is_up(host) {
            return Ok(());
        }
        let datacenter = self.plan.datacenter_of(host);
        let is_leader = dead != host && self.datacenters[datacenter].last == dead;
        if is_leader && self.plan.datacenter_of(dead) == datacenter {
            // The first of those that are left goes first; who is wrong about that is overtaken.
            let engine = self.simulation.engine(host).expect("it is up");
            let now = self.simulation.local_time(host);
            let is_active = |manager: u32| {
                let member = engine.member(address_of(manager), now);
                member.is_some_and(|member| member.state.is_active())
            };
            if !self.plan.managers_of(datacenter).take_while(|&first| first < host).any(is_active) {
                self.tell(|_| format!("node {host} sees its leader, node {dead}, dead"));
                self.elect(datacenter, host)?;
            }
        }
        Ok(())
    }

    /// Whether anything is wrong that could keep a gate from hearing of a job.
    fn note_wrong(&mut self) {
        let is_leaderless = self.datacenters.iter().any(|place| place.leader.is_none());
        let is_gateless = !self.simulation.is_up(self.gate);
        if self.is_cut || self.loss.is_some() || is_leaderless || is_gateless {
            self.wrong_at = self.simulation.now();
        }
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        if !matches!(action, Action::Progress(..) | Action::Reappear(..)) {
            self.tell(|_| format!("{action:?}"));
        }
        match action {
            Action::Fault(fault) => self.begin(fault),
            Action::Submit(job) => self.submit(job),
            Action::Start(job, site) => self.start(job, site),
            Action::Progress(job, site) => {
                let interval = self.truth.jobs[job].sites[site].plan.progress_interval;
                self.enter_after(interval, Action::Progress(job, site));
                self.progress(job, site)
            }
            Action::Reappear(job, site) => self.progress(job, site),
            Action::Extend(job, site) => self.extend(job, site),
            Action::Complete(job, site) => self.complete(job, site),
            Action::Restart(host) => self.restart(host),
            Action::Elect(datacenter) => self.elect_somebody(datacenter),
            Action::Release(host, jobs) => self.release(host, &jobs),
            Action::ReplaceGate(gate) => self.replace_gate(gate),
            Action::TellGate(host) => self.tell_gate(host),
            Action::ReleaseGate(host) => self.release_gate(host),
        }
    }

    fn begin(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::CrashLeader { datacenter, back_after } => {
                let Some(leader) = self.datacenters[datacenter].leader else { return Ok(()) };
                self.truth.count("leader crashes");
                let (jobs, now) = (self.snapshots(leader), self.simulation.now());
                self.simulation.crash(leader);
                self.datacenters[datacenter].store = (jobs, now);
                self.unseat(datacenter, false);
                self.enter_after(back_after, Action::Restart(leader));
                self.enter_after(Duration::from_millis(PATIENCE_MS), Action::Elect(datacenter));
            }
            Fault::Depose { datacenter } => {
                let Some(leader) = self.datacenters[datacenter].leader else { return Ok(()) };
                let others = self.plan.managers_of(datacenter).filter(|&host| host != leader);
                let next = others.filter(|&host| self.simulation.is_up(host)).max();
                return next.map_or(Ok(()), |next| self.elect(datacenter, next));
            }
            Fault::CrashGate { back_after } => {
                if self.simulation.is_up(self.gate) {
                    self.truth.count("gate crashes");
                    self.simulation.crash(self.gate);
                    self.enter_after(back_after, Action::Restart(self.gate));
                    let replace = Action::ReplaceGate(self.gate);
                    self.enter_after(Duration::from_millis(PATIENCE_MS), replace);
                }
            }
            Fault::SwitchGate => return self.replace_gate(self.gate),
            Fault::Cut(from, to) => {
                self.simulation.network().cut(from, to);
                self.is_cut = true;
            }
            Fault::Mend => {
                self.simulation.network().mend();
                self.is_cut = false;
            }
            Fault::Loss(loss) => {
                let options = NetworkOptions { loss, ..self.plan.network.clone() };
                self.simulation.network().set_options(options);
                self.loss = Some(loss);
            }
            Fault::Calm => {
                self.simulation.network().set_options(self.plan.network.clone());
                self.loss = None;
            }
        }
        Ok(())
    }

    fn submit(&mut self, job: usize) -> Result<(), String> {
        let (has_gate, timeout) = (self.truth.jobs[job].has_gate, self.truth.jobs[job].timeout);
        if has_gate {
            let names = self.truth.jobs[job].sites.iter().map(|site| site.plan.datacenter);
            let targets: Vec<DatacenterTarget> = names
                .map(|datacenter| DatacenterTarget {
                    datacenter: self.plan.name_of(datacenter).parse().expect("a name"),
                    leader: None,
                })
                .collect();
            let start =
                GateJobStart { job: self.truth.jobs[job].id, timeout, datacenters: &targets };
            let started =
                self.command(self.gate, |gate, now| gate.gate_job_started(now, &start))?;
            match started {
                None => {
                    self.enter_within(1_000, Action::Submit(job));
                    return Ok(());
                }
                Some(answer) => answer.map(drop).map_err(|error| error.to_string())?,
            }
        }
        self.truth.jobs[job].submitted_at = self.simulation.now();
        for site in 0..self.truth.jobs[job].sites.len() {
            self.enter_within(200, Action::Start(job, site));
        }
        Ok(())
    }

    fn leader_of(&self, job: usize, site: usize) -> Option<u32> {
        self.datacenters[self.truth.jobs[job].sites[site].plan.datacenter].leader
    }

    fn start(&mut self, job: usize, site: usize) -> Result<(), String> {
        let Some(leader) = self.leader_of(job, site) else {
            self.enter_within(500, Action::Start(job, site));
            return Ok(());
        };
        let truth = &self.truth.jobs[job];
        let fence = FenceToken(self.datacenters[truth.sites[site].plan.datacenter].term);
        let start = JobStart {
            job: truth.id,
            timeout: truth.timeout,
            gate: truth.has_gate.then(|| address_of(self.gate)),
            datacenter_count: truth.sites.len() as u16,
            fence,
        };
        let now = self.simulation.now();
        self.truth.jobs[job].sites[site].start(now, fence);
        let is_new = self.command(leader, |manager, now| manager.job_started(now, &start))?;
        if !matches!(is_new, Some(Ok(true))) {
            return Err(format!("the leader does not start job {}: {is_new:?}", start.job));
        }
        let plan = self.truth.jobs[job].sites[site].plan.clone();
        let origin = Instant::ZERO + FORMATION;
        for at in plan.extends_at {
            self.enter((origin + at).max(now), Action::Extend(job, site));
        }
        if let Some(at) = plan.completes_at {
            self.enter((origin + at).max(now), Action::Complete(job, site));
        }
        self.enter_after(plan.progress_interval, Action::Progress(job, site));
        Ok(())
    }

    fn progress(&mut self, job: usize, site: usize) -> Result<(), String> {
        let now = self.simulation.now();
        let leader = self.leader_of(job, site);
        let leader = leader.filter(|_| self.truth.jobs[job].sites[site].is_working(now));
        let Some(leader) = leader else { return Ok(()) };
        self.truth.progress(now, job, site);
        let id = self.truth.jobs[job].id;
        let is_known = self.command(leader, |manager, now| manager.job_progress(now, id, None))?;
        match is_known {
            Some(Ok(true)) => Ok(()),
            answer => Err(format!("its leader does not know that job {id} runs: {answer:?}")),
        }
    }

    fn extend(&mut self, job: usize, site: usize) -> Result<(), String> {
        let now = self.simulation.now();
        if !self.truth.jobs[job].sites[site].is_working(now) {
            return Ok(());
        }
        let Some(leader) = self.leader_of(job, site) else { return Ok(()) };
        let (id, worker) = (self.truth.jobs[job].id, WorkerId::from_name(b"busy"));
        let done = (now - Instant::ZERO).as_secs_f64();
        let request = ExtensionRequest::new(done);
        let answer = self
            .command(leader, |manager, now| manager.worker_extension(now, id, worker, &request))?;
        if let Some(Ok(grant)) = answer {
            self.truth.extend(now, job, site, grant.duration);
        }
        Ok(())
    }

    fn complete(&mut self, job: usize, site: usize) -> Result<(), String> {
        if self.truth.jobs[job].sites[site].fate != Fate::Running {
            return Ok(());
        }
        let Some(leader) = self.leader_of(job, site) else {
            self.enter_within(500, Action::Complete(job, site));
            return Ok(());
        };
        let id = self.truth.jobs[job].id;
        let outcome = JobOutcome::ALL[self.random.below(3) as usize];
        self.truth.finish(self.simulation.now(), job, site);
        let answer = self.command(leader, |manager, now| manager.job_finished(now, id, outcome))?;
        match answer {
            Some(Ok(true)) => Ok(()),
            answer => Err(format!("its leader does not know job {id}: {answer:?}")),
        }
    }

    /// What a manager knows of the jobs it leads.
    fn snapshots(&self, host: u32) -> Vec<JobSnapshot> {
        let now = self.simulation.local_time(host);
        let engine = self.simulation.engine(host);
        let jobs = self.truth.jobs.iter();
        jobs.filter_map(|job| engine?.job_snapshot(now, job.id)).collect()
    }

    /// From here on only what the next leader says counts.
    fn unseat(&mut self, datacenter: usize, goes_on: bool) {
        let place = &mut self.datacenters[datacenter];
        place.leader = None;
        let next = FenceToken(place.term + 1);
        let sites = self.truth.jobs.iter_mut().flat_map(|job| &mut job.sites);
        for site in sites.filter(|site| site.plan.datacenter == datacenter) {
            site.fence = next;
            site.had_former_leader |= goes_on;
        }
    }

    fn elect_somebody(&mut self, datacenter: usize) -> Result<(), String> {
        if self.datacenters[datacenter].leader.is_some() {
            return Ok(());
        }
        match self.plan.managers_of(datacenter).find(|&host| self.simulation.is_up(host)) {
            Some(host) => self.elect(datacenter, host),
            None => {
                self.enter_within(1_000, Action::Elect(datacenter));
                Ok(())
            }
        }
    }

    /// Makes a manager the leader of its datacenter, from what the store has.
    fn elect(&mut self, datacenter: usize, host: u32) -> Result<(), String> {
        let now = self.simulation.now();
        if let Some(former) = self.datacenters[datacenter].leader {
            if former == host {
                return Ok(());
            }
            let jobs = self.snapshots(former);
            let ids = jobs.iter().map(|snapshot| snapshot.job).collect();
            self.enter_within(5_000, Action::Release(former, ids));
            self.datacenters[datacenter].store = (jobs, now);
            self.unseat(datacenter, true);
        }
        self.truth.count("elections");
        let place = &mut self.datacenters[datacenter];
        place.term += 1;
        (place.leader, place.last) = (Some(host), host);
        let term = FenceToken(place.term);
        let (agreed, taken_at) = place.store.clone();
        // What is left from an earlier leadership and not in the agreed state is over.
        let left = self.snapshots(host).into_iter().map(|snapshot| snapshot.job);
        let left = left.filter(|job| agreed.iter().all(|snapshot| snapshot.job != *job));
        let left: Vec<JobId> = left.collect();
        self.give_up(host, &left)?;
        for snapshot in agreed {
            let gate = snapshot.gate.map(|_| address_of(self.gate));
            let snapshot = JobSnapshot { gate, ..snapshot }.aged(now - taken_at);
            let change = LeaderChange::Gained { snapshot, term };
            let job = snapshot.job;
            self.command(host, |manager, now| manager.leader_changed(now, job, &change))?;
            let index = self.truth.find(job).expect("only known jobs are kept");
            let sites = &self.truth.jobs[index].sites;
            let site = sites.iter().position(|site| site.plan.datacenter == datacenter);
            let site = site.expect("a leader keeps jobs of its datacenter");
            self.enter_within(REAPPEARANCE_MAX_MS, Action::Reappear(index, site));
        }
        Ok(())
    }

    fn release(&mut self, host: u32, jobs: &[JobId]) -> Result<(), String> {
        let datacenter = self.plan.datacenter_of(host);
        if self.datacenters[datacenter].leader == Some(host) {
            return Ok(());
        }
        self.give_up(host, jobs)
    }

    fn give_up(&mut self, host: u32, jobs: &[JobId]) -> Result<(), String> {
        for &job in jobs {
            self.command(host, |manager, now| {
                manager.leader_changed(now, job, &LeaderChange::Lost)
            })?;
        }
        Ok(())
    }

    fn start_host(&mut self, host: u32) -> Result<(), String> {
        let datacenter = self.plan.datacenter_of(host);
        let mut config = default_config(self.simulation.host_count());
        config.role = if host < GATES { Role::Gate } else { Role::Manager };
        config.datacenter = self.plan.name_of(datacenter).parse().expect("a name");
        config.probe_interval_ms = self.plan.probe_interval_ms;
        (config.sync_interval_ms, config.join_interval_ms) = (1_000, 100);
        config.jobs = self.plan.settings;
        // Here the programs say who leads, and their terms are the fences that the truth expects.
        config.federation.leadership = LeadershipMode::External;
        let generation = &mut self.generations[host as usize];
        *generation += 1;
        let config = Config { generation: Generation(*generation), ..config };
        let seeds: Vec<u32> = (0..GATES).chain([self.plan.managers_of(0).start]).collect();
        let started = self.simulation.start(host, config, &seeds);
        started.map_err(|error| format!("the configuration is refused: {error}"))?;
        self.look()
    }

    fn restart(&mut self, host: u32) -> Result<(), String> {
        if self.simulation.is_up(host) {
            return Ok(());
        }
        self.start_host(host)?;
        let datacenter = self.plan.datacenter_of(host);
        let place = &self.datacenters[datacenter];
        // It finds in the store that nobody has taken its place.
        if host >= GATES && place.leader.is_none() && place.last == host {
            return self.elect(datacenter, host);
        }
        Ok(())
    }

    fn replace_gate(&mut self, old: u32) -> Result<(), String> {
        let new = 1 - old;
        if self.gate != old {
            return Ok(());
        }
        if !self.simulation.is_up(new) {
            if !self.simulation.is_up(old) {
                self.enter_after(Duration::from_secs(1), Action::ReplaceGate(old));
            }
            return Ok(());
        }
        self.truth.count("gate changes");
        self.gate = new;
        self.wrong_at = self.simulation.now();
        if self.simulation.is_up(old) && self.random.chance(0.5) {
            // The next gate may be given what the last one knew, which may be anything but new.
            for job in 0..self.truth.jobs.len() {
                let (id, now) = (self.truth.jobs[job].id, self.simulation.local_time(old));
                let engine = self.simulation.engine(old);
                let known = engine.and_then(|engine| engine.gate_job_snapshot(now, id));
                if let Some(snapshot) = known {
                    self.command(new, |gate, now| gate.gate_job_resumed(now, &snapshot))?;
                }
            }
        }
        for host in GATES..self.simulation.host_count() {
            self.enter_within(TELLING_MAX_MS, Action::TellGate(host));
        }
        let told = Duration::from_millis(TELLING_MAX_MS);
        self.enter_after(2 * told, Action::ReleaseGate(old));
        Ok(())
    }

    fn release_gate(&mut self, host: u32) -> Result<(), String> {
        for job in 0..self.truth.jobs.len() {
            let id = self.truth.jobs[job].id;
            if self.gate != host {
                self.command(host, |gate, now| gate.gate_job_released(now, id))?;
            }
        }
        Ok(())
    }

    fn tell_gate(&mut self, host: u32) -> Result<(), String> {
        let (old, new) = (address_of(1 - self.gate), address_of(self.gate));
        self.wrong_at = self.simulation.now();
        self.command(host, |manager, now| manager.gate_changed(now, old, new)).map(drop)
    }

    fn heal(&mut self) -> Result<(), String> {
        self.tell(|_| "everything heals".to_owned());
        self.agenda.retain(|_, action| !matches!(action, Action::Fault(_)));
        self.simulation.network().mend();
        self.simulation.network().set_options(self.plan.network.clone());
        (self.is_cut, self.loss) = (false, None);
        (0..self.simulation.host_count()).try_for_each(|host| self.restart(host))?;
        (0..self.plan.datacenters).try_for_each(|datacenter| self.elect_somebody(datacenter))
    }

    /// Once everybody can be reached, a job that timed out globally has timed out everywhere.
    fn check_that_decisions_arrived(&self) -> Result<(), String> {
        let now = self.simulation.local_time(self.gate);
        let Some(gate) = self.simulation.engine(self.gate) else { return Ok(()) };
        for job in &self.truth.jobs {
            let snapshot = gate.gate_job_snapshot(now, job.id);
            let is_decided = snapshot.is_some_and(|snapshot| snapshot.decision.is_some());
            let running = job.sites.iter().find(|site| site.fate == Fate::Running);
            if let Some(site) = running.filter(|_| is_decided) {
                return Err(format!("job {} was decided and still runs: {site:?}", job.id));
            }
        }
        Ok(())
    }

    /// Whether every job has ended everywhere and nobody remembers any.
    fn is_over(&self) -> bool {
        let mut sites = self.truth.jobs.iter().flat_map(|job| &job.sites);
        let has_ended = sites.all(|site| matches!(site.fate, Fate::Finished | Fate::TimedOut));
        let mut hosts = 0..self.simulation.host_count();
        has_ended && hosts.all(|host| self.job_count(host) == 0)
    }

    fn job_count(&self, host: u32) -> usize {
        self.simulation.engine(host).map_or(0, |engine| engine.job_count())
    }

    fn what_is_left(&self) -> String {
        let sites =
            self.truth.jobs.iter().flat_map(|job| job.sites.iter().map(|site| (job.id, site)));
        let running = sites.filter(|(_, site)| matches!(site.fate, Fate::Waiting | Fate::Running));
        let running: Vec<_> = running.collect();
        let counts: Vec<usize> =
            (0..self.simulation.host_count()).map(|host| self.job_count(host)).collect();
        format!("long after healing, jobs run: {running:?}; jobs remembered by node: {counts:?}")
    }
}

fn job_of(event: &JobEvent) -> JobId {
    match event {
        JobEvent::TimedOut { job, .. }
        | JobEvent::Stuck { job, .. }
        | JobEvent::Superseded { job, .. }
        | JobEvent::WorkerOverdue { job, .. }
        | JobEvent::GlobalTimeout { job, .. }
        | JobEvent::StatusCorrection { job, .. } => *job,
        other => unreachable!("an event that the simulation does not know: {other:?}"),
    }
}
