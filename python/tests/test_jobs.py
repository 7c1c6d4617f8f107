"""Job timeouts and workflows, by themselves and on running nodes."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import shoal
from cluster import count_alive, make_node, until

SECOND = 1_000_000_000
GATE, MANAGER = "10.0.0.1:7462", "10.0.0.2:7462"
NAN = float("nan")
FIVE: Any = 5


def events_of(tracker: Any) -> list[shoal.JobEvent]:
    """Everything that a tracker has to tell."""
    events: list[shoal.JobEvent] = []
    while (event := tracker.poll_event()) is not None:
        events.append(event)
    return events


def test_a_job_without_a_gate_times_out_by_itself() -> None:
    jobs = shoal.JobTimeouts(now_ns=0)
    assert jobs.poll_timeout() is None
    assert jobs.job_started("nightly", 60.0, now_ns=SECOND)
    assert not jobs.job_started("nightly", 60.0, now_ns=SECOND)
    assert jobs.deadline_ns("nightly") == 61 * SECOND
    assert jobs.job_progress("nightly", shoal.WorkflowCounts(3, 1, 0), now_ns=50 * SECOND)
    jobs.handle_timeout(now_ns=60 * SECOND)
    assert events_of(jobs) == []
    assert jobs.poll_timeout() is not None
    jobs.handle_timeout(now_ns=62 * SECOND)
    (event,) = events_of(jobs)
    assert isinstance(event, shoal.JobTimedOut)
    assert event.job == shoal.JobId("nightly")
    assert event.reason is shoal.TimeoutReason.DEADLINE
    assert event.elapsed_seconds == pytest.approx(61.0)
    assert event.at_ns == 62 * SECOND
    assert not jobs.job_finished("nightly", now_ns=63 * SECOND)
    assert jobs.stats()["timed_out"] == 1
    assert len(jobs) == 0


def test_a_stuck_job_is_told_and_a_finished_one_is_not() -> None:
    jobs = shoal.JobTimeouts(config=shoal.JobsConfig(stuck_after_ms=10_000), now_ns=0)
    jobs.job_started("stuck", 1_000.0, now_ns=0)
    jobs.job_started("done", 5.0, now_ns=0)
    assert jobs.job_finished("done", shoal.JobOutcome.FAILED, now_ns=SECOND)
    jobs.handle_timeout(now_ns=11 * SECOND)
    kinds = [type(event) for event in events_of(jobs)]
    assert kinds == [shoal.JobStuck, shoal.JobTimedOut]


def test_extensions_are_negotiated() -> None:
    jobs = shoal.JobTimeouts(now_ns=0)
    jobs.job_started("job", 60.0, now_ns=0)
    grant = jobs.worker_extension("job", "worker", 0.1, now_ns=SECOND)
    assert isinstance(grant, shoal.ExtensionGrant)
    assert grant.duration_seconds == 15.0
    assert grant.remaining == 4
    assert jobs.deadline_ns("job") == 75 * SECOND
    denial = jobs.worker_extension("job", "worker", 0.1, now_ns=2 * SECOND)
    assert denial == shoal.ExtensionDenial(shoal.DenialReason.NO_PROGRESS, 0.0)
    denials = [
        jobs.worker_extension("job", "worker", NAN, now_ns=2 * SECOND),
        jobs.worker_extension("job", "worker", 0.5, is_suspect=True, now_ns=2 * SECOND),
        jobs.worker_extension("another", "worker", 0.5, now_ns=2 * SECOND),
    ]
    reasons = [denial.reason for denial in denials if isinstance(denial, shoal.ExtensionDenial)]
    assert reasons == ["not_a_number", "suspect", "unknown_job"]
    progress = 0.1
    while isinstance(grant, shoal.ExtensionGrant):
        progress += 0.1
        grant = jobs.worker_extension("job", "worker", progress, now_ns=3 * SECOND)
    assert grant.reason is shoal.DenialReason.EXHAUSTED
    assert grant.grace_seconds == 10.0
    jobs.handle_timeout(now_ns=14 * SECOND)
    overdue = shoal.WorkerOverdue(shoal.JobId("job"), shoal.WorkerId("worker"))
    assert events_of(jobs) == [overdue]
    assert jobs.worker_recovered("job", "worker", now_ns=14 * SECOND)
    assert jobs.worker_removed("job", "worker", now_ns=14 * SECOND)
    assert not jobs.worker_removed("job", "worker", now_ns=14 * SECOND)


def test_a_snapshot_moves_a_job_to_another_manager() -> None:
    old, new = shoal.JobTimeouts(now_ns=0), shoal.JobTimeouts(now_ns=0)
    old.job_started("job", 60.0, gate=GATE, fence=7, now_ns=0)
    snapshot = old.job_snapshot("job", now_ns=20 * SECOND)
    assert snapshot is not None
    assert (snapshot.elapsed_seconds, snapshot.gate, snapshot.fence) == (20.0, GATE, 7)
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    assert snapshot.aged(5.0).elapsed_seconds == 25.0
    # The clock of the new manager shows something else altogether.
    assert new.job_taken_over(snapshot.aged(5.0), now_ns=1_000 * SECOND)
    taken = new.job_snapshot("job", now_ns=1_000 * SECOND)
    assert taken is not None
    assert (taken.elapsed_seconds, taken.fence) == (25.0, 8)
    assert new.deadline_ns("job") == 1_035 * SECOND
    assert old.job_given_up("job", now_ns=21 * SECOND)
    assert old.job_snapshot("job") is None
    assert new.gate_changed(GATE, "10.0.0.9:1")
    assert not new.gate_changed(GATE, "10.0.0.9:1")


def test_a_gate_decides_for_all_datacenters() -> None:
    gate, manager = shoal.GateJobTimeouts(seed=1, now_ns=0), shoal.JobTimeouts(seed=2, now_ns=0)
    assert gate.gate_job_started("job", 60.0, {"east": MANAGER, "west": None}, now_ns=0)
    assert not gate.gate_job_started("job", 60.0, ["east"], now_ns=0)
    manager.job_started("job", 60.0, gate=GATE, datacenter_count=2, now_ns=0)
    now_ns = 61 * SECOND
    manager.handle_timeout(now_ns=now_ns)
    reports = 0
    while (outgoing := manager.poll_message(now_ns=now_ns)) is not None:
        message, target = outgoing
        assert target == ("10.0.0.1", 7462)
        assert gate.handle_message(MANAGER, "east", message, now_ns=now_ns)
        reports += 1
    assert reports > 0
    (decision,) = events_of(gate)
    assert isinstance(decision, shoal.JobGlobalTimeout)
    assert decision.reason is shoal.TimeoutReason.DATACENTERS_TIMED_OUT
    while (outgoing := gate.poll_message(now_ns=now_ns)) is not None:
        message, target = outgoing
        assert target == ("10.0.0.2", 7462)
        assert manager.handle_message(GATE, message, now_ns=now_ns)
    (event,) = events_of(manager)
    assert isinstance(event, shoal.JobTimedOut)
    assert event.reason is shoal.TimeoutReason.DATACENTERS_TIMED_OUT
    assert gate.stats()["timed_out"] == 1
    assert len(gate) == 1
    gate.handle_timeout(now_ns=now_ns)
    assert gate.poll_timeout() is not None
    assert not gate.job_finished("unknown", now_ns=now_ns)


def test_what_is_no_message_is_left_alone() -> None:
    jobs, gate = shoal.JobTimeouts(), shoal.GateJobTimeouts()
    for data in (b"", b"\xff" * 40, bytes(2_000)):
        assert not jobs.handle_message(GATE, data)
        assert not gate.handle_message(MANAGER, "east", data)


def test_workflows_take_legal_steps_only() -> None:
    config = shoal.JobsConfig(workflow_capacity=2, workflow_history=2)
    machine = shoal.WorkflowStateMachine(config=config)
    assert machine.add("first", "job", now_ns=0)
    assert not machine.add("first", "job", now_ns=0)
    machine.add("second", "job", now_ns=0)
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: machine.add("third", "job"), "no room for another workflow"),
        (lambda: machine.add("first", "another"), "belongs to job"),
        (lambda: machine.transition("first", "completed"), "pending cannot become completed"),
        (lambda: machine.transition("third", "running"), "unknown workflow"),
    ]
    for call, message in refused:
        with pytest.raises(shoal.CommandError, match=message):
            call()
    for second, state in enumerate(["dispatched", shoal.WorkflowState.RUNNING, "completed"], 1):
        machine.transition("first", state, "so it goes", now_ns=second * SECOND)
    assert machine.state("first") is shoal.WorkflowState.COMPLETED
    assert [step.to_state for step in machine.history("first")] == ["running", "completed"]
    assert machine.history("first")[0].reason == "so it goes"
    assert machine.state("third") is None
    assert machine.job("first") == shoal.JobId("job")
    assert machine.job_counts("job") == shoal.WorkflowCounts(2, 1, 0)
    assert machine.counts()[shoal.WorkflowState.PENDING] == 1
    assert machine.workflows_of("job") == [shoal.WorkflowId("second"), shoal.WorkflowId("first")]
    assert machine.workflows_in("completed") == [shoal.WorkflowId("first")]
    assert machine.seconds_since_progress("first", now_ns=5 * SECOND) == 2.0
    stuck = machine.stuck(5.0, now_ns=5 * SECOND)
    assert stuck == [(shoal.WorkflowId("second"), shoal.WorkflowState.PENDING, 5.0)]
    assert machine.progress("second", now_ns=5 * SECOND)
    assert not machine.progress("first")
    assert machine.stuck(5.0, now_ns=6 * SECOND) == []
    jobs = shoal.JobTimeouts(now_ns=0)
    jobs.job_started("job", 60.0, now_ns=0)
    moves = 0
    while (event := machine.poll_event()) is not None:
        assert jobs.workflow_moved(event, now_ns=event.at_ns)
        moves += 1
    assert moves == 4
    snapshot = jobs.job_snapshot("job", now_ns=5 * SECOND)
    assert snapshot is not None
    assert snapshot.workflows == shoal.WorkflowCounts(2, 1, 0)
    assert snapshot.since_progress_seconds == 0.0
    assert machine.remove("second")
    assert machine.remove_job("job") == 1
    assert len(machine) == machine.dropped_events == 0


def watch(*arguments: Any) -> object:
    """Starts a job on a gate of its own."""
    return shoal.GateJobTimeouts().gate_job_started(*arguments)


BAD_CALLS: list[tuple[Callable[[Any], object], type[Exception], str | None]] = [
    (lambda j: j.job_started("job", 0.0), shoal.CommandError, "expected 1 ms to 365 days"),
    (lambda j: j.job_started("job", NAN), shoal.ConfigError, "no span of time"),
    (lambda j: j.job_started("job", -5.0), shoal.ConfigError, "no span of time"),
    (lambda j: j.job_started("job", 1e300), shoal.ConfigError, "no span of time"),
    (lambda j: j.job_started("job", "long"), TypeError, None),
    (lambda j: j.job_started(None, 5.0), TypeError, "JobId: expected a str"),
    (
        lambda j: j.job_started("job", 5.0, gate="0.0.0.0:1"),
        shoal.CommandError,
        "cannot report",
    ),
    (lambda j: j.job_started("job", 5.0, gate="gate"), shoal.AddressError, None),
    (lambda j: j.job_finished("job", "won"), shoal.ConfigError, "unknown job outcome"),
    (lambda j: j.job_progress("job", (1, 2, 3)), TypeError, None),
    (lambda j: j.worker_extension("job", "w", "half"), TypeError, None),
    (lambda j: j.job_taken_over("job"), TypeError, None),
    (lambda j: j.handle_timeout(now_ns=-1), shoal.ConfigError, "out of range"),
    (lambda j: j.handle_message("gate", b""), shoal.AddressError, None),
    (lambda j: j.handle_message(GATE, "text"), TypeError, None),
    (
        lambda j: watch("job", 5.0, []),
        shoal.CommandError,
        "0 d",
    ),
    (
        lambda j: watch("job", 5.0, "east"),
        TypeError,
        "not a str",
    ),
    (lambda j: watch("job", 5.0, {"e": 5}), TypeError, None),
    (lambda j: shoal.WorkflowStateMachine().stuck(NAN), shoal.ConfigError, "no span of time"),
    (lambda j: shoal.JobTimeouts(config=FIVE), TypeError, "config is a shoal.JobsConfig"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_bad_calls(call: Any, error: type[Exception], message: str | None) -> None:
    jobs = shoal.JobTimeouts()
    with pytest.raises(error, match=message):
        call(jobs)
    assert len(jobs) == 0


def test_a_full_tracker_refuses() -> None:
    jobs = shoal.JobTimeouts(config=shoal.JobsConfig(job_capacity=2))
    jobs.job_started(1, 5.0)
    jobs.job_started(2, 5.0)
    with pytest.raises(shoal.CommandError, match="no room for another job"):
        jobs.job_started(3, 5.0)


async def test_nodes_time_a_job_out_in_every_datacenter() -> None:
    quick = shoal.Config(
        probe_interval_ms=100,
        gossip_interval_ms=20,
        join_interval_ms=50,
        jobs=shoal.JobsConfig(report_interval_ms=100, retry_min_ms=50, retry_max_ms=100),
    )
    async with make_node(role="gate", config=quick) as gate:
        options: dict[str, Any] = {"config": quick, "join": [gate.address]}
        async with (
            make_node(datacenter="east", **options) as east,
            make_node(datacenter="west", **options) as west,
        ):
            nodes = [gate, east, west]
            await until(lambda: all(count_alive(node) == 3 for node in nodes))
            targets = {"east": east.address, "west": west.address}
            assert gate.gate_job_started("slow", 1.0, targets)
            streams = [node.events() for node in nodes]
            for manager in (east, west):
                assert manager.job_started("slow", 1.0, gate=gate.address, datacenter_count=2)
                assert manager.job_progress("slow", shoal.WorkflowCounts(4, 1, 0))
            grant = east.worker_extension("slow", "worker", 0.5)
            assert isinstance(grant, shoal.ExtensionGrant)
            snapshot = east.job_snapshot("slow")
            assert snapshot is not None
            assert snapshot.extension_total_seconds == grant.total_seconds
            seen: list[shoal.JobGlobalTimeout | shoal.JobTimedOut] = []
            for stream in streams:
                async with asyncio.timeout(20):
                    async for event in stream:
                        if isinstance(event, (shoal.JobGlobalTimeout, shoal.JobTimedOut)):
                            seen.append(event)
                            break
            assert [type(event) for event in seen] == [
                shoal.JobGlobalTimeout,
                shoal.JobTimedOut,
                shoal.JobTimedOut,
            ]
            assert {event.job for event in seen} == {shoal.JobId("slow")}


async def test_jobs_belong_to_roles() -> None:
    async with make_node(role="worker") as worker:
        with pytest.raises(shoal.CommandError, match="only a manager can do this"):
            worker.job_started("job", 5.0)
        with pytest.raises(shoal.CommandError, match="only a gate can do this"):
            worker.gate_job_started("job", 5.0, ["east"])
        assert worker.job_snapshot("job") is None
    async with make_node() as manager:
        assert manager.job_started("job", 5.0, fence=3)
        snapshot = manager.job_snapshot("job")
        assert snapshot is not None
        assert manager.job_finished("job", shoal.JobOutcome.CANCELLED)
        assert not manager.job_finished("job")
        assert manager.job_taken_over(snapshot, term=9)
        taken = manager.job_snapshot("job")
        assert taken is not None
        assert taken.fence == 9
        assert manager.job_given_up("job")
        assert not manager.job_given_up("job")


def test_engines_keep_jobs_too() -> None:
    options: dict[str, Any] = {"secret": bytes(32), "generation": 1, "now_ns": 0}
    manager = shoal.Engine(MANAGER, seed=1, **options)
    assert manager.job_started(0, "job", 5.0)
    assert manager.job_progress(SECOND, "job")
    assert isinstance(manager.worker_extension(SECOND, "job", "w", 0.5), shoal.ExtensionGrant)
    snapshot = manager.job_snapshot(SECOND, "job")
    assert snapshot is not None
    assert shoal.JobSnapshot.from_bytes(snapshot.to_bytes()) == snapshot
    with pytest.raises(shoal.ConfigError, match="no snapshot"):
        shoal.JobSnapshot.from_bytes(bytes(105))
    assert manager.job_given_up(SECOND, "job")
    assert manager.job_taken_over(SECOND, snapshot)
    assert manager.job_started(SECOND, "watched", 5.0, gate=GATE)
    assert manager.poll_transmit(SECOND) is not None
    assert manager.poll_transmit(SECOND) is None
    assert manager.gate_changed(SECOND, GATE, "10.0.0.9:1")
    assert not manager.gate_changed(SECOND, GATE, "10.0.0.9:1")
    assert manager.job_finished(2 * SECOND, "job", "failed")
    gate = shoal.Engine(GATE, seed=2, role="gate", **options)
    assert gate.gate_job_started(0, "job", 5.0, {"east": MANAGER})
    assert gate.gate_job_released(0, "job")
    assert not gate.gate_job_released(0, "job")
    with pytest.raises(shoal.CommandError, match="only a manager"):
        gate.job_started(0, "job", 5.0)
    assert gate.job_standing("job", MANAGER) is shoal.JobStanding.DEAD
    assert not gate.accuse_for_job(0, "job", MANAGER, GATE)
    assert not gate.vouch_for_job("job", MANAGER)
    gate.forget_job("job")
