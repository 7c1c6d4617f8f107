"""Deadlines of suspicions, kept in a hierarchical timing wheel (Varghese and Lauck 1987).

Near deadlines lie in slots of `fine_tick_ms`, far ones in slots of `coarse_tick_ms` that are opened
when they come near. A slot is named by its time, not by a position that wraps, so a deadline may be
any time ahead. An entry expires with the first tick at or after its deadline, never before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shoal.hyperscale._host import LoggerLike, NodeLog, call_back

from .suspicion_state import Node, SuspicionState

__all__ = ["TimingWheel", "TimingWheelBucket", "TimingWheelConfig", "WheelEntry"]

T = TypeVar("T")


@dataclass(slots=True)
class WheelEntry(Generic[T]):
    """One deadline."""

    node: Node
    state: T
    expiration_time: float
    epoch: int = 0


@dataclass
class TimingWheelConfig:
    """Sizes of the wheel's slots."""

    coarse_tick_ms: int = 1000
    coarse_wheel_size: int = 64
    fine_tick_ms: int = 100
    fine_wheel_size: int = 16
    fine_wheel_threshold_ms: int = 2000
    """Deadlines no farther than this lie in fine slots."""


class TimingWheelBucket:
    """The deadlines of one slot."""

    __slots__ = ("_lock", "entries")

    def __init__(self) -> None:
        self.entries: dict[Node, WheelEntry[SuspicionState]] = {}
        self._lock = asyncio.Lock()

    async def add(self, entry: WheelEntry[SuspicionState]) -> None:
        """Puts an entry in, in place of the node's former one."""
        self.entries[entry.node] = entry

    async def remove(self, node: Node) -> WheelEntry[SuspicionState] | None:
        """Takes a node's entry out."""
        return self.entries.pop(node, None)

    async def pop_all(self) -> list[WheelEntry[SuspicionState]]:
        """Takes everything out."""
        taken = list(self.entries.values())
        self.entries.clear()
        return taken

    async def get(self, node: Node) -> WheelEntry[SuspicionState] | None:
        """A node's entry."""
        return self.entries.get(node)

    def __len__(self) -> int:
        return len(self.entries)


_Slot = dict[Node, WheelEntry[SuspicionState]]


