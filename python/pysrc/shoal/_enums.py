"""Roles and states. Their members are strings, so a plain name does wherever one is expected."""

from enum import StrEnum


class _Name(StrEnum):
    """A string whose `repr` is the way to write it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Role(_Name):
    """What a node does in the job system. It decides how eagerly peers confirm it."""

    GATE = "gate"
    """Entry point that routes jobs to datacenters."""
    MANAGER = "manager"
    """Owner of jobs inside one datacenter."""
    WORKER = "worker"
    """Runs the work; confirmed only passively."""


class MemberState(_Name):
    """Where a member stands in its life, as one node sees it."""

    UNCONFIRMED = "unconfirmed"
    """Heard of, not yet heard from. Never suspected, never declared dead."""
    ALIVE = "alive"
    """Heard from, and answering."""
    SUSPECT = "suspect"
    """Did not answer; may still refute."""
    DEAD = "dead"
    """Did not refute in time."""
    LEFT = "left"
    """Said goodbye."""
    REMOVED = "removed"
    """Forgotten: its record is gone. Seen in events only."""


class Refusal(_Name):
    """Why a coordinate or a round trip of a peer was not used."""

    COORDINATE = "coordinate"
    """A field is not finite or outside its range. Nothing was taken."""
    DIMENSION = "dimension"
    """The number of dimensions is not eight. Nothing was taken."""
    ROUND_TRIP = "round_trip"
    """The round trip is zero or longer than any network's. Nothing was taken."""
    TIME = "time"
    """The sample is older than the peer's last. Nothing was taken."""
    RATE = "rate"
    """The peer's last sample was taken too short a time ago. Nothing was taken."""
    CONTRADICTION = "contradiction"
    """The peer's coordinates have contradicted their round trips or each other too often. The round
    trip was taken, the coordinate did not move this node."""


class TimeoutReason(_Name):
    """Why a job timed out."""

    DEADLINE = "deadline"
    """Timeout and extensions have passed in this datacenter."""
    STUCK = "stuck"
    """No progress and no extension for too long in this datacenter."""
    GATE_SILENT = "gate_silent"
    """One of the two, and the gate that should decide has been silent for too long."""
    GLOBAL_DEADLINE = "global_deadline"
    """A gate saw the job's timeout and the largest extension of any datacenter pass."""
    ALL_STUCK = "all_stuck"
    """A gate saw no progress in any datacenter that had not finished."""
    DATACENTERS_TIMED_OUT = "datacenters_timed_out"
    """A gate learned of timeouts in as many datacenters as its rule asks for."""


class TimeoutRule(_Name):
    """When reports of datacenters about their own timeout make a gate time out the whole job."""

    ANY = "any"
    """As soon as one datacenter has timed out."""
    MAJORITY = "majority"
    """When more than half of the job's datacenters have, or all that have not finished."""


class WireFormat(_Name):
    """The format in which a node speaks to peers that it knows nothing of yet."""

    NATIVE = "native"
    """Shoal's own."""
    HYPERSCALE = "hyperscale"
    """That of hyperscale's Python node, so that both kinds form one cluster. Shoal nodes tell each
    other that they also speak the native one, and change to it."""


class JobOutcome(_Name):
    """How a job ended."""

    COMPLETED = "completed"
    """All its workflows did what they should."""
    FAILED = "failed"
    """It could not be done."""
    CANCELLED = "cancelled"
    """A user called it off."""
    TIMED_OUT = "timed_out"
    """It took too long."""


class DenialReason(_Name):
    """Why no extension was granted."""

    EXHAUSTED = "exhausted"
    """All grants are used. The grace runs from the first such request."""
    NO_PROGRESS = "no_progress"
    """No progress since the last grant."""
    SUSPECT = "suspect"
    """The worker is suspected to have failed."""
    NOT_A_NUMBER = "not_a_number"
    """The progress is not a finite number."""
    UNKNOWN_JOB = "unknown_job"
    """The job is not tracked, or is over."""
    FULL = "full"
    """Extensions of as many workers are tracked as may be."""


class JobStanding(_Name):
    """What a member is to one job."""

    ALIVE = "alive"
    """Nothing is held against it."""
    SUSPECT_FOR_JOB = "suspect_for_job"
    """Accused in this job; may still be vouched for."""
    DEAD_FOR_JOB = "dead_for_job"
    """Nobody vouched for it in time: this job should do without it."""
    SUSPECT = "suspect"
    """The machine is suspected."""
    DEAD = "dead"
    """The machine is dead, has left, or is not known."""


