"""Where hyperscale's classes are known to be wrong, the drop-ins are right."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import math
import pickle
import time
import weakref
from typing import Any

import pytest
from shoal.hyperscale.health.tracker import HealthPiggyback
from shoal.hyperscale.models.coordinates import NetworkCoordinate, VivaldiConfig
from shoal.hyperscale.routing import (
    CandidateFilter,
    DatacenterCandidate,
    GateJobRouter,
    GateJobRouterConfig,
    HysteresisConfig,
    ObservedLatencyTracker,
    RoutingDecisionReason,
)
from shoal.hyperscale.server.events.lamport_clock import LamportClock
from shoal.hyperscale.swim.coordinates import CoordinateTracker, NetworkCoordinateEngine
from shoal.hyperscale.swim.detection.hierarchical_failure_detector import (
    HierarchicalConfig,
    HierarchicalFailureDetector,
    NodeStatus,
)
from shoal.hyperscale.swim.detection.incarnation_tracker import IncarnationTracker
from shoal.hyperscale.swim.detection.probe_scheduler import ProbeScheduler
from shoal.hyperscale.swim.detection.suspicion_state import SuspicionState
from shoal.hyperscale.swim.detection.timing_wheel import TimingWheel, TimingWheelConfig
from shoal.hyperscale.swim.gossip.gossip_buffer import GossipBuffer
from shoal.hyperscale.swim.gossip.health_gossip_buffer import HealthGossipBuffer
from shoal.hyperscale.swim.message_handling.core.message_parser import MessageParser
from test_hyperscale_vectors import mature_tracker

NODE = ("10.0.0.1", 9000)
OTHER = ("10.0.0.2", 9000)


def untyped(value: Any) -> Any:
    """The value, for calls that a type checker would refuse."""
    return value


def at(*vector: float, error: float = 0.2) -> NetworkCoordinate:
    components = [*vector, *[0.0] * (8 - len(vector))]
    return NetworkCoordinate(components, 0.0, 0.0, error, sample_count=20)


# Coordinates.


def test_coinciding_nodes_part_in_all_dimensions() -> None:
    used: set[int] = set()
    for _ in range(20):
        moved = NetworkCoordinateEngine().update_with_rtt(at(), 0.05)
        used.update(index for index, value in enumerate(moved.vec) if abs(value) > 1e-6)
    assert used == set(range(8))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e9])
def test_nonsense_of_a_peer_never_enters_the_own_coordinate(bad: float) -> None:
    tracker = mature_tracker()
    before = tracker.get_coordinate()
    for peer in (at(bad), NetworkCoordinate([0.0] * 8, bad, 0.0, 0.1), at(0.1, error=bad)):
        assert tracker.update_peer_coordinate("liar", peer, 10.0) == before
        assert tracker.estimate_rtt_ucb_ms(peer) == tracker.estimate_rtt_ucb_ms()
    for rtt_ms in (bad, -1.0, 0.0, math.nan):
        assert tracker.update_peer_coordinate("peer", at(0.1), rtt_ms) == before
    assert tracker.get_peer_coordinate("liar") is None
    with pytest.raises(ValueError, match="out of range"):
        NetworkCoordinate.from_dict({"vec": [bad] * 8, "height": 0, "adjustment": 0, "error": 1})


def test_a_coordinate_is_like_the_dataclass() -> None:
    coordinate = at(0.25)
    assert [field.name for field in dataclasses.fields(untyped(coordinate))][:2] == [
        "vec",
        "height",
    ]
    assert dataclasses.replace(untyped(coordinate), height=0.5).height == 0.5
    for other in (copy.copy(coordinate), pickle.loads(pickle.dumps(coordinate))):
        assert other == coordinate
        assert other is not coordinate
    assert coordinate != at(0.5)
    assert repr(coordinate).startswith("NetworkCoordinate(vec=[0.25, 0.0")
    again = NetworkCoordinate.from_dict(json.loads(json.dumps(coordinate.to_dict())))
    assert again.to_dict() == coordinate.to_dict()
    coordinate.vec[0] = 0.75
    assert CoordinateTracker().estimate_rtt_ms(coordinate) == 750.0
    coordinate.vec = [0.5]
    assert CoordinateTracker().estimate_rtt_ms(coordinate) == 500.0


def test_a_coordinate_pickled_by_a_node_without_shoal_is_read() -> None:
    coordinate = NetworkCoordinate.__new__(NetworkCoordinate)
    coordinate.__setstate__([[0.5] * 8, 0.25, 0.0, 0.125, 12.0, 3])
    assert coordinate == NetworkCoordinate([0.5] * 8, 0.25, 0.0, 0.125, 12.0, 3)


def test_wrong_arguments_are_type_errors() -> None:
    tracker = CoordinateTracker()
    wrongs: list[Any] = [None, "far", {"vec": []}]
    for wrong in wrongs:
        with pytest.raises(TypeError):
            tracker.update_peer_coordinate("peer", untyped(wrong), 1.0)
    with pytest.raises(TypeError):
        NetworkCoordinate([0.0] * 8)
    with pytest.raises(ValueError, match="at most 8"):
        NetworkCoordinate([0.0] * 9, 0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="dimensions"):
        NetworkCoordinateEngine(VivaldiConfig(dimensions=9))


def test_a_coordinate_that_is_kept_is_not_changed_by_later_samples() -> None:
    tracker = CoordinateTracker()
    kept = [tracker.update_peer_coordinate("peer", at(0.1), 10.0) for _ in range(3)]
    listed = tracker.update_peer_coordinate("peer", at(0.1), 10.0).vec
    pictures = [coordinate.to_dict() for coordinate in kept]
    before = list(listed)
    for _ in range(3):
        tracker.update_peer_coordinate("peer", at(0.2), 50.0)
    assert [coordinate.to_dict() for coordinate in kept] == pictures
    assert [coordinate.sample_count for coordinate in kept] == [1, 2, 3]
    assert listed == before
    assert tracker.get_coordinate().sample_count == 7


def test_a_tracker_takes_an_engine_or_constants() -> None:
    engine = NetworkCoordinateEngine(VivaldiConfig(k_sigma=3.0))
    tracker = CoordinateTracker(engine)
    assert tracker._engine is engine
    assert tracker.get_config() is engine.get_config()
    tracker.update_peer_coordinate("peer", at(0.1), 10.0)
    assert engine.get_coordinate() == tracker.get_coordinate()
    again = CoordinateTracker(config=VivaldiConfig(k_sigma=3.0))
    assert again.estimate_rtt_ucb_ms() == 100.0 + 3.0 * 50.0
    with pytest.raises(TypeError):
        CoordinateTracker(untyped("engine"))


def test_a_tracker_may_be_derived_from_and_watched() -> None:
    class Named(CoordinateTracker):
        name = "own"

    for tracker in (Named(), CoordinateTracker()):
        untyped(tracker).note = "attribute"
        assert weakref.ref(tracker)() is tracker


def test_peers_are_forgotten() -> None:
    tracker = mature_tracker()
    assert tracker.get_all_peer_ids() == ["peer"]
    assert set(tracker._peers) == set(tracker._peer_last_seen) == {"peer"}
    assert tracker.cleanup_stale_peers() == 0
    time.sleep(0.002)
    assert tracker.cleanup_stale_peers(0.001) == 1
    assert tracker.get_peer_count() == 0


# Routing.


def datacenter(name: str, rtt_ms: float | None = None, **fields: Any) -> DatacenterCandidate:
    known: dict[str, Any] = {} if rtt_ms is None else {"rtt_ucb_ms": rtt_ms, "has_coordinate": True}
    options = {"coordinate_quality": 1.0, "total_managers": 3, "healthy_managers": 3}
    given: dict[str, Any] = {**options, **known, **fields}
    return DatacenterCandidate(name, "HEALTHY", 50, 100, 0, 1.0, 0.0, **given)


def test_unknown_is_not_nearer_than_near() -> None:
    tracker = mature_tracker()
    tracker.update_peer_coordinate("near", tracker.get_coordinate(), 1.0)
    listed = [datacenter("unknown"), datacenter("near")]
    decision = GateJobRouter(tracker, lambda: listed).route_job("job")
    assert decision.primary_datacenters[0] == "near"
    assert not decision.in_bootstrap_mode


def test_a_job_stays_where_hysteresis_keeps_it() -> None:
    distances = {"a": 10.0, "b": 12.0}
    router = GateJobRouter(
        mature_tracker(), lambda: [datacenter(name, rtt) for name, rtt in distances.items()]
    )
    assert router.route_job("job").primary_datacenters == ["a", "b"]
    for distances["a"] in (14.0, 9.0, 13.0, 14.0):
        decision = router.route_job("job")
        assert decision.primary_datacenters == ["a", "b"]
        assert decision.reason is RoutingDecisionReason.HOLD_DOWN_RETAINED
        assert not decision.switched


def test_a_job_leaves_a_datacenter_that_degrades_drops_or_goes() -> None:
    def moved(change: Any) -> RoutingDecisionReason:
        listed = {name: datacenter(name, 10.0 + number) for number, name in enumerate("ab")}
        router = GateJobRouter(mature_tracker(), lambda: list(listed.values()))
        assert router.route_job("job").primary_datacenters[0] == "a"
        change(listed["a"])
        decision = router.route_job("job")
        assert decision.primary_datacenters[0] == "b"
        assert decision.switched
        return decision.reason

    def set_to(**fields: Any) -> Any:
        def change(one: DatacenterCandidate) -> None:
            for name, value in fields.items():
                setattr(one, name, value)

        return change

    assert moved(set_to(rtt_ucb_ms=15.0)) == "degradation_forced"
    assert moved(set_to(health_bucket="BUSY")) == "bucket_drop_forced"
    assert moved(set_to(health_bucket="UNHEALTHY")) == "exclusion_forced"
    assert moved(set_to(healthy_managers=0)) == "exclusion_forced"


def test_a_failure_counts_while_routing_goes_by_capacity() -> None:
    router = GateJobRouter(None, lambda: [datacenter("a"), datacenter("b")])
    assert router.route_job("other").primary_datacenters == ["a", "b"]
    router.record_dispatch_failure("job", "a")
    decision = router.route_job("job")
    assert decision.primary_datacenters == ["b", "a"]
    assert decision.in_bootstrap_mode


def test_the_change_from_capacity_to_distance_moves_no_job() -> None:
    tracker = CoordinateTracker()
    config = GateJobRouterConfig(hysteresis_config=HysteresisConfig(hold_down_seconds=0.0))
    listed = [datacenter("a", 10.0), datacenter("b", 11.0)]
    listed[1].available_cores = 90
    router = GateJobRouter(tracker, lambda: listed, config)
    assert router.route_job("job").primary_datacenters[0] == "b"
    for _ in range(20):
        tracker.update_peer_coordinate("peer", at(0.01, error=0.05), 10.0)
    decision = router.route_job("job")
    assert not decision.in_bootstrap_mode
    assert decision.primary_datacenters[0] == "b"
    assert not decision.switched


def test_a_latency_that_the_caller_told_is_kept() -> None:
    told, untold = datacenter("told", has_coordinate=False, rtt_ucb_ms=42.0), datacenter("untold")
    CandidateFilter().filter_datacenters([told, untold])
    assert (told.rtt_ucb_ms, untold.rtt_ucb_ms) == (42.0, 100.0)
    decision = GateJobRouter(mature_tracker(), lambda: [told, untold]).route_job("job")
    assert decision.scores["told"] < decision.scores["untold"]


def test_nothing_to_route_to_is_told() -> None:
    decision = GateJobRouter(None, lambda: [datacenter("a", healthy_managers=0)]).route_job("job")
    assert decision.primary_datacenters == decision.fallback_datacenters == []
    assert decision.reason is RoutingDecisionReason.EXCLUSION_FORCED
    with pytest.raises(TypeError):
        GateJobRouter(None, lambda: [untyped(object())]).route_job("job")


async def test_old_observations_fade() -> None:
    tracker = ObservedLatencyTracker(min_samples_for_confidence=1)
    for age, confidence in ((0.0, 1.0), (299.0, 1.0), (450.0, 0.5), (700.0, 0.0)):
        await tracker.remove_datacenter("dc")
        await tracker.record_job_latency("dc", 50.0, now=time.monotonic() - age)
        assert tracker.get_observed_latency("dc")[1] == pytest.approx(confidence, abs=0.01)


# Failure detection.


async def test_deadlines_are_kept_near_and_far() -> None:
    expired: dict[tuple[str, int], float] = {}
    config = TimingWheelConfig(coarse_tick_ms=100, fine_tick_ms=10, fine_wheel_threshold_ms=200)
    wheel = TimingWheel(config, lambda node, _: expired.setdefault(node, time.monotonic()))
    wheel.start()
    begun = time.monotonic()
    # Beyond what the fine slots, and all coarse slots of the original, could hold in one turn.
    deadlines = {
        ("10.0.0.1", port): begun + seconds
        for port, seconds in enumerate((0.05, 0.17, 0.19, 0.21, 0.25, 0.5, 0.8))
    }
    for node, deadline in deadlines.items():
        assert await wheel.add(node, SuspicionState(node, 1, begun), deadline)
    assert await wheel.add(NODE, SuspicionState(NODE, 1, begun), begun + 3600.0)
    await asyncio.sleep(1.0)
    await wheel.stop()
    assert set(expired) == set(deadlines)
    for node, deadline in deadlines.items():
        assert deadline <= expired[node] <= deadline + 0.1, deadline - begun
    assert wheel.contains_sync(NODE)


def quick_detector(**options: Any) -> HierarchicalFailureDetector:
    config = HierarchicalConfig(
        global_min_timeout=0.05,
        global_max_timeout=0.1,
        coarse_tick_ms=20,
        fine_tick_ms=5,
        extension_base_deadline=4.0,
        reconciliation_interval_s=0.02,
    )
    return HierarchicalFailureDetector(config, **options)


async def test_a_death_reaches_an_asynchronous_callback() -> None:
    told: list[tuple[tuple[str, int], int]] = []
    errors: list[str] = []

    async def on_death(node: tuple[str, int], incarnation: int) -> None:
        await asyncio.sleep(0)
        told.append((node, incarnation))
        raise RuntimeError("the callback is broken")

    def on_error(text: str, _: Exception) -> None:
        errors.append(text)

    detector = quick_detector(on_global_death=on_death, on_error=on_error)
    await detector.start()
    await detector.suspect_global(NODE, 0, OTHER)
    await asyncio.sleep(0.3)
    assert told == [(NODE, 0)]
    assert errors == ["on_global_death callback failed: the callback is broken"]
    assert await detector.get_node_status(NODE) is NodeStatus.DEAD_GLOBAL
    assert not await detector.suspect_global(NODE, 0, OTHER)
    # It comes back with a higher incarnation, and may be suspected again.
    assert await detector.suspect_global(NODE, 1, OTHER)
    assert await detector.get_node_status(NODE) is NodeStatus.SUSPECTED_GLOBAL
    await detector.stop()


async def test_granted_time_adds_up_and_survives_confirmations() -> None:
    detector = quick_detector(get_n_members=lambda: 10)
    await detector.suspect_global(NODE, 1, OTHER)
    base = detector.get_time_remaining_global(NODE)
    assert base is not None
    for progress, total in ((0.1, 2.0), (0.2, 3.0), (0.3, 4.0)):
        granted, _, _, _ = await detector.request_extension(NODE, "long", progress)
        assert granted
        remaining = detector.get_time_remaining_global(NODE)
        assert remaining is not None
        assert total - 0.1 < remaining <= base + total
    await detector.confirm_global(NODE, 1, ("10.0.0.3", 1))
    remaining = detector.get_time_remaining_global(NODE)
    assert remaining is not None
    assert remaining > 3.9
    await detector.stop()


async def test_a_node_that_died_in_its_first_incarnation_can_come_back() -> None:
    tracker = IncarnationTracker()
    tracker.record_node_death(NODE, 0)
    assert tracker.get_required_rejoin_incarnation(NODE) == 5
    assert tracker.is_potential_zombie(NODE, 4)
    assert not tracker.is_potential_zombie(NODE, 5)
    tracker.record_node_death(NODE, 0, timestamp=time.monotonic() - 61.0)
    await tracker.cleanup()
    assert tracker.get_stats()["active_death_records"] == 0


def test_a_round_meets_everybody_once_whoever_comes_and_goes() -> None:
    scheduler = ProbeScheduler()
    members = [("10.0.0.1", port) for port in range(20)]
    scheduler.update_members(members)
    met = [scheduler.get_next_target() for _ in range(10)]
    scheduler.remove_member(met[0] or NODE)
    scheduler.add_member(OTHER)
    met += [scheduler.get_next_target() for _ in range(11)]
    assert sorted(filter(None, met)) == sorted([*members, OTHER])
    first_round = list(met)
    scheduler.remove_member(OTHER)
    second_round = [scheduler.get_next_target() for _ in range(19)]
    assert len(set(second_round)) == 19
    assert second_round != first_round[:19]


# Gossip and messages.


def test_news_told_least_goes_first_and_each_is_told_often_enough() -> None:
    buffer = GossipBuffer()
    nodes = [("10.0.0.1", port) for port in range(12)]
    for node in nodes:
        assert buffer.add_update("alive", node, 1, n_members=3)
    told: list[tuple[str, int]] = []
    while section := buffer.encode_piggyback(5):
        told += [update.node for update in GossipBuffer.decode_piggyback(section)]
    # Three times the logarithm of four, rounded down, is four.
    assert sorted(told) == sorted(nodes * 4)
    assert told[:12] == nodes
    assert len(buffer) == 0
    assert buffer.encode_piggyback() == b""


def test_a_role_outlives_worse_news() -> None:
    buffer = GossipBuffer()
    assert buffer.add_update("join", NODE, 1, role="gate")
    assert buffer.add_update("suspect", NODE, 1)
    assert not buffer.add_update("alive", NODE, 1)
    assert buffer.updates[NODE].role == "gate"
    assert buffer.encode_piggyback() == b"#|msuspect:1:10.0.0.1:9000:gate"


def test_news_fits_and_room_is_made() -> None:
    evicted: list[tuple[int, int]] = []
    buffer = GossipBuffer(max_updates=20)
    buffer.set_overflow_callback(lambda count, limit: evicted.append((count, limit)))
    for port in range(21):
        buffer.add_update("alive", ("10.0.0.1", port), 1, n_members=100)
    assert evicted == [(10, 20)]
    assert len(buffer) == 11
    assert buffer.encode_piggyback(5, max_size=10) == b""
    assert buffer.get_stats()["oversized_updates"] == 5
    base = b"x" * 1350
    assert len(base + buffer.encode_piggyback_with_base(base)) <= 1400
    assert buffer.encode_piggyback_with_base(b"x" * 1401) == b""


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"#|m",
        b"#|m|||",
        b"#|malive:1",
        b"#|malive:x:h:1",
        b"#|mcat:1:h:1",
        b"\xff",
        b"#|m\xff",
    ],
)
def test_broken_news_is_left_out(section: bytes) -> None:
    assert GossipBuffer.decode_piggyback(section) == []


def test_own_health_is_told_again_before_others_forget_it() -> None:
    buffer = HealthGossipBuffer()
    for second in range(31):
        buffer.update_local_health(HealthPiggyback("n", "worker", timestamp=1000.0 + second))
        if second % 10 == 0:
            assert [bool(buffer.encode_piggyback()) for _ in range(4)] == [True] * 3 + [False]


def test_sections_do_not_end_up_in_one_another() -> None:
    parser = MessageParser(None)
    data = (
        b"join>v1.4|127.0.0.1:9003#|mjoin:0:127.0.0.1:9005:worker#|hn|w|healthy|1|8|1.5|2.0|3.5"
        b'#|ww1:m1:127.0.0.1:1:2:registered:3:8:4:5.25:DC1#|v{"vec":[0.0]}'
    )
    result = parser.parse(NODE, data, 7)
    assert result.context.message == b"join"
    assert result.context.target_addr_bytes == b"v1.4|127.0.0.1:9003"
    assert result.membership_piggyback == b"#|mjoin:0:127.0.0.1:9005:worker"
    assert result.health_piggyback == b"#|hn|w|healthy|1|8|1.5|2.0|3.5"
    bare = parser.parse(NODE, b'probe>127.0.0.1:9001#|v{"vec":[0.0]}', 7)
    assert bare.context.target == ("127.0.0.1", 9001)
    buffer = HealthGossipBuffer()
    assert buffer.decode_and_process_piggyback(b'#|hn|w|healthy|1|8|1.5|2.0|3.5#|v{"v":1}') == 1


async def test_an_absurd_clock_is_not_adopted() -> None:
    clock = LamportClock(5)
    assert await clock.update(2**512 - 1) == 6
    assert await clock.ack(2**512 - 1) == 6
    assert await clock.update(100) == 101
    assert clock.time.to_bytes(64, "big")
