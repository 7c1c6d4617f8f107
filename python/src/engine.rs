//! The sans-I/O engine for Python: for simulations, for tests, for programs with a loop of their
//! own.
//!
//! The drive loop is the engine's: one input, then drain, then wait. Where the engine asserts, this
//! class raises, before anything has changed.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyList};
use shoal_core::config::DATAGRAM_SIZE_MAX;
use shoal_core::engine::JobStanding;
use shoal_core::jobs::{FenceToken, GateJobStart, JobOutcome, LeaderChange};
use shoal_core::{Address, Generation, Instant, Role};

use crate::config::engine_config;
use crate::convert::{AddressText, DatacenterText, Payload, Seconds, Secrets, Whole};
use crate::errors::Failure;
use crate::events::event_object;
use crate::ids::{JobArgument, WorkerArgument};
use crate::jobs::values::{
    JobSnapshot, WorkflowCounts, datacenter_targets, extension_object, extension_request, job_start,
};
use crate::names::Name;
use crate::stats::stats_dict;
use crate::values::{Coordinate, Member, Rtt};

/// One node's whole state, without I/O and without a clock.
///
/// One input, then drain, then wait: after each `handle_datagram`, `handle_timeout`, `join` and
/// `leave` call `poll_transmit` until it returns `None`, then `poll_event` until it returns `None`;
/// then wait for a datagram or for `poll_timeout()`. Times are nanoseconds of one clock of your
/// choosing, for example `time.monotonic_ns()`. The same seed and the same inputs give the same
/// outputs, bit for bit.
#[pyclass(frozen, module = "shoal")]
pub(crate) struct Engine {
    state: Mutex<State>,
}

/// A datagram and where to send it.
type Sendto<'py> = (Bound<'py, PyBytes>, (String, u16));

struct State {
    engine: shoal_core::Engine,
    /// Datagrams are opened where they lie, and Python's bytes are not ours to change.
    incoming: Vec<u8>,
    outgoing: Box<[u8; DATAGRAM_SIZE_MAX]>,
}

