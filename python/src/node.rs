//! A running node and a shared thread, as the Python classes build on them.
//!
//! [`Node`] holds the life of one node: made, started, closed. Calls come from any Python thread
//! and from event loops. Reads copy out of the node's mirror; calls that wait for the node thread
//! give the interpreter free meanwhile. No lock is held while Python code runs.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use shoal_core::federation::DatacenterLoad;
use shoal_core::io::{BackendChoice, NodeOptions};
use shoal_core::jobs::{FenceToken, JobOutcome, LeaderChange};
use shoal_core::wire::hyperscale::Message;
use shoal_core::{Address, Counter, DatacenterName, ForeignRequest, MemberState, Role, io};

use crate::config::engine_config;
use crate::convert::{AddressText, DatacenterText, Payload, Seconds, Secrets, Whole};
use crate::errors::{Failure, NODE_CLOSED, NODE_NOT_STARTED, NODE_STOPPED};
use crate::events::event_object;
use crate::fork::Process;
use crate::ids::{JobArgument, WorkerArgument};
use crate::jobs::values::{
    JobSnapshot, WorkflowCounts, datacenter_targets, extension_object, extension_request, job_start,
};
use crate::leaders::{DatacenterView, Leadership};
use crate::names::Name;
use crate::routing::values::RoutingDecision;
use crate::stats::stats_dict;
use crate::values::{Coordinate, Member, Rtt};

/// How long a waiting call goes without a look at signals and at a request to close.
const WAIT_STEP: Duration = Duration::from_millis(50);
/// How often closing looks whether calls of other threads have ended.
const CLOSE_STEP: Duration = Duration::from_millis(1);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these locks guard is replaced as a whole, so a panic cannot leave it half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse_backend(backend: &str) -> Result<BackendChoice, Failure> {
    backend.parse().map_err(|error| Failure::Config(format!("{error}")))
}

/// A processor's number. One that no machine has is left for the system to refuse.
fn processor(number: Whole) -> usize {
    usize::try_from(number.0).unwrap_or(usize::MAX)
}

/// One thread that runs many nodes. It ends when it is closed and all its nodes are.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct NodeThread {
    /// Taken out when closed. Nodes that were given the thread keep it until they are closed.
    thread: Mutex<Option<Arc<io::NodeThread>>>,
    process: Process,
}

#[pymethods]
impl NodeThread {
    /// Starts a thread. `backend` is "auto", "uring" or "poll"; `cpu` pins it to a processor.
    #[new]
    #[pyo3(signature = (*, backend="auto", cpu=None))]
    fn new(py: Python<'_>, backend: &str, cpu: Option<Whole>) -> PyResult<NodeThread> {
        let backend = parse_backend(backend)?;
        let started = py.detach(|| io::NodeThread::start(backend, cpu.map(processor)));
        let thread = Mutex::new(Some(Arc::new(started.map_err(Failure::from)?)));
        Ok(NodeThread { thread, process: Process::current() })
    }

    /// The backend that was picked, "uring" or "poll".
    #[getter]
    fn backend(&self) -> PyResult<&'static str> {
        Ok(self.running()?.backend().name())
    }

    /// Why io_uring is not used although it was not ruled out, and how to fix that.
    #[getter]
    fn backend_refusal(&self) -> PyResult<Option<String>> {
        Ok(self.running()?.refusal().map(str::to_owned))
    }

    /// Lets the thread end with the last of its nodes, at once if it has none. Closing twice is
    /// closing once.
    fn close(&self, py: Python<'_>) {
        if !self.process.is_foreign() {
            let thread = lock(&self.thread).take();
            py.detach(|| drop(thread));
        }
    }

    fn __enter__(thread: Py<NodeThread>) -> Py<NodeThread> {
        thread
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.close(py);
    }
}

impl NodeThread {
    fn running(&self) -> Result<Arc<io::NodeThread>, Failure> {
        self.process.check()?;
        let closed = Failure::Closed("the node thread is closed; make a new one");
        lock(&self.thread).clone().ok_or(closed)
    }
}

impl Drop for NodeThread {
    fn drop(&mut self) {
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        release(thread, self.process);
    }
}

