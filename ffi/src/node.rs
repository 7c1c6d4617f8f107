//! Nodes: an engine with a socket and a thread. The program waits on `shoal_node_event_fd` in
//! any loop, takes events, and asks whatever it likes from any thread; questions never stop the
//! engine.

use crate::address::shoal_address;
use crate::call::{Failure, Health, Outcome, array, copy_text, guarded_with_detail, required};
use crate::config::{read_backend, read_processor, read_secrets, shoal_config, shoal_secret};
use crate::coordinate::{refused, shoal_coordinate_snapshot};
use crate::engine::{check_payload, give, read_seeds, write_bytes};
use crate::growth;
use crate::member::{
    SHOAL_BROADCAST_SIZE_MAX, counters, shoal_coordinate, shoal_counter, shoal_event, shoal_member,
    shoal_rtt, write_list,
};
use crate::metrics::{gauge_counters, write_metrics};
use crate::status::{
    SHOAL_BROADCAST_TOO_LARGE, SHOAL_NULL_POINTER, SHOAL_OK, SHOAL_OUT_OF_RESOURCES,
    SHOAL_STATE_TOO_LARGE, SHOAL_STOPPED, of_node_error, of_start_error, shoal_status,
};
use bytes::Bytes;
use shoal_core::config::STATE_SIZE_MAX;
use shoal_core::io::{Backend, Node, NodeError, NodeOptions, NodeThread, StartError};
use shoal_core::{Address, Instant};
use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{PoisonError, RwLock};

/// One running node.
#[derive(Debug)]
pub struct shoal_node {
    health: Health,
    address: Address,
    backend: Backend,
    refusal: String,
    /// A second descriptor of the node's, so that the number stays the program's until it frees
    /// the node, even if another thread stops it meanwhile.
    event_fd: OwnedFd,
    /// `None` once stopped. Stopping waits until every other call on the node has returned.
    running: RwLock<Option<Node>>,
}

/// One thread that runs many nodes.
#[derive(Debug)]
pub struct shoal_thread {
    health: Health,
    thread: NodeThread,
}

/// Starts a node on a thread of its own. It is a cluster of one until it joins another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_start(
    config: *const shoal_config,
    node: Option<&mut MaybeUninit<*mut shoal_node>>,
    detail: *mut c_char,
    detail_size: usize,
) -> shoal_status {
    // SAFETY: the arguments are passed on with what the caller promised of them.
    let work = || unsafe { start(config, node, Node::start) };
    // SAFETY: `detail` has `detail_size` bytes.
    unsafe { guarded_with_detail(detail, detail_size, work) }
}

/// Starts a node on a thread that it shares with others. The configured backend and processor
/// are ignored: they are the thread's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_start_on(
    thread: Option<&shoal_thread>,
    config: *const shoal_config,
    node: Option<&mut MaybeUninit<*mut shoal_node>>,
    detail: *mut c_char,
    detail_size: usize,
) -> shoal_status {
    let work = || {
        let shoal_thread { health, thread } = required(thread, "thread")?;
        // SAFETY: the arguments are passed on with what the caller promised of them.
        health.run(|| unsafe { start(config, node, |options| thread.start_node(options)) })
    };
    // SAFETY: `detail` has `detail_size` bytes.
    unsafe { guarded_with_detail(detail, detail_size, work) }
}

/// Starts a thread without nodes, with a `SHOAL_BACKEND_` number, on a processor or
/// `SHOAL_CPU_ANY`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_thread_start(
    backend: u32,
    cpu: i32,
    thread: Option<&mut MaybeUninit<*mut shoal_thread>>,
    detail: *mut c_char,
    detail_size: usize,
) -> shoal_status {
    let work = || {
        let target = required(thread, "thread")?;
        let thread = NodeThread::start(read_backend(backend)?, read_processor(cpu)?);
        let thread = thread.map_err(start_failure)?;
        let handle = shoal_thread { health: Health::default(), thread };
        target.write(Box::into_raw(Box::new(handle)));
        Ok(SHOAL_OK)
    };
    // SAFETY: `detail` has `detail_size` bytes.
    unsafe { guarded_with_detail(detail, detail_size, work) }
}

/// The backend that was picked: "uring" or "poll"; "none" when `thread` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_thread_backend(thread: Option<&shoal_thread>) -> *const c_char {
    backend_name(thread.map(|handle| handle.thread.backend()))
}

/// Copies why "uring" was not picked although it was not ruled out, as
/// `shoal_node_backend_refusal` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_thread_backend_refusal(
    thread: Option<&shoal_thread>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_thread { health, thread }) = thread else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    health.guard(|| unsafe { copy_text(thread.refusal().unwrap_or(""), buffer, size) })
}

