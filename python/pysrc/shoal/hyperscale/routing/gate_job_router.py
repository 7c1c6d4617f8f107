"""Which datacenters a job is sent to (AD-36)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shoal._native import HyperscaleRanking
from shoal.hyperscale.swim.coordinates.coordinate_tracker import CoordinateTracker

from .bootstrap import BootstrapModeManager
from .candidate_filter import DatacenterCandidate, DemotionReason, ExclusionReason
from .hysteresis import HysteresisConfig, HysteresisManager
from .routing_state import JobRoutingState, RoutingDecisionReason, RoutingStateManager
from .scoring import ScoringConfig

__all__ = ["GateJobRouter", "GateJobRouterConfig", "RoutingDecision"]

_IN_PRIMARY_BUCKET = 1
_BELOW_PRIMARY_BUCKET = 2


@dataclass(slots=True)
class RoutingDecision:
    """Where a job goes, and why."""

    job_id: str
    primary_datacenters: list[str]
    fallback_datacenters: list[str]
    primary_bucket: str | None
    reason: RoutingDecisionReason
    in_bootstrap_mode: bool
    scores: dict[str, float]
    switched: bool
    previous_primary: str | None


@dataclass
class GateJobRouterConfig:
    """All that a decision depends on besides the candidates."""

    scoring_config: ScoringConfig = field(default_factory=ScoringConfig)
    hysteresis_config: HysteresisConfig = field(default_factory=HysteresisConfig)
    max_primary_dcs: int = 2
    cooldown_penalty_multiplier: float = 2.0


class GateJobRouter:
    """Stands in for `hyperscale.distributed.routing.gate_job_router.GateJobRouter`.

    What differs: a job stays where hysteresis keeps it, so its datacenter comes first in the
    decision; a datacenter at an unknown distance is taken to be no nearer than any known one, and
    at least 200 ms away by default, not 100 ms; a failure also counts while routing goes by
    capacity; and the change from capacity to distance moves no job by itself.
    """

    def __init__(
        self,
        coordinate_tracker: CoordinateTracker | None = None,
        get_datacenter_candidates: Callable[[], list[DatacenterCandidate]] | None = None,
        config: GateJobRouterConfig | None = None,
    ) -> None:
        self._config = config = config or GateJobRouterConfig()
        self._coordinate_tracker = coordinate_tracker
        self._get_datacenter_candidates = get_datacenter_candidates or list[DatacenterCandidate]
        self._bootstrap_manager = BootstrapModeManager()
        self._hysteresis_manager = HysteresisManager(config.hysteresis_config)
        self._state_manager = RoutingStateManager(
            hold_down_seconds=config.hysteresis_config.hold_down_seconds,
            improvement_ratio=config.hysteresis_config.improvement_ratio,
            cooldown_seconds=config.hysteresis_config.cooldown_seconds,
        )
        self._ranking = HyperscaleRanking(
            config.scoring_config,
            config.cooldown_penalty_multiplier,
            (
                ExclusionReason.UNHEALTHY_STATUS,
                ExclusionReason.NO_REGISTERED_MANAGERS,
                ExclusionReason.ALL_MANAGERS_CIRCUIT_OPEN,
                DemotionReason.MISSING_COORDINATES,
            ),
        )
        self._scored_by_rank: set[str] = set()

    def route_job(
        self, job_id: str, preferred_datacenters: set[str] | None = None
    ) -> RoutingDecision:
        """Decides for a job, which stays where it is unless there is a reason to move."""
        state = self._state_manager.get_or_create_state(job_id)
        state.cleanup_expired_cooldowns()
        by_rank = self._check_bootstrap_mode()
        previous = state.primary_datacenter
        ranking = self._ranking.rank(
            self._get_datacenter_candidates(),
            self._coordinate_tracker,
            by_rank,
            set(preferred_datacenters) if preferred_datacenters else None,
            state.failed_datacenters or None,
            previous,
        )
        if ranking is None:
            reason = RoutingDecisionReason.EXCLUSION_FORCED
            return RoutingDecision(job_id, [], [], None, reason, True, {}, False, previous)
        bucket, primary, below, scores, standing = ranking
        self._settle_scale(state, by_rank, scores)
        best = primary[0]
        own_score = scores[previous] if previous is not None and standing else None
        switched, reason = self._hysteresis_manager.judge(
            state,
            best,
            scores[best],
            own_score if standing == _IN_PRIMARY_BUCKET else None,
            is_excluded=previous is not None and standing == 0,
            is_dropped=standing == _BELOW_PRIMARY_BUCKET,
        )
        if switched:
            state.select_primary(best, scores[best])
        elif previous is not None and previous != best:
            primary.remove(previous)
            primary.insert(0, previous)
        count = self._config.max_primary_dcs
        return RoutingDecision(
            job_id,
            primary[:count],
            primary[count:] + below,
            bucket,
            reason,
            by_rank,
            scores,
            switched,
            previous,
        )

    def _settle_scale(
        self, state: JobRoutingState, by_rank: bool, scores: dict[str, float]
    ) -> None:
        """Ranks and milliseconds do not compare: when the kind of score changes, what the job's
        datacenter costs is taken anew."""
        was_by_rank = state.job_id in self._scored_by_rank
        if by_rank == was_by_rank:
            return
        if by_rank:
            self._scored_by_rank.add(state.job_id)
        else:
            self._scored_by_rank.discard(state.job_id)
        if state.primary_datacenter is not None:
            state.last_score = scores.get(state.primary_datacenter, state.last_score)

    def _check_bootstrap_mode(self) -> bool:
        tracker = self._coordinate_tracker
        if tracker is None:
            return True
        own = tracker.get_coordinate()
        return self._bootstrap_manager.is_in_bootstrap_mode(own.sample_count, own.error)

    def record_dispatch_failure(self, job_id: str, datacenter_id: str) -> None:
        """Takes note that a job could not be sent to a datacenter."""
        state = self._state_manager.get_or_create_state(job_id)
        state.record_failure(datacenter_id, self._config.hysteresis_config.cooldown_seconds)

    def cleanup_job_state(self, job_id: str) -> None:
        """Forgets a job."""
        self._state_manager.remove_state(job_id)
        self._scored_by_rank.discard(job_id)

    def reset_primary_for_partitioned_datacenters(self, affected_datacenters: list[str]) -> int:
        """Starts over for all jobs in these datacenters; says how many there are."""
        return len(self.reset_primary_for_partitioned_datacenters_with_jobs(affected_datacenters))

    def reset_primary_for_partitioned_datacenters_with_jobs(
        self, affected_datacenters: list[str]
    ) -> list[str]:
        """The same; says which."""
        return self._state_manager.reset_primary_for_datacenters_with_jobs(
            set(affected_datacenters)
        )

    def get_metrics(self) -> dict[str, Any]:
        """How many jobs are known and how well distances are."""
        status: dict[str, Any] = {}
        if self._coordinate_tracker is not None:
            own = self._coordinate_tracker.get_coordinate()
            status = self._bootstrap_manager.get_bootstrap_status(own.sample_count, own.error)
        return {"tracked_jobs": self._state_manager.get_job_count(), "bootstrap_status": status}
