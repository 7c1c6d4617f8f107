"""Network coordinates by themselves."""

from __future__ import annotations

import math
import pickle
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
import shoal

SECOND = 1_000_000_000
NAN = float("nan")
FIVE: Any = 5


def settle(
    pairs: dict[tuple[str, str], float], rounds: int = 200
) -> dict[str, shoal.CoordinateTracker]:
    """Trackers that have measured these round trips, in ms, from both ends."""
    names = sorted({name for pair in pairs for name in pair})
    trackers = {name: shoal.CoordinateTracker(seed=seed) for seed, name in enumerate(names)}
    for turn in range(rounds):
        for (one, two), rtt_ms in pairs.items():
            now_ns = (turn + 1) * SECOND
            trackers[one].observe(two, trackers[two].coordinate, rtt_ms, now_ns=now_ns)
            trackers[two].observe(one, trackers[one].coordinate, rtt_ms, now_ns=now_ns)
    return trackers


def test_two_hosts_settle_at_their_round_trip() -> None:
    trackers = settle({("a", "b"): 50.0})
    a, b = trackers["a"], trackers["b"]
    assert a.coordinate.distance_ms(b.coordinate) == pytest.approx(50.0, rel=0.05)
    assert a.is_converged
    assert a.quality > 0.5
    now_ns = 200 * SECOND
    measured = a.rtt("b", now_ns=now_ns)
    assert measured is not None
    assert measured.ms == pytest.approx(50.0)
    assert measured.upper_ms >= measured.ms
    assert a.upper_ms("b", now_ns=now_ns) == measured.upper_ms
    predicted = a.prediction("b", now_ns=now_ns)
    assert predicted is not None
    assert predicted.ms == pytest.approx(50.0, rel=0.05)
    # A measurement is preferred while it is recent, and a prediction while the coordinate is.
    assert a.rtt("b", now_ns=10_000 * SECOND) is None
    metrics = a.metrics()
    assert metrics["updates"] == 200
    assert metrics["convergence_seconds"] is not None
    assert metrics["refused_rate"] == 0


def test_peers_that_were_never_measured_are_predicted() -> None:
    trackers = settle({("a", "b"): 30.0, ("b", "c"): 30.0, ("a", "c"): 60.0})
    stranger = shoal.CoordinateTracker()
    assert stranger.rtt("c") is None
    now_ns = 200 * SECOND
    assert trackers["a"].observe("d", trackers["c"].coordinate, now_ns=now_ns) is None
    told = trackers["a"].rtt("d", now_ns=now_ns)
    assert told is not None
    assert told.ms == pytest.approx(60.0, rel=0.2)
    measured = trackers["a"].rtt("c", now_ns=now_ns)
    assert measured is not None
    assert told.quality < measured.quality


def test_bulk_results_are_packed_floats() -> None:
    tracker = shoal.CoordinateTracker()
    place = shoal.CoordinateTracker(seed=1).coordinate
    for number in range(20):
        tracker.observe(f"peer{number}", place, 100.0 - number, now_ns=SECOND)
    assert tracker.forget("peer7")
    assert not tracker.forget("peer7")
    tracker.measure("silent", 500.0, now_ns=SECOND)
    packed = tracker.round_trips_ms(now_ns=SECOND)
    peers = tracker.peers()
    assert len(peers) == len(tracker) == 20
    values = struct.unpack(f"{len(peers)}f", packed)
    assert list(memoryview(packed).cast("f")) == list(values)
    by_peer = dict(zip(peers, values, strict=True))
    assert by_peer["peer3"] == 97.0
    assert by_peer["silent"] == 500.0
    assert "peer7" not in by_peer
    assert "peer7" not in tracker
    assert tracker.nearest(2, now_ns=SECOND) == [("peer19", 81.0), ("peer18", 82.0)]
    assert tracker.nearest(0, now_ns=SECOND) == []
    late = 10_000 * SECOND
    assert all(
        math.isinf(value) for value in struct.unpack("20f", tracker.round_trips_ms(now_ns=late))
    )
    assert tracker.cleanup(now_ns=late) == 20
    assert tracker.peers() == []


def test_the_present_is_the_default() -> None:
    tracker = shoal.CoordinateTracker()
    place = tracker.coordinate
    assert tracker.measure("b", 5.0, now_ns=time.monotonic_ns() - SECOND) is None
    assert tracker.measure("b", 5.0) is None
    assert tracker.observe("b", place, 5.0) is shoal.Refusal.RATE
    rtt = tracker.rtt("b")
    assert rtt is not None
    assert rtt.ms == pytest.approx(5.0)
    assert tracker.observe("b", place, 5.0, now_ns=1) is shoal.Refusal.TIME


