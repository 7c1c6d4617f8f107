"""Iterators over events: several, slow, cancelled, and ended from every side."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import pytest
import shoal
import uvloop
from cluster import count_alive, make_node, open_descriptors, running_cluster, state_of, until
from shoal import _native
from shoal._events import EventBuffer


async def collect(stream: shoal.EventStream) -> list[shoal.Event]:
    """Everything until the end."""
    return [event async for event in stream]


GOODBYE = [shoal.MemberEvent, shoal.Left]
"""What a node tells when it leaves: its own new state, then that the goodbye is sent."""


async def test_the_first_iterator_gets_what_happened_before() -> None:
    async with make_node() as one, make_node(join=[one.address]) as two:
        await until(lambda: state_of(two, one.address) == "alive")
        await asyncio.sleep(0.1)
        first = two.events()
        for kind in (shoal.MemberEvent, shoal.MemberEvent, shoal.Joined):
            assert isinstance(await anext(first), kind)
        second = two.events()
        await two.leave()
        assert [type(event) for event in await collect(first)] == GOODBYE
        assert [type(event) for event in await collect(second)] == GOODBYE
        assert await collect(two.events()) == []


async def test_every_iterator_gets_every_event_in_order() -> None:
    async with running_cluster(1) as (one,):
        streams = [one.events() for _ in range(3)]
        async with make_node(join=[one.address]) as two:
            await until(lambda: state_of(one, two.address) == "alive")
        await until(lambda: state_of(one, two.address) == "left")
        await one.leave()
        first, *others = [await collect(stream) for stream in streams]
        states = [event.state for event in first if isinstance(event, shoal.MemberEvent)]
        assert states == ["unconfirmed", "alive", "left", "left"]
        assert all(other == first for other in others)


async def test_a_slow_iterator_loses_the_newest_and_is_told() -> None:
    async with running_cluster(1) as (one,):
        slow, quick = one.events(capacity=2), one.events()
        for _ in range(3):
            async with make_node(join=[one.address]) as two:
                await until(lambda: state_of(one, two.address) == "alive")
            await until(lambda: state_of(one, two.address) == "left")
        await one.leave()
        everything = await collect(quick)
        lost = len(everything) - 2
        assert lost >= 8
        assert await collect(slow) == [*everything[:2], shoal.Overflow(lost)]
        assert slow.lost == lost
        assert quick.lost == 0


def test_a_loss_is_told_where_it_happened() -> None:
    buffer = EventBuffer(2)
    for number in range(5):
        buffer.push(shoal.Left(number))
    assert buffer.pop() == shoal.Left(0)
    assert buffer.pop() == shoal.Left(1)
    buffer.push(shoal.Left(5))
    buffer.push(shoal.Overflow(10))
    buffer.push(shoal.Left(6))
    assert buffer.pop() == shoal.Overflow(3)
    assert buffer.pop() == shoal.Left(5)
    assert buffer.pop() == shoal.Overflow(11)
    assert not buffer
    assert buffer.lost == 14


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_node_that_nobody_reads_tells_how_much_was_lost() -> None:
    small = shoal.Config(event_capacity=16, join_interval_ms=50)
    with shoal.NodeThread() as thread:
        async with make_node(config=small) as one:
            # Each is heard of, answers, and is never heard of again: two events or more.
            for _ in range(200):
                with make_node(join=[one.address], thread=thread) as two:
                    await until(lambda: state_of(one, two.address) == "alive")
                    two.close()
            await until(lambda: one.stats()["dropped_events"] > 0)
            kept = 0
            async with asyncio.timeout(20):
                async for event in one.events():
                    if isinstance(event, shoal.Overflow):
                        assert event.lost > 0
                        break
                    kept += 1
            assert kept >= 16


async def test_cancelling_a_wait_loses_nothing() -> None:
    async with running_cluster(1) as (one,):
        reference, stream = one.events(), one.events()
        seen: list[shoal.Event] = []

        async def churn() -> None:
            for _ in range(3):
                async with make_node(join=[one.address]) as two:
                    await until(lambda: state_of(one, two.address) == "alive")
                await until(lambda: state_of(one, two.address) == "left")

        churning = asyncio.create_task(churn())
        cancelled = 0
        while not churning.done():
            try:
                async with asyncio.timeout(0.001):
                    seen.append(await anext(stream))
            except TimeoutError:
                cancelled += 1
        await churning
        await one.leave()
        seen += await collect(stream)
        assert cancelled > 10
        assert seen == await collect(reference)
        assert len(seen) == 9 + len(GOODBYE)


async def test_a_cancelled_task_ends_cleanly() -> None:
    async with running_cluster(1) as (one,):
        task = asyncio.create_task(collect(one.events()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert one.is_running


async def test_one_task_at_a_time_waits_on_an_iterator() -> None:
    async with running_cluster(1) as (one,):
        stream = one.events()
        waiting = asyncio.create_task(collect(stream))
        await asyncio.sleep(0.01)
        with pytest.raises(shoal.LifecycleError, match="another task waits"):
            await anext(stream)
        await one.leave()
        assert [type(event) for event in await waiting] == GOODBYE


async def test_closing_the_node_ends_its_iterators() -> None:
    async with running_cluster(1) as (one,):
        waiting = [asyncio.create_task(collect(one.events())) for _ in range(2)]
        await asyncio.sleep(0.01)
        one.close()
        async with asyncio.timeout(5):
            assert [await task for task in waiting] == [[], []]


async def test_closing_the_node_from_another_thread_ends_its_iterators() -> None:
    async with running_cluster(1) as (one,):
        waiting = asyncio.create_task(collect(one.events()))
        leaving = asyncio.create_task(one.leave())
        await asyncio.sleep(0)
        closer = threading.Thread(target=one.close)
        closer.start()
        async with asyncio.timeout(5):
            await waiting
            # Whichever was first.
            (outcome,) = await asyncio.gather(leaving, return_exceptions=True)
        assert outcome is None or "before it had said goodbye" in str(outcome)
        closer.join()


async def test_closing_an_iterator_leaves_the_others_alone() -> None:
    async with running_cluster(1) as (one,):
        async with aclosing(one.events()) as short:
            long = one.events()
        assert await collect(short) == []
        await one.leave()
        assert [type(event) for event in await collect(long)] == GOODBYE


async def test_nothing_is_lost_between_two_iterators() -> None:
    async with running_cluster(1) as (one,):
        one.events().close()
        async with make_node(join=[one.address]) as two:
            await until(lambda: state_of(one, two.address) == "alive")
        await until(lambda: state_of(one, two.address) == "left")
        stream = one.events()
        await one.leave()
        assert len(await collect(stream)) == 3 + len(GOODBYE)


async def test_a_forgotten_iterator_is_collected() -> None:
    async with running_cluster(1) as (one,):
        stream = one.events()
        gone = weakref.ref(stream)
        del stream
        gc.collect()
        assert gone() is None
        # Its reader takes no more events away from the next one.
        async with make_node(join=[one.address]) as two:
            await until(lambda: state_of(one, two.address) == "alive")
            event = await anext(one.events())
            assert isinstance(event, shoal.MemberEvent)


async def test_an_iterator_keeps_its_node() -> None:
    async with running_cluster(1) as (one,):
        stream = make_node(join=[one.address]).start().events()
        gc.collect()
        assert isinstance(await anext(stream), shoal.MemberEvent)
        stream._owner.close()  # type: ignore  # pyright: ignore


async def test_an_event_loop_and_blocking_calls_do_not_share() -> None:
    async with running_cluster(1) as (one,):
        stream = one.events()
        for call in (one.wait_event, one.leave_sync):
            with pytest.raises(shoal.LifecycleError, match="an event loop takes the events"):
                call()
        stream.close()
        assert one.wait_event(0.0) is None


class DeadThread:
    """A node whose thread has ended by a defect, as the hub sees it."""

    def __init__(self, native: _native.Node) -> None:
        self._native = native

    def __getattr__(self, name: str) -> object:
        return getattr(self._native, name)

    def poll_events(self, limit: int) -> list[shoal.Event]:
        """What the native node does when no event is left."""
        raise shoal.ClosedError("the node's thread has ended")


async def test_the_end_of_a_nodes_thread_is_no_silent_end_of_its_events() -> None:
    async with running_cluster(1) as (one,):
        hub: Any = one._hub  # pyright: ignore
        hub._native = DeadThread(one._native)  # pyright: ignore
        reading = asyncio.create_task(collect(one.events()))
        leaving = asyncio.create_task(one.leave())
        await asyncio.sleep(0)
        # The thread raises its signal as its last deed.
        os.write(hub._descriptor, (1).to_bytes(8, sys.byteorder))
        for task in (reading, leaving):
            with pytest.raises(shoal.ClosedError, match="thread has ended"):
                async with asyncio.timeout(20):
                    await task
        one.close()


def test_one_event_loop_at_a_time() -> None:
    with make_node() as one:

        async def other() -> None:
            with pytest.raises(shoal.LifecycleError, match="in another event loop"):
                one.events()
            with pytest.raises(shoal.LifecycleError, match="in another event loop"):
                await one.leave()

        async def main() -> None:
            stream = one.events()
            await asyncio.to_thread(asyncio.run, other())
            stream.close()

        asyncio.run(main())


@pytest.mark.parametrize("factory", ["asyncio", "uvloop"])
def test_the_loop_may_end_first(factory: str) -> None:
    new_loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[factory]
    before = open_descriptors()
    with make_node() as one:
        streams: list[shoal.EventStream] = []

        async def subscribe() -> None:
            streams.append(one.events())

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(subscribe())
        # The node goes on, and another loop may take over.
        with make_node(join=[one.address]) as two:

            async def read() -> shoal.Event:
                with pytest.raises(shoal.LifecycleError, match="another event loop"):
                    await anext(streams[0])
                return await anext(one.events())

            with asyncio.Runner(loop_factory=new_loop) as runner:
                assert isinstance(runner.run(read()), shoal.MemberEvent)
            assert two.is_running
    gc.collect()
    assert open_descriptors() == before


def test_a_loop_that_ends_before_a_close_from_elsewhere_reaches_it() -> None:
    before = open_descriptors()

    async def close_from_elsewhere() -> None:
        one = make_node().start()
        _ = one.events()
        with ThreadPoolExecutor() as executor:
            executor.submit(one.close).result()
        # The message of that thread waits in the loop, which will not come round again.
        asyncio.get_running_loop().stop()
        await asyncio.sleep(1)

    loop = asyncio.new_event_loop()
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(close_from_elsewhere())
    loop.close()
    gc.collect()
    assert open_descriptors() == before


@pytest.mark.parametrize("factory", ["asyncio", "uvloop"])
def test_the_loop_may_end_under_waiting_tasks(factory: str) -> None:
    loop = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[factory]()
    slow = shoal.Config(gossip_interval_ms=60_000)
    with make_node() as one, make_node(join=[one.address], config=slow) as two:
        tasks: list[asyncio.Task[object]] = []

        async def wait_and_leave() -> None:
            await until(lambda: count_alive(one) == count_alive(two) == 2)
            tasks.append(loop.create_task(collect(two.events())))
            tasks.append(loop.create_task(two.leave()))
            await asyncio.sleep(0.01)

        loop.run_until_complete(wait_and_leave())
        loop.close()
        assert not any(task.done() for task in tasks)
        two.close()
        assert not two.is_running
    for task in tasks:
        # The loop did not cancel them; what it says about that is its own affair.
        task._log_destroy_pending = False  # type: ignore  # pyright: ignore
