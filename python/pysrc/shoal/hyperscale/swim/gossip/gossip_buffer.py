"""The membership news that ride on messages, least told first."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, ClassVar, Self

from shoal._native import GossipQueue
from shoal.hyperscale._host import call_back
from shoal.hyperscale.swim.detection.suspicion_state import Node

from .piggyback_update import PiggybackUpdate, UpdateType

__all__ = ["MAX_PIGGYBACK_SIZE", "MAX_UDP_PAYLOAD", "GossipBuffer"]

MAX_PIGGYBACK_SIZE = 1200
"""Bytes of a section."""
MAX_UDP_PAYLOAD = 1400
"""Bytes of a message with all its sections."""
_EVICTED_AT_ONCE = 10


class GossipBuffer(GossipQueue):
    """Stands in for `hyperscale.distributed.swim.gossip.gossip_buffer.GossipBuffer`.

    A node's role stays when news of the same incarnation replaces older ones. `updates` is a copy:
    what is to be told is changed by the methods.
    """

    MAX_ENCODE_COUNT: ClassVar[int] = 100
    MAX_DECODE_UPDATES: ClassVar[int] = 100
    MEMBERSHIP_SEPARATOR: ClassVar[bytes] = b"#|m"
    ENTRY_SEPARATOR: ClassVar[bytes] = b"|"

    def __new__(cls, *_arguments: Any, **_options: Any) -> Self:
        return super().__new__(cls)

    def __init__(
        self,
        updates: dict[Node, PiggybackUpdate] | None = None,
        broadcast_multiplier: int = 3,
        max_updates: int = 1000,
        stale_age_seconds: float = 60.0,
        max_piggyback_size: int = MAX_PIGGYBACK_SIZE,
    ) -> None:
        self.broadcast_multiplier = broadcast_multiplier
        self.max_updates = max_updates
        self.stale_age_seconds = stale_age_seconds
        self.max_piggyback_size = max_piggyback_size
        self._evicted_count = 0
        self._stale_removed_count = 0
        self._overflow_count = 0
        self._on_overflow: Callable[[int, int], Any] | None = None
        self._members = -1
        self._tellings = 1
        for update in (updates or {}).values():
            self.put(
                update.update_type,
                *update.node,
                update.incarnation,
                update.max_broadcasts,
                update.role,
                update.broadcast_count,
                update.timestamp,
            )

    @property
    def updates(self) -> dict[Node, PiggybackUpdate]:
        """All news by node, in the order of arrival."""
        return {news[1]: PiggybackUpdate(*news) for news in self.all()}

    def set_overflow_callback(self, callback: Callable[[int, int], Any]) -> None:
        """Whom to tell, with a count and the limit, when news were dropped for lack of room."""
        self._on_overflow = callback

    def add_update(
        self,
        update_type: UpdateType,
        node: Node,
        incarnation: int,
        n_members: int = 1,
        role: str | None = None,
    ) -> bool:
        """Takes news unless better ones of the node are there; says whether it did."""
        host, port = node
        if len(self) >= self.max_updates and not self.knows(host, port):
            self._make_room()
        if n_members != self._members:
            self._members = n_members
            self._tellings = max(1, int(self.broadcast_multiplier * math.log(n_members + 1)))
        return self.put(update_type, host, port, incarnation, self._tellings, role)

    def _make_room(self) -> None:
        self.cleanup()
        if len(self) < self.max_updates:
            return
        evicted = self.remove_oldest(_EVICTED_AT_ONCE)
        self._evicted_count += evicted
        self._overflow_count += 1
        call_back("overflow", self._on_overflow, evicted, self.max_updates)

    def get_updates_to_piggyback(self, max_count: int = 5) -> list[PiggybackUpdate]:
        """The news to tell next, 1 to 100 of them."""
        return [PiggybackUpdate(*news) for news in self.least_told(max_count)]

    def mark_broadcasts(self, updates: list[PiggybackUpdate]) -> None:
        """Counts news as told; those told often enough leave."""
        for update in updates:
            self.tell(*update.node)

    def encode_piggyback(self, max_count: int = 5, max_size: int | None = None) -> bytes:
        """The section with the news to tell next, which counts as telling them."""
        return self.encode_section(
            max_count, self.max_piggyback_size if max_size is None else max_size
        )

    def encode_piggyback_with_base(self, base_message: bytes, max_count: int = 5) -> bytes:
        """The same, as large as the message leaves room for."""
        return self.encode_section(max_count, MAX_UDP_PAYLOAD - len(base_message))

    @classmethod
    def decode_piggyback(cls, data: bytes, max_updates: int = 100) -> list[PiggybackUpdate]:
        """Reads a section; entries that are none are left out."""
        if not data.startswith(cls.MEMBERSHIP_SEPARATOR):
            return []
        limit = max(0, min(max_updates, cls.MAX_DECODE_UPDATES))
        updates: list[PiggybackUpdate] = []
        for part in data[len(cls.MEMBERSHIP_SEPARATOR) :].split(cls.ENTRY_SEPARATOR):
            if len(updates) >= limit:
                break
            if (update := PiggybackUpdate.from_bytes(part)) is not None:
                updates.append(update)
        return updates

    def remove_node(self, node: Node) -> bool:
        """Drops a node's news, as when it joins anew; says whether there were any."""
        return self.remove(*node)

    def cleanup_stale(self) -> int:
        """Drops news that are too old; says how many."""
        removed = self.remove_before(time.monotonic() - self.stale_age_seconds)
        self._stale_removed_count += removed
        return removed

    def cleanup_broadcast_complete(self) -> int:
        """Drops news told often enough; says how many."""
        return self.remove_told()

    def cleanup(self) -> dict[str, int]:
        """Both, and how many are left."""
        return {
            "stale_removed": self.cleanup_stale(),
            "complete_removed": self.cleanup_broadcast_complete(),
            "pending_updates": len(self),
        }

    def get_stats(self) -> dict[str, Any]:
        """Counts of what happened."""
        return {
            "pending_updates": len(self),
            "total_evicted": self._evicted_count,
            "total_stale_removed": self._stale_removed_count,
            "size_limited_count": self.size_limited,
            "oversized_updates": self.oversized,
            "overflow_events": self._overflow_count,
            "max_piggyback_size": self.max_piggyback_size,
            "max_updates": self.max_updates,
        }
