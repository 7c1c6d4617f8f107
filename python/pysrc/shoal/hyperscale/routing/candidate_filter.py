"""Which datacenters and managers a job may be sent to at all (AD-36)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from shoal._native import HyperscaleCandidate as DatacenterCandidate
from shoal.hyperscale._fields import describe_fields

__all__ = [
    "CandidateFilter",
    "DatacenterCandidate",
    "DemotionReason",
    "ExclusionReason",
    "ManagerCandidate",
]

_RTT_DEFAULT_MS = 100.0


class ExclusionReason(str, Enum):  # noqa: UP042
    """Why nothing is sent there."""

    UNHEALTHY_STATUS = "unhealthy_status"
    NO_REGISTERED_MANAGERS = "no_registered_managers"
    ALL_MANAGERS_CIRCUIT_OPEN = "all_managers_circuit_open"
    CIRCUIT_BREAKER_OPEN = "circuit_breaker_open"
    HEARTBEAT_STALE = "heartbeat_stale"
    SLO_LATENCY_EXCEEDED = "slo_latency_exceeded"
    SLO_CAPACITY_INSUFFICIENT = "slo_capacity_insufficient"


class DemotionReason(str, Enum):  # noqa: UP042
    """Why it is judged cautiously."""

    STALE_HEALTH = "stale_health"
    MISSING_COORDINATES = "missing_coordinates"


describe_fields(
    DatacenterCandidate,
    ("datacenter_id", "str"),
    ("health_bucket", "str"),
    ("available_cores", "int"),
    ("total_cores", "int"),
    ("queue_depth", "int"),
    ("lhm_multiplier", "float"),
    ("circuit_breaker_pressure", "float"),
    ("has_coordinate", "bool", field(default=False)),
    ("rtt_ucb_ms", "float", field(default=_RTT_DEFAULT_MS)),
    ("coordinate_quality", "float", field(default=0.0)),
    ("total_managers", "int", field(default=0)),
    ("healthy_managers", "int", field(default=0)),
    ("excluded", "bool", field(default=False)),
    ("exclusion_reason", "ExclusionReason | None", field(default=None)),
    ("demoted", "bool", field(default=False)),
    ("demotion_reason", "DemotionReason | None", field(default=None)),
    ("original_bucket", "str | None", field(default=None)),
    ("health_severity_weight", "float", field(default=1.0)),
    ("worker_overload_ratio", "float", field(default=0.0)),
    ("overloaded_worker_count", "int", field(default=0)),
    ("estimated_latency_ms", "float", field(default=0.0)),
    ("estimated_throughput_rps", "float", field(default=0.0)),
)


@dataclass(slots=True)
class ManagerCandidate:
    """A manager that a job may be sent to."""

    manager_id: str
    datacenter_id: str
    host: str
    port: int
    available_cores: int
    total_cores: int
    queue_depth: int
    circuit_state: str
    heartbeat_stale: bool = False
    last_heartbeat_age_seconds: float = 0.0
    has_coordinate: bool = False
    rtt_ucb_ms: float = _RTT_DEFAULT_MS
    coordinate_quality: float = 0.0
    excluded: bool = False
    exclusion_reason: ExclusionReason | None = None


class CandidateFilter:
    """Stands in for `hyperscale.distributed.routing.candidate_filter.CandidateFilter`.

    What differs: a latency that the caller filled in is kept when there is no coordinate, and a
    candidate that is well again is no longer excluded.
    """

    def __init__(
        self,
        heartbeat_stale_threshold_seconds: float = 60.0,
        default_rtt_ms: float = _RTT_DEFAULT_MS,
        slo_max_latency_ms: float | None = None,
        slo_min_throughput_rps: float | None = None,
    ) -> None:
        self._heartbeat_stale_threshold = heartbeat_stale_threshold_seconds
        self._default_rtt_ms = default_rtt_ms
        self._slo_max_latency_ms = slo_max_latency_ms
        self._slo_min_throughput_rps = slo_min_throughput_rps

    def filter_datacenters(
        self, candidates: list[DatacenterCandidate]
    ) -> tuple[list[DatacenterCandidate], list[DatacenterCandidate]]:
        """The eligible and the excluded ones; which is also noted in them."""
        for candidate in candidates:
            reason = self._datacenter_exclusion(candidate)
            candidate.excluded = reason is not None
            candidate.exclusion_reason = reason
            if reason is None and not candidate.has_coordinate:
                candidate.demoted = True
                candidate.demotion_reason = DemotionReason.MISSING_COORDINATES
                candidate.rtt_ucb_ms = self._rtt_without_coordinate(candidate.rtt_ucb_ms)
                candidate.coordinate_quality = 0.0
        return (
            [candidate for candidate in candidates if not candidate.excluded],
            [candidate for candidate in candidates if candidate.excluded],
        )

    def _datacenter_exclusion(self, candidate: DatacenterCandidate) -> ExclusionReason | None:
        if candidate.health_bucket == "UNHEALTHY":
            return ExclusionReason.UNHEALTHY_STATUS
        if candidate.total_managers <= 0:
            return ExclusionReason.NO_REGISTERED_MANAGERS
        if candidate.healthy_managers <= 0:
            return ExclusionReason.ALL_MANAGERS_CIRCUIT_OPEN
        latency_max, throughput_min = self._slo_max_latency_ms, self._slo_min_throughput_rps
        if latency_max is not None and candidate.estimated_latency_ms > latency_max:
            return ExclusionReason.SLO_LATENCY_EXCEEDED
        if throughput_min is not None and candidate.estimated_throughput_rps < throughput_min:
            return ExclusionReason.SLO_CAPACITY_INSUFFICIENT
        return None

    def _rtt_without_coordinate(self, rtt_ms: float) -> float:
        is_told = rtt_ms != _RTT_DEFAULT_MS and math.isfinite(rtt_ms) and rtt_ms > 0
        return rtt_ms if is_told else self._default_rtt_ms

    def filter_managers(
        self, candidates: list[ManagerCandidate]
    ) -> tuple[list[ManagerCandidate], list[ManagerCandidate]]:
        """The eligible and the excluded ones; which is also noted in them."""
        for candidate in candidates:
            silent = candidate.last_heartbeat_age_seconds > self._heartbeat_stale_threshold
            candidate.heartbeat_stale = silent
            if candidate.circuit_state == "OPEN":
                candidate.exclusion_reason = ExclusionReason.CIRCUIT_BREAKER_OPEN
            elif silent:
                candidate.exclusion_reason = ExclusionReason.HEARTBEAT_STALE
            else:
                candidate.exclusion_reason = None
                if not candidate.has_coordinate:
                    candidate.rtt_ucb_ms = self._rtt_without_coordinate(candidate.rtt_ucb_ms)
                    candidate.coordinate_quality = 0.0
            candidate.excluded = candidate.exclusion_reason is not None
        return (
            [candidate for candidate in candidates if not candidate.excluded],
            [candidate for candidate in candidates if candidate.excluded],
        )
