"""Network coordinates (AD-35)."""

from .coordinate_engine import NetworkCoordinateEngine
from .coordinate_tracker import CoordinateTracker

__all__ = ["CoordinateTracker", "NetworkCoordinateEngine"]
