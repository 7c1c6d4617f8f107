//! Managers and gates on a virtual network: every host has a clock of its own, every message is
//! written to bytes and read again, and may be delayed, repeated, lost or held up by a partition.
#![allow(dead_code)] // Each test uses the part it needs.

use std::collections::BTreeMap;

use shoal_core::jobs::messages::{MESSAGE_SIZE_MAX, ReportKind};
use shoal_core::jobs::{
    DatacenterTarget, FenceToken, GateJobStart, GateJobTracker, JobEvent, JobId, JobMessage,
    JobSnapshot, JobStart, JobTracker, JobsConfig, LeaderChange,
};
use shoal_core::random::Random;
use shoal_core::{Address, DatacenterName, Duration, Instant};

/// What runs on a host.
pub enum Role {
    Gate(Box<GateJobTracker>),
    Manager(Box<JobTracker>),
    /// Crashed, or not started.
    Down,
}

pub struct Host {
    pub role: Role,
    pub address: Address,
    pub datacenter: DatacenterName,
    /// What the host's clock shows when the network's shows zero.
    pub clock_origin: Duration,
}

/// How the network treats a message.
#[derive(Clone, Copy)]
pub struct Weather {
    pub delay_min_ms: u32,
    pub delay_max_ms: u32,
    pub loss: f64,
    pub duplication: f64,
}

pub const CALM: Weather = Weather { delay_min_ms: 1, delay_max_ms: 1, loss: 0.0, duplication: 0.0 };

struct Packet {
    source: usize,
    target: usize,
    bytes: [u8; MESSAGE_SIZE_MAX],
    size: usize,
}

/// A report as a gate received it: when, under which leadership, and its number.
pub type Heard = (Instant, FenceToken, u32);

