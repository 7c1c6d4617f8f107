"""Servers like hyperscale's on the engine: real sockets and real nodes."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import shoal
from cluster import open_descriptors, thread_count, until
from server_stub import Peer, Server
from shoal.hyperscale._install import InstallError, _Installation, uninstall
from shoal.hyperscale._plane import DatagramPlane, plane_of
from shoal.hyperscale.health.tracker import HealthPiggyback
from shoal.hyperscale.swim.health_aware_server import METHODS

FAST = shoal.Config(probe_interval_ms=50, gossip_interval_ms=20, probe_timeout_min_ms=50)


@pytest.fixture(autouse=True)
def taken_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    installation = _Installation()
    monkeypatch.setattr(DatagramPlane, "config", FAST)
    monkeypatch.setattr("shoal.hyperscale._plane._PERIOD", 0.05)
    installation.take_over(Server, METHODS)
    yield
    installation.take_back()
    assert DatagramPlane.active == 0


def plane(server: Server) -> DatagramPlane:
    found = plane_of(server)
    assert found is not None
    return found


@asynccontextmanager
async def started(server: Server) -> AsyncGenerator[Server, None]:
    await server._start_udp_server()
    try:
        yield server
    finally:
        server._udp_transport.close()


@asynccontextmanager
async def cluster(*roles: str) -> AsyncGenerator[list[Server], None]:
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(started(Server(role=role))) for role in roles]
        for server in servers[1:]:
            assert await server.join_cluster(servers[0].address)
        await until(lambda: all(sees_all(server, servers) for server in servers))
        yield servers


def sees_all(server: Server, servers: list[Server]) -> bool:
    return all(server.status(other) == b"OK" for other in servers if other is not server)


async def test_servers_form_detect_and_come_back() -> None:
    async with cluster("gate", "manager", "worker", "worker") as servers:
        one, two = servers[:2]
        joined: list[Peer] = []
        dead: list[Peer] = []
        one._on_node_join_callbacks.append(joined.append)
        one._on_node_dead_callbacks.append(dead.append)
        assert set(one.confirmed) == {server.address for server in servers[1:]}
        assert one._peer_roles[two.address] == "manager"
        assert one._get_member_count() == 4
        assert set(one._probe_scheduler.members) == set(one.confirmed)
        await until(lambda: one._metrics.counts["probes_received"] > 3)
        await until(lambda: one._coordinate_tracker.get_peer_count() == 3)
        tracker = one._coordinate_tracker
        await until(lambda: tracker.get_coordinate().sample_count > 3)
        name = "{}:{}".format(*two.address)
        measured = plane(one).node.rtt(two.address)
        assert measured is not None
        # Hyperscale's arithmetic knows no doubt below 1 ms for a standard deviation.
        assert tracker.estimate_rtt_ucb_ms(peer_id=name) < measured.upper_ms + 3
        assert tracker.get_all_peer_ids().count(name) == 1

        again = Server(role="manager")
        again._udp_port = two.address[1]
        two._udp_transport.close()
        await until(lambda: dead == [two.address])
        assert one.status(two) == b"DEAD"
        assert one._metrics.counts["suspicions_started"] == 1
        assert not await one.is_node_alive_global(two.address)
        assert one._hierarchical_detector.get_stats()["globally_dead_count"] == 1
        async with started(again):
            assert await again.join_cluster(one.address)
            await until(lambda: joined == [two.address])
            assert one.status(two) == b"OK"
            assert await one.is_node_alive_global(two.address)
        assert dead[0] == two.address
        assert not one.errors


async def test_states_and_loads_reach_the_embedder() -> None:
    async with cluster("manager", "manager", "worker") as servers:
        one, two, three = servers
        one.state = b"a pickle."
        one.health = HealthPiggyback(
            node_id="one", node_type="manager", overload_state="stressed", timestamp=5.0
        )
        three.health = HealthPiggyback(
            node_id="three", node_type="worker", overload_state="busy", timestamp=6.0
        )
        two.workers = b"#|w" + b"news of workers"
        await until(lambda: one.address in two.states and one.address in three.states)
        assert two.states[one.address] == three.states[one.address] == b"a pickle."
        assert two.round_trips.keys() == {one.address}
        await until(lambda: two._health_gossip_buffer.get_health("three") is not None)
        assert two._health_gossip_buffer.get_stressed_nodes() == ["one"]
        assert three.address not in two.states  # It told its load, and no state.
        await until(lambda: bool(one.worker_news and three.worker_news))
        assert one.worker_news == [(b"#|wnews of workers", two.address)]
        one.state = b"another."
        await until(lambda: two.states[one.address] == b"another.")


async def test_servers_talk_to_each_other() -> None:
    async with cluster("manager", "manager", "gate") as servers:
        one, two, three = servers
        claim = b"leader-claim:7:1>%b" % one._udp_addr_slug
        # Elections do not wait for it, others do.
        later = claim.replace(b":7:", b":8:")
        _ = one._broadcast_leadership_message(claim)
        await one._broadcast_leadership_message(later)
        await until(lambda: len(two.messages) == len(three.messages) == 2)
        assert two.messages == three.messages == [(one.address, claim), (one.address, later)]
        two.reply = b"xack>\x80pickled"
        assert await three.send_udp(two.address, "receive", b"xprobe>\x80body") == (
            b"ack>%b" % two._udp_addr_slug,
            1,
        )
        # The engine has said that it is no leader; who is says so himself.
        await until(lambda: (two.address, b"xack>\x80pickled") in three.messages)
        assert two.messages[2][0] == three.address
        assert two.messages[2][1].startswith(b"xprobe>\x80body")
        assert one._add_piggyback_safe(b"leader-claim") == b"leader-claim"
        # The same probe again is another one.
        await three.send_udp(two.address, "receive", b"xprobe>\x80body")
        await until(lambda: len(two.messages) == 4)


async def test_loads_and_workers_of_other_servers() -> None:
    secret = b"a secret of the tests"
    async with started(Server()) as server:
        with socket.socket(type=socket.SOCK_DGRAM) as stock:
            stock.bind(("127.0.0.1", 0))
            host, port = stock.getsockname()
            worker = b"w:m:10.0.0.2:9100:9101:registered:3:8:4:55.250000:DC1"
            payload = b"ack>%b#|hn|manager|stressed|1|8|1.50|2.00|9.50#|w%b" % (
                f"{host}:{port}".encode(),
                worker,
            )
            head = f"c<{host}:{port}<receive<".encode() + (7).to_bytes(64, "big")
            frame = head + len(payload).to_bytes(4, "big") + payload
            stock.sendto(shoal.seal(frame, secret), server.address)
            await until(lambda: bool(server.worker_news))
            assert server.worker_news == [(b"#|w" + worker, (host, port))]
            assert server._health_gossip_buffer.get_stressed_nodes() == ["n"]


async def test_what_swim_says_is_answered_by_the_engine() -> None:
    async with cluster("manager", "manager") as servers:
        one, two = servers
        target = two._udp_addr_slug
        assert (await one.send_udp(two.address, "receive", b"probe>" + target))[0] == (
            b"ack>" + target
        )
        assert (await one.send_udp(two.address, "receive", b"ping-req:0>" + target))[0] == (
            b"ping-req-ack:alive>" + target
        )
        nobody = ("127.0.0.1", 9)
        reply, _ = await one.send_udp(nobody, "receive", b"probe>127.0.0.1:9")
        assert isinstance(reply, TimeoutError)
        assert (await one.send_udp(two.address, "receive", b"suspect:0>" + target))[0].startswith(
            b"ack>"
        )
        await asyncio.sleep(0.2)
        assert one.status(two) == b"OK"
        assert two.messages == []
        assert await one._send_confirmation_ping("two", two.address)
        assert not await one._send_confirmation_ping("nobody", nobody)
        # The server says goodbye to each peer; the engine says it once to all.
        for _ in range(2):
            await one.send_udp(two.address, "receive", b"leave>" + one._udp_addr_slug)
        await until(lambda: two.status(one) == b"DEAD")
        assert two._metrics.counts["leaves_received"] == 1


async def test_the_probe_cycle_lasts_until_it_is_stopped() -> None:
    async with started(Server()) as server:
        cycle = asyncio.create_task(server.start_probe_cycle())
        await until(lambda: server._probe_scheduler._running)
        assert server._error_handler
        server._probe_scheduler.stop()
        await asyncio.wait_for(cycle, 5)
        assert plane(server).node.is_running
        await server._hierarchical_detector.stop()


async def test_a_seed_that_does_not_answer() -> None:
    async with started(Server()) as server, started(Server()) as late:
        with socket.socket(type=socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            assert not await server.join_cluster(silent.getsockname(), timeout=0.2)
        # Schedulers and configurations name peers as well.
        server._probe_scheduler.add_member(late.address)
        await until(lambda: server.status(late) == b"OK" and late.status(server) == b"OK")


async def test_a_peer_of_the_configuration_is_looked_for() -> None:
    async with started(Server()) as server, started(Server()) as other:
        await server.add_unconfirmed_peer(other.address, "manager")
        await until(lambda: server.status(other) == b"OK")


async def test_callbacks_that_raise_are_told_and_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "shoal.hyperscale")
    async with started(Server()) as one, started(Server()) as two:
        heard: list[Peer] = []

        def fails(peer: Peer) -> None:
            raise ValueError("the callback is broken")

        async def hears(peer: Peer) -> None:
            heard.append(peer)

        one._on_node_join_callbacks += [fails, hears]
        assert await two.join_cluster(one.address)
        await until(lambda: heard == [two.address])
        await until(lambda: bool(one.errors))
        assert one.errors[0][0] == "on_node_join_callback"
        assert str(one.errors[0][1]) == "the callback is broken"
        assert "on_node_join_callback" in caplog.text
        assert one.status(two) == b"OK"


async def test_lost_events_are_made_up_for() -> None:
    async with cluster("manager", "manager") as servers:
        one, two = servers
        strange = ("127.0.0.1", 9)
        states = one._incarnation_tracker.node_states
        del states[two.address]
        await one._incarnation_tracker.add_unconfirmed_node(strange)
        await plane(one)._take(shoal.Overflow(3))
        assert set(states) == {two.address}
        assert states[two.address].status == b"OK"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"_server_cert_path": "c", "_server_key_path": "k"}, "DTLS"),
        ({"udp_handlers": {b"receive": None, b"mine": None}}, "it handles mine"),
        ({"_udp_host": "localhost"}, "'localhost' is no IPv4 address"),
    ],
)
async def test_servers_that_keep_their_socket(
    change: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    vars(server).update(change)
    await server._start_udp_server()
    assert server._udp_transport == "its own"
    assert plane_of(server) is None
    assert reason in caplog.text
    assert await server.send_udp(("127.0.0.1", 9), "receive", b"probe>") == ("sent itself", 0)
    assert server._add_piggyback_safe(b"probe>") == b"probe>#|m"
    assert server._get_member_count() == 1
    assert not await server.join_cluster(("127.0.0.1", 9))


async def test_an_address_in_use_leaves_nothing_behind() -> None:
    async with started(Server()) as one:
        other = Server()
        other._udp_port = one.address[1]
        with pytest.raises(OSError, match="in use") as refused:
            await other._start_udp_server()
        assert refused.value.errno == errno.EADDRINUSE
        assert plane_of(other) is None
        assert DatagramPlane.active == 1


async def test_servers_leave_nothing_behind() -> None:
    async with cluster("manager", "manager"):
        pass
    await asyncio.sleep(0.05)
    before = open_descriptors(), thread_count(), len(asyncio.all_tasks())
    for _ in range(5):
        async with cluster("manager", "manager"):
            pass
    await asyncio.sleep(0.05)
    assert (open_descriptors(), thread_count(), len(asyncio.all_tasks())) == before


async def test_uninstall_waits_for_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    active = [_Installation()]
    monkeypatch.setattr("shoal.hyperscale._install._active", active)
    async with started(Server()):
        with pytest.raises(InstallError, match="1 servers run on the engine; stop them first"):
            uninstall()
        assert len(active) == 1
    uninstall()
    assert not active
