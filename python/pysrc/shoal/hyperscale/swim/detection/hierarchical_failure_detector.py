"""Failure detection on two levels: a node is dead for all, or one job has lost it (AD-30).

The global level keeps its deadlines in a timing wheel, the job level in a task per suspicion. A
global death overrides what jobs believe.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from shoal.hyperscale._host import call_back
from shoal.hyperscale.health.extension_tracker import ExtensionTracker, ExtensionTrackerConfig

from .job_suspicion_manager import (
    JobId,
    JobSuspicion,
    JobSuspicionConfig,
    JobSuspicionManager,
)
from .suspicion_state import Node, SuspicionState
from .timing_wheel import TimingWheel, TimingWheelConfig

__all__ = [
    "FailureEvent",
    "FailureSource",
    "HierarchicalConfig",
    "HierarchicalFailureDetector",
    "NodeStatus",
]

_ABOVE_ALL_INCARNATIONS = 2**31
_EVENTS_KEPT = 100


class NodeStatus(Enum):
    """What the detector believes about a node."""

    ALIVE = 1
    SUSPECTED_GLOBAL = 2
    SUSPECTED_JOB = 3
    DEAD_GLOBAL = 4
    DEAD_JOB = 5


class FailureSource(Enum):
    """Which level declared a death."""

    GLOBAL = 1
    JOB = 2


@dataclass
class HierarchicalConfig:
    """Times and limits of both levels."""

    global_min_timeout: float = 5.0
    global_max_timeout: float = 30.0
    job_min_timeout: float = 1.0
    job_max_timeout: float = 10.0
    coarse_tick_ms: int = 1000
    fine_tick_ms: int = 100
    poll_interval_far_ms: int = 1000
    poll_interval_near_ms: int = 50
    reconciliation_interval_s: float = 5.0
    max_global_suspicions: int = 10000
    max_job_suspicions_per_job: int = 1000
    max_total_job_suspicions: int = 50000
    extension_base_deadline: float = 30.0
    extension_min_grant: float = 1.0
    extension_max_extensions: int = 5
    extension_warning_threshold: int = 1
    extension_grace_period: float = 10.0
    max_extension_trackers: int = 10000


@dataclass
class FailureEvent:
    """A death."""

    node: Node
    source: FailureSource
    job_id: JobId | None
    incarnation: int
    timestamp: float = field(default_factory=time.monotonic)


class HierarchicalFailureDetector:
    """Stands in for `hyperscale.distributed.swim.detection.HierarchicalFailureDetector`.

    What differs: granted extensions add up and survive further confirmations; a callback that is a
    coroutine function is run to its end; a node that died may be suspected again once it is heard
    with a higher incarnation; suspicions beyond `max_global_suspicions` are refused.
    """

    _node_port: int = 0

    def __init__(
        self,
        config: HierarchicalConfig | None = None,
        on_global_death: Callable[[Node, int], Any] | None = None,
        on_job_death: Callable[[JobId, Node, int], Any] | None = None,
        on_error: Callable[[str, Exception], Any] | None = None,
        get_n_members: Callable[[], int] | None = None,
        get_job_n_members: Callable[[JobId], int] | None = None,
        get_lhm_multiplier: Callable[[], float] | None = None,
    ) -> None:
        self._config = config = config or HierarchicalConfig()
        self._on_global_death = on_global_death
        self._on_job_death = on_job_death
        self._on_error = on_error
        self._get_n_members = get_n_members
        self._get_job_n_members = get_job_n_members
        self._get_lhm_multiplier = get_lhm_multiplier
        self._global_wheel = TimingWheel(
            TimingWheelConfig(
                coarse_tick_ms=config.coarse_tick_ms, fine_tick_ms=config.fine_tick_ms
            ),
            on_expired=self._handle_global_expiration,
            on_error=on_error,
        )
        self._job_manager = JobSuspicionManager(
            JobSuspicionConfig(
                poll_interval_far_ms=config.poll_interval_far_ms,
                poll_interval_near_ms=config.poll_interval_near_ms,
                max_suspicions_per_job=config.max_job_suspicions_per_job,
                max_total_suspicions=config.max_total_job_suspicions,
            ),
            on_expired=self._handle_job_expiration,
            on_error=on_error,
            get_n_members=get_job_n_members,
            get_lhm_multiplier=get_lhm_multiplier,
        )
        self._globally_dead: set[Node] = set()
        self._death_incarnations: dict[Node, int] = {}
        self._reconciliation_task: asyncio.Task[None] | None = None
        self._running = False
        self._lock = asyncio.Lock()
        self._recent_events: deque[FailureEvent] = deque(maxlen=_EVENTS_KEPT)
        self._extension_trackers: dict[Node, ExtensionTracker] = {}
        self._extension_tracker_config = ExtensionTrackerConfig(
            base_deadline=config.extension_base_deadline,
            min_grant=config.extension_min_grant,
            max_extensions=config.extension_max_extensions,
            warning_threshold=config.extension_warning_threshold,
            grace_period=config.extension_grace_period,
        )
        self._global_deaths = 0
        self._job_deaths = 0
        self._reconciliations = 0
        self._job_suspicions_cleared_by_global = 0
        self._extensions_requested = 0
        self._extensions_granted = 0
        self._extensions_denied = 0
        self._extension_warnings_sent = 0
        self._extension_trackers_cleaned = 0

    async def start(self) -> None:
        """Begins to watch the time."""
        if not self._running:
            self._running = True
            self._global_wheel.start()
            self._reconciliation_task = asyncio.create_task(self._reconciliation_loop())

    async def stop(self) -> None:
        """Ends everything but what is known about deaths."""
        self._running = False
        task, self._reconciliation_task = self._reconciliation_task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._global_wheel.stop()
        await self._job_manager.shutdown()
        self._extension_trackers_cleaned += len(self._extension_trackers)
        self._extension_trackers.clear()

    # The global level.

    def _deadline(self, state: SuspicionState) -> float:
        """When a suspicion becomes a death, with all the time that was granted."""
        tracker = self._extension_trackers.get(state.node)
        granted = tracker.total_extended if tracker else 0.0
        return state.start_time + state.calculate_timeout() + granted

    async def suspect_global(self, node: Node, incarnation: int, from_node: Node) -> bool:
        """Begins a suspicion, or confirms the one there is; says whether it stands."""
        async with self._lock:
            if node in self._globally_dead and not self._came_back(node, incarnation):
                return False
            state = self._global_wheel.get_state_sync(node)
            if state is not None:
                if incarnation < state.incarnation:
                    return False
                if incarnation == state.incarnation:
                    if state.add_confirmation(from_node):
                        await self._global_wheel.update_expiration(node, self._deadline(state))
                    return True
                await self._global_wheel.remove(node)
            elif self._suspicion_count() >= self._config.max_global_suspicions:
                return False
            load = self._get_lhm_multiplier() if self._get_lhm_multiplier else 1.0
            state = SuspicionState(
                node=node,
                incarnation=incarnation,
                start_time=time.monotonic(),
                min_timeout=self._config.global_min_timeout * load,
                max_timeout=self._config.global_max_timeout * load,
                n_members=self._get_n_members() if self._get_n_members else 1,
            )
            state.add_confirmation(from_node)
            return await self._global_wheel.add(node, state, self._deadline(state))

    def _suspicion_count(self) -> int:
        return self._global_wheel.get_stats()["current_entries"]

    def _came_back(self, node: Node, incarnation: int) -> bool:
        """Whether this incarnation is one that began after the death; if so, forgets the death."""
        died_at = self._death_incarnations.get(node)
        if died_at is None or incarnation <= died_at:
            return False
        self._forget_death(node)
        return True

    def _forget_death(self, node: Node) -> None:
        self._globally_dead.discard(node)
        self._death_incarnations.pop(node, None)

    async def confirm_global(self, node: Node, incarnation: int, from_node: Node) -> bool:
        """Counts a confirmation of the known suspicion; says whether it was new."""
        async with self._lock:
            state = self._global_wheel.get_state_sync(node)
            if state is None or state.incarnation != incarnation:
                return False
            if not state.add_confirmation(from_node):
                return False
            await self._global_wheel.update_expiration(node, self._deadline(state))
            return True

    async def refute_global(self, node: Node, incarnation: int) -> bool:
        """Ends a suspicion of a lower incarnation; says whether there was one. A higher
        incarnation also ends a death."""
        async with self._lock:
            self._came_back(node, incarnation)
            state = self._global_wheel.get_state_sync(node)
            if state is None or incarnation <= state.incarnation:
                return False
            await self._global_wheel.remove(node)
            self.reset_extension_tracker(node)
            return True

    async def clear_global_death(self, node: Node) -> bool:
        """Forgets a death; says whether there was one."""
        async with self._lock:
            was_dead = node in self._globally_dead
            self._forget_death(node)
            return was_dead

    async def is_alive_global(self, node: Node) -> bool:
        """Whether a node is neither dead nor suspected."""
        return not self.is_suspected_global(node)

    def is_suspected_global(self, node: Node) -> bool:
        """Whether a node is dead or suspected."""
        return node in self._globally_dead or self._global_wheel.contains_sync(node)

    async def get_node_status(self, node: Node) -> NodeStatus:
        """What is believed about a node."""
        if node in self._globally_dead:
            return NodeStatus.DEAD_GLOBAL
        if self._global_wheel.contains_sync(node):
            return NodeStatus.SUSPECTED_GLOBAL
        if self._job_manager.get_jobs_suspecting(node):
            return NodeStatus.SUSPECTED_JOB
        return NodeStatus.ALIVE

    async def get_global_suspicion_state(self, node: Node) -> SuspicionState | None:
        """The suspicion against a node."""
        return self._global_wheel.get_state_sync(node)

    def get_time_remaining_global(self, node: Node) -> float | None:
        """Seconds until a suspicion becomes a death."""
        state = self._global_wheel.get_state_sync(node)
        return None if state is None else max(0.0, self._deadline(state) - time.monotonic())

    def should_regossip_global(self, node: Node) -> bool:
        """Whether a suspicion is to be told on once more."""
        state = self._global_wheel.get_state_sync(node)
        return state is not None and state.should_regossip()

    def mark_regossiped_global(self, node: Node) -> None:
        """Counts one telling."""
        state = self._global_wheel.get_state_sync(node)
        if state is not None:
            state.mark_regossiped()

    async def apply_lhm_adjustment(self, multiplier: float) -> dict[str, int]:
        """Stretches the time that is left of all global suspicions."""
        adjusted = await self._global_wheel.apply_lhm_adjustment(multiplier)
        return {"global_adjusted": adjusted}

    # More time for suspected workers (AD-26).

    async def request_extension(
        self, node: Node, reason: str, current_progress: float
    ) -> tuple[bool, float, str | None, bool]:
        """Whether a suspected worker gets more time, how many seconds, otherwise why not, and
        whether this is the moment to warn that few grants are left."""
        self._extensions_requested += 1
        async with self._lock:
            state = self._global_wheel.get_state_sync(node)
            if state is None:
                return False, 0.0, "Node is not currently suspected", False
            tracker = self._extension_tracker_of(node)
            if tracker is None:
                self._extensions_denied += 1
                limit = self._config.max_extension_trackers
                return False, 0.0, f"Maximum extension trackers ({limit}) reached", False
            answer = tracker.request_extension(reason, current_progress)
            granted, _, _, is_warning = answer
            if granted:
                self._extensions_granted += 1
                self._extension_warnings_sent += is_warning
                await self._global_wheel.update_expiration(node, self._deadline(state))
            else:
                self._extensions_denied += 1
            return answer

    def _extension_tracker_of(self, node: Node) -> ExtensionTracker | None:
        tracker = self._extension_trackers.get(node)
        if tracker is None and len(self._extension_trackers) < self._config.max_extension_trackers:
            tracker = self._extension_tracker_config.create_tracker(f"{node[0]}:{node[1]}")
            self._extension_trackers[node] = tracker
        return tracker

    def reset_extension_tracker(self, node: Node) -> None:
        """Gives a worker that is healthy again all its grants."""
        if (tracker := self._extension_trackers.get(node)) is not None:
            tracker.reset()

    def remove_extension_tracker(self, node: Node) -> None:
        """Forgets a worker's grants."""
        self._extension_trackers.pop(node, None)

    def get_extension_tracker(self, node: Node) -> ExtensionTracker | None:
        """A worker's grants."""
        return self._extension_trackers.get(node)

    def get_extension_status(self, node: Node) -> dict[str, float | int | bool] | None:
        """A worker's grants in numbers."""
        tracker = self._extension_trackers.get(node)
        if tracker is None:
            return None
        return {
            "extension_count": tracker.extension_count,
            "remaining_extensions": tracker.get_remaining_extensions(),
            "total_extended": tracker.total_extended,
            "is_exhausted": tracker.is_exhausted,
            "is_in_grace_period": tracker.is_in_grace_period,
            "grace_period_remaining": tracker.grace_period_remaining,
            "should_evict": tracker.should_evict,
            "warning_sent": tracker.warning_sent,
        }

    # The job level.

    async def suspect_job(
        self, job_id: JobId, node: Node, incarnation: int, from_node: Node
    ) -> bool:
        """Begins a job's suspicion, or confirms it; says whether it stands."""
        return await self._suspect_for(job_id, node, incarnation, from_node, None, None)

    async def suspect_node_for_job(
        self,
        job_id: JobId,
        node: Node,
        incarnation: int,
        min_timeout: float | None = None,
        max_timeout: float | None = None,
    ) -> bool:
        """The same with times of its own, on the job's own observation."""
        return await self._suspect_for(job_id, node, incarnation, node, min_timeout, max_timeout)

    async def _suspect_for(
        self,
        job_id: JobId,
        node: Node,
        incarnation: int,
        from_node: Node,
        min_timeout: float | None,
        max_timeout: float | None,
    ) -> bool:
        if node in self._globally_dead:
            return False
        suspicion = await self._job_manager.start_suspicion(
            job_id,
            node,
            incarnation,
            from_node,
            min_timeout or self._config.job_min_timeout,
            max_timeout or self._config.job_max_timeout,
        )
        return suspicion is not None

    async def confirm_job(
        self, job_id: JobId, node: Node, incarnation: int, from_node: Node
    ) -> bool:
        """Counts a confirmation of a job's suspicion; says whether it was new."""
        return await self._job_manager.confirm_suspicion(job_id, node, incarnation, from_node)

    async def refute_job(self, job_id: JobId, node: Node, incarnation: int) -> bool:
        """Ends a job's suspicion of a lower incarnation; says whether there was one."""
        return await self._job_manager.refute_suspicion(job_id, node, incarnation)

    async def clear_job(self, job_id: JobId) -> int:
        """Ends all suspicions of a job; says how many there were."""
        return await self._job_manager.clear_job(job_id)

    def is_alive_for_job(self, job_id: JobId, node: Node) -> bool:
        """Whether a job can count on a node."""
        return node not in self._globally_dead and not self._job_manager.is_suspected(job_id, node)

    def get_jobs_with_suspected_node(self, node: Node) -> list[JobId]:
        """Which jobs suspect a node."""
        return self._job_manager.get_jobs_suspecting(node)

    def get_suspected_nodes_for_job(self, job_id: JobId) -> list[Node]:
        """Whom a job suspects."""
        return self._job_manager.get_suspected_nodes(job_id)

    def get_job_suspicion_state(self, job_id: JobId, node: Node) -> JobSuspicion | None:
        """A job's suspicion against a node."""
        return self._job_manager.get_suspicion(job_id, node)

    # Deaths.

    def _handle_global_expiration(self, node: Node, state: SuspicionState) -> None:
        self.declare_dead(node, state.incarnation)
        call_back(
            "on_global_death",
            self._on_global_death,
            node,
            state.incarnation,
            on_error=self._on_error,
        )

    def declare_dead(self, node: Node, incarnation: int) -> None:
        """Takes note of a death without telling of it: whoever decided it does that."""
        self._globally_dead.add(node)
        self._death_incarnations[node] = incarnation
        self._global_deaths += 1
        self.remove_extension_tracker(node)
        self._recent_events.append(FailureEvent(node, FailureSource.GLOBAL, None, incarnation))
        call_back("jobs of a dead node", self._clear_job_suspicions_for_node, node)

    def _handle_job_expiration(self, job_id: JobId, node: Node, incarnation: int) -> None:
        self._job_deaths += 1
        self._recent_events.append(FailureEvent(node, FailureSource.JOB, job_id, incarnation))
        call_back(
            "on_job_death", self._on_job_death, job_id, node, incarnation, on_error=self._on_error
        )

    async def _clear_job_suspicions_for_node(self, node: Node) -> None:
        for job_id in self._job_manager.get_jobs_suspecting(node):
            if await self._job_manager.refute_suspicion(job_id, node, _ABOVE_ALL_INCARNATIONS):
                self._job_suspicions_cleared_by_global += 1

    async def _reconciliation_loop(self) -> None:
        while self._running:
            await asyncio.sleep(self._config.reconciliation_interval_s)
            try:
                await self._reconcile()
            except Exception as error:
                call_back("on_error", self._on_error, "Reconciliation failed", error)

    async def _reconcile(self) -> None:
        """Takes away what jobs believe of dead nodes, and grants that nobody used."""
        self._reconciliations += 1
        for node in list(self._globally_dead):
            await self._clear_job_suspicions_for_node(node)
        unused = [
            node
            for node, tracker in self._extension_trackers.items()
            if tracker.extension_count == 0 and not self.is_suspected_global(node)
        ]
        for node in unused:
            del self._extension_trackers[node]
        self._extension_trackers_cleaned += len(unused)

    def get_stats(self) -> dict[str, int | float]:
        """Counts of what happened."""
        wheel = self._global_wheel.get_stats()
        jobs = self._job_manager.get_stats()
        return {
            "global_suspected": wheel["current_entries"],
            "global_deaths": self._global_deaths,
            "globally_dead_count": len(self._globally_dead),
            "job_suspicions": jobs["active_suspicions"],
            "job_deaths": self._job_deaths,
            "jobs_with_suspicions": jobs["jobs_with_suspicions"],
            "reconciliations": self._reconciliations,
            "job_suspicions_cleared_by_global": self._job_suspicions_cleared_by_global,
            "wheel_entries_added": wheel["entries_added"],
            "wheel_entries_expired": wheel["entries_expired"],
            "wheel_cascade_count": wheel["cascade_count"],
            "extensions_requested": self._extensions_requested,
            "extensions_granted": self._extensions_granted,
            "extensions_denied": self._extensions_denied,
            "extension_warnings_sent": self._extension_warnings_sent,
            "active_extension_trackers": len(self._extension_trackers),
            "extension_trackers_cleaned": self._extension_trackers_cleaned,
        }

    def get_stats_sync(self) -> dict[str, int | float]:
        """The same."""
        return self.get_stats()

    def get_recent_events(self, limit: int = 10) -> list[FailureEvent]:
        """The last deaths, the latest last."""
        return list(self._recent_events)[-limit:]
