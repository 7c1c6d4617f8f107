"""How long jobs took in one datacenter (AD-45)."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from time import monotonic

__all__ = ["ObservedLatencyState"]

_RECENT_MAX = 100


@dataclass(slots=True)
class ObservedLatencyState:
    """Stands in for `hyperscale.distributed.routing.observed_latency_state`'s class.

    The percentiles are worked out when they are read, not with every sample.
    """

    datacenter_id: str
    ewma_ms: float = 0.0
    sample_count: int = 0
    last_update: float = 0.0
    ewma_variance: float = 0.0
    _recent_samples: deque[float] = field(default_factory=lambda: deque[float](maxlen=_RECENT_MAX))
    jitter_ms: float = 0.0
    _last_latency_ms: float = 0.0

    def record_latency(self, latency_ms: float, alpha: float, now: float | None = None) -> None:
        """Takes note of a sample; one that is no latency is left out."""
        if not (math.isfinite(latency_ms) and latency_ms >= 0):
            return
        if self.sample_count == 0:
            self.ewma_ms = latency_ms
        else:
            delta = latency_ms - self.ewma_ms
            self.ewma_ms += alpha * delta
            self.ewma_variance = (1 - alpha) * (self.ewma_variance + alpha * delta * delta)
            jitter = abs(latency_ms - self._last_latency_ms)
            self.jitter_ms += alpha * (jitter - self.jitter_ms)
        self.sample_count += 1
        self.last_update = monotonic() if now is None else now
        self._last_latency_ms = latency_ms
        self._recent_samples.append(latency_ms)

    def _percentile(self, share: float) -> float:
        samples = sorted(self._recent_samples)
        return samples[min(int(len(samples) * share), len(samples) - 1)] if samples else 0.0

    @property
    def p50_ms(self) -> float:
        """The median of the last 100 samples."""
        return self._percentile(0.5)

    @property
    def p95_ms(self) -> float:
        """What 95 % of the last 100 samples stayed below."""
        return self._percentile(0.95)

    @property
    def p99_ms(self) -> float:
        """What 99 % of the last 100 samples stayed below."""
        return self._percentile(0.99)

    def get_confidence(self, min_samples: int) -> float:
        """0 to 1, by the number of samples."""
        if self.sample_count == 0:
            return 0.0
        return 1.0 if min_samples <= 0 else min(1.0, self.sample_count / min_samples)

    def get_stddev_ms(self) -> float:
        """How much samples vary."""
        return math.sqrt(max(0.0, self.ewma_variance))

    def is_stale(self, max_age_seconds: float, now: float | None = None) -> bool:
        """Whether the last sample is older than this."""
        present = monotonic() if now is None else now
        return self.sample_count == 0 or present - self.last_update > max_age_seconds
