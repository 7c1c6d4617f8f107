//! The classes of events, one for each kind that the engine has.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};
use shoal_core::events::{ForeignHealth, ForeignWorker};
use shoal_core::{ForeignMessage, MemberState, Role};

use crate::convert::{AddressText, DatacenterText, Payload, Seconds};
use crate::ids::JobId;
use crate::jobs::values::job_event_object;
use crate::names::Name;
use crate::values::value_class;

value_class! {
    /// A member is new, changed its state, or came back as a new generation.
    MemberEvent {
        /// Where the member is reached, `"ip:port"`.
        address: AddressText,
        /// What it is now.
        state: Name<MemberState>,
        /// What it does.
        role: Name<Role>,
        /// Where it runs.
        datacenter: DatacenterText,
        /// Which run of its program: later runs have larger numbers.
        generation: u64,
        /// Its own count of refutations.
        incarnation: u32,
        /// When this node learned of it, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// A seed answered and its member table has been read: the node is part of a cluster.
    Joined {
        /// The seed that answered, `"ip:port"`.
        seed: AddressText,
        /// When, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// No seed has answered so far. The node keeps trying, at growing intervals.
    JoinDelayed {
        /// Attempts made.
        attempts: u32,
        /// When, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// Peers said that this node failed, and it told them otherwise.
    Refuted {
        /// The incarnation that refutes.
        incarnation: u32,
        /// When, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// A member changed the state that its program attaches to it.
    StateChanged {
        /// The member, `"ip:port"`.
        address: AddressText,
        /// Its new state, whole.
        state: Payload,
        /// When it was complete here, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// A member sent bytes to everybody. Each broadcast is delivered once; order is not kept.
    Broadcast {
        /// The member, `"ip:port"`.
        source: AddressText,
        /// Its bytes.
        payload: Payload,
        /// When they came, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// A member does not serve a job, although its machine may be well.
    JobMemberDead {
        /// The job.
        job: JobId,
        /// The member that the job should do without, `"ip:port"`.
        address: AddressText,
        /// When, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// The node was not run for so long that what it waited for proves nothing: it begins its
    /// observations anew.
    Stalled {
        /// By how much it missed its deadline, in seconds.
        lasted_seconds: Seconds,
        /// When it noticed, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// The goodbye has been sent. It is the last event of a node.
    Left {
        /// When, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// Events were lost because the program did not take them. `members()` tells the present state.
    Overflow {
        /// How many were lost since the last such event.
        lost: u64,
    }
}

value_class! {
    /// A node sent what hyperscale's servers say to each other and the engine does not act upon:
    /// about an election, or from one datacenter to another. Only with `wire_format="hyperscale"`.
    HyperscaleMessage {
        /// Who sent it, `"ip:port"`.
        sender: AddressText,
        /// What it is, such as `"leader-claim"`.
        name: String,
        /// The whole message without its sections. A pickled body in it runs what the sender put
        /// there when it is unpickled.
        message: Payload,
        /// When it came, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// A server of hyperscale is otherwise than before, by its own words or another's. Only with
    /// `wire_format="hyperscale"`, and of servers that are not on Shoal.
    HyperscaleHealth {
        /// Who told it, `"ip:port"`.
        sender: AddressText,
        /// The server's own name, which is not its address.
        node_id: String,
        /// What it does.
        node_type: String,
        /// How loaded it is: healthy, busy, stressed or overloaded.
        overload: String,
        /// Whether it takes new work.
        accepting_work: bool,
        /// How much work it could take.
        capacity: i64,
        /// Work done per second.
        throughput: f64,
        /// Work per second that it should do.
        expected_throughput: f64,
        /// When, in seconds of its own clock.
        timestamp: f64,
        /// When this node learned of it, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

value_class! {
    /// A worker is otherwise than before, by the words of a manager of hyperscale. Only with
    /// `wire_format="hyperscale"`, and of managers that are not on Shoal.
    HyperscaleWorker {
        /// Who told it, `"ip:port"`.
        sender: AddressText,
        /// The worker's name.
        worker_id: String,
        /// The name of its manager.
        owner_id: String,
        /// Where it is reached, by number or by name.
        host: String,
        /// Its port for streams.
        tcp_port: u16,
        /// Its port for datagrams.
        udp_port: u16,
        /// Where it stands: registered, dead, evicted or left.
        state: String,
        /// Orders news of the worker.
        incarnation: u32,
        /// Processors it has.
        total_cores: u32,
        /// Processors that are free.
        available_cores: u32,
        /// When, in seconds of its manager's clock.
        timestamp: f64,
        /// Where it runs.
        datacenter: String,
        /// When this node learned of it, on the clock of `time.monotonic_ns()`.
        at_ns: u64,
    }
}

impl HyperscaleHealth {
    fn from_core(health: ForeignHealth) -> HyperscaleHealth {
        HyperscaleHealth {
            sender: AddressText(health.sender),
            node_id: health.node_id.into(),
            node_type: health.node_type.into(),
            overload: health.overload.text().to_owned(),
            accepting_work: health.is_accepting,
            capacity: health.capacity,
            throughput: health.throughput,
            expected_throughput: health.expected,
            timestamp: health.timestamp,
            at_ns: health.at.as_nanos(),
        }
    }
}

impl HyperscaleWorker {
    fn from_core(worker: ForeignWorker) -> HyperscaleWorker {
        HyperscaleWorker {
            sender: AddressText(worker.sender),
            worker_id: worker.worker_id.into(),
            owner_id: worker.owner_id.into(),
            host: worker.host.into(),
            tcp_port: worker.tcp_port,
            udp_port: worker.udp_port,
            state: worker.state.text().to_owned(),
            incarnation: worker.incarnation,
            total_cores: worker.total_cores,
            available_cores: worker.available_cores,
            timestamp: worker.timestamp,
            datacenter: worker.datacenter.into(),
            at_ns: worker.at.as_nanos(),
        }
    }
}

impl HyperscaleMessage {
    fn from_core(foreign: &ForeignMessage) -> HyperscaleMessage {
        HyperscaleMessage {
            sender: AddressText(foreign.sender),
            name: foreign.name.text().to_owned(),
            message: Payload(foreign.message().into()),
            at_ns: foreign.at.as_nanos(),
        }
    }
}

value_class! {
    /// An event that this version of the bindings has no class for.
    OtherEvent {
        /// The event in words.
        text: String,
    }
}

/// The Python object for an event.
pub(crate) fn event_object(py: Python<'_>, event: shoal_core::Event) -> PyResult<Bound<'_, PyAny>> {
    use shoal_core::Event;
    match event {
        Event::Member(member) => MemberEvent {
            address: AddressText(member.address),
            state: Name(member.state),
            role: Name(member.role),
            datacenter: DatacenterText(member.datacenter),
            generation: member.generation.0,
            incarnation: member.incarnation.0,
            at_ns: member.at.as_nanos(),
        }
        .into_bound_py_any(py),
        Event::Joined { seed, at, .. } => {
            Joined { seed: AddressText(seed), at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        Event::JoinDelayed { attempts, at, .. } => {
            JoinDelayed { attempts, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        Event::State { address, state, at, .. } => {
            let (address, state) = (AddressText(address), Payload(state));
            StateChanged { address, state, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        Event::Broadcast { source, payload, at, .. } => {
            let (source, payload) = (AddressText(source), Payload(payload));
            Broadcast { source, payload, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        Event::Stalled { lasted, at, .. } => {
            let lasted_seconds = Seconds(lasted);
            Stalled { lasted_seconds, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        Event::JobMemberDead { job, address, at, .. } => {
            let (job, address) = (JobId(job), AddressText(address));
            JobMemberDead { job, address, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        Event::Job(event) => job_event_object(py, event),
        Event::Federation(event) => crate::leaders::federation_event_object(py, event),
        Event::Refuted { incarnation, at, .. } => {
            Refuted { incarnation: incarnation.0, at_ns: at.as_nanos() }.into_bound_py_any(py)
        }
        Event::Foreign(foreign) => HyperscaleMessage::from_core(&foreign).into_bound_py_any(py),
        Event::ForeignHealth(health) => HyperscaleHealth::from_core(*health).into_bound_py_any(py),
        Event::ForeignWorker(worker) => HyperscaleWorker::from_core(*worker).into_bound_py_any(py),
        Event::Left { at, .. } => Left { at_ns: at.as_nanos() }.into_bound_py_any(py),
        Event::Overflow { lost, .. } => Overflow { lost }.into_bound_py_any(py),
        other => OtherEvent { text: format!("{other:?}") }.into_bound_py_any(py),
    }
}
