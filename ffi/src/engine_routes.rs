//! Leaders, datacenters and routing on engines, as `shoal_node_` functions of the same names have
//! them. `shoal_engine_name_leader` and `shoal_engine_watch_datacenter` are inputs: drain after
//! them. The others bring about no datagram, and need no drain.

use crate::address::shoal_address;
use crate::call::{Failure, Outcome, required};
use crate::engine::{drained, give, shoal_engine};
use crate::jobs::{found, shoal_datacenter_target, shoal_job_id};
use crate::member::write_list;
use crate::node_routes::{
    read_names, read_target, shoal_datacenter, shoal_leadership, shoal_load, shoal_route,
    write_route,
};
use crate::router::shoal_ranked;
use crate::status::{SHOAL_NULL_POINTER, SHOAL_OK, of_command_error, shoal_status};
use shoal_core::routing::DatacenterId;
use shoal_core::{CommandError, Engine, Instant};
use std::mem::MaybeUninit;

/// Routes a job over the datacenters that this gate knows. `preferred` are the datacenters
/// that the job prefers, by name, or NULL. Writes as many datacenters of the decision's chain
/// as there is room for, the one to try first in front, and how many there are to `count`.
/// `SHOAL_NONE` when no datacenter may take the job: then only `count` is written, as 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_route(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    preferred: *const shoal_datacenter_target,
    preferred_count: usize,
    route: Option<&mut MaybeUninit<shoal_route>>,
    chain: *mut MaybeUninit<shoal_ranked>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    command(engine, |engine| {
        let job = required(job, "job")?.into();
        let target = required(route, "route")?;
        // SAFETY: `preferred` has `preferred_count` items.
        let preferred = unsafe { read_names(preferred, preferred_count)? };
        let now = Instant::from_nanos(now_ns);
        let made = engine.route_by_name(now, job, &preferred).map_err(failure)?;
        // SAFETY: `chain` has room for `capacity` items.
        unsafe { write_route(&made, target, chain, capacity, count) }
    })
}

/// Notes that a job was sent to a datacenter, and to which manager unless that is all zero. It
/// counts as waiting there until the leader tells its load again. `SHOAL_NONE` when this gate
/// does not know the datacenter.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_sent(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    target: Option<&shoal_datacenter_target>,
) -> shoal_status {
    command(engine, |engine| {
        let job = required(job, "job")?.into();
        let target = required(target, "target")?;
        let (_, manager) = read_target(target)?;
        at_datacenter(engine, target, |engine, id| {
            engine.job_sent(Instant::from_nanos(now_ns), job, id, manager)
        })
    })
}

/// Notes that a datacenter failed a job, which counts against it for that job for a while.
/// `SHOAL_NONE` when this gate does not know the datacenter.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_failed(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    target: Option<&shoal_datacenter_target>,
) -> shoal_status {
    command(engine, |engine| {
        let job = required(job, "job")?.into();
        at_datacenter(engine, required(target, "target")?, |engine, id| {
            engine.job_failed(Instant::from_nanos(now_ns), job, id)
        })
    })
}

/// Notes that a job ended in a datacenter it was sent to. A success (1) is observed, which corrects
/// what distance lets expect, and its latency written, in ms. `SHOAL_NONE` when it was no success
/// (0), or was not sent there. `latency_ms` may be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_job_ended(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    job: Option<&shoal_job_id>,
    target: Option<&shoal_datacenter_target>,
    success: u8,
    latency_ms: Option<&mut MaybeUninit<f64>>,
) -> shoal_status {
    command(engine, |engine| {
        let job = required(job, "job")?.into();
        let (name, _) = read_target(required(target, "target")?)?;
        let now = Instant::from_nanos(now_ns);
        let observed = match engine.datacenter_id(&name) {
            Some(id) => engine.job_ended(now, job, id, success != 0).map_err(failure)?,
            None => None,
        };
        let mut ignored = MaybeUninit::uninit();
        Ok(give(latency_ms.unwrap_or(&mut ignored), observed))
    })
}

/// Forgets where a job was routed. Jobs that this gate watches are forgotten by themselves
/// when they are over. `SHOAL_NONE` when nothing was known of it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_forget_route(
    engine: Option<&mut shoal_engine>,
    job: Option<&shoal_job_id>,
) -> shoal_status {
    command(engine, |engine| Ok(found(engine.forget_route(required(job, "job")?.into()))))
}

/// Writes as many datacenters that this gate watches as there is room for, and how many there
/// are to `count`; none on other engines. A question.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_datacenters(
    engine: Option<&shoal_engine>,
    now_ns: u64,
    datacenters: *mut MaybeUninit<shoal_datacenter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let views: Vec<_> = engine.datacenters(Instant::from_nanos(now_ns)).collect();
        let views = views.iter().map(shoal_datacenter::from);
        // SAFETY: `datacenters` has room for `capacity` items.
        unsafe { write_list(views, datacenters, capacity, count) }
    })
}

/// Who leads the engine's own datacenter. A manager knows it from its elections, a gate from its
/// probes, a worker does not know it. A question.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_leader(
    engine: Option<&shoal_engine>,
    now_ns: u64,
    leadership: Option<&mut MaybeUninit<shoal_leadership>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(leadership, "leadership")?;
        let view = engine.leader(Instant::from_nanos(now_ns));
        Ok(give(target, Some(shoal_leadership::from(view))))
    })
}

/// Names the leader of this manager's datacenter, or with NULL that there is none, where
/// `has_external_leader` says that the host does. The named leader tells the other managers,
/// so naming it there is enough.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_name_leader(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    leader: Option<&shoal_address>,
    term: u64,
) -> shoal_status {
    command(engine, |engine| {
        let leader = leader.map(shoal_address::read).transpose()?;
        done(drained(engine)?.name_leader(Instant::from_nanos(now_ns), leader, term))
    })
}

/// Tells how busy this manager's datacenter is. While the manager leads, gates hear that with
/// every answer to a probe. A host that never tells is routed to by distance; one that stops
/// telling is taken for degraded after half a minute.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_set_load(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    load: Option<&shoal_load>,
) -> shoal_status {
    command(engine, |engine| {
        let load = required(load, "load")?.read()?;
        done(engine.set_load(Instant::from_nanos(now_ns), load))
    })
}

/// Gives this gate a manager to ask, for a datacenter that its membership does not reach into.
/// `SHOAL_NONE` when there is no room for it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_watch_datacenter(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    datacenter: Option<&shoal_datacenter_target>,
) -> shoal_status {
    command(engine, |engine| {
        let (name, manager) = required(datacenter, "datacenter")?.read_contact()?;
        let now = Instant::from_nanos(now_ns);
        drained(engine)?.watch_datacenter(now, name, manager).map(found).map_err(failure)
    })
}

fn command(
    engine: Option<&mut shoal_engine>,
    work: impl FnOnce(&mut Engine) -> Outcome,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| work(engine))
}

/// Does something that concerns a datacenter, if this gate knows it.
fn at_datacenter(
    engine: &mut Engine,
    target: &shoal_datacenter_target,
    work: impl FnOnce(&mut Engine, DatacenterId) -> Result<(), CommandError>,
) -> Outcome {
    let (name, _) = read_target(target)?;
    match engine.datacenter_id(&name) {
        Some(id) => work(engine, id).map(|()| SHOAL_OK).map_err(failure),
        None => Ok(found(false)),
    }
}

fn done(result: Result<(), CommandError>) -> Outcome {
    result.map(|()| SHOAL_OK).map_err(failure)
}

fn failure(error: CommandError) -> Failure {
    Failure::new(of_command_error(&error), error.to_string())
}
