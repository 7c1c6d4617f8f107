"""How often, and for how long, a worker may ask for more time (AD-26)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["ExtensionTracker", "ExtensionTrackerConfig"]


@dataclass(slots=True)
class ExtensionTracker:
    """Stands in for `hyperscale.distributed.health.extension_tracker.ExtensionTracker`.

    The n-th grant is the base deadline halved n times. From the second one on a worker has to show
    progress. A progress that is not a number shows none.
    """

    worker_id: str
    base_deadline: float = 30.0
    min_grant: float = 1.0
    max_extensions: int = 5
    warning_threshold: int = 1
    grace_period: float = 10.0
    extension_count: int = 0
    last_progress: float = 0.0
    last_completed_items: int | None = None
    total_extended: float = 0.0
    last_extension_time: float = field(default_factory=time.monotonic)
    exhaustion_time: float | None = None
    warning_sent: bool = False

    def request_extension(
        self,
        reason: str,
        current_progress: float,
        completed_items: int | None = None,
        total_items: int | None = None,
    ) -> tuple[bool, float, str | None, bool]:
        """Whether more time is granted, how many seconds, otherwise why not, and whether this is
        the moment to warn that few are left."""
        if self.is_exhausted:
            if self.exhaustion_time is None:
                self.exhaustion_time = time.monotonic()
            return False, 0.0, f"Maximum extensions ({self.max_extensions}) exceeded", False
        denial = self._lack_of_progress(current_progress, completed_items)
        if denial is not None:
            return False, 0.0, f"No progress since last extension ({denial})", False

        grant = max(self.min_grant, self.base_deadline / 2 ** (self.extension_count + 1))
        self.extension_count += 1
        self.last_progress = current_progress
        if completed_items is not None:
            self.last_completed_items = completed_items
        self.total_extended += grant
        self.last_extension_time = time.monotonic()
        is_warning = (
            not self.warning_sent and self.get_remaining_extensions() <= self.warning_threshold
        )
        self.warning_sent = self.warning_sent or is_warning
        return True, grant, None, is_warning

    def _lack_of_progress(self, progress: float, completed_items: int | None) -> str | None:
        """What has not moved since the last grant. Completed items say more than a share."""
        if self.extension_count == 0:
            return None
        last_items = self.last_completed_items
        if completed_items is not None and last_items is not None:
            if completed_items > last_items:
                return None
            return f"completed_items={completed_items}, last={last_items}"
        if progress > self.last_progress:
            return None
        return f"current={progress}, last={self.last_progress}"

    def reset(self) -> None:
        """Starts over, as for a worker that is healthy again."""
        self.extension_count = 0
        self.last_progress = 0.0
        self.last_completed_items = None
        self.total_extended = 0.0
        self.last_extension_time = time.monotonic()
        self.exhaustion_time = None
        self.warning_sent = False

    def get_remaining_extensions(self) -> int:
        """How many grants are left."""
        return max(0, self.max_extensions - self.extension_count)

    def get_new_deadline(self, current_deadline: float, grant: float) -> float:
        """A deadline after a grant."""
        return current_deadline + grant

    @property
    def is_exhausted(self) -> bool:
        """Whether no grant is left."""
        return self.extension_count >= self.max_extensions

    @property
    def is_in_grace_period(self) -> bool:
        """Whether a worker without grants may still finish."""
        return self.exhaustion_time is not None and self.grace_period_remaining > 0

    @property
    def grace_period_remaining(self) -> float:
        """Seconds of grace, which begin with the first refusal."""
        if self.exhaustion_time is None:
            return 0.0
        return max(0.0, self.exhaustion_time + self.grace_period - time.monotonic())

    @property
    def should_evict(self) -> bool:
        """Whether the worker has had all grants and all grace."""
        return (
            self.is_exhausted
            and self.exhaustion_time is not None
            and self.grace_period_remaining <= 0
        )


@dataclass(slots=True)
class ExtensionTrackerConfig:
    """What all trackers of a manager have in common."""

    base_deadline: float = 30.0
    min_grant: float = 1.0
    max_extensions: int = 5
    warning_threshold: int = 1
    grace_period: float = 10.0

    def create_tracker(self, worker_id: str) -> ExtensionTracker:
        """A tracker for one worker."""
        return ExtensionTracker(
            worker_id,
            self.base_deadline,
            self.min_grant,
            self.max_extensions,
            self.warning_threshold,
            self.grace_period,
        )
