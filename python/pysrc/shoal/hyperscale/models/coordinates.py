"""Coordinates and their constants, by the names of `hyperscale.distributed.models.coordinates`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from shoal._native import NetworkCoordinate
from shoal.hyperscale._fields import describe_fields

__all__ = ["NetworkCoordinate", "VivaldiConfig"]


@dataclass(slots=True)
class VivaldiConfig:
    """The constants of the coordinate arithmetic (AD-35)."""

    dimensions: int = 8
    """Components of the vector, 1 to 8."""
    ce: float = 0.25
    """How far a sample moves the own coordinate."""
    error_decay: float = 0.25
    """How much a sample weighs in the error."""
    gravity: float = 0.01
    """The share of the vector that each sample takes away."""
    height_adjustment: float = 0.25
    adjustment_smoothing: float = 0.05
    min_error: float = 0.05
    """Seconds."""
    max_error: float = 10.0
    """Seconds."""
    k_sigma: float = 2.0
    """How many errors the upper bound of a round trip is above its estimate."""
    rtt_default_ms: float = 100.0
    sigma_default_ms: float = 50.0
    sigma_min_ms: float = 1.0
    sigma_max_ms: float = 500.0
    rtt_min_ms: float = 1.0
    rtt_max_ms: float = 10000.0
    min_samples_for_routing: int = 10
    error_good_ms: float = 20.0
    coord_ttl_seconds: float = 300.0
    convergence_error_threshold: float = 0.5
    """Seconds."""
    convergence_min_samples: int = 10


describe_fields(
    NetworkCoordinate,
    ("vec", "list[float]"),
    ("height", "float"),
    ("adjustment", "float"),
    ("error", "float"),
    ("updated_at", "float", field(default_factory=time.monotonic)),
    ("sample_count", "int", field(default=0)),
)
