//! A running node and its thread, as the host sees them.
//!
//! [`Node::start`] runs a node on a thread of its own; [`NodeThread`] runs many on one. Commands
//! travel to the thread and come back with its answer, which takes well under a millisecond. Reads
//! come from a mirror and never make the engine wait. Events come from a mailbox with a file
//! descriptor that any event loop can watch.

use bytes::Bytes;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::driver::{
    COMMAND_MAILBOX_CAPACITY, Command, Driver, EVENT_MAILBOX_CAPACITY, Hosted, Outlet, RunningGuard,
};
use super::error::{NodeError, StartError};
use super::view::View;
use super::wake::Mailbox;
use super::{Backend, BackendChoice, Transport, clock, socket};
use crate::config::{Config, Secret};
use crate::coordinate::{self, Coordinate, Refusal, Rtt};
use crate::engine::{Engine, ForeignRequest, Member};
use crate::error::CommandError;
use crate::events::Event;
use crate::id::{JobId, WorkerId};
use crate::jobs::{
    DatacenterTarget, ExtensionDenial, ExtensionGrant, ExtensionRequest, GateJobSnapshot,
    GateJobStart, JobOutcome, JobSnapshot, JobStart, LeaderChange, WorkflowCounts,
};
use crate::node::{Address, Generation};
use crate::stats::{Gauges, Stats};
use crate::time::{Duration, Instant};

/// How long a host that waits for an answer believes in a silent thread before it checks on it.
const ANSWER_CHECK: Duration = Duration::from_millis(50);
/// How long a host that found the command mailbox full waits before it tries again.
const FULL_RETRY: Duration = Duration::from_micros(100);

/// What to run and where. Start from [`NodeOptions::new`] and change fields.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The address of the socket. Port 0 takes a free one; `[::]` is reached over IPv6 and IPv4.
    pub bind: SocketAddr,
    /// How the engine behaves. What is zero in the advertised address is taken from the
    /// socket ([`Address::UNSPECIFIED`]: all of it), a generation of 0 from the wall clock.
    pub config: Config,
    /// Members to join through, at most [`SEED_COUNT_MAX`](crate::config::SEED_COUNT_MAX). None
    /// make a cluster of one that others may join.
    pub join: Vec<Address>,
    /// The backend, for a node on a thread of its own.
    pub backend: BackendChoice,
    /// The processor to stay on, for a node on a thread of its own.
    pub cpu: Option<usize>,
    /// Decides every random choice of the engine; drawn from the system when `None`.
    pub seed: Option<u64>,
}

impl NodeOptions {
    /// A node at `bind` that joins nobody, on the best backend, on any processor, seeded by the
    /// system.
    pub fn new(bind: SocketAddr, config: Config) -> NodeOptions {
        let (backend, cpu) = (BackendChoice::Auto, None);
        NodeOptions { bind, config, join: Vec::new(), backend, cpu, seed: None }
    }
}

/// One thread that runs many nodes. It ends when this handle and all its nodes are gone.
#[derive(Debug)]
pub struct NodeThread {
    shared: Arc<Shared>,
}

