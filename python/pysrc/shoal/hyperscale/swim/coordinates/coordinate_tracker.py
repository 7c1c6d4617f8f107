"""The own coordinate together with what peers told of theirs (AD-35)."""

from __future__ import annotations

from shoal._native import HyperscaleTracker as CoordinateTracker

__all__ = ["CoordinateTracker"]
