//! What Shoal tells: members, events, round trips, coordinates and counters, as flat structures
//! of fixed size.

use crate::address::shoal_address;
use crate::call::{Failure, fixed_text, required};
use crate::jobs::{nanos, outcome_number, reason_number, shoal_job_id, shoal_worker_id};
use crate::node_routes::reachability_number;
use crate::status::{SHOAL_INVALID_COORDINATE, SHOAL_OK, shoal_status};
use shoal_core::config::BROADCAST_SIZE_MAX;
use shoal_core::coordinate::DIMENSIONS;
use shoal_core::federation::{FederationEvent, ResignationReason};
use shoal_core::jobs::JobEvent;
use shoal_core::{
    Address, Coordinate, DatacenterName, Event, Instant, Member, MemberEvent, MemberState, Role,
    Rtt, Stats,
};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// Room for every datacenter name, its final NUL included.
pub const SHOAL_DATACENTER_SIZE: usize = 32;
/// Room for every counter's name, its final NUL included.
pub const SHOAL_COUNTER_NAME_SIZE: usize = 48;
/// The largest broadcast, in bytes.
pub const SHOAL_BROADCAST_SIZE_MAX: usize = 1024;
/// Euclidean dimensions of a coordinate.
pub const SHOAL_COORDINATE_DIMENSIONS: usize = 8;

const _: () = assert!(SHOAL_COORDINATE_DIMENSIONS == DIMENSIONS);
const _: () = assert!(SHOAL_BROADCAST_SIZE_MAX == BROADCAST_SIZE_MAX);
const _: () = assert!(SHOAL_DATACENTER_SIZE == DatacenterName::SIZE_MAX + 1);

/// Entry point that routes jobs to datacenters.
pub const SHOAL_ROLE_GATE: u8 = 1;
/// Owner of jobs inside one datacenter.
pub const SHOAL_ROLE_MANAGER: u8 = 2;
/// Runs the work; confirmed only passively.
pub const SHOAL_ROLE_WORKER: u8 = 3;

/// Heard of, not yet heard from. Never suspected, never declared dead.
pub const SHOAL_STATE_UNCONFIRMED: u8 = 0;
/// Heard from, and answering.
pub const SHOAL_STATE_ALIVE: u8 = 1;
/// Did not answer; may still refute.
pub const SHOAL_STATE_SUSPECT: u8 = 2;
/// Did not refute in time.
pub const SHOAL_STATE_DEAD: u8 = 3;
/// Said goodbye.
pub const SHOAL_STATE_LEFT: u8 = 4;
/// Forgotten: its record is gone. Seen in events only.
pub const SHOAL_STATE_REMOVED: u8 = 5;