/// What the handles of a thread and of its nodes share. The last one to go ends the thread.
#[derive(Debug)]
struct Shared {
    commands: Arc<Mailbox<Command>>,
    running: Arc<AtomicBool>,
    next_id: AtomicU64,
    backend: Backend,
    refusal: Option<String>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl NodeThread {
    /// Starts a thread without nodes, on the given processor if there is one.
    ///
    /// # Errors
    /// [`StartError::UringRefused`] when `backend` is [`BackendChoice::Uring`] and the system does
    /// not let it run; [`StartError::Pin`] and [`StartError::Resources`] when the system refuses
    /// those.
    pub fn start(backend: BackendChoice, cpu: Option<usize>) -> Result<NodeThread, StartError> {
        let commands = Arc::new(Mailbox::new(COMMAND_MAILBOX_CAPACITY)?);
        let running = Arc::new(AtomicBool::new(true));
        let (report, reported) = sync_channel(1);
        let (mailbox, guard) = (Arc::clone(&commands), RunningGuard(Arc::clone(&running)));
        let builder = std::thread::Builder::new().name("shoal-node".to_owned());
        let thread = builder.spawn(move || run_thread(backend, cpu, mailbox, guard, &report))?;
        let (backend, refusal) = match reported.recv() {
            Ok(started) => started?,
            Err(_) => return Err(StartError::Stopped),
        };
        if let Some(reason) = &refusal {
            tracing::info!(%reason, "io_uring is refused, the poll backend is used");
        }
        let next_id = AtomicU64::new(0);
        let thread = Mutex::new(Some(thread));
        let shared = Shared { commands, running, next_id, backend, refusal, thread };
        Ok(NodeThread { shared: Arc::new(shared) })
    }

    /// Starts a node on this thread. Its `backend` and `cpu` options are the thread's.
    ///
    /// # Errors
    /// As [`Node::start`]; nothing is left behind.
    pub fn start_node(&self, options: NodeOptions) -> Result<Node, StartError> {
        Node::start_on(Arc::clone(&self.shared), options)
    }

    /// The backend that was picked.
    pub fn backend(&self) -> Backend {
        self.shared.backend
    }

    /// Why [`Backend::Uring`] is not used although it was not ruled out, and how to fix that.
    pub fn refusal(&self) -> Option<&str> {
        self.shared.refusal.as_deref()
    }
}

type StartReport = SyncSender<Result<(Backend, Option<String>), StartError>>;

fn run_thread(
    choice: BackendChoice,
    cpu: Option<usize>,
    commands: Arc<Mailbox<Command>>,
    running: RunningGuard,
    report: &StartReport,
) {
    if let Err(error) = prepare_thread(cpu) {
        let _ = report.send(Err(error));
        return;
    }
    #[cfg(target_os = "linux")]
    let refusal = match choice {
        BackendChoice::Poll => None,
        BackendChoice::Auto | BackendChoice::Uring => {
            match super::uring::Uring::new(Arc::clone(&commands)) {
                Ok(uring) => {
                    let driver = Driver::new(uring, commands, running);
                    return run_driver(driver, Backend::Uring, None, report);
                }
                Err(reason) => Some(reason),
            }
        }
    };
    #[cfg(not(target_os = "linux"))]
    let refusal = Some("io_uring is a part of Linux".to_owned());
    if let (BackendChoice::Uring, Some(reason)) = (choice, &refusal) {
        let _ = report.send(Err(StartError::UringRefused { reason: reason.clone() }));
        return;
    }
    #[cfg(target_os = "linux")]
    let transport = super::poll::Poll::new(Arc::clone(&commands));
    #[cfg(not(target_os = "linux"))]
    let transport = super::portable::Portable::new(Arc::clone(&commands));
    match transport {
        Ok(transport) => {
            let driver = Driver::new(transport, commands, running);
            run_driver(driver, Backend::Poll, refusal, report);
        }
        Err(error) => drop(report.send(Err(error.into()))),
    }
}

fn run_driver(
    driver: Driver<impl Transport>,
    backend: Backend,
    refusal: Option<String>,
    report: &StartReport,
) {
    if report.send(Ok((backend, refusal))).is_ok() {
        driver.run();
    }
}

/// Pins the calling thread and makes its waits end on time.
#[cfg(target_os = "linux")]
fn prepare_thread(cpu: Option<usize>) -> Result<(), StartError> {
    // The default slack delays every timed wait by 50 us. Failure costs precision, nothing else.
    // SAFETY: this option takes one number and no pointer.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
    let Some(cpu) = cpu else { return Ok(()) };
    // SAFETY: a set of zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&set);
    if cpu >= size * 8 {
        let source = std::io::Error::from_raw_os_error(libc::EINVAL);
        return Err(StartError::Pin { cpu, source });
    }
    // SAFETY: `cpu` is inside the set, as checked, and the set outlives the call.
    let status = unsafe {
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size, &set)
    };
    match status {
        0 => Ok(()),
        _ => Err(StartError::Pin { cpu, source: std::io::Error::last_os_error() }),
    }
}

#[cfg(not(target_os = "linux"))]
fn prepare_thread(cpu: Option<usize>) -> Result<(), StartError> {
    let unsupported = || std::io::Error::from(std::io::ErrorKind::Unsupported);
    cpu.map_or(Ok(()), |cpu| Err(StartError::Pin { cpu, source: unsupported() }))
}

