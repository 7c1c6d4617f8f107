"""When a job moves to another datacenter, and when it stays (AD-36)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .bucket_selector import BucketSelector
from .routing_state import DatacenterRoutingScore, JobRoutingState, RoutingDecisionReason

__all__ = ["HysteresisConfig", "HysteresisManager", "HysteresisResult"]


@dataclass(slots=True)
class HysteresisConfig:
    """How reluctantly jobs move."""

    hold_down_seconds: float = 30.0
    improvement_ratio: float = 0.8
    degrade_ratio: float = 1.5
    degrade_confirm_seconds: float = 10.0
    cooldown_seconds: float = 120.0


@dataclass(slots=True)
class HysteresisResult:
    """Whether a job moves, why, and from where to where."""

    should_switch: bool
    reason: RoutingDecisionReason
    selected_datacenter: str | None
    selected_score: float
    current_datacenter: str | None
    current_score: float | None


class HysteresisManager:
    """Stands in for `hyperscale.distributed.routing.hysteresis.HysteresisManager`.

    A job is forced to move when its own datacenter is gone, fell into a worse bucket or became
    `degrade_ratio` times as expensive as when it was chosen, and another one is better. The
    original looked at the best datacenter in place of the job's own.
    """

    def __init__(self, config: HysteresisConfig | None = None) -> None:
        self._config = config or HysteresisConfig()

    def evaluate_switch(
        self,
        job_state: JobRoutingState,
        primary_candidates: list[DatacenterRoutingScore],
        excluded_datacenters: set[str],
    ) -> HysteresisResult:
        """Decides for a job. The candidates are sorted, the best first."""
        current = job_state.primary_datacenter
        if not primary_candidates:
            return HysteresisResult(
                False,
                RoutingDecisionReason.HOLD_DOWN_RETAINED,
                None,
                0.0,
                current,
                job_state.last_score,
            )
        best = primary_candidates[0]
        own = next((s for s in primary_candidates if s.datacenter_id == current), None)
        drops = own is not None and BucketSelector.is_bucket_drop(
            best.health_bucket, own.health_bucket
        )
        is_excluded = current in excluded_datacenters
        moves, reason = self.judge(
            job_state,
            best.datacenter_id,
            best.final_score,
            None if own is None else own.final_score,
            is_excluded=is_excluded,
            is_dropped=drops,
        )
        if moves or own is None:
            selected, score = best.datacenter_id, best.final_score
        else:
            selected, score = own.datacenter_id, own.final_score
        if not moves and own is None:
            selected = current or selected
        last = None if current is None else job_state.last_score
        return HysteresisResult(moves, reason, selected, score, current, last)

    def judge(
        self,
        job_state: JobRoutingState,
        best: str,
        best_score: float,
        own_score: float | None,
        *,
        is_excluded: bool,
        is_dropped: bool,
    ) -> tuple[bool, RoutingDecisionReason]:
        """Whether a job moves to the best datacenter, and why. `own_score` is that of the
        datacenter it is in, as far as that is in the best bucket."""
        config = self._config
        current = job_state.primary_datacenter
        if current is None:
            return True, RoutingDecisionReason.INITIAL_SELECTION
        if is_excluded:
            return True, RoutingDecisionReason.EXCLUSION_FORCED
        if is_dropped:
            return True, RoutingDecisionReason.BUCKET_DROP_FORCED
        if best == current:
            return False, RoutingDecisionReason.HOLD_DOWN_RETAINED
        last = job_state.last_score
        if own_score is not None and 0 < last * config.degrade_ratio <= own_score:
            return True, RoutingDecisionReason.DEGRADATION_FORCED
        return job_state.should_switch(
            best, best_score, config.hold_down_seconds, config.improvement_ratio
        )

    def apply_cooldown_penalty(
        self,
        scores: list[DatacenterRoutingScore],
        job_state: JobRoutingState,
        penalty_multiplier: float = 2.0,
    ) -> list[DatacenterRoutingScore]:
        """Makes datacenters where the job failed more expensive, and sorts anew."""
        penalized = [
            replace(
                score,
                quality_penalty=score.quality_penalty * penalty_multiplier,
                final_score=score.final_score * penalty_multiplier,
            )
            if job_state.is_in_cooldown(score.datacenter_id)
            else score
            for score in scores
        ]
        return sorted(penalized, key=lambda score: score.final_score)
