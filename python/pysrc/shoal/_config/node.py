"""How a node behaves, and how it times jobs."""

from dataclasses import dataclass, field

from shoal import _native

_EXTENSION, _JOBS, _DEFAULTS = (
    _native.config_defaults()[name] for name in ("ExtensionConfig", "JobsConfig", "Config")
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExtensionConfig:
    """How much longer a worker of a job may take."""

    base_ms: int = _EXTENSION["base_ms"]
    """The deadline that is extended; 1 to 86,400,000. The n-th grant is this divided by 2^n."""
    grant_min_ms: int = _EXTENSION["grant_min_ms"]
    """No grant is shorter; 1 to the base."""
    count_max: int = _EXTENSION["count_max"]
    """Grants per worker and job; 0 to 32."""
    warning_count: int = _EXTENSION["warning_count"]
    """The worker is warned once, when no more than this many grants remain; 0 to 32."""
    grace_ms: int = _EXTENSION["grace_ms"]
    """Time from the first request beyond the last grant until the worker is overdue; at most an
    hour."""

    def __post_init__(self) -> None:
        _native.check_config(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class JobsConfig:
    """How jobs are timed, on gates and managers. Durations are whole milliseconds."""

    stuck_after_ms: int = _JOBS["stuck_after_ms"]
    """A job without progress for this long is stuck; 10 to 86,400,000."""
    report_interval_ms: int = _JOBS["report_interval_ms"]
    """Time between two reports of a manager to a gate; 10 to 3,600,000."""
    fallback_after_ms: int = _JOBS["fallback_after_ms"]
    """A manager whose job is over time decides alone when the gate has not spoken of that job for
    this long; 10 to 86,400,000."""
    resume_grace_ms: int = _JOBS["resume_grace_ms"]
    """A new leader declares no job stuck for this long; at most a day."""
    retry_min_ms: int = _JOBS["retry_min_ms"]
    """First pause before something unacknowledged is sent again; 1 to 60,000. It doubles each
    time."""
    retry_max_ms: int = _JOBS["retry_max_ms"]
    """The longest such pause; at least the first, at most an hour."""
    outcome_lifetime_ms: int = _JOBS["outcome_lifetime_ms"]
    """How long a manager tries to deliver the outcome of a job; 10 to 86,400,000."""
    gate_rule: str = _JOBS["gate_rule"]
    """When reported timeouts of datacenters time out the whole job: "any" or "majority"."""
    gate_stuck_after_ms: int = _JOBS["gate_stuck_after_ms"]
    """A gate counts a datacenter as stuck when it reports no progress for this long; 10 to
    86,400,000. Only when all unfinished ones are is the job timed out."""
    gate_silent_after_ms: int = _JOBS["gate_silent_after_ms"]
    """A gate counts a datacenter that it has not heard from for this long as stuck; 10 to
    86,400,000."""
    gate_deadline_grace_ms: int = _JOBS["gate_deadline_grace_ms"]
    """How long past the job's deadline a gate waits for datacenters to report their own timeout
    before it declares the global one; at most an hour."""
    gate_retention_ms: int = _JOBS["gate_retention_ms"]
    """How long a gate remembers a job that is over in all datacenters; 10 to 86,400,000."""
    gate_decision_lifetime_ms: int = _JOBS["gate_decision_lifetime_ms"]
    """How long a gate tries to tell datacenters of a global timeout; 10 to 864,000,000."""
    extension: ExtensionConfig = field(default_factory=ExtensionConfig)
    """Extensions for workers."""
    job_capacity: int = _JOBS["job_capacity"]
    """Most jobs a manager tracks; 1 to 16,777,216. When full, the oldest one that only waits for
    its outcome to be delivered makes room; when there is none, a new job is refused."""
    worker_capacity: int = _JOBS["worker_capacity"]
    """Most pairs of job and worker with extensions; 1 to 16,777,216. When full, a first extension
    is denied."""
    gate_job_capacity: int = _JOBS["gate_job_capacity"]
    """Most jobs a gate tracks; 1 to 16,777,216. When full, the oldest one that is over makes room;
    when there is none, a new job is refused."""
    gate_site_capacity: int = _JOBS["gate_site_capacity"]
    """Most pairs of job and datacenter a gate tracks; 1 to 16,777,216. When full, a new one is
    refused."""
    workflow_capacity: int = _JOBS["workflow_capacity"]
    """Most workflows in a `WorkflowStateMachine`; 1 to 16,777,216. When full, a new one is
    refused."""
    workflow_history: int = _JOBS["workflow_history"]
    """Transitions remembered per workflow; 0 to 1,024. The oldest are forgotten first."""
    workflow_event_capacity: int = _JOBS["workflow_event_capacity"]
    """Workflow events that wait for the program; 1 to 16,777,216. Beyond it the newest is dropped
    and counted."""

    def __post_init__(self) -> None:
        _native.check_config(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How a node behaves. The defaults suit a local network and up to a few thousand nodes.

    A wide-area cluster works with them too, because probe timeouts follow the measured round trips.
    Durations are whole milliseconds. `dataclasses.replace` makes a changed copy.
    """

    wire_format: str = _DEFAULTS["wire_format"]
    """The format to begin with: "native", or "hyperscale" among its Python nodes. All nodes of a
    cluster need the same."""
    source_request_rate: int = _DEFAULTS["source_request_rate"]
    """Requests per second that one source may send in hyperscale's format, and how many at once;
    10 to 10,000,000. What is beyond is refused and counted."""
    probe_interval_ms: int = _DEFAULTS["probe_interval_ms"]
    """Time between two probes of this node; 10 to 60,000. (SWIM: protocol period.)"""
    probe_timeout_min_ms: int = _DEFAULTS["probe_timeout_min_ms"]
    """The shortest time a probe waits for its ack before helpers are asked; 1 to 60,000."""
    probe_timeout_unknown_ms: int = _DEFAULTS["probe_timeout_unknown_ms"]
    """The time a probe waits while nothing is known of the round trip; at least the shortest."""
    indirect_probe_count: int = _DEFAULTS["indirect_probe_count"]
    """Helpers asked when a direct probe failed; 0 to 8. (SWIM: k.)"""
    suspicion_min_factor: float = _DEFAULTS["suspicion_min_factor"]
    """Smallest suspicion time as a multiple of `log10(members) x probe_interval_ms`, at least one
    interval; 0.1 to 100. (Lifeguard: alpha.)"""
    suspicion_max_factor: float = _DEFAULTS["suspicion_max_factor"]
    """Largest suspicion time as a multiple of the smallest; 1 to 100. (Lifeguard: beta.)"""
    job_suspicion_min_ms: int = _DEFAULTS["job_suspicion_min_ms"]
    """How long a member accused in one job has with enough accusers; 1 to 3,600,000."""
    job_suspicion_max_ms: int = _DEFAULTS["job_suspicion_max_ms"]
    """How long it has with a single accuser; at least the former."""
    gossip_factor: int = _DEFAULTS["gossip_factor"]
    """How often one update is sent, as a multiple of `log10(members + 1)`; 1 to 20. (SWIM:
    lambda.)"""
    gossip_interval_ms: int = _DEFAULTS["gossip_interval_ms"]
    """Time between two gossip rounds while updates wait; 10 to 60,000."""
    gossip_fanout: int = _DEFAULTS["gossip_fanout"]
    """Peers that one gossip round reaches; 1 to 16."""
    sync_interval_ms: int = _DEFAULTS["sync_interval_ms"]
    """Time between two table exchanges with a random peer; 0 switches them off."""
    join_interval_ms: int = _DEFAULTS["join_interval_ms"]
    """First pause between two attempts to join through the seeds; doubles up to 32 times as much
    while nobody answers. 10 to 60,000."""
    dead_retention_ms: int = _DEFAULTS["dead_retention_ms"]
    """How long the record of a dead or departed member is kept, so that late news of it is
    recognised as old; at least 1,000."""
    confirmation_timeout_ms: tuple[int, int, int] = _DEFAULTS["confirmation_timeout_ms"]
    """How long a gate, a manager, a worker may stay unconfirmed before it is removed."""
    confirmation_interval_ms: int = _DEFAULTS["confirmation_interval_ms"]
    """Time between two attempts to confirm a gate or manager."""
    confirmation_attempts: tuple[int, int, int] = _DEFAULTS["confirmation_attempts"]
    """How many attempts are made to confirm a gate, a manager, a worker."""
    state_size_max: int = _DEFAULTS["state_size_max"]
    """The largest state of a host that is sent or accepted, in bytes; at most 1,048,576."""
    jobs: JobsConfig = field(default_factory=JobsConfig)
    """How jobs are timed, on gates and managers."""
    member_capacity: int = _DEFAULTS["member_capacity"]
    """Most members remembered, dead ones and this node included; 2 to 1,048,576. When full, the
    longest departed or dead record makes room; when all are active a newcomer is refused and
    counted."""
    session_capacity: int = _DEFAULTS["session_capacity"]
    """Most senders whose keys are remembered; 2 to 1,048,576. When full the longest silent one
    makes room."""
    transmit_capacity: int = _DEFAULTS["transmit_capacity"]
    """Most datagrams waiting to be sent; 16 to 1,048,576. When full the newest is dropped and
    counted."""
    event_capacity: int = _DEFAULTS["event_capacity"]
    """Most events that wait for the program; 16 to 1,048,576. When full the newest are dropped and
    counted, and `Overflow` tells how many."""
    probe_capacity: int = _DEFAULTS["probe_capacity"]
    """Most probes in flight, this node's own and those it makes for others; 16 to 65,536."""

    def __post_init__(self) -> None:
        _native.check_config(self)