impl Shared {
    /// Hands a command over, waiting while the mailbox is full.
    fn send(&self, mut command: Command) -> Result<(), NodeError> {
        while self.running.load(Ordering::SeqCst) {
            match self.commands.push(command) {
                Ok(()) => return Ok(()),
                Err(rejected) => command = rejected,
            }
            std::thread::sleep(FULL_RETRY);
        }
        Err(NodeError::Stopped)
    }

    /// Waits for the answer to a command.
    fn receive<T>(&self, answer: &Receiver<T>) -> Result<T, NodeError> {
        loop {
            match answer.recv_timeout(ANSWER_CHECK) {
                Ok(value) => return Ok(value),
                Err(RecvTimeoutError::Timeout) if self.running.load(Ordering::SeqCst) => {}
                // The thread may have answered as its last deed.
                Err(_) => return answer.try_recv().map_err(|_| NodeError::Stopped),
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.send(Command::Finish);
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that panicked has said so already.
        let _ = thread.map(JoinHandle::join);
    }
}

/// A running node. Every method can be called from any thread. Dropping it stops it without a
/// goodbye: its peers will find it dead. Call [`Node::leave`] and wait for [`Event::Left`] first to
/// part in peace.
#[derive(Debug)]
pub struct Node {
    id: u64,
    address: Address,
    local: SocketAddr,
    outlet: Arc<Outlet>,
    shared: Arc<Shared>,
}

impl Node {
    /// Starts a node on a thread of its own.
    ///
    /// # Errors
    /// A [`StartError`] that says what to change. No thread, socket or half-started node is left.
    pub fn start(options: NodeOptions) -> Result<Node, StartError> {
        NodeThread::start(options.backend, options.cpu)?.start_node(options)
    }

    fn start_on(shared: Arc<Shared>, options: NodeOptions) -> Result<Node, StartError> {
        let NodeOptions { bind, mut config, join, seed, .. } = options;
        let socket = socket::open(bind)?;
        let local =
            socket.local_addr().map_err(|source| StartError::Bind { address: bind, source })?;
        complete(&mut config, local)?;
        let address = config.advertise;
        let now = clock::now();
        let mut engine = Engine::new(config, seed.unwrap_or_else(system_seed), now)?;
        if !join.is_empty() {
            engine.join(now, &join).map_err(StartError::Join)?;
        }
        let outlet = Arc::new(Outlet::new(View::new(&mut engine, now), EVENT_MAILBOX_CAPACITY)?);
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let node = Box::new(Hosted::new(id, engine, Arc::clone(&outlet)));
        let (reply, answer) = sync_channel(1);
        let started = shared
            .send(Command::Start { node, socket, reply })
            .and_then(|()| shared.receive(&answer));
        match started {
            Ok(opened) => opened.map_err(|source| StartError::Bind { address: local, source })?,
            Err(_) => return Err(StartError::Stopped),
        }
        tracing::debug!(%address, %local, backend = %shared.backend, "node started");
        Ok(Node { id, address, local, outlet, shared })
    }

    /// The address that peers send to.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The address of the socket.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The backend that was picked.
    pub fn backend(&self) -> Backend {
        self.shared.backend
    }

    /// Why [`Backend::Uring`] is not used although it was not ruled out, and how to fix that.
    pub fn backend_refusal(&self) -> Option<String> {
        self.shared.refusal.clone()
    }

    /// Whether the node's thread lives. It ends early only by a defect, which it has reported on
    /// standard error then; [`Node::event_fd`] becomes readable and every command is
    /// [`NodeError::Stopped`].
    pub fn is_running(&self) -> bool {
        self.shared.running.load(Ordering::SeqCst)
    }

    /// Readable while events may wait. Take events until there are none, then wait for it.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.outlet.signal().as_fd()
    }

    /// The next event, `None` when there is none now.
    pub fn poll_event(&self) -> Option<Event> {
        let (event, made_room) = self.outlet.take();
        if made_room {
            self.shared.commands.prod();
        }
        event
    }

    /// The next event, waiting for it at most `timeout`. `None` when none came, or when the node's
    /// thread has ended.
    pub fn wait_event(&self, timeout: Duration) -> Option<Event> {
        let deadline = clock::now() + timeout;
        loop {
            if let Some(event) = self.poll_event() {
                return Some(event);
            }
            let left = deadline - clock::now();
            if left.is_zero() || !self.is_running() {
                return None;
            }
            self.outlet.signal().wait(left.min(Duration::from_secs(1)));
        }
    }

    /// Joins a cluster through these members. [`Event::Joined`] follows when one has answered.
    ///
    /// # Errors
    /// [`NodeError`]; the node goes on as before.
    pub fn join(&self, seeds: &[Address]) -> Result<(), NodeError> {
        let seeds = seeds.to_vec();
        self.command(move |engine, now| engine.join(now, &seeds))
    }

    /// Says goodbye to the peers. [`Event::Left`] follows when it has been said.
    ///
    /// # Errors
    /// [`NodeError`]; the node goes on as before.
    pub fn leave(&self) -> Result<(), NodeError> {
        self.command(|engine, now| engine.leave(now))
    }

    /// Replaces the secrets. Datagrams are sealed with the first from now on.
    ///
    /// # Errors
    /// [`NodeError`]; the node keeps its secrets.
    pub fn set_secrets(&self, secrets: Vec<Secret>) -> Result<(), NodeError> {
        self.command(move |engine, _| engine.set_secrets(secrets))
    }

    /// Attaches bytes to this node that every member comes to hold ([`Event::State`] there).
    ///
    /// # Errors
    /// [`NodeError`]; the earlier state stays.
    pub fn set_state(&self, state: Bytes) -> Result<(), NodeError> {
        self.command(move |engine, now| engine.set_state(now, state))
    }

    /// The state of the member at this address, as far as it has come here.
    pub fn state(&self, address: Address) -> Option<Bytes> {
        self.outlet.view.state(address)
    }

    /// Sends bytes to every member once ([`Event::Broadcast`] there), without an answer.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is sent.
    pub fn broadcast(&self, payload: Bytes) -> Result<(), NodeError> {
        self.command(move |engine, now| engine.broadcast(now, payload))
    }

    /// Sends a message of an election or between datacenters to a node of the Python system; see
    /// [`Engine::send_foreign`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing is sent.
    pub fn send_foreign(
        &self,
        recipient: Address,
        request: ForeignRequest,
    ) -> Result<(), NodeError> {
        self.command(move |engine, now| engine.send_foreign(now, recipient, request))
    }

    /// Answers probes from other datacenters from now on; see [`Engine::set_cross_answer`].
    ///
    /// # Errors
    /// [`NodeError`]; the earlier answer stays.
    pub fn set_cross_answer(&self, body: Option<Bytes>) -> Result<(), NodeError> {
        self.command(move |engine, _| engine.set_cross_answer(body))
    }

    /// Begins to lead a job on this manager; see [`Engine::job_started`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn job_started(&self, start: JobStart) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.job_started(now, &start))
    }

