"""Routing by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import shoal

SECOND = 1_000_000_000
FIVE: Any = 5
NO_KEYWORDS: dict[str, Any] = {}


def candidate(name: str, upper_ms: float | None, **options: Any) -> shoal.DatacenterCandidate:
    """A datacenter that is well."""
    options = {"manager_count": 3, "available_cores": 60, "total_cores": 64, **options}
    rtt = None if upper_ms is None else shoal.Rtt(upper_ms * 0.9, upper_ms, 1.0)
    return shoal.DatacenterCandidate(name, rtt=rtt, **options)


def test_a_job_goes_to_the_nearest_and_stays_there() -> None:
    router = shoal.Router()
    both = [candidate("east", 12.0), candidate("west", 70.0)]
    first = router.route("nightly", both, now_ns=SECOND)
    assert first.selected == "east"
    assert first.reason is shoal.RoutingReason.INITIAL_SELECTION
    assert first.bucket == "healthy"
    assert first.bucket_counts == {"healthy": 2, "busy": 0, "degraded": 0}
    assert (first.previous, first.switched, first.is_bootstrap) == (None, False, False)
    assert first.job == shoal.JobId("nightly")
    assert [one.datacenter for one in first.primaries] == ["east", "west"]
    assert first.fallbacks == []
    assert repr(first) == (
        "<RoutingDecision selected='east' reason=RoutingReason.INITIAL_SELECTION>"
    )
    score = first.primaries[0].score
    assert score.latency_ms == 12.0
    assert score.value == pytest.approx(score.base * score.multiplier)

    # East runs out of managers: the job moves at once, and the decision says why.
    without_east = [candidate("east", 12.0, usable_manager_count=0), candidate("west", 70.0)]
    moved = router.route("nightly", without_east, now_ns=2 * SECOND)
    assert (moved.selected, moved.previous, moved.switched) == ("west", "east", True)
    assert moved.reason == "exclusion_forced"
    excluded = shoal.ExcludedDatacenter("east", shoal.Exclusion.ALL_MANAGERS_CIRCUIT_OPEN)
    assert moved.excluded == [excluded]
    # It comes back and is nearer, but only after the hold-down does the job return.
    for seconds, expected in [(3, "west"), (31, "west"), (32, "east")]:
        assert router.route("nightly", both, now_ns=seconds * SECOND).selected == expected
    assert router.primary("nightly") == "east"
    stats = router.stats()
    assert stats["switches"] == 2
    assert stats["decisions_initial_selection"] == 1
    assert len(router) == stats["jobs"] == 1
    assert router.forget_job("nightly")
    assert not router.forget_job("nightly")
    assert router.primary("nightly") is None


def test_prepared_candidates_and_batches_decide_the_same() -> None:
    listed = [candidate(f"dc{number}", 10.0 + number) for number in range(20)]
    one, many, prepared = shoal.Router(), shoal.Router(), shoal.Router()
    jobs = [f"job{number}" for number in range(10)]
    picture = prepared.candidates(listed)
    assert len(picture) == 20
    decisions = many.route_many(jobs, listed, {"dc1"}, now_ns=SECOND)
    for job, batched in zip(jobs, decisions, strict=True):
        single = one.route(job, listed, ["dc1"], now_ns=SECOND)
        quick = prepared.route(job, picture, ("dc1",), now_ns=SECOND)
        for decision in (batched, single, quick):
            assert decision.job == shoal.JobId(job)
            assert decision.selected == "dc1"
            assert decision.primaries[0].is_preferred
            assert decision.primaries == single.primaries
            assert decision.fallbacks == single.fallbacks
    assert many.route_many(jobs, many.candidates(listed), now_ns=SECOND)[0].selected == "dc1"
    with pytest.raises(shoal.LifecycleError, match="prepared by another router"):
        one.route("job", picture)


def test_buckets_and_health() -> None:
    router = shoal.Router()
    busy_and_near = candidate("near", 1.0, health="busy", available_cores=0)
    decision = router.route("job", [busy_and_near, candidate("far", 200.0)])
    assert decision.selected == "far"
    assert [one.datacenter for one in decision.fallbacks] == ["near"]
    assert decision.fallbacks[0].bucket is shoal.Bucket.BUSY
    stale = candidate("stale", 1.0, updated_at_ns=0)
    decision = router.route("other", [stale], now_ns=3_600 * SECOND)
    assert decision.primaries[0].stale_health
    assert decision.bucket == "degraded"
    none = router.route("third", [candidate("sick", 1.0, health=shoal.DatacenterHealth.UNHEALTHY)])
    assert none.selected is None
    assert none.bucket is None
    assert none.reason is shoal.RoutingReason.NO_CANDIDATE
    assert none.excluded[0].reason == "unhealthy_status"
    assert router.route("third", []).selected is None


def test_unknown_round_trips_are_ranked_by_capacity() -> None:
    router = shoal.Router()
    full, idle = candidate("full", None, available_cores=1), candidate("idle", None)
    decision = router.route("job", [full, idle])
    assert decision.is_bootstrap
    assert decision.selected == "idle"
    assert not decision.primaries[0].rtt_known
    predicted = [candidate("full", 5.0, available_cores=1), candidate("idle", 500.0)]
    router.set_rtt_source(sample_count=1, error=0.1)
    assert router.route("other", predicted).is_bootstrap
    router.set_rtt_source(sample_count=100, error=0.1)
    assert not router.route("third", predicted).is_bootstrap
    router.set_rtt_source()
    with pytest.raises(TypeError, match="both sample_count and error"):
        router.set_rtt_source(sample_count=1)


def test_failures_cool_down_and_latencies_are_observed() -> None:
    router = shoal.Router()
    both = [candidate("east", 50.0), candidate("west", 60.0)]
    assert router.route("job", both, now_ns=SECOND).selected == "east"
    router.record_failure("job", "east", now_ns=2 * SECOND)
    decision = router.route("job", both, now_ns=40 * SECOND)
    assert decision.selected == "west"
    assert decision.reason == "cooldown_penalty"
    assert [one.is_cooling for one in decision.primaries] == [False, True]
    router.record_dispatch("job", "west", now_ns=41 * SECOND)
    assert router.record_completion("job", "west", now_ns=43 * SECOND) == 2_000.0
    assert router.record_completion("job", "west", now_ns=44 * SECOND) is None
    router.record_dispatch("job", "east", now_ns=45 * SECOND)
    assert router.record_completion("job", "east", success=False, now_ns=46 * SECOND) is None
    router.record_latency("east", float("nan"))
    assert router.stats()["latencies_refused"] == 1
    assert router.reset_datacenters({"west"}) == [shoal.JobId("job")]
    assert router.reset_datacenters(["nowhere"]) == []
    assert router.expire_jobs(now_ns=10_000 * SECOND) == 1


def test_managers_of_a_datacenter() -> None:
    router = shoal.Router()
    near, far = "10.0.0.1:1", "10.0.0.2:1"
    managers = [
        shoal.ManagerCandidate(far, rtt=shoal.Rtt(50.0, 60.0, 1.0), total_cores=4),
        shoal.ManagerCandidate(near, rtt=shoal.Rtt(1.0, 2.0, 1.0), total_cores=4),
        shoal.ManagerCandidate("10.0.0.3:1", circuit=shoal.CircuitState.OPEN),
    ]
    choice = router.choose_manager("job", "east", managers)
    assert choice.selected == near
    assert not choice.is_sticky
    assert [manager.address for manager in choice.managers] == [near, far]
    assert choice.excluded == [shoal.ExcludedManager("10.0.0.3:1", "circuit_breaker_open")]
    router.record_accepted("job", "east", far)
    again = router.choose_manager("job", "east", managers)
    assert (again.selected, again.is_sticky) == (far, True)
    assert router.choose_manager("job", "east", []).selected is None


def test_health_of_a_datacenter() -> None:
    def classify(*signals: int) -> shoal.DatacenterHealth:
        names = ["manager_count", "alive_manager_count", "worker_count", "healthy_worker_count"]
        named = dict(zip([*names, "available_cores"], signals, strict=True))
        return shoal.classify_datacenter(**named)

    assert classify(3, 3, 10, 10, 40) is shoal.DatacenterHealth.HEALTHY
    assert classify(3, 3, 10, 10, 0) is shoal.DatacenterHealth.BUSY
    assert classify(3, 3, 10, 4, 40) is shoal.DatacenterHealth.DEGRADED
    assert classify(3, 0, 10, 10, 40) is shoal.DatacenterHealth.UNHEALTHY


BAD_CALLS: list[tuple[Callable[[Any], object], type[Exception], str | None]] = [
    (lambda r: r.route("j", [candidate("a", 1.0)] * 2), shoal.ConfigError, "twice"),
    (lambda r: r.route("j", ["east"]), TypeError, "DatacenterCandidate"),
    (lambda r: r.route("j", 5), TypeError, "iterable"),
    (lambda r: r.route(1.5, []), TypeError, "JobId: expected a str"),
    (lambda r: r.route("j", [], "east"), TypeError, "not as one str"),
    (lambda r: r.route("j", [], ["a b"]), shoal.ConfigError, "invalid datacenter name"),
    (lambda r: r.route("j", [], now_ns=-1), shoal.ConfigError, "out of range"),
    (lambda r: r.route_many("jobs", []), TypeError, None),
    (lambda r: r.choose_manager("j", "east", ["10.0.0.1:1"]), TypeError, None),
    (lambda r: r.record_latency("east", "slow"), TypeError, None),
    (lambda r: r.record_accepted("j", "east", "nowhere"), shoal.AddressError, None),
    (
        lambda r: candidate("a", 1.0, health="poor"),
        shoal.ConfigError,
        "unknown datacenter h",
    ),
    (lambda r: candidate("a", 1.0, manager_count=-1), OverflowError, None),
    (lambda r: shoal.DatacenterCandidate("a", **NO_KEYWORDS), TypeError, "manager_count"),
    (
        lambda r: shoal.Router(config=FIVE),
        TypeError,
        "config is a shoal.R",
    ),
    (lambda r: shoal.RouterConfig(primary_count_max=0), shoal.ConfigError, "primary_count_max"),
    (lambda r: shoal.ScoringConfig(rtt_min_ms=float("nan")), shoal.ConfigError, "rtt_min_ms"),
    (lambda r: shoal.FilterConfig(latency_max_ms=-1.0), shoal.ConfigError, "latency_max_ms"),
    (lambda r: shoal.RouterConfig(scoring=FIVE), TypeError, "scoring: expected settings, not int"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_bad_calls(call: Any, error: type[Exception], message: str) -> None:
    router = shoal.Router()
    with pytest.raises(error, match=message):
        call(router)
    assert router.stats()["jobs"] == 0


def test_broken_numbers_never_win() -> None:
    router = shoal.Router()
    broken = shoal.DatacenterCandidate(
        "broken", manager_count=1, rtt=shoal.Rtt(0.0, float("nan"), 1.0), circuit_pressure=9.0
    )
    assert router.route("job", [broken, candidate("sound", 50.0)]).selected == "sound"
