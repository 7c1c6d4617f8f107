//! A manager or a gate as a program of its own: jobs that end in time although managers and gates die.
//!
//! ```text
//! export SHOAL_SECRET=...                                          # 16 bytes or more
//! cargo run -p shoal-examples --example jobs -- gate east 1 127.0.0.1:7946
//! cargo run -p shoal-examples --example jobs -- manager east 1 127.0.0.1:0 127.0.0.1:7946
//! ```
//!
//! A line `submit NAME SECONDS DATACENTER...` on the standard input of a gate sends a job to datacenters, where it
//! works until it is told not to: on managers, `hang NAME` stops its progress and `finish NAME` ends it.
//! What happens is printed. The third argument makes all times so many times shorter.
//!
//! What a program has to do itself is little: it says what becomes of its jobs, and names the manager or gate
//! that takes the place of a dead one. Here that is the living one with the smallest address, and what it
//! needs is in the state of the dead one's node, which every member holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, channel};

use shoal_core::io::{Node, NodeOptions};
use shoal_core::jobs::{
    DatacenterTarget, FenceToken, JobEvent, JobId, JobOutcome, JobSnapshot, JobStart, JobsConfig,
    LeaderChange, SNAPSHOT_SIZE,
};
use shoal_core::{
    Address, Config, DatacenterName, Duration, Event, Instant, Member, MemberEvent, MemberState,
    Role, Secret,
};

type Failure = Box<dyn std::error::Error>;

/// How often jobs that work say so, and how often what a next leader needs is published.
const TICK: Duration = Duration::from_millis(100);

/// The settings of the documents with all times so many times shorter.
fn settings(speed: u64) -> JobsConfig {
    let mut jobs = JobsConfig::default();
    for time_ms in [
        &mut jobs.stuck_after_ms,
        &mut jobs.report_interval_ms,
        &mut jobs.fallback_after_ms,
        &mut jobs.resume_grace_ms,
        &mut jobs.retry_min_ms,
        &mut jobs.retry_max_ms,
        &mut jobs.outcome_lifetime_ms,
        &mut jobs.gate_stuck_after_ms,
        &mut jobs.gate_silent_after_ms,
        &mut jobs.gate_deadline_grace_ms,
        &mut jobs.gate_retention_ms,
    ] {
        *time_ms /= speed;
    }
    jobs
}

struct Program {
    node: Node,
    role: Role,
    datacenter: DatacenterName,
    /// Jobs that this manager leads.
    led: BTreeSet<JobId>,
    /// Jobs that make no progress here.
    hung: BTreeSet<JobId>,
    /// What jobs are called.
    names: BTreeMap<JobId, String>,
    /// What other managers have published, and when it came.
    published: BTreeMap<Address, (Vec<JobSnapshot>, Instant)>,
    dead_gates: BTreeSet<Address>,
    alive: usize,
    had_jobs: bool,
}

fn main() -> Result<(), Failure> {
    let usage = "usage: jobs gate|manager DATACENTER SPEED BIND [SEED]..., secret in SHOAL_SECRET";
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or(usage);
    let (role, datacenter, speed): (Role, DatacenterName, u64) =
        (next()?.parse()?, next()?.parse()?, next()?.parse()?);
    let bind = next()?.parse()?;
    let secret = Secret::new(std::env::var("SHOAL_SECRET").map_err(|_| usage)?)?;

    let mut config = Config::new(Address::UNSPECIFIED, secret);
    (config.role, config.datacenter, config.jobs) = (role, datacenter, settings(speed));
    config.probe_interval_ms = (config.probe_interval_ms / speed).max(200);
    let mut options = NodeOptions::new(bind, config);
    options.join = arguments.map(|seed| seed.parse()).collect::<Result<_, _>>()?;
    let node = Node::start(options)?;
    println!("started {}", node.address());

    let mut program = Program {
        node,
        role,
        datacenter,
        led: BTreeSet::new(),
        hung: BTreeSet::new(),
        names: BTreeMap::new(),
        published: BTreeMap::new(),
        dead_gates: BTreeSet::new(),
        alive: 0,
        had_jobs: false,
    };
    program.run(&lines_of_stdin())
}

