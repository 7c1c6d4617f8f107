"""Which latency a score is based on (AD-45)."""

from __future__ import annotations

from .observed_latency_tracker import ObservedLatencyTracker

__all__ = ["BlendedLatencyScorer"]


class BlendedLatencyScorer:
    """Stands in for `hyperscale.distributed.routing.blended_latency_scorer`'s class."""

    def __init__(self, observed_latency_tracker: ObservedLatencyTracker) -> None:
        self._observed_latency_tracker = observed_latency_tracker

    def get_latency_for_scoring(
        self, datacenter_id: str, predicted_rtt_ms: float, use_blending: bool
    ) -> float:
        """The prediction, blended with what was observed if so wished."""
        if not use_blending:
            return predicted_rtt_ms
        return self._observed_latency_tracker.get_blended_latency(datacenter_id, predicted_rtt_ms)
