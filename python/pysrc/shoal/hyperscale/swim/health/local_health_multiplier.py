"""How much a node doubts itself (Lifeguard, section IV-A)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LocalHealthMultiplier"]


@dataclass(slots=True)
class LocalHealthMultiplier:
    """Stands in for `hyperscale.distributed.swim.health.local_health_multiplier`'s class.

    The score stays within 0 and `max_score`, whatever amounts are added.
    """

    score: int = 0
    max_score: int = 8
    PROBE_TIMEOUT_PENALTY: int = 1
    REFUTATION_PENALTY: int = 1
    MISSED_NACK_PENALTY: int = 1
    EVENT_LOOP_LAG_PENALTY: int = 1
    EVENT_LOOP_CRITICAL_PENALTY: int = 1
    SUCCESSFUL_PROBE_REWARD: int = 1
    SUCCESSFUL_NACK_REWARD: int = 1
    EVENT_LOOP_RECOVERED_REWARD: int = 1

    def increment(self, amount: int = 1) -> int:
        """Doubts more; gives the score."""
        self.score = max(0, min(self.max_score, self.score + amount))
        return self.score

    def decrement(self, amount: int = 1) -> int:
        """Doubts less; gives the score."""
        return self.increment(-amount)

    def on_probe_timeout(self) -> int:
        """A probe was not answered."""
        return self.increment(self.PROBE_TIMEOUT_PENALTY)

    def on_refutation_needed(self) -> int:
        """Others suspect this node."""
        return self.increment(self.REFUTATION_PENALTY)

    def on_missed_nack(self) -> int:
        """A peer asked to probe for us said nothing at all."""
        return self.increment(self.MISSED_NACK_PENALTY)

    def on_successful_probe(self) -> int:
        """A probe was answered in time."""
        return self.decrement(self.SUCCESSFUL_PROBE_REWARD)

    def on_successful_nack(self) -> int:
        """A peer asked to probe for us said that it could not."""
        return self.decrement(self.SUCCESSFUL_NACK_REWARD)

    def on_event_loop_lag(self) -> int:
        """The event loop runs late."""
        return self.increment(self.EVENT_LOOP_LAG_PENALTY)

    def on_event_loop_critical(self) -> int:
        """The event loop runs very late."""
        return self.increment(self.EVENT_LOOP_CRITICAL_PENALTY)

    def on_event_loop_recovered(self) -> int:
        """The event loop runs in time again."""
        return self.decrement(self.EVENT_LOOP_RECOVERED_REWARD)

    def get_multiplier(self) -> float:
        """By what to multiply timeouts: 1 to `max_score` + 1."""
        return 1.0 + self.score

    def reset(self) -> None:
        """Trusts itself again."""
        self.score = 0
