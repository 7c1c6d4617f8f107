"""When a datacenter's manager declares a job timed out, by itself or together with a gate (AD-34).

With a gate, the manager reports and the gate decides. When the gate stays silent for five minutes
after a timeout was reported, the manager decides after all.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Any

from shoal.hyperscale._host import NodeLog

from ._messages import TERMINAL_STATUSES, node_log, report, sent, tracking_state

__all__ = ["GateCoordinatedTimeout", "LocalAuthorityTimeout", "TimeoutStrategy"]

_REPORT_INTERVAL_SECONDS = 10.0
_GATE_PATIENCE_SECONDS = 300.0
_STATUSES = {"completed": "completed", "cancelled": "cancelled", "timed_out": "timeout"}


class TimeoutStrategy(ABC):
    """What a manager asks of either way."""

    @abstractmethod
    async def start_tracking(
        self, job_id: str, timeout_seconds: float, gate_addr: tuple[str, int] | None = None
    ) -> None:
        """A job begins."""

    @abstractmethod
    async def resume_tracking(self, job_id: str) -> None:
        """A new leader takes a job over."""

    @abstractmethod
    async def report_progress(self, job_id: str, progress_type: str) -> None:
        """A job moves."""

    @abstractmethod
    async def check_timeout(self, job_id: str) -> tuple[bool, str]:
        """Whether a job times out now, and why."""

    @abstractmethod
    async def handle_global_timeout(self, job_id: str, reason: str, fence_token: int) -> bool:
        """The gate declares a timeout; says whether it is followed."""

    @abstractmethod
    async def record_worker_extension(
        self, job_id: str, worker_id: str, extension_seconds: float, worker_progress: float
    ) -> None:
        """A worker was granted more time."""

    @abstractmethod
    async def stop_tracking(self, job_id: str, reason: str) -> None:
        """A job is over."""

    @abstractmethod
    async def cleanup_worker_extensions(self, job_id: str, worker_id: str) -> None:
        """A worker is gone."""


class _ManagerTimeout(TimeoutStrategy):
    """What both ways have in common."""

    _strategy_type = ""

    def __init__(self, manager: Any) -> None:
        self._manager = manager

    @property
    def _log(self) -> NodeLog:
        return node_log(self._manager)

    def _job(self, job_id: str) -> Any | None:
        """A job that is tracked."""
        job = self._manager._job_manager.get_job_by_id(job_id)
        return job if job and job.timeout_tracking else None

    async def _start(
        self, job_id: str, timeout_seconds: float, gate_addr: tuple[str, int] | None
    ) -> None:
        job = self._manager._job_manager.get_job_by_id(job_id)
        if not job:
            return
        now = time.monotonic()
        async with job.lock:
            job.timeout_tracking = tracking_state(
                strategy_type=self._strategy_type,
                gate_addr=gate_addr,
                started_at=now,
                last_progress_at=now,
                last_report_at=now,
                timeout_seconds=timeout_seconds,
            )

    async def report_progress(self, job_id: str, progress_type: str) -> None:
        """Takes note of progress of any kind."""
        if (job := self._job(job_id)) is not None:
            job.timeout_tracking.last_progress_at = time.monotonic()

    async def record_worker_extension(
        self, job_id: str, worker_id: str, extension_seconds: float, worker_progress: float
    ) -> None:
        """Gives the job the time that a worker was granted; which is progress, too."""
        job = self._job(job_id)
        if job is None:
            return
        now = time.monotonic()
        async with job.lock:
            tracking = job.timeout_tracking
            tracking.total_extensions_granted += extension_seconds
            tracking.max_worker_extension = max(tracking.max_worker_extension, extension_seconds)
            tracking.last_extension_at = now
            tracking.last_progress_at = now
            tracking.active_workers_with_extensions.add(worker_id)
        await self._log.write(
            "ServerDebug",
            f"Job {job_id} has {extension_seconds:.1f} s more: worker {worker_id} is at "
            f"{worker_progress:.2f}",
        )

    async def cleanup_worker_extensions(self, job_id: str, worker_id: str) -> None:
        """Forgets a worker. The time it was granted stays."""
        if (job := self._job(job_id)) is not None:
            async with job.lock:
                job.timeout_tracking.active_workers_with_extensions.discard(worker_id)

    async def stop_tracking(self, job_id: str, reason: str) -> None:
        """Ends tracking for good: no later check declares anything."""
        job = self._job(job_id)
        if job is None:
            return
        async with job.lock:
            tracking = job.timeout_tracking
            tracking.locally_timed_out = True
            tracking.globally_timed_out = True
            tracking.timeout_reason = f"Tracking stopped: {reason}"
        await self._tell_end(job_id, job, reason)
        await self._log.write("ServerDebug", f"Job {job_id} is no longer tracked: {reason}")

    async def _tell_end(self, job_id: str, job: Any, reason: str) -> None:
        """Tells whoever has to know that a job is over."""

    @staticmethod
    def _timeout_reason(tracking: Any, now: float) -> str | None:
        """Why a job has timed out by what this datacenter knows."""
        limit = tracking.timeout_seconds + tracking.total_extensions_granted
        elapsed = now - tracking.started_at
        if elapsed > limit:
            return (
                f"Job timeout exceeded ({elapsed:.1f}s > {limit:.1f}s, "
                f"base={tracking.timeout_seconds:.1f}s + "
                f"extensions={tracking.total_extensions_granted:.1f}s)"
            )
        moved_at = max(tracking.last_progress_at, tracking.last_extension_at)
        if now - moved_at > tracking.stuck_threshold:
            return f"Job stuck (no progress and no extension for {now - moved_at:.1f}s)"
        return None


class LocalAuthorityTimeout(_ManagerTimeout):
    """Stands in for `hyperscale.distributed.jobs.timeout_strategy.LocalAuthorityTimeout`: a single
    datacenter decides by itself."""

    _strategy_type = "local_authority"

    async def start_tracking(
        self, job_id: str, timeout_seconds: float, gate_addr: tuple[str, int] | None = None
    ) -> None:
        """A job begins."""
        await self._start(job_id, timeout_seconds, None)

    async def resume_tracking(self, job_id: str) -> None:
        """A new leader takes a job over."""
        job = self._job(job_id)
        if job is None:
            await self._log.write("ServerWarning", f"Job {job_id} is not tracked; cannot resume")
            return
        async with job.lock:
            job.timeout_tracking.timeout_fence_token += 1

    async def check_timeout(self, job_id: str) -> tuple[bool, str]:
        """Whether a job times out now, and why; true once."""
        job = self._job(job_id)
        if job is None or job.timeout_tracking.locally_timed_out:
            return False, ""
        if job.status in TERMINAL_STATUSES:
            return False, ""
        tracking = job.timeout_tracking
        reason = self._timeout_reason(tracking, time.monotonic())
        if reason is None:
            return False, ""
        tracking.locally_timed_out = True
        tracking.timeout_reason = reason
        await self._manager._timeout_job(job_id, reason)
        return True, reason

    async def handle_global_timeout(self, job_id: str, reason: str, fence_token: int) -> bool:
        """There is no gate to follow."""
        return False


class GateCoordinatedTimeout(_ManagerTimeout):
    """Stands in for `hyperscale.distributed.jobs.timeout_strategy.GateCoordinatedTimeout`.

    What differs: messages go to the actions that gates listen on; a timeout report that was not
    delivered is sent again with the next check; and a job that is over is left alone.
    """

    _strategy_type = "gate_coordinated"

    def __init__(self, manager: Any) -> None:
        super().__init__(manager)
        self._pending_reports: dict[str, list[Any]] = {}
        self._report_lock = asyncio.Lock()

    async def start_tracking(
        self, job_id: str, timeout_seconds: float, gate_addr: tuple[str, int] | None = None
    ) -> None:
        """A job begins."""
        if not gate_addr:
            raise ValueError("Gate address required for gate-coordinated timeout")
        await self._start(job_id, timeout_seconds, gate_addr)

    async def resume_tracking(self, job_id: str) -> None:
        """A new leader takes a job over, and tells the gate."""
        job = self._job(job_id)
        if job is None:
            return
        async with job.lock:
            job.timeout_tracking.timeout_fence_token += 1
        await self._send(
            job,
            "receive_job_leader_transfer",
            report(
                "JobLeaderTransfer",
                job_id=job_id,
                datacenter=self._manager._datacenter,
                new_leader_id=self._manager._node_id.short,
                new_leader_host=self._manager._host,
                new_leader_port=self._manager._tcp_port,
                fence_token=job.timeout_tracking.timeout_fence_token,
            ),
        )

    def _sender(self, job_id: str, job: Any) -> dict[str, Any]:
        return {
            "job_id": job_id,
            "datacenter": self._manager._datacenter,
            "manager_id": self._manager._node_id.short,
            "fence_token": job.timeout_tracking.timeout_fence_token,
        }

    def _place(self) -> dict[str, Any]:
        return {"manager_host": self._manager._host, "manager_port": self._manager._tcp_port}

    async def _send(self, job: Any, action: str, message: Any) -> bool:
        """Tells the gate; says whether it arrived."""
        error = await sent(self._manager, job.timeout_tracking.gate_addr, action, message)
        if error is not None:
            await self._log.write("ServerWarning", f"The gate did not take {action}: {error}")
        return error is None

    async def check_timeout(self, job_id: str) -> tuple[bool, str]:
        """Whether a job times out now, and why; true once."""
        job = self._job(job_id)
        if job is None or job.status in TERMINAL_STATUSES:
            self._pending_reports.pop(job_id, None)
            return False, ""
        tracking, now = job.timeout_tracking, time.monotonic()
        if tracking.locally_timed_out:
            return await self._wait_for_gate(job_id, job, now)
        if now - tracking.last_report_at > _REPORT_INTERVAL_SECONDS:
            tracking.last_report_at = now
            await self._send(job, "receive_job_progress_report", self._progress(job_id, job, now))
        reason = self._timeout_reason(tracking, now)
        if reason is None:
            return False, ""
        reason = f"DC-local: {reason}"
        tracking.locally_timed_out = True
        tracking.timeout_reason = reason
        tracking.last_report_at = now
        self._pending_reports[job_id] = [
            report(
                "JobTimeoutReport",
                **self._sender(job_id, job),
                **self._place(),
                reason=reason,
                elapsed_seconds=now - tracking.started_at,
            )
        ]
        await self._deliver_reports(job_id, job)
        return True, reason

    async def _wait_for_gate(self, job_id: str, job: Any, now: float) -> tuple[bool, str]:
        """The gate has the word, unless it stays silent for too long."""
        tracking = job.timeout_tracking
        if tracking.globally_timed_out:
            return False, ""
        if now - tracking.last_report_at <= _GATE_PATIENCE_SECONDS:
            await self._deliver_reports(job_id, job)
            return False, ""
        tracking.globally_timed_out = True
        self._pending_reports.pop(job_id, None)
        await self._manager._timeout_job(job_id, "Gate unresponsive, local timeout fallback")
        return True, "gate_unresponsive_fallback"

    async def _deliver_reports(self, job_id: str, job: Any) -> None:
        """Sends the timeout reports that did not arrive yet."""
        async with self._report_lock:
            for message in list(self._pending_reports.get(job_id, ())):
                if not await self._send(job, "receive_job_timeout_report", message):
                    return
                self._pending_reports.pop(job_id, None)

    def _progress(self, job_id: str, job: Any, now: float) -> Any:
        tracking = job.timeout_tracking
        return report(
            "JobProgressReport",
            **self._sender(job_id, job),
            **self._place(),
            workflows_total=job.workflows_total,
            workflows_completed=job.workflows_completed,
            workflows_failed=job.workflows_failed,
            has_recent_progress=now - tracking.last_progress_at < _REPORT_INTERVAL_SECONDS,
            timestamp=now,
            total_extensions_granted=tracking.total_extensions_granted,
            max_worker_extension=tracking.max_worker_extension,
            workers_with_extensions=len(tracking.active_workers_with_extensions),
        )

    def _final_status(self, job_id: str, job: Any, status: str) -> Any:
        now = time.monotonic()
        sender = self._sender(job_id, job)
        return report("JobFinalStatus", **sender, status=status, timestamp=now)

    async def _tell_end(self, job_id: str, job: Any, reason: str) -> None:
        self._pending_reports.pop(job_id, None)
        if job.timeout_tracking.gate_addr:
            status = _STATUSES.get(reason, "failed")
            message = self._final_status(job_id, job, status)
            await self._send(job, "receive_job_final_status", message)

    async def handle_global_timeout(self, job_id: str, reason: str, fence_token: int) -> bool:
        """The gate declares a timeout. A word from before the last leader is not followed; a job
        that is over is, and the gate is told so."""
        job = self._job(job_id)
        if job is None:
            return False
        tracking = job.timeout_tracking
        if fence_token < tracking.timeout_fence_token:
            known = tracking.timeout_fence_token
            await self._log.write(
                "ServerWarning", f"Job {job_id}: a stale timeout ({fence_token} < {known})"
            )
            return False
        if job.status in TERMINAL_STATUSES:
            message = self._final_status(job_id, job, job.status)
            await self._send(job, "receive_job_final_status", message)
            return False
        tracking.locally_timed_out = True
        tracking.globally_timed_out = True
        tracking.timeout_reason = reason
        self._pending_reports.pop(job_id, None)
        await self._manager._timeout_job(job_id, f"Global timeout: {reason}")
        return True
