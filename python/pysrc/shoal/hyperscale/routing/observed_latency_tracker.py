"""How long jobs took, by datacenter (AD-45)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from .observed_latency_state import ObservedLatencyState

__all__ = ["ObservedLatencyTracker"]


@dataclass
class ObservedLatencyTracker:
    """Stands in for `hyperscale.distributed.routing.observed_latency_tracker`'s tracker.

    Confidence in old samples fades from `max_staleness_seconds` to twice that, in place of ending
    at once.
    """

    alpha: float = 0.1
    min_samples_for_confidence: int = 10
    max_staleness_seconds: float = 300.0
    latency_cap_ms: float | None = None
    _latencies: dict[str, ObservedLatencyState] = field(
        default_factory=dict[str, ObservedLatencyState]
    )
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def record_job_latency(
        self, datacenter_id: str, latency_ms: float, now: float | None = None
    ) -> None:
        """Takes note of a job's time."""
        state = self._latencies.get(datacenter_id)
        if state is None:
            state = self._latencies[datacenter_id] = ObservedLatencyState(datacenter_id)
        cap = self.latency_cap_ms
        state.record_latency(latency_ms if cap is None else min(latency_ms, cap), self.alpha, now)

    def _confidence(self, state: ObservedLatencyState, now: float) -> float:
        confidence = state.get_confidence(self.min_samples_for_confidence)
        age, limit = now - state.last_update, self.max_staleness_seconds
        if age <= limit:
            return confidence
        return confidence * max(0.0, 2.0 - age / limit) if limit > 0 else 0.0

    def get_observed_latency(self, datacenter_id: str) -> tuple[float, float]:
        """The usual time in ms, and the confidence in it from 0 to 1."""
        state = self._latencies.get(datacenter_id)
        return (
            (0.0, 0.0) if state is None else (state.ewma_ms, self._confidence(state, monotonic()))
        )

    def get_blended_latency(self, datacenter_id: str, predicted_rtt_ms: float) -> float:
        """What was observed and what is predicted, by the confidence in the former."""
        observed_ms, confidence = self.get_observed_latency(datacenter_id)
        return confidence * observed_ms + (1.0 - confidence) * predicted_rtt_ms

    def get_metrics(self) -> dict[str, Any]:
        """All that is known."""
        now = monotonic()
        return {
            "tracked_dcs": len(self._latencies),
            "per_dc": {
                name: {
                    "ewma_ms": state.ewma_ms,
                    "sample_count": state.sample_count,
                    "confidence": self._confidence(state, now),
                    "stddev_ms": state.get_stddev_ms(),
                    "last_update": state.last_update,
                    "stale": state.is_stale(self.max_staleness_seconds, now),
                }
                for name, state in self._latencies.items()
            },
        }

    async def cleanup_stale_entries(self, cleanup_threshold_seconds: float = 600.0) -> int:
        """Forgets datacenters without samples for so long; says how many."""
        now = monotonic()
        stale = [
            name
            for name, state in self._latencies.items()
            if now - state.last_update > cleanup_threshold_seconds
        ]
        for name in stale:
            del self._latencies[name]
        return len(stale)

    async def remove_datacenter(self, datacenter_id: str) -> None:
        """Forgets a datacenter."""
        self._latencies.pop(datacenter_id, None)
