"""How events travel from a node to the coroutines that wait for them.

The node thread keeps events in a queue of its own and makes a file descriptor readable when one
waits. `EventHub` watches that descriptor in one event loop, takes everything that waits in one go
and gives each iterator its copy. It works with every loop that has `add_reader`, such as those of
asyncio and uvloop.

Nothing is taken from the node while nobody iterates, so events from before the first iterator are
not lost; they are bounded by `Config.event_capacity` there. Each iterator keeps at most `capacity`
events. One that is too slow loses the newest and finds an `Overflow` in their place; the others are
not affected.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import TypeAlias

from shoal import _native
from shoal._errors import ClosedError, ConfigError, LifecycleError
from shoal._native import (
    Broadcast,
    HyperscaleHealth,
    HyperscaleMessage,
    HyperscaleWorker,
    JobGlobalTimeout,
    JobMemberDead,
    JobStatusCorrection,
    JobStuck,
    JobSuperseded,
    JobTimedOut,
    JoinDelayed,
    Joined,
    LeaderElected,
    LeaderLost,
    Left,
    MemberEvent,
    OtherEvent,
    Overflow,
    ReachabilityChanged,
    Refuted,
    Stalled,
    StateChanged,
    SteppedDown,
    WorkerOverdue,
)

JobEvent: TypeAlias = (
    JobTimedOut
    | JobStuck
    | JobSuperseded
    | WorkerOverdue
    | JobGlobalTimeout
    | JobStatusCorrection
    | OtherEvent
)
"""What happens to jobs."""
Event: TypeAlias = (
    MemberEvent
    | StateChanged
    | Broadcast
    | Joined
    | JoinDelayed
    | Refuted
    | Stalled
    | Left
    | Overflow
    | JobMemberDead
    | LeaderElected
    | LeaderLost
    | SteppedDown
    | ReachabilityChanged
    | HyperscaleMessage
    | HyperscaleHealth
    | HyperscaleWorker
    | JobEvent
)
"""Everything that a node tells."""

_BATCH = 256
"""Events taken in one go. The loop comes back for more after its other work."""
_PENDING_CAPACITY = 4_096
"""Events kept for the first iterator when a blocking call had to take them."""
_CAPACITY_MAX = 1_048_576


class EventBuffer:
    """At most `capacity` events. When full the newest are lost, an `Overflow` takes their place."""

    __slots__ = ("_capacity", "_events", "_lost_here", "lost")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._lost_here = 0
        self.lost = 0
        """How many were lost so far."""

    def __bool__(self) -> bool:
        return bool(self._events) or self._lost_here > 0

    def extend(self, events: Sequence[Event]) -> None:
        """Takes events, or counts as lost what does not fit."""
        if not self._lost_here and len(self._events) + len(events) <= self._capacity:
            self._events.extend(events)
            return
        for event in events:
            self.push(event)

    def push(self, event: Event) -> None:
        """Takes an event, or counts it as lost."""
        if len(self._events) < self._capacity:
            self._tell_loss()
            self._events.append(event)
            return
        lost = event.lost if isinstance(event, Overflow) else 1
        self._lost_here += lost
        self.lost += lost

    def pop(self) -> Event:
        """The oldest event. There must be one."""
        if not self._events:
            self._tell_loss()
        return self._events.popleft()

    def _tell_loss(self) -> None:
        if self._lost_here:
            self._events.append(Overflow(self._lost_here))
            self._lost_here = 0


class EventStream(AsyncIterator[Event]):
    """The events of one node from now on. Made by `Node.events()`; ends after `Left` or `close()`.

    Belongs to the event loop it was made in. One task at a time may wait on it; several tasks each
    call `Node.events()`. Being cancelled while waiting loses nothing: an event leaves the buffer
    only when it is returned.
    """

    __slots__ = ("__weakref__", "_buffer", "_ended", "_error", "_hub", "_loop", "_owner", "_waiter")

    def __init__(
        self, hub: EventHub, owner: object, loop: asyncio.AbstractEventLoop, capacity: int
    ) -> None:
        self._hub = hub
        # A node that is iterated is in use: it must not be collected under its iterator.
        self._owner = owner
        self._loop = loop
        self._buffer = EventBuffer(capacity)
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False
        self._error: LifecycleError | None = None

    @property
    def lost(self) -> int:
        """How many events this iterator lost because it was slow."""
        return self._buffer.lost

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        while not self._buffer:
            if self._ended:
                raise self._error or StopAsyncIteration
            self._check_wait()
            self._waiter = self._loop.create_future()
            # The loop knows a waiting task only through its future: somebody must hold on to it.
            self._hub.waiting.add(self)
            try:
                await self._waiter
            finally:
                self._waiter = None
                self._hub.waiting.discard(self)
        return self._buffer.pop()

    def _check_wait(self) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise LifecycleError("the iterator belongs to another event loop; call events() again")
        if self._waiter is not None:
            raise LifecycleError("another task waits on this iterator; call events() for each task")
        self._hub.check_process()

    def close(self) -> None:
        """Ends the iterator. What is in its buffer can still be read."""
        self.end()
        self._hub.unsubscribe(self)

    async def aclose(self) -> None:
        """As `close`, for `contextlib.aclosing`."""
        self.close()

    def take(self, events: Sequence[Event]) -> None:
        """Takes its copy of new events. Called in its loop, which therefore is open."""
        self._buffer.extend(events)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def end(self, error: LifecycleError | None = None) -> None:
        """Nothing will follow, and why where that is a defect."""
        self._ended, self._error = True, error
        if self._waiter is not None and _is_awaited(self._waiter):
            self._waiter.set_result(None)


class EventHub:
    """Takes a node's events and gives them to its iterators.

    Its methods are called from the thread of the loop it is attached to, but for `close`, which any
    thread may call.
    """

    def __init__(self, native: _native.Node) -> None:
        self.waiting: set[EventStream] = set()
        """Iterators on which a task waits."""
        self._native = native
        self._pending = EventBuffer(_PENDING_CAPACITY)
        self._streams: list[weakref.ref[EventStream]] = []
        self._left_waiters: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._descriptor = -1

    def check_process(self) -> None:
        """Raises `ForkedError` in a forked child."""
        self._native.check_process()

    def subscribe(self, owner: object, capacity: int) -> EventStream:
        """A new iterator for the running loop. The first one gets what waits already."""
        _check_capacity(capacity)
        loop = asyncio.get_running_loop()
        stream = EventStream(self, owner, loop, capacity)
        if not self._native.has_left:
            self._attach(loop)
        is_first = not self._live_streams()
        self._streams.append(weakref.ref(stream))
        while is_first and self._pending:
            stream.take([self._pending.pop()])
        if self._native.has_left:
            stream.end()
        return stream

    def unsubscribe(self, stream: EventStream) -> None:
        """Forgets an iterator."""
        self._streams = [known for known in self._streams if known() is not stream]
        self._rest()

    def next_left(self) -> asyncio.Future[None]:
        """Done when the goodbye has been said. Give it back to `forget_left`."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        if self._native.has_left:
            waiter.set_result(None)
        else:
            self._attach(loop)
            self._left_waiters.add(waiter)
        return waiter

    def forget_left(self, waiter: asyncio.Future[None]) -> None:
        """Gives up waiting for the goodbye."""
        self._left_waiters.discard(waiter)
        self._rest()

    def take_blocking(self, timeout: float | None) -> Event | None:
        """The next event for a thread without an event loop."""
        self.check_unattached()
        if self._pending:
            return self._pending.pop()
        return None if self._native.has_left else self._native.wait_event(timeout)

    def put_back(self, events: Sequence[Event]) -> None:
        """Keeps what a blocking call took but was not about, for whoever asks next."""
        self._pending.extend(events)

    def check_unattached(self) -> None:
        """Refuses to take events from under an event loop, or from a node that does not run."""
        self._native.check_running()
        if self._loop is not None and not self._loop.is_closed():
            raise LifecycleError("an event loop takes the events; use events() and await leave()")

    def close(self) -> None:
        """Ends all iterators. Called after the node was closed, from any thread."""
        loop = self._loop
        is_elsewhere = loop is not None and loop.is_running() and loop is not _running_loop()
        if loop is None or not is_elsewhere or self._native.is_foreign:
            self._finish()
            return
        try:
            loop.call_soon_threadsafe(self._finish)
        except RuntimeError:
            # The loop was closed since it was looked at.
            self._finish()

    def __del__(self) -> None:
        # A loop that ended before it came to `_finish` has let go of the descriptor by itself.
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _finish(self, error: LifecycleError | None = None) -> None:
        self._detach()
        for stream in self._live_streams():
            stream.end(error)
        for waiter in filter(_is_awaited, self._left_waiters):
            waiter.set_exception(
                error or ClosedError("the node was closed before it had said goodbye")
            )

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._native.check_running()
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise LifecycleError("events of this node are read in another event loop")
        self._detach()
        # A descriptor of its own stays valid until the loop lets go of it, whoever closes the node.
        descriptor = os.dup(self._native.event_fd())
        try:
            loop.add_reader(descriptor, self._drain)
        except BaseException:
            os.close(descriptor)
            raise
        self._loop, self._descriptor = loop, descriptor

    def _detach(self) -> None:
        loop, descriptor = self._loop, self._descriptor
        self._loop, self._descriptor = None, -1
        if loop is None:
            return
        # The selector of a forked child is its parent's: what it forgets, the parent forgets.
        if not loop.is_closed() and not self._native.is_foreign:
            loop.remove_reader(descriptor)
        os.close(descriptor)

    def _rest(self) -> None:
        """Lets go of the loop when nobody listens: events wait in the node then."""
        if not self._left_waiters and not self._live_streams():
            self._detach()

    def _live_streams(self) -> list[EventStream]:
        """The iterators that somebody still has."""
        streams = [stream for known in self._streams if (stream := known()) is not None]
        if len(streams) < len(self._streams):
            self._streams = [weakref.ref(stream) for stream in streams]
        return streams

    def _drain(self) -> None:
        try:
            events = self._native.poll_events(_BATCH)
        except LifecycleError as error:
            # Closed by another thread, which is an end, or stopped by a defect, which is none.
            self._finish(error if self._native.is_open else None)
            return
        # The waiting task goes on only when this has ended, and after a sleep every line is slow.
        is_taken = False
        for known in self._streams:
            if (stream := known()) is not None:
                stream.take(events)
                is_taken = True
        if not is_taken:
            self._pending.extend(events)
            self._rest()
        if self._native.has_left:
            self._end()

    def _end(self) -> None:
        """The node said goodbye: nothing follows."""
        self._detach()
        for stream in self._live_streams():
            stream.end()
        for waiter in filter(_is_awaited, self._left_waiters):
            waiter.set_result(None)


def _is_awaited(waiter: asyncio.Future[None]) -> bool:
    """Whether there is still a task to wake: a loop that was closed under its tasks has none."""
    return not waiter.done() and not waiter.get_loop().is_closed()


def _check_capacity(capacity: object) -> None:
    if not isinstance(capacity, int):
        raise TypeError(f"capacity is an int, not {type(capacity).__name__}")
    if not 1 <= capacity <= _CAPACITY_MAX:
        raise ConfigError(f"capacity is {capacity}, expected 1 to {_CAPACITY_MAX}")


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
