"""The settings of a node. Defaults and ranges are the engine's."""

from dataclasses import dataclass

from shoal import _native

_DEFAULTS = _native.config_defaults()


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """How a node behaves. The defaults suit a local network and up to a few thousand nodes.

    A wide-area cluster works with them too, because probe timeouts follow the measured round trips.
    Durations are whole milliseconds. A value out of its range raises `ConfigError` at once;
    `dataclasses.replace` makes a changed copy.
    """

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