/// An event that is younger than this header. Ignore it.
pub const SHOAL_EVENT_OTHER: u32 = 0;
/// A member is new, changed its state, or came back as a new generation.
pub const SHOAL_EVENT_MEMBER: u32 = 1;
/// The seed in `address` answered: the node is part of a cluster.
pub const SHOAL_EVENT_JOINED: u32 = 2;
/// No seed has answered in `attempts` attempts. The node keeps trying, at growing intervals.
pub const SHOAL_EVENT_JOIN_DELAYED: u32 = 3;
/// Peers said that this node failed, and it told them otherwise with `incarnation`.
pub const SHOAL_EVENT_REFUTED: u32 = 4;
/// The goodbye has been said: the node can be stopped, an engine's socket closed.
pub const SHOAL_EVENT_LEFT: u32 = 5;
/// `lost` events were lost because they were not taken; the members tell the present state.
pub const SHOAL_EVENT_OVERFLOW: u32 = 6;
/// The member at `address` changed the state that it attaches to itself: `payload_size` bytes,
/// read with `shoal_engine_state` or `shoal_node_state`.
pub const SHOAL_EVENT_STATE: u32 = 7;
/// The member at `address` sent `payload_size` bytes of `payload` to everybody. Each broadcast
/// comes once, in no order.
pub const SHOAL_EVENT_BROADCAST: u32 = 8;
/// This node was not run for `lasted_ns`, so what it waited for proves nothing: it begins its
/// observations anew.
pub const SHOAL_EVENT_STALLED: u32 = 9;
/// The member at `address` does not serve `job`, although its machine may be well: the job
/// should do without it.
pub const SHOAL_EVENT_JOB_MEMBER_DEAD: u32 = 10;
/// On a manager: `job` timed out in this datacenter for `reason` after `lasted_ns`: cancel it
/// there. Told once.
pub const SHOAL_EVENT_JOB_TIMED_OUT: u32 = 11;
/// On a manager: `job` has made no progress for `lasted_ns`. Told once for each time it gets
/// stuck.
pub const SHOAL_EVENT_JOB_STUCK: u32 = 12;
/// On a manager: another one leads `job` under a higher fence than `fence`; it is no longer
/// tracked here.
pub const SHOAL_EVENT_JOB_SUPERSEDED: u32 = 13;
/// On a manager: `worker` has had all its extensions and the grace after them; take it off
/// `job`.
pub const SHOAL_EVENT_WORKER_OVERDUE: u32 = 14;
/// On a gate: `job` timed out in all datacenters for `reason` after `lasted_ns`; they are being
/// told. Told once.
pub const SHOAL_EVENT_JOB_GLOBAL_TIMEOUT: u32 = 15;
/// On a gate: `datacenter` refused the global timeout of `job`, because it had ended there with
/// `outcome` or, when that is 0, has a new leader under `fence`.
pub const SHOAL_EVENT_JOB_STATUS_CORRECTION: u32 = 16;
/// `datacenter` has a leader that holds its lease, at `address`, in the term `fence`.
pub const SHOAL_EVENT_LEADER_ELECTED: u32 = 17;
/// The leader of `datacenter` at `address`, in the term `fence`, resigned or is not heard any more.
pub const SHOAL_EVENT_LEADER_LOST: u32 = 18;
/// This node leads its datacenter no longer; its term was `fence`, and `reason` is a
/// `SHOAL_RESIGNATION_` number.
pub const SHOAL_EVENT_STEPPED_DOWN: u32 = 19;
/// On a gate: it hears `datacenter` again or no more; `state` is a `SHOAL_REACHABILITY_` number.
pub const SHOAL_EVENT_REACHABILITY: u32 = 20;
/// On a gate: so many datacenters fell silent together (`attempts` of `lost`) that it blames its
/// own network.
pub const SHOAL_EVENT_NETWORK_SUSPECTED: u32 = 21;
/// On a gate: enough datacenters answer again.
pub const SHOAL_EVENT_NETWORK_RECOVERED: u32 = 22;
/// In hyperscale's format, the node at `address` said something about an election, or from one
/// datacenter to another: `payload` has the message without its sections.
pub const SHOAL_EVENT_HYPERSCALE_MESSAGE: u32 = 23;
/// In hyperscale's format, the node at `address` told that a node is otherwise than before:
/// `payload` has the entry as it stands in the section of health.
pub const SHOAL_EVENT_HYPERSCALE_HEALTH: u32 = 24;
/// In hyperscale's format, the node at `address` told that a worker is otherwise than before:
/// `payload` has the entry as it stands in the section of workers.
pub const SHOAL_EVENT_HYPERSCALE_WORKER: u32 = 25;

/// The leader could not renew its lease with a majority.
pub const SHOAL_RESIGNATION_LEASE_LOST: u8 = 1;
/// Others are in a later term.
pub const SHOAL_RESIGNATION_SUPERSEDED: u8 = 2;
/// Its local health was poor for a whole lease, and a fit manager can take over.
pub const SHOAL_RESIGNATION_UNHEALTHY: u8 = 3;
/// It leaves.
pub const SHOAL_RESIGNATION_LEAVING: u8 = 4;
/// Its host named another.
pub const SHOAL_RESIGNATION_REPLACED: u8 = 5;

/// What is known about the round trip to a peer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct shoal_rtt {
    /// The best estimate, in milliseconds.
    pub ms: f64,
    /// A bound that the round trip rarely exceeds, in milliseconds.
    pub upper_ms: f64,
    /// How much to trust it, from 0 (a guess) to 1 (measured, fresh, consistent).
    pub quality: f64,
}

/// A place in the latency space. All fields are in seconds but `error`, which is relative.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct shoal_coordinate {
    /// The Euclidean part.
    pub vector: [f64; SHOAL_COORDINATE_DIMENSIONS],
    /// The access link, paid by every path; not negative.
    pub height: f64,
    /// A correction of the prediction.
    pub adjustment: f64,
    /// How wrong predictions from here are, relative to the round trip; above 0, at most 1.5.
    pub error: f64,
}

