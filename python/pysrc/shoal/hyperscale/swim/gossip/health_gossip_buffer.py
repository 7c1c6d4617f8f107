"""What nodes say about their load, the worst and least told first."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar

from shoal.hyperscale._host import call_back, host_attribute
from shoal.hyperscale.health.tracker import HealthPiggyback

__all__ = [
    "MAX_HEALTH_PIGGYBACK_SIZE",
    "HealthGossipBuffer",
    "HealthGossipBufferConfig",
    "HealthGossipEntry",
    "OverloadSeverity",
]

MAX_HEALTH_PIGGYBACK_SIZE = 600
_FIELD_COUNT = 8
_COUNT_MAX = 50
_RENEWAL_SHARE = 1 / 3


class OverloadSeverity(IntEnum):
    """How bad a load is; the unknown ones count as healthy."""

    HEALTHY = 0
    BUSY = 1
    STRESSED = 2
    OVERLOADED = 3
    UNKNOWN = 0


_SEVERITIES = {
    "healthy": OverloadSeverity.HEALTHY,
    "busy": OverloadSeverity.BUSY,
    "stressed": OverloadSeverity.STRESSED,
    "overloaded": OverloadSeverity.OVERLOADED,
}


def _severity(health: HealthPiggyback) -> OverloadSeverity:
    return _SEVERITIES.get(health.overload_state, OverloadSeverity.UNKNOWN)


@dataclass(slots=True)
class HealthGossipEntry:
    """What one node said last."""

    health: HealthPiggyback
    timestamp: float
    broadcast_count: int = 0
    max_broadcasts: int = 5
    told_from: float = 0.0
    """The node's time of the statement with which telling last began anew."""

    @property
    def severity(self) -> OverloadSeverity:
        """How bad the load is."""
        return _severity(self.health)

    def should_broadcast(self) -> bool:
        """Whether it was not yet told often enough."""
        return self.broadcast_count < self.max_broadcasts

    def mark_broadcast(self) -> None:
        """Counts one telling."""
        self.broadcast_count += 1

    def is_stale(self, max_age_seconds: float = 30.0) -> bool:
        """Whether it is older than this."""
        return self.health.is_stale(max_age_seconds)

    def to_bytes(self) -> bytes:
        """The eight fields, separated by `|`."""
        health = self.health
        state = getattr(health.overload_state, "name", health.overload_state)
        return (
            f"{health.node_id}|{health.node_type}|{state}|{1 if health.accepting_work else 0}|"
            f"{health.capacity}|{health.throughput:.2f}|{health.expected_throughput:.2f}|"
            f"{health.timestamp:.2f}"
        ).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> HealthGossipEntry | None:
        """Reads that form; `None` when it is no such thing or a number in it is none."""
        try:
            fields = data.decode().split("|", maxsplit=_FIELD_COUNT - 1)
            node_id, node_type, state, accepting, capacity = fields[:5]
            throughput, expected, timestamp = (float(number) for number in fields[5:])
        except ValueError:
            return None
        if not all(map(math.isfinite, (throughput, expected, timestamp))):
            return None
        try:
            whole_capacity = int(capacity)
        except ValueError:
            return None
        health = host_attribute("distributed.health.tracker", "HealthPiggyback", HealthPiggyback)(
            node_id=node_id,
            node_type=node_type,
            overload_state=state,
            accepting_work=accepting == "1",
            capacity=whole_capacity,
            throughput=throughput,
            expected_throughput=expected,
            timestamp=timestamp,
        )
        return cls(health, time.monotonic())


@dataclass(slots=True)
class HealthGossipBufferConfig:
    """Limits of the buffer."""

    max_entries: int = 500
    stale_age_seconds: float = 30.0
    max_piggyback_size: int = MAX_HEALTH_PIGGYBACK_SIZE
    broadcast_multiplier: int = 2
    min_broadcasts_healthy: int = 3
    min_broadcasts_overloaded: int = 8


