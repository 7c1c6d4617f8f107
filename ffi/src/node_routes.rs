//! Leaders, datacenters and routing on nodes. Managers elect the leader of their datacenter, gates
//! ask leaders how their datacenters are, and route jobs by what they hear, by head counts and by
//! distance. What happens comes as events. The numbers in decisions are those of
//! `shoal_datacenter`; they never change while the node runs.

use crate::address::shoal_address;
use crate::call::{Failure, Outcome, array, check_reserved, fixed_text, required};
use crate::candidate::{SHOAL_DATACENTER_COUNT_MAX, health_number};
use crate::config::read_datacenter_name;
use crate::engine::give;
use crate::jobs::{found, optional_address, shoal_datacenter_target, shoal_job_id};
use crate::member::{SHOAL_DATACENTER_SIZE, shoal_rtt, write_list};
use crate::node::{ask, shoal_node};
use crate::router::{shoal_decision, shoal_ranked, summary};
use crate::status::{
    SHOAL_INVALID_ADDRESS, SHOAL_OK, SHOAL_TOO_MANY_CANDIDATES, of_node_error, shoal_status,
};
use shoal_core::federation::{DatacenterLoad, DatacenterView, LeadershipView, Reachability};
use shoal_core::io::NodeError;
use shoal_core::{Address, DatacenterName, Route};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// The gate has not heard the datacenter so far.
pub const SHOAL_REACHABILITY_UNKNOWN: u8 = 0;
/// Its managers answer.
pub const SHOAL_REACHABILITY_REACHABLE: u8 = 1;
/// It has not answered for some time.
pub const SHOAL_REACHABILITY_SUSPECTED: u8 = 2;
/// It has not answered for so long that it is not counted on.
pub const SHOAL_REACHABILITY_UNREACHABLE: u8 = 3;

/// Who leads the node's own datacenter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_leadership {
    /// The leader; all zero when none is known.
    pub leader: shoal_address,
    /// The highest term known. While there is a leader, the one it leads in, which is the
    /// fence of its jobs.
    pub term: u64,
    /// 1 when it is this node, and its lease holds.
    pub is_own: u8,
    /// Zero.
    pub reserved: [u8; 23],
}

/// A datacenter as a gate sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_datacenter {
    /// Its name, NUL terminated.
    pub name: [c_char; SHOAL_DATACENTER_SIZE],
    /// Its number in decisions.
    pub number: u32,
    /// Whether its leader is heard: a `SHOAL_REACHABILITY_` number.
    pub reachability: u8,
    /// How well it is: a `SHOAL_HEALTH_` number.
    pub health: u8,
    /// 1 when `rtt` is known, else 0.
    pub has_rtt: u8,
    /// Zero.
    pub reserved_flags: u8,
    /// Its leader; all zero when none has been heard of.
    pub leader: shoal_address,
    /// The term that it leads in.
    pub term: u64,
    /// When the leader told its load, on the node's clock; 0 when it has not.
    pub updated_at_ns: u64,
    /// Cores that are free on healthy workers.
    pub available_cores: u32,
    /// Cores of all registered workers.
    pub total_cores: u32,
    /// Jobs that wait there.
    pub queue_depth: u32,
    /// Managers that are registered there.
    pub manager_count: u32,
    /// Managers among them that answer.
    pub usable_manager_count: u32,
    /// Zero.
    pub reserved_count: u32,
    /// The round trip to its leader.
    pub rtt: shoal_rtt,
    /// Zero.
    pub reserved: [u8; 32],
}

/// How busy a datacenter is.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_load {
    /// Workers that are registered; 0 leaves the counting of workers to membership.
    pub worker_count: u32,
    /// Workers that work.
    pub healthy_worker_count: u32,
    /// Cores of all registered workers.
    pub total_cores: u32,
    /// Cores that are free on healthy workers.
    pub available_cores: u32,
    /// Jobs that wait.
    pub queue_depth: u32,
    /// Jobs that run.
    pub active_job_count: u32,
    /// Zero.
    pub reserved: [u8; 8],
}

/// Where a job goes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_route {
    /// The datacenter that was decided for, and the manager there to send the job to.
    pub target: shoal_datacenter_target,
    /// Why.
    pub decision: shoal_decision,
    /// Zero.
    pub reserved: [u8; 32],
}