/// The lines of the standard input, as they come.
fn lines_of_stdin() -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    receiver
}

impl Program {
    fn run(&mut self, lines: &Receiver<String>) -> Result<(), Failure> {
        loop {
            let end = self.node.now() + TICK;
            while let Some(event) = self.node.wait_event(end - self.node.now()) {
                self.handle(event)?;
            }
            while let Ok(line) = lines.try_recv() {
                if let Err(error) = self.obey(&line) {
                    println!("cannot {line}: {error}");
                }
            }
            self.tick()?;
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Member(member) if member.state == MemberState::Dead => self.bury(&member)?,
            Event::State { address, state, at } => {
                let snapshots = state.chunks(SNAPSHOT_SIZE).filter_map(JobSnapshot::from_bytes);
                self.published.insert(address, (snapshots.collect(), at));
            }
            Event::Broadcast { source, payload, .. } => {
                self.accept(source, std::str::from_utf8(&payload)?)?;
            }
            Event::Job(event) => self.tell(&event),
            _ => {}
        }
        Ok(())
    }

    /// Obeys a line of the standard input.
    fn obey(&mut self, line: &str) -> Result<(), Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["submit", name, seconds, ref datacenters @ ..] => {
                self.submit(name, Duration::try_from_secs_f64(seconds.parse()?)?, datacenters)?;
            }
            ["hang", name] => drop(self.hung.insert(JobId::from_name(name.as_bytes()))),
            ["finish", name] => {
                let job = JobId::from_name(name.as_bytes());
                self.node.job_finished(job, JobOutcome::Completed)?;
            }
            _ => return Err("expected submit NAME SECONDS DATACENTER..., hang or finish".into()),
        }
        Ok(())
    }

    /// On a gate: watches a job and sends it to a manager of each datacenter. How it gets there is the
    /// program's affair; a broadcast will do for an example.
    fn submit(&self, name: &str, timeout: Duration, datacenters: &[&str]) -> Result<(), Failure> {
        let mut targets = Vec::new();
        for datacenter in datacenters {
            let datacenter = datacenter.parse()?;
            let leader = self.first(Role::Manager, Some(&datacenter)).ok_or("nobody is there")?;
            targets.push(DatacenterTarget { datacenter, leader: Some(leader) });
        }
        let job = JobId::from_name(name.as_bytes());
        let leaders = targets.iter().filter_map(|target| target.leader);
        let leaders: Vec<String> = leaders.map(|leader| leader.to_string()).collect();
        self.node.gate_job_started(job, timeout, targets)?;
        let order = format!("{name} {} {}", timeout.as_millis(), leaders.join(" "));
        Ok(self.node.broadcast(order.into())?)
    }

    /// On a manager: leads a job that a gate has sent here.
    fn accept(&mut self, gate: Address, order: &str) -> Result<(), Failure> {
        let mut words = order.split(' ');
        let (Some(name), Some(timeout_ms)) = (words.next(), words.next()) else {
            return Err("a broadcast that is no order".into());
        };
        let leaders = words.map(str::parse).collect::<Result<Vec<Address>, _>>()?;
        let job = JobId::from_name(name.as_bytes());
        self.names.insert(job, name.to_owned());
        if leaders.contains(&self.node.address()) {
            let timeout = Duration::from_millis(timeout_ms.parse()?);
            let datacenter_count = leaders.len() as u16;
            let start =
                JobStart { gate: Some(gate), datacenter_count, ..JobStart::new(job, timeout) };
            self.node.job_started(start)?;
            self.led.insert(job);
            println!("leads {name}");
            self.publish()?;
        }
        Ok(())
    }

    /// A member is dead: somebody takes its place.
    fn bury(&mut self, dead: &MemberEvent) -> Result<(), Failure> {
        if self.role != Role::Manager {
            return Ok(());
        }
        if dead.role == Role::Gate {
            self.dead_gates.insert(dead.address);
        }
        let is_next =
            self.first(Role::Manager, Some(&self.datacenter)) == Some(self.node.address());
        if dead.role == Role::Manager && dead.datacenter == self.datacenter && is_next {
            self.take_over(dead.address)?;
        }
        // Jobs that were taken over may still report to a gate that died before.
        if let Some(gate) = self.first(Role::Gate, None) {
            for &dead_gate in &self.dead_gates {
                self.node.gate_changed(dead_gate, gate)?;
            }
        }
        Ok(())
    }

    /// Goes on with the jobs of a dead leader, from what it published last.
    fn take_over(&mut self, dead: Address) -> Result<(), Failure> {
        let Some((snapshots, at)) = self.published.remove(&dead) else { return Ok(()) };
        for snapshot in snapshots {
            // The fence becomes higher than the dead leader's by itself; a term of elections outside
            // Shoal would go here.
            let snapshot = snapshot.aged(self.node.now() - at);
            let change = LeaderChange::Gained { snapshot, term: FenceToken(0) };
            if self.node.leader_changed(snapshot.job, change)? {
                self.led.insert(snapshot.job);
                println!("took over {}", self.name(snapshot.job));
            }
        }
        Ok(())
    }

    /// The living member of a role, and of a datacenter if one is named, with the smallest address.
    fn first(&self, role: Role, datacenter: Option<&DatacenterName>) -> Option<Address> {
        let members = self.node.members().into_iter();
        let fits = |member: &Member| {
            member.role == role
                && member.state == MemberState::Alive
                && datacenter.is_none_or(|name| member.datacenter == *name)
        };
        members.filter(fits).map(|member| member.address).min()
    }

    /// Jobs that work say so, and everything that a next leader needs is published.
    fn tick(&mut self) -> Result<(), Failure> {
        let alive = self.node.members().iter().filter(|m| m.state == MemberState::Alive).count();
        if std::mem::replace(&mut self.alive, alive) != alive {
            println!("sees {alive}");
        }
        let has_jobs = self.node.job_count()? > 0;
        if std::mem::replace(&mut self.had_jobs, has_jobs) && !has_jobs {
            println!("remembers no job");
        }
        if self.role == Role::Manager && !self.led.is_empty() {
            for &job in self.led.difference(&self.hung) {
                self.node.job_progress(job, None)?;
            }
            self.publish()?;
        }
        Ok(())
    }

    /// Attaches what a next leader needs to this node, for every member to hold.
    fn publish(&mut self) -> Result<(), Failure> {
        let mut state = Vec::with_capacity(self.led.len() * SNAPSHOT_SIZE);
        for job in std::mem::take(&mut self.led) {
            if let Some(snapshot) = self.node.job_snapshot(job)? {
                self.led.insert(job);
                state.extend_from_slice(&snapshot.to_bytes());
            }
        }
        Ok(self.node.set_state(state.into())?)
    }

    fn name(&self, job: JobId) -> String {
        self.names.get(&job).cloned().unwrap_or_else(|| job.to_string())
    }

    fn tell(&self, event: &JobEvent) {
        match event {
            JobEvent::TimedOut { job, reason, elapsed, .. } => {
                println!("timed out {} {} after {elapsed:.2?}", self.name(*job), reason.name());
            }
            JobEvent::Stuck { job, since_progress, .. } => {
                println!("stuck {} for {since_progress:.2?}", self.name(*job));
            }
            JobEvent::GlobalTimeout { job, reason, elapsed, .. } => {
                println!(
                    "global timeout {} {} after {elapsed:.2?}",
                    self.name(*job),
                    reason.name()
                );
            }
            other => println!("{other:?}"),
        }
    }
}