#[pymethods]
impl Engine {
    /// A node at the address `advertise` that knows only itself.
    ///
    /// `seed` decides everything that is random about it; two nodes of one cluster need different
    /// seeds. `generation` says which run of the program this is, and must be larger at every
    /// restart.
    #[new]
    #[pyo3(signature = (
        advertise, *, secret, seed, generation, now_ns, role=Name(Role::Manager),
        datacenter=DatacenterText::unnamed(), config=None
    ), text_signature = "(advertise, *, secret, seed, generation, now_ns, role='manager', \
        datacenter='default', config=None)")]
    #[allow(clippy::too_many_arguments, reason = "all but one are keywords in Python")]
    fn new(
        advertise: AddressText,
        secret: Secrets,
        seed: Whole,
        generation: Whole,
        now_ns: Whole,
        role: Name<Role>,
        datacenter: DatacenterText,
        config: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Engine> {
        let mut config = engine_config(config, advertise.0, secret.0)?;
        config.role = role.0;
        config.datacenter = datacenter.0;
        config.generation = Generation(generation.0);
        let now = Instant::from_nanos(now_ns.0);
        let engine = shoal_core::Engine::new(config, seed.0, now).map_err(Failure::from)?;
        let outgoing = Box::new([0; DATAGRAM_SIZE_MAX]);
        Ok(Engine { state: Mutex::new(State { engine, incoming: Vec::new(), outgoing }) })
    }

    /// Takes a datagram that came from `source`. Bad ones are counted and dropped.
    fn handle_datagram(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        source: AddressText,
        datagram: Cow<'_, [u8]>,
    ) -> PyResult<()> {
        let mut state = self.drained(py)?;
        let State { engine, incoming, .. } = &mut *state;
        incoming.clear();
        incoming.extend_from_slice(&datagram);
        engine.handle_datagram(Instant::from_nanos(now_ns.0), source.0, incoming);
        Ok(())
    }

    /// Acts on every deadline that has passed. Calling it before `poll_timeout()` does nothing.
    fn handle_timeout(&self, py: Python<'_>, now_ns: Whole) -> PyResult<()> {
        self.drained(py)?.engine.handle_timeout(Instant::from_nanos(now_ns.0));
        Ok(())
    }

    /// When `handle_timeout` should be called next; `None` when the node has left.
    fn poll_timeout(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        Ok(self.state(py)?.engine.poll_timeout().map(Instant::as_nanos))
    }

    /// The next datagram to send and where to, as the arguments of `socket.sendto`; `None` when
    /// there is none. `now_ns` should be the time of sending: round trips are counted from it.
    fn poll_transmit<'py>(&self, py: Python<'py>, now_ns: Whole) -> PyResult<Option<Sendto<'py>>> {
        let mut state = self.state(py)?;
        let State { engine, outgoing, .. } = &mut *state;
        let transmit = engine.poll_transmit(Instant::from_nanos(now_ns.0), outgoing.as_mut_slice());
        let Some(transmit) = transmit else { return Ok(None) };
        let target = (transmit.target.ip().to_string(), transmit.target.port());
        Ok(Some((PyBytes::new(py, &outgoing[..transmit.size]), target)))
    }

    /// The next event, oldest first; `None` when there is none.
    fn poll_event<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let event = self.state(py)?.engine.poll_event();
        event.map(|event| event_object(py, event)).transpose()
    }

    /// Joins a cluster through any of these addresses.
    fn join(&self, py: Python<'_>, now_ns: Whole, seeds: Vec<AddressText>) -> PyResult<()> {
        let seeds: Vec<Address> = seeds.into_iter().map(|seed| seed.0).collect();
        let joined = self.drained(py)?.engine.join(Instant::from_nanos(now_ns.0), &seeds);
        Ok(joined.map_err(Failure::from)?)
    }

    /// Says goodbye. The event `Left` follows when it has been said.
    fn leave(&self, py: Python<'_>, now_ns: Whole) -> PyResult<()> {
        let left = self.drained(py)?.engine.leave(Instant::from_nanos(now_ns.0));
        Ok(left.map_err(Failure::from)?)
    }

    /// Attaches bytes to this node that every member comes to hold.
    fn set_state(&self, py: Python<'_>, now_ns: Whole, state: Payload) -> PyResult<()> {
        let set = self.drained(py)?.engine.set_state(Instant::from_nanos(now_ns.0), state.0);
        Ok(set.map_err(Failure::from)?)
    }

    /// The state of the member at an address, as far as it has come here.
    fn state_of(&self, py: Python<'_>, address: AddressText) -> PyResult<Option<Payload>> {
        Ok(self.state(py)?.engine.state(address.0).cloned().map(Payload))
    }

    /// Sends bytes to every member once, without an answer.
    fn broadcast(&self, py: Python<'_>, now_ns: Whole, payload: Payload) -> PyResult<()> {
        let sent = self.drained(py)?.engine.broadcast(Instant::from_nanos(now_ns.0), payload.0);
        Ok(sent.map_err(Failure::from)?)
    }

    /// Begins to lead a job on this manager. Returns whether it is new.
    #[pyo3(signature = (now_ns, job, timeout_seconds, *, gate=None, datacenter_count=0, fence=1))]
    #[allow(clippy::too_many_arguments, reason = "all but three are keywords in Python")]
    fn job_started(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        job: JobArgument,
        timeout_seconds: Seconds,
        gate: Option<AddressText>,
        datacenter_count: u16,
        fence: u64,
    ) -> PyResult<bool> {
        let start = job_start(&job, timeout_seconds, gate, datacenter_count, fence);
        let started = self.drained(py)?.engine.job_started(Instant::from_nanos(now_ns.0), &start);
        Ok(started.map_err(Failure::from)?)
    }

    /// Notes that a job made progress. Returns whether it is running here.
    #[pyo3(signature = (now_ns, job, workflows=None))]
    fn job_progress(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        job: JobArgument,
        workflows: Option<WorkflowCounts>,
    ) -> PyResult<bool> {
        let workflows = workflows.map(|workflows| workflows.core());
        let now = Instant::from_nanos(now_ns.0);
        let noted = self.drained(py)?.engine.job_progress(now, job.0, workflows);
        Ok(noted.map_err(Failure::from)?)
    }

    /// Ends a job: on a manager its run in this datacenter, on a gate the watch over all of them.
    /// Returns whether it was running here.
    #[pyo3(signature = (now_ns, job, outcome=Name(JobOutcome::Completed)),
        text_signature = "($self, now_ns, job, outcome='completed')")]
    fn job_finished(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        job: JobArgument,
        outcome: Name<JobOutcome>,
    ) -> PyResult<bool> {
        let now = Instant::from_nanos(now_ns.0);
        let ended = self.drained(py)?.engine.job_finished(now, job.0, outcome.0);
        Ok(ended.map_err(Failure::from)?)
    }

    /// Negotiates an extension with a worker of a job: an `ExtensionGrant` or an `ExtensionDenial`.
    #[pyo3(signature = (
        now_ns, job, worker, progress, *, completed_items=None, is_suspect=false
    ))]
    #[allow(clippy::too_many_arguments, reason = "all but four are keywords in Python")]
    fn worker_extension<'py>(
        &self,
        py: Python<'py>,
        now_ns: Whole,
        job: JobArgument,
        worker: WorkerArgument,
        progress: f64,
        completed_items: Option<u64>,
        is_suspect: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let request = extension_request(progress, completed_items, is_suspect);
        let now = Instant::from_nanos(now_ns.0);
        let answer = self.drained(py)?.engine.worker_extension(now, job.0, worker.0, &request);
        extension_object(py, answer)
    }

    /// Takes over the lead of a job from what was replicated here. Returns whether anything
    /// changed.
    #[pyo3(signature = (now_ns, snapshot, term=0))]
    fn job_taken_over(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        snapshot: &JobSnapshot,
        term: u64,
    ) -> PyResult<bool> {
        let (now, snapshot) = (Instant::from_nanos(now_ns.0), snapshot.core());
        let change = LeaderChange::Gained { snapshot, term: FenceToken(term) };
        let changed = self.drained(py)?.engine.leader_changed(now, snapshot.job, &change);
        Ok(changed.map_err(Failure::from)?)
    }

    /// Gives up the lead of a job: it is forgotten without a word. Returns whether anything
    /// changed.
    fn job_given_up(&self, py: Python<'_>, now_ns: Whole, job: JobArgument) -> PyResult<bool> {
        let now = Instant::from_nanos(now_ns.0);
        let changed = self.drained(py)?.engine.leader_changed(now, job.0, &LeaderChange::Lost);
        Ok(changed.map_err(Failure::from)?)
    }

    /// Lets all jobs that report to one gate report to another, because the first one failed or
    /// gave them away. Returns whether any job reported to the first.
    fn gate_changed(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        old: AddressText,
        new: AddressText,
    ) -> PyResult<bool> {
        let now = Instant::from_nanos(now_ns.0);
        let changed = self.drained(py)?.engine.gate_changed(now, old.0, new.0);
        Ok(changed.map_err(Failure::from)?)
    }

    /// Gives up a job on this gate whose datacenters report to another gate now, when all their
    /// managers know of that. Returns whether it was watched here.
    fn gate_job_released(&self, py: Python<'_>, now_ns: Whole, job: JobArgument) -> PyResult<bool> {
        let now = Instant::from_nanos(now_ns.0);
        let released = self.drained(py)?.engine.gate_job_released(now, job.0);
        Ok(released.map_err(Failure::from)?)
    }

    /// What a new leader of this job would need to go on; `None` when it is not led here.
    fn job_snapshot(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        job: JobArgument,
    ) -> PyResult<Option<JobSnapshot>> {
        let now = Instant::from_nanos(now_ns.0);
        Ok(self.state(py)?.engine.job_snapshot(now, job.0).map(JobSnapshot::from))
    }

    /// Begins to watch a job on this gate, in these datacenters: names, or a dict from names to the
    /// managers that accepted it. Returns whether it is new.
    fn gate_job_started(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        job: JobArgument,
        timeout_seconds: Seconds,
        datacenters: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let targets = datacenter_targets(datacenters)?;
        let start = GateJobStart { job: job.0, timeout: timeout_seconds.0, datacenters: &targets };
        let now = Instant::from_nanos(now_ns.0);
        Ok(self.drained(py)?.engine.gate_job_started(now, &start).map_err(Failure::from)?)
    }

    /// Somebody says that a member does not serve a job. Unless enough vouch for it in time,
    /// `JobMemberDead` follows. Returns whether the accusation is news.
    fn accuse_for_job(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        job: JobArgument,
        member: AddressText,
        accuser: AddressText,
    ) -> PyResult<bool> {
        let now = Instant::from_nanos(now_ns.0);
        let accused = self.drained(py)?.engine.accuse_for_job(now, job.0, member.0, accuser.0);
        Ok(accused.map_err(Failure::from)?)
    }

    /// Somebody says that a member serves a job after all. Returns whether it had been accused.
    fn vouch_for_job(
        &self,
        py: Python<'_>,
        job: JobArgument,
        member: AddressText,
    ) -> PyResult<bool> {
        Ok(self.state(py)?.engine.vouch_for_job(job.0, member.0))
    }

    /// Forgets all accusations of a job that is over.
    fn forget_job(&self, py: Python<'_>, job: JobArgument) -> PyResult<()> {
        self.state(py)?.engine.forget_job(job.0);
        Ok(())
    }

    /// What a member is to a job.
    fn job_standing(
        &self,
        py: Python<'_>,
        job: JobArgument,
        member: AddressText,
    ) -> PyResult<Name<JobStanding>> {
        Ok(Name(self.state(py)?.engine.job_standing(job.0, member.0)))
    }

    /// Seals with the first of these secrets from now on and opens with any of them.
    fn set_secrets(&self, py: Python<'_>, secret: Secrets) -> PyResult<()> {
        Ok(self.state(py)?.engine.set_secrets(secret.0).map_err(Failure::from)?)
    }

    /// All members, this node first.
    fn members<'py>(&self, py: Python<'py>, now_ns: Whole) -> PyResult<Bound<'py, PyList>> {
        let now = Instant::from_nanos(now_ns.0);
        let members: Vec<_> = self.state(py)?.engine.members(now).map(Member::from).collect();
        PyList::new(py, members)
    }

    /// The member at an address; `None` when it is unknown.
    fn member(
        &self,
        py: Python<'_>,
        now_ns: Whole,
        address: AddressText,
    ) -> PyResult<Option<Member>> {
        let now = Instant::from_nanos(now_ns.0);
        Ok(self.state(py)?.engine.member(address.0, now).map(Member::from))
    }

    /// What is known of the round trip to an address.
    fn rtt(&self, py: Python<'_>, now_ns: Whole, address: AddressText) -> PyResult<Option<Rtt>> {
        let now = Instant::from_nanos(now_ns.0);
        Ok(self.state(py)?.engine.rtt(address.0, now).map(Rtt::from))
    }

    /// Where the node is in the latency space.
    #[getter]
    fn coordinate(&self, py: Python<'_>) -> PyResult<Coordinate> {
        Ok((*self.state(py)?.engine.coordinate()).into())
    }

    /// How much the node distrusts its own view, 0 (not at all) to 8.
    #[getter]
    fn health_score(&self, py: Python<'_>) -> PyResult<u8> {
        Ok(self.state(py)?.engine.health_score())
    }

    /// The value of every counter by its name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.state(py)?.engine.stats().clone();
        stats_dict(py, &stats)
    }
}

impl Engine {
    fn state(&self, py: Python<'_>) -> Result<MutexGuard<'_, State>, Failure> {
        self.state.lock_py_attached(py).map_err(|_| Failure::broken())
    }

    /// The state when the next input may come.
    fn drained(&self, py: Python<'_>) -> Result<MutexGuard<'_, State>, Failure> {
        let state = self.state(py)?;
        if state.engine.is_drained() {
            return Ok(state);
        }
        let message = "datagrams of the last input wait; call poll_transmit until it returns None";
        Err(Failure::Lifecycle(message))
    }
}