/// Routes a job over the datacenters that this gate knows. `preferred` are the datacenters
/// that the job prefers, by name, or NULL. Writes as many datacenters of the decision's chain
/// as there is room for, the one to try first in front, and how many there are to `count`.
/// `SHOAL_NONE` when no datacenter may take the job: then only `count` is written, as 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_route(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    preferred: *const shoal_datacenter_target,
    preferred_count: usize,
    route: Option<&mut MaybeUninit<shoal_route>>,
    chain: *mut MaybeUninit<shoal_ranked>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        let target = required(route, "route")?;
        // SAFETY: `preferred` has `preferred_count` items.
        let preferred = unsafe { read_names(preferred, preferred_count)? };
        let made = node.route(job, &preferred).map_err(failure)?;
        // SAFETY: `chain` has room for `capacity` items.
        unsafe { write_route(&made, target, chain, capacity, count) }
    })
}

/// Notes that a job was sent to a datacenter, and to which manager unless that is all zero. It
/// counts as waiting there until the leader tells its load again. `SHOAL_NONE` when this gate
/// does not know the datacenter.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_sent(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    target: Option<&shoal_datacenter_target>,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        let (name, manager) = read_target(required(target, "target")?)?;
        known(node.job_sent(job, name, manager))
    })
}

/// Notes that a datacenter failed a job, which counts against it for that job for a while.
/// `SHOAL_NONE` when this gate does not know the datacenter.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_failed(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    target: Option<&shoal_datacenter_target>,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        let (name, _) = read_target(required(target, "target")?)?;
        known(node.job_failed(job, name))
    })
}

/// Notes that a job ended in a datacenter it was sent to. A success (1) is observed, which corrects
/// what distance lets expect, and its latency written, in ms. `SHOAL_NONE` when it was no success
/// (0), or was not sent there. `latency_ms` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_job_ended(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
    target: Option<&shoal_datacenter_target>,
    success: u8,
    latency_ms: Option<&mut MaybeUninit<f64>>,
) -> shoal_status {
    ask(node, |node| {
        let job = required(job, "job")?.into();
        let (name, _) = read_target(required(target, "target")?)?;
        let observed = node.job_ended(job, name, success != 0).map_err(failure)?;
        let mut ignored = MaybeUninit::uninit();
        Ok(give(latency_ms.unwrap_or(&mut ignored), observed))
    })
}

/// Forgets where a job was routed. Jobs that this gate watches are forgotten by themselves
/// when they are over. `SHOAL_NONE` when nothing was known of it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_forget_route(
    node: Option<&shoal_node>,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    ask(node, |node| known(node.forget_route(required(job, "job")?.into())))
}

/// Writes as many datacenters that this gate watches as there is room for, and how many there
/// are to `count`; none on other nodes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_datacenters(
    node: Option<&shoal_node>,
    datacenters: *mut MaybeUninit<shoal_datacenter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    ask(node, |node| {
        let views = node.datacenters().map_err(failure)?;
        let views = views.iter().map(shoal_datacenter::from);
        // SAFETY: `datacenters` has room for `capacity` items.
        unsafe { write_list(views, datacenters, capacity, count) }
    })
}

/// Who leads the node's own datacenter. A manager knows it from its elections, a gate from its
/// probes, a worker does not know it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_leader(
    node: Option<&shoal_node>,
    leadership: Option<&mut MaybeUninit<shoal_leadership>>,
) -> shoal_status {
    ask(node, |node| {
        let target = required(leadership, "leadership")?;
        let view = node.leader().map_err(failure)?;
        Ok(give(target, Some(shoal_leadership::from(view))))
    })
}

/// Names the leader of this manager's datacenter, or with NULL that there is none, where
/// `has_external_leader` says that the host does. The named leader tells the other managers,
/// so naming it there is enough.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_name_leader(
    node: Option<&shoal_node>,
    leader: Option<&shoal_address>,
    term: u64,
) -> shoal_status {
    ask(node, |node| {
        let leader = leader.map(shoal_address::read).transpose()?;
        done(node.name_leader(leader, term))
    })
}

/// Tells how busy this manager's datacenter is. While the manager leads, gates hear that with
/// every answer to a probe. A host that never tells is routed to by distance; one that stops
/// telling is taken for degraded after half a minute.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_set_load(
    node: Option<&shoal_node>,
    load: Option<&shoal_load>,
) -> shoal_status {
    ask(node, |node| done(node.set_load(required(load, "load")?.read()?)))
}

/// Gives this gate a manager to ask, for a datacenter that its membership does not reach into.
/// `SHOAL_NONE` when there is no room for it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_watch_datacenter(
    node: Option<&shoal_node>,
    datacenter: Option<&shoal_datacenter_target>,
) -> shoal_status {
    ask(node, |node| {
        let (name, manager) = required(datacenter, "datacenter")?.read_contact()?;
        known(node.watch_datacenter(name, manager))
    })
}

impl shoal_load {
    pub(crate) fn read(&self) -> Result<DatacenterLoad, Failure> {
        check_reserved(&self.reserved, "shoal_load")?;
        Ok(DatacenterLoad {
            worker_count: self.worker_count,
            healthy_worker_count: self.healthy_worker_count,
            total_cores: self.total_cores,
            available_cores: self.available_cores,
            queue_depth: self.queue_depth,
            active_job_count: self.active_job_count,
        })
    }
}

