//! Real engines on a virtual clock and a virtual network, one event at a time.
//!
//! [`Simulation::step`] takes the next thing that happens: a datagram arrives, or a host's deadline
//! comes. The host acts as the driver of a running node would (one input, then drain, then wait),
//! and what it sends is handed to the [`Network`]. There are no threads and no system time: the
//! seed and the calls made decide everything, and [`Simulation::trace_hash`] tells two runs apart.

use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::random::Random;
use shoal_core::{Address, Config, ConfigError, Duration, Engine, Event, Instant};

use crate::checkers::{self, Rule, Violation};
use crate::clock::Clock;
use crate::host::{Host, ROUND_INPUTS_MAX, Received, address_of, host_at};
use crate::network::{Network, NetworkOptions};
use crate::queue::EventQueue;

/// Old datagrams kept for repetition.
const ARCHIVE_CAPACITY: usize = 512;
/// One in so many datagrams enters the archive once it is full.
const ARCHIVE_SHARE: u32 = 16;

/// What a node told its host.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The true time.
    pub at: Instant,
    /// Which node.
    pub observer: u32,
    /// What it said.
    pub event: Event,
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Arrival { target: u32, datagram: u32 },
    Wake { host: u32 },
}

#[derive(Debug)]
struct Datagram {
    source: Address,
    bytes: Vec<u8>,
}

/// Datagrams under way, in reused places whose buffers keep their capacity.
#[derive(Debug, Default)]
struct Datagrams {
    places: Vec<Datagram>,
    free: Vec<u32>,
}

impl Datagrams {
    fn hold(&mut self, source: Address, bytes: &[u8]) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Datagram { source, bytes: Vec::new() });
            self.places.len() as u32 - 1
        });
        let datagram = &mut self.places[place as usize];
        datagram.source = source;
        datagram.bytes.clear();
        datagram.bytes.extend_from_slice(bytes);
        place
    }
}

/// A datagram of the past.
#[derive(Debug)]
struct Archived {
    source: Address,
    target: u32,
    bytes: Vec<u8>,
}

/// A cluster under simulation.
#[derive(Debug)]
pub struct Simulation {
    now: Instant,
    queue: EventQueue<Happening>,
    hosts: Vec<Host>,
    network: Network,
    random: Random,
    datagrams: Datagrams,
    archive: Vec<Archived>,
    scratch: Box<[u8]>,
    observations: Vec<Observation>,
    /// Whose datagrams were read in the last step.
    sources: Vec<u32>,
    violation: Option<Violation>,
    sent: u64,
    delivered: u64,
    overflowed: u64,
    trace: u64,
}

impl Simulation {
    /// An empty world at the true time zero.
    pub fn new(seed: u64, network: NetworkOptions) -> Simulation {
        let mut random = Random::new(seed);
        Simulation {
            now: Instant::ZERO,
            queue: EventQueue::new(),
            hosts: Vec::new(),
            network: Network::new(network, random.fork()),
            random,
            datagrams: Datagrams::default(),
            archive: Vec::new(),
            scratch: vec![0; DATAGRAM_SIZE_MAX].into(),
            observations: Vec::new(),
            sources: Vec::new(),
            violation: None,
            sent: 0,
            delivered: 0,
            overflowed: 0,
            trace: 0,
        }
    }

    /// Adds a machine on which nothing runs yet, and returns its number.
    pub fn add_host(&mut self, clock: Clock) -> u32 {
        self.hosts.push(Host::new(clock));
        self.hosts.len() as u32 - 1
    }

    /// Starts a node on a machine, in place of what ran there. The address in `config` is filled
    /// in.
    ///
    /// # Errors
    /// When the engine refuses the configuration; nothing runs then.
    ///
    /// # Panics
    /// When the engine refuses the seeds.
    pub fn start(&mut self, host: u32, config: Config, seeds: &[u32]) -> Result<(), ConfigError> {
        self.crash(host);
        let config = Config { advertise: address_of(host), ..config };
        let seed = self.random.next_u64();
        let seeds: Vec<Address> = seeds.iter().map(|&seed| address_of(seed)).collect();
        let now = self.now;
        self.host_mut(host).start(config, seed, now)?;
        self.command(host, |engine, now| engine.join(now, &seeds).expect("seeds are reachable"));
        Ok(())
    }

