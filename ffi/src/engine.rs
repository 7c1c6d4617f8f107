//! Engines: one node's whole state without socket, thread and clock, for a program with a loop
//! of its own.
//!
//! The loop: give one input (a datagram, a timeout, a command); take
//! `shoal_engine_poll_transmit` until it returns `SHOAL_NONE` and send each datagram; take
//! `shoal_engine_poll_event` until `SHOAL_NONE`; wait for a datagram or for
//! `shoal_engine_timeout_ns`. An input that comes before the datagrams of the last one were
//! taken gives `SHOAL_UNDRAINED` and changes nothing.

use crate::address::shoal_address;
use crate::call::{Failure, Health, Outcome, array, guarded_with_detail, required};
use crate::config::{
    SHOAL_DATAGRAM_SIZE_MAX, SHOAL_SEED_COUNT_MAX, read_secrets, shoal_config, shoal_secret,
};
use crate::coordinate::{refused, shoal_coordinate_snapshot};
use crate::growth;
use crate::member::{
    SHOAL_BROADCAST_SIZE_MAX, counters, shoal_coordinate, shoal_counter, shoal_event, shoal_member,
    shoal_rtt, write_list,
};
use crate::metrics::{gauge_counters, write_metrics};
use crate::status::{
    SHOAL_BROADCAST_TOO_LARGE, SHOAL_BUFFER_TOO_SMALL, SHOAL_INVALID_ARGUMENT, SHOAL_NONE,
    SHOAL_NULL_POINTER, SHOAL_OK, SHOAL_STATE_TOO_LARGE, SHOAL_TOO_MANY_SEEDS, SHOAL_UNDRAINED,
    of_command_error, of_config_error, shoal_status,
};
use bytes::Bytes;
use shoal_core::metrics::{self, Census, Sources};
use shoal_core::{Address, CommandError, Engine, Instant, Member};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// No UDP datagram is larger than this.
const UDP_SIZE_MAX: usize = 65_535;

/// One node without I/O.
#[derive(Debug)]
pub struct shoal_engine {
    pub(crate) health: Health,
    pub(crate) engine: Engine,
}

/// A datagram to send.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct shoal_transmit {
    /// Where to.
    pub target: shoal_address,
    /// How many bytes of the buffer it fills.
    pub size: usize,
    /// Zero.
    pub reserved: [u8; 32],
}

/// Makes an engine that knows only itself. `seed` decides everything that is random about it;
/// two nodes of a cluster need different ones, and so does a node that restarts.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_new(
    config: *const shoal_config,
    seed: u64,
    now_ns: u64,
    engine: Option<&mut MaybeUninit<*mut shoal_engine>>,
    detail: *mut c_char,
    detail_size: usize,
) -> shoal_status {
    let work = || {
        let target = required(engine, "engine")?;
        // SAFETY: `config` is as its first field says, and its secrets are readable.
        let config = unsafe { growth::read(config)?.engine_config()? };
        let engine = Engine::new(config, seed, Instant::from_nanos(now_ns))
            .map_err(|error| Failure::new(of_config_error(&error), error.to_string()))?;
        let handle = Box::new(shoal_engine { health: Health::default(), engine });
        target.write(Box::into_raw(handle));
        Ok(SHOAL_OK)
    };
    // SAFETY: `detail` has `detail_size` bytes.
    unsafe { guarded_with_detail(detail, detail_size, work) }
}

/// Ends an engine, without a goodbye to its peers.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_free(engine: Option<Box<shoal_engine>>) {
    crate::call::release(engine);
}

/// Copies one sentence about the latest failure of this engine, cut to `size` bytes; empty
/// before the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_error(
    engine: Option<&shoal_engine>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_engine { health, .. }) = engine else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    unsafe { health.copy_detail(buffer, size) }
}

/// Takes a datagram that came from `source`. Bad ones are counted and dropped. The bytes are
/// opened where they lie and worthless afterwards. `now_ns` is when it was received, best by
/// the kernel's timestamp; it may lie before the time of an earlier input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_handle_datagram(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    source: Option<&shoal_address>,
    datagram: *mut u8,
    size: usize,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let source = required(source, "source")?.read()?;
        if datagram.is_null() {
            return Err(Failure::new(SHOAL_NULL_POINTER, "datagram is NULL"));
        }
        if size > UDP_SIZE_MAX {
            let detail = format!("{size} bytes are more than a datagram can have");
            return Err(Failure::new(SHOAL_INVALID_ARGUMENT, detail));
        }
        let engine = drained(engine)?;
        // SAFETY: `datagram` has `size` bytes that are the engine's during the call.
        let datagram = unsafe { std::slice::from_raw_parts_mut(datagram, size) };
        engine.handle_datagram(Instant::from_nanos(now_ns), source, datagram);
        Ok(SHOAL_OK)
    })
}