class TimingWheel:
    """Stands in for `hyperscale.distributed.swim.detection.timing_wheel.TimingWheel`.

    An expiry callback that is a coroutine function is run to its end.
    """

    def __init__(
        self,
        config: TimingWheelConfig | None = None,
        on_expired: Callable[[Node, SuspicionState], Any] | None = None,
        on_error: Callable[[str, Exception], Any] | None = None,
        logger: LoggerLike | None = None,
        node_host: str = "",
        node_port: int = 0,
        node_id: str = "",
    ) -> None:
        self._config = config or TimingWheelConfig()
        self._on_expired = on_expired
        self._on_error = on_error
        self._log = NodeLog(logger, node_host, node_port, node_id)
        self._fine_tick = self._config.fine_tick_ms / 1000.0
        self._coarse_tick = self._config.coarse_tick_ms / 1000.0
        self._threshold = self._config.fine_wheel_threshold_ms / 1000.0
        self._fine: dict[int, _Slot] = {}
        self._coarse: dict[int, _Slot] = {}
        self._node_locations: dict[Node, tuple[str, int, int]] = {}
        self._fine_position = 0
        self._coarse_position = 0
        self._global_epoch = 0
        self._advance_task: asyncio.Task[None] | None = None
        self._running = False
        self._lock = asyncio.Lock()
        self._entries_added = 0
        self._entries_removed = 0
        self._entries_expired = 0
        self._entries_moved = 0
        self._cascade_count = 0

    def _place(self, entry: WheelEntry[SuspicionState], now: float) -> None:
        """Puts an entry where its deadline belongs."""
        self._global_epoch += 1
        entry.epoch = self._global_epoch
        deadline = max(entry.expiration_time, now)
        if deadline - now <= self._threshold:
            wheel, name, slot = self._fine, "fine", int(deadline / self._fine_tick)
        else:
            wheel, name, slot = self._coarse, "coarse", int(deadline / self._coarse_tick)
        wheel.setdefault(slot, {})[entry.node] = entry
        self._node_locations[entry.node] = (name, slot, entry.epoch)

    def _take(self, node: Node) -> WheelEntry[SuspicionState] | None:
        """Takes a node's entry out of its slot."""
        location = self._node_locations.pop(node, None)
        if location is None:
            return None
        wheel = self._fine if location[0] == "fine" else self._coarse
        slot = wheel[location[1]]
        entry = slot.pop(node)
        if not slot:
            del wheel[location[1]]
        return entry

    def _find(self, node: Node) -> WheelEntry[SuspicionState] | None:
        location = self._node_locations.get(node)
        if location is None:
            return None
        wheel = self._fine if location[0] == "fine" else self._coarse
        return wheel[location[1]][node]

    async def add(self, node: Node, state: SuspicionState, expiration_time: float) -> bool:
        """Sets a deadline unless the node has one; says whether it did."""
        if node in self._node_locations:
            return False
        self._place(WheelEntry(node, state, expiration_time), time.monotonic())
        self._entries_added += 1
        return True

    async def remove(self, node: Node) -> SuspicionState | None:
        """Takes a node's deadline away."""
        entry = self._take(node)
        if entry is None:
            return None
        self._entries_removed += 1
        return entry.state

    async def update_expiration(self, node: Node, new_expiration_time: float) -> bool:
        """Moves a node's deadline; says whether it has one."""
        entry = self._take(node)
        if entry is None:
            return False
        entry.expiration_time = new_expiration_time
        self._place(entry, time.monotonic())
        self._entries_moved += 1
        return True

    async def contains(self, node: Node) -> bool:
        """Whether a node has a deadline."""
        return node in self._node_locations

    def contains_sync(self, node: Node) -> bool:
        """The same, without waiting."""
        return node in self._node_locations

    async def get_state(self, node: Node) -> SuspicionState | None:
        """What is known about a node's suspicion."""
        return self.get_state_sync(node)

    def get_state_sync(self, node: Node) -> SuspicionState | None:
        """The same, without waiting."""
        entry = self._find(node)
        return None if entry is None else entry.state

    def _open_coarse_slots(self, now: float) -> None:
        """Spreads far deadlines that came near over fine slots."""
        horizon = int((now + self._threshold) / self._coarse_tick)
        for slot in [slot for slot in self._coarse if slot <= horizon]:
            for entry in self._coarse.pop(slot).values():
                self._place(entry, now)
            self._cascade_count += 1

    def _expired(self, now: float) -> list[WheelEntry[SuspicionState]]:
        """Takes out what is due, the earliest first."""
        present = int(now / self._fine_tick)
        due = [
            entry
            for slot in [slot for slot in self._fine if slot <= present]
            for entry in self._fine[slot].values()
            if entry.expiration_time <= now
        ]
        due.sort(key=lambda entry: (entry.expiration_time, entry.epoch))
        for entry in due:
            self._take(entry.node)
        return due

    async def _tick(self) -> None:
        now = time.monotonic()
        self._fine_position = int(now / self._fine_tick) % self._config.fine_wheel_size
        self._coarse_position = int(now / self._coarse_tick) % self._config.coarse_wheel_size
        async with self._lock:
            self._open_coarse_slots(now)
            due = self._expired(now)
        for entry in due:
            self._entries_expired += 1
            call_back(
                "on_expired", self._on_expired, entry.node, entry.state, on_error=self._on_error
            )

    async def _advance_loop(self) -> None:
        while self._running:
            await asyncio.sleep(self._fine_tick)
            try:
                await self._tick()
            except Exception as error:
                call_back("on_error", self._on_error, f"Timing wheel error: {error}", error)
                await self._log.write("ServerError", f"Timing wheel error: {error}")

    def start(self) -> None:
        """Begins to tick; needs a running event loop."""
        if not self._running:
            self._running = True
            self._advance_task = asyncio.create_task(self._advance_loop())

    async def stop(self) -> None:
        """Ends ticking. Deadlines stay."""
        self._running = False
        task, self._advance_task = self._advance_task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def clear(self) -> None:
        """Takes all deadlines away."""
        self._fine.clear()
        self._coarse.clear()
        self._node_locations.clear()

    async def apply_lhm_adjustment(self, multiplier: float) -> int:
        """Stretches the time that is left of all deadlines; says how many there are."""
        if multiplier == 1.0:
            return 0
        now = time.monotonic()
        nodes = list(self._node_locations)
        for node in nodes:
            entry = self._take(node)
            assert entry is not None
            entry.expiration_time = now + (entry.expiration_time - now) * multiplier
            self._place(entry, now)
        return len(nodes)

    def get_stats(self) -> dict[str, int]:
        """Counts of what happened."""
        return {
            "entries_added": self._entries_added,
            "entries_removed": self._entries_removed,
            "entries_expired": self._entries_expired,
            "entries_moved": self._entries_moved,
            "cascade_count": self._cascade_count,
            "current_entries": len(self._node_locations),
            "fine_position": self._fine_position,
            "coarse_position": self._coarse_position,
        }
