"""Which datacenters jobs are sent to (AD-36, AD-45)."""

from .blended_latency_scorer import BlendedLatencyScorer
from .bootstrap import BootstrapConfig, BootstrapModeManager
from .bucket_selector import BucketSelectionResult, BucketSelector
from .candidate_filter import (
    CandidateFilter,
    DatacenterCandidate,
    DemotionReason,
    ExclusionReason,
    ManagerCandidate,
)
from .fallback_chain import FallbackChain, FallbackChainBuilder
from .gate_job_router import GateJobRouter, GateJobRouterConfig, RoutingDecision
from .hysteresis import HysteresisConfig, HysteresisManager, HysteresisResult
from .observed_latency_state import ObservedLatencyState
from .observed_latency_tracker import ObservedLatencyTracker
from .routing_state import (
    DatacenterRoutingScore,
    JobRoutingState,
    RoutingDecisionReason,
    RoutingStateManager,
)
from .scoring import RoutingScorer, ScoringConfig

__all__ = [
    "BlendedLatencyScorer",
    "BootstrapConfig",
    "BootstrapModeManager",
    "BucketSelectionResult",
    "BucketSelector",
    "CandidateFilter",
    "DatacenterCandidate",
    "DatacenterRoutingScore",
    "DemotionReason",
    "ExclusionReason",
    "FallbackChain",
    "FallbackChainBuilder",
    "GateJobRouter",
    "GateJobRouterConfig",
    "HysteresisConfig",
    "HysteresisManager",
    "HysteresisResult",
    "JobRoutingState",
    "ManagerCandidate",
    "ObservedLatencyState",
    "ObservedLatencyTracker",
    "RoutingDecision",
    "RoutingDecisionReason",
    "RoutingScorer",
    "RoutingStateManager",
    "ScoringConfig",
]