def test_nonsense_of_peers_is_refused_and_counted() -> None:
    tracker = shoal.CoordinateTracker(peer_capacity=2)
    place = shoal.CoordinateTracker(seed=1).coordinate
    before = tracker.coordinate
    assert tracker.observe("a", place, 0.0) is shoal.Refusal.ROUND_TRIP
    assert tracker.observe("b", place, 20_000.0) is shoal.Refusal.ROUND_TRIP
    errs_too_much = shoal.Coordinate(place.vector, 0.0, 0.0, 5.0)
    assert tracker.observe("c", errs_too_much, 5.0) is shoal.Refusal.COORDINATE
    # Refused newcomers take no room.
    assert len(tracker) == 0
    assert tracker.coordinate == before
    metrics = tracker.metrics()
    assert (metrics["refused_round_trip"], metrics["refused_coordinate"]) == (2, 1)
    tracker.observe("a", place, 5.0)
    tracker.observe("b", place, 5.0)
    with pytest.raises(shoal.CommandError, match="2 peers are known; forget some or raise"):
        tracker.observe("c", place, 5.0)
    tracker.forget("a")
    assert tracker.observe("c", place, 5.0) is None


BAD_CALLS: list[tuple[Callable[[Any, Any], object], type[Exception]]] = [
    (lambda t, c: t.observe("a", c, NAN), shoal.ConfigError),
    (lambda t, c: t.observe("a", c, float("inf")), shoal.ConfigError),
    (lambda t, c: t.observe("a", c, -1.0), shoal.ConfigError),
    (lambda t, c: t.observe("a", c, "5"), TypeError),
    (lambda t, c: t.observe("a", (1, 2), 5.0), TypeError),
    (lambda t, c: t.observe(5, c, 5.0), TypeError),
    (lambda t, c: t.measure("a", NAN), shoal.ConfigError),
    (lambda t, c: t.rtt("a", now_ns=-1), shoal.ConfigError),
    (lambda t, c: t.rtt(5), TypeError),
    (lambda t, c: t.nearest(-1), OverflowError),
    (lambda t, c: t.restore(5), TypeError),
    (lambda t, c: shoal.CoordinateTracker(peer_capacity=0), shoal.ConfigError),
    (lambda t, c: shoal.CoordinateTracker(config=FIVE), TypeError),
    (lambda t, c: shoal.VivaldiConfig(gain=NAN), shoal.ConfigError),
    (lambda t, c: shoal.VivaldiConfig(spring_capacity=9), shoal.ConfigError),
    (lambda t, c: shoal.VivaldiConfig(profile="serf"), TypeError),
]


@pytest.mark.parametrize(("call", "error"), BAD_CALLS)
def test_bad_calls(call: Any, error: type[Exception]) -> None:
    tracker = shoal.CoordinateTracker()
    with pytest.raises(error):
        call(tracker, tracker.coordinate)
    assert len(tracker) == 0


def test_a_snapshot_survives_a_restart() -> None:
    tracker = settle({("a", "b"): 50.0})["a"]
    snapshot = tracker.snapshot()
    assert snapshot.sample_count == 200
    restarted = shoal.CoordinateTracker(seed=9)
    restarted.restore(snapshot)
    assert restarted.coordinate == tracker.coordinate
    assert restarted.snapshot() == snapshot
    broken = shoal.CoordinateSnapshot(snapshot.coordinate, NAN, 0.1, 5)
    with pytest.raises(shoal.ConfigError, match="not finite or out of its range"):
        restarted.restore(broken)
    assert restarted.snapshot() == snapshot


def test_the_profile_of_the_python_node() -> None:
    config = shoal.VivaldiConfig(profile=shoal.HyperscaleConfig(gravity=0.0))
    tracker = shoal.CoordinateTracker(config=config)
    # An error in seconds, which the native profile would refuse.
    assert pickle.loads(pickle.dumps(shoal.Coordinate([0.0] * 8, 0.0, 0.0, 9.0))).error == 9.0
    peer = shoal.Coordinate([0.01] + [0.0] * 7, 0.0, 0.0, 1.0)
    assert tracker.observe("b", peer, 30.0, now_ns=SECOND) is None
    assert tracker.snapshot().sample_count == 1
    with pytest.raises(shoal.ConfigError, match="ce is NaN"):
        shoal.VivaldiConfig(profile=shoal.HyperscaleConfig(ce=NAN))
