"""The own coordinate together with what peers told of theirs (AD-35)."""

from __future__ import annotations

from typing import Self

from shoal._native import HyperscaleTracker
from shoal.hyperscale.models.coordinates import VivaldiConfig
from shoal.hyperscale.swim.coordinates.coordinate_engine import NetworkCoordinateEngine

__all__ = ["CoordinateTracker"]


class CoordinateTracker(HyperscaleTracker):
    """Stands in for `hyperscale.distributed.swim.coordinates.CoordinateTracker`.

    It remembers 16,384 peers; when that is not enough, the one silent for longest makes room.
    `_peers` and `_peer_last_seen` are copies.
    """

    _engine: NetworkCoordinateEngine

    def __new__(
        cls,
        engine: NetworkCoordinateEngine | None = None,
        config: VivaldiConfig | None = None,
    ) -> Self:
        engine = engine or NetworkCoordinateEngine(config=config)
        tracker = super().__new__(cls, engine)
        tracker._engine = engine
        return tracker

    def get_config(self) -> VivaldiConfig:
        """The constants in use."""
        return self._engine.get_config()

    def cleanup_stale_peers(self, max_age_seconds: float | None = None) -> int:
        """Forgets peers not heard of for so long, by default `coord_ttl_seconds`; says how many."""
        if max_age_seconds is None:
            max_age_seconds = self.get_config().coord_ttl_seconds
        return self.forget_silent_peers(max_age_seconds)
