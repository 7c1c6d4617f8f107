"""What `install()` replaces: modules below `hyperscale.distributed`, and the names in them.

The drop-in of a name is the attribute of the same name in the module of the same path below
`shoal.hyperscale`. A class that is taken over stays, and gets some of its methods from there.
"""

from __future__ import annotations

__all__ = ["KNOWN_VERSIONS", "REPLACED", "TAKEN_OVER"]

KNOWN_VERSIONS = frozenset({"0.7.2"})
"""The versions of hyperscale that the drop-ins were compared with."""

REPLACED: dict[str, tuple[str, ...]] = {
    "models.coordinates": ("NetworkCoordinate", "VivaldiConfig"),
    "swim.coordinates.coordinate_engine": ("NetworkCoordinateEngine",),
    "swim.coordinates.coordinate_tracker": ("CoordinateTracker",),
    "swim.core.node_state": ("NodeState",),
    "swim.detection.suspicion_state": ("SuspicionState",),
    "swim.detection.timing_wheel": (
        "TimingWheel",
        "TimingWheelBucket",
        "TimingWheelConfig",
        "WheelEntry",
    ),
    "swim.detection.job_suspicion_manager": (
        "JobSuspicion",
        "JobSuspicionConfig",
        "JobSuspicionManager",
    ),
    "swim.detection.hierarchical_failure_detector": (
        "FailureEvent",
        "FailureSource",
        "HierarchicalConfig",
        "HierarchicalFailureDetector",
        "NodeStatus",
    ),
    "swim.detection.incarnation_tracker": ("IncarnationTracker", "MessageFreshness"),
    "swim.detection.pending_indirect_probe": ("PendingIndirectProbe",),
    "swim.detection.indirect_probe_manager": ("IndirectProbeManager",),
    "swim.detection.probe_scheduler": ("ProbeScheduler",),
    "swim.gossip.piggyback_update": ("PiggybackUpdate",),
    "swim.gossip.gossip_buffer": ("GossipBuffer",),
    "swim.gossip.health_gossip_buffer": (
        "HealthGossipBuffer",
        "HealthGossipBufferConfig",
        "HealthGossipEntry",
        "OverloadSeverity",
    ),
    "swim.health.local_health_multiplier": ("LocalHealthMultiplier",),
    "swim.message_handling.core.message_parser": ("MessageParser",),
    "swim.roles.confirmation_strategy": (
        "RoleBasedConfirmationStrategy",
        "get_strategy_for_role",
    ),
    "swim.roles.confirmation_manager": (
        "ConfirmationResult",
        "RoleAwareConfirmationManager",
        "UnconfirmedPeerState",
    ),
    "encryption.aes_gcm": ("AESGCMFernet", "EncryptionError"),
    "health.extension_tracker": ("ExtensionTracker", "ExtensionTrackerConfig"),
    "routing.candidate_filter": (
        "CandidateFilter",
        "DatacenterCandidate",
        "DemotionReason",
        "ExclusionReason",
        "ManagerCandidate",
    ),
    "routing.bucket_selector": ("BucketSelectionResult", "BucketSelector"),
    "routing.routing_state": (
        "DatacenterRoutingScore",
        "JobRoutingState",
        "RoutingDecisionReason",
        "RoutingStateManager",
    ),
    "routing.scoring": ("RoutingScorer", "ScoringConfig"),
    "routing.hysteresis": ("HysteresisConfig", "HysteresisManager", "HysteresisResult"),
    "routing.bootstrap": ("BootstrapConfig", "BootstrapModeManager"),
    "routing.fallback_chain": ("FallbackChain", "FallbackChainBuilder"),
    "routing.gate_job_router": ("GateJobRouter", "GateJobRouterConfig", "RoutingDecision"),
    "routing.observed_latency_state": ("ObservedLatencyState",),
    "routing.observed_latency_tracker": ("ObservedLatencyTracker",),
    "routing.blended_latency_scorer": ("BlendedLatencyScorer",),
    "jobs.timeout_strategy": (
        "GateCoordinatedTimeout",
        "LocalAuthorityTimeout",
        "TimeoutStrategy",
    ),
    "jobs.gates.gate_job_timeout_tracker": ("GateJobTimeoutTracker", "GateJobTrackingInfo"),
    "workflow.state_machine": ("StateTransition", "WorkflowState", "WorkflowStateMachine"),
    "server.events.lamport_clock": ("LamportClock",),
}

TAKEN_OVER = {"swim.health_aware_server": "HealthAwareServer"}
"""Classes that get some methods of `METHODS` in the module of the same path."""
