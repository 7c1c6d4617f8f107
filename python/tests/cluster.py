"""Small clusters on the loopback interface: the vocabulary of the tests."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import shoal

SECRET = b"the secret of the tests"
FAST = shoal.Config(
    probe_interval_ms=100,
    probe_timeout_min_ms=50,
    probe_timeout_unknown_ms=100,
    gossip_interval_ms=20,
    join_interval_ms=50,
)
PATIENCE = 20.0
"""Seconds until a test gives up. Nothing takes nearly as long unless the machine is overloaded."""


def make_node(bind: shoal.Address = "127.0.0.1:0", **options: Any) -> shoal.Node:
    """A node that finds things out quickly."""
    options.setdefault("secret", SECRET)
    options.setdefault("config", FAST)
    return shoal.Node(bind, **options)


@asynccontextmanager
async def running_cluster(count: int, **options: Any) -> AsyncGenerator[list[shoal.Node]]:
    """So many nodes that all see each other alive."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(make_node(**options))
        nodes = [first]
        for _ in range(count - 1):
            node = make_node(join=[first.address], **options)
            nodes.append(await stack.enter_async_context(node))
        await until(lambda: all(count_alive(node) == count for node in nodes))
        yield nodes


def count_alive(node: shoal.Node) -> int:
    """Members that a node sees alive, itself included."""
    return sum(member.state == "alive" for member in node.members())


def state_of(observer: shoal.Node, address: str) -> shoal.MemberState | None:
    """What a node thinks of an address."""
    member = observer.member(address)
    return member.state if member else None


async def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def until_blocking(condition: Callable[[], bool]) -> None:
    """Waits for a condition, without an event loop."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def open_descriptors() -> int:
    """How many file descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def thread_count() -> int:
    """How many threads this process has, native ones included.

    The kernel lists a thread for a moment after it has been joined."""
    time.sleep(0.05)
    return len(os.listdir("/proc/self/task"))
