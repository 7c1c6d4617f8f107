"""Whom to probe next: everybody once a round, in a random order (SWIM, section 4.3)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from .suspicion_state import Node

__all__ = ["ProbeScheduler"]


@dataclass(slots=True)
class ProbeScheduler:
    """Stands in for `hyperscale.distributed.swim.detection.probe_scheduler.ProbeScheduler`.

    The order is drawn anew after every round, and nobody is left out of a round or met twice in it
    because another member comes or goes.
    """

    _members: tuple[Node, ...] = ()
    _member_set: frozenset[Node] = frozenset()
    _probe_index: int = 0
    _last_cycle_length: int = 0
    protocol_period: float = 1.0
    _running: bool = False
    _probe_task: asyncio.Task[None] | None = field(default=None, repr=False)
    _cycles_completed: int = 0
    _reshuffles: int = 0

    @property
    def members(self) -> tuple[Node, ...]:
        """All members in the order of this round."""
        return self._members

    def _take(self, members: list[Node]) -> None:
        self._members = tuple(members)
        self._member_set = frozenset(members)
        self._last_cycle_length = len(members)

    def _shuffle(self, members: list[Node]) -> None:
        random.shuffle(members)
        self._take(members)
        self._probe_index = 0
        self._reshuffles += 1

    def update_members(self, members: list[Node]) -> None:
        """Begins a round with these members, unless they are the known ones."""
        if frozenset(members) != self._member_set:
            self._shuffle(list(dict.fromkeys(members)))

    def get_next_target(self) -> Node | None:
        """Whom to probe now."""
        if self._probe_index >= len(self._members):
            if not self._members:
                return None
            self._cycles_completed += 1
            self._shuffle(list(self._members))
        target = self._members[self._probe_index]
        self._probe_index += 1
        return target

    def remove_member(self, member: Node) -> None:
        """Takes a member out of the round."""
        if member in self._member_set:
            members = list(self._members)
            position = members.index(member)
            del members[position]
            self._take(members)
            if position < self._probe_index:
                self._probe_index -= 1

    def add_member(self, member: Node) -> None:
        """Puts a member at a random place of what is left of the round."""
        if member not in self._member_set:
            members = list(self._members)
            position = random.randint(min(self._probe_index, len(members)), len(members))
            members.insert(position, member)
            self._take(members)

    def get_probe_cycle_time(self) -> float:
        """How long a round takes, in seconds."""
        return len(self._members) * self.protocol_period

    def get_stats(self) -> dict[str, int]:
        """Counts of what happened."""
        return {
            "member_count": len(self._members),
            "probe_index": self._probe_index,
            "cycles_completed": self._cycles_completed,
            "reshuffles": self._reshuffles,
        }

    def stop(self) -> None:
        """Ends the task that probes."""
        task, self._probe_task = self._probe_task, None
        self._running = False
        if task is not None and not task.done():
            task.cancel()
