"""When a gate declares a job timed out in all datacenters (AD-34).

Each job has a time before which nothing can time out. A look at all jobs takes out only those
whose time has come, however many there are.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from shoal.hyperscale.jobs._messages import TERMINAL_STATUSES, node_log, report, sent

__all__ = ["GateJobTimeoutTracker", "GateJobTrackingInfo"]

_LEFT_ALONE = frozenset({"completed", "failed", "cancelled"})


@dataclass(slots=True)
class GateJobTrackingInfo:
    """What a gate knows of a job."""

    job_id: str
    submitted_at: float
    timeout_seconds: float
    target_datacenters: list[str]
    dc_status: dict[str, str] = field(default_factory=dict[str, str])
    dc_last_progress: dict[str, float] = field(default_factory=dict[str, float])
    dc_manager_addrs: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    dc_fence_tokens: dict[str, int] = field(default_factory=dict[str, int])
    dc_total_extensions: dict[str, float] = field(default_factory=dict[str, float])
    dc_max_extension: dict[str, float] = field(default_factory=dict[str, float])
    dc_workers_with_extensions: dict[str, int] = field(default_factory=dict[str, int])
    globally_timed_out: bool = False
    timeout_reason: str = ""
    timeout_fence_token: int = 0


class GateJobTimeoutTracker:
    """Stands in for `hyperscale.distributed.jobs.gates.gate_job_timeout_tracker`'s tracker.

    What differs: a job that timed out in all datacenters times out; progress is dated by the gate's
    own clock, and only when there was some; a datacenter that has no workflows yet is not done; and
    the fence of a declared timeout is not below the one that the datacenter's manager told.
    """

    def __init__(
        self, gate: Any, check_interval: float = 15.0, stuck_threshold: float = 180.0
    ) -> None:
        self._gate = gate
        self._tracked_jobs: dict[str, GateJobTrackingInfo] = {}
        self._due: list[tuple[float, int, GateJobTrackingInfo]] = []
        self._order = itertools.count()
        self._lock = asyncio.Lock()
        self._check_interval = check_interval
        self._stuck_threshold = stuck_threshold
        self._running = False
        self._check_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to look at all jobs every `check_interval` seconds."""
        if not self._running:
            self._running = True
            self._check_task = asyncio.create_task(self._timeout_check_loop())

    async def stop(self) -> None:
        """Ends, and forgets all jobs."""
        self._running = False
        task, self._check_task = self._check_task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._tracked_jobs.clear()
        self._due.clear()

    async def start_tracking_job(
        self, job_id: str, timeout_seconds: float, target_dcs: list[str]
    ) -> None:
        """A job begins in these datacenters."""
        now = time.monotonic()
        info = GateJobTrackingInfo(
            job_id,
            now,
            timeout_seconds,
            list(target_dcs),
            dc_status=dict.fromkeys(target_dcs, "running"),
            dc_last_progress=dict.fromkeys(target_dcs, now),
            dc_total_extensions=dict.fromkeys(target_dcs, 0.0),
            dc_max_extension=dict.fromkeys(target_dcs, 0.0),
            dc_workers_with_extensions=dict.fromkeys(target_dcs, 0),
        )
        self._tracked_jobs[job_id] = info
        self._look_at(info, self._earliest(info))

    def _look_at(self, info: GateJobTrackingInfo, at: float) -> None:
        heapq.heappush(self._due, (at, next(self._order), info))

    def _running_datacenters(self, info: GateJobTrackingInfo) -> list[str]:
        status = info.dc_status
        return [dc for dc in info.target_datacenters if status.get(dc) not in TERMINAL_STATUSES]

    def _time_limit(self, info: GateJobTrackingInfo) -> tuple[float, float]:
        """The seconds that a job has with all extensions, and the extensions."""
        extensions = info.dc_total_extensions
        longest = max((extensions.get(dc, 0.0) for dc in info.target_datacenters), default=0.0)
        return info.timeout_seconds + longest, longest

    def _earliest(self, info: GateJobTrackingInfo) -> float:
        """When a job can time out if nothing is heard of it."""
        limit = info.submitted_at + self._time_limit(info)[0]
        progress = [
            info.dc_last_progress.get(dc, info.submitted_at)
            for dc in self._running_datacenters(info)
        ]
        return min(limit, max(progress) + self._stuck_threshold) if progress else limit

    def _known(self, message: Any) -> GateJobTrackingInfo | None:
        info = self._tracked_jobs.get(message.job_id)
        return info if info and message.datacenter in info.dc_status else None

    async def record_progress(self, report: Any) -> None:
        """A datacenter tells how far a job is."""
        info = self._known(report)
        if info is None:
            return
        dc = report.datacenter
        if report.has_recent_progress:
            info.dc_last_progress[dc] = time.monotonic()
        info.dc_manager_addrs[dc] = (report.manager_host, report.manager_port)
        info.dc_fence_tokens[dc] = report.fence_token
        has_less_time = report.total_extensions_granted < info.dc_total_extensions.get(dc, 0.0)
        info.dc_total_extensions[dc] = report.total_extensions_granted
        info.dc_max_extension[dc] = report.max_worker_extension
        info.dc_workers_with_extensions[dc] = report.workers_with_extensions
        is_done = report.workflows_total > 0 and (
            report.workflows_completed >= report.workflows_total
        )
        if is_done:
            info.dc_status[dc] = "completed"
        if is_done or has_less_time:
            self._look_at(info, self._earliest(info))

    async def record_timeout(self, report: Any) -> None:
        """A datacenter tells that a job timed out there."""
        info = self._known(report)
        if info is None:
            return
        info.dc_status[report.datacenter] = "timed_out"
        info.dc_manager_addrs[report.datacenter] = (report.manager_host, report.manager_port)
        info.dc_fence_tokens[report.datacenter] = report.fence_token
        self._look_at(info, 0.0)
        await node_log(self._gate).write(
            "ServerInfo",
            f"Job {report.job_id} timed out in {report.datacenter}: {report.reason}",
        )

    async def record_leader_transfer(self, report: Any) -> None:
        """A datacenter has a new leader for a job."""
        info = self._known(report)
        if info is not None:
            leader = (report.new_leader_host, report.new_leader_port)
            info.dc_manager_addrs[report.datacenter] = leader
            info.dc_fence_tokens[report.datacenter] = report.fence_token

    async def handle_final_status(self, report: Any) -> None:
        """A datacenter is done with a job. When all are, it is forgotten."""
        info = self._known(report)
        if info is None:
            return
        info.dc_status[report.datacenter] = report.status
        if self._running_datacenters(info):
            self._look_at(info, self._earliest(info))
        else:
            await self.stop_tracking(report.job_id)

    async def get_job_info(self, job_id: str) -> GateJobTrackingInfo | None:
        """What is known of a job."""
        return self._tracked_jobs.get(job_id)

    async def stop_tracking(self, job_id: str) -> None:
        """Forgets a job."""
        self._tracked_jobs.pop(job_id, None)

    async def _timeout_check_loop(self) -> None:
        while self._running:
            await asyncio.sleep(self._check_interval)
            try:
                await self._check_jobs()
            except Exception as error:
                await self._gate.handle_exception(error, "_timeout_check_loop")

    async def _check_jobs(self) -> None:
        """Looks at all jobs whose time may have come."""
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            info = heapq.heappop(self._due)[2]
            if info.globally_timed_out or self._tracked_jobs.get(info.job_id) is not info:
                continue
            is_over, reason = self._judge(info, now)
            if is_over:
                await self._declare_global_timeout(info.job_id, reason)
            elif self._running_datacenters(info):
                # A moment later than now, so that rounding cannot keep this loop going.
                self._look_at(info, max(self._earliest(info), now + 1e-3))

    async def _check_global_timeout(self, info: GateJobTrackingInfo) -> tuple[bool, str]:
        return self._judge(info, time.monotonic())

    def _judge(self, info: GateJobTrackingInfo, now: float) -> tuple[bool, str]:
        """Whether a job timed out, and why."""
        targets = info.target_datacenters
        timed_out = sum(info.dc_status.get(dc) == "timed_out" for dc in targets)
        if timed_out > len(targets) / 2:
            return True, f"Majority DCs timed out ({timed_out}/{len(targets)})"
        running = self._running_datacenters(info)
        if not running:
            return False, ""
        limit, extensions = self._time_limit(info)
        elapsed = now - info.submitted_at
        if elapsed > limit:
            return True, (
                f"Global timeout exceeded ({elapsed:.1f}s > {limit:.1f}s, "
                f"base={info.timeout_seconds:.1f}s + extensions={extensions:.1f}s)"
            )
        silent = [now - info.dc_last_progress.get(dc, info.submitted_at) for dc in running]
        if min(silent) >= self._stuck_threshold:
            return True, (
                f"All DCs stuck (no progress for {max(silent):.1f}s across {len(running)} DCs)"
            )
        return False, ""

    async def _declare_global_timeout(self, job_id: str, reason: str) -> None:
        """Tells all datacenters that are not done, and the gate itself."""
        info = self._tracked_jobs.get(job_id)
        if info is None or info.globally_timed_out:
            return
        info.globally_timed_out = True
        info.timeout_reason = reason
        info.timeout_fence_token += 1
        log = node_log(self._gate)
        await log.write("ServerWarning", f"Job {job_id} timed out: {reason}")
        for dc, address in list(info.dc_manager_addrs.items()):
            if info.dc_status.get(dc) in _LEFT_ALONE:
                continue
            message = report(
                "JobGlobalTimeout",
                job_id=job_id,
                reason=reason,
                timed_out_at=time.monotonic(),
                fence_token=max(info.timeout_fence_token, info.dc_fence_tokens.get(dc, 0)),
            )
            error = await sent(self._gate, address, "job_global_timeout", message)
            if error is not None:
                await log.write("ServerWarning", f"{dc} was not told of the timeout: {error}")
        try:
            await self._gate.handle_global_timeout(
                job_id, reason, list(info.target_datacenters), dict(info.dc_manager_addrs)
            )
        except Exception as error:
            await self._gate.handle_exception(error, "handle_global_timeout")
