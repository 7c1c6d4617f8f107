"""A running node, for asyncio programs and for plain ones."""

from __future__ import annotations

import asyncio
import logging
import time
import warnings
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Literal, NoReturn, Self, TypeAlias

from shoal import _native
from shoal._addresses import Address, look_up, look_up_async, split_seeds
from shoal._config import Config
from shoal._enums import JobOutcome, Role
from shoal._errors import LeaveTimeoutError, LifecycleError
from shoal._events import Event, EventHub, EventStream
from shoal._ids import Datacenters, JobName, WorkerName
from shoal._native import (
    Coordinate,
    DatacenterView,
    ExtensionDenial,
    ExtensionGrant,
    HyperscaleTracker,
    JobSnapshot,
    Leadership,
    Member,
    NodeThread,
    RoutingDecision,
    Rtt,
    WorkflowCounts,
)

Secret: TypeAlias = bytes | Sequence[bytes]
"""16 to 256 bytes that all nodes share, or up to four of them: the first seals, all open."""

_LOGGER = logging.getLogger("shoal")
_LEAVE_TIMEOUT = 5.0
"""Seconds that the end of a block waits for the goodbye. It takes a few gossip intervals."""


class Node:
    """One member of a cluster, on a thread of its own.

        async with shoal.Node("10.0.0.1:7462", secret=secret, join=["10.0.0.2:7462"]) as node:
            async for event in node.events():
                ...

    The constructor checks everything it is given and does nothing else. The node runs from the
    start of the `async with` block, of a plain `with` block, or from `start()`. Leaving the block
    says goodbye to the peers, who then see it `left`, and closes it; `close()` alone stops it
    without a word, and they will find it `dead`.

    Queries never wait for the engine and may be called from any thread. Events belong to one event
    loop at a time, or to `wait_event()` in a program without one.
    """

    def __init__(
        self,
        bind: Address,
        *,
        secret: Secret,
        role: str = Role.MANAGER,
        datacenter: str = "default",
        join: Iterable[Address] = (),
        config: Config | None = None,
        advertise: Address | None = None,
        backend: str = "auto",
        cpu: int | None = None,
        seed: int | None = None,
        thread: NodeThread | None = None,
    ) -> None:
        """Prepares a node.

        bind: the address of its UDP socket; port 0 takes a free one, "[::]:7462" serves both IPv6
            and IPv4.
        secret: what all nodes of the cluster share; see `set_secrets` about changing it.
        role: a `Role` or its name, told to its peers.
        datacenter: where it runs, told to its peers; 1 to 31 of the characters A-Z a-z 0-9 - _ .
        join: members to join through, as addresses or names. None make a cluster of one.
        config: everything else about its behaviour.
        advertise: the address that peers send to, where it is not the one bound (NAT, containers);
            port 0 means the bound port.
        backend: "uring", "poll", or "auto", which takes io_uring where the system allows it.
        cpu: the processor to stay on.
        seed: makes its random choices repeatable.
        thread: a `NodeThread` to share with other nodes instead of a thread of its own.
        """
        self._join = split_seeds(join)
        self._native = _native.Node(
            bind, secret, role, datacenter, config, advertise, backend, cpu, seed, thread
        )
        self._hub = EventHub(self._native)
        self._leaving = False

    # Life

    def start(self) -> Self:
        """Starts the node and returns it. Waits for the resolver if a seed is a name.

        Raises `StartError` when the system refuses, for example because the address is in use: then
        nothing is left behind, and it can be tried again.
        """
        self._start(look_up(self._join))
        return self

    def _start(self, seeds: list[tuple[str, int]]) -> None:
        self._native.start(seeds)
        refusal = self._native.backend_refusal
        if refusal is not None:
            _LOGGER.info("io_uring is refused, the poll backend is used: %s", refusal)

    def close(self) -> None:
        """Stops the node without a goodbye. Its address is free afterwards, its iterators end.

        Any thread may call it, any number of times. A closed node cannot be started again.
        """
        self._native.close()
        self._hub.close()

    @property
    def is_running(self) -> bool:
        """Whether the node is started, not closed, and its thread lives."""
        return self._native.is_running

    async def leave(self) -> None:
        """Says goodbye to the peers and waits until it is said: a few gossip intervals.

        The node stays readable until it is closed. Being cancelled does not take the goodbye back;
        calling `leave()` again waits for the same one.
        """
        waiter = self._hub.next_left()
        try:
            self._say_goodbye()
            await waiter
        finally:
            self._hub.forget_left(waiter)

    def leave_sync(self, *, timeout: float | None = _LEAVE_TIMEOUT) -> None:
        """As `leave`, for programs without an event loop.

        Raises `LeaveTimeoutError` when it takes longer than `timeout` seconds.
        """
        self._hub.check_unattached()
        self._say_goodbye()
        deadline = None if timeout is None else time.monotonic() + timeout
        taken: list[Event] = []
        try:
            while not self._native.has_left:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                event = self._hub.take_blocking(left)
                if event is None:
                    raise _leave_timeout(self, timeout)
                taken.append(event)
        finally:
            self._hub.put_back(taken)

    def _say_goodbye(self) -> None:
        if not self._leaving:
            self._native.leave()
            self._leaving = True

    async def __aenter__(self) -> Self:
        if not self._native.is_open:
            self._start(await look_up_async(self._join))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._native.is_open:
                async with asyncio.timeout(_LEAVE_TIMEOUT):
                    await self.leave()
        except TimeoutError:
            _LOGGER.warning("%s", _leave_timeout(self, _LEAVE_TIMEOUT))
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self if self._native.is_open else self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._native.is_open:
                self.leave_sync()
        except LeaveTimeoutError as timeout:
            _LOGGER.warning("%s", timeout)
        finally:
            self.close()

    def __del__(self) -> None:
        # A node whose arguments were refused has nothing to close.
        native = getattr(self, "_native", None)
        if native is None or not native.is_open:
            return
        message = f"unclosed {self!r}; use `async with`, `with` or close()"
        try:
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
        finally:
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a node cannot be copied or pickled; send its address instead")

    def __repr__(self) -> str:
        try:
            address = self.address
        except LifecycleError:
            return "<shoal.Node, not started>"
        if self._native.is_foreign:
            return f"<shoal.Node {address} of the parent process>"
        return (
            f"<shoal.Node {address}>" if self._native.is_open else f"<shoal.Node {address}, closed>"
        )

    # What it knows

    @property
    def address(self) -> str:
        """The address that peers send to, `"ip:port"`. Known since the start, also when closed."""
        return self._native.address

    @property
    def local_address(self) -> str:
        """The address of the socket."""
        return self._native.local_address

    @property
    def backend(self) -> Literal["uring", "poll"]:
        """How it reads and writes datagrams."""
        return self._native.backend

    @property
    def backend_refusal(self) -> str | None:
        """Why io_uring is not used although it was not ruled out, and how to fix that."""
        return self._native.backend_refusal

    @property
    def coordinate(self) -> Coordinate:
        """Where the node is in the latency space."""
        return self._native.coordinate

    def members(self) -> list[Member]:
        """Every member that this node knows, itself first."""
        return self._native.members()

    def member(self, address: Address) -> Member | None:
        """The member at this address; `None` when it is unknown."""
        return self._native.member(address)

    def rtt(self, address: Address) -> Rtt | None:
        """What is known about the round trip to the member at this address."""
        return self._native.rtt(address)

    def stats(self) -> dict[str, int]:
        """What the node has counted so far, by name."""
        return self._native.stats()

    def metrics(self) -> str:
        """Counters and gauges as OpenMetrics text, media type `application/openmetrics-text`."""
        return self._native.metrics()

    def unix_ms(self, at_ns: int) -> int:
        """An event's `at_ns` as wall clock time, in milliseconds since 1970."""
        return self._native.unix_ms(at_ns)

    @property
    def state(self) -> bytes:
        """What this node attaches to itself: every member comes to hold it (`StateChanged` there).

        At most `Config.state_size_max` bytes; empty at first. Setting it waits well under a
        millisecond for the engine.
        """
        return self._native.own_state

    @state.setter
    def state(self, state: bytes | bytearray) -> None:
        self._native.set_state(state)

    def state_of(self, address: Address) -> bytes | None:
        """The state of the member at this address; `None` when none has come here."""
        return self._native.state(address)

    def mirror_into(self, tracker: HyperscaleTracker) -> int:
        """Puts where this node and its living peers are into a tracker of `shoal.hyperscale`, in
        place of its own coordinate, and returns how many peers that were."""
        return tracker.mirror(self._native)

    # What happens

    def events(self, *, capacity: int = 1_024) -> EventStream:
        """An asynchronous iterator over what happens from now on; the first one also gets what
        happened since the node started.

        Any number of them may run, each with a buffer of its own. One that falls more than
        `capacity` events behind loses the newest and finds an `Overflow` that says how many;
        `members()` tells the present state then. Iteration ends after `Left`, or when the node is
        closed.
        """
        self._native.check_running()
        return self._hub.subscribe(self, capacity)

    def wait_event(self, timeout: float | None = None) -> Event | None:
        """The next event, for programs without an event loop.

        Waits at most `timeout` seconds, for ever when it is `None`; signals are handled meanwhile.
        Returns `None` when none came in time, or when the node has left and none will come.
        """
        return self._hub.take_blocking(timeout)

    # What it is told

    def join(self, seeds: Iterable[Address]) -> None:
        """Joins a cluster through these members; the event `Joined` follows when one has answered.

        Waits for the resolver if a seed is a name, and well under a millisecond for the engine.
        """
        self._native.join(look_up(split_seeds(seeds)))

    def broadcast(self, payload: bytes | bytearray) -> None:
        """Sends at most 1,024 bytes to every member once (`Broadcast` there), without an answer.

        Raises `CommandError` while 256 broadcasts are under way.
        """
        self._native.broadcast(payload)

    def send_hyperscale(self, recipients: Iterable[Address], message: bytes) -> None:
        """Sends what hyperscale's servers say to each other (`HyperscaleMessage` there) to each of
        these nodes: about an election, or between datacenters, such as `b"leader-vote:7>ip:port"`.

        Only with `wire_format="hyperscale"`. Waits well under a millisecond for each.
        """
        self._native.send_hyperscale(list(recipients), message)

    # Leaders and routing

    def leader(self) -> Leadership:
        """Who leads this node's own datacenter. A manager knows it from its elections, a gate from
        its probes, a worker does not know it."""
        return self._native.leader()

    def name_leader(self, leader: Address | None, term: int) -> None:
        """Names the leader of this manager's datacenter; `None` says that there is none. Only where
        the program was given that task: managers elect their leader otherwise."""
        self._native.name_leader(leader, term)

    def set_load(
        self,
        *,
        total_cores: int,
        available_cores: int,
        queue_depth: int = 0,
        active_job_count: int = 0,
        worker_count: int = 0,
        healthy_worker_count: int = 0,
    ) -> None:
        """Tells how busy this manager's datacenter is, best every few seconds. While it leads,
        gates hear that and how old it is: news older than 30 s demotes the datacenter.

        worker_count: 0 leaves the counting of workers to membership.
        """
        workers = (worker_count, healthy_worker_count)
        cores = (total_cores, available_cores)
        self._native.set_load(workers, cores, queue_depth, active_job_count)

    def datacenters(self) -> list[DatacenterView]:
        """What this gate knows of each datacenter that it watches; nothing on other nodes."""
        return self._native.datacenters()

    def route(self, job: JobName, preferred: Iterable[str] = ()) -> RoutingDecision:
        """Routes a job over the datacenters that this gate knows. The decision says where the job
        goes, to which manager, and why; send it there and tell so with `job_sent`.

        preferred: names of datacenters that the job prefers within the best bucket.
        """
        if isinstance(preferred, str):
            raise TypeError("datacenters are given as a list or set of names, not as one str")
        return self._native.route(job, list(preferred))

    def job_sent(self, job: JobName, datacenter: str, manager: Address | None = None) -> bool:
        """Notes that a job was sent to a datacenter, where it counts as waiting until the leader
        tells its load again. Returns whether this gate knows the datacenter."""
        return self._native.job_sent(job, datacenter, manager)

    def job_failed(self, job: JobName, datacenter: str) -> bool:
        """Notes that a datacenter failed a job, which counts against it for that job for a while.
        Returns whether this gate knows the datacenter."""
        return self._native.job_failed(job, datacenter)

    def forget_route(self, job: JobName) -> bool:
        """Forgets where a job was routed. Jobs that this gate watches are forgotten by themselves
        when they are over. Returns whether it was known."""
        return self._native.forget_route(job)

    # Jobs

    def job_started(
        self,
        job: JobName,
        timeout_seconds: float,
        *,
        gate: Address | None = None,
        datacenter_count: int = 0,
        fence: int = 1,
    ) -> bool:
        """Begins to lead a job on this manager. Returns whether it is new.

        timeout_seconds: how long it may take, extensions aside; 1 ms to 365 days.
        gate: the gate it came through, which then decides about timeouts for all datacenters.
        datacenter_count: in how many datacenters it runs, 0 when unknown.
        fence: the leadership this manager has of it, for example the term of its election.
        """
        return self._native.job_started(job, timeout_seconds, gate, datacenter_count, fence)

    def job_progress(self, job: JobName, workflows: WorkflowCounts | None = None) -> bool:
        """Notes that a job made progress, and what its workflows are doing where that is known.
        Returns whether the job is running here."""
        return self._native.job_progress(job, workflows)

    def job_finished(self, job: JobName, outcome: str = JobOutcome.COMPLETED) -> bool:
        """Ends a job: on a manager its run in this datacenter, on a gate the watch over all of
        them. Returns whether it was running here; ending it twice changes nothing."""
        return self._native.job_finished(job, outcome)

    def worker_extension(
        self,
        job: JobName,
        worker: WorkerName,
        progress: float,
        *,
        completed_items: int | None = None,
        is_suspect: bool = False,
    ) -> ExtensionGrant | ExtensionDenial:
        """Negotiates more time with a worker of a job.

        progress: how much of its work is done, in any unit that rises.
        completed_items: how many items are done, where the worker counts them.
        is_suspect: whether the worker may have failed; then nothing is granted.
        """
        return self._native.worker_extension(job, worker, progress, completed_items, is_suspect)

    def job_taken_over(self, snapshot: JobSnapshot, term: int = 0) -> bool:
        """Takes over the lead of a job on this manager, from what was replicated here or kept over
        a restart. Returns whether anything changed."""
        return self._native.job_taken_over(snapshot, term)

    def job_given_up(self, job: JobName) -> bool:
        """Gives up the lead of a job: it is forgotten without a word. Returns whether anything
        changed."""
        return self._native.job_given_up(job)

    def gate_changed(self, old: Address, new: Address) -> bool:
        """Lets all jobs that report to one gate report to another, because the first one failed or
        gave them away. Returns whether any job reported to the first."""
        return self._native.gate_changed(old, new)

    def gate_job_released(self, job: JobName) -> bool:
        """Gives up a job on this gate whose datacenters report to another gate now, when all their
        managers know of that. Returns whether it was watched here."""
        return self._native.gate_job_released(job)

    def job_snapshot(self, job: JobName) -> JobSnapshot | None:
        """What a new leader of a job would need to go on; `None` when it is not led here."""
        return self._native.job_snapshot(job)

    def gate_job_started(
        self, job: JobName, timeout_seconds: float, datacenters: Datacenters
    ) -> bool:
        """Begins to watch a job on this gate. Returns whether it is new.

        datacenters: the names of those it was sent to, or a dict from names to the managers that
            accepted it (`None` where that is not known yet).
        """
        return self._native.gate_job_started(job, timeout_seconds, datacenters)

    # Secrets

    def set_secrets(self, secret: Secret) -> None:
        """Seals with the first of these secrets from now on and opens with any of them.

        To change the secret of a running cluster without losing a datagram: everywhere add the new
        one at the end, then everywhere move it to the front, then drop the old one.
        """
        self._native.set_secrets(secret)


def _leave_timeout(node: Node, timeout: float | None) -> LeaveTimeoutError:
    hint = "peers will find the node dead once it is closed"
    return LeaveTimeoutError(f"{node!r}: the goodbye was not sent within {timeout} s; {hint}")
