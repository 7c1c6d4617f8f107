"""Nodes that end in every possible way: never a crash, a hang, a leak or a silent loss."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from types import FrameType

import pytest
import shoal
from cluster import make_node, open_descriptors, running_cluster, thread_count, until

CYCLES = int(os.environ.get("SHOAL_OPEN_CLOSE_CYCLES", "1000"))
"""How many nodes are opened and closed in the search for leaks."""


def run_script(script: str, seconds: float = 30.0) -> str:
    """Runs a program in a process of its own and returns what it printed."""
    prelude = "import asyncio, gc, os, signal, sys\nimport shoal\nfrom cluster import *\n"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", prelude + textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.path.dirname(__file__)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_a_started_node_may_be_entered() -> None:
    with make_node().start() as node:
        assert node.is_running
        with pytest.raises(shoal.LifecycleError, match="started already"):
            node.start()
    assert not node.is_running


def test_a_forgotten_node_warns_and_stops() -> None:
    threads = thread_count()
    node = make_node().start()
    address = node.address
    with pytest.warns(ResourceWarning, match=f"unclosed <shoal.Node {address}>"):
        del node
    assert thread_count() == threads
    # Its address is free.
    with make_node(address):
        pass


def test_a_node_is_not_copied() -> None:
    with make_node() as node:
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            pickle.dumps(node)
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            copy.copy(node)


def test_a_node_thread_ends_with_its_nodes() -> None:
    threads = thread_count()
    thread = shoal.NodeThread()
    assert thread_count() == threads + 1
    node = make_node(thread=thread).start()
    thread.close()
    thread.close()
    del thread
    assert thread_count() == threads + 1
    node.close()
    del node
    assert thread_count() == threads
    with shoal.NodeThread() as thread:
        thread.close()
        with pytest.raises(shoal.ClosedError, match="the node thread is closed"):
            _ = thread.backend


def test_closing_wakes_a_blocked_thread() -> None:
    node = make_node().start()
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            node.wait_event()
        except shoal.ClosedError as error:
            outcome.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.05)
    before = time.monotonic()
    node.close()
    waiter.join(timeout=5)
    assert len(outcome) == 1
    assert time.monotonic() - before < 2.0


def test_signals_are_handled_while_a_thread_waits() -> None:
    class InterruptError(Exception):
        """What the handler raises."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise InterruptError

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        with make_node() as node:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(InterruptError):
                node.wait_event(30.0)
            assert node.is_running
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_waiting_leaves_the_interpreter_to_others() -> None:
    with make_node() as node:
        waiter = threading.Thread(target=node.wait_event, args=(0.3,))
        waiter.start()
        turns = 0
        while waiter.is_alive():
            turns += 1
            time.sleep(0.001)
        assert turns > 50


async def test_many_threads_read_while_the_node_is_closed() -> None:
    async with running_cluster(2) as (one, two):
        address = two.address
        problems: list[BaseException] = []
        reads = [0] * 4

        def read(index: int) -> None:
            calls: list[Callable[[], object]] = [
                one.members,
                one.stats,
                one.metrics,
                lambda: one.rtt(address),
                lambda: one.coordinate,
            ]
            try:
                while True:
                    calls[reads[index] % len(calls)]()
                    reads[index] += 1
            except shoal.ClosedError:
                pass
            except BaseException as error:
                problems.append(error)

        readers = [threading.Thread(target=read, args=(index,)) for index in range(4)]
        for reader in readers:
            reader.start()
        await until(lambda: min(reads) > 100)
        closers = [threading.Thread(target=one.close) for _ in range(2)]
        for thread in closers:
            thread.start()
        for thread in closers + readers:
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()
        assert problems == []


FORKED = """
    import contextlib

    def child(node, thread):
        calls = [
            node.members, node.stats, node.metrics, node.leave_sync, node.wait_event, node.events,
            node.start, lambda: node.rtt("127.0.0.1:1"), lambda: node.join(["127.0.0.1:1"]),
            lambda: node.coordinate, lambda: node.set_secrets(SECRET), lambda: thread.backend,
            lambda: make_node(thread=thread), lambda: asyncio.run(node.leave()),
        ]
        for number, call in enumerate(calls):
            try:
                call()
            except shoal.ForkedError:
                continue
            print("call", number, "did not notice the fork", flush=True)
            os._exit(1)
        assert not node.is_running
        assert "parent process" in repr(node)
        node.close()
        thread.close()
        with contextlib.ExitStack() as stack:
            stack.push(node.__exit__)
        # A node of its own works.
        with make_node() as own:
            assert len(own.members()) == 1
        print("child done", flush=True)
"""