    /// Notes that a job made progress; see [`Engine::job_progress`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn job_progress(
        &self,
        job: JobId,
        workflows: Option<WorkflowCounts>,
    ) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.job_progress(now, job, workflows))
    }

    /// Ends a job; see [`Engine::job_finished`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn job_finished(&self, job: JobId, outcome: JobOutcome) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.job_finished(now, job, outcome))
    }

    /// Negotiates an extension with a worker; see [`Engine::worker_extension`]. The inner result is the
    /// answer to the worker.
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn worker_extension(
        &self,
        job: JobId,
        worker: WorkerId,
        request: ExtensionRequest,
    ) -> Result<Result<ExtensionGrant, ExtensionDenial>, NodeError> {
        self.command(move |engine, now| Ok(engine.worker_extension(now, job, worker, &request)))
    }

    /// Takes over the lead of a job, or gives it up; see [`Engine::leader_changed`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn leader_changed(&self, job: JobId, change: LeaderChange) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.leader_changed(now, job, &change))
    }

    /// Lets all jobs that report to one gate report to another; see [`Engine::gate_changed`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn gate_changed(&self, old: Address, new: Address) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.gate_changed(now, old, new))
    }

    /// Lets the extensions of a worker begin anew; see [`Engine::worker_recovered`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn worker_recovered(&self, job: JobId, worker: WorkerId) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.worker_recovered(now, job, worker))
    }

    /// Forgets the extensions of a worker; see [`Engine::worker_removed`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn worker_removed(&self, job: JobId, worker: WorkerId) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.worker_removed(now, job, worker))
    }

    /// Begins to watch a job on this gate; see [`Engine::gate_job_started`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn gate_job_started(
        &self,
        job: JobId,
        timeout: Duration,
        datacenters: Vec<DatacenterTarget>,
    ) -> Result<bool, NodeError> {
        self.command(move |engine, now| {
            let start = GateJobStart { job, timeout, datacenters: &datacenters };
            engine.gate_job_started(now, &start)
        })
    }

    /// Goes on watching a job that another gate watched; see [`Engine::gate_job_resumed`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn gate_job_resumed(&self, snapshot: GateJobSnapshot) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.gate_job_resumed(now, &snapshot))
    }

    /// Gives up a job whose datacenters report to another gate now; see [`Engine::gate_job_released`].
    ///
    /// # Errors
    /// [`NodeError`]; nothing has changed.
    pub fn gate_job_released(&self, job: JobId) -> Result<bool, NodeError> {
        self.command(move |engine, now| engine.gate_job_released(now, job))
    }

    /// What another gate would need to go on watching this job; see [`Engine::gate_job_snapshot`].
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn gate_job_snapshot(&self, job: JobId) -> Result<Option<GateJobSnapshot>, NodeError> {
        self.command(move |engine, now| Ok(engine.gate_job_snapshot(now, job)))
    }

    /// How many jobs this node leads or watches; see [`Engine::job_count`].
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn job_count(&self) -> Result<usize, NodeError> {
        self.command(|engine, _| Ok(engine.job_count()))
    }

    /// What a new leader of this job would need to go on; see [`Engine::job_snapshot`].
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn job_snapshot(&self, job: JobId) -> Result<Option<JobSnapshot>, NodeError> {
        self.command(move |engine, now| Ok(engine.job_snapshot(now, job)))
    }

    /// Every member that this node knows, itself first.
    pub fn members(&self) -> Vec<Member> {
        self.outlet.view.members()
    }

    /// The member at this address.
    pub fn member(&self, address: Address) -> Option<Member> {
        self.outlet.view.member(address)
    }

    /// What is known about the round trip to the member at this address.
    pub fn rtt(&self, address: Address) -> Option<Rtt> {
        self.outlet.view.rtt(address)
    }

    /// The node's own coordinate.
    pub fn coordinate(&self) -> Coordinate {
        self.outlet.view.coordinate()
    }

    /// What the node has counted so far, socket errors included.
    pub fn stats(&self) -> Stats {
        self.outlet.view.stats()
    }

    /// What waits and what is open inside the engine, as far as the mirror shows.
    pub fn gauges(&self) -> Gauges {
        self.outlet.view.gauges()
    }

    /// Appends every counter, distribution and gauge as OpenMetrics text; see
    /// [`metrics`](crate::metrics).
    pub fn write_metrics(&self, text: &mut String) {
        self.outlet.view.write_metrics(self.backend(), text);
    }

    /// What to keep of this node's place in the latency space for a restart.
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn coordinate_snapshot(&self) -> Result<coordinate::Snapshot, NodeError> {
        self.command(|engine, _| Ok(engine.coordinate_snapshot()))
    }

    /// Takes the node back to where a snapshot saw it. `Some` says why it was not used; nothing has
    /// changed then.
    ///
    /// # Errors
    /// [`NodeError::Stopped`].
    pub fn restore_coordinate(
        &self,
        snapshot: coordinate::Snapshot,
    ) -> Result<Option<Refusal>, NodeError> {
        self.command(move |engine, _| Ok(engine.restore_coordinate(&snapshot).err()))
    }

    /// The present instant on the clock that events are stamped with.
    pub fn now(&self) -> Instant {
        clock::now()
    }

    /// An instant of the node's clock as wall clock time, in milliseconds since 1970.
    pub fn unix_ms(&self, instant: Instant) -> u64 {
        clock::unix_ms(instant)
    }

    /// Stops the node without a goodbye. Its address is free when this returns.
    pub fn stop(self) {}

    /// Runs a command on the node's thread and waits for the engine's answer.
    pub(super) fn command<T: Send + 'static>(
        &self,
        command: impl FnOnce(&mut Engine, Instant) -> Result<T, CommandError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let (reply, answer) = sync_channel(1);
        let task = Box::new(move |engine: &mut Engine, now| {
            let _ = reply.send(command(engine, now));
        });
        self.shared.send(Command::Run { id: self.id, task })?;
        Ok(self.shared.receive(&answer)??)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let (reply, answer) = sync_channel(1);
        if self.shared.send(Command::Stop { id: self.id, reply }).is_ok() {
            let _ = self.shared.receive(&answer);
        }
    }
}

