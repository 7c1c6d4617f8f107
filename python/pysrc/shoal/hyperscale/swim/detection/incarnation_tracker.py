"""What this node knows about all others, by incarnation (SWIM, section 4.2)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from shoal.hyperscale._host import LoggerLike, NodeLog, call_back
from shoal.hyperscale.swim.core.node_state import NodeState, Status, status_priority

from .suspicion_state import Node

__all__ = [
    "MAX_INCARNATION",
    "MAX_INCARNATION_JUMP",
    "IncarnationTracker",
    "MessageFreshness",
]

MAX_INCARNATION = 2**31 - 1
MAX_INCARNATION_JUMP = 1000
"""A statement that is farther ahead of what is known is not believed."""
_EVICTION_SLACK = 100
_EVICTION_ORDER: dict[bytes, int] = {b"UNCONFIRMED": -1, b"DEAD": 0, b"SUSPECT": 1}
_EvictionCallback = Callable[[Node, NodeState], Any]


class MessageFreshness(Enum):
    """Whether a statement about a node says anything new."""

    FRESH = "fresh"
    DUPLICATE = "duplicate"
    STALE = "stale"
    INVALID = "invalid"
    SUSPICIOUS = "suspicious"


@dataclass
class IncarnationTracker:
    """Stands in for `hyperscale.distributed.swim.detection.incarnation_tracker`'s tracker.

    What differs: a node that died at incarnation 0 can come back (it needs 5, as any other), and
    death records are dropped by `cleanup()` when their time is over.
    """

    self_incarnation: int = 0
    node_states: dict[Node, NodeState] = field(default_factory=dict[Node, NodeState])
    max_nodes: int = 10000
    dead_node_retention_seconds: float = 3600.0
    zombie_detection_window_seconds: float = 60.0
    minimum_rejoin_incarnation_bump: int = 5
    _on_node_evicted: _EvictionCallback | None = None
    _eviction_count: int = 0
    _cleanup_count: int = 0
    _zombie_rejections: int = 0
    _deaths: dict[Node, tuple[float, int]] = field(default_factory=dict[Node, tuple[float, int]])
    _log: NodeLog = field(default_factory=NodeLog)

    def set_logger(self, logger: LoggerLike, node_host: str, node_port: int, node_id: str) -> None:
        """Where to log, and as whom."""
        self._log = NodeLog(logger, node_host, node_port, node_id)

    # The own incarnation.

    def get_self_incarnation(self) -> int:
        """The own incarnation."""
        return self.self_incarnation

    async def increment_self_incarnation(self) -> int:
        """Raises the own incarnation, to refute a suspicion; `OverflowError` at the end."""
        if self.self_incarnation >= MAX_INCARNATION:
            raise OverflowError(
                f"the incarnation is {MAX_INCARNATION} already; restart the node to go on"
            )
        self.self_incarnation += 1
        return self.self_incarnation

    # Statements about others.

    def is_valid_incarnation(self, incarnation: int) -> bool:
        """Whether a number can be an incarnation."""
        return 0 <= incarnation <= MAX_INCARNATION

    def is_suspicious_jump(self, node: Node, new_incarnation: int) -> bool:
        """Whether an incarnation is too far ahead of the known one."""
        return new_incarnation - self.get_node_incarnation(node) > MAX_INCARNATION_JUMP

    def get_node_state(self, node: Node) -> NodeState | None:
        """What is known about a node."""
        return self.node_states.get(node)

    def get_node_incarnation(self, node: Node) -> int:
        """A node's incarnation; 0 for a stranger."""
        state = self.node_states.get(node)
        return 0 if state is None else state.incarnation

    async def update_node(
        self,
        node: Node,
        status: Status,
        incarnation: int,
        timestamp: float,
        validate: bool = True,
    ) -> bool:
        """Takes a statement that overrides what is known; says whether it did."""
        if validate and (
            not self.is_valid_incarnation(incarnation) or self.is_suspicious_jump(node, incarnation)
        ):
            return False
        state = self.node_states.get(node)
        if state is None:
            self.node_states[node] = NodeState(status, incarnation, timestamp)
            return True
        return state.update(status, incarnation, timestamp)

    async def remove_node(self, node: Node) -> bool:
        """Forgets a node; says whether it was known."""
        return self.node_states.pop(node, None) is not None

    def get_all_nodes(self) -> list[tuple[Node, NodeState]]:
        """All nodes."""
        return list(self.node_states.items())

    def check_message_freshness(
        self, node: Node, incarnation: int, status: Status, validate: bool = True
    ) -> MessageFreshness:
        """Whether a statement says anything new."""
        if validate:
            if not self.is_valid_incarnation(incarnation):
                return MessageFreshness.INVALID
            if self.is_suspicious_jump(node, incarnation):
                return MessageFreshness.SUSPICIOUS
        state = self.node_states.get(node)
        if state is None or incarnation > state.incarnation:
            return MessageFreshness.FRESH
        if incarnation < state.incarnation:
            return MessageFreshness.STALE
        if status_priority(status) > status_priority(state.status):
            return MessageFreshness.FRESH
        return MessageFreshness.DUPLICATE

    def is_message_fresh(
        self, node: Node, incarnation: int, status: Status, validate: bool = True
    ) -> bool:
        """Whether a statement is to be taken."""
        freshness = self.check_message_freshness(node, incarnation, status, validate)
        return freshness is MessageFreshness.FRESH

    # Peers that were told of but never heard (AD-29).

    async def add_unconfirmed_node(self, node: Node, timestamp: float | None = None) -> bool:
        """Takes note of a peer that somebody told of; says whether it is new."""
        if node in self.node_states:
            return False
        now = time.monotonic() if timestamp is None else timestamp
        self.node_states[node] = NodeState(b"UNCONFIRMED", 0, now)
        return True

    async def confirm_node(
        self, node: Node, incarnation: int = 0, timestamp: float | None = None
    ) -> bool:
        """Takes note of a peer that was heard; says whether it was not confirmed before."""
        now = time.monotonic() if timestamp is None else timestamp
        state = self.node_states.get(node)
        if state is None:
            self.node_states[node] = NodeState(b"OK", incarnation, now)
            return True
        is_news = state.status == b"UNCONFIRMED"
        if is_news:
            state.status = b"OK"
        if is_news or incarnation > state.incarnation:
            state.incarnation = max(state.incarnation, incarnation)
            state.last_update_time = now
        return is_news

    def is_node_confirmed(self, node: Node) -> bool:
        """Whether a peer was ever heard."""
        state = self.node_states.get(node)
        return state is not None and state.status != b"UNCONFIRMED"

    def is_node_unconfirmed(self, node: Node) -> bool:
        """Whether a peer is known from others only."""
        state = self.node_states.get(node)
        return state is not None and state.status == b"UNCONFIRMED"

    def can_suspect_node(self, node: Node) -> bool:
        """Whether a node was heard and is not dead."""
        state = self.node_states.get(node)
        return state is not None and state.status not in (b"UNCONFIRMED", b"DEAD")

    def get_nodes_by_state(self, status: Status) -> list[Node]:
        """The nodes of a state."""
        return [node for node, state in self.node_states.items() if state.status == status]

    def get_unconfirmed_nodes(self) -> list[Node]:
        """Peers known from others only."""
        return self.get_nodes_by_state(b"UNCONFIRMED")

    # Forgetting.

    def set_eviction_callback(self, callback: _EvictionCallback) -> None:
        """Whom to tell when a node is forgotten."""
        self._on_node_evicted = callback

    def _forget(self, nodes: list[Node]) -> int:
        for node in nodes:
            state = self.node_states.pop(node)
            call_back("eviction", self._on_node_evicted, node, state)
        return len(nodes)

    async def cleanup_dead_nodes(self) -> int:
        """Forgets nodes dead for long; says how many."""
        cutoff = time.monotonic() - self.dead_node_retention_seconds
        forgotten = self._forget(
            [
                node
                for node, state in self.node_states.items()
                if state.status == b"DEAD" and state.last_update_time < cutoff
            ]
        )
        self._cleanup_count += forgotten
        return forgotten

    async def evict_if_needed(self) -> int:
        """Makes room when there are too many nodes: first those never heard, then the dead, the
        suspected and the rest, each the oldest first. Says how many it forgot."""
        excess = len(self.node_states) - self.max_nodes
        if excess <= 0:
            return 0
        order = sorted(
            self.node_states.items(),
            key=lambda item: (_EVICTION_ORDER.get(item[1].status, 2), item[1].last_update_time),
        )
        evicted = self._forget([node for node, _ in order[: excess + _EVICTION_SLACK]])
        self._eviction_count += evicted
        return evicted

    async def cleanup(self) -> dict[str, int]:
        """Forgets what is over; says how much."""
        await self.cleanup_death_records()
        return {
            "dead_removed": await self.cleanup_dead_nodes(),
            "evicted": await self.evict_if_needed(),
            "total_nodes": len(self.node_states),
        }

    def get_stats(self) -> dict[str, int]:
        """Counts of nodes and of what happened."""
        counts: dict[bytes, int] = {}
        for state in self.node_states.values():
            counts[state.status] = counts.get(state.status, 0) + 1
        return {
            "total_nodes": len(self.node_states),
            "unconfirmed_nodes": counts.get(b"UNCONFIRMED", 0),
            "ok_nodes": counts.get(b"OK", 0),
            "suspect_nodes": counts.get(b"SUSPECT", 0),
            "dead_nodes": counts.get(b"DEAD", 0),
            "total_evictions": self._eviction_count,
            "total_cleanups": self._cleanup_count,
            "zombie_rejections": self._zombie_rejections,
            "active_death_records": len(self._deaths),
        }

    # Nodes that come back from the dead.

    def record_node_death(
        self, node: Node, incarnation_at_death: int, timestamp: float | None = None
    ) -> None:
        """Takes note of a death."""
        now = time.monotonic() if timestamp is None else timestamp
        self._deaths[node] = (now, incarnation_at_death)

    def clear_death_record(self, node: Node) -> None:
        """Forgets a death."""
        self._deaths.pop(node, None)

    def is_potential_zombie(self, node: Node, claimed_incarnation: int) -> bool:
        """Whether a node that died a moment ago claims an incarnation it may have had then."""
        death = self._deaths.get(node)
        if death is None:
            return False
        if time.monotonic() - death[0] > self.zombie_detection_window_seconds:
            self.clear_death_record(node)
            return False
        if claimed_incarnation >= self.get_required_rejoin_incarnation(node):
            return False
        self._zombie_rejections += 1
        return True

    def get_required_rejoin_incarnation(self, node: Node) -> int:
        """The incarnation with which a node is taken again; 0 when its death is not known."""
        death = self._deaths.get(node)
        return 0 if death is None else death[1] + self.minimum_rejoin_incarnation_bump

    async def cleanup_death_records(self) -> int:
        """Forgets deaths that are over; says how many."""
        cutoff = time.monotonic() - self.zombie_detection_window_seconds
        over = [node for node, (died_at, _) in self._deaths.items() if died_at < cutoff]
        for node in over:
            self.clear_death_record(node)
        return len(over)
