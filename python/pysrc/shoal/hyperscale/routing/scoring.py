"""What a datacenter or a manager costs a job (AD-36)."""

from __future__ import annotations

from dataclasses import dataclass

from .candidate_filter import DatacenterCandidate, ManagerCandidate
from .routing_state import DatacenterRoutingScore

__all__ = ["RoutingScorer", "ScoringConfig"]


@dataclass(slots=True)
class ScoringConfig:
    """How much each signal weighs."""

    a_util: float = 0.5
    a_queue: float = 0.3
    a_cb: float = 0.2
    queue_smoothing: float = 10.0
    load_factor_max: float = 5.0
    a_quality: float = 0.5
    quality_penalty_max: float = 2.0
    preference_multiplier: float = 0.9


class RoutingScorer:
    """Stands in for `hyperscale.distributed.routing.scoring.RoutingScorer`.

    All weights count, for datacenters too.
    """

    def __init__(self, config: ScoringConfig | None = None) -> None:
        self._config = config or ScoringConfig()

    def _load(self, free: int, total: int, queue_depth: int, circuit: float) -> float:
        config = self._config
        used = 1.0 - free / total if total > 0 else 1.0
        queue = queue_depth / (queue_depth + config.queue_smoothing)
        load = 1.0 + config.a_util * used + config.a_queue * queue + config.a_cb * circuit
        return min(load, config.load_factor_max)

    def _doubt(self, quality: float) -> float:
        config = self._config
        return min(1.0 + config.a_quality * (1.0 - quality), config.quality_penalty_max)

    def score_datacenter(
        self, candidate: DatacenterCandidate, is_preferred: bool = False
    ) -> DatacenterRoutingScore:
        """The score of a datacenter."""
        load = self._load(
            candidate.available_cores,
            candidate.total_cores,
            candidate.queue_depth,
            candidate.circuit_breaker_pressure,
        )
        doubt = self._doubt(candidate.coordinate_quality)
        score = candidate.rtt_ucb_ms * load * doubt * candidate.health_severity_weight
        return DatacenterRoutingScore(
            candidate.datacenter_id,
            candidate.health_bucket,
            candidate.rtt_ucb_ms,
            load,
            doubt,
            score * self._config.preference_multiplier if is_preferred else score,
            is_preferred,
            candidate.health_severity_weight,
        )

    def score_datacenters(
        self,
        candidates: list[DatacenterCandidate],
        preferred_datacenters: set[str] | None = None,
    ) -> list[DatacenterRoutingScore]:
        """All scores, the best first."""
        preferred = preferred_datacenters or frozenset[str]()
        scores = [
            self.score_datacenter(candidate, candidate.datacenter_id in preferred)
            for candidate in candidates
        ]
        return sorted(scores, key=lambda score: score.final_score)

    def score_manager(self, candidate: ManagerCandidate) -> float:
        """The score of a manager."""
        load = self._load(
            candidate.available_cores,
            candidate.total_cores,
            candidate.queue_depth,
            0.5 if candidate.circuit_state == "HALF_OPEN" else 0.0,
        )
        return candidate.rtt_ucb_ms * load * self._doubt(candidate.coordinate_quality)

    def score_managers(
        self, candidates: list[ManagerCandidate]
    ) -> list[tuple[ManagerCandidate, float]]:
        """All managers with their scores, the best first."""
        scored = [(candidate, self.score_manager(candidate)) for candidate in candidates]
        return sorted(scored, key=lambda pair: pair[1])
