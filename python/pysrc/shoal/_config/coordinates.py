"""The constants of network coordinates."""

from __future__ import annotations

from dataclasses import dataclass

from shoal import _native

_HYPERSCALE, _VIVALDI = (
    _native.config_defaults()[name] for name in ("HyperscaleConfig", "VivaldiConfig")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class HyperscaleConfig:
    """The constants of the Python node's arithmetic, with its names where they say enough."""

    ce: float = _HYPERSCALE["ce"]
    """Share of the way to rest that one sample moves a node; 0 to 1."""
    error_decay: float = _HYPERSCALE["error_decay"]
    """Share of one sample in the error; 0 to 1."""
    gravity: float = _HYPERSCALE["gravity"]
    """Share of the vector that every sample takes away; 0 to 1."""
    height_adjustment: float = _HYPERSCALE["height_adjustment"]
    """Share of the mismatch that goes into the height; 0 to 1."""
    adjustment_smoothing: float = _HYPERSCALE["adjustment_smoothing"]
    """Share of the mismatch that goes into the adjustment; 0 to 1."""
    min_error: float = _HYPERSCALE["min_error"]
    """The smallest error, in seconds; 0 to the largest."""
    max_error: float = _HYPERSCALE["max_error"]
    """The largest error, in seconds; up to 10."""
    k_sigma: float = _HYPERSCALE["k_sigma"]
    """How many sigmas the upper bound lies above the estimate; 0 to 100."""
    rtt_default_ms: float = _HYPERSCALE["rtt_default_ms"]
    """The estimate for a peer without coordinate, in ms; 0 to 10,000,000."""
    sigma_default_ms: float = _HYPERSCALE["sigma_default_ms"]
    """Its sigma, in ms; 0 to 10,000,000."""
    sigma_min_ms: float = _HYPERSCALE["sigma_min_ms"]
    """The smallest sigma, in ms; 0 to the largest."""
    sigma_max_ms: float = _HYPERSCALE["sigma_max_ms"]
    """The largest sigma, in ms; up to 10,000,000."""
    rtt_min_ms: float = _HYPERSCALE["rtt_min_ms"]
    """The smallest upper bound, in ms; 0 to the largest."""
    rtt_max_ms: float = _HYPERSCALE["rtt_max_ms"]
    """The largest upper bound, in ms; up to 10,000,000."""
    min_samples_for_routing: int = _HYPERSCALE["min_samples_for_routing"]
    """Samples from which on their number no longer lowers the quality; 1 to 1,000,000."""
    error_good_ms: float = _HYPERSCALE["error_good_ms"]
    """The error up to which it does not lower the quality, in ms; 0 to 10,000,000."""
    coord_ttl_seconds: float = _HYPERSCALE["coord_ttl_seconds"]
    """The age up to which it does not lower the quality, in seconds; 0 to 10,000,000."""
    convergence_error_threshold: float = _HYPERSCALE["convergence_error_threshold"]
    """The error at which a node counts as converged, in seconds; 0 to 10."""
    convergence_min_samples: int = _HYPERSCALE["convergence_min_samples"]
    """Samples it needs besides; 0 to 1,000,000."""

    def __post_init__(self) -> None:
        _native.check_config(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class VivaldiConfig:
    """The constants of the coordinate system."""

    profile: str | HyperscaleConfig = "native"
    """Whose arithmetic moves the coordinate: "native", or the Python node's with these constants.
    All nodes of a cluster must use the same."""
    gain_start: float = _VIVALDI["gain_start"]
    """Share of the way to rest that one relaxation goes while the node is new; `gain` to 1.
    (Vivaldi: the adaptive timestep delta, section 3.3.)"""
    gain: float = _VIVALDI["gain"]
    """The same once it has settled; 0.01 to 1. (Vivaldi: `c_c`.)"""
    cooling: float = _VIVALDI["cooling"]
    """Share of its heat that the node loses with each sample, on the way from `gain_start` to
    `gain`; 0.001 to 1."""
    error_gain: float = _VIVALDI["error_gain"]
    """Share of one sample in the running averages of error and scale; 0.005 to 1. (Vivaldi:
    `c_e`.)"""
    error_min: float = _VIVALDI["error_min"]
    """The smallest relative error a node admits to; 0.001 to 0.5."""
    limit_factor: float = _VIVALDI["limit_factor"]
    """The most one spring pulls, as a multiple of the node's usual mismatch; 0.1 to 10. A spring
    beyond it pulls no harder, which makes the node rest at a median rather than at a mean."""
    limit_seconds_max: float = _VIVALDI["limit_seconds_max"]
    """The most one spring pulls in any case, in seconds; 0.0001 to 1. Bounds what the first
    datagrams do to a new node."""
    cutoff_factor: float = _VIVALDI["cutoff_factor"]
    """The mismatch at which a spring gives way, as a multiple of its limit; 1 to 100. Its pull then
    falls with the square of the mismatch."""
    spring_capacity: int = _VIVALDI["spring_capacity"]
    """How many springs are remembered, a multiple of 8; 8 to 4,096. When full the oldest makes
    room."""
    height_seconds_min: float = _VIVALDI["height_seconds_min"]
    """The smallest height, in seconds; 0 to 0.1."""
    adjustment_share_max: float = _VIVALDI["adjustment_share_max"]
    """How far an adjustment may go below zero, as a share of the typical round trip; 0 to 1."""
    adjustment_after: int = _VIVALDI["adjustment_after"]
    """Samples before adjustments begin to go below zero; 0 to 1,000,000. They reach their full
    range after five times as many."""
    gravity_radius_seconds: float = _VIVALDI["gravity_radius_seconds"]
    """The distance from the origin, in seconds, at which gravity pulls by that same distance; 1 to
    100,000. Keeps the whole space from drifting. (Serf: `GravityRho`.)"""
    publish_share: float = _VIVALDI["publish_share"]
    """Share of the way that the published coordinate follows the inner one with each sample, once
    settled; 0.01 to 1."""
    sample_interval_ms_min: int = _VIVALDI["sample_interval_ms_min"]
    """Samples of one peer that follow each other faster than this are refused, in ms; 0 to
    60,000."""
    distrust_after: int = _VIVALDI["distrust_after"]
    """Contradictions after which a peer's coordinate is no longer used; 1 to 100."""
    measured_seconds_max: int = _VIVALDI["measured_seconds_max"]
    """How long a measured round trip is preferred to a prediction, in seconds; 1 to 10,000,000."""
    coordinate_seconds_max: int = _VIVALDI["coordinate_seconds_max"]
    """How long a coordinate is used after it was last heard, in seconds; 1 to 10,000,000.
    (AD-35.)"""
    sigma_count: float = _VIVALDI["sigma_count"]
    """How many sigmas the upper bound lies above the estimate; 0 to 10. (AD-35: k.)"""
    samples_good: int = _VIVALDI["samples_good"]
    """Samples from which on their number no longer lowers the quality; 1 to 1,000. (AD-35.)"""
    error_good: float = _VIVALDI["error_good"]
    """The relative error up to which it does not lower the quality; 0.01 to 1.5. (AD-35.)"""
    age_seconds_good: int = _VIVALDI["age_seconds_good"]
    """The age in seconds up to which it does not lower the quality; 1 to 10,000,000. (AD-35.)"""
    convergence_error: float = _VIVALDI["convergence_error"]
    """The relative error at which a node counts as converged; 0.01 to 1.5. (AD-35.)"""
    convergence_samples: int = _VIVALDI["convergence_samples"]
    """Samples it needs besides; 0 to 1,000,000. (AD-35.)"""

    def __post_init__(self) -> None:
        _native.check_config(self)
