"""Everything that decides how a router behaves."""

from __future__ import annotations

from dataclasses import dataclass, field

from shoal import _native

_FILTER, _SCORING, _BOOTSTRAP, _HYSTERESIS, _OBSERVED, _ROUTER = (
    _native.config_defaults()[name]
    for name in (
        "FilterConfig",
        "ScoringConfig",
        "BootstrapConfig",
        "HysteresisConfig",
        "ObservedConfig",
        "RouterConfig",
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class FilterConfig:
    """Which candidates are eligible."""

    health_stale_after_ms: int = _FILTER["health_stale_after_ms"]
    """Health of a datacenter that is older than this counts as degraded, in ms; 1 to 86,400,000."""
    heartbeat_stale_after_ms: int = _FILTER["heartbeat_stale_after_ms"]
    """A manager whose last heartbeat is older than this is excluded, in ms; 1 to 86,400,000."""
    latency_max_ms: float | None = _FILTER["latency_max_ms"]
    """Datacenters expected to take longer than this are excluded, in ms; above 0. `None` sets no
    limit, and a datacenter without an expectation is never excluded by it."""
    throughput_min_per_second: float | None = _FILTER["throughput_min_per_second"]
    """Datacenters expected to serve less than this are excluded, in requests per second; above 0.
    `None` sets no limit, and a datacenter without an expectation is never excluded by it."""

    def __post_init__(self) -> None:
        _native.check_config(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoringConfig:
    """How candidates are scored."""

    utilization_weight: float = _SCORING["utilization_weight"]
    """Weight of the share of cores in use; 0 to 100. (AD-36: `A_UTIL`.)"""
    queue_weight: float = _SCORING["queue_weight"]
    """Weight of the queue; 0 to 100. (AD-36: `A_QUEUE`.)"""
    circuit_weight: float = _SCORING["circuit_weight"]
    """Weight of open circuit breakers; 0 to 100. (AD-36: `A_CB`.)"""
    queue_smoothing: float = _SCORING["queue_smoothing"]
    """The queue depth that counts half; 1e-9 to 1e9. (AD-36: `QUEUE_SMOOTHING`.)"""
    load_factor_max: float = _SCORING["load_factor_max"]
    """The largest load factor; 1 to 1,000. (AD-36: `LOAD_FACTOR_MAX`.)"""
    quality_weight: float = _SCORING["quality_weight"]
    """Weight of what is not known about the round trip; 0 to 100. (AD-36: `A_QUALITY`.)"""
    quality_penalty_max: float = _SCORING["quality_penalty_max"]
    """The largest quality penalty; 1 to 1,000. (AD-36: `QUALITY_PENALTY_MAX`.)"""
    preference_multiplier: float = _SCORING["preference_multiplier"]
    """What the score of a preferred datacenter is multiplied by; 0.1 to 1. (AD-36:
    `PREFERENCE_MULT`.)"""
    prefer_in_fallback: bool = _SCORING["prefer_in_fallback"]
    """Whether a preference also reorders the buckets that are only fallback. AD-36 keeps it within
    the primary bucket; hyperscale's own router applies it everywhere."""
    rtt_min_ms: float = _SCORING["rtt_min_ms"]
    """Shorter round trips count as this, in ms, so that on a local network load decides; 1e-6 to
    1,000."""
    rtt_max_ms: float = _SCORING["rtt_max_ms"]
    """Longer round trips count as this, in ms; at least the shortest, up to 1e6."""
    rtt_default_ms: float = _SCORING["rtt_default_ms"]
    """The least that an unknown round trip counts as, in ms; within the two above. (AD-36:
    `RTT_DEFAULT_MS`.)"""

    def __post_init__(self) -> None:
        _native.check_config(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class BootstrapConfig:
    """When round trips are good enough to be scored."""

    samples_min: int = _BOOTSTRAP["samples_min"]
    """Samples that the gate's own coordinate must have taken; 0 to 1,000,000. (AD-36:
    `MIN_SAMPLES_FOR_ROUTING`.)"""
    error_max: float = _BOOTSTRAP["error_max"]
    """The largest relative error of the gate's own coordinate; 0 to 10. (AD-36:
    `ERROR_MAX_FOR_ROUTING`.)"""

    def __post_init__(self) -> None:
        _native.check_config(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class HysteresisConfig:
    """How strongly jobs stick to their primaries."""

    hold_down_ms: int = _HYSTERESIS["hold_down_ms"]
    """How long a choice is protected from rivals, in ms; 0 to 86,400,000. (AD-36:
    `HOLD_DOWN_S`.)"""
    improvement_ratio: float = _HYSTERESIS["improvement_ratio"]
    """A rival must score below this share of the present choice; 0.01 to 1. (AD-36:
    `IMPROVEMENT_RATIO`.)"""
    improvement_confirm_ms: int = _HYSTERESIS["improvement_confirm_ms"]
    """How long some rival has to stay better by that much, in ms; 0 to 86,400,000. At 0 the job
    moves at first sight, as AD-36 has it. Where round trips jump by a fifth from one decision to
    the next, 1 already asks for two decisions in a row and makes such moves rare."""
    degrade_ratio: float = _HYSTERESIS["degrade_ratio"]
    """How many times worse than when chosen counts as degraded; 1 to 1,000. (AD-36:
    `DEGRADE_RATIO`.)"""
    degrade_confirm_ms: int = _HYSTERESIS["degrade_confirm_ms"]
    """How long it has to stay degraded before the job moves, in ms; 0 to 86,400,000. (AD-36:
    `DEGRADE_CONFIRM_S`.)"""
    cooldown_ms: int = _HYSTERESIS["cooldown_ms"]
    """How long a failure in a datacenter counts against it for that job, in ms; 0 to 86,400,000."""
    cooldown_multiplier: float = _HYSTERESIS["cooldown_multiplier"]
    """What it multiplies the score by; 1 to 1,000."""

    def __post_init__(self) -> None:
        _native.check_config(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservedConfig:
    """How observed job latencies correct round trips."""

    enabled: bool = _OBSERVED["enabled"]
    """Whether the router corrects round trips by what it observed."""
    alpha: float = _OBSERVED["alpha"]
    """Weight of the newest sample in the mean; above 0, to 1. (AD-45: `alpha`.)"""
    samples_for_confidence: int = _OBSERVED["samples_for_confidence"]
    """Samples until the mean is fully trusted; 1 to 1,000,000. (AD-45:
    `min_samples_for_confidence`.)"""
    staleness_max_ms: int = _OBSERVED["staleness_max_ms"]
    """The age at which nothing of it is trusted any more, in ms; 1 to 86,400,000."""
    latency_max_ms: float = _OBSERVED["latency_max_ms"]
    """Longer jobs count as this, in ms; 1 to 1e12."""
    slowdown_max: float = _OBSERVED["slowdown_max"]
    """The largest correction, and the inverse of the smallest; 1 to 1,000."""

    def __post_init__(self) -> None:
        _native.check_config(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterConfig:
    """Everything that decides how a router behaves."""

    filter: FilterConfig = field(default_factory=FilterConfig)
    """Which candidates are eligible."""
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    """How they are scored."""
    bootstrap: BootstrapConfig = field(default_factory=BootstrapConfig)
    """When round trips are good enough to be scored."""
    hysteresis: HysteresisConfig = field(default_factory=HysteresisConfig)
    """How strongly jobs stick to their primaries."""
    observed: ObservedConfig = field(default_factory=ObservedConfig)
    """How observed job latencies correct round trips."""
    primary_count_max: int = _ROUTER["primary_count_max"]
    """The most primaries a decision names; 1 to 4,096."""
    job_capacity: int = _ROUTER["job_capacity"]
    """The most jobs remembered, at 256 bytes each; 1 to 16,777,216. When full, the job that was
    used longest ago is forgotten, and counted."""
    job_time_to_live_ms: int = _ROUTER["job_time_to_live_ms"]
    """How long a job that is not heard of is remembered, in ms; 1,000 to 1e12."""

    def __post_init__(self) -> None:
        _native.check_config(self)
