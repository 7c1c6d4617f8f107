"""A node of the engine in the place of a server's socket.

hyperscale's server opens, parses, answers and sends datagrams itself, probes with them, suspects
and gossips. Here a `shoal.Node` does all of that on a thread of its own, and what the server's
program can look at follows it:

* news of members go into the incarnation tracker, and to the callbacks for peers that are
  confirmed, that join and that die;
* once a second the coordinates, the local health and the metrics are brought up to date, and the
  state that the server embeds is handed to the engine;
* states of peers go to the state embedder, messages of elections and between datacenters to the
  server's own handlers.

What the server itself has to say is sent by the engine as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

from shoal._config import Config
from shoal._errors import CommandError, LifecycleError, ShoalError
from shoal._native import (
    Broadcast,
    HyperscaleHealth,
    HyperscaleMessage,
    HyperscaleWorker,
    Joined,
    Left,
    MemberEvent,
    Overflow,
    Refuted,
    StateChanged,
)
from shoal._node import Node

from ._host import call_back, host_attribute
from .health.tracker import HealthPiggyback
from .swim.core.node_state import NodeState
from .swim.detection.probe_scheduler import ProbeScheduler
from .swim.gossip.health_gossip_buffer import HealthGossipEntry

__all__ = ["DatagramPlane", "Done", "Peer", "plane_of"]

Peer = tuple[str, int]
"""How hyperscale names a peer: host and port."""

_log = logging.getLogger("shoal.hyperscale")
_ATTRIBUTE = "_shoal_plane"
_PERIOD = 1.0
"""Seconds between two looks at what changes without an event."""
_STATES_PER_SECOND = 50
"""States of peers that a node is told at most: with more peers each tells its own less often."""
_LEAVE_TIMEOUT = 2.0
_WORKER_NEWS = b"#|w"
_HEALTH_MARK = b"#|H"
"""Ends a state that has the sender's load behind it. A pickle ends in a full stop, and what reads
it does not look behind that."""
_BROADCAST_MAX = 1_024
_WORDS_MAX = 1_000
"""Messages of the server that wait to be sent."""
_ROLES = {"gate", "manager", "worker"}
_NO_DATACENTER = re.compile(r"[^A-Za-z0-9_.-]")
_DATACENTER_MAX = 31

_ANSWERED_BY_ENGINE = frozenset({b"probe", b"ping-req"})
_SAID_BY_ENGINE = frozenset(
    {b"ack", b"nack", b"join", b"alive", b"suspect", b"ping-req-ack", b"xnack"}
)

# What the engine counts, by the name of hyperscale's metric.
_METRICS = {
    "probes_sent": "probes_sent",
    "probes_acked": "probes_received",
    "probes_failed": "probes_timeout",
    "indirect_probes_sent": "indirect_probes_sent",
    "suspicions_refuted": "suspicions_refuted",
    "suspicions_expired": "suspicions_expired",
    "updates_sent": "gossip_updates_sent",
    "updates_received": "gossip_updates_received",
    "requests_limited": "messages_rate_limited",
    "requests_repeated": "messages_deduplicated",
    "send_errors": "network_errors",
    "receive_errors": "network_errors",
    "requests_refused": "protocol_errors",
    "entries_refused": "protocol_errors",
}
_DROPS = {
    "requests_limited": "rate_limited",
    "dropped_oversized": "message_too_large",
    "dropped_unpacked_size": "decompression_too_large",
    "dropped_truncated": "decryption_failed",
    "dropped_foreign": "decryption_failed",
    "dropped_unknown_key": "decryption_failed",
    "dropped_forged": "decryption_failed",
    "dropped_malformed": "malformed_message",
    "dropped_replayed": "replay_detected",
    "socket_overflows": "load_shed",
}


class Done:
    """Nothing to wait for, whether or not somebody waits for it."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def plane_of(server: Any) -> DatagramPlane | None:
    """The plane of a server; none where it has a socket of its own."""
    plane = server.__dict__.get(_ATTRIBUTE)
    return plane if isinstance(plane, DatagramPlane) else None


