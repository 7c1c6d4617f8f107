"""What a running node costs a Python program: calls, events, an idle process.

    python python/benchmarks/bench_node.py

Prints one line per figure. Peers live in processes of their own, so that what is measured is a
program that waits, and not the interpreter lock.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import shoal

SECRET = b"the secret of the benchmark"

PEERS = """
import sys, shoal
seed, count = sys.argv[1], int(sys.argv[2])
thread = shoal.NodeThread()
nodes = [
    shoal.Node("127.0.0.1:0", secret=b"the secret of the benchmark", join=[seed], thread=thread)
    for _ in range(count)
]
for node in nodes:
    node.start()
print("ready", flush=True)
sys.stdin.read()
"""

CHURN = """
import sys, time, shoal
seed, count = sys.argv[1], int(sys.argv[2])
thread = shoal.NodeThread()
for _ in range(count):
    secret = b"the secret of the benchmark"
    node = shoal.Node("127.0.0.1:0", secret=secret, join=[seed], thread=thread).start()
    time.sleep(0.02)
    node.close()
"""

CLOCK = """
import os, struct, sys, time
for _ in range(int(sys.argv[1])):
    # Out of step with the events.
    time.sleep(0.017)
    os.write(1, struct.pack("q", time.monotonic_ns()))
sys.stdin.read()
"""

IDLE = """
import asyncio, sys, shoal
async def main():
    secret = b"the secret of the benchmark"
    async with shoal.Node("127.0.0.1:0", secret=secret, join=sys.argv[1:]) as node:
        async for event in node.events():
            if isinstance(event, shoal.Joined):
                print("ready", flush=True)
asyncio.run(main())
"""


def spawn(stack: ExitStack, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Another process; ended without a word when the stack is."""
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    return process


def read_line(process: subprocess.Popen[str]) -> None:
    """Waits until a process says something."""
    assert process.stdout is not None
    process.stdout.readline()


def cost_us(call: Callable[[], object], seconds: float = 0.2) -> float:
    """Microseconds per call: the best of five runs."""
    count = 1
    while True:
        before = time.perf_counter()
        for _ in range(count):
            call()
        if time.perf_counter() - before > seconds / 20:
            break
        count *= 2
    best = float("inf")
    for _ in range(5):
        before = time.perf_counter()
        for _ in range(count):
            call()
        best = min(best, (time.perf_counter() - before) / count)
    return best * 1e6


def call_costs(peers: int) -> dict[str, float]:
    """Microseconds per query in a cluster with so many peers."""
    with ExitStack() as stack:
        node = stack.enter_context(shoal.Node("127.0.0.1:0", secret=SECRET))
        read_line(spawn(stack, PEERS, node.address, str(peers)))
        deadline = time.monotonic() + 30
        while len(node.members()) <= peers and time.monotonic() < deadline:
            time.sleep(0.05)
        address = node.members()[-1].address
        calls: dict[str, Callable[[], object]] = {
            "rtt(address)": lambda: node.rtt(address),
            "member(address)": lambda: node.member(address),
            f"members() of {peers + 1}": node.members,
            "coordinate": lambda: node.coordinate,
            "stats()": node.stats,
            "metrics()": node.metrics,
        }
        return {name: cost_us(call) for name, call in calls.items()}


class Latencies(NamedTuple):
    """Microseconds, sorted."""

    events: list[float]
    """From the arrival of the datagram that brought an event to the line of the coroutine that
    waited for it: a wake-up of the node's thread, and one of the event loop."""
    bare: list[float]
    """From another process's write into a pipe to the line of the coroutine that waited for it:
    what this machine and this event loop take for one wake-up, without Shoal."""


def latencies(count: int, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Latencies:
    """So many events and bare wake-ups. They come by turns, so that what else the machine does at a
    time meets both."""

    async def observe() -> Latencies:
        found = Latencies([], [])
        with ExitStack() as stack:
            async with shoal.Node("127.0.0.1:0", secret=SECRET) as node:
                pipe = spawn(stack, CLOCK, str(10 * count)).stdout
                assert pipe is not None
                bare = asyncio.create_task(observe_bare(pipe.fileno(), found.bare))
                events = node.events()
                churn = spawn(stack, CHURN, node.address, str(count))
                while len(found.events) < count and churn.poll() is None:
                    event = await anext(events)
                    now = time.monotonic_ns()
                    if isinstance(event, shoal.MemberEvent) and event.state == "unconfirmed":
                        found.events.append((now - event.at_ns) / 1e3)
                bare.cancel()
                await asyncio.wait([bare])
        return Latencies(sorted(found.events), sorted(found.bare))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(observe())


async def observe_bare(pipe: int, found: list[float]) -> None:
    """Notes how late another process's clock comes through a pipe, until it is cancelled."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[bytes] = loop.create_future()
    loop.add_reader(pipe, lambda: arrived.set_result(os.read(pipe, 8)))
    try:
        while True:
            (written_ns,) = struct.unpack("q", await arrived)
            found.append((time.monotonic_ns() - written_ns) / 1e3)
            arrived = loop.create_future()
    finally:
        loop.remove_reader(pipe)


def idle_costs(seconds: float) -> tuple[float, float]:
    """Megabytes and per cent of a core of a process with a node in a cluster of five."""
    with ExitStack() as stack:
        node = stack.enter_context(shoal.Node("127.0.0.1:0", secret=SECRET))
        read_line(spawn(stack, PEERS, node.address, "3"))
        idle = spawn(stack, IDLE, node.address)
        read_line(idle)
        time.sleep(2)
        before = cpu_seconds(idle.pid)
        time.sleep(seconds)
        share = (cpu_seconds(idle.pid) - before) / seconds * 100
        with open(f"/proc/{idle.pid}/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines["VmRSS"].split()[0]) / 1024, share


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads so far, to the nanosecond."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as schedstat:
            total += int(schedstat.read().split()[0])
    return total / 1e9


def loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops that are installed."""
    found: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return found
    return {**found, "uvloop": uvloop.new_event_loop}


def main() -> None:
    """Prints all figures."""
    parser = argparse.ArgumentParser(description="Cost of a node to a Python program.")
    parser.add_argument("--events", type=int, default=300, help="events per loop (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20, help="idle time (%(default)s)")
    options = parser.parse_args()
    for peers in (4, 99):
        for name, cost in call_costs(peers).items():
            print(f"{name:<28} {cost:10.3f} us")
    for name, factory in loops().items():
        found = latencies(options.events, factory)
        for what, times in (("event", found.events), ("bare pipe", found.bare)):
            print(
                f"{what} to coroutine, {name:<8} {statistics.median(times):10.1f} us median, "
                f"{statistics.quantiles(times, n=100)[98]:.1f} us p99 of {len(times)}"
            )
        ratio = statistics.median(found.events) / statistics.median(found.bare)
        print(f"event over bare pipe, {name:<8} {ratio:10.2f} times")
    megabytes, share = idle_costs(options.seconds)
    print(f"idle process in a cluster of 5 {megabytes:8.1f} MB, {share:.3f} % of a core")


if __name__ == "__main__":
    main()