@dataclass(slots=True)
class HealthGossipBuffer:
    """Stands in for `hyperscale.distributed.swim.gossip.health_gossip_buffer.HealthGossipBuffer`.

    A load that stays the same is told again before others forget it, which they do after
    `stale_age_seconds`.
    """

    config: HealthGossipBufferConfig = field(default_factory=HealthGossipBufferConfig)
    _entries: dict[str, HealthGossipEntry] = field(default_factory=dict[str, HealthGossipEntry])
    _total_updates: int = 0
    _evicted_count: int = 0
    _stale_removed_count: int = 0
    _size_limited_count: int = 0
    _malformed_count: int = 0
    _on_health_update: Callable[[HealthPiggyback], Any] | None = None

    HEALTH_SEPARATOR: ClassVar[bytes] = b"#|h"
    ENTRY_SEPARATOR: ClassVar[bytes] = b";"

    def set_health_update_callback(self, callback: Callable[[HealthPiggyback], Any]) -> None:
        """Whom to tell what others say."""
        self._on_health_update = callback

    def update_local_health(self, health: HealthPiggyback) -> None:
        """Takes note of the own load."""
        self._take(health)

    def process_received_health(self, health: HealthPiggyback) -> bool:
        """Takes note of what another node says; says whether it is news."""
        self._total_updates += 1
        known = self._entries.get(health.node_id)
        if known is not None and known.health.timestamp >= health.timestamp:
            return False
        self._take(health)
        call_back("health update", self._on_health_update, health)
        return True

    def _take(self, health: HealthPiggyback) -> None:
        config = self.config
        known = self._entries.get(health.node_id)
        if known is None and len(self._entries) >= config.max_entries:
            self._evict_least_important(max(1, config.max_entries // 10))
        is_bad = _severity(health) >= OverloadSeverity.STRESSED
        entry = HealthGossipEntry(
            health,
            time.monotonic(),
            max_broadcasts=(
                config.min_broadcasts_overloaded if is_bad else config.min_broadcasts_healthy
            ),
            told_from=health.timestamp,
        )
        if known is not None and not self._is_telling_due(known, health):
            entry.broadcast_count = known.broadcast_count
            entry.told_from = known.told_from
        self._entries[health.node_id] = entry

    def _is_telling_due(self, known: HealthGossipEntry, health: HealthPiggyback) -> bool:
        """Whether telling begins anew: at once when the load changed, and in time before others
        forget what they were told."""
        if known.health.overload_state != health.overload_state:
            return True
        lifetime = self.config.stale_age_seconds
        return health.timestamp - known.told_from >= lifetime * _RENEWAL_SHARE

    def get_entries_to_piggyback(self, max_count: int = 10) -> list[HealthGossipEntry]:
        """What to tell next, 1 to 50 entries."""
        return heapq.nsmallest(
            max(1, min(max_count, _COUNT_MAX)),
            (entry for entry in self._entries.values() if entry.should_broadcast()),
            key=lambda entry: (-entry.severity, entry.broadcast_count),
        )

    def mark_broadcasts(self, entries: list[HealthGossipEntry]) -> None:
        """Counts entries as told."""
        for told in entries:
            if (entry := self._entries.get(told.health.node_id)) is not None:
                entry.mark_broadcast()

    def encode_piggyback(self, max_count: int = 10, max_size: int | None = None) -> bytes:
        """The section with what to tell next, which counts as telling it."""
        room = self.config.max_piggyback_size if max_size is None else max_size
        room -= len(self.HEALTH_SEPARATOR)
        parts: list[bytes] = []
        told: list[HealthGossipEntry] = []
        for entry in self.get_entries_to_piggyback(max_count):
            encoded = entry.to_bytes()
            room -= len(encoded) + 1
            if room < 0:
                self._size_limited_count += 1
                break
            parts.append(encoded)
            told.append(entry)
        if not parts:
            return b""
        self.mark_broadcasts(told)
        return self.HEALTH_SEPARATOR + self.ENTRY_SEPARATOR.join(parts)

    @classmethod
    def is_health_piggyback(cls, data: bytes) -> bool:
        """Whether this is such a section."""
        return data.startswith(cls.HEALTH_SEPARATOR)

    def decode_and_process_piggyback(self, data: bytes) -> int:
        """Reads a section, up to the section that follows it; says how many entries were news."""
        if not self.is_health_piggyback(data):
            return 0
        section = data[len(self.HEALTH_SEPARATOR) :].partition(b"#|")[0]
        news = 0
        for part in section.split(self.ENTRY_SEPARATOR):
            if not part:
                continue
            entry = HealthGossipEntry.from_bytes(part)
            if entry is None:
                self._malformed_count += 1
            elif self.process_received_health(entry.health):
                news += 1
        return news

    def get_health(self, node_id: str) -> HealthPiggyback | None:
        """What a node said last."""
        entry = self._entries.get(node_id)
        return None if entry is None else entry.health

    def _nodes_at_least(self, severity: OverloadSeverity) -> list[str]:
        return [name for name, entry in self._entries.items() if entry.severity >= severity]

    def get_overloaded_nodes(self) -> list[str]:
        """The overloaded nodes."""
        return self._nodes_at_least(OverloadSeverity.OVERLOADED)

    def get_stressed_nodes(self) -> list[str]:
        """The stressed and the overloaded nodes."""
        return self._nodes_at_least(OverloadSeverity.STRESSED)

    def get_nodes_not_accepting_work(self) -> list[str]:
        """The nodes that take no work."""
        return [name for name, entry in self._entries.items() if not entry.health.accepting_work]

    def _evict_least_important(self, count: int = 10) -> int:
        """Drops what matters least: the healthiest, then the oldest, then the most told."""
        order = heapq.nsmallest(
            count,
            self._entries.items(),
            key=lambda item: (item[1].severity, item[1].timestamp, -item[1].broadcast_count),
        )
        for name, _ in order:
            del self._entries[name]
        self._evicted_count += len(order)
        return len(order)

    def cleanup_stale(self) -> int:
        """Drops what is too old; says how much."""
        age = self.config.stale_age_seconds
        stale = [name for name, entry in self._entries.items() if entry.is_stale(age)]
        for name in stale:
            del self._entries[name]
        self._stale_removed_count += len(stale)
        return len(stale)

    def cleanup_broadcast_complete(self) -> int:
        """Drops what was told often enough; says how much."""
        told = [name for name, entry in self._entries.items() if not entry.should_broadcast()]
        for name in told:
            del self._entries[name]
        return len(told)

    def cleanup(self) -> dict[str, int]:
        """Both, and how much is left."""
        return {
            "stale_removed": self.cleanup_stale(),
            "complete_removed": self.cleanup_broadcast_complete(),
            "pending_entries": len(self._entries),
        }

    def clear(self) -> None:
        """Drops everything."""
        self._entries.clear()

    def remove_node(self, node_id: str) -> bool:
        """Drops what a node said; says whether it said anything."""
        return self._entries.pop(node_id, None) is not None

    def get_stats(self) -> dict[str, int | float]:
        """Counts of what happened."""
        return {
            "pending_entries": len(self._entries),
            "total_updates": self._total_updates,
            "evicted_count": self._evicted_count,
            "stale_removed_count": self._stale_removed_count,
            "size_limited_count": self._size_limited_count,
            "malformed_count": self._malformed_count,
            "overloaded_nodes": len(self.get_overloaded_nodes()),
            "stressed_nodes": len(self.get_stressed_nodes()),
            "max_entries": self.config.max_entries,
            "max_piggyback_size": self.config.max_piggyback_size,
        }
