"""Logical time (Lamport 1978), as it is in every frame."""

from __future__ import annotations

__all__ = ["MAX_JUMP", "LamportClock"]

MAX_JUMP = 2**48
"""How far ahead another node's time may be; what claims more is damaged or malicious."""


class LamportClock:
    """Stands in for `hyperscale.distributed.server.events.lamport_clock.LamportClock`.

    A time that is absurdly far ahead is not adopted: it could never be put into a frame again, and
    would spread.
    """

    __slots__ = ("time",)

    def __init__(self, initial_time: int = 0) -> None:
        self.time = initial_time

    def _latest(self, received_time: int) -> int:
        is_believable = 0 <= received_time <= self.time + MAX_JUMP
        return max(received_time, self.time) if is_believable else self.time

    async def increment(self) -> int:
        """The time of an own event."""
        self.time += 1
        return self.time

    tick = increment

    async def update(self, received_time: int) -> int:
        """The time of receiving a request."""
        self.time = self._latest(received_time) + 1
        return self.time

    async def ack(self, received_time: int) -> int:
        """The time after receiving a reply."""
        self.time = self._latest(received_time)
        return self.time

    def compare(self, other_time: int) -> int:
        """-1, 0 or 1 when the own time is before, at or after the other."""
        return (self.time > other_time) - (self.time < other_time)

    def is_stale(self, other_time: int) -> bool:
        """Whether the other time is over."""
        return other_time < self.time
