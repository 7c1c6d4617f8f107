"""The drop-ins do what hyperscale's own classes were recorded to do."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from shoal.hyperscale.health.extension_tracker import ExtensionTracker
from shoal.hyperscale.models.coordinates import NetworkCoordinate
from shoal.hyperscale.routing import (
    BucketSelector,
    CandidateFilter,
    DatacenterCandidate,
    FallbackChainBuilder,
    GateJobRouter,
    ManagerCandidate,
    RoutingScorer,
)
from shoal.hyperscale.swim.coordinates import CoordinateTracker, NetworkCoordinateEngine
from shoal.hyperscale.swim.detection.incarnation_tracker import IncarnationTracker
from shoal.hyperscale.swim.detection.suspicion_state import SuspicionState
from vectors import recorded


def close(value: float, wanted: float, tolerance: float = 1e-12) -> bool:
    return math.isclose(value, wanted, rel_tol=tolerance, abs_tol=1e-15)


def test_coordinates() -> None:
    for number, samples in enumerate(recorded("vivaldi_hyperscale_profile")):
        tracker = CoordinateTracker()
        engine = NetworkCoordinateEngine()
        for sample in samples:
            peer = NetworkCoordinate.from_dict(sample["peer"])
            assert close(tracker.estimate_rtt_ms(peer), sample["estimate_ms_before"])
            assert close(tracker.estimate_rtt_ucb_ms(peer), sample["upper_ms_before"])
            rtt_seconds = sample["rtt_seconds"]
            moved = tracker.update_peer_coordinate(f"n{number}", peer, rtt_seconds * 1000.0)
            assert engine.update_with_rtt(peer, rtt_seconds).sample_count == moved.sample_count
            wanted = sample["after"]
            assert all(map(close, moved.vec, wanted["vec"]))
            for name in ("height", "adjustment", "error"):
                assert close(getattr(moved, name), wanted[name]), name
            assert moved.sample_count == wanted["sample_count"]
            assert close(tracker.coordinate_quality(), sample["quality_after"])
            assert tracker.is_converged() is sample["converged_after"]


def candidates_of(vector: dict[str, Any]) -> list[DatacenterCandidate]:
    given: dict[str, Any] = {"lhm_multiplier": 1.0, "has_coordinate": True}
    return [DatacenterCandidate(**{**given, **fields}) for fields in vector["candidates"]]


def test_routing_by_parts() -> None:
    chains = FallbackChainBuilder(BucketSelector())
    scorer = RoutingScorer()
    for vector in recorded("routing"):
        preferred = set(vector["preferred"])
        eligible, excluded = CandidateFilter().filter_datacenters(candidates_of(vector))
        reasons = {one.datacenter_id: one.exclusion_reason for one in excluded}
        assert reasons == vector["excluded"]
        buckets = BucketSelector().select_bucket(eligible)
        assert buckets.primary_bucket == vector["primary_bucket"]
        below = buckets.fallback_candidates
        below_scores = {s.datacenter_id: s for s in scorer.score_datacenters(below, preferred)}
        primary = scorer.score_datacenters(buckets.primary_candidates, preferred)
        chain = chains.build_chain(primary, below, below_scores)
        assert chain.primary_datacenters == vector["primary"]
        assert chain.fallback_datacenters == vector["fallback"]
        assert chain.scores == pytest.approx(vector["scores"], rel=1e-9)


def mature_tracker() -> CoordinateTracker:
    """A tracker whose distances count as known."""
    tracker = CoordinateTracker()
    peer = NetworkCoordinate([0.01] + [0.0] * 7, 0.0, 0.0, 0.05)
    for _ in range(20):
        tracker.update_peer_coordinate("peer", peer, 10.0)
    return tracker


def test_routing_as_a_whole() -> None:
    tracker = mature_tracker()
    for vector in recorded("routing"):
        listed = candidates_of(vector)
        decision = GateJobRouter(tracker, listed.copy).route_job("job", set(vector["preferred"]))
        assert decision.primary_datacenters == vector["primary"]
        assert decision.fallback_datacenters == vector["fallback"]
        assert decision.primary_bucket == vector["primary_bucket"]
        assert decision.scores == pytest.approx(vector["scores"], rel=1e-9)
        reasons = {one.datacenter_id: one.exclusion_reason for one in listed if one.excluded}
        assert reasons == vector["excluded"]


def test_managers() -> None:
    scorer = RoutingScorer()
    for vector in recorded("manager_scores"):
        manager = ManagerCandidate("m", "dc", "10.0.0.1", 1, **vector["manager"])
        assert close(scorer.score_manager(manager), vector["score"], 1e-9)


async def test_incarnations() -> None:
    for sequence in recorded("incarnation"):
        tracker = IncarnationTracker()
        for step in sequence:
            node = (step["node"], 9000)
            incarnation, status = step["incarnation"], step["status"].encode()
            result: Any
            match step["op"]:
                case "update":
                    result = await tracker.update_node(node, status, incarnation, 1.0)
                case "confirm":
                    result = await tracker.confirm_node(node, incarnation)
                case "unconfirmed":
                    result = await tracker.add_unconfirmed_node(node)
                case "freshness":
                    result = tracker.check_message_freshness(node, incarnation, status).value
                case "can_suspect":
                    result = tracker.can_suspect_node(node)
                case other:
                    pytest.fail(f"the vectors have an operation {other}")
            assert result == step["result"], step
            state = tracker.get_node_state(node)
            seen = None if state is None else [state.status.decode(), state.incarnation]
            assert seen == step["state"], step


def test_suspicion_timeouts() -> None:
    for vector in recorded("suspicion_timeout"):
        state = SuspicionState(
            ("10.0.0.1", 1),
            1,
            time.monotonic(),
            min_timeout=vector["min_s"],
            max_timeout=vector["max_s"],
            n_members=vector["members"],
        )
        for confirmer in range(vector["confirmations"]):
            assert state.add_confirmation(("10.0.0.2", confirmer))
        assert close(state.calculate_timeout(), vector["timeout_s"], 1e-9)


def test_extensions() -> None:
    for sequence in recorded("extensions"):
        tracker = ExtensionTracker("worker")
        for progress, granted, seconds in sequence:
            answer = tracker.request_extension("long_workflow", progress)
            assert answer[:2] == (granted, seconds)
