"""What a job knows of its timeout, where hyperscale is not imported."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["TimeoutTrackingState"]


@dataclass(slots=True)
class TimeoutTrackingState:
    """Has the fields of `hyperscale.distributed.models.jobs.TimeoutTrackingState`."""

    strategy_type: str
    gate_addr: tuple[str, int] | None
    started_at: float
    last_progress_at: float
    last_report_at: float
    timeout_seconds: float
    stuck_threshold: float = 120.0
    total_extensions_granted: float = 0.0
    max_worker_extension: float = 0.0
    last_extension_at: float = 0.0
    active_workers_with_extensions: set[str] = field(default_factory=set[str])
    locally_timed_out: bool = False
    globally_timed_out: bool = False
    timeout_reason: str = ""
    timeout_fence_token: int = 0
