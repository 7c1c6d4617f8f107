"""A node in a cluster, from asyncio programs and from plain ones."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

import pytest
import shoal
from cluster import (
    SECRET,
    count_alive,
    make_node,
    running_cluster,
    state_of,
    until,
    until_blocking,
)


async def test_nodes_find_each_other() -> None:
    async with running_cluster(3, role="gate", datacenter="east") as nodes:
        for node in nodes:
            own, *others = node.members()
            assert own.address == node.address == node.local_address
            assert own.rtt == shoal.Rtt(0.0, 0.0, 1.0)
            assert {member.address for member in others} == {
                other.address for other in nodes if other is not node
            }
            assert all(member.role is shoal.Role.GATE for member in others)
            assert all(member.datacenter == "east" for member in others)
            assert node.backend in ("uring", "poll")
            assert node.coordinate == node.members()[0].coordinate


async def test_round_trips_are_measured() -> None:
    async with running_cluster(2) as (one, two):
        await until(lambda: (rtt := one.rtt(two.address)) is not None and rtt.quality > 0.5)
        rtt = one.rtt(two.address)
        assert rtt is not None
        assert 0.0 < rtt.ms < 100.0
        assert rtt.ms <= rtt.upper_ms
        host, port = two.address.split(":")
        member = one.member((host, int(port)))
        assert member is not None
        assert member.rtt is not None
        assert one.rtt("192.0.2.1:7462") is None
        assert one.member("192.0.2.1:7462") is None


async def test_leaving_the_block_says_goodbye() -> None:
    async with running_cluster(2) as (one, _):
        async with make_node(join=[one.address]) as leaver:
            address = leaver.address
            await until(lambda: state_of(one, address) == "alive")
        assert not leaver.is_running
        await until(lambda: state_of(one, address) == "left")


async def test_an_exception_leaves_the_block_with_a_goodbye() -> None:
    async with running_cluster(1) as (one,):
        leaver = make_node(join=[one.address])

        async def fail_as_a_member() -> None:
            async with leaver:
                await until(lambda: state_of(one, leaver.address) == "alive")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail_as_a_member()
        await until(lambda: state_of(one, leaver.address) == "left")


async def test_a_closed_node_is_found_dead() -> None:
    async with running_cluster(2) as (one, two):
        address = two.address
        two.close()
        await until(lambda: state_of(one, address) == "dead")


def test_without_an_event_loop() -> None:
    with make_node() as one, make_node(join=[one.address]) as two:
        seen: list[shoal.Event] = []
        while len(seen) < 3:
            event = two.wait_event(timeout=10.0)
            assert event is not None
            seen.append(event)
        assert {type(event) for event in seen} == {shoal.MemberEvent, shoal.Joined}
        until_blocking(lambda: count_alive(one) == 2)
        before = time.monotonic()
        assert one.wait_event(timeout=0.0) is not None
        while one.wait_event(timeout=0.05) is not None:
            pass
        assert time.monotonic() - before < 10.0
    assert not one.is_running
    assert not two.is_running


def test_leaving_without_an_event_loop_keeps_events() -> None:
    with make_node() as one, make_node(join=[one.address]) as two:
        until_blocking(lambda: count_alive(one) == 2 and count_alive(two) == 2)
        two.leave_sync()
        two.leave_sync()
        events: list[shoal.Event] = []
        while (event := two.wait_event()) is not None:
            events.append(event)
        assert isinstance(events[0], shoal.MemberEvent)
        assert isinstance(events[-1], shoal.Left)
        until_blocking(lambda: state_of(one, two.address) == "left")


async def test_leaving_twice_is_leaving_once() -> None:
    async with running_cluster(2) as (one, two):
        await asyncio.gather(two.leave(), two.leave())
        await two.leave()
        assert two.members()[0].state is shoal.MemberState.LEFT
        with pytest.raises(shoal.CommandError, match="the node is leaving"):
            two.join([one.address])


async def test_a_cancelled_goodbye_goes_on() -> None:
    slow = shoal.Config(gossip_interval_ms=100)
    async with running_cluster(2, config=slow) as (one, two):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await two.leave()
        await two.leave()
        assert state_of(one, two.address) == "left"


def test_a_goodbye_may_take_too_long() -> None:
    slow = shoal.Config(gossip_interval_ms=60_000)
    with make_node() as one, make_node(join=[one.address], config=slow) as two:
        until_blocking(lambda: count_alive(one) == 2 and count_alive(two) == 2)
        with pytest.raises(shoal.LeaveTimeoutError, match=r"was not sent within 0\.1 s"):
            two.leave_sync(timeout=0.1)
        two.close()


async def test_a_block_ends_although_the_goodbye_takes_too_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shoal._node._LEAVE_TIMEOUT", 0.1)
    slow = shoal.Config(gossip_interval_ms=60_000)
    async with make_node() as one, make_node(join=[one.address], config=slow) as two:
        await until(lambda: count_alive(one) == 2 and count_alive(two) == 2)
    assert not two.is_running
    assert "was not sent within 0.1 s" in caplog.text


async def test_joining_later() -> None:
    async with make_node() as one, make_node() as two:
        two.join([one.address])
        await until(lambda: count_alive(one) == count_alive(two) == 2)


async def test_seeds_may_be_names() -> None:
    async with make_node() as one:
        port = one.address.split(":")[1]
        async with make_node(join=[f"localhost:{port}"]) as two:
            await until(lambda: count_alive(two) == 2)
        with make_node(join=[("localhost", int(port))]) as three:
            await until(lambda: count_alive(three) == 2)


async def test_a_node_is_not_its_own_seed() -> None:
    async with make_node() as one:
        free = one.address
    async with make_node(free, join=[free]) as node:
        await asyncio.sleep(0.3)
        assert [type(event) for event in node_events(node)] == []


def node_events(node: shoal.Node) -> Iterator[shoal.Event]:
    """Events that wait."""
    while (event := node.wait_event(0.0)) is not None:
        yield event


async def test_ipv6_and_dual_stack() -> None:
    async with make_node("[::]:0", advertise="127.0.0.1:0") as both:
        assert both.address.startswith("127.0.0.1:")
        async with (
            make_node("127.0.0.1:0", join=[both.address]) as four,
            make_node("[::1]:0", join=[both.address.replace("127.0.0.1", "[::1]")]) as six,
        ):
            assert six.address.startswith("[::1]:")
            await until(lambda: state_of(both, four.address) == "alive")
            await until(lambda: state_of(both, six.address) == "alive")


async def test_secrets_rotate_without_a_suspicion() -> None:
    new = b"another secret of the tests"
    async with running_cluster(3) as nodes:
        for secrets in ([SECRET, new], [new, SECRET], [new]):
            for node in nodes:
                node.set_secrets(secrets)
            await asyncio.sleep(0.3)
        async with make_node(secret=new, join=[nodes[0].address]):
            await until(lambda: all(count_alive(node) == 4 for node in nodes))
        assert all(node.stats()["suspicions_started"] == 0 for node in nodes)


async def test_state_spreads() -> None:
    async with running_cluster(2) as (one, two):
        events = two.events()
        assert one.state == b""
        assert two.state_of(one.address) is None
        for state in (b"first", bytes(5_000)):
            one.state = state
            assert one.state == state
            async with asyncio.timeout(20):
                async for event in events:
                    if isinstance(event, shoal.StateChanged):
                        assert (event.address, event.state) == (one.address, state)
                        break
            assert two.state_of(one.address) == state
        with pytest.raises(shoal.CommandError, match="16385 bytes, at most 16384 are allowed"):
            one.state = bytes(16_385)
        with pytest.raises(TypeError, match="expected bytes, not str"):
            one.state = "text"  # type: ignore[assignment]  # pyright: ignore
        assert two.state_of("192.0.2.1:1") is None
        assert one.state == bytes(5_000)


async def test_broadcasts_reach_everybody_once() -> None:
    async with running_cluster(3) as (one, *others):
        streams = [node.events() for node in others]
        one.broadcast(b"hello")
        for node, stream in zip(others, streams, strict=True):
            async with asyncio.timeout(20):
                async for event in stream:
                    if isinstance(event, shoal.Broadcast):
                        assert (event.source, event.payload) == (one.address, b"hello")
                        break
            assert node.stats()["broadcasts_refused"] == 0
        with pytest.raises(shoal.CommandError, match="1025 bytes, at most 1024 are allowed"):
            one.broadcast(bytes(1_025))
        with pytest.raises(TypeError, match="expected bytes, not int"):
            one.broadcast(5)  # type: ignore[arg-type]  # pyright: ignore


async def test_too_many_broadcasts_are_refused() -> None:
    slow = shoal.Config(gossip_interval_ms=60_000)
    async with make_node(config=slow) as one, make_node(join=[one.address], config=slow) as two:
        await until(lambda: count_alive(one) == count_alive(two) == 2)
        for _ in range(256):
            one.broadcast(b"again")
        with pytest.raises(shoal.CommandError, match="256 broadcasts are under way"):
            one.broadcast(b"one too many")
        two.close()
        one.close()


async def test_a_stranger_does_not_get_in() -> None:
    async with make_node() as one, make_node(secret=b"x" * 32, join=[one.address]) as stranger:
        async with asyncio.timeout(20):
            event = await anext(stranger.events())
        assert isinstance(event, shoal.JoinDelayed)
        assert one.stats()["dropped_unknown_key"] > 0
        assert len(one.members()) == 1


async def test_many_nodes_on_one_thread() -> None:
    with shoal.NodeThread() as thread:
        async with running_cluster(20, thread=thread) as nodes:
            assert {node.backend for node in nodes} == {thread.backend}
            assert thread.backend_refusal == nodes[0].backend_refusal
            thread.close()
            with pytest.raises(shoal.ClosedError, match="the node thread is closed"):
                make_node(thread=thread)
            # Closing lets the thread end with its nodes, not before.
            assert all(node.is_running for node in nodes)


async def test_many_nodes_on_threads_of_their_own() -> None:
    async with running_cluster(10) as nodes:
        streams = [node.events() for node in nodes]
        victim, *others = nodes
        address = victim.address
        victim.close()
        for stream in streams[1:]:
            async with asyncio.timeout(20):
                async for event in stream:
                    if isinstance(event, shoal.MemberEvent) and event.state == "dead":
                        assert event.address == address
                        break
        assert all(count_alive(node) == 9 for node in others)


def test_a_thread_has_the_backend_and_the_processor() -> None:
    with shoal.NodeThread(backend="poll", cpu=0) as thread:
        assert thread.backend == "poll"
        with pytest.raises(shoal.ConfigError, match="give them to NodeThread"):
            make_node(thread=thread, backend="poll")
        with pytest.raises(shoal.ConfigError, match="give them to NodeThread"):
            make_node(thread=thread, cpu=0)
    with pytest.raises(shoal.ConfigError, match="expected auto, uring or poll"):
        shoal.NodeThread(backend="epoll")
    with pytest.raises(shoal.StartError, match="cannot pin"):
        shoal.NodeThread(cpu=2**64 - 1)


async def test_counters_and_metrics() -> None:
    async with running_cluster(2) as (one, _):
        await until(lambda: one.stats()["probes_acked"] > 0)
        stats = one.stats()
        assert stats["datagrams_sent"] > 0
        text = one.metrics()
    assert text.endswith("# EOF\n")
    assert 'shoal_members{state="alive"} 2' in text
    assert "shoal_health_score 0" in text
    for name in stats:
        assert re.search(rf"^# TYPE shoal_{name} counter$", text, re.MULTILINE)
        assert re.search(rf"^shoal_{name}_total \d+$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    label = r'[a-z]+="[a-z0-9.+Inf]+"'
    sample = re.compile(rf"[a-z_]+(\{{{label}(,{label})*\}})? [0-9.e-]+")
    assert all(sample.fullmatch(line) for line in lines)


async def test_event_times_are_on_the_monotonic_clock() -> None:
    before = time.monotonic_ns()
    async with make_node() as one, make_node(join=[one.address]) as two:
        event = await anext(two.events())
        assert isinstance(event, shoal.MemberEvent)
        assert before <= event.at_ns <= time.monotonic_ns()
        assert abs(two.unix_ms(event.at_ns) / 1000 - time.time()) < 10.0


@contextmanager
def peer_process(seed: str, bind: str = "127.0.0.1:0") -> Generator[subprocess.Popen[str]]:
    """Another process in the cluster, killed at the end without a word."""
    command = [sys.executable, "-m", "shoal", "agent", "--join", seed, "--bind", bind]
    with ExitStack() as stack:
        environment = {**os.environ, "SHOAL_SECRET": SECRET.decode()}
        peer = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        )
        stack.callback(peer.kill)
        yield peer


def address_of(peer: subprocess.Popen[str]) -> str:
    """Where a peer runs, as it says itself in its first line."""
    assert peer.stdout is not None
    return peer.stdout.readline().split()[1]


async def test_a_killed_process_is_found_dead_and_its_restart_alive() -> None:
    async with running_cluster(2) as nodes:
        with peer_process(nodes[0].address) as peer:
            address = await asyncio.to_thread(address_of, peer)
            await until(lambda: all(state_of(node, address) == "alive" for node in nodes))
            events = nodes[1].events()
            os.kill(peer.pid, signal.SIGKILL)
            states: list[str] = []
            async with asyncio.timeout(20):
                async for event in events:
                    if isinstance(event, shoal.MemberEvent) and event.address == address:
                        states.append(event.state)
                        if event.state == "dead":
                            break
            assert states == ["unconfirmed", "alive", "suspect", "dead"]
        with peer_process(nodes[0].address, bind=address) as peer:
            await until(lambda: all(state_of(node, address) == "alive" for node in nodes))
            os.kill(peer.pid, signal.SIGTERM)
            await until(lambda: all(state_of(node, address) == "left" for node in nodes))
            assert await asyncio.to_thread(peer.wait) == 0
