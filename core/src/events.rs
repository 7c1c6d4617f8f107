//! What the engine tells its host.

use std::fmt;

use bytes::Bytes;

use crate::federation::FederationEvent;
use crate::id::JobId;
use crate::jobs::JobEvent;
use crate::node::{Address, DatacenterName, Generation, Incarnation, MemberState, Role};
use crate::time::{Duration, Instant};
use crate::wire::hyperscale::Name;
use crate::wire::hyperscale::entry::{Overload, WorkerState};

/// Something the host may want to know. Taken with [`Engine::poll_event`](crate::Engine::poll_event).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A member is new, changed its state, or came back as a new generation.
    Member(MemberEvent),
    /// A seed answered and its member table has been read: the node is part of a cluster.
    Joined {
        /// The seed that answered.
        seed: Address,
        /// When.
        at: Instant,
    },
    /// No seed has answered so far. The node keeps trying, at growing intervals.
    JoinDelayed {
        /// Attempts made.
        attempts: u32,
        /// When.
        at: Instant,
    },
    /// A member's host changed the state that it attaches to its node.
    State {
        /// The member.
        address: Address,
        /// Its new state, whole.
        state: Bytes,
        /// When it was complete here.
        at: Instant,
    },
    /// A member's host sent bytes to everybody. Each broadcast is delivered once; order is not kept.
    Broadcast {
        /// The member.
        source: Address,
        /// Its bytes.
        payload: Bytes,
        /// When they came.
        at: Instant,
    },
    /// A member does not serve a job, although its machine may be well (AD-30).
    JobMemberDead {
        /// The job.
        job: JobId,
        /// The member that the job should do without.
        address: Address,
        /// When.
        at: Instant,
    },
    /// A node of the Python system sent something that is not for the engine: about an election, or
    /// from one datacenter to another.
    Foreign(ForeignMessage),
    /// A node of the Python system is otherwise than before, by its own words or another's.
    ForeignHealth(Box<ForeignHealth>),
    /// A worker of a Python manager is otherwise than before, by the words of a manager.
    ForeignWorker(Box<ForeignWorker>),
    /// A job timed out, got stuck or changed hands.
    Job(JobEvent),
    /// A leader was elected or lost, or a gate hears a datacenter again or no more.
    Federation(FederationEvent),
    /// Peers said that this node failed, and it told them otherwise.
    Refuted {
        /// The incarnation that refutes.
        incarnation: Incarnation,
        /// When.
        at: Instant,
    },
    /// This node was not run for so long that what it waited for proves nothing: it begins its
    /// observations anew.
    Stalled {
        /// By how much it missed its deadline.
        lasted: Duration,
        /// When it noticed.
        at: Instant,
    },
    /// The goodbye has been sent: the host may close the socket.
    Left {
        /// When.
        at: Instant,
    },
    /// Events were lost because the host did not take them; the member table tells the present state.
    Overflow {
        /// How many were lost since the last such event.
        lost: u64,
    },
}

/// A message in the Python node's format that the engine does not act upon.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignMessage {
    /// Who sent it.
    pub sender: Address,
    /// What it is.
    pub name: Name,
    /// Its numbers, such as the term of an election.
    pub arguments: [Option<u64>; 2],
    /// The node it is about.
    pub target: Option<Address>,
    /// A pickled body, as it came. Whoever unpickles it runs what the sender put there.
    pub body: Bytes,
    /// When it came.
    pub at: Instant,
}

impl ForeignMessage {
    /// The message as it stands in a datagram, without its sections.
    pub fn message(&self) -> Vec<u8> {
        let mut message = self.name.text().as_bytes().to_vec();
        for argument in self.arguments.iter().map_while(Option::as_ref) {
            message.extend_from_slice(format!(":{argument}").as_bytes());
        }
        message.push(b'>');
        match self.target.filter(|_| !self.name.has_body()) {
            Some(target) => message.extend_from_slice(target.to_string().as_bytes()),
            None => message.extend_from_slice(&self.body),
        }
        message
    }
}

/// How a node of the Python system is. Told when the node is new here, or anything but the two rates
/// and the timestamp has changed, or nothing was heard of it for 30 s.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignHealth {
    /// Who told it; news travels through others.
    pub sender: Address,
    /// The node's own name, which is not its address.
    pub node_id: Box<str>,
    /// What it does; a word, because clients tell their health, too.
    pub node_type: Box<str>,
    /// How loaded it is.
    pub overload: Overload,
    /// Whether it takes new work.
    pub is_accepting: bool,
    /// How much work it could take.
    pub capacity: i64,
    /// Work done per second.
    pub throughput: f64,
    /// Work per second that it should do.
    pub expected: f64,
    /// When, in seconds by its own clock.
    pub timestamp: f64,
    /// When this node learned of it.
    pub at: Instant,
}

/// As it stands in a datagram's section of health.
impl fmt::Display for ForeignHealth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ForeignHealth { node_id, node_type, overload, is_accepting, capacity, .. } = self;
        let (overload, accepting) = (overload.text(), u8::from(*is_accepting));
        write!(formatter, "{node_id}|{node_type}|{overload}|{accepting}|{capacity}")?;
        [self.throughput, self.expected, self.timestamp]
            .iter()
            .try_for_each(|value| write!(formatter, "|{value:.2}"))
    }
}

/// Where a worker of a Python manager stands. Told when the worker is new here, or anything but the
/// timestamp has changed, or nothing was heard of it for 30 s.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignWorker {
    /// Who told it; news travels through others.
    pub sender: Address,
    /// The worker's name.
    pub worker_id: Box<str>,
    /// The name of its manager.
    pub owner_id: Box<str>,
    /// Where it is reached, by number or by name.
    pub host: Box<str>,
    /// Its port for streams.
    pub tcp_port: u16,
    /// Its port for datagrams.
    pub udp_port: u16,
    /// Where it stands.
    pub state: WorkerState,
    /// Orders news of the worker.
    pub incarnation: u32,
    /// Processors it has.
    pub total_cores: u32,
    /// Processors that are free.
    pub available_cores: u32,
    /// When, in seconds by its manager's clock.
    pub timestamp: f64,
    /// Where it runs.
    pub datacenter: Box<str>,
    /// When this node learned of it.
    pub at: Instant,
}

/// As it stands in a datagram's section of workers.
impl fmt::Display for ForeignWorker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ForeignWorker { worker_id, owner_id, host, tcp_port, udp_port, incarnation, .. } = self;
        let ForeignWorker { total_cores, available_cores, timestamp, datacenter, .. } = self;
        let state = self.state.text();
        write!(formatter, "{worker_id}:{owner_id}:{host}:{tcp_port}:{udp_port}:{state}:")?;
        write!(
            formatter,
            "{incarnation}:{total_cores}:{available_cores}:{timestamp:.6}:{datacenter}"
        )
    }
}

/// The state of one member after a change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemberEvent {
    /// Where the member is reached.
    pub address: Address,
    /// What it is now.
    pub state: MemberState,
    /// Which run of its program.
    pub generation: Generation,
    /// Its own count of refutations.
    pub incarnation: Incarnation,
    /// What it does.
    pub role: Role,
    /// Where it runs.
    pub datacenter: DatacenterName,
    /// When this node learned of it.
    pub at: Instant,
}