/// One member as the node sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_member {
    /// Where it is reached.
    pub address: shoal_address,
    /// Which run of its program.
    pub generation: u64,
    /// Its count of refutations.
    pub incarnation: u32,
    /// Where it stands in its life: a `SHOAL_STATE_` number.
    pub state: u8,
    /// What it does: a `SHOAL_ROLE_` number.
    pub role: u8,
    /// Its local health as it last told, 0 (well) to 8.
    pub health_score: u8,
    /// 1 when `rtt` is known, else 0.
    pub has_rtt: u8,
    /// 1 when `coordinate` is known, else 0.
    pub has_coordinate: u8,
    /// Zero.
    pub reserved_flags: [u8; 7],
    /// Where it runs, NUL terminated.
    pub datacenter: [c_char; SHOAL_DATACENTER_SIZE],
    /// The round trip to it; zero for the node itself.
    pub rtt: shoal_rtt,
    /// Its coordinate as it last told.
    pub coordinate: shoal_coordinate,
    /// Zero.
    pub reserved: [u8; 64],
}

/// Something that happened. `kind` says which fields have a meaning; all others are zero.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_event {
    /// What happened: a `SHOAL_EVENT_` number.
    pub kind: u32,
    /// Member: what it is now, a `SHOAL_STATE_` number. Reachability: what it is now.
    pub state: u8,
    /// Member: what it does, a `SHOAL_ROLE_` number.
    pub role: u8,
    /// Timed out: why, a `SHOAL_TIMEOUT_` number. Stepped down: why.
    pub reason: u8,
    /// Status correction: how the job ended, a `SHOAL_OUTCOME_` number.
    pub outcome: u8,
    /// When, on the node's clock; zero where it is not told.
    pub at_ns: u64,
    /// Member, state, broadcast: where the member is reached. Joined: the seed.
    pub address: shoal_address,
    /// Member: which run of its program.
    pub generation: u64,
    /// Member: its count of refutations. Refuted: the new one of this node.
    pub incarnation: u32,
    /// Join delayed: attempts made.
    pub attempts: u32,
    /// Overflow: how many events were lost since the last one.
    pub lost: u64,
    /// Stalled: by how much the node missed its deadline. Job timed out: how long it had been
    /// running. Job stuck: for how long.
    pub lasted_ns: u64,
    /// Job: the leadership that this is about. Leader: the term.
    pub fence: u64,
    /// Job: which one.
    pub job: shoal_job_id,
    /// Worker overdue: which one.
    pub worker: shoal_worker_id,
    /// State: the size of the new state. Broadcast: how many bytes of `payload` it has.
    /// Hyperscale: the same; what is beyond `SHOAL_BROADCAST_SIZE_MAX` is cut, and counted here.
    pub payload_size: u32,
    /// Zero.
    pub reserved_size: u32,
    /// Member: where it runs, NUL terminated. Status correction: who corrected.
    pub datacenter: [c_char; SHOAL_DATACENTER_SIZE],
    /// Zero.
    pub reserved: [u8; 104],
    /// Broadcast: its bytes. Hyperscale: what was said.
    pub payload: [u8; SHOAL_BROADCAST_SIZE_MAX],
}

/// The value of one counter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_counter {
    /// Its name in snake case, NUL terminated. Names are stable; later versions add some.
    pub name: [c_char; SHOAL_COUNTER_NAME_SIZE],
    /// How often it was counted since the node began.
    pub value: u64,
}

/// The name of a `SHOAL_ROLE_` number: "gate", "manager", "worker", or "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn shoal_role_name(role: u8) -> *const c_char {
    name_of(role, &[c"unknown", c"gate", c"manager", c"worker"])
}

/// The name of a `SHOAL_STATE_` number: "unconfirmed", "alive", "suspect", "dead", "left",
/// "removed", or "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn shoal_state_name(state: u8) -> *const c_char {
    name_of(state, &[c"unconfirmed", c"alive", c"suspect", c"dead", c"left", c"removed"])
}