    /// Ends a node without a word. What waits in its socket is lost.
    pub fn crash(&mut self, host: u32) {
        let index = host as usize;
        self.hosts[index].engine = None;
        while let Some(received) = self.hosts[index].inbox.pop_front() {
            let size = self.release(received.datagram);
            self.hosts[index].note_read(size);
        }
        while let Some((datagram, _)) = self.hosts[index].outbox.pop() {
            self.release(datagram);
        }
        self.hosts[index].wake_at = Instant::MAX;
    }

    /// Gives a node a command through its engine, as a host would.
    pub fn command(&mut self, host: u32, action: impl FnOnce(&mut Engine, Instant)) {
        let local = self.local_time(host);
        self.begin_step(host);
        let machine = self.host_mut(host);
        if let Some(engine) = &mut machine.engine {
            action(engine, local);
            machine.note_input(local);
            self.drain(host);
            self.schedule(host);
        }
    }

    /// Stops a node as SIGSTOP does.
    pub fn stop(&mut self, host: u32) {
        self.host_mut(host).is_stopped = true;
    }

    /// Lets a stopped node continue.
    pub fn resume(&mut self, host: u32) {
        self.host_mut(host).is_stopped = false;
        self.schedule(host);
    }

    /// Keeps a node from sending and reading, while its timers run. (Lifeguard, section V: each
    /// anomalous agent blocks immediately before sending and after receiving any protocol message.)
    pub fn block(&mut self, host: u32) {
        self.command(host, Engine::hold);
        self.host_mut(host).is_blocked = true;
    }

    /// Lets a blocked node send what it wanted to send, and read what has come.
    pub fn unblock(&mut self, host: u32) {
        let outbox = std::mem::take(&mut self.host_mut(host).outbox);
        self.host_mut(host).is_blocked = false;
        for &(datagram, target) in &outbox {
            let bytes = std::mem::take(&mut self.datagrams.places[datagram as usize].bytes);
            self.carry(host, target, &bytes);
            self.datagrams.places[datagram as usize].bytes = bytes;
            self.release(datagram);
        }
        self.command(host, Engine::release);
    }

    /// Makes every input of a node take so long.
    pub fn slow_down(&mut self, host: u32, service: Duration) {
        self.host_mut(host).service = service;
        self.schedule(host);
    }

    /// Brings a datagram to a node as if `source` had sent it.
    pub fn inject(&mut self, source: Address, target: u32, bytes: &[u8]) {
        let datagram = self.datagrams.hold(source, bytes);
        self.queue.push(self.now, Happening::Arrival { target, datagram });
    }

    /// Lets the next thing happen and returns the node that acted, or lets time pass until `end`
    /// and returns `None`. Things that concern no running node pass unseen.
    pub fn step(&mut self, end: Instant) -> Option<u32> {
        self.observations.clear();
        self.sources.clear();
        while self.violation.is_none() {
            let Some((at, happening)) = self.queue.pop_until(end) else {
                self.now = self.now.max(end);
                return None;
            };
            self.now = at;
            match happening {
                Happening::Arrival { target, datagram } => {
                    self.begin_step(target);
                    if self.arrive(target, datagram) {
                        return Some(target);
                    }
                }
                Happening::Wake { host } => {
                    self.begin_step(host);
                    if self.wake(host) {
                        return Some(host);
                    }
                }
            }
        }
        None
    }

    /// Lets everything happen until `end`.
    pub fn run_until(&mut self, end: Instant) {
        while self.step(end).is_some() {}
    }

    /// The true time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How many machines there are.
    pub fn host_count(&self) -> u32 {
        self.hosts.len() as u32
    }

    /// The node that runs on a machine.
    pub fn engine(&self, host: u32) -> Option<&Engine> {
        self.hosts[host as usize].engine.as_ref()
    }

    /// The same, unless it has left the cluster.
    pub fn member(&self, host: u32) -> Option<&Engine> {
        self.engine(host).filter(|engine| engine.poll_timeout().is_some())
    }

    /// The node that runs on a machine, to read its changes.
    pub fn engine_mut(&mut self, host: u32) -> Option<&mut Engine> {
        self.hosts[host as usize].engine.as_mut()
    }

    /// What a machine's clock shows.
    pub fn local_time(&self, host: u32) -> Instant {
        self.hosts[host as usize].clock.local(self.now)
    }

    /// When its last step began in the eyes of a machine's engine: before what its clock shows when
    /// a datagram had waited in the socket.
    pub fn engine_time(&self, host: u32) -> Instant {
        let host = &self.hosts[host as usize];
        host.step_time.unwrap_or(host.engine_time)
    }

