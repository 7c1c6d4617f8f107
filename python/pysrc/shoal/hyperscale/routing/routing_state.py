"""Where a job was sent, and what happened there (AD-36)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

__all__ = [
    "DatacenterRoutingScore",
    "JobRoutingState",
    "RoutingDecisionReason",
    "RoutingStateManager",
]


class RoutingDecisionReason(str, Enum):  # noqa: UP042
    """Why a job stays or moves."""

    INITIAL_SELECTION = "initial_selection"
    HOLD_DOWN_RETAINED = "hold_down_retained"
    IMPROVEMENT_THRESHOLD_MET = "improvement_threshold_met"
    BUCKET_DROP_FORCED = "bucket_drop_forced"
    EXCLUSION_FORCED = "exclusion_forced"
    DEGRADATION_FORCED = "degradation_forced"
    COOLDOWN_PENALTY = "cooldown_penalty"


@dataclass(slots=True)
class DatacenterRoutingScore:
    """What a datacenter costs; less is better."""

    datacenter_id: str
    health_bucket: str
    rtt_ucb_ms: float
    load_factor: float
    quality_penalty: float
    final_score: float
    is_preferred: bool = False
    health_severity_weight: float = 1.0

    @classmethod
    def calculate(
        cls,
        datacenter_id: str,
        health_bucket: str,
        rtt_ucb_ms: float,
        utilization: float,
        queue_depth: int,
        circuit_breaker_pressure: float,
        coordinate_quality: float,
        is_preferred: bool = False,
        preference_multiplier: float = 0.9,
        health_severity_weight: float = 1.0,
    ) -> DatacenterRoutingScore:
        """The bound of the round trip, times load, times doubt, times severity."""
        queue = queue_depth / (queue_depth + 10.0)
        load = min(5.0, 1.0 + 0.5 * utilization + 0.3 * queue + 0.2 * circuit_breaker_pressure)
        doubt = min(2.0, 1.0 + 0.5 * (1.0 - coordinate_quality))
        score = rtt_ucb_ms * load * doubt * health_severity_weight
        return cls(
            datacenter_id,
            health_bucket,
            rtt_ucb_ms,
            load,
            doubt,
            score * preference_multiplier if is_preferred else score,
            is_preferred,
            health_severity_weight,
        )


@dataclass(slots=True)
class JobRoutingState:
    """Where one job is and where it failed."""

    job_id: str
    primary_datacenter: str | None = None
    primary_selected_at: float = 0.0
    last_score: float = 0.0
    switch_count: int = 0
    forced_switch_at: float | None = None
    failed_datacenters: dict[str, float] = field(default_factory=dict[str, float])

    def should_switch(
        self,
        new_datacenter: str,
        new_score: float,
        hold_down_seconds: float = 30.0,
        improvement_ratio: float = 0.8,
    ) -> tuple[bool, RoutingDecisionReason]:
        """Whether a better datacenter is worth moving to."""
        if self.primary_datacenter is None:
            return True, RoutingDecisionReason.INITIAL_SELECTION
        is_held = time.monotonic() - self.primary_selected_at < hold_down_seconds
        is_better = new_score < self.last_score * improvement_ratio
        if new_datacenter != self.primary_datacenter and is_better and not is_held:
            return True, RoutingDecisionReason.IMPROVEMENT_THRESHOLD_MET
        return False, RoutingDecisionReason.HOLD_DOWN_RETAINED

    def force_switch(self, reason: RoutingDecisionReason) -> None:
        """Gives the datacenter up."""
        self.forced_switch_at = time.monotonic()
        self.primary_datacenter = None

    def reset_primary_selection(self) -> None:
        """Starts over, as when the datacenter is cut off."""
        self.force_switch(RoutingDecisionReason.EXCLUSION_FORCED)
        self.primary_selected_at = 0.0
        self.last_score = 0.0

    def select_primary(self, datacenter: str, score: float) -> None:
        """Moves there."""
        self.primary_datacenter = datacenter
        self.primary_selected_at = time.monotonic()
        self.last_score = score
        self.switch_count += 1
        self.forced_switch_at = None

    def record_failure(self, datacenter: str, cooldown_seconds: float = 120.0) -> None:
        """Takes note that the job failed there."""
        self.failed_datacenters[datacenter] = time.monotonic() + cooldown_seconds

    def is_in_cooldown(self, datacenter: str) -> bool:
        """Whether the job failed there a short time ago."""
        until = self.failed_datacenters.get(datacenter)
        return until is not None and time.monotonic() < until

    def cleanup_expired_cooldowns(self) -> None:
        """Forgets failures that are over."""
        if self.failed_datacenters:
            now = time.monotonic()
            over = [name for name, until in self.failed_datacenters.items() if now >= until]
            for name in over:
                del self.failed_datacenters[name]


@dataclass
class RoutingStateManager:
    """The states of all jobs. Jobs that were never sent anywhere are forgotten like all others."""

    _job_states: dict[str, JobRoutingState] = field(default_factory=dict[str, JobRoutingState])
    hold_down_seconds: float = 30.0
    improvement_ratio: float = 0.8
    cooldown_seconds: float = 120.0

    def get_or_create_state(self, job_id: str) -> JobRoutingState:
        """A job's state."""
        state = self._job_states.get(job_id)
        if state is None:
            state = self._job_states[job_id] = JobRoutingState(job_id)
        return state

    def remove_state(self, job_id: str) -> None:
        """Forgets a job."""
        self._job_states.pop(job_id, None)

    def reset_primary_for_datacenters(self, datacenter_ids: set[str]) -> int:
        """Starts over for all jobs in these datacenters; says how many there are."""
        return len(self.reset_primary_for_datacenters_with_jobs(datacenter_ids))

    def reset_primary_for_datacenters_with_jobs(self, datacenter_ids: set[str]) -> list[str]:
        """The same; says which."""
        jobs = [
            state
            for state in self._job_states.values()
            if state.primary_datacenter in datacenter_ids
        ]
        for state in jobs:
            state.reset_primary_selection()
        return [state.job_id for state in jobs]

    def cleanup_stale_states(self, max_age_seconds: float = 3600.0) -> int:
        """Forgets jobs that have been where they are for so long; says how many."""
        cutoff = time.monotonic() - max_age_seconds
        stale = [
            name
            for name, state in self._job_states.items()
            if 0 < state.primary_selected_at < cutoff
        ]
        for name in stale:
            del self._job_states[name]
        return len(stale)

    def get_job_count(self) -> int:
        """How many jobs are known."""
        return len(self._job_states)