pub struct Network {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub config: JobsConfig,
    pub weather: Weather,
    pub random: Random,
    /// Everything the hosts were told, with who and when.
    pub events: Vec<(usize, Instant, JobEvent)>,
    /// Messages delivered, by kind.
    pub delivered: BTreeMap<&'static str, usize>,
    /// When each gate got news of a job from each datacenter, since it started, with fence and
    /// number.
    pub heard: BTreeMap<(usize, JobId, DatacenterName), Vec<Heard>>,
    in_flight: BTreeMap<(Instant, u64), Packet>,
    sent: u64,
    blocked: Vec<(usize, usize)>,
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Network {
    pub fn new(config: JobsConfig, seed: u64) -> Network {
        Network {
            now: Instant::from_millis(0),
            hosts: Vec::new(),
            config,
            weather: CALM,
            random: Random::new(seed),
            events: Vec::new(),
            delivered: BTreeMap::new(),
            heard: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            sent: 0,
            blocked: Vec::new(),
        }
    }

    /// Adds a host that is down, with a clock that began this long before the network's.
    pub fn add(&mut self, datacenter: &str, clock_origin: Duration) -> usize {
        let number = self.hosts.len();
        self.hosts.push(Host {
            role: Role::Down,
            address: format!("10.0.0.{}:7946", number + 1).parse().unwrap(),
            datacenter: datacenter.parse().unwrap(),
            clock_origin,
        });
        number
    }

    pub fn add_gate(&mut self, clock_origin: Duration) -> usize {
        let host = self.add("gates", clock_origin);
        self.start_gate(host);
        host
    }

    pub fn add_manager(&mut self, datacenter: &str, clock_origin: Duration) -> usize {
        let host = self.add(datacenter, clock_origin);
        self.start_manager(host);
        host
    }

    pub fn start_gate(&mut self, host: usize) {
        let tracker = GateJobTracker::new(self.config, host as u64, self.clock(host)).unwrap();
        self.hosts[host].role = Role::Gate(Box::new(tracker));
    }

    pub fn start_manager(&mut self, host: usize) {
        let tracker = JobTracker::new(self.config, host as u64, self.clock(host)).unwrap();
        self.hosts[host].role = Role::Manager(Box::new(tracker));
    }

    pub fn crash(&mut self, host: usize) {
        self.heard.retain(|&(gate, _, _), _| gate != host);
        self.hosts[host].role = Role::Down;
    }

    /// What the clock of a host shows.
    pub fn clock(&self, host: usize) -> Instant {
        self.now + self.hosts[host].clock_origin
    }

    pub fn address(&self, host: usize) -> Address {
        self.hosts[host].address
    }

    pub fn manager(&mut self, host: usize) -> &mut JobTracker {
        match &mut self.hosts[host].role {
            Role::Manager(tracker) => tracker,
            _ => panic!("host {host} is no manager"),
        }
    }

    pub fn gate(&mut self, host: usize) -> &mut GateJobTracker {
        match &mut self.hosts[host].role {
            Role::Gate(tracker) => tracker,
            _ => panic!("host {host} is no gate"),
        }
    }

    /// Calls a manager, then drains it.
    pub fn with_manager<T>(
        &mut self,
        host: usize,
        call: impl FnOnce(&mut JobTracker, Instant) -> T,
    ) -> T {
        let now = self.clock(host);
        let answer = call(self.manager(host), now);
        self.drain(host);
        answer
    }

    /// Calls a gate, then drains it.
    pub fn with_gate<T>(
        &mut self,
        host: usize,
        call: impl FnOnce(&mut GateJobTracker, Instant) -> T,
    ) -> T {
        let now = self.clock(host);
        let answer = call(self.gate(host), now);
        self.drain(host);
        answer
    }

    /// Starts a job on a gate and on one manager per datacenter, all at this moment.
    pub fn start_job(&mut self, job: JobId, timeout: Duration, gate: usize, managers: &[usize]) {
        let targets: Vec<_> = managers
            .iter()
            .map(|&host| DatacenterTarget { datacenter: self.hosts[host].datacenter, leader: None })
            .collect();
        let start = GateJobStart { job, timeout, datacenters: &targets };
        self.with_gate(gate, |gate, now| gate.job_started(now, &start)).unwrap();
        let start = JobStart {
            gate: Some(self.address(gate)),
            datacenter_count: managers.len() as u16,
            ..JobStart::new(job, timeout)
        };
        for &host in managers {
            self.with_manager(host, |manager, now| manager.job_started(now, &start)).unwrap();
        }
    }

    pub fn progress(&mut self, host: usize, job: JobId) -> bool {
        self.with_manager(host, |manager, now| manager.job_progress(now, job, None))
    }

    pub fn snapshot(&self, host: usize, job: JobId) -> Option<JobSnapshot> {
        match &self.hosts[host].role {
            Role::Manager(tracker) => tracker.snapshot(self.clock(host), job),
            _ => None,
        }
    }

    /// Makes a manager the leader of a job, from this snapshot.
    pub fn take_over(&mut self, host: usize, snapshot: JobSnapshot) {
        let change = LeaderChange::Gained { snapshot, term: FenceToken(0) };
        let call = |manager: &mut JobTracker, now| {
            manager.leader_changed(now, snapshot.job, &change).unwrap()
        };
        assert!(self.with_manager(host, call), "the job was not taken over");
    }

    /// Keeps two hosts from hearing each other.
    pub fn block(&mut self, one: usize, other: usize) {
        self.blocked.push((one, other));
    }

    pub fn unblock_all(&mut self) {
        self.blocked.clear();
    }

    pub fn is_blocked(&self, one: usize, other: usize) -> bool {
        self.blocked.contains(&(one, other)) || self.blocked.contains(&(other, one))
    }

    /// Puts a message on the wire as if `source` had sent it.
    pub fn send(&mut self, source: usize, target: usize, message: &JobMessage) {
        let copies = 1 + u32::from(self.random.chance(self.weather.duplication));
        for _ in 0..copies {
            let is_lost = self.random.chance(self.weather.loss);
            if is_lost || self.is_blocked(source, target) {
                continue;
            }
            let Weather { delay_min_ms, delay_max_ms, .. } = self.weather;
            let delay = delay_min_ms + self.random.below(delay_max_ms - delay_min_ms + 1);
            let mut bytes = [0; MESSAGE_SIZE_MAX];
            let size = message.write(&mut bytes).unwrap();
            self.sent += 1;
            let key = (self.now + millis(delay.into()), self.sent);
            self.in_flight.insert(key, Packet { source, target, bytes, size });
        }
    }

    /// Takes everything out of a host that it has to say.
    pub fn drain(&mut self, host: usize) {
        let clock = self.clock(host);
        loop {
            let outgoing = match &mut self.hosts[host].role {
                Role::Gate(tracker) => tracker.poll_message(clock),
                Role::Manager(tracker) => tracker.poll_message(clock),
                Role::Down => None,
            };
            let Some(outgoing) = outgoing else { break };
            let target = self.hosts.iter().position(|other| other.address == outgoing.target);
            self.send(host, target.expect("a target is a host"), &outgoing.message);
        }
        loop {
            let event = match &mut self.hosts[host].role {
                Role::Gate(tracker) => tracker.poll_event(),
                Role::Manager(tracker) => tracker.poll_event(),
                Role::Down => None,
            };
            let Some(event) = event else { break };
            self.events.push((host, self.now, event));
        }
    }

    /// When something will happen next.
    pub fn next_at(&self) -> Option<Instant> {
        let arrivals = self.in_flight.keys().next().map(|&(at, _)| at);
        let timeouts = self.hosts.iter().filter_map(|host| {
            let at = match &host.role {
                Role::Gate(tracker) => tracker.poll_timeout(),
                Role::Manager(tracker) => tracker.poll_timeout(),
                Role::Down => None,
            };
            at.map(|at| Instant::from_nanos(at.as_nanos()) - Instant::ZERO)
                .map(|at| Instant::ZERO + at.saturating_sub(host.clock_origin))
        });
        arrivals.into_iter().chain(timeouts).min()
    }

    /// Lets time pass until `end`, everything happening in order.
    pub fn run_until(&mut self, end: Instant) {
        let mut steps = 0u32;
        while let Some(at) = self.next_at().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.step();
            steps += 1;
            assert!(steps < 5_000_000, "time stands still at {:?}", self.now);
        }
        self.now = self.now.max(end);
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Delivers what has arrived and lets every host look at its deadlines.
    fn step(&mut self) {
        while let Some(entry) = self.in_flight.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let packet = entry.remove();
            self.deliver(&packet);
        }
        for host in 0..self.hosts.len() {
            let clock = self.clock(host);
            match &mut self.hosts[host].role {
                Role::Gate(tracker) => tracker.handle_timeout(clock),
                Role::Manager(tracker) => tracker.handle_timeout(clock),
                Role::Down => {}
            }
            self.drain(host);
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        let (message, rest) = JobMessage::parse(&packet.bytes[..packet.size]).unwrap();
        assert!(rest.is_empty());
        let clock = self.clock(packet.target);
        let Host { address, datacenter, .. } = self.hosts[packet.source];
        match (&mut self.hosts[packet.target].role, message.is_for_gate()) {
            (Role::Gate(tracker), true) => {
                if let JobMessage::Report(report) = &message {
                    let key = (packet.target, report.job, datacenter);
                    let heard = self.heard.entry(key).or_default();
                    let last = heard.last().map(|&(_, fence, sequence)| (fence, sequence));
                    if last < Some((report.fence, report.sequence)) {
                        heard.push((self.now, report.fence, report.sequence));
                    }
                }
                tracker.handle_message(clock, address, &datacenter, &message);
            }
            (Role::Manager(tracker), false) => tracker.handle_message(clock, address, &message),
            (Role::Down, _) => return,
            _ => panic!("{message:?} reached the wrong kind of host"),
        }
        *self.delivered.entry(kind(&message)).or_default() += 1;
        self.drain(packet.target);
    }

    /// The events of one host about one job, oldest first.
    pub fn told(&self, host: usize, job: JobId) -> Vec<JobEvent> {
        let events = self
            .events
            .iter()
            .filter(|(teller, _, event)| *teller == host && event_job(event) == job);
        events.map(|&(_, _, event)| event).collect()
    }

    /// When the host was told that the job had timed out, in the order of the telling.
    pub fn timed_out_at(&self, host: usize, job: JobId) -> Vec<Instant> {
        let events = self.events.iter().filter(|(teller, _, event)| {
            let is_timeout =
                matches!(event, JobEvent::TimedOut { .. } | JobEvent::GlobalTimeout { .. });
            *teller == host && is_timeout && event_job(event) == job
        });
        events.map(|&(_, at, _)| at).collect()
    }
}

pub fn event_job(event: &JobEvent) -> JobId {
    match event {
        JobEvent::TimedOut { job, .. }
        | JobEvent::Stuck { job, .. }
        | JobEvent::Superseded { job, .. }
        | JobEvent::WorkerOverdue { job, .. }
        | JobEvent::GlobalTimeout { job, .. }
        | JobEvent::StatusCorrection { job, .. } => *job,
        other => panic!("an event that the tests do not know: {other:?}"),
    }
}

/// The name that AD-34 gives a message.
pub fn kind(message: &JobMessage) -> &'static str {
    match message {
        JobMessage::Report(report) => match report.kind {
            ReportKind::Progress => "progress report",
            ReportKind::Timeout => "timeout report",
            ReportKind::LeaderTransfer => "leader transfer",
            ReportKind::Status(Some(_)) => "final status",
            ReportKind::Status(None) => "status correction",
        },
        JobMessage::GlobalTimeout(_) => "global timeout",
        JobMessage::ReportReceipt(_) => "report receipt",
        JobMessage::TimeoutReceipt(_) => "timeout receipt",
    }
}
