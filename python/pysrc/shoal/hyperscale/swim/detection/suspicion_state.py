"""One suspicion: who suspects whom, and how long it may stand (Lifeguard, section IV-B)."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field

__all__ = ["MAX_CONFIRMERS", "Node", "SuspicionState", "suspicion_timeout"]

Node = tuple[str, int]

MAX_CONFIRMERS = 1000
"""How many confirmers are remembered by name; further ones are counted."""


def suspicion_timeout(minimum: float, maximum: float, confirmations: int, members: int) -> float:
    """From `maximum` down to `minimum` seconds as independent confirmations come in."""
    if members <= 1:
        return maximum
    share = math.log(confirmations + 1) / math.log(members + 1)
    return max(minimum, maximum - (maximum - minimum) * share)


@dataclass(slots=True)
class SuspicionState:
    """Stands in for `hyperscale.distributed.swim.detection.suspicion_state.SuspicionState`."""

    node: Node
    incarnation: int
    start_time: float
    confirmers: set[Node] = field(default_factory=set[Node])
    min_timeout: float = 1.0
    max_timeout: float = 10.0
    n_members: int = 1
    regossip_factor: int = 3
    regossip_count: int = 0
    _timer_task: asyncio.Task[None] | None = field(default=None, repr=False)
    max_confirmers: int = MAX_CONFIRMERS
    _confirmations_dropped: int = 0
    _logical_confirmation_count: int = 0

    def add_confirmation(self, from_node: Node) -> bool:
        """Counts a confirmation unless it is known; says whether it counted."""
        if from_node in self.confirmers:
            return False
        self._logical_confirmation_count += 1
        if len(self.confirmers) < self.max_confirmers:
            self.confirmers.add(from_node)
        else:
            self._confirmations_dropped += 1
        return True

    @property
    def confirmation_count(self) -> int:
        """All confirmations, the first suspecter's included."""
        return max(len(self.confirmers), self._logical_confirmation_count)

    def calculate_timeout(self) -> float:
        """How long the suspicion may stand from its start, in seconds."""
        return suspicion_timeout(
            self.min_timeout, self.max_timeout, self.confirmation_count, max(1, self.n_members)
        )

    def time_remaining(self) -> float:
        """Seconds until the suspicion becomes a death; never negative."""
        return max(0.0, self.start_time + self.calculate_timeout() - time.monotonic())

    def is_expired(self) -> bool:
        """Whether the time is over."""
        return self.time_remaining() <= 0

    def should_regossip(self) -> bool:
        """Whether the suspicion is to be told on once more."""
        return self.regossip_count < self.regossip_factor

    def mark_regossiped(self) -> None:
        """Counts one telling."""
        self.regossip_count += 1

    def cancel_timer(self) -> None:
        """Ends a timer that somebody attached."""
        task, self._timer_task = self._timer_task, None
        if task is not None and not task.done():
            task.cancel()

    def cleanup(self) -> None:
        """Lets go of everything."""
        self.cancel_timer()
        self.confirmers.clear()
        self._logical_confirmation_count = 0

    def get_memory_stats(self) -> dict[str, int]:
        """How much is remembered."""
        return {
            "confirmers_stored": len(self.confirmers),
            "confirmations_logical": self._logical_confirmation_count,
            "confirmations_dropped": self._confirmations_dropped,
            "max_confirmers": self.max_confirmers,
        }
