"""Values behave like frozen dataclasses."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import shoal
from shoal import _native

RTT = shoal.Rtt(1.5, upper_ms=3.0, quality=0.5)
COORDINATE = shoal.Coordinate([0.0] * 7 + [0.02], height=0.001, adjustment=0.0, error=0.2)
JOB = shoal.JobId("nightly")
COUNTS = shoal.WorkflowCounts(3, 2, 1)
SCORE = shoal.RoutingScore(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
VALUES: list[tuple[Any, str | None]] = [
    (RTT, "Rtt(ms=1.5, upper_ms=3.0, quality=0.5)"),
    (
        COORDINATE,
        "Coordinate(vector=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.02), height=0.001, "
        "adjustment=0.0, error=0.2)",
    ),
    (
        shoal.Member("10.0.0.1:7", "alive", "gate", "east", 1, 2, 3, RTT, None),
        "Member(address='10.0.0.1:7', state=MemberState.ALIVE, role=Role.GATE, datacenter='east', "
        "generation=1, incarnation=2, health_score=3, rtt=Rtt(ms=1.5, upper_ms=3.0, quality=0.5), "
        "coordinate=None)",
    ),
    (
        shoal.MemberEvent(("::1", 7), shoal.MemberState.DEAD, shoal.Role.WORKER, "w", 1, 2, 3),
        "MemberEvent(address='[::1]:7', state=MemberState.DEAD, role=Role.WORKER, datacenter='w', "
        "generation=1, incarnation=2, at_ns=3)",
    ),
    (shoal.Joined("10.0.0.1:7", 5), "Joined(seed='10.0.0.1:7', at_ns=5)"),
    (shoal.JoinDelayed(4, at_ns=5), "JoinDelayed(attempts=4, at_ns=5)"),
    (shoal.Refuted(4, 5), "Refuted(incarnation=4, at_ns=5)"),
    (shoal.Left(5), "Left(at_ns=5)"),
    (
        shoal.StateChanged("10.0.0.1:7", b"up", at_ns=5),
        "StateChanged(address='10.0.0.1:7', state=b'up', at_ns=5)",
    ),
    (
        shoal.Broadcast("10.0.0.1:7", bytearray(b"x"), 5),
        "Broadcast(source='10.0.0.1:7', payload=b'x', at_ns=5)",
    ),
    (shoal.Stalled(0.5, 5), "Stalled(lasted_seconds=0.5, at_ns=5)"),
    (
        shoal.LeaderElected("east", "10.0.0.1:7", 2, 5),
        "LeaderElected(datacenter='east', leader='10.0.0.1:7', term=2, at_ns=5)",
    ),
    (shoal.LeaderLost("east", "10.0.0.1:7", 2, 5), None),
    (shoal.SteppedDown(2, "lease_lost", 5), "SteppedDown(term=2, reason='lease_lost', at_ns=5)"),
    (shoal.ReachabilityChanged("east", "suspected", "reachable", 5), None),
    (shoal.Leadership(None, 0, False), "Leadership(leader=None, term=0, is_own=False)"),
    (
        shoal.DatacenterView("east", "reachable", "busy", None, 0, 3, 2, 0, 8, 1, RTT),
        None,
    ),
    (shoal.Overflow(5), "Overflow(lost=5)"),
    (shoal.HyperscaleMessage("10.0.0.1:7", "leader-vote", b"leader-vote:1>", 5), None),
    (
        shoal.HyperscaleHealth(
            "10.0.0.1:7", "n", "manager", "busy", True, 8, 1.5, 2.0, timestamp=9.5, at_ns=5
        ),
        None,
    ),
    (
        shoal.HyperscaleWorker(
            *("10.0.0.1:7", "w", "m", "10.0.0.2", 1, 2, "registered", 3, 8, 4, 9.5, "east", 5)
        ),
        None,
    ),
    (shoal.OtherEvent("new"), "OtherEvent(text='new')"),
    (shoal.JobMemberDead(JOB, "10.0.0.1:7", 5), None),
    (shoal.JobTimedOut(JOB, "deadline", 1.5, 2, 5), None),
    (
        shoal.JobStuck(JOB, 1.5, fence=2, at_ns=5),
        f"JobStuck(job={JOB!r}, since_progress_seconds=1.5, fence=2, at_ns=5)",
    ),
    (shoal.JobSuperseded(JOB, 2), None),
    (shoal.WorkerOverdue(JOB, shoal.WorkerId("worker")), None),
    (shoal.JobGlobalTimeout(JOB, shoal.TimeoutReason.ALL_STUCK, 1.5, 5), None),
    (shoal.JobStatusCorrection(JOB, "east", None, 2), None),
    (COUNTS, "WorkflowCounts(total=3, completed=2, failed=1)"),
    (shoal.ExtensionGrant(1.5, 3.0, 2, False), None),
    (shoal.ExtensionDenial("no_progress", 0.0), None),
    (
        shoal.JobSnapshot(JOB, None, 2, 60.0, 1.0, 2.0, 3.0, 4.0, 5.0, COUNTS, 7, "failed"),
        None,
    ),
    (shoal.WorkflowTransition("pending", "dispatched", 5, "because"), None),
    (shoal.WorkflowEvent(shoal.WorkflowId(1), JOB, "pending", "failed", COUNTS, 5), None),
    (shoal.CoordinateSnapshot(COORDINATE, 0.1, 0.2, 3), None),
    (
        shoal.DatacenterCandidate("east", 3, rtt=RTT, health="busy", expected_latency_ms=1.0),
        "DatacenterCandidate(datacenter='east', manager_count=3, usable_manager_count=None, "
        "available_cores=0, total_cores=0, queue_depth=0, rtt=Rtt(ms=1.5, upper_ms=3.0, "
        "quality=0.5), health=DatacenterHealth.BUSY, updated_at_ns=None, circuit_pressure=0.0, "
        "severity=1.0, expected_latency_ms=1.0, expected_throughput_per_second=None)",
    ),
    (shoal.ManagerCandidate("10.0.0.1:7", circuit="open", heartbeat_at_ns=5), None),
    (SCORE, None),
    (shoal.RankedDatacenter("east", "busy", SCORE, True, False, True, False), None),
    (shoal.ExcludedDatacenter("east", "unhealthy_status"), None),
    (shoal.RankedManager("10.0.0.1:7", SCORE, True), None),
    (shoal.ExcludedManager("10.0.0.1:7", shoal.Exclusion.HEARTBEAT_STALE), None),
]
ANYTHING: Any = "something of another type"
NAMES = [type(value).__name__ for value, _ in VALUES]


@pytest.mark.parametrize(("value", "text"), VALUES, ids=NAMES)
def test_values_print_compare_hash_and_pickle(value: Any, text: str | None) -> None:
    assert repr(value).startswith(f"{type(value).__name__}({value.__match_args__[0]}=")
    assert text is None or repr(value) == text
    twin = pickle.loads(pickle.dumps(value))
    assert twin == value
    assert hash(twin) == hash(value)
    assert copy.copy(value) == value
    assert value != "something else"
    fields = [getattr(value, name) for name in value.__match_args__]
    assert type(value)(*fields) == value


@pytest.mark.parametrize(("value", "_text"), VALUES, ids=NAMES)
def test_values_are_frozen(value: Any, _text: str | None) -> None:
    with pytest.raises(AttributeError):
        setattr(value, value.__match_args__[0], 1)
    with pytest.raises(AttributeError):
        value.another = 1


def test_every_value_class_is_tested() -> None:
    classes = {
        name
        for name, value in vars(_native).items()
        if hasattr(value, "__match_args__") and value.__module__ == "shoal"
    }
    assert classes == {type(value).__name__ for value, _ in VALUES}


def test_values_differ_by_their_fields() -> None:
    assert shoal.Rtt(1.0, 2.0, 0.5) != shoal.Rtt(1.0, 2.0, 0.25)
    assert shoal.Left(1) != shoal.Left(2)
    assert shoal.Left(1) != shoal.Overflow(1)


def test_states_and_roles_are_strings() -> None:
    event = VALUES[3][0]
    assert isinstance(event, shoal.MemberEvent)
    assert event.state == "dead"
    assert event.state is shoal.MemberState.DEAD
    assert f"{event.role}" == "worker"
    assert shoal.Role("gate") is shoal.Role.GATE


def test_events_match() -> None:
    event: shoal.Event = shoal.Joined("10.0.0.1:7", 5)
    match event:
        case shoal.Joined(seed, at_ns):
            assert (seed, at_ns) == ("10.0.0.1:7", 5)
        case _:
            pytest.fail("a joined event is one")


def test_coordinates_predict_round_trips() -> None:
    here = shoal.Coordinate([0.0] * 8, 0.0, 0.0, 0.1)
    assert here.distance_ms(COORDINATE) == pytest.approx(21.0)


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: shoal.Coordinate([0.0] * 7, 0.0, 0.0, 1.0), shoal.ConfigError),
        (lambda: shoal.Coordinate([float("nan")] * 8, 0.0, 0.0, 1.0), shoal.ConfigError),
        (lambda: shoal.Coordinate([0.0] * 8, -1.0, 0.0, 1.0), shoal.ConfigError),
        (lambda: shoal.Coordinate([0.0] * 8, 0.0, 0.0, 0.0), shoal.ConfigError),
        (lambda: shoal.Coordinate(ANYTHING, 0.0, 0.0, 1.0), TypeError),
        (lambda: shoal.Joined("nowhere", 5), shoal.AddressError),
        (lambda: shoal.MemberEvent("10.0.0.1:7", "asleep", "gate", "w", 1, 2, 3), ValueError),
        (lambda: shoal.MemberEvent("10.0.0.1:7", "alive", "king", "w", 1, 2, 3), ValueError),
        (lambda: shoal.MemberEvent("10.0.0.1:7", "alive", "gate", "a b", 1, 2, 3), ValueError),
        (lambda: shoal.Left(ANYTHING), TypeError),
        (lambda: shoal.Left(-1), OverflowError),
        (lambda: shoal.Broadcast("10.0.0.1:7", ANYTHING, 5), TypeError),
        (lambda: shoal.Rtt(1.0, 2.0, ANYTHING), TypeError),
        (lambda: shoal.Rtt(*[1.0]), TypeError),
    ],
)
def test_values_refuse_what_cannot_be(build: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        build()
