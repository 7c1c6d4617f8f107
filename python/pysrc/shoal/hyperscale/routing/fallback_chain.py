"""Where to turn when the first choice fails (AD-36)."""

from __future__ import annotations

from dataclasses import dataclass

from .bucket_selector import BucketSelector
from .candidate_filter import DatacenterCandidate
from .routing_state import DatacenterRoutingScore

__all__ = ["FallbackChain", "FallbackChainBuilder"]


@dataclass(slots=True)
class FallbackChain:
    """The first choices and those after them."""

    primary_datacenters: list[str]
    fallback_datacenters: list[str]
    primary_bucket: str | None
    scores: dict[str, float]

    def get_ordered_chain(self) -> list[str]:
        """All, the best first."""
        return self.primary_datacenters + self.fallback_datacenters

    def get_primary(self) -> str | None:
        """The best."""
        return self.primary_datacenters[0] if self.primary_datacenters else None


class FallbackChainBuilder:
    """Stands in for `hyperscale.distributed.routing.fallback_chain.FallbackChainBuilder`."""

    def __init__(self, bucket_selector: BucketSelector | None = None) -> None:
        self._bucket_selector = bucket_selector or BucketSelector()

    def build_chain(
        self,
        primary_scores: list[DatacenterRoutingScore],
        fallback_candidates: list[DatacenterCandidate],
        fallback_scores: dict[str, DatacenterRoutingScore],
        max_primary: int = 2,
    ) -> FallbackChain:
        """The best `max_primary`, then the rest of their bucket, then the busy, then the
        degraded."""
        names = [score.datacenter_id for score in primary_scores]
        scores = {score.datacenter_id: score.final_score for score in primary_scores}
        below = [
            (candidate.health_bucket, fallback_scores[candidate.datacenter_id])
            for candidate in fallback_candidates
            if candidate.datacenter_id in fallback_scores
        ]
        below.sort(key=lambda pair: pair[1].final_score)
        fallbacks = names[max_primary:]
        for bucket in ("BUSY", "DEGRADED"):
            fallbacks += [score.datacenter_id for inside, score in below if inside == bucket]
        scores.update((score.datacenter_id, score.final_score) for _, score in below)
        first_bucket = primary_scores[0].health_bucket if primary_scores else None
        return FallbackChain(names[:max_primary], fallbacks, first_bucket, scores)

    def build_simple_chain(
        self, datacenters: list[str], health_buckets: dict[str, str]
    ) -> FallbackChain:
        """A chain by buckets alone; a datacenter of no known bucket counts as degraded."""
        order = list(reversed(BucketSelector.BUCKET_PRIORITY))
        chains = {
            bucket: [name for name in datacenters if health_buckets.get(name, "DEGRADED") == bucket]
            for bucket in order
        }
        primary = next((bucket for bucket in order if chains[bucket]), None)
        if primary is None:
            return FallbackChain([], [], None, {})
        below = [name for bucket in order if bucket != primary for name in chains[bucket]]
        return FallbackChain(chains[primary], below, primary, {})
