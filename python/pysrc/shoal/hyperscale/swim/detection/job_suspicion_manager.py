"""Suspicions that concern one job: a node that answers probes may still have lost its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shoal.hyperscale._host import LoggerLike, NodeLog, call_back

from .suspicion_state import MAX_CONFIRMERS, Node, suspicion_timeout

__all__ = ["JobId", "JobSuspicion", "JobSuspicionConfig", "JobSuspicionManager"]

JobId = str


@dataclass
class JobSuspicionConfig:
    """How often a suspicion's time is looked at, and how many there may be."""

    poll_interval_far_ms: int = 1000
    poll_interval_medium_ms: int = 250
    poll_interval_near_ms: int = 50
    far_threshold_s: float = 5.0
    near_threshold_s: float = 1.0
    max_lhm_backoff_multiplier: float = 3.0
    max_suspicions_per_job: int = 1000
    max_total_suspicions: int = 10000


@dataclass(slots=True)
class JobSuspicion:
    """A suspicion of one job against one node."""

    job_id: JobId
    node: Node
    incarnation: int
    start_time: float
    min_timeout: float
    max_timeout: float
    confirmers: set[Node] = field(default_factory=set[Node])
    _logical_confirmation_count: int = 0
    _poll_task: asyncio.Task[None] | None = field(default=None, repr=False)
    _cancelled: bool = False

    def add_confirmation(self, from_node: Node) -> bool:
        """Counts a confirmation unless it is known; says whether it counted."""
        if from_node in self.confirmers:
            return False
        self._logical_confirmation_count += 1
        if len(self.confirmers) < MAX_CONFIRMERS:
            self.confirmers.add(from_node)
        return True

    @property
    def confirmation_count(self) -> int:
        """All confirmations, the first suspecter's included."""
        return max(len(self.confirmers), self._logical_confirmation_count)

    def calculate_timeout(self, n_members: int) -> float:
        """How long the suspicion may stand from its start, in seconds."""
        return suspicion_timeout(
            self.min_timeout, self.max_timeout, self.confirmation_count, max(1, n_members)
        )

    def time_remaining(self, n_members: int) -> float:
        """Seconds until the suspicion becomes a death; never negative."""
        return max(0.0, self.start_time + self.calculate_timeout(n_members) - time.monotonic())

    def cancel(self) -> None:
        """Ends the suspicion without a death."""
        self._cancelled = True
        task = self._poll_task
        if task is not None and not task.done():
            task.cancel()

    def cleanup(self) -> None:
        """Ends it and lets go of everything."""
        self.cancel()
        self.confirmers.clear()