/// Gives a thread up. It goes on until all its nodes have been stopped.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_thread_free(thread: Option<Box<shoal_thread>>) {
    crate::call::release(thread);
}

/// Stops a node without a goodbye: its peers will find it dead. For a goodbye call
/// `shoal_node_leave` first and wait for `SHOAL_EVENT_LEFT`. The node's address is free when
/// this returns. Events still waiting are dropped, and calls that need a running node return
/// `SHOAL_STOPPED` from now on, a second stop too.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_stop(node: Option<&shoal_node>) -> shoal_status {
    let Some(shoal_node { health, running, .. }) = node else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let node = running.write().unwrap_or_else(PoisonError::into_inner).take();
        node.ok_or_else(stopped)?.stop();
        Ok(SHOAL_OK)
    })
}

/// Stops a node that still runs and frees its handle. No other call on it may be under way or
/// follow.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_free(node: Option<Box<shoal_node>>) {
    crate::call::release(node);
}

/// Copies one sentence about the latest failure of this node, whichever thread it came to, cut
/// to `size` bytes; empty before the first.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_error(
    node: Option<&shoal_node>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_node { health, .. }) = node else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    unsafe { health.copy_detail(buffer, size) }
}

/// A descriptor that is readable while events may wait, or -1 when `node` is NULL. Wait for it
/// with poll, epoll or any event library, take events until `SHOAL_NONE`, wait again. Do not
/// read, write or close it; it stays open until the node is freed.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_event_fd(node: Option<&shoal_node>) -> c_int {
    node.map_or(-1, |node| node.event_fd.as_raw_fd())
}

/// Takes the oldest event. `SHOAL_NONE` when there is none; the descriptor becomes readable
/// with the next one then. `SHOAL_STOPPED` when there will never be one.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_poll_event(
    node: Option<&shoal_node>,
    event: Option<&mut MaybeUninit<shoal_event>>,
) -> shoal_status {
    ask(node, |node| {
        let target = required(event, "event")?;
        let event = node.poll_event();
        if event.is_none() && !node.is_running() {
            return Err(stopped());
        }
        Ok(give(target, event.map(shoal_event::from)))
    })
}

/// Joins a cluster through any of these members. `SHOAL_EVENT_JOINED` follows when one has
/// answered; they are asked until then, and again whenever they are lost from sight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_join(
    node: Option<&shoal_node>,
    seeds: *const shoal_address,
    seed_count: usize,
) -> shoal_status {
    ask(node, |node| {
        // SAFETY: `seeds` has `seed_count` items.
        let seeds = unsafe { read_seeds(seeds, seed_count)? };
        command(node.join(&seeds))
    })
}

/// Begins to say goodbye. `SHOAL_EVENT_LEFT` follows when it has been said: stop the node then.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_leave(node: Option<&shoal_node>) -> shoal_status {
    ask(node, |node| command(node.leave()))
}

/// Attaches bytes to this node that every member comes to hold (`SHOAL_EVENT_STATE` there), in
/// place of the earlier ones. For what others should know of this node now: of changes in quick
/// succession only the last is sure to arrive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_set_state(
    node: Option<&shoal_node>,
    state: *const u8,
    size: usize,
) -> shoal_status {
    ask(node, |node| {
        check_payload(size, STATE_SIZE_MAX as usize, SHOAL_STATE_TOO_LARGE)?;
        // SAFETY: `state` has `size` bytes.
        let state = Bytes::copy_from_slice(unsafe { array(state, size, "state")? });
        command(node.set_state(state))
    })
}

/// Copies the state of the member at an address, and its size to `size`. When that is more than
/// `capacity`, nothing is copied. `SHOAL_NONE` when no state of it has come here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_state(
    node: Option<&shoal_node>,
    address: Option<&shoal_address>,
    buffer: *mut u8,
    capacity: usize,
    size: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    ask(node, |node| {
        let state = node.state(required(address, "address")?.read()?);
        // SAFETY: `buffer` has room for `capacity` bytes.
        unsafe { write_bytes(state.as_deref(), buffer, capacity, size) }
    })
}

/// Sends at most `SHOAL_BROADCAST_SIZE_MAX` bytes to every member once (`SHOAL_EVENT_BROADCAST`
/// there), by gossip and without an answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_broadcast(
    node: Option<&shoal_node>,
    payload: *const u8,
    size: usize,
) -> shoal_status {
    ask(node, |node| {
        check_payload(size, SHOAL_BROADCAST_SIZE_MAX, SHOAL_BROADCAST_TOO_LARGE)?;
        // SAFETY: `payload` has `size` bytes.
        let payload = Bytes::copy_from_slice(unsafe { array(payload, size, "payload")? });
        command(node.broadcast(payload))
    })
}