class WorkflowState(_Name):
    """Where a workflow stands."""

    PENDING = "pending"
    """Waits for a worker."""
    DISPATCHED = "dispatched"
    """Sent to a worker that has not confirmed."""
    RUNNING = "running"
    """A worker runs it."""
    COMPLETED = "completed"
    """Ended well."""
    FAILED = "failed"
    """The worker died, or the work failed or took too long."""
    FAILED_CANCELING_DEPENDENTS = "failed_canceling_deps"
    """Failed; what depends on it is being cancelled."""
    FAILED_READY_FOR_RETRY = "failed_ready"
    """Failed; nothing depends on it any more, it may be tried again."""
    CANCELLING = "cancelling"
    """Called off; the worker has not confirmed."""
    CANCELLED = "cancelled"
    """Called off."""
    AGGREGATED = "aggregated"
    """Ended well, its results are merged with those of other cores."""


class DatacenterHealth(_Name):
    """How well a datacenter is."""

    HEALTHY = "healthy"
    """Structurally well, with free cores."""
    BUSY = "busy"
    """Structurally well, without a free core. Passes as jobs finish."""
    DEGRADED = "degraded"
    """The majority of its workers or of its managers is lost: it works, with less."""
    UNHEALTHY = "unhealthy"
    """No manager answers or no worker is registered: it cannot work."""


class Bucket(_Name):
    """The health that a datacenter is routed with. A better bucket always wins."""

    HEALTHY = "healthy"
    """Free cores, structurally well."""
    BUSY = "busy"
    """No free core at the moment."""
    DEGRADED = "degraded"
    """Working with less than a majority, or not heard from lately."""


class CircuitState(_Name):
    """The state of the circuit breaker in front of a manager."""

    CLOSED = "closed"
    """Calls pass."""
    HALF_OPEN = "half_open"
    """A few calls pass, to find out whether it recovered."""
    OPEN = "open"
    """No call passes."""


class RoutingReason(_Name):
    """Why a routing decision came out as it did."""

    INITIAL_SELECTION = "initial_selection"
    """The job had no primary: the best one is taken."""
    BEST_RETAINED = "best_retained"
    """The present choice is still the best."""
    HOLD_DOWN_RETAINED = "hold_down_retained"
    """There is a better one, but the choice is too young to be reconsidered."""
    THRESHOLD_RETAINED = "threshold_retained"
    """There is a better one, but not better enough."""
    IMPROVEMENT_THRESHOLD_MET = "improvement_threshold_met"
    """A rival is better enough: the job moves."""
    BUCKET_DROP_FORCED = "bucket_drop_forced"
    """The present choice stands in a worse bucket than the best there is: the job moves."""
    EXCLUSION_FORCED = "exclusion_forced"
    """The present choice may not take jobs any more or is not offered: the job moves."""
    DEGRADATION_FORCED = "degradation_forced"
    """The present choice has been degraded for long enough: the job moves."""
    COOLDOWN_PENALTY = "cooldown_penalty"
    """The present choice failed this job and another one is now better: the job moves."""
    NO_CANDIDATE = "no_candidate"
    """No datacenter may take the job. Its primary, if it had one, is remembered."""


class Exclusion(_Name):
    """Why a datacenter or a manager may not take a job."""

    UNHEALTHY_STATUS = "unhealthy_status"
    """The datacenter is unhealthy."""
    NO_REGISTERED_MANAGERS = "no_registered_managers"
    """No manager is registered in the datacenter."""
    ALL_MANAGERS_CIRCUIT_OPEN = "all_managers_circuit_open"
    """Every manager of the datacenter is behind an open circuit breaker."""
    CIRCUIT_BREAKER_OPEN = "circuit_breaker_open"
    """This manager is behind an open circuit breaker."""
    HEARTBEAT_STALE = "heartbeat_stale"
    """This manager has not been heard from for too long."""
    SLO_LATENCY_EXCEEDED = "slo_latency_exceeded"
    """The job is expected to take longer than its limit allows."""
    SLO_CAPACITY_INSUFFICIENT = "slo_capacity_insufficient"
    """The datacenter is expected to serve less than the limit asks for."""