def _peer(address: str) -> Peer:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _health(event: HyperscaleHealth) -> Any:
    """The load of a server that is not on Shoal, as hyperscale holds it."""
    health = host_attribute("distributed.health.tracker", "HealthPiggyback", HealthPiggyback)
    return health(
        node_id=event.node_id,
        node_type=event.node_type,
        overload_state=event.overload,
        accepting_work=event.accepting_work,
        capacity=event.capacity,
        throughput=event.throughput,
        expected_throughput=event.expected_throughput,
        timestamp=event.timestamp,
    )


def _worker(event: HyperscaleWorker) -> bytes:
    """News of a worker as managers send them."""
    return (
        f"{event.worker_id}:{event.owner_id}:{event.host}:{event.tcp_port}:{event.udp_port}:"
        f"{event.state}:{event.incarnation}:{event.total_cores}:{event.available_cores}:"
        f"{event.timestamp:.6f}:{event.datacenter}"
    ).encode()


class _Scheduler(ProbeScheduler):
    """The members that are probed, by the engine: adding one is telling the engine of it."""

    __slots__ = ("_plane",)

    def __init__(self, plane: DatagramPlane) -> None:
        super().__init__()
        self._plane = plane

    def add_member(self, member: Peer) -> None:
        """Has the engine look for a peer."""
        super().add_member(member)
        self._plane.meet(member)

    def stop(self) -> None:
        """Ends `start_probe_cycle`. The engine goes on until the server is stopped."""
        super().stop()
        self._plane.probing_ended.set()