class JobSuspicionManager:
    """Stands in for `hyperscale.distributed.swim.detection.job_suspicion_manager`'s manager."""

    def __init__(
        self,
        config: JobSuspicionConfig | None = None,
        on_expired: Callable[[JobId, Node, int], Any] | None = None,
        on_error: Callable[[str, Exception], Any] | None = None,
        get_n_members: Callable[[JobId], int] | None = None,
        get_lhm_multiplier: Callable[[], float] | None = None,
    ) -> None:
        self._config = config or JobSuspicionConfig()
        self._on_expired = on_expired
        self._on_error = on_error
        self._get_n_members = get_n_members
        self._get_lhm_multiplier = get_lhm_multiplier
        self._by_job: dict[JobId, dict[Node, JobSuspicion]] = {}
        self._total = 0
        self._running = True
        self._lock = asyncio.Lock()
        self._log = NodeLog()
        self._started_count = 0
        self._expired_count = 0
        self._refuted_count = 0
        self._confirmed_count = 0

    @property
    def _suspicions(self) -> dict[tuple[JobId, Node], JobSuspicion]:
        """All suspicions by job and node; a copy."""
        return {
            (job_id, node): suspicion
            for job_id, nodes in self._by_job.items()
            for node, suspicion in nodes.items()
        }

    def set_logger(self, logger: LoggerLike, node_host: str, node_port: int, node_id: str) -> None:
        """Where to log, and as whom."""
        self._log = NodeLog(logger, node_host, node_port, node_id)

    async def start_suspicion(
        self,
        job_id: JobId,
        node: Node,
        incarnation: int,
        from_node: Node,
        min_timeout: float = 1.0,
        max_timeout: float = 10.0,
    ) -> JobSuspicion | None:
        """Begins a suspicion, or confirms the one there is. `None` when there are too many."""
        existing = self.get_suspicion(job_id, node)
        if existing is not None:
            if incarnation <= existing.incarnation:
                if incarnation == existing.incarnation and existing.add_confirmation(from_node):
                    self._confirmed_count += 1
                return existing
            self._drop(existing)
        elif (
            len(self._by_job.get(job_id, ())) >= self._config.max_suspicions_per_job
            or self._total >= self._config.max_total_suspicions
        ):
            return None
        suspicion = JobSuspicion(
            job_id, node, incarnation, time.monotonic(), min_timeout, max_timeout
        )
        suspicion.add_confirmation(from_node)
        self._by_job.setdefault(job_id, {})[node] = suspicion
        self._total += 1
        self._started_count += 1
        suspicion._poll_task = asyncio.create_task(self._watch(suspicion))  # pyright: ignore[reportPrivateUsage]
        return suspicion

    def _drop(self, suspicion: JobSuspicion) -> None:
        """Takes a suspicion out and ends its task, unless that is what calls."""
        nodes = self._by_job.get(suspicion.job_id, {})
        if nodes.get(suspicion.node) is suspicion:
            del nodes[suspicion.node]
            self._total -= 1
            if not nodes:
                del self._by_job[suspicion.job_id]
        suspicion.cancel()

    def _pause(self, remaining: float) -> float:
        """How long to sleep; never past the end as it is known now."""
        config = self._config
        if remaining > config.far_threshold_s:
            interval_ms = config.poll_interval_far_ms
        elif remaining > config.near_threshold_s:
            interval_ms = config.poll_interval_medium_ms
        else:
            interval_ms = config.poll_interval_near_ms
        load = self._get_lhm_multiplier() if self._get_lhm_multiplier else 1.0
        return min(interval_ms / 1000.0 * min(load, config.max_lhm_backoff_multiplier), remaining)

    async def _watch(self, suspicion: JobSuspicion) -> None:
        job_id, node = suspicion.job_id, suspicion.node
        while self._running and self.get_suspicion(job_id, node) is suspicion:
            members = self._get_n_members(job_id) if self._get_n_members else 1
            remaining = suspicion.time_remaining(members)
            if remaining > 0:
                await asyncio.sleep(self._pause(remaining))
                continue
            suspicion._poll_task = None  # pyright: ignore[reportPrivateUsage]
            self._drop(suspicion)
            self._expired_count += 1
            call_back(
                "on_expired",
                self._on_expired,
                job_id,
                node,
                suspicion.incarnation,
                on_error=self._on_error,
            )

    async def confirm_suspicion(
        self, job_id: JobId, node: Node, incarnation: int, from_node: Node
    ) -> bool:
        """Counts a confirmation of the known suspicion; says whether it was new."""
        suspicion = self.get_suspicion(job_id, node)
        if suspicion is None or suspicion.incarnation != incarnation:
            return False
        if not suspicion.add_confirmation(from_node):
            return False
        self._confirmed_count += 1
        return True

    async def refute_suspicion(self, job_id: JobId, node: Node, incarnation: int) -> bool:
        """Ends a suspicion of a lower incarnation; says whether there was one."""
        suspicion = self.get_suspicion(job_id, node)
        if suspicion is None or incarnation <= suspicion.incarnation:
            return False
        self._drop(suspicion)
        self._refuted_count += 1
        return True

    async def clear_job(self, job_id: JobId) -> int:
        """Ends all suspicions of a job; says how many there were."""
        suspicions = list(self._by_job.get(job_id, {}).values())
        for suspicion in suspicions:
            self._drop(suspicion)
        return len(suspicions)

    async def clear_all(self) -> None:
        """Ends all suspicions."""
        for suspicion in self._suspicions.values():
            self._drop(suspicion)

    def is_suspected(self, job_id: JobId, node: Node) -> bool:
        """Whether a job suspects a node."""
        return self.get_suspicion(job_id, node) is not None

    def get_suspicion(self, job_id: JobId, node: Node) -> JobSuspicion | None:
        """A job's suspicion against a node."""
        return self._by_job.get(job_id, {}).get(node)

    def get_suspected_nodes(self, job_id: JobId) -> list[Node]:
        """Whom a job suspects."""
        return list(self._by_job.get(job_id, ()))

    def get_jobs_suspecting(self, node: Node) -> list[JobId]:
        """Which jobs suspect a node."""
        return [job_id for job_id, nodes in self._by_job.items() if node in nodes]

    async def shutdown(self) -> None:
        """Ends everything."""
        self._running = False
        await self.clear_all()

    def get_stats(self) -> dict[str, int]:
        """Counts of what happened."""
        return {
            "active_suspicions": self._total,
            "jobs_with_suspicions": len(self._by_job),
            "started_count": self._started_count,
            "expired_count": self._expired_count,
            "refuted_count": self._refuted_count,
            "confirmed_count": self._confirmed_count,
        }

    def get_job_stats(self, job_id: JobId) -> dict[str, int]:
        """How many suspicions a job has."""
        count = len(self._by_job.get(job_id, ()))
        return {"suspicion_count": count, "suspected_nodes": count}