    /// Whether a node runs there and is neither stopped nor blocked.
    pub fn is_well(&self, host: u32) -> bool {
        let host = &self.hosts[host as usize];
        host.engine.is_some() && !host.is_stopped && !host.is_blocked
    }

    /// Whether a node runs there, however well.
    pub fn is_up(&self, host: u32) -> bool {
        self.hosts[host as usize].engine.is_some()
    }

    /// What nodes told their hosts in the last step.
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// Whose datagrams the node that acted has read in the last step.
    pub fn sources(&self) -> &[u32] {
        &self.sources
    }

    /// The first broken rule. A simulation stands still once there is one.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The network.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Datagrams that nodes have sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Datagrams that engines have been given.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Datagrams lost because a socket was full.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// A digest of every datagram sent and of every event, in order: equal runs have equal ones.
    pub fn trace_hash(&self) -> u64 {
        self.trace
    }

    fn host_mut(&mut self, host: u32) -> &mut Host {
        &mut self.hosts[host as usize]
    }

    /// Frees a datagram's place and returns its size.
    fn release(&mut self, datagram: u32) -> usize {
        self.datagrams.free.push(datagram);
        self.datagrams.places[datagram as usize].bytes.len()
    }

    fn begin_step(&mut self, host: u32) {
        if let Some(host) = self.hosts.get_mut(host as usize) {
            host.step_time = None;
        }
    }

    fn arrive(&mut self, target: u32, datagram: u32) -> bool {
        let host = self.hosts.get_mut(target as usize).filter(|host| host.engine.is_some());
        let Some(host) = host else {
            self.release(datagram);
            return false;
        };
        let received = Received { datagram, at: self.now };
        if host.is_idle() {
            self.read(target, received);
            self.schedule(target);
            return true;
        }
        let size = self.datagrams.places[datagram as usize].bytes.len();
        if host.enqueue(received, size) {
            self.schedule(target);
        } else {
            self.overflowed += 1;
            self.release(datagram);
        }
        false
    }

    /// A host has something to do: it reads its socket, then looks at its timers.
    fn wake(&mut self, number: u32) -> bool {
        let now = self.now;
        let host = self.host_mut(number);
        if host.wake_at != now || host.engine.is_none() {
            return false;
        }
        host.wake_at = Instant::MAX;
        if host.is_stopped {
            return false;
        }
        let inputs = if host.service.is_zero() { ROUND_INPUTS_MAX } else { 1 };
        for _ in 0..inputs {
            let host = self.host_mut(number);
            if !host.is_reading(now) {
                break;
            }
            let Some(received) = host.inbox.pop_front() else { break };
            let size = self.datagrams.places[received.datagram as usize].bytes.len();
            self.host_mut(number).note_read(size);
            self.read(number, received);
        }
        self.fire_timers(number);
        let host = self.host_mut(number);
        if !host.service.is_zero() && host.busy_until <= now {
            host.busy_until = now + host.service;
        }
        self.schedule(number);
        true
    }

    fn read(&mut self, target: u32, received: Received) {
        let host = &mut self.hosts[target as usize];
        let datagram = &mut self.datagrams.places[received.datagram as usize];
        let local = host.clock.local(received.at);
        let engine = host.engine.as_mut().expect("only running nodes read");
        engine.handle_datagram(local, datagram.source, &mut datagram.bytes);
        host.note_input(local);
        self.sources.push(host_at(datagram.source));
        self.delivered += 1;
        self.datagrams.free.push(received.datagram);
        self.drain(target);
    }

    fn fire_timers(&mut self, number: u32) {
        let local = self.local_time(number);
        let host = self.host_mut(number);
        let engine = host.engine.as_mut().expect("only running nodes wake");
        if engine.poll_timeout().is_none_or(|deadline| deadline > local) {
            return;
        }
        engine.handle_timeout(local);
        host.note_input(local);
        self.drain(number);
        let engine = self.hosts[number as usize].engine.as_ref();
        let checked = checkers::deadline_lies_ahead(engine.and_then(Engine::poll_timeout), local);
        self.note(number, checked);
    }