def test_a_forked_child_is_told_and_the_parent_goes_on() -> None:
    script = (
        FORKED
        + """
    thread = shoal.NodeThread()
    node, other = make_node().start(), make_node(thread=thread).start()
    pid = os.fork()
    if pid == 0:
        child(node, thread)
        del node, other, thread
        gc.collect()
        sys.exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    with make_node(join=[node.address, other.address]) as two:
        until_blocking(lambda: count_alive(two) == count_alive(node) == 3)
    node.close(), other.close(), thread.close()
    print("parent done")
    """
    )
    assert run_script(script).split("\n")[:2] == ["child done", "parent done"]


def test_a_fork_under_an_event_loop_leaves_the_parents_loop_alone() -> None:
    script = (
        FORKED
        + """
    async def main():
        thread = shoal.NodeThread()
        async with make_node() as node:
            stream = node.events()
            pid = os.fork()
            if pid == 0:
                child(node, thread)
                stream.close()
                del stream, node
                gc.collect()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            async with make_node(join=[node.address]):
                async with asyncio.timeout(10):
                    print(type(await anext(stream)).__name__)
        thread.close()
    asyncio.run(main())
    """
    )
    assert run_script(script).split("\n")[:2] == ["child done", "MemberEvent"]


@pytest.mark.parametrize(
    "script",
    [
        "node = make_node().start()",
        "node = make_node().start(); sys.exit()",
        "thread = shoal.NodeThread(); nodes = [make_node(thread=thread).start() for _ in range(3)]",
        """
        async def main():
            global node, stream
            node = make_node().start()
            stream = node.events()
        asyncio.run(main())
        """,
        """
        async def main():
            node = make_node().start()
            asyncio.create_task(anext(node.events()))
            await asyncio.sleep(0.01)
            raise KeyboardInterrupt
        try:
            asyncio.run(main())
        except KeyboardInterrupt:
            pass
        """,
        """
        import threading
        node = make_node().start()
        threading.Thread(target=node.wait_event, daemon=True).start()
        """,
    ],
)
def test_the_interpreter_ends_with_nodes_running(script: str) -> None:
    before = time.monotonic()
    assert "Traceback" not in run_script(script)
    assert time.monotonic() - before < 15.0


def test_an_interrupt_leaves_the_cluster() -> None:
    # A background job of a shell starts with the interrupt ignored.
    script = """
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def main():
        async with make_node() as one, make_node(join=[one.address]) as two:
            await until(lambda: count_alive(one) == 2)
            os.kill(os.getpid(), signal.SIGINT)
            try:
                async for event in two.events():
                    pass
            finally:
                print("leaving")
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("interrupted")
    """
    assert run_script(script) == "leaving\ninterrupted\n"


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def open_and_close(count: int) -> None:
    """Opens and closes nodes in all the ways there are."""
    with shoal.NodeThread() as thread:
        for number in range(count):
            if number % 4 == 0:
                with make_node() as node:
                    node.members()
            elif number % 4 == 1:
                make_node(thread=thread).start().close()
            elif number % 4 == 2:
                asyncio.run(iterate_and_leave())
            else:
                node = make_node("192.0.2.1:0")
                with pytest.raises(shoal.StartError):
                    node.start()


async def iterate_and_leave() -> None:
    """A node in an event loop of its own, with an iterator and a cancelled wait."""
    async with make_node() as node:
        stream = node.events()
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()


@pytest.mark.timeout(60 + CYCLES // 10)
def test_opening_and_closing_leaks_nothing() -> None:
    open_and_close(200)
    gc.collect()
    threads, descriptors, memory = thread_count(), open_descriptors(), resident_bytes()
    open_and_close(CYCLES)
    gc.collect()
    assert thread_count() == threads
    assert open_descriptors() == descriptors
    growth = resident_bytes() - memory
    # What the allocators keep does not grow with the count; a leaked node would be 10 kB and more.
    assert growth < 4 << 20, f"{growth} bytes after {CYCLES} nodes"