/// Acts on every deadline that has passed. Call it when `shoal_engine_timeout_ns` says so;
/// earlier it does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_handle_timeout(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        drained(engine)?.handle_timeout(Instant::from_nanos(now_ns));
        Ok(SHOAL_OK)
    })
}

/// When `shoal_engine_handle_timeout` is due next, on the clock of `now_ns`. `SHOAL_NONE` when
/// the node has left.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_timeout_ns(
    engine: Option<&shoal_engine>,
    deadline_ns: Option<&mut MaybeUninit<u64>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(deadline_ns, "deadline_ns")?;
        Ok(give(target, engine.poll_timeout().map(Instant::as_nanos)))
    })
}

/// Writes the next datagram to send into `buffer`, which needs `SHOAL_DATAGRAM_SIZE_MAX` bytes.
/// `SHOAL_NONE` when there is none. `now_ns` is the time of sending: round trips are counted
/// from it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_poll_transmit(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    buffer: *mut u8,
    size: usize,
    transmit: Option<&mut MaybeUninit<shoal_transmit>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(transmit, "transmit")?;
        if buffer.is_null() {
            return Err(Failure::new(SHOAL_NULL_POINTER, "buffer is NULL"));
        }
        if size < SHOAL_DATAGRAM_SIZE_MAX {
            let detail = format!("the buffer has {size} bytes, a datagram may need 1400");
            return Err(Failure::new(SHOAL_BUFFER_TOO_SMALL, detail));
        }
        // SAFETY: `buffer` has `size` bytes, of which no more than these are used. The engine
        // writes before it reads, so that it does not matter what they hold.
        let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, SHOAL_DATAGRAM_SIZE_MAX) };
        let next = engine.poll_transmit(Instant::from_nanos(now_ns), buffer);
        Ok(give(
            target,
            next.map(|next| shoal_transmit {
                target: next.target.into(),
                size: next.size,
                reserved: [0; 32],
            }),
        ))
    })
}

/// Takes the oldest event. `SHOAL_NONE` when there is none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_poll_event(
    engine: Option<&mut shoal_engine>,
    event: Option<&mut MaybeUninit<shoal_event>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(event, "event")?;
        Ok(give(target, engine.poll_event().map(shoal_event::from)))
    })
}

/// Joins a cluster through any of these seeds. They are kept: the engine asks them until one
/// answers (`SHOAL_EVENT_JOINED`), and again whenever they are lost from sight. This is an
/// input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_join(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    seeds: *const shoal_address,
    seed_count: usize,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        // SAFETY: `seeds` has `seed_count` items.
        let seeds = unsafe { read_seeds(seeds, seed_count)? };
        command(drained(engine)?.join(Instant::from_nanos(now_ns), &seeds))
    })
}

/// Says goodbye. `SHOAL_EVENT_LEFT` follows when it has been said; from then on the engine is
/// silent. This is an input.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_leave(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| command(drained(engine)?.leave(Instant::from_nanos(now_ns))))
}

/// Attaches bytes to this node that every member comes to hold (`SHOAL_EVENT_STATE` there), in
/// place of the earlier ones. For what others should know of this node now: of changes in quick
/// succession only the last is sure to arrive. This is an input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_set_state(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    state: *const u8,
    size: usize,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        check_payload(size, engine.config().state_size_max as usize, SHOAL_STATE_TOO_LARGE)?;
        // SAFETY: `state` has `size` bytes.
        let state = Bytes::copy_from_slice(unsafe { array(state, size, "state")? });
        command(drained(engine)?.set_state(Instant::from_nanos(now_ns), state))
    })
}

/// Copies the state of the member at an address, and its size to `size`. When that is more than
/// `capacity`, nothing is copied. `SHOAL_NONE` when no state of it has come here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_state(
    engine: Option<&shoal_engine>,
    address: Option<&shoal_address>,
    buffer: *mut u8,
    capacity: usize,
    size: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let address = required(address, "address")?.read()?;
        let state = engine.state(address);
        // SAFETY: `buffer` has room for `capacity` bytes.
        unsafe { write_bytes(state.map(|state| &state[..]), buffer, capacity, size) }
    })
}