/// Fills in what the host left to the socket and the clock.
fn complete(config: &mut Config, local: SocketAddr) -> Result<(), StartError> {
    let advertised = config.advertise;
    if advertised.ip().is_unspecified() && advertised.port() == 0 {
        if local.ip().is_unspecified() {
            return Err(StartError::AdvertiseUnknown { local });
        }
        config.advertise = Address::from(local);
    } else if advertised.port() == 0 {
        config.advertise = Address::from_parts(*advertised.ip_bytes(), local.port());
    }
    if config.generation == Generation(0) {
        config.generation = Generation(clock::wall_nanos());
    }
    Ok(())
}

/// A seed from the system's randomness, by way of the standard library's hash keys.
fn system_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(advertise: &str) -> Config {
        let secret = Secret::new(*b"sixteen bytes ok").unwrap();
        Config::new(advertise.parse().unwrap(), secret)
    }

    #[test]
    fn completes_what_the_host_left_open() {
        let local: SocketAddr = "127.0.0.1:4242".parse().unwrap();
        let mut open = config("[::]:0");
        complete(&mut open, local).unwrap();
        assert_eq!(open.advertise.to_string(), "127.0.0.1:4242");
        assert_ne!(open.generation, Generation(0));
        let mut port_only = config("192.0.2.1:0");
        port_only.generation = Generation(7);
        complete(&mut port_only, local).unwrap();
        assert_eq!(port_only.advertise.to_string(), "192.0.2.1:4242");
        assert_eq!(port_only.generation, Generation(7));
        let mut given = config("192.0.2.1:1");
        complete(&mut given, "0.0.0.0:4242".parse().unwrap()).unwrap();
        assert_eq!(given.advertise.to_string(), "192.0.2.1:1");
        for wildcard in ["0.0.0.0:4242", "[::]:4242"] {
            let error = complete(&mut config("0.0.0.0:0"), wildcard.parse().unwrap()).unwrap_err();
            assert!(matches!(error, StartError::AdvertiseUnknown { .. }), "{error}");
        }
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(system_seed(), system_seed());
    }

    #[test]
    fn hosts_learn_that_a_thread_has_panicked() {
        let thread = NodeThread::start(BackendChoice::Auto, None).unwrap();
        let options = NodeOptions::new("127.0.0.1:0".parse().unwrap(), config("[::]:0"));
        let nodes = [options.clone(), options].map(|options| thread.start_node(options).unwrap());
        while nodes[1].poll_event().is_some() {}
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let start = clock::now();
                while nodes[1].is_running() {
                    nodes[1].wait_event(Duration::from_secs(20));
                }
                clock::now() - start
            });
            std::thread::sleep(Duration::from_millis(20));
            let answer = nodes[0].command::<()>(|_, _| panic!("on purpose, by a test"));
            assert_eq!(answer, Err(NodeError::Stopped));
            assert!(waiting.join().unwrap() < Duration::from_secs(10));
        });
        assert_eq!(nodes[1].leave(), Err(NodeError::Stopped));
        let options = NodeOptions::new("127.0.0.1:0".parse().unwrap(), config("[::]:0"));
        assert!(matches!(thread.start_node(options), Err(StartError::Stopped)));
    }

    #[test]
    fn handles_go_to_any_thread() {
        fn shared<T: Send + Sync>() {}
        shared::<Node>();
        shared::<NodeThread>();
    }
}