/// Replaces the secrets: seals with the first from now on, opens with any. To rotate without
/// losing a datagram, add the new one at the end everywhere, then move it to the front, then
/// drop the old one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_set_secrets(
    node: Option<&shoal_node>,
    secrets: *const shoal_secret,
    secret_count: usize,
) -> shoal_status {
    ask(node, |node| {
        // SAFETY: `secrets` has `secret_count` items, each with its bytes.
        let secrets = unsafe { read_secrets(secrets, secret_count)? };
        command(node.set_secrets(secrets))
    })
}

/// Writes as many members as there is room for, this node first, and how many there are to
/// `count`. When that is more than `capacity`, the rest was left out. `members` may be NULL
/// when `capacity` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_members(
    node: Option<&shoal_node>,
    members: *mut MaybeUninit<shoal_member>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    ask(node, |node| {
        let all = node.members().into_iter().map(shoal_member::from);
        // SAFETY: `members` has room for `capacity` items.
        unsafe { write_list(all, members, capacity, count) }
    })
}

/// The member at an address. `SHOAL_NONE` when there is none.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_member(
    node: Option<&shoal_node>,
    address: Option<&shoal_address>,
    member: Option<&mut MaybeUninit<shoal_member>>,
) -> shoal_status {
    ask(node, |node| {
        let address = required(address, "address")?.read()?;
        let target = required(member, "member")?;
        Ok(give(target, node.member(address).map(shoal_member::from)))
    })
}

/// What is known about the round trip to the member at an address. `SHOAL_NONE` when nothing
/// is.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_rtt(
    node: Option<&shoal_node>,
    address: Option<&shoal_address>,
    rtt: Option<&mut MaybeUninit<shoal_rtt>>,
) -> shoal_status {
    ask(node, |node| {
        let address = required(address, "address")?.read()?;
        let target = required(rtt, "rtt")?;
        Ok(give(target, node.rtt(address).map(shoal_rtt::from)))
    })
}

/// The node's own coordinate.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_coordinate(
    node: Option<&shoal_node>,
    coordinate: Option<&mut MaybeUninit<shoal_coordinate>>,
) -> shoal_status {
    ask(node, |node| {
        let target = required(coordinate, "coordinate")?;
        Ok(give(target, Some(node.coordinate().into())))
    })
}

/// What to keep of this node's place for a restart.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_coordinate_save(
    node: Option<&shoal_node>,
    snapshot: Option<&mut MaybeUninit<shoal_coordinate_snapshot>>,
) -> shoal_status {
    ask(node, |node| {
        let target = required(snapshot, "snapshot")?;
        Ok(give(target, Some(node.coordinate_snapshot().map_err(failure)?.into())))
    })
}

/// Takes this node back to where a snapshot saw it, so that it need not find its place anew.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_coordinate_restore(
    node: Option<&shoal_node>,
    snapshot: Option<&shoal_coordinate_snapshot>,
) -> shoal_status {
    ask(node, |node| {
        let kept = required(snapshot, "snapshot")?;
        let refusal = node.restore_coordinate(kept.read()?).map_err(failure)?;
        refusal.map_or(Ok(()), |refusal| Err(refused(refusal)))?;
        Ok(SHOAL_OK)
    })
}

/// Writes as many counters as there is room for, and how many there are to `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_stats(
    node: Option<&shoal_node>,
    stats: *mut MaybeUninit<shoal_counter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    // SAFETY: `stats` has room for `capacity` items.
    ask(node, |node| unsafe { write_list(counters(&node.stats()), stats, capacity, count) })
}

/// Writes what waits and what is open at this moment, as many numbers as there is room for, and
/// how many there are to `count`: the node's distrust of its own view ("health_score", 0 to 8),
/// updates, broadcasts and events that wait, open probes and suspicions.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_gauges(
    node: Option<&shoal_node>,
    gauges: *mut MaybeUninit<shoal_counter>,
    capacity: usize,
    count: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    ask(node, |node| {
        // SAFETY: `gauges` has room for `capacity` items.
        unsafe { write_list(gauge_counters(&node.gauges()), gauges, capacity, count) }
    })
}

/// Writes every counter, distribution and gauge as OpenMetrics text, to be served as
/// `shoal_metrics_media_type`, and to `size` the bytes it needs with its final NUL. When that is
/// more than `capacity`, nothing is copied; `SHOAL_METRICS_SIZE_MAX` bytes are always enough.
/// The text does not grow with the cluster.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_metrics_text(
    node: Option<&shoal_node>,
    buffer: *mut c_char,
    capacity: usize,
    size: Option<&mut MaybeUninit<usize>>,
) -> shoal_status {
    ask(node, |node| {
        let mut text = String::new();
        node.write_metrics(&mut text);
        // SAFETY: `buffer` has `capacity` bytes.
        unsafe { write_metrics(&text, buffer, capacity, size) }
    })
}

