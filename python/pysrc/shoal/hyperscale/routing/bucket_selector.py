"""The best bucket of health that is not empty (AD-17)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .candidate_filter import DatacenterCandidate

__all__ = ["BucketSelectionResult", "BucketSelector"]


@dataclass(slots=True)
class BucketSelectionResult:
    """The candidates of the best bucket, and those below it."""

    primary_bucket: str | None
    primary_candidates: list[DatacenterCandidate]
    fallback_candidates: list[DatacenterCandidate]
    bucket_counts: dict[str, int]


class BucketSelector:
    """Stands in for `hyperscale.distributed.routing.bucket_selector.BucketSelector`."""

    BUCKET_PRIORITY: ClassVar[list[str]] = ["DEGRADED", "BUSY", "HEALTHY"]

    def select_bucket(self, candidates: list[DatacenterCandidate]) -> BucketSelectionResult:
        """Sorts candidates into buckets; those of no known bucket are left out."""
        buckets: dict[str, list[DatacenterCandidate]] = {
            bucket: [] for bucket in reversed(self.BUCKET_PRIORITY)
        }
        for candidate in candidates:
            if candidate.health_bucket in buckets:
                buckets[candidate.health_bucket].append(candidate)
        primary = next((bucket for bucket, inside in buckets.items() if inside), None)
        below = [
            candidate
            for bucket in self.BUCKET_PRIORITY
            if bucket != primary
            for candidate in buckets[bucket]
        ]
        counts = {bucket: len(inside) for bucket, inside in buckets.items()}
        return BucketSelectionResult(primary, buckets[primary] if primary else [], below, counts)

    @staticmethod
    def is_bucket_drop(current_bucket: str | None, new_bucket: str | None) -> bool:
        """Whether the second bucket is worse than the first."""
        order = BucketSelector.BUCKET_PRIORITY
        if current_bucket not in order or new_bucket not in order:
            return False
        return order.index(new_bucket) < order.index(current_bucket)
