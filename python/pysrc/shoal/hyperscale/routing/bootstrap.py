"""Routing before distances are known: by free capacity (AD-36)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .candidate_filter import DatacenterCandidate

__all__ = ["BootstrapConfig", "BootstrapModeManager"]


@dataclass(slots=True)
class BootstrapConfig:
    """When distances count as known."""

    min_samples_for_routing: int = 10
    max_error_for_routing: float = 0.5
    default_rtt_ms: float = 100.0


class BootstrapModeManager:
    """Stands in for `hyperscale.distributed.routing.bootstrap.BootstrapModeManager`."""

    def __init__(self, config: BootstrapConfig | None = None) -> None:
        self._config = config or BootstrapConfig()

    def is_in_bootstrap_mode(self, local_sample_count: int, local_error: float) -> bool:
        """Whether the own coordinate is not yet good enough."""
        config = self._config
        is_ready = (
            local_sample_count >= config.min_samples_for_routing
            and local_error <= config.max_error_for_routing
        )
        return not is_ready

    def rank_by_capacity(self, candidates: list[DatacenterCandidate]) -> list[DatacenterCandidate]:
        """The candidates with the most free cores first."""

        def order(candidate: DatacenterCandidate) -> tuple[float, float, float]:
            total = candidate.total_cores
            free = candidate.available_cores / total if total > 0 else 0.0
            queue = candidate.queue_depth / (candidate.queue_depth + 10.0)
            return -free, queue, candidate.circuit_breaker_pressure

        return sorted(candidates, key=order)

    def apply_default_rtt(self, candidates: list[DatacenterCandidate]) -> None:
        """Gives candidates without a coordinate the default distance."""
        for candidate in candidates:
            if not candidate.has_coordinate:
                candidate.rtt_ucb_ms = self._config.default_rtt_ms
                candidate.coordinate_quality = 0.0

    def get_bootstrap_status(self, local_sample_count: int, local_error: float) -> dict[str, Any]:
        """What is missing."""
        config = self._config
        return {
            "in_bootstrap_mode": self.is_in_bootstrap_mode(local_sample_count, local_error),
            "local_sample_count": local_sample_count,
            "local_error": local_error,
            "samples_needed": max(0, config.min_samples_for_routing - local_sample_count),
            "error_improvement_needed": max(0.0, local_error - config.max_error_for_routing),
            "thresholds": {
                "min_samples": config.min_samples_for_routing,
                "max_error": config.max_error_for_routing,
            },
        }