/// Sends at most `SHOAL_BROADCAST_SIZE_MAX` bytes to every member once (`SHOAL_EVENT_BROADCAST`
/// there), by gossip and without an answer. This is an input.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_broadcast(
    engine: Option<&mut shoal_engine>,
    now_ns: u64,
    payload: *const u8,
    size: usize,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        check_payload(size, SHOAL_BROADCAST_SIZE_MAX, SHOAL_BROADCAST_TOO_LARGE)?;
        // SAFETY: `payload` has `size` bytes.
        let payload = Bytes::copy_from_slice(unsafe { array(payload, size, "payload")? });
        command(drained(engine)?.broadcast(Instant::from_nanos(now_ns), payload))
    })
}

/// Replaces the secrets: seals with the first from now on, opens with any. To rotate without
/// losing a datagram, add the new one at the end everywhere, then move it to the front, then
/// drop the old one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_set_secrets(
    engine: Option<&mut shoal_engine>,
    secrets: *const shoal_secret,
    secret_count: usize,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        // SAFETY: `secrets` has `secret_count` items, each with its bytes.
        let secrets = unsafe { read_secrets(secrets, secret_count)? };
        command(engine.set_secrets(secrets))
    })
}

/// Writes as many members as there is room for, this node first, and how many there are to
/// `count`. When that is more than `capacity`, the rest was left out. `members` may be NULL
/// when `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_members(
    engine: Option<&shoal_engine>,
    now_ns: u64,
    members: *mut MaybeUninit<shoal_member>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let all = engine.members(Instant::from_nanos(now_ns)).map(shoal_member::from);
        // SAFETY: `members` has room for `capacity` items.
        unsafe { write_list(all, members, capacity, count) }
    })
}

/// The member at an address. `SHOAL_NONE` when there is none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_member(
    engine: Option<&shoal_engine>,
    now_ns: u64,
    address: Option<&shoal_address>,
    member: Option<&mut MaybeUninit<shoal_member>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let address = required(address, "address")?.read()?;
        let target = required(member, "member")?;
        let member = engine.member(address, Instant::from_nanos(now_ns));
        Ok(give(target, member.map(shoal_member::from)))
    })
}

/// What is known about the round trip to the member at an address. `SHOAL_NONE` when nothing
/// is.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_rtt(
    engine: Option<&shoal_engine>,
    now_ns: u64,
    address: Option<&shoal_address>,
    rtt: Option<&mut MaybeUninit<shoal_rtt>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let address = required(address, "address")?.read()?;
        let target = required(rtt, "rtt")?;
        let rtt = engine.rtt(address, Instant::from_nanos(now_ns));
        Ok(give(target, rtt.map(shoal_rtt::from)))
    })
}

/// The engine's own coordinate.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_coordinate(
    engine: Option<&shoal_engine>,
    coordinate: Option<&mut MaybeUninit<shoal_coordinate>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(coordinate, "coordinate")?;
        Ok(give(target, Some((*engine.coordinate()).into())))
    })
}

/// What to keep of this node's place for a restart.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_coordinate_save(
    engine: Option<&shoal_engine>,
    snapshot: Option<&mut MaybeUninit<shoal_coordinate_snapshot>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let target = required(snapshot, "snapshot")?;
        Ok(give(target, Some(engine.coordinate_snapshot().into())))
    })
}

/// Takes this node back to where a snapshot saw it, so that it need not find its place anew. No
/// input: it may be called at any time.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_engine_coordinate_restore(
    engine: Option<&mut shoal_engine>,
    snapshot: Option<&shoal_coordinate_snapshot>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let kept = required(snapshot, "snapshot")?;
        engine.restore_coordinate(&kept.read()?).map_err(refused)?;
        Ok(SHOAL_OK)
    })
}

/// Writes as many counters as there is room for, and how many there are to `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_stats(
    engine: Option<&shoal_engine>,
    stats: *mut MaybeUninit<shoal_counter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    // SAFETY: `stats` has room for `capacity` items.
    health.guard(|| unsafe { write_list(counters(engine.stats()), stats, capacity, count) })
}

/// Writes what waits and what is open at this moment, as many numbers as there is room for, and
/// how many there are to `count`: the node's distrust of its own view ("health_score", 0 to 8),
/// updates, broadcasts and events that wait, open probes and suspicions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_gauges(
    engine: Option<&shoal_engine>,
    gauges: *mut MaybeUninit<shoal_counter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        // SAFETY: `gauges` has room for `capacity` items.
        unsafe { write_list(gauge_counters(&engine.gauges()), gauges, capacity, count) }
    })
}

