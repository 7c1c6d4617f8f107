"""The own coordinate and how samples move it (AD-35)."""

from __future__ import annotations

import secrets
from typing import Self

from shoal._native import HyperscaleEngine, hyperscale_estimate_seconds
from shoal.hyperscale.models.coordinates import NetworkCoordinate, VivaldiConfig

__all__ = ["NetworkCoordinateEngine"]


class NetworkCoordinateEngine(HyperscaleEngine):
    """Stands in for `hyperscale.distributed.swim.coordinates.NetworkCoordinateEngine`.

    The arithmetic is the same to the last bits. In two cases it differs: a peer's coordinate that
    is not finite or out of range moves nothing, and nodes at one place part in a random direction,
    so that all dimensions are used.
    """

    _config: VivaldiConfig

    def __new__(
        cls,
        config: VivaldiConfig | None = None,
        dimensions: int = 8,
        ce: float = 0.25,
        error_decay: float = 0.25,
        gravity: float = 0.01,
        height_adjustment: float = 0.25,
        adjustment_smoothing: float = 0.05,
        min_error: float = 0.05,
        max_error: float = 10.0,
    ) -> Self:
        if config is None:
            config = VivaldiConfig(
                dimensions=dimensions,
                ce=ce,
                error_decay=error_decay,
                gravity=gravity,
                height_adjustment=height_adjustment,
                adjustment_smoothing=adjustment_smoothing,
                min_error=min_error,
                max_error=max_error,
            )
        engine = super().__new__(cls, config, config.dimensions, secrets.randbits(64))
        engine._config = config
        return engine

    @staticmethod
    def estimate_rtt_seconds(local: NetworkCoordinate, peer: NetworkCoordinate) -> float:
        """The predicted round trip between two places, in seconds."""
        return hyperscale_estimate_seconds(local, peer)

    @staticmethod
    def estimate_rtt_ms(local: NetworkCoordinate, peer: NetworkCoordinate) -> float:
        """The predicted round trip between two places, in ms."""
        return hyperscale_estimate_seconds(local, peer) * 1000.0

    def get_config(self) -> VivaldiConfig:
        """The constants in use."""
        return self._config
