"""What a node believes about another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["NodeState", "Status", "status_priority"]

Status = Literal[b"UNCONFIRMED", b"JOIN", b"OK", b"SUSPECT", b"DEAD"]

_PRIORITY: dict[bytes, int] = {
    b"UNCONFIRMED": -1,
    b"JOIN": 0,
    b"OK": 0,
    b"SUSPECT": 1,
    b"DEAD": 2,
}


def status_priority(status: bytes) -> int:
    """Which of two statements of one incarnation overrides the other: the higher one."""
    return _PRIORITY.get(status, 0)


@dataclass(slots=True)
class NodeState:
    """Stands in for `hyperscale.distributed.swim.core.node_state.NodeState`."""

    status: Status = b"OK"
    incarnation: int = 0
    last_update_time: float = 0.0

    @property
    def last_seen(self) -> float:
        """When the state last changed, in seconds of `time.monotonic()`."""
        return self.last_update_time

    def update(self, new_status: Status, new_incarnation: int, timestamp: float) -> bool:
        """Takes a statement that overrides the known one (SWIM, section 4.2). A peer that was
        never heard is not suspected."""
        if new_incarnation < self.incarnation:
            return False
        if new_incarnation == self.incarnation:
            if self.status == b"UNCONFIRMED" and new_status == b"SUSPECT":
                return False
            if status_priority(new_status) <= status_priority(self.status):
                return False
        self.status = new_status
        self.incarnation = new_incarnation
        self.last_update_time = timestamp
        return True