impl shoal_datacenter_target {
    /// A datacenter with a manager in it that can be asked.
    pub(crate) fn read_contact(&self) -> Result<(DatacenterName, Address), Failure> {
        let (name, manager) = (read_datacenter_name(&self.datacenter)?, self.leader.read()?);
        if !manager.is_reachable() {
            let detail = format!("nobody can be asked at {manager}");
            return Err(Failure::new(SHOAL_INVALID_ADDRESS, detail));
        }
        Ok((name, manager))
    }
}

impl From<LeadershipView> for shoal_leadership {
    fn from(view: LeadershipView) -> shoal_leadership {
        let leader = view.leader.map(shoal_address::from).unwrap_or_default();
        let is_own = u8::from(view.is_own);
        shoal_leadership { leader, term: view.term, is_own, reserved: [0; 23] }
    }
}

impl From<&DatacenterView> for shoal_datacenter {
    fn from(view: &DatacenterView) -> shoal_datacenter {
        let candidate = &view.candidate;
        let (leader, term) = view.leader.unzip();
        shoal_datacenter {
            name: fixed_text(view.name.as_bytes()),
            number: candidate.datacenter.index() as u32,
            reachability: reachability_number(view.reachability),
            health: health_number(candidate.health),
            has_rtt: u8::from(candidate.rtt.is_some()),
            reserved_flags: 0,
            leader: leader.map(shoal_address::from).unwrap_or_default(),
            term: term.unwrap_or(0),
            updated_at_ns: candidate.updated_at.as_nanos(),
            available_cores: candidate.available_cores,
            total_cores: candidate.total_cores,
            queue_depth: candidate.queue_depth,
            manager_count: candidate.manager_count,
            usable_manager_count: candidate.usable_manager_count,
            reserved_count: 0,
            rtt: candidate.rtt.map(shoal_rtt::from).unwrap_or_default(),
            reserved: [0; 32],
        }
    }
}

pub(crate) fn reachability_number(reachability: Reachability) -> u8 {
    match reachability {
        Reachability::Unknown => SHOAL_REACHABILITY_UNKNOWN,
        Reachability::Reachable => SHOAL_REACHABILITY_REACHABLE,
        Reachability::Suspected => SHOAL_REACHABILITY_SUSPECTED,
        Reachability::Unreachable => SHOAL_REACHABILITY_UNREACHABLE,
    }
}

/// Writes where a job goes, and the chain behind it.
///
/// # Safety
/// `chain` is NULL or has room for `capacity` items.
pub(crate) unsafe fn write_route(
    made: &Route,
    target: &mut MaybeUninit<shoal_route>,
    chain: *mut MaybeUninit<shoal_ranked>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> Outcome {
    let ranked = made.decision().chain().map(shoal_ranked::from);
    // SAFETY: by the contract of this function.
    unsafe { write_list(ranked, chain, capacity, count)? };
    let route = summary(made.decision()).zip(made.datacenter()).map(|(decision, name)| {
        let leader = made.manager().map(shoal_address::from).unwrap_or_default();
        let datacenter = fixed_text(name.as_bytes());
        let target = shoal_datacenter_target { datacenter, leader };
        shoal_route { target, decision, reserved: [0; 32] }
    });
    Ok(give(target, route))
}

/// # Safety
/// `targets` has `count` items.
pub(crate) unsafe fn read_names(
    targets: *const shoal_datacenter_target,
    count: usize,
) -> Result<Vec<DatacenterName>, Failure> {
    if count > SHOAL_DATACENTER_COUNT_MAX {
        let detail = format!("{count} datacenters are preferred, there are at most 4096");
        return Err(Failure::new(SHOAL_TOO_MANY_CANDIDATES, detail));
    }
    // SAFETY: by the contract of this function.
    let targets = unsafe { array(targets, count, "preferred")? };
    targets.iter().map(|target| read_datacenter_name(&target.datacenter)).collect()
}

pub(crate) fn read_target(
    target: &shoal_datacenter_target,
) -> Result<(DatacenterName, Option<Address>), Failure> {
    Ok((read_datacenter_name(&target.datacenter)?, optional_address(&target.leader)?))
}

fn known(result: Result<bool, NodeError>) -> Outcome {
    result.map(found).map_err(failure)
}

fn done(result: Result<(), NodeError>) -> Outcome {
    result.map(|()| SHOAL_OK).map_err(failure)
}

fn failure(error: NodeError) -> Failure {
    Failure::new(of_node_error(&error), error.to_string())
}