/// The name with a number, or "unknown".
pub(crate) fn name_of(number: u8, names: &[&'static CStr]) -> *const c_char {
    names.get(usize::from(number)).copied().unwrap_or(c"unknown").as_ptr()
}

impl From<Rtt> for shoal_rtt {
    fn from(rtt: Rtt) -> shoal_rtt {
        let Rtt { ms, upper_ms, quality } = rtt;
        shoal_rtt { ms, upper_ms, quality }
    }
}

impl From<Coordinate> for shoal_coordinate {
    fn from(coordinate: Coordinate) -> shoal_coordinate {
        let Coordinate { vector, height, adjustment, error } = coordinate;
        shoal_coordinate { vector, height, adjustment, error }
    }
}

impl shoal_coordinate {
    /// The coordinate as the engine takes it.
    pub(crate) fn read(&self) -> Result<Coordinate, Failure> {
        let shoal_coordinate { vector, height, adjustment, error } = *self;
        let coordinate = Coordinate { vector, height, adjustment, error };
        if !coordinate.is_valid() {
            let detail = "a field of the coordinate is not finite or out of range";
            return Err(Failure::new(SHOAL_INVALID_COORDINATE, detail));
        }
        Ok(coordinate)
    }
}

impl From<Member> for shoal_member {
    fn from(member: Member) -> shoal_member {
        shoal_member {
            address: member.address.into(),
            generation: member.generation.0,
            incarnation: member.incarnation.0,
            state: state_number(member.state),
            role: role_number(member.role),
            health_score: member.health_score,
            has_rtt: u8::from(member.rtt.is_some()),
            has_coordinate: u8::from(member.coordinate.is_some()),
            reserved_flags: [0; 7],
            datacenter: fixed_text(member.datacenter.as_bytes()),
            rtt: member.rtt.map(shoal_rtt::from).unwrap_or_default(),
            coordinate: member.coordinate.map(shoal_coordinate::from).unwrap_or_default(),
            reserved: [0; 64],
        }
    }
}

impl From<Event> for shoal_event {
    fn from(event: Event) -> shoal_event {
        match event {
            Event::Member(MemberEvent {
                address,
                state,
                generation,
                incarnation,
                role,
                datacenter,
                at,
            }) => shoal_event {
                state: state_number(state),
                role: role_number(role),
                address: address.into(),
                generation: generation.0,
                incarnation: incarnation.0,
                datacenter: fixed_text(datacenter.as_bytes()),
                ..blank(SHOAL_EVENT_MEMBER, at)
            },
            Event::Joined { seed, at } => {
                shoal_event { address: seed.into(), ..blank(SHOAL_EVENT_JOINED, at) }
            }
            Event::JoinDelayed { attempts, at } => {
                shoal_event { attempts, ..blank(SHOAL_EVENT_JOIN_DELAYED, at) }
            }
            Event::Refuted { incarnation, at } => {
                shoal_event { incarnation: incarnation.0, ..blank(SHOAL_EVENT_REFUTED, at) }
            }
            Event::State { address, state, at } => shoal_event {
                address: address.into(),
                payload_size: state.len() as u32,
                ..blank(SHOAL_EVENT_STATE, at)
            },
            Event::Broadcast { source, payload, at } => {
                carrying(SHOAL_EVENT_BROADCAST, source, at, &payload)
            }
            Event::Foreign(told) => {
                carrying(SHOAL_EVENT_HYPERSCALE_MESSAGE, told.sender, told.at, &told.message())
            }
            Event::ForeignHealth(told) => {
                let text = told.to_string();
                carrying(SHOAL_EVENT_HYPERSCALE_HEALTH, told.sender, told.at, text.as_bytes())
            }
            Event::ForeignWorker(told) => {
                let text = told.to_string();
                carrying(SHOAL_EVENT_HYPERSCALE_WORKER, told.sender, told.at, text.as_bytes())
            }
            Event::Stalled { lasted, at } => {
                shoal_event { lasted_ns: nanos(lasted), ..blank(SHOAL_EVENT_STALLED, at) }
            }
            Event::JobMemberDead { job, address, at } => shoal_event {
                job: job.into(),
                address: address.into(),
                ..blank(SHOAL_EVENT_JOB_MEMBER_DEAD, at)
            },
            Event::Job(event) => event.into(),
            Event::Federation(event) => event.into(),
            Event::Left { at } => blank(SHOAL_EVENT_LEFT, at),
            Event::Overflow { lost } => {
                shoal_event { lost, ..blank(SHOAL_EVENT_OVERFLOW, Instant::ZERO) }
            }
            _ => blank(SHOAL_EVENT_OTHER, Instant::ZERO),
        }
    }
}

/// An event that somebody's bytes came with, as far as there is room for them.
fn carrying(kind: u32, source: Address, at: Instant, payload: &[u8]) -> shoal_event {
    let mut event = blank(kind, at);
    event.address = source.into();
    event.payload_size = payload.len() as u32;
    let size = payload.len().min(SHOAL_BROADCAST_SIZE_MAX);
    event.payload[..size].copy_from_slice(&payload[..size]);
    event
}

/// An event with nothing but its kind and its time.
fn blank(kind: u32, at: Instant) -> shoal_event {
    shoal_event {
        kind,
        state: 0,
        role: 0,
        reason: 0,
        outcome: 0,
        at_ns: at.as_nanos(),
        address: shoal_address::default(),
        generation: 0,
        incarnation: 0,
        attempts: 0,
        lost: 0,
        lasted_ns: 0,
        fence: 0,
        job: shoal_job_id::default(),
        worker: shoal_worker_id::default(),
        payload_size: 0,
        reserved_size: 0,
        datacenter: [0; SHOAL_DATACENTER_SIZE],
        reserved: [0; 104],
        payload: [0; SHOAL_BROADCAST_SIZE_MAX],
    }
}

impl From<FederationEvent> for shoal_event {
    fn from(event: FederationEvent) -> shoal_event {
        let leader_event =
            |kind, datacenter: DatacenterName, leader: Address, term, at| shoal_event {
                datacenter: fixed_text(datacenter.as_bytes()),
                address: leader.into(),
                fence: term,
                ..blank(kind, at)
            };
        match event {
            FederationEvent::LeaderElected { datacenter, leader, term, at } => {
                leader_event(SHOAL_EVENT_LEADER_ELECTED, datacenter, leader, term, at)
            }
            FederationEvent::LeaderLost { datacenter, leader, term, at } => {
                leader_event(SHOAL_EVENT_LEADER_LOST, datacenter, leader, term, at)
            }
            FederationEvent::SteppedDown { term, reason, at } => shoal_event {
                fence: term,
                reason: resignation_number(reason),
                ..blank(SHOAL_EVENT_STEPPED_DOWN, at)
            },
            FederationEvent::ReachabilityChanged { datacenter, to, at, .. } => shoal_event {
                datacenter: fixed_text(datacenter.as_bytes()),
                state: reachability_number(to),
                ..blank(SHOAL_EVENT_REACHABILITY, at)
            },
            FederationEvent::NetworkSuspected { silent, heard, at } => shoal_event {
                attempts: silent,
                lost: u64::from(heard),
                ..blank(SHOAL_EVENT_NETWORK_SUSPECTED, at)
            },
            FederationEvent::NetworkRecovered { at } => blank(SHOAL_EVENT_NETWORK_RECOVERED, at),
            _ => blank(SHOAL_EVENT_OTHER, Instant::ZERO),
        }
    }
}

fn resignation_number(reason: ResignationReason) -> u8 {
    match reason {
        ResignationReason::LeaseLost => SHOAL_RESIGNATION_LEASE_LOST,
        ResignationReason::Superseded => SHOAL_RESIGNATION_SUPERSEDED,
        ResignationReason::Unhealthy => SHOAL_RESIGNATION_UNHEALTHY,
        ResignationReason::Leaving => SHOAL_RESIGNATION_LEAVING,
        ResignationReason::Replaced => SHOAL_RESIGNATION_REPLACED,
    }
}

impl From<JobEvent> for shoal_event {
    fn from(event: JobEvent) -> shoal_event {
        match event {
            JobEvent::TimedOut { job, reason, elapsed, fence, at } => shoal_event {
                job: job.into(),
                reason: reason_number(reason),
                lasted_ns: nanos(elapsed),
                fence: fence.0,
                ..blank(SHOAL_EVENT_JOB_TIMED_OUT, at)
            },
            JobEvent::Stuck { job, since_progress, fence, at } => shoal_event {
                job: job.into(),
                lasted_ns: nanos(since_progress),
                fence: fence.0,
                ..blank(SHOAL_EVENT_JOB_STUCK, at)
            },
            JobEvent::Superseded { job, fence } => shoal_event {
                job: job.into(),
                fence: fence.0,
                ..blank(SHOAL_EVENT_JOB_SUPERSEDED, Instant::ZERO)
            },
            JobEvent::WorkerOverdue { job, worker } => shoal_event {
                job: job.into(),
                worker: shoal_worker_id { bytes: *worker.as_bytes() },
                ..blank(SHOAL_EVENT_WORKER_OVERDUE, Instant::ZERO)
            },
            JobEvent::GlobalTimeout { job, reason, elapsed, at } => shoal_event {
                job: job.into(),
                reason: reason_number(reason),
                lasted_ns: nanos(elapsed),
                ..blank(SHOAL_EVENT_JOB_GLOBAL_TIMEOUT, at)
            },
            JobEvent::StatusCorrection { job, datacenter, outcome, fence } => shoal_event {
                job: job.into(),
                datacenter: fixed_text(datacenter.as_bytes()),
                outcome: outcome.map_or(0, outcome_number),
                fence: fence.0,
                ..blank(SHOAL_EVENT_JOB_STATUS_CORRECTION, Instant::ZERO)
            },
            _ => blank(SHOAL_EVENT_OTHER, Instant::ZERO),
        }
    }
}

fn state_number(state: MemberState) -> u8 {
    match state {
        MemberState::Unconfirmed => SHOAL_STATE_UNCONFIRMED,
        MemberState::Alive => SHOAL_STATE_ALIVE,
        MemberState::Suspect => SHOAL_STATE_SUSPECT,
        MemberState::Dead => SHOAL_STATE_DEAD,
        MemberState::Left => SHOAL_STATE_LEFT,
        MemberState::Removed => SHOAL_STATE_REMOVED,
    }
}

fn role_number(role: Role) -> u8 {
    match role {
        Role::Gate => SHOAL_ROLE_GATE,
        Role::Manager => SHOAL_ROLE_MANAGER,
        Role::Worker => SHOAL_ROLE_WORKER,
    }
}

/// Writes as many items as there is room for, and how many there are.
///
/// # Safety
/// `target` is NULL or points to `capacity` writable items.
pub(crate) unsafe fn write_list<T>(
    items: impl Iterator<Item = T>,
    target: *mut MaybeUninit<T>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> Result<shoal_status, Failure> {
    let count = required(count, "count")?;
    if capacity > 0 && target.is_null() {
        required(None::<()>, "the array")?;
    }
    let mut total = 0;
    for item in items {
        if total < capacity {
            // SAFETY: by the contract of this function; the index is below the capacity.
            unsafe { target.add(total).write(MaybeUninit::new(item)) };
        }
        total += 1;
    }
    count.write(total);
    Ok(SHOAL_OK)
}

impl shoal_counter {
    pub(crate) fn new(name: &str, value: u64) -> shoal_counter {
        shoal_counter { name: fixed_text(name.as_bytes()), value }
    }
}

/// The counters in the form of the header.
pub(crate) fn counters(stats: &Stats) -> impl Iterator<Item = shoal_counter> + '_ {
    stats.iter().map(|(counter, value)| shoal_counter::new(counter.name(), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_core::wire::hyperscale::Name;
    use shoal_core::{Counter, ForeignMessage, Generation, Incarnation};

    fn text(pointer: *const c_char) -> &'static str {
        // SAFETY: names are static C strings.
        unsafe { CStr::from_ptr(pointer) }.to_str().unwrap()
    }

    #[test]
    fn numbers_and_names_are_the_engine_s() {
        for state in MemberState::ALL {
            assert_eq!(text(shoal_state_name(state_number(state))), state.name());
            assert_eq!(state_number(state), state as u8);
        }
        for role in Role::ALL {
            assert_eq!(text(shoal_role_name(role_number(role))), role.name());
            assert_eq!(role_number(role), role as u8);
        }
        for number in [0, 6, 255] {
            assert_eq!(text(shoal_role_name(number)), "unknown");
        }
        assert_eq!(text(shoal_state_name(6)), "unknown");
    }

    #[test]
    fn events_carry_what_they_tell_and_nothing_else() {
        let at = Instant::from_nanos(9);
        let seed: Address = "127.0.0.1:9000".parse().unwrap();
        let joined = shoal_event::from(Event::Joined { seed, at });
        assert_eq!((joined.kind, joined.at_ns), (SHOAL_EVENT_JOINED, 9));
        assert_eq!(joined.address, seed.into());
        let delayed = shoal_event::from(Event::JoinDelayed { attempts: 3, at });
        assert_eq!((delayed.kind, delayed.attempts), (SHOAL_EVENT_JOIN_DELAYED, 3));
        let refuted = shoal_event::from(Event::Refuted { incarnation: Incarnation(4), at });
        assert_eq!((refuted.kind, refuted.incarnation), (SHOAL_EVENT_REFUTED, 4));
        assert_eq!(refuted.address, shoal_address::default());
        let overflow = shoal_event::from(Event::Overflow { lost: 5 });
        assert_eq!((overflow.kind, overflow.lost), (SHOAL_EVENT_OVERFLOW, 5));
        assert_eq!(shoal_event::from(Event::Left { at }).kind, SHOAL_EVENT_LEFT);
        let (address, state) = (seed, vec![1; 100_000].into());
        let told = shoal_event::from(Event::State { address, state, at });
        assert_eq!(
            (told.kind, told.payload_size, told.payload[0]),
            (SHOAL_EVENT_STATE, 100_000, 0)
        );
        let (source, payload) = (seed, vec![7; SHOAL_BROADCAST_SIZE_MAX].into());
        let sent = shoal_event::from(Event::Broadcast { source, payload, at });
        assert_eq!((sent.kind, sent.payload_size), (SHOAL_EVENT_BROADCAST, 1_024));
        assert_eq!((sent.address, sent.payload), (seed.into(), [7; SHOAL_BROADCAST_SIZE_MAX]));
        let (name, arguments) = (Name::LeaderClaim, [Some(7), Some(2)]);
        let (target, body) = (Some(seed), vec![1; 2_000].into());
        let claim = ForeignMessage { sender: seed, name, arguments, target, body, at };
        let probe =
            ForeignMessage { name: Name::CrossProbe, arguments: [None; 2], ..claim.clone() };
        let said = shoal_event::from(Event::Foreign(claim));
        let text = b"leader-claim:7:2>127.0.0.1:9000";
        assert_eq!((said.kind, said.address), (SHOAL_EVENT_HYPERSCALE_MESSAGE, seed.into()));
        assert_eq!(&said.payload[..said.payload_size as usize], text);
        let cut = shoal_event::from(Event::Foreign(probe));
        assert_eq!((cut.payload_size, cut.payload[1_023]), (2_007, 1));
        let lasted = shoal_core::Duration::from_secs(2);
        let stalled = shoal_event::from(Event::Stalled { lasted, at });
        assert_eq!((stalled.kind, stalled.lasted_ns), (SHOAL_EVENT_STALLED, 2_000_000_000));
        let member = shoal_event::from(Event::Member(MemberEvent {
            address: seed,
            state: MemberState::Dead,
            generation: Generation(6),
            incarnation: Incarnation(7),
            role: Role::Gate,
            datacenter: "east".parse().unwrap(),
            at,
        }));
        assert_eq!((member.kind, member.state), (SHOAL_EVENT_MEMBER, SHOAL_STATE_DEAD));
        assert_eq!((member.role, member.generation), (SHOAL_ROLE_GATE, 6));
        assert_eq!(member.datacenter[..5], [b'e', b'a', b's', b't', 0].map(|b| b as c_char));
    }

    #[test]
    fn every_name_fits_its_array() {
        for counter in Counter::ALL {
            assert!(counter.name().len() < SHOAL_COUNTER_NAME_SIZE);
        }
    }

    #[test]
    fn lists_say_how_many_there_are_and_write_what_fits() {
        let mut items = [MaybeUninit::new(0u32); 3];
        let mut count = MaybeUninit::new(0);
        // SAFETY: there is room for two items in an array of three.
        unsafe { write_list(5..9, items.as_mut_ptr(), 2, Some(&mut count)) }.unwrap();
        // SAFETY: both were written above.
        let written = unsafe { (items.map(|item| item.assume_init()), count.assume_init()) };
        assert_eq!(written, ([5, 6, 0], 4));
        // SAFETY: NULL is allowed.
        unsafe {
            write_list(5..9, std::ptr::null_mut(), 0, Some(&mut count)).unwrap();
            write_list(5..9, std::ptr::null_mut(), 1, Some(&mut count)).unwrap_err();
            write_list(5..9, items.as_mut_ptr(), 3, None).unwrap_err();
        }
    }
}
