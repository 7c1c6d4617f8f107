"""One piece of news about a member, as it rides on messages (SWIM, section 4.1)."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Literal, cast

from shoal.hyperscale.swim.detection.suspicion_state import Node

__all__ = ["PiggybackUpdate", "UpdateType"]

UpdateType = Literal["alive", "suspect", "dead", "join", "leave"]
_TYPES = frozenset({"alive", "suspect", "dead", "join", "leave"})


@dataclass(slots=True, eq=False)
class PiggybackUpdate:
    """Stands in for `hyperscale.distributed.swim.gossip.piggyback_update.PiggybackUpdate`.

    Two are equal when they say the same about the same incarnation of a node.
    """

    update_type: UpdateType
    node: Node
    incarnation: int
    timestamp: float
    broadcast_count: int = 0
    max_broadcasts: int = 10
    role: str | None = None

    def should_broadcast(self) -> bool:
        """Whether it was not yet told often enough."""
        return self.broadcast_count < self.max_broadcasts

    def mark_broadcast(self) -> None:
        """Counts one telling."""
        self.broadcast_count += 1

    def to_bytes(self) -> bytes:
        """`type:incarnation:host:port` and, when known, `:role`."""
        text = f"{self.update_type}:{self.incarnation}:{self.node[0]}:{self.node[1]}"
        return (f"{text}:{self.role}" if self.role else text).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> PiggybackUpdate | None:
        """Reads that form; `None` when it is no such thing."""
        try:
            parts = data.decode().split(":", maxsplit=4)
            update_type, incarnation, host, port = parts[:4]
            if update_type not in _TYPES or not host:
                return None
            return cls(
                cast("UpdateType", update_type),
                (sys.intern(host), int(port)),
                int(incarnation),
                time.monotonic(),
                role=parts[4] if len(parts) > 4 else None,
            )
        except ValueError:
            return None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PiggybackUpdate):
            return NotImplemented
        return (self.update_type, self.node, self.incarnation) == (
            other.update_type,
            other.node,
            other.incarnation,
        )

    def __hash__(self) -> int:
        return hash((self.update_type, self.node, self.incarnation))
