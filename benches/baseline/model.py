"""A plain-Python model of the documents that Shoal implements: AD-35 (coordinates), AD-36 (routing) and the
Python node's gossip and datagrams.

It was written for this comparison, the way such a node is usually written, and is no part of hyperscale. With
HYPERSCALE_PATH the comparison uses hyperscale's own classes in its place; the names are theirs for that reason.
"""

from __future__ import annotations

import heapq
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

ORIGIN = 8


@dataclass(slots=True)
class NetworkCoordinate:
    """A place in the latency space, in seconds."""

    vec: list[float] = field(default_factory=lambda: [0.0] * ORIGIN)
    height: float = 0.0
    adjustment: float = 0.0
    error: float = 1.0
    updated_at: float = field(default_factory=time.monotonic)
    sample_count: int = 0


class CoordinateTracker:
    """The own coordinate and those of the peers. (AD-35.)"""

    def __init__(self) -> None:
        self._own = NetworkCoordinate()
        self._peers: dict[str, NetworkCoordinate] = {}

    def get_coordinate(self) -> NetworkCoordinate:
        own = self._own
        return NetworkCoordinate(
            list(own.vec), own.height, own.adjustment, own.error, own.updated_at, own.sample_count
        )

    def get_peer_coordinate(self, peer_id: str) -> NetworkCoordinate | None:
        return self._peers.get(peer_id)

    def update_peer_coordinate(
        self, peer_id: str, peer_coordinate: NetworkCoordinate, rtt_ms: float
    ) -> NetworkCoordinate:
        self._peers[peer_id] = peer_coordinate
        own = self._own
        seconds = rtt_ms / 1000.0
        difference = seconds - self._estimate(own, peer_coordinate)
        distance = self._distance(own, peer_coordinate)
        if distance > 0.0:
            pairs = zip(own.vec, peer_coordinate.vec)
            unit = [(mine - theirs) / distance for mine, theirs in pairs]
        else:
            unit = [1.0] + [0.0] * (ORIGIN - 1)
        total = own.error + peer_coordinate.error
        step = 0.25 * (own.error / total if total > 0.0 else 1.0)
        own.vec = [(mine + step * difference * part) * 0.99 for mine, part in zip(own.vec, unit)]
        own.height = max(0.0, own.height + 0.25 * step * difference)
        own.adjustment = min(1.0, max(-1.0, own.adjustment + 0.05 * difference))
        error = own.error + 0.25 * (abs(difference) - own.error)
        own.error = min(10.0, max(0.05, error))
        own.updated_at = time.monotonic()
        own.sample_count += 1
        return self.get_coordinate()

    def estimate_rtt_ucb_ms(self, peer_coordinate: NetworkCoordinate) -> float:
        own = self.get_coordinate()
        sigma_ms = min(500.0, max(1.0, (own.error + peer_coordinate.error) * 1000.0))
        upper_ms = self._estimate(own, peer_coordinate) * 1000.0 + 2.0 * sigma_ms
        return min(10_000.0, max(1.0, upper_ms))

    def coordinate_quality(self, coordinate: NetworkCoordinate) -> float:
        samples = min(1.0, coordinate.sample_count / 10)
        error = min(1.0, 20.0 / max(coordinate.error * 1000.0, 1.0))
        age = time.monotonic() - coordinate.updated_at
        staleness = 1.0 if age <= 300.0 else 300.0 / age
        return samples * error * staleness

    @staticmethod
    def _distance(own: NetworkCoordinate, peer: NetworkCoordinate) -> float:
        return math.sqrt(sum((mine - theirs) ** 2 for mine, theirs in zip(own.vec, peer.vec)))

    def _estimate(self, own: NetworkCoordinate, peer: NetworkCoordinate) -> float:
        estimate = self._distance(own, peer) + own.height + peer.height
        return max(0.0, estimate + own.adjustment + peer.adjustment)


@dataclass(slots=True)
class DatacenterCandidate:
    """What a gate knows of a datacenter."""

    datacenter_id: str
    health_bucket: str
    available_cores: int
    total_cores: int
    queue_depth: int
    lhm_multiplier: float
    circuit_breaker_pressure: float
    total_managers: int = 0
    healthy_managers: int = 0
    rtt_ucb_ms: float = 100.0
    coordinate_quality: float = 0.0


@dataclass(slots=True)
class RoutingDecision:
    """Where a job goes, best first."""

    job_id: str
    primary_datacenters: list[str]
    fallback_datacenters: list[str]
    scores: dict[str, float]


