"""Methods of `HealthAwareServer` that the engine takes over.

`install()` puts them into the class, so servers derived from it have them as well. Each begins with
the server's plane; a server without one keeps its own socket and the original methods. That is the
case with DTLS, with a socket or transport that the program made itself, with a host that is a name,
and where a server handles more kinds of datagrams than hyperscale does.
"""

# ruff: noqa: ASYNC109 - the signatures are hyperscale's.

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable
from typing import Any

from shoal.hyperscale._host import host_attribute
from shoal.hyperscale._plane import DatagramPlane, Done, Peer, plane_of

__all__ = ["METHODS"]

_log = logging.getLogger("shoal.hyperscale")
_HANDLERS = {b"receive"}

Method = Callable[..., Any]


def _reason_against(server: Any, own_socket: Any, own_transport: Any) -> str | None:
    """Why a server keeps its socket."""
    if own_socket is not None or own_transport is not None:
        return "the program brings a socket of its own"
    if server._server_cert_path and server._server_key_path:
        return "it is to speak DTLS"
    if others := sorted(set(server.udp_handlers) - _HANDLERS):
        return f"it handles {b', '.join(others).decode()}"
    try:
        ipaddress.IPv4Address(server._udp_host)
    except ValueError:
        return f"{server._udp_host!r} is no IPv4 address"
    return None


def _start_udp_server(original: Method) -> Method:
    async def start_udp_server(
        self: Any, worker_socket: Any = None, worker_transport: Any = None
    ) -> None:
        reason = _reason_against(self, worker_socket, worker_transport)
        if self._udp_connected or reason is not None:
            if reason is not None:
                _log.warning("%r keeps its own datagrams: %s", self._udp_addr_slug, reason)
            await original(self, worker_socket, worker_transport)
            return
        # Its callbacks log through an attribute that the server never sets.
        self._logger = getattr(self, "_logger", self._udp_logger)
        plane = DatagramPlane(self)
        plane.start()
        self._udp_transport = plane
        self._udp_connected = True

    return start_udp_server


def _start_tcp_server(original: Method) -> Method:
    async def start_tcp_server(
        self: Any, worker_socket: Any = None, worker_server: Any = None
    ) -> None:
        await original(self, worker_socket, worker_server)
        if self._tcp_server is None or hasattr(self._tcp_server, "abort_clients"):
            return

        # Before Python 3.13 there is no such method, and a server that calls it stops half way.
        def abort_clients() -> None:
            for transport in list(self._tcp_server_request_transports.values()):
                transport.abort()

        self._tcp_server.abort_clients = abort_clients

    return start_tcp_server


def _send_udp(original: Method) -> Method:
    async def send_udp(
        self: Any, address: Peer, action: str, data: Any, timeout: float | None = None
    ) -> tuple[Any, int]:
        plane = plane_of(self)
        if plane is None:
            result: tuple[Any, int] = await original(self, address, action, data, timeout)
            return result
        return await plane.request(address, data)

    return send_udp


def _add_piggyback_safe(original: Method) -> Method:
    def add_piggyback_safe(self: Any, base_message: bytes) -> bytes:
        # The engine tells the news; what the server says goes out as it is.
        if plane_of(self) is not None:
            return base_message
        result: bytes = original(self, base_message)
        return result

    return add_piggyback_safe


def _join_cluster(original: Method) -> Method:
    async def join_cluster(self: Any, seed_node: Peer, timeout: float = 5.0) -> bool:
        plane = plane_of(self)
        if plane is None:
            return bool(await original(self, seed_node, timeout))
        await self._incarnation_tracker.add_unconfirmed_node(seed_node)
        if await plane.meet_and_wait(seed_node, timeout):
            self.record_network_success()
            return True
        error = host_attribute("distributed.swim.core.errors", "ProbeTimeoutError", None)
        if error is not None:
            await self.handle_error(error(seed_node, timeout))
        return False

    return join_cluster


def _start_probe_cycle(original: Method) -> Method:
    async def start_probe_cycle(self: Any) -> None:
        plane = plane_of(self)
        if plane is None:
            await original(self)
            return
        if self._error_handler is None:
            self._setup_error_handler()
        await self._hierarchical_detector.start()
        await self.start_health_monitor()
        await self.start_cleanup()
        self._probe_scheduler._running = True
        plane.probing_ended.clear()
        await plane.probing_ended.wait()

    return start_probe_cycle


def _add_unconfirmed_peer(original: Method) -> Method:
    async def add_unconfirmed_peer(self: Any, peer: Peer, role: str | None = None) -> None:
        await original(self, peer, role)
        plane = plane_of(self)
        if plane is not None:
            plane.meet(peer)

    return add_unconfirmed_peer


def _send_confirmation_ping(original: Method) -> Method:
    async def send_confirmation_ping(self: Any, peer_id: str, peer_address: Peer) -> bool:
        plane = plane_of(self)
        if plane is None:
            return bool(await original(self, peer_id, peer_address))
        plane.meet(peer_address)
        return plane.is_alive(peer_address)

    return send_confirmation_ping


def _broadcast_leadership_message(original: Method) -> Method:
    def broadcast_leadership_message(self: Any, message: bytes) -> Any:
        plane = plane_of(self)
        if plane is None:
            return original(self, message)
        plane.tell_all(message)
        # Elections call this without waiting for it, others may wait.
        return Done()

    return broadcast_leadership_message


def _get_member_count(original: Method) -> Method:
    def get_member_count(self: Any) -> int:
        count: int = original(self)
        if plane_of(self) is None:
            return count
        # The tracker holds the others only.
        return len(self._incarnation_tracker.node_states) + 1

    return get_member_count


def _is_node_suspected(original: Method) -> Method:
    def is_node_suspected(self: Any, node: Peer) -> bool:
        state = self._incarnation_tracker.get_node_state(node)
        is_told = state is not None and state.status == b"SUSPECT"
        return (is_told and plane_of(self) is not None) or bool(original(self, node))

    return is_node_suspected


def _is_node_alive_global(original: Method) -> Method:
    async def is_node_alive_global(self: Any, node: Peer) -> bool:
        if plane_of(self) is not None and self.is_node_suspected(node):
            return False
        return bool(await original(self, node))

    return is_node_alive_global


METHODS: dict[str, Callable[[Method], Method]] = {
    "_start_udp_server": _start_udp_server,
    "_start_tcp_server": _start_tcp_server,
    "send_udp": _send_udp,
    "_add_piggyback_safe": _add_piggyback_safe,
    "join_cluster": _join_cluster,
    "start_probe_cycle": _start_probe_cycle,
    "add_unconfirmed_peer": _add_unconfirmed_peer,
    "_send_confirmation_ping": _send_confirmation_ping,
    "_broadcast_leadership_message": _broadcast_leadership_message,
    "_get_member_count": _get_member_count,
    "is_node_suspected": _is_node_suspected,
    "is_node_alive_global": _is_node_alive_global,
}
"""What makes each method out of the original one, by its name."""