class DatagramPlane(asyncio.DatagramTransport):
    """The engine under one server. To the server it is the transport of its socket."""

    active: int = 0
    """How many run in this process."""
    config: Config = Config()
    """How the nodes behave: what `install()` was given."""

    def __init__(self, server: Any) -> None:
        super().__init__()
        self._server = server
        env = server.env
        secrets = [env.MERCURY_SYNC_AUTH_SECRET, env.MERCURY_SYNC_AUTH_SECRET_PREVIOUS]
        role = server.node_role if server.node_role in _ROLES else "worker"
        datacenter = _NO_DATACENTER.sub("-", server.node_id.datacenter)[:_DATACENTER_MAX]
        self.node = Node(
            (server._udp_host, server._udp_port),
            secret=[secret.encode() for secret in secrets if secret],
            role=role,
            datacenter=datacenter or "default",
            config=replace(DatagramPlane.config, wire_format="hyperscale"),
        )
        self.probing_ended = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._words: asyncio.Queue[tuple[list[Peer], bytes]] = asyncio.Queue(_WORDS_MAX)
        self._waiters: set[asyncio.Future[None]] = set()
        self._met: set[Peer] = set()
        self._goodbye: asyncio.Task[None] | None = None
        self._clock = 0
        self._counted: dict[str, int] = {}
        self._health_score = 0
        self._state = b""
        self._state_due = 0.0

    # Life

    def start(self) -> None:
        """Binds the socket and begins; `StartError`, an `OSError`, when the system refuses."""
        server = self._server
        self.node.start()
        try:
            self._own = _peer(self.node.address)
            server._udp_port = self._own[1]
            server._encoded_udp_port = str(self._own[1]).encode()
            server._udp_addr_slug = f"{self._own[0]}:{self._own[1]}".encode()
            server._probe_scheduler = _Scheduler(self)
            stream = self.node.events(capacity=65_536)
            self._tasks = [
                asyncio.create_task(self._follow(stream), name="shoal events"),
                asyncio.create_task(self._look(), name="shoal look"),
                asyncio.create_task(self._speak(), name="shoal speak"),
            ]
        except BaseException:
            self.close()
            raise
        server.__dict__[_ATTRIBUTE] = self
        DatagramPlane.active += 1

    def close(self) -> None:
        """Stops the node, as the server does when it shuts down."""
        if self._server.__dict__.pop(_ATTRIBUTE, None) is self:
            DatagramPlane.active -= 1
        self.probing_ended.set()
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self.node.close()
        self._wake()

    def abort(self) -> None:
        """Closes."""
        self.close()

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return not self.node.is_running

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The address, as of any transport."""
        return self._own if name == "sockname" else default

    async def leave(self) -> None:
        """Says goodbye, once."""
        if self._goodbye is None:
            self._goodbye = asyncio.create_task(self._leave())
        await asyncio.shield(self._goodbye)

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT):
                await self.node.leave()
        except (ShoalError, TimeoutError) as error:
            _log.warning("%r said no goodbye: %s", self.node, error)

    # What the server says

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Refuses: datagrams are the engine's."""
        raise RuntimeError("the engine sends the datagrams of this server; use its send()")

    def post(self, peers: list[Peer], message: bytes) -> None:
        """Sends a message of the server to peers. The engine has nothing to do with it."""
        if message.startswith(b"xprobe>"):
            # One that says the same as the last one would be taken for a repetition. A pickle ends
            # before this.
            self._clock += 1
            message += self._clock.to_bytes(8, "big")
        try:
            self._words.put_nowait((peers, message))
        except asyncio.QueueFull:
            _log.error("%r has %d messages to send and drops one", self.node, _WORDS_MAX)

    async def _speak(self) -> None:
        """Sends what the server says, in its order. To many peers that takes a while, which the
        event loop does not wait for."""
        while True:
            peers, message = await self._words.get()
            try:
                await asyncio.to_thread(self.node.send_hyperscale, peers, message)
            except LifecycleError:
                return
            except Exception as error:
                await self._failed(error, "shoal_speak")

    async def request(self, peer: Peer, data: Any) -> tuple[bytes | Exception, int]:
        """Does what `send_udp` does: sends, and gives the reply and its clock.

        What SWIM says is said by the engine already, so it is answered from what the engine knows.
        Other messages are sent, and nobody waits for the empty acknowledgement that they get.
        """
        message: bytes = data if isinstance(data, bytes) else data.dump()
        name = message.split(b">", 1)[0].split(b":", 1)[0]
        if name == b"leave":
            await self.leave()
            return b"ack>", self._clock
        if name in _ANSWERED_BY_ENGINE:
            target = message.split(b">", 1)[-1].decode(errors="replace")
            member = self.node.member(peer if name == b"probe" else _peer(target))
            if member is None or member.state != "alive":
                return TimeoutError(f"{target} does not answer"), self._clock
            reply = b"ack>" if name == b"probe" else b"ping-req-ack:alive>"
            return reply + target.encode(), self._clock
        if name not in _SAID_BY_ENGINE:
            self.post([peer], message)
        return b"ack>" + f"{peer[0]}:{peer[1]}".encode(), self._clock

    def tell_all(self, message: bytes) -> None:
        """Sends a message of the server to every member that is not dead."""
        states: dict[Peer, Any] = self._server._incarnation_tracker.node_states
        peers = [peer for peer, state in states.items() if state.status in (b"OK", b"SUSPECT")]
        if peers:
            self.post(peers, message)

    # Whom it knows

    def meet(self, peer: Peer) -> None:
        """Has the engine look for a peer that the server was told of, unless it knows it."""
        if peer in self._met or peer == self._own:
            return
        self._met.add(peer)
        try:
            if self.node.member(peer) is None:
                self.node.join([peer])
        except CommandError as error:
            _log.warning("%r does not look for %s:%d: %s", self.node, *peer, error)
        except LifecycleError:
            pass

    def is_alive(self, peer: Peer) -> bool:
        """Whether the engine holds a peer to be alive."""
        member = self.node.member(peer)
        return member is not None and member.state == "alive"

    async def meet_and_wait(self, peer: Peer, seconds: float) -> bool:
        """Has the engine look for a peer; says whether it answered in time."""
        self._met.discard(peer)
        self.meet(peer)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_alive(peer):
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiters.add(waiter)
                    try:
                        await waiter
                    finally:
                        self._waiters.discard(waiter)
        return self.is_alive(peer)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # What happens

    async def _follow(self, stream: Any) -> None:
        try:
            async for event in stream:
                try:
                    await self._take(event)
                except Exception as error:
                    await self._failed(error, f"shoal_{type(event).__name__}")
        except LifecycleError as error:
            await self._failed(error, "shoal_node")

    async def _failed(self, error: Exception, operation: str) -> None:
        _log.error("%s of %r failed", operation, self.node, exc_info=error)
        with contextlib.suppress(Exception):
            await self._server.handle_exception(error, operation)

    async def _take(self, event: Any) -> None:
        server = self._server
        match event:
            case MemberEvent():
                await self._member_changed(event, event.at_ns / 1e9)
                self._wake()
            case StateChanged():
                await self._state_changed(_peer(event.address), event.state)
            case HyperscaleMessage():
                sender = _peer(event.sender)
                reply = await server._message_dispatcher.dispatch(
                    sender, event.message, self._clock
                )
                # The engine has answered that this is no leader; who is says so himself.
                if event.name == "xprobe" and reply.startswith(b"xack>"):
                    self.post([sender], reply)
            case HyperscaleHealth():
                server._health_gossip_buffer.process_received_health(_health(event))
            case HyperscaleWorker():
                news = _WORKER_NEWS + _worker(event)
                await server._process_worker_state_piggyback(news, _peer(event.sender))
            case Broadcast() if event.payload.startswith(_WORKER_NEWS):
                await server._process_worker_state_piggyback(event.payload, _peer(event.source))
            case Refuted():
                server._incarnation_tracker.self_incarnation = event.incarnation
                await server.persist_incarnation(event.incarnation)
            case Overflow():
                await self._catch_up()
            case Joined() | Left():
                self._wake()
            case _:
                pass

    async def _catch_up(self) -> None:
        """Events were lost: compares what the server believes with what the engine knows."""
        states = self._server._incarnation_tracker.node_states
        known: set[Peer] = set()
        for member in self.node.members():
            peer = _peer(member.address)
            known.add(peer)
            state = states.get(peer)
            if state is None or state.status != _STATUS.get(member.state):
                await self._member_changed(member, time.monotonic())
        for peer in set(states) - known:
            await self._server.remove_peer_tracking(peer)

    async def _member_changed(self, member: Any, now: float) -> None:
        server, peer = self._server, _peer(member.address)
        if peer == self._own:
            return
        role_class = host_attribute("distributed.models.distributed", "NodeRole", str)
        server._peer_roles[peer] = role_class(member.role)
        state = server._incarnation_tracker.node_states.get(peer)
        before = state.status if state is not None else b""
        match member.state:
            case "unconfirmed":
                if state is None:
                    self._met.add(peer)
                    await server.add_unconfirmed_peer(peer, member.role)
            case "alive":
                self._believe(peer, b"OK", member.incarnation, now)
                ProbeScheduler.add_member(server._probe_scheduler, peer)
                await self._now_alive(peer, before, member.incarnation)
            case "suspect":
                self._believe(peer, b"SUSPECT", member.incarnation, now)
                server._metrics.increment("suspicions_started")
                self._record("NODE_SUSPECTED", peer, incarnation=member.incarnation)
            case "dead" | "left":
                self._believe(peer, b"DEAD", member.incarnation, now)
                if before != b"DEAD":
                    self._now_dead(peer, member, now)
            case _:
                server._probe_scheduler.remove_member(peer)
                self._met.discard(peer)
                await server.remove_peer_tracking(peer)

    def _believe(self, peer: Peer, status: Any, incarnation: int, now: float) -> None:
        """The engine has decided: whatever the tracker believed gives way."""
        states = self._server._incarnation_tracker.node_states
        state = states.get(peer)
        if state is None:
            states[peer] = NodeState(status, incarnation, now)
        else:
            state.status, state.incarnation, state.last_update_time = status, incarnation, now

    async def _now_alive(self, peer: Peer, before: bytes, incarnation: int) -> None:
        server = self._server
        tracker, detector = server._incarnation_tracker, server._hierarchical_detector
        tracker.clear_death_record(peer)
        if before == b"SUSPECT":
            self._record("NODE_REFUTED", peer, incarnation=incarnation)
        await server.confirm_peer(peer, incarnation)
        if before == b"DEAD":
            await detector.clear_global_death(peer)
            server._metrics.increment("node_recoveries_detected")
            self._record("NODE_RECOVERED", peer, incarnation=incarnation)
        elif before in (b"", b"UNCONFIRMED"):
            server._metrics.increment("joins_received")
            self._record("NODE_JOINED", peer, incarnation=incarnation)
        else:
            return
        self._tell("on_node_join_callback", server._on_node_join_callbacks, peer)

    def _now_dead(self, peer: Peer, member: Any, now: float) -> None:
        server = self._server
        server._incarnation_tracker.record_node_death(peer, member.incarnation, now)
        detector = server._hierarchical_detector
        detector.declare_dead(peer, member.incarnation)
        server._probe_scheduler.remove_member(peer)
        self._met.discard(peer)
        if member.state == "left":
            server._metrics.increment("leaves_received")
            self._record("NODE_LEFT", peer, reason="leave")
        else:
            self._record("NODE_CONFIRMED_DEAD", peer, incarnation=member.incarnation)
            # A server may have put a callback of its own into the detector; the usual one would do
            # once more what is done here.
            told = detector._on_global_death
            if told is not None and told != server._on_suspicion_expired:
                call_back("on_global_death", told, peer, member.incarnation)
        self._tell("on_node_dead_callback", server._on_node_dead_callbacks, peer)

    def _record(self, kind: str, peer: Peer, **details: Any) -> None:
        kinds = host_attribute("distributed.swim.core.audit", "AuditEventType", None)
        if kinds is not None:
            self._server._audit_log.record(kinds[kind], node=peer, **details)

    def _tell(self, name: str, callbacks: list[Callable[[Peer], Any]], peer: Peer) -> None:
        def failed(message: str, error: Exception) -> None:
            _log.error("%s of %r", message, self.node, exc_info=error)
            call_back(name, self._server.handle_exception, error, name)

        for callback in list(callbacks):
            call_back(name, callback, peer, on_error=failed)

    async def _state_changed(self, peer: Peer, state: bytes) -> None:
        server = self._server
        if state.endswith(_HEALTH_MARK):
            end = len(state) - len(_HEALTH_MARK) - 2
            size = int.from_bytes(state[end : end + 2], "big")
            health, state = state[end - size : end], state[: end - size]
            server._health_gossip_buffer.decode_and_process_piggyback(b"#|h" + health)
        if not state:
            return
        rtt = self.node.rtt(peer)
        if rtt is not None:
            server._state_embedder.record_probe_rtt(peer, rtt.ms)
        await server._process_embedded_state(state, peer)

    # What changes without an event

    async def _look(self) -> None:
        while True:
            try:
                self.look()
            except LifecycleError:
                return
            except Exception as error:
                await self._failed(error, "shoal_look")
            await asyncio.sleep(_PERIOD)

    def look(self) -> None:
        """Brings the server up to date with the engine, and the engine with the server."""
        server = self._server
        self.node.mirror_into(server._coordinate_tracker)
        self._count()
        own = self.node.member(self.node.address)
        if own is not None and own.health_score != self._health_score:
            server._local_health.increment(own.health_score - self._health_score)
            self._health_score = own.health_score
        if server._running and self._goodbye is None:
            self._tell_state()

    def _count(self) -> None:
        stats, counted = self.node.stats(), self._counted
        server = self._server
        for name, metric in _METRICS.items():
            if new := stats[name] - counted.get(name, 0):
                server._metrics.increment(metric, new)
        for name, drop in _DROPS.items():
            if new := stats[name] - counted.get(name, 0):
                counter, field = server._udp_drop_counter, drop
                setattr(counter, field, getattr(counter, field) + new)
        server._dedup_stats["duplicates"] = stats["requests_repeated"]
        server._rate_limit_stats["rejected"] = stats["requests_limited"]
        server._rate_limit_stats["accepted"] = (
            stats["datagrams_received"] - stats["requests_limited"]
        )
        self._counted = stats

    def _tell_state(self) -> None:
        server, now = self._server, time.monotonic()
        if now < self._state_due:
            return
        peers = len(server._incarnation_tracker.node_states)
        self._state_due = now + max(_PERIOD, peers / _STATES_PER_SECOND) - _PERIOD / 2
        state: bytes = server._get_embedded_state() or b""
        health = server._state_embedder.get_health_piggyback()
        if health is not None:
            entry = HealthGossipEntry(health, now).to_bytes()
            state += entry + len(entry).to_bytes(2, "big") + _HEALTH_MARK
        if state != self._state:
            self.node.state = self._state = state
        workers: bytes = server._get_worker_state_piggyback(_BROADCAST_MAX)
        if workers:
            self.node.broadcast(workers)


_STATUS = {
    "unconfirmed": b"UNCONFIRMED",
    "alive": b"OK",
    "suspect": b"SUSPECT",
    "dead": b"DEAD",
    "left": b"DEAD",
}