/// Drops what owns a thread, without keeping the interpreter while the thread ends. In a forked
/// child there is no thread to wait for, and what is left of its owner is given up.
fn release<T: Send>(owner: Option<T>, process: Process) {
    let Some(owner) = owner else { return };
    if process.is_foreign() {
        std::mem::forget(owner);
        return;
    }
    let mut owner = Some(owner);
    // None at the end of the interpreter, when the process is about to end with all its threads.
    let _ = Python::try_attach(|py| {
        let owner = owner.take();
        py.detach(|| drop(owner));
    });
    std::mem::forget(owner);
}

/// Where a node is in its life.
enum Life {
    Made,
    Starting,
    Running(Arc<io::Node>),
    Closed,
}

/// A node: made with everything it needs, then started, then closed.
#[pyclass(frozen, module = "shoal._native")]
pub(crate) struct Node {
    options: NodeOptions,
    thread: Option<Arc<io::NodeThread>>,
    life: Mutex<Life>,
    /// Known since the start, and after the end as well.
    identity: OnceLock<Identity>,
    /// What this node attaches to itself. The mirror would tell it a few milliseconds late.
    own_state: Mutex<Bytes>,
    /// The last event was handed out: none will follow.
    has_left: AtomicBool,
    process: Process,
}

/// Where a node and its living peers are in the latency space.
pub(crate) struct Places {
    pub own: shoal_core::Coordinate,
    /// Round trips that led to it.
    pub sample_count: u64,
    pub members: Vec<shoal_core::Member>,
}

/// What never changes about a node that was started.
struct Identity {
    address: Address,
    local: Address,
    backend: &'static str,
    refusal: Option<String>,
}