/// Writes every counter, distribution and gauge as OpenMetrics text, to be served as
/// `shoal_metrics_media_type`, and to `size` the bytes it needs with its final NUL. When that is
/// more than `capacity`, nothing is copied; `SHOAL_METRICS_SIZE_MAX` bytes are always enough.
/// The text does not grow with the cluster.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_engine_metrics_text(
    engine: Option<&shoal_engine>,
    now_ns: u64,
    buffer: *mut c_char,
    capacity: usize,
    size: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    let Some(shoal_engine { health, engine }) = engine else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let text = metrics_text(engine, Instant::from_nanos(now_ns));
        // SAFETY: `buffer` has `capacity` bytes.
        unsafe { write_metrics(&text, buffer, capacity, size) }
    })
}

fn metrics_text(engine: &Engine, now: Instant) -> String {
    let members: Vec<Member> = engine.members(now).collect();
    let (stats, gauges) = (engine.stats(), engine.gauges());
    let members = Census::of(members.iter());
    let mut text = String::new();
    metrics::write(
        &mut text,
        &Sources { stats, gauges: &gauges, members: &members, backend: None },
    );
    text
}

/// The engine, if it may take an input.
pub(crate) fn drained(engine: &mut Engine) -> Result<&mut Engine, Failure> {
    if engine.is_drained() {
        return Ok(engine);
    }
    let detail = "take shoal_engine_poll_transmit until it returns SHOAL_NONE, then give the input";
    Err(Failure::new(SHOAL_UNDRAINED, detail))
}

/// Writes an output if there is one.
pub(crate) fn give<T>(target: &mut MaybeUninit<T>, value: Option<T>) -> shoal_status {
    match value {
        None => SHOAL_NONE,
        Some(value) => {
            target.write(value);
            SHOAL_OK
        }
    }
}

fn command(result: Result<(), CommandError>) -> Outcome {
    match result {
        Ok(()) => Ok(SHOAL_OK),
        Err(error) => Err(Failure::new(of_command_error(&error), error.to_string())),
    }
}

/// Refuses a payload before it is copied.
pub(crate) fn check_payload(
    size: usize,
    size_max: usize,
    status: shoal_status,
) -> Result<(), Failure> {
    if size <= size_max {
        return Ok(());
    }
    Err(Failure::new(status, format!("{size} bytes, at most {size_max} are allowed")))
}

/// Writes bytes that fit, and how many there are.
///
/// # Safety
/// `buffer` is NULL or points to `capacity` writable bytes.
pub(crate) unsafe fn write_bytes(
    bytes: Option<&[u8]>,
    buffer: *mut u8,
    capacity: usize,
    size: Option<&mut MaybeUninit<usize>>,
) -> Outcome {
    let size = required(size, "size")?;
    if buffer.is_null() && capacity > 0 {
        return Err(Failure::new(SHOAL_NULL_POINTER, "buffer is NULL"));
    }
    let Some(bytes) = bytes else { return Ok(SHOAL_NONE) };
    if bytes.len() <= capacity && !bytes.is_empty() {
        // SAFETY: by the contract of this function; a capacity above 0 is never that of NULL.
        unsafe { buffer.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }
    size.write(bytes.len());
    Ok(SHOAL_OK)
}

/// The seeds of a program.
///
/// # Safety
/// `seeds` is NULL or points to `count` addresses.
pub(crate) unsafe fn read_seeds(
    seeds: *const shoal_address,
    count: usize,
) -> Result<Vec<Address>, Failure> {
    if count > SHOAL_SEED_COUNT_MAX {
        let detail = CommandError::SeedCount.to_string();
        return Err(Failure::new(SHOAL_TOO_MANY_SEEDS, detail));
    }
    // SAFETY: by the contract of this function.
    let seeds = unsafe { array(seeds, count, "seeds")? };
    seeds.iter().map(shoal_address::read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the header promises about `const` handles.
    #[test]
    fn handles_are_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<shoal_engine>();
        shared::<crate::node::shoal_node>();
        shared::<crate::node::shoal_thread>();
        shared::<crate::coordinate::shoal_tracker>();
        shared::<crate::router::shoal_router>();
        shared::<crate::timeouts::shoal_timeouts>();
        shared::<crate::gate_timeouts::shoal_gate_timeouts>();
        shared::<crate::envelope::shoal_envelope>();
    }
}