class GateJobRouter:
    """Filter, bucket, score, hold on to the last choice, chain. (AD-36.)"""

    def __init__(
        self,
        coordinate_tracker: CoordinateTracker,
        get_datacenter_candidates: Callable[[], list[DatacenterCandidate]],
    ) -> None:
        self._tracker = coordinate_tracker
        self._get_candidates = get_datacenter_candidates
        self._jobs: dict[str, tuple[str, float, float]] = {}

    def route_job(
        self, job_id: str, preferred_datacenters: set[str] | None = None
    ) -> RoutingDecision:
        preferred = preferred_datacenters or set()
        buckets: dict[str, list[DatacenterCandidate]] = {"HEALTHY": [], "BUSY": [], "DEGRADED": []}
        for candidate in self._get_candidates():
            place = self._tracker.get_peer_coordinate(candidate.datacenter_id)
            if place is not None:
                candidate.rtt_ucb_ms = self._tracker.estimate_rtt_ucb_ms(place)
                candidate.coordinate_quality = self._tracker.coordinate_quality(place)
            if candidate.healthy_managers > 0 and candidate.health_bucket in buckets:
                buckets[candidate.health_bucket].append(candidate)
        filled = [bucket for bucket in buckets.values() if bucket]
        if not filled:
            return RoutingDecision(job_id, [], [], {})
        scored = sorted(
            (self._score(c, c.datacenter_id in preferred), c.datacenter_id) for c in filled[0]
        )
        self._hold(job_id, scored)
        rest = sorted(
            (self._score(c, c.datacenter_id in preferred), c.datacenter_id)
            for bucket in filled[1:]
            for c in bucket
        )
        primary = [name for _, name in scored[:2]]
        fallback = [name for _, name in scored[2:]] + [name for _, name in rest]
        return RoutingDecision(job_id, primary, fallback, {name: score for score, name in scored})

    def _hold(self, job_id: str, scored: list[tuple[float, str]]) -> None:
        score, name = scored[0]
        now = time.monotonic()
        last = self._jobs.get(job_id)
        if last is None or (now - last[2] > 30.0 and score < 0.8 * last[1]):
            self._jobs[job_id] = (name, score, now)

    @staticmethod
    def _score(candidate: DatacenterCandidate, is_preferred: bool) -> float:
        used = 1.0
        if candidate.total_cores > 0:
            used -= candidate.available_cores / candidate.total_cores
        queue = candidate.queue_depth / (candidate.queue_depth + 10.0)
        load = min(5.0, 1.0 + 0.5 * used + 0.3 * queue + 0.2 * candidate.circuit_breaker_pressure)
        penalty = min(2.0, 1.0 + 0.5 * (1.0 - candidate.coordinate_quality))
        score = candidate.rtt_ucb_ms * load * penalty
        return 0.9 * score if is_preferred else score


@dataclass(slots=True)
class PiggybackUpdate:
    """A piece of news and how often it was told."""

    update_type: str
    node: tuple[str, int]
    incarnation: int
    max_broadcasts: int
    broadcast_count: int = 0

    def to_bytes(self) -> bytes:
        host, port = self.node
        return f"{self.update_type}:{self.incarnation}:{host}:{port}".encode()


class GossipBuffer:
    """News to be told, least-told first."""

    def __init__(self) -> None:
        self.updates: dict[tuple[str, int], PiggybackUpdate] = {}

    def add_update(
        self, update_type: str, node: tuple[str, int], incarnation: int, n_members: int
    ) -> bool:
        existing = self.updates.get(node)
        if existing is not None and existing.incarnation >= incarnation:
            return False
        limit = max(1, int(3 * math.log(n_members + 1)))
        self.updates[node] = PiggybackUpdate(update_type, node, incarnation, limit)
        return True

    def encode_piggyback(self, max_count: int = 5) -> bytes:
        chosen = heapq.nsmallest(max_count, self.updates.values(), key=lambda u: u.broadcast_count)
        for update in chosen:
            update.broadcast_count += 1
            if update.broadcast_count >= update.max_broadcasts:
                del self.updates[update.node]
        return b"#|m" + b"|".join(update.to_bytes() for update in chosen)


class Envelope:
    """Salt, nonce, AES-256-GCM under a key derived for this datagram."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def _key(self, salt: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        info = b"hyperscale-distributed-rewrite-encryption-v1"
        return HKDF(hashes.SHA256(), 32, salt, info).derive(self._secret)

    def encrypt(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        salt, nonce = os.urandom(16), os.urandom(12)
        return salt + nonce + AESGCM(self._key(salt)).encrypt(nonce, data, None)

    def decrypt(self, data: bytes) -> bytes:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key(data[:16])).decrypt(data[16:28], data[28:], None)