#[pymethods]
impl Node {
    #[new]
    #[pyo3(signature = (
        bind, secret, role, datacenter, config, advertise, backend, cpu, seed, thread
    ))]
    #[allow(clippy::too_many_arguments, reason = "one caller, which names each")]
    fn new(
        bind: AddressText,
        secret: Secrets,
        role: Name<Role>,
        datacenter: DatacenterText,
        config: Option<&Bound<'_, PyAny>>,
        advertise: Option<AddressText>,
        backend: &str,
        cpu: Option<Whole>,
        seed: Option<Whole>,
        thread: Option<&Bound<'_, NodeThread>>,
    ) -> PyResult<Node> {
        let advertise = advertise.map_or(Address::UNSPECIFIED, |address| address.0);
        let mut config = engine_config(config, advertise, secret.0)?;
        config.role = role.0;
        config.datacenter = datacenter.0;
        let backend = parse_backend(backend)?;
        if thread.is_some() && (backend != BackendChoice::Auto || cpu.is_some()) {
            let message = "backend and cpu belong to the thread; give them to NodeThread";
            return Err(Failure::Config(message.to_owned()).into());
        }
        let thread = thread.map(|thread| thread.get().running()).transpose()?;
        let (bind, cpu) = (bind.0.socket_address(), cpu.map(processor));
        let seed = seed.map(|seed| seed.0);
        let options = NodeOptions { bind, config, join: Vec::new(), backend, cpu, seed };
        let (life, process) = (Mutex::new(Life::Made), Process::current());
        let (identity, has_left) = (OnceLock::new(), AtomicBool::new(false));
        let own_state = Mutex::new(Bytes::new());
        Ok(Node { options, thread, life, identity, own_state, has_left, process })
    }

    /// Starts the node, which joins through these addresses.
    fn start(&self, py: Python<'_>, join: Vec<AddressText>) -> PyResult<()> {
        self.process.check()?;
        self.begin_start()?;
        let mut options = self.options.clone();
        let advertise = options.config.advertise;
        let own = if advertise == Address::UNSPECIFIED { options.bind.into() } else { advertise };
        // A list of seeds may be the same on every machine: a node needs no telling of itself.
        options.join = join.iter().map(|seed| seed.0).filter(|seed| *seed != own).collect();
        let started = py.detach(|| match &self.thread {
            Some(thread) => thread.start_node(options),
            None => io::Node::start(options),
        });
        let (life, result) = match started {
            Ok(node) => {
                self.identity.get_or_init(|| Identity {
                    address: node.address(),
                    local: node.local_address().into(),
                    backend: node.backend().name(),
                    refusal: node.backend_refusal(),
                });
                (Life::Running(Arc::new(node)), Ok(()))
            }
            Err(error) => (Life::Made, Err(Failure::from(error).into())),
        };
        *lock(&self.life) = life;
        result
    }

    /// Stops the node without a goodbye and frees its address. Closing twice is closing once.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.process.is_foreign() {
            return Ok(());
        }
        let life = {
            let mut life = lock(&self.life);
            if matches!(*life, Life::Starting) {
                let message = "another thread is starting the node; close it when that is done";
                return Err(Failure::Lifecycle(message).into());
            }
            std::mem::replace(&mut *life, Life::Closed)
        };
        if let Life::Running(node) = life {
            py.detach(|| {
                // Calls in other threads end within one step, and the last owner stops the node.
                while Arc::strong_count(&node) > 1 {
                    std::thread::sleep(CLOSE_STEP);
                }
                drop(node);
            });
        }
        Ok(())
    }

    /// Whether the object was made before a fork, by the parent process.
    #[getter]
    fn is_foreign(&self) -> bool {
        self.process.is_foreign()
    }

    /// Refuses to work in a forked child.
    fn check_process(&self) -> PyResult<()> {
        Ok(self.process.check()?)
    }

    /// Refuses to work before the start, after the end and in a forked child.
    fn check_running(&self) -> PyResult<()> {
        self.running().map(drop).map_err(PyErr::from)
    }

    /// Whether the node is started, not closed, and of this process.
    #[getter]
    fn is_open(&self) -> bool {
        !self.process.is_foreign() && matches!(*lock(&self.life), Life::Running(_))
    }

    /// Whether it is open and its thread lives.
    #[getter]
    fn is_running(&self) -> bool {
        self.running().is_ok_and(|node| node.is_running())
    }

    /// Whether `Left` was among the events handed out: none will follow.
    #[getter]
    fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Relaxed)
    }

    #[getter]
    fn address(&self) -> PyResult<AddressText> {
        Ok(AddressText(self.identity()?.address))
    }

    #[getter]
    fn local_address(&self) -> PyResult<AddressText> {
        Ok(AddressText(self.identity()?.local))
    }

    #[getter]
    fn backend(&self) -> PyResult<&'static str> {
        Ok(self.identity()?.backend)
    }

    #[getter]
    fn backend_refusal(&self) -> PyResult<Option<String>> {
        Ok(self.identity()?.refusal.clone())
    }

    #[getter]
    fn coordinate(&self) -> PyResult<Coordinate> {
        Ok(self.running()?.coordinate().into())
    }

    fn members<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let members = self.running()?.members();
        let objects = members.into_iter().map(|member| Py::new(py, Member::from(member)));
        PyList::new(py, objects.collect::<PyResult<Vec<_>>>()?)
    }

    fn member(&self, address: AddressText) -> PyResult<Option<Member>> {
        Ok(self.running()?.member(address.0).map(Member::from))
    }

    fn rtt(&self, address: AddressText) -> PyResult<Option<Rtt>> {
        Ok(self.running()?.rtt(address.0).map(Rtt::from))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats_dict(py, &self.running()?.stats())
    }

    fn metrics(&self) -> PyResult<String> {
        let node = self.running()?;
        let mut text = String::new();
        node.write_metrics(&mut text);
        Ok(text)
    }

    fn unix_ms(&self, at_ns: Whole) -> PyResult<u64> {
        Ok(self.running()?.unix_ms(shoal_core::Instant::from_nanos(at_ns.0)))
    }

    fn join(&self, py: Python<'_>, seeds: Vec<AddressText>) -> PyResult<()> {
        let node = self.running()?;
        let seeds: Vec<Address> = seeds.into_iter().map(|seed| seed.0).collect();
        Ok(py.detach(|| node.join(&seeds)).map_err(Failure::from)?)
    }

    #[getter]
    fn own_state(&self) -> PyResult<Payload> {
        self.running()?;
        Ok(Payload(lock(&self.own_state).clone()))
    }

    fn set_state(&self, py: Python<'_>, state: Payload) -> PyResult<()> {
        let (node, state) = (self.running()?, state.0);
        let told = state.clone();
        py.detach(|| node.set_state(told)).map_err(Failure::from)?;
        *lock(&self.own_state) = state;
        Ok(())
    }

    fn state(&self, address: AddressText) -> PyResult<Option<Payload>> {
        Ok(self.running()?.state(address.0).map(Payload))
    }

    fn broadcast(&self, py: Python<'_>, payload: Payload) -> PyResult<()> {
        let node = self.running()?;
        Ok(py.detach(|| node.broadcast(payload.0)).map_err(Failure::from)?)
    }

    /// Sends what servers of hyperscale say to each other to these nodes, one after the other.
    fn send_hyperscale(
        &self,
        py: Python<'_>,
        recipients: Vec<AddressText>,
        message: Payload,
    ) -> PyResult<()> {
        let node = self.running()?;
        let parsed = Message::parse(&message.0);
        let Some(name) = parsed.name else {
            let text = String::from_utf8_lossy(&message.0[..message.0.len().min(40)]).into_owned();
            return Err(Failure::Config(format!("{text:?} is no message of hyperscale")).into());
        };
        let body = if name.has_body() { message.0.slice_ref(parsed.body) } else { Bytes::new() };
        let arguments = [parsed.number(0), parsed.number(1)];
        let request = ForeignRequest { name, arguments, target: parsed.target(), body };
        let send = || {
            let mut recipients = recipients.iter();
            recipients.try_for_each(|recipient| node.send_foreign(recipient.0, request.clone()))
        };
        Ok(py.detach(send).map_err(Failure::from)?)
    }

    fn leader(&self, py: Python<'_>) -> PyResult<Leadership> {
        let node = self.running()?;
        Ok(py.detach(|| node.leader()).map_err(Failure::from)?.into())
    }

    fn name_leader(&self, py: Python<'_>, leader: Option<AddressText>, term: u64) -> PyResult<()> {
        let node = self.running()?;
        let leader = leader.map(|leader| leader.0);
        Ok(py.detach(|| node.name_leader(leader, term)).map_err(Failure::from)?)
    }

    fn set_load(
        &self,
        py: Python<'_>,
        workers: (u32, u32),
        cores: (u32, u32),
        queue_depth: u32,
        active_job_count: u32,
    ) -> PyResult<()> {
        let node = self.running()?;
        let load = DatacenterLoad {
            worker_count: workers.0,
            healthy_worker_count: workers.1,
            total_cores: cores.0,
            available_cores: cores.1,
            queue_depth,
            active_job_count,
        };
        Ok(py.detach(|| node.set_load(load)).map_err(Failure::from)?)
    }

    fn datacenters(&self, py: Python<'_>) -> PyResult<Vec<DatacenterView>> {
        let node = self.running()?;
        let views = py.detach(|| node.datacenters()).map_err(Failure::from)?;
        Ok(views.iter().map(DatacenterView::from).collect())
    }

    fn route(
        &self,
        py: Python<'_>,
        job: JobArgument,
        preferred: Vec<DatacenterText>,
    ) -> PyResult<RoutingDecision> {
        let node = self.running()?;
        let preferred: Vec<DatacenterName> = preferred.into_iter().map(|name| name.0).collect();
        let route = py.detach(|| node.route(job.0, &preferred)).map_err(Failure::from)?;
        Ok(RoutingDecision::of_route(route))
    }

    fn job_sent(
        &self,
        py: Python<'_>,
        job: JobArgument,
        datacenter: DatacenterText,
        manager: Option<AddressText>,
    ) -> PyResult<bool> {
        let node = self.running()?;
        let manager = manager.map(|manager| manager.0);
        Ok(py.detach(|| node.job_sent(job.0, datacenter.0, manager)).map_err(Failure::from)?)
    }

    fn job_failed(
        &self,
        py: Python<'_>,
        job: JobArgument,
        datacenter: DatacenterText,
    ) -> PyResult<bool> {
        let node = self.running()?;
        Ok(py.detach(|| node.job_failed(job.0, datacenter.0)).map_err(Failure::from)?)
    }

    fn forget_route(&self, py: Python<'_>, job: JobArgument) -> PyResult<bool> {
        let node = self.running()?;
        Ok(py.detach(|| node.forget_route(job.0)).map_err(Failure::from)?)
    }

    #[pyo3(signature = (job, timeout_seconds, gate, datacenter_count, fence))]
    fn job_started(
        &self,
        py: Python<'_>,
        job: JobArgument,
        timeout_seconds: Seconds,
        gate: Option<AddressText>,
        datacenter_count: u16,
        fence: u64,
    ) -> PyResult<bool> {
        let node = self.running()?;
        let start = job_start(&job, timeout_seconds, gate, datacenter_count, fence);
        Ok(py.detach(|| node.job_started(start)).map_err(Failure::from)?)
    }

    fn job_progress(
        &self,
        py: Python<'_>,
        job: JobArgument,
        workflows: Option<WorkflowCounts>,
    ) -> PyResult<bool> {
        let node = self.running()?;
        let workflows = workflows.map(|workflows| workflows.core());
        Ok(py.detach(|| node.job_progress(job.0, workflows)).map_err(Failure::from)?)
    }

    fn job_finished(
        &self,
        py: Python<'_>,
        job: JobArgument,
        outcome: Name<JobOutcome>,
    ) -> PyResult<bool> {
        let node = self.running()?;
        Ok(py.detach(|| node.job_finished(job.0, outcome.0)).map_err(Failure::from)?)
    }

    fn worker_extension<'py>(
        &self,
        py: Python<'py>,
        job: JobArgument,
        worker: WorkerArgument,
        progress: f64,
        completed_items: Option<u64>,
        is_suspect: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let node = self.running()?;
        let request = extension_request(progress, completed_items, is_suspect);
        let answer = py.detach(|| node.worker_extension(job.0, worker.0, request));
        extension_object(py, answer.map_err(Failure::from)?)
    }

    fn job_taken_over(&self, py: Python<'_>, snapshot: &JobSnapshot, term: u64) -> PyResult<bool> {
        let (node, snapshot) = (self.running()?, snapshot.core());
        let change = LeaderChange::Gained { snapshot, term: FenceToken(term) };
        Ok(py.detach(|| node.leader_changed(snapshot.job, change)).map_err(Failure::from)?)
    }

    fn job_given_up(&self, py: Python<'_>, job: JobArgument) -> PyResult<bool> {
        let node = self.running()?;
        let given_up = py.detach(|| node.leader_changed(job.0, LeaderChange::Lost));
        Ok(given_up.map_err(Failure::from)?)
    }

    fn gate_changed(&self, py: Python<'_>, old: AddressText, new: AddressText) -> PyResult<bool> {
        let node = self.running()?;
        Ok(py.detach(|| node.gate_changed(old.0, new.0)).map_err(Failure::from)?)
    }

    fn gate_job_released(&self, py: Python<'_>, job: JobArgument) -> PyResult<bool> {
        let node = self.running()?;
        Ok(py.detach(|| node.gate_job_released(job.0)).map_err(Failure::from)?)
    }

    fn job_snapshot(&self, py: Python<'_>, job: JobArgument) -> PyResult<Option<JobSnapshot>> {
        let node = self.running()?;
        let snapshot = py.detach(|| node.job_snapshot(job.0)).map_err(Failure::from)?;
        Ok(snapshot.map(JobSnapshot::from))
    }

    fn gate_job_started(
        &self,
        py: Python<'_>,
        job: JobArgument,
        timeout_seconds: Seconds,
        datacenters: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let node = self.running()?;
        let targets = datacenter_targets(datacenters)?;
        let started = py.detach(|| node.gate_job_started(job.0, timeout_seconds.0, targets));
        Ok(started.map_err(Failure::from)?)
    }

    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.running()?;
        Ok(py.detach(|| node.leave()).map_err(Failure::from)?)
    }

    fn set_secrets(&self, py: Python<'_>, secret: Secrets) -> PyResult<()> {
        let node = self.running()?;
        Ok(py.detach(|| node.set_secrets(secret.0)).map_err(Failure::from)?)
    }

    /// The descriptor that is readable while events may wait. It lives as long as the node runs.
    fn event_fd(&self) -> PyResult<i32> {
        Ok(self.running()?.event_fd().as_raw_fd())
    }

    /// At most `limit` events that wait, oldest first.
    ///
    /// Raises `ClosedError` when there are none and none will come, because the thread has ended.
    fn poll_events<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyList>> {
        let node = self.running()?;
        let events = PyList::empty(py);
        let was_running = node.is_running();
        while events.len() < limit {
            let Some(event) = node.poll_event() else { break };
            events.append(self.hand_out(py, event)?)?;
        }
        if events.is_empty() && !was_running {
            return Err(Failure::Closed(NODE_STOPPED).into());
        }
        Ok(events)
    }

    /// The next event, waiting for it at most `timeout` seconds, for ever when it is `None`.
    fn wait_event<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let deadline = timeout.map(deadline_after).transpose()?.flatten();
        loop {
            // Given up after each step, so that a thread that closes the node can.
            let node = self.running()?;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let step = left.unwrap_or(WAIT_STEP).min(WAIT_STEP);
            let was_running = node.is_running();
            let event = py.detach(|| node.wait_event(step));
            drop(node);
            if let Some(event) = event {
                return self.hand_out(py, event).map(Some);
            }
            if !was_running {
                return Err(Failure::Closed(NODE_STOPPED).into());
            }
            if left.is_some_and(|left| left <= step) {
                return Ok(None);
            }
            py.check_signals()?;
        }
    }
}

