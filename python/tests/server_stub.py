"""A server that looks to the plane like hyperscale's `HealthAwareServer`."""

# ruff: noqa: ASYNC109 - the signatures are hyperscale's.

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from shoal.hyperscale.health.tracker import HealthPiggyback
from shoal.hyperscale.swim.coordinates import CoordinateTracker
from shoal.hyperscale.swim.detection.hierarchical_failure_detector import (
    HierarchicalFailureDetector,
)
from shoal.hyperscale.swim.detection.incarnation_tracker import IncarnationTracker
from shoal.hyperscale.swim.detection.probe_scheduler import ProbeScheduler
from shoal.hyperscale.swim.gossip.health_gossip_buffer import HealthGossipBuffer
from shoal.hyperscale.swim.health.local_health_multiplier import LocalHealthMultiplier

Peer = tuple[str, int]


class Server:
    """Keeps what it is told. Its methods are those that the plane calls or takes over."""

    def __init__(self, host: str = "127.0.0.1", role: str = "manager") -> None:
        self.env = SimpleNamespace(
            MERCURY_SYNC_AUTH_SECRET="a secret of the tests",
            MERCURY_SYNC_AUTH_SECRET_PREVIOUS=None,
        )
        self.node_role = role
        self.node_id = SimpleNamespace(datacenter="DC east/1")
        self._udp_host, self._udp_port = host, 0
        self._udp_addr_slug = f"{host}:0".encode()
        self._server_cert_path: str | None = None
        self._server_key_path: str | None = None
        self.udp_handlers: dict[bytes, Any] = {b"receive": None}
        self._running = True
        self._udp_connected = False
        self._udp_transport: Any = None
        self._udp_logger = None
        self._tcp_server: Any = None
        self._error_handler: Any = None
        self._probe_scheduler = ProbeScheduler()
        self._incarnation_tracker = IncarnationTracker()
        self._coordinate_tracker = CoordinateTracker()
        self._hierarchical_detector = HierarchicalFailureDetector(
            on_global_death=self._on_suspicion_expired
        )
        self._local_health = LocalHealthMultiplier()
        self._health_gossip_buffer = HealthGossipBuffer()
        self._metrics = SimpleNamespace(counts=Counter[str]())
        self._metrics.increment = self._increment
        self._udp_drop_counter = SimpleNamespace(
            rate_limited=0,
            message_too_large=0,
            decompression_too_large=0,
            decryption_failed=0,
            malformed_message=0,
            replay_detected=0,
            load_shed=0,
        )
        self._dedup_stats: dict[str, int] = {}
        self._rate_limit_stats: dict[str, int] = {}
        self._audit_log = SimpleNamespace(record=self._record)
        self._peer_roles: dict[Peer, Any] = {}
        self._on_node_dead_callbacks: list[Any] = []
        self._on_node_join_callbacks: list[Any] = []
        self._state_embedder = self
        self._message_dispatcher = self
        self.state: bytes | None = None
        self.health: HealthPiggyback | None = None
        self.workers = b""
        self.confirmed: list[Peer] = []
        self.states: dict[Peer, bytes] = {}
        self.round_trips: dict[Peer, float] = {}
        self.worker_news: list[tuple[bytes, Peer]] = []
        self.messages: list[tuple[Peer, bytes]] = []
        self.reply = b"ack>"
        self.audited: list[Peer] = []
        self.errors: list[tuple[str, BaseException]] = []

    @property
    def address(self) -> Peer:
        """Where it is reached."""
        return self._udp_host, self._udp_port

    def status(self, peer: Server) -> bytes | None:
        """What it believes of another one."""
        state = self._incarnation_tracker.get_node_state(peer.address)
        return None if state is None else state.status

    def _increment(self, name: str, amount: int = 1) -> None:
        self._metrics.counts[name] += amount

    def _record(self, kind: Any, node: Peer, **details: Any) -> None:
        self.audited.append(node)

    async def _on_suspicion_expired(self, node: Peer, incarnation: int) -> None:
        raise AssertionError("the engine decides who is dead")

    # What the plane calls.

    async def handle_exception(self, exc: BaseException, operation: str) -> None:
        self.errors.append((operation, exc))

    async def handle_error(self, error: BaseException) -> None:
        self.errors.append(("error", error))

    async def confirm_peer(self, peer: Peer, incarnation: int = 0) -> bool:
        self.confirmed.append(peer)
        return True

    async def remove_peer_tracking(self, peer: Peer) -> None:
        await self._incarnation_tracker.remove_node(peer)

    async def persist_incarnation(self, incarnation: int) -> bool:
        return False

    def record_network_success(self) -> None: ...

    def _setup_error_handler(self) -> None:
        self._error_handler = True

    async def start_health_monitor(self) -> None: ...

    async def start_cleanup(self) -> None: ...

    # The embedder and the dispatcher.

    def _get_embedded_state(self) -> bytes | None:
        return self.state

    def get_health_piggyback(self) -> HealthPiggyback | None:
        return self.health

    async def _process_embedded_state(self, state_data: bytes, source_addr: Peer) -> None:
        self.states[source_addr] = state_data

    def record_probe_rtt(self, source_addr: Peer, rtt_ms: float) -> None:
        self.round_trips[source_addr] = rtt_ms

    def _get_worker_state_piggyback(self, max_size: int) -> bytes:
        workers, self.workers = self.workers, b""
        return workers

    async def _process_worker_state_piggyback(self, data: bytes, source: Peer) -> None:
        self.worker_news.append((data, source))

    async def dispatch(self, addr: Peer, data: bytes, clock_time: int) -> bytes:
        self.messages.append((addr, data))
        return self.reply

    # What the plane takes over.

    async def _start_udp_server(
        self, worker_socket: Any = None, worker_transport: Any = None
    ) -> None:
        self._udp_transport = "its own"

    async def _start_tcp_server(self, worker_socket: Any = None, worker_server: Any = None) -> None:
        pass

    async def send_udp(
        self, address: Peer, action: str, data: Any, timeout: float | None = None
    ) -> tuple[Any, int]:
        return "sent itself", 0

    def _add_piggyback_safe(self, base_message: bytes) -> bytes:
        return base_message + b"#|m"

    async def join_cluster(self, seed_node: Peer, timeout: float = 5.0) -> bool:
        return False

    async def start_probe_cycle(self) -> None:
        raise AssertionError("it would probe")

    async def add_unconfirmed_peer(self, peer: Peer, role: str | None = None) -> None:
        await self._incarnation_tracker.add_unconfirmed_node(peer)

    async def _send_confirmation_ping(self, peer_id: str, peer_address: Peer) -> bool:
        raise AssertionError("it has no such method")

    async def _broadcast_leadership_message(self, message: bytes) -> None:
        raise AssertionError("nobody waits for it")

    def _get_member_count(self) -> int:
        return len(self._incarnation_tracker.node_states) or 1

    def is_node_suspected(self, node: Peer) -> bool:
        return self._hierarchical_detector.is_suspected_global(node)

    async def is_node_alive_global(self, node: Peer) -> bool:
        return await self._hierarchical_detector.is_alive_global(node)