    /// Takes everything an engine has to say after an input.
    fn drain(&mut self, number: u32) {
        let local = self.local_time(number);
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut count = 0;
        while let Some(engine) = self.host_mut(number).engine.as_mut()
            && let Some(transmit) = engine.poll_transmit(local, &mut scratch[..])
        {
            count += 1;
            let checked = checkers::transmit_is_sane(engine, &transmit, count);
            self.note(number, checked);
            self.transmit(number, host_at(transmit.target), &scratch[..transmit.size]);
        }
        self.scratch = scratch;
        while let Some(event) = self.host_mut(number).engine.as_mut().and_then(Engine::poll_event) {
            self.digest(u64::from(number), event_digest(&event));
            self.observations.push(Observation { at: self.now, observer: number, event });
        }
    }

    fn transmit(&mut self, number: u32, target: u32, bytes: &[u8]) {
        self.sent += 1;
        // The tag at the end of a sealed datagram digests all of it.
        let tail = bytes.last_chunk::<8>().map_or(0, |tail| u64::from_le_bytes(*tail));
        self.digest(u64::from(number) << 32 | u64::from(target), tail);
        if self.hosts[number as usize].is_blocked {
            let datagram = self.datagrams.hold(address_of(number), bytes);
            self.host_mut(number).outbox.push((datagram, target));
        } else {
            self.carry(number, target, bytes);
        }
    }

    /// Hands a datagram to the network.
    fn carry(&mut self, from: u32, target: u32, bytes: &[u8]) {
        let source = address_of(from);
        let arrivals = self.network.carry(self.now, from, target);
        for at in [arrivals.first, arrivals.second].into_iter().flatten() {
            let datagram = self.datagrams.hold(source, bytes);
            self.network.damage(&mut self.datagrams.places[datagram as usize].bytes);
            self.queue.push(at, Happening::Arrival { target, datagram });
        }
        if self.network.options().replay > 0.0 {
            self.archive(source, target, bytes);
            self.replay();
        }
    }

    fn archive(&mut self, source: Address, target: u32, bytes: &[u8]) {
        let archived = Archived { source, target, bytes: bytes.to_vec() };
        if self.archive.len() < ARCHIVE_CAPACITY {
            self.archive.push(archived);
        } else if self.random.below(ARCHIVE_SHARE) == 0 {
            let place = self.random.below(ARCHIVE_CAPACITY as u32) as usize;
            self.archive[place] = archived;
        }
    }

    /// Repeats an old datagram, mostly to whom it was sent.
    fn replay(&mut self) {
        if self.archive.is_empty() || !self.network.replays() {
            return;
        }
        let place = self.random.below(self.archive.len() as u32) as usize;
        let Archived { source, target, bytes } = &self.archive[place];
        let is_misdirected = self.random.chance(0.25);
        let target =
            if is_misdirected { self.random.below(self.hosts.len() as u32) } else { *target };
        let datagram = self.datagrams.hold(*source, bytes);
        self.queue.push(self.now, Happening::Arrival { target, datagram });
    }

    /// Puts a host's next wake-up into the queue unless an earlier one is there.
    fn schedule(&mut self, number: u32) {
        let now = self.now;
        let host = self.host_mut(number);
        let due = host.next_wake(now);
        if due < host.wake_at {
            host.wake_at = due;
            self.queue.push(due, Happening::Wake { host: number });
        }
    }

    fn note(&mut self, node: u32, checked: Result<(), Rule>) {
        if let Err(rule) = checked
            && self.violation.is_none()
        {
            self.violation = Some(Violation { at: self.now, node, rule });
        }
    }

    fn digest(&mut self, left: u64, right: u64) {
        let mixed = (self.trace ^ left).rotate_left(23) ^ right ^ self.now.as_nanos();
        let product = u128::from(mixed) * u128::from(0x9e37_79b9_7f4a_7c15_u64);
        self.trace = (product as u64) ^ (product >> 64) as u64;
    }
}

fn event_digest(event: &Event) -> u64 {
    match event {
        Event::Member(member) => {
            let state = u64::from(member.state as u8) << 56;
            let incarnation = u64::from(member.incarnation.0) << 24;
            state
                ^ incarnation
                ^ member.generation.0
                ^ u64::from(host_at(member.address)).rotate_left(13)
        }
        Event::Joined { .. } => 1,
        Event::JoinDelayed { attempts, .. } => 2 + (u64::from(*attempts) << 8),
        Event::Refuted { incarnation, .. } => 3 + (u64::from(incarnation.0) << 8),
        Event::Left { .. } => 4,
        _ => 5,
    }
}