/// When a wait of so many seconds ends; `None` for one that is longer than any process lives.
fn deadline_after(seconds: f64) -> Result<Option<Instant>, Failure> {
    if seconds.is_nan() || seconds < 0.0 {
        let message = format!("timeout is {seconds}, expected seconds of 0 or more, or None");
        return Err(Failure::Config(message));
    }
    let wait = Duration::try_from_secs_f64(seconds).ok();
    Ok(wait.and_then(|wait| Instant::now().checked_add(wait)))
}

impl Node {
    fn begin_start(&self) -> Result<(), Failure> {
        let mut life = lock(&self.life);
        match *life {
            Life::Made => *life = Life::Starting,
            Life::Closed => return Err(Failure::Closed(NODE_CLOSED)),
            Life::Starting | Life::Running(_) => {
                return Err(Failure::Lifecycle("the node is started already"));
            }
        }
        Ok(())
    }

    /// Where the node and its living peers are.
    pub(crate) fn places(&self) -> Result<Places, Failure> {
        let node = self.running()?;
        let mut members = node.members();
        let own = node.address();
        members.retain(|member| member.state == MemberState::Alive && member.address != own);
        let sample_count = node.stats().value(Counter::CoordinatesUpdated);
        Ok(Places { own: node.coordinate(), sample_count, members })
    }

    /// The node, kept alive for the length of one call.
    fn running(&self) -> Result<Arc<io::Node>, Failure> {
        self.process.check()?;
        match &*lock(&self.life) {
            Life::Running(node) => Ok(Arc::clone(node)),
            Life::Closed => Err(Failure::Closed(NODE_CLOSED)),
            Life::Made | Life::Starting => Err(Failure::Lifecycle(NODE_NOT_STARTED)),
        }
    }

    fn hand_out<'py>(
        &self,
        py: Python<'py>,
        event: shoal_core::Event,
    ) -> PyResult<Bound<'py, PyAny>> {
        if matches!(event, shoal_core::Event::Left { .. }) {
            self.has_left.store(true, Ordering::Relaxed);
        }
        event_object(py, event)
    }

    fn identity(&self) -> Result<&Identity, Failure> {
        self.identity.get().ok_or(Failure::Lifecycle(NODE_NOT_STARTED))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let life = self.life.get_mut().unwrap_or_else(PoisonError::into_inner);
        let life = std::mem::replace(life, Life::Closed);
        release(Some((life, self.thread.take())), self.process);
    }
}
