"""Job timeouts and workflows of hyperscale on Shoal, with stand-ins for gates and managers."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from shoal.hyperscale.jobs.gates.gate_job_timeout_tracker import GateJobTimeoutTracker
from shoal.hyperscale.jobs.timeout_strategy import GateCoordinatedTimeout, LocalAuthorityTimeout
from shoal.hyperscale.workflow.state_machine import WorkflowState, WorkflowStateMachine

GATE = ("10.0.0.1", 9000)


class Node:
    """A gate or a manager: what the drop-ins ask of it, and what it was asked."""

    def __init__(self) -> None:
        self._host, self._tcp_port, self._datacenter = "10.0.0.9", 9001, "east"
        self._node_id = SimpleNamespace(short="node")
        self._udp_logger = self
        self.sent: list[tuple[str, Any]] = []
        self.timeouts: list[tuple[str, str]] = []
        self.problems: list[str] = []
        self.answer: Any = b"ok"
        self.job = SimpleNamespace(
            lock=asyncio.Lock(),
            timeout_tracking=None,
            status="running",
            workflows_total=4,
            workflows_completed=1,
            workflows_failed=0,
        )
        self._job_manager = SimpleNamespace(get_job_by_id=self.job_of)

    def job_of(self, _job_id: str) -> Any:
        return self.job

    async def log(self, entry: object) -> None:
        assert entry is not None

    async def send_tcp(self, _to: Any, action: str, message: Any, **options: float) -> Any:
        assert options["timeout"] > 0
        self.sent.append((action, message))
        return self.answer, 1

    async def _timeout_job(self, job_id: str, reason: str) -> None:
        self.timeouts.append((job_id, reason))

    async def handle_global_timeout(self, job_id: str, reason: str, *_rest: object) -> None:
        self.timeouts.append((job_id, reason))

    async def handle_exception(self, _error: Exception, where: str) -> None:
        self.problems.append(where)


def timeout_report(datacenter: str, **fields: Any) -> Any:
    return SimpleNamespace(
        job_id="job", datacenter=datacenter, manager_host="10.0.0.2", manager_port=1,
        fence_token=7, reason="slow", **fields
    )  # fmt: skip


def progress_report(datacenter: str, **fields: Any) -> Any:
    given = {
        "workflows_total": 4,
        "workflows_completed": 1,
        "has_recent_progress": True,
        "timestamp": 1e12,
        "total_extensions_granted": 0.0,
        "max_worker_extension": 0.0,
        "workers_with_extensions": 0,
    }
    return timeout_report(datacenter, **{**given, **fields})


async def gate_with(*datacenters: str, seconds: float = 100.0) -> tuple[Node, Any]:
    gate = Node()
    tracker = GateJobTimeoutTracker(gate, stuck_threshold=50.0)
    await tracker.start_tracking_job("job", seconds, list(datacenters))
    return gate, tracker


async def test_a_job_that_timed_out_everywhere_times_out() -> None:
    gate, tracker = await gate_with("east")
    await tracker._check_jobs()
    assert gate.timeouts == []
    await tracker.record_timeout(timeout_report("east"))
    await tracker._check_jobs()
    assert gate.timeouts == [("job", "Majority DCs timed out (1/1)")]
    action, message = gate.sent[0]
    assert action == "job_global_timeout"
    assert message.fence_token == 7
    await tracker._check_jobs()
    assert len(gate.timeouts) == 1


async def test_progress_is_dated_by_the_gate_and_counts_only_when_there_was_some() -> None:
    _, tracker = await gate_with("east", "west")
    info = await tracker.get_job_info("job")
    assert info is not None
    started = info.dc_last_progress["east"]
    await tracker.record_progress(progress_report("east", has_recent_progress=False))
    assert info.dc_last_progress["east"] == started
    await tracker.record_progress(progress_report("east"))
    assert started <= info.dc_last_progress["east"] <= time.monotonic()
    await tracker.record_progress(progress_report("mars"))
    assert "mars" not in info.dc_last_progress


async def test_a_datacenter_without_workflows_is_not_done() -> None:
    _, tracker = await gate_with("east")
    info = await tracker.get_job_info("job")
    assert info is not None
    await tracker.record_progress(progress_report("east", workflows_total=0, workflows_completed=0))
    assert info.dc_status == {"east": "running"}
    await tracker.record_progress(progress_report("east", workflows_completed=4))
    assert info.dc_status == {"east": "completed"}


async def test_stuck_late_and_extended_jobs() -> None:
    gate, tracker = await gate_with("east")
    info = await tracker.get_job_info("job")
    assert info is not None
    await tracker.record_progress(progress_report("east", total_extensions_granted=30.0))
    info.submitted_at -= 120.0
    assert await tracker._check_global_timeout(info) == (False, "")
    info.submitted_at -= 20.0
    assert (await tracker._check_global_timeout(info))[1].startswith("Global timeout exceeded")
    info.submitted_at += 100.0
    info.dc_last_progress["east"] -= 60.0
    assert (await tracker._check_global_timeout(info))[1].startswith("All DCs stuck")
    assert gate.timeouts == []


async def test_a_failing_gate_is_told_and_does_not_end_the_checks() -> None:
    gate, tracker = await gate_with("east", seconds=0.01)
    gate.answer = ConnectionError("gone")
    tracker._check_interval = 0.02
    await tracker.start()
    await asyncio.sleep(0.1)
    assert gate.timeouts[0][0] == "job"
    await tracker.stop()
    assert await tracker.get_job_info("job") is None


async def test_a_manager_alone_decides_once() -> None:
    manager = Node()
    timeouts = LocalAuthorityTimeout(manager)
    await timeouts.start_tracking("job", 10.0)
    assert await timeouts.check_timeout("job") == (False, "")
    manager.job.timeout_tracking.started_at -= 12.0
    await timeouts.record_worker_extension("job", "w", 5.0, 0.5)
    assert await timeouts.check_timeout("job") == (False, "")
    manager.job.timeout_tracking.started_at -= 12.0
    assert (await timeouts.check_timeout("job"))[0]
    assert await timeouts.check_timeout("job") == (False, "")
    assert len(manager.timeouts) == 1
    assert not await timeouts.handle_global_timeout("job", "slow", 9)


async def late_job() -> tuple[Node, GateCoordinatedTimeout]:
    manager = Node()
    timeouts = GateCoordinatedTimeout(manager)
    await timeouts.start_tracking("job", 10.0, GATE)
    manager.job.timeout_tracking.started_at -= 12.0
    return manager, timeouts


async def test_a_report_that_did_not_arrive_is_sent_again() -> None:
    manager, timeouts = await late_job()
    manager.answer = ConnectionError("gone")
    assert (await timeouts.check_timeout("job"))[0]
    assert await timeouts.check_timeout("job") == (False, "")
    manager.answer = b"ok"
    await timeouts.check_timeout("job")
    await timeouts.check_timeout("job")
    assert [action for action, _ in manager.sent] == ["receive_job_timeout_report"] * 3
    assert manager.timeouts == []
    manager.job.timeout_tracking.last_report_at -= 301.0
    assert await timeouts.check_timeout("job") == (True, "gate_unresponsive_fallback")
    assert await timeouts.check_timeout("job") == (False, "")
    assert len(manager.timeouts) == 1


async def test_a_job_that_is_over_is_left_alone() -> None:
    manager, timeouts = await late_job()
    await timeouts.stop_tracking("job", "completed")
    assert manager.sent[-1][0] == "receive_job_final_status"
    assert manager.sent[-1][1].status == "completed"
    manager.job.timeout_tracking.last_report_at -= 1000.0
    assert await timeouts.check_timeout("job") == (False, "")
    manager.job.status = "completed"
    assert not await timeouts.handle_global_timeout("job", "slow", 9)
    assert manager.timeouts == []


async def test_a_stale_word_of_the_gate_is_not_followed() -> None:
    manager, timeouts = await late_job()
    await timeouts.resume_tracking("job")
    assert manager.sent[0][0] == "receive_job_leader_transfer"
    assert not await timeouts.handle_global_timeout("job", "slow", 0)
    assert await timeouts.handle_global_timeout("job", "slow", 1)
    assert manager.timeouts == [("job", "Global timeout: slow")]
    with pytest.raises(ValueError, match="Gate address required"):
        await timeouts.start_tracking("job", 10.0)


async def test_workflows() -> None:
    machine = WorkflowStateMachine(Node(), "10.0.0.1", 1, "node")
    seen: list[tuple[str, WorkflowState, WorkflowState]] = []

    async def watch(*step: Any) -> None:
        seen.append(step)
        raise RuntimeError("broken")

    machine.register_progress_callback(watch)
    assert machine.get_state("w") is WorkflowState.PENDING
    assert not await machine.transition("w", WorkflowState.COMPLETED)
    assert await machine.transition("w", WorkflowState.DISPATCHED)
    assert await machine.transition("w", WorkflowState.RUNNING, "a worker took it")
    assert seen[-1] == ("w", WorkflowState.DISPATCHED, WorkflowState.RUNNING)
    assert machine.get_running_workflows() == ["w"]
    assert [entry[0] for entry in machine.get_stuck_workflows(0.0)] == ["w"]
    assert await machine.transition("w", WorkflowState.COMPLETED)
    assert machine.get_stuck_workflows(0.0) == []
    assert machine.get_state_counts()[WorkflowState.COMPLETED] == 1
    assert [step.reason for step in machine.get_history("w")] == ["", "a worker took it", ""]
    machine.cleanup_workflow("w")
    assert machine.get_time_since_progress("w") is None