/// An instant of the node's clock, such as `at_ns` of an event, as wall clock time:
/// milliseconds since 1970.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_unix_ms(
    node: Option<&shoal_node>,
    at_ns: u64,
    unix_ms: Option<&mut MaybeUninit<u64>>,
) -> shoal_status {
    ask(node, |node| {
        let target = required(unix_ms, "unix_ms")?;
        Ok(give(target, Some(node.unix_ms(Instant::from_nanos(at_ns)))))
    })
}

/// The address that peers send to. A stopped node still tells it.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_address(
    node: Option<&shoal_node>,
    address: Option<&mut MaybeUninit<shoal_address>>,
) -> shoal_status {
    let Some(shoal_node { health, address: own, .. }) = node else { return SHOAL_NULL_POINTER };
    health.guard(|| Ok(give(required(address, "address")?, Some((*own).into()))))
}

/// The address that the node's socket is bound to: `bind` of its settings with the port that was
/// picked. A stopped node tells it no more.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_local_address(
    node: Option<&shoal_node>,
    address: Option<&mut MaybeUninit<shoal_address>>,
) -> shoal_status {
    ask(node, |node| {
        let target = required(address, "address")?;
        Ok(give(target, Some(Address::from(node.local_address()).into())))
    })
}

/// The backend that was picked: "uring" or "poll"; "none" when `node` is NULL.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_node_backend(node: Option<&shoal_node>) -> *const c_char {
    backend_name(node.map(|node| node.backend))
}

/// Copies why "uring" was not picked although it was not ruled out, and how to fix that, cut to
/// `size` bytes; an empty text when there is nothing to say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shoal_node_backend_refusal(
    node: Option<&shoal_node>,
    buffer: *mut c_char,
    size: usize,
) -> shoal_status {
    let Some(shoal_node { health, refusal, .. }) = node else { return SHOAL_NULL_POINTER };
    // SAFETY: `buffer` has `size` bytes.
    health.guard(|| unsafe { copy_text(refusal, buffer, size) })
}

/// Does the work of a function that needs a running node. Others may do theirs at the same
/// time.
pub(crate) fn ask(node: Option<&shoal_node>, work: impl FnOnce(&Node) -> Outcome) -> shoal_status {
    let Some(shoal_node { health, running, .. }) = node else { return SHOAL_NULL_POINTER };
    health.guard(|| {
        let running = running.read().unwrap_or_else(PoisonError::into_inner);
        work(running.as_ref().ok_or_else(stopped)?)
    })
}

fn backend_name(backend: Option<Backend>) -> *const c_char {
    let name = match backend {
        None => c"none",
        Some(Backend::Uring) => c"uring",
        Some(Backend::Poll) => c"poll",
    };
    name.as_ptr()
}

/// # Safety
/// `config` is NULL or as its first field says, with readable secrets.
unsafe fn start(
    config: *const shoal_config,
    target: Option<&mut MaybeUninit<*mut shoal_node>>,
    start: impl FnOnce(NodeOptions) -> Result<Node, StartError>,
) -> Outcome {
    let target = required(target, "node")?;
    // SAFETY: by the contract of this function.
    let (config, engine_config) = unsafe {
        let config = growth::read(config)?;
        (config, config.engine_config()?)
    };
    let bind = config.bind.read()?.socket_address();
    let mut options = NodeOptions::new(bind, engine_config);
    options.backend = config.backend_choice()?;
    options.cpu = config.processor()?;
    let node = start(options).map_err(start_failure)?;
    let event_fd = node.event_fd().try_clone_to_owned().map_err(|error| {
        Failure::new(SHOAL_OUT_OF_RESOURCES, format!("cannot copy a descriptor: {error}"))
    })?;
    let handle = shoal_node {
        health: Health::default(),
        address: node.address(),
        backend: node.backend(),
        refusal: node.backend_refusal().unwrap_or_default(),
        event_fd,
        running: RwLock::new(Some(node)),
    };
    target.write(Box::into_raw(Box::new(handle)));
    Ok(SHOAL_OK)
}

fn start_failure(error: StartError) -> Failure {
    Failure::new(of_start_error(&error), error.to_string())
}

fn stopped() -> Failure {
    Failure::new(SHOAL_STOPPED, NodeError::Stopped.to_string())
}

fn command(result: Result<(), NodeError>) -> Outcome {
    result.map(|()| SHOAL_OK).map_err(failure)
}

/// What the node answered to a command that it did not carry out.
pub(crate) fn failure(error: NodeError) -> Failure {
    Failure::new(of_node_error(&error), error.to_string())
}
