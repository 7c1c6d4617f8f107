"""What a node says about its own load."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["HealthPiggyback"]


@dataclass(slots=True)
class HealthPiggyback:
    """Has the fields of `hyperscale.distributed.health.tracker.HealthPiggyback`, and is used where
    that is not imported."""

    node_id: str
    node_type: str
    is_alive: bool = True
    accepting_work: bool = True
    capacity: int = 0
    throughput: float = 0.0
    expected_throughput: float = 0.0
    overload_state: str = "healthy"
    timestamp: float = field(default_factory=time.monotonic)

    def is_stale(self, max_age_seconds: float = 60.0) -> bool:
        """Whether it is older than this."""
        return time.monotonic() - self.timestamp > max_age_seconds
