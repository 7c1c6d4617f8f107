"""Python classes under measurement: hyperscale's own, a plain-Python model of them, or Shoal's drop-ins.

    python reference.py SIDE answers     what it computes, for the other sides to be checked against
    python reference.py SIDE times SECONDS     nanoseconds per call

SIDE is `hyperscale` (a checkout that HYPERSCALE_PATH names), `model` (the module beside this file) or `drop-in`
(`shoal.hyperscale`). Prints one line of JSON. It runs in a process of its own, because hyperscale needs packages that
Shoal does not.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from timing import cost_ns, figure, loop_cost_ns, repeated_cost_ns

DATACENTERS = 100
JOBS = 256
PENDING = 1_000
SECRET = "a secret for measurements only"

SIDE = sys.argv[1]
PACKAGES = {"hyperscale": "hyperscale.distributed", "drop-in": "shoal.hyperscale"}


def find(module: str, name: str) -> Any:
    """A class of this side; the model has all of them in one module."""
    package = PACKAGES.get(SIDE)
    return getattr(import_module(f"{package}.{module}" if package else "model"), name)


if SIDE == "hyperscale":
    sys.path.insert(0, os.environ["HYPERSCALE_PATH"])
elif SIDE == "drop-in":
    sys.path.insert(0, str(Path(__file__).parents[2] / "python" / "pysrc"))
NetworkCoordinate = find("models.coordinates", "NetworkCoordinate")
GateJobRouter = find("routing", "GateJobRouter")
DatacenterCandidate = find("routing.candidate_filter", "DatacenterCandidate")
CoordinateTracker = find("swim.coordinates", "CoordinateTracker")
GossipBuffer = find("swim.gossip.gossip_buffer", "GossipBuffer")


def envelope() -> Any:
    if SIDE == "model":
        return find("", "Envelope")(SECRET.encode())
    env = SimpleNamespace(MERCURY_SYNC_AUTH_SECRET=SECRET, MERCURY_SYNC_AUTH_SECRET_PREVIOUS=None)
    return find("encryption.aes_gcm", "AESGCMFernet")(env)


def coordinate(source: random.Random) -> NetworkCoordinate:
    return NetworkCoordinate(
        vec=[round(source.uniform(-0.05, 0.05), 6) for _ in range(8)],
        height=round(source.uniform(0.0, 0.005), 6),
        adjustment=0.0,
        error=0.0625,
        sample_count=50,
    )


def samples(count: int) -> list[tuple[str, NetworkCoordinate, float]]:
    """Peers, where they say they are, and the round trip to each.

    The coordinates are as hyperscale holds them: made of the numbers of a message, and nothing has looked at
    the vector since. Shoal's drop-in makes a list of it only then.
    It is always the same to the same peer, in units of 1/512 s, because Shoal puts samples through a median
    filter first and keeps them as nanoseconds and as single floats: so both sides compute with the same.
    """
    source = random.Random(7)
    peers = [coordinate(source) for _ in range(DATACENTERS)]
    own = coordinate(source)
    round_trips = []
    for peer in peers:
        distance = sum((a - b) ** 2 for a, b in zip(peer.vec, own.vec)) ** 0.5 + peer.height
        round_trips.append(max(1, round(distance * 512)) * 1000 / 512)
    peers = [
        NetworkCoordinate(place.vec, place.height, place.adjustment, place.error, sample_count=50)
        for place in peers
    ]
    numbers = [source.randrange(DATACENTERS) for _ in range(count)]
    return [(f"dc{number}", peers[number], round_trips[number]) for number in numbers]


def settled_tracker() -> CoordinateTracker:
    tracker = CoordinateTracker()
    for peer, place, rtt_ms in samples(1_000):
        tracker.update_peer_coordinate(peer, place, rtt_ms)
    return tracker


def candidates(seed: int) -> list[DatacenterCandidate]:
    source = random.Random(seed)
    return [
        DatacenterCandidate(
            datacenter_id=f"dc{number}",
            health_bucket=source.choice(["HEALTHY", "HEALTHY", "BUSY", "DEGRADED"]),
            available_cores=source.randrange(512),
            total_cores=512,
            queue_depth=source.randrange(50),
            lhm_multiplier=1.0,
            circuit_breaker_pressure=source.randrange(100) / 100,
            total_managers=3,
            healthy_managers=source.choice([0, 3, 3, 3]),
        )
        for number in range(DATACENTERS)
    ]


def answers() -> dict[str, object]:
    tracker = settled_tracker()
    own = tracker.get_coordinate()
    pictures = []
    for seed in range(20):
        listed = candidates(seed)
        router = GateJobRouter(tracker, lambda listed=listed: listed)
        decision = router.route_job("job")
        keys = ["datacenter_id", "health_bucket", "available_cores", "queue_depth"]
        keys += ["circuit_breaker_pressure", "healthy_managers", "rtt_ucb_ms", "coordinate_quality"]
        rows = [{key: getattr(candidate, key) for key in keys} for candidate in listed]
        pictures.append({"candidates": rows, "first": decision.primary_datacenters[0]})
    uppers = {
        f"dc{number}": tracker.estimate_rtt_ucb_ms(tracker.get_peer_coordinate(f"dc{number}"))
        for number in range(DATACENTERS)
    }
    return {
        "samples": [
            [peer, place.vec, place.height, place.adjustment, place.error, rtt_ms]
            for peer, place, rtt_ms in samples(1_000)
        ],
        "coordinate": [own.vec, own.height, own.adjustment, own.error],
        "upper_ms": uppers,
        "pictures": pictures,
    }


def exchange():
    """A probe opened and read, an ack written and sealed: no socket, no event loop, no state."""
    import zstandard

    cipher, section = envelope(), sections()
    pack, unpack = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    payload = b"probe>127.0.0.1:9001" + filled_buffer().encode_piggyback(5)
    clock, length = (1).to_bytes(64, "big"), len(payload).to_bytes(4, "big")
    probe = cipher.encrypt(pack.compress(b"c<127.0.0.1:9002<receive<" + clock + length + payload))

    def run() -> bytes:
        frame = unpack.decompress(cipher.decrypt(probe), max_output_size=5 << 20)
        _, sender, _, rest = frame.split(b"<", 3)
        base, _, members = rest[68:].partition(b"#|m")
        base.split(b">")
        for member in members.split(b"|"):
            member.split(b":")
        host, port = sender.split(b":")
        reply = b"ack>127.0.0.1:9001" + section()
        size = len(reply).to_bytes(4, "big")
        own = b"s<" + host + b":" + port + b"<receive<" + rest[:64] + size + reply
        return cipher.encrypt(pack.compress(own))

    return run


FILLED = [0]


def fill(gossip: GossipBuffer) -> None:
    FILLED[0] += 1
    for number in range(PENDING):
        node = (f"10.0.{number >> 8}.{number & 255}", 7946)
        gossip.add_update("alive", node, FILLED[0], 10**9)


def filled_buffer() -> GossipBuffer:
    gossip = GossipBuffer()
    fill(gossip)
    return gossip


def sections() -> Callable[[], bytes]:
    """What writes sections with five of a thousand news that never run out: each is told 62 times."""
    gossip = filled_buffer()
    until_new = itertools.cycle(range(10_000))

    def section() -> bytes:
        if next(until_new) == 9_999:
            fill(gossip)
        return gossip.encode_piggyback(5)

    return section


def times(seconds: float) -> dict[str, object]:
    tracker = settled_tracker()
    listed = candidates(1)
    router = GateJobRouter(tracker, lambda: listed)
    jobs = [(f"job{number}",) for number in range(JOBS)]
    told = samples(1_000)

    def update() -> None:
        # The way hyperscale's handler of acks calls it.
        for peer, place, rtt_ms in told:
            tracker.update_peer_coordinate(peer_id=peer, peer_coordinate=place, rtt_ms=rtt_ms)

    def bound() -> None:
        # The way its router calls it.
        for _, place, _ in told:
            tracker.estimate_rtt_ucb_ms(place)

    costs = {
        "coordinate update": loop_cost_ns(update, len(told), seconds),
        "upper bound": loop_cost_ns(bound, len(told), seconds),
        "route 100": repeated_cost_ns(router.route_job, jobs, seconds),
        "encode 5 of 1000": cost_ns(sections(), seconds),
    }
    skipped = []
    try:
        costs["exchange"] = cost_ns(exchange(), seconds)
    except ImportError as error:
        skipped.append({"what": "a Python node's part of an exchange", "why": str(error)})
    side = "drop-in" if SIDE == "drop-in" else "reference"
    figures = [figure(f"python/{side}/{name}", cost) for name, cost in costs.items()]
    return {"figures": figures, "skipped": skipped}


if __name__ == "__main__":
    done = answers() if sys.argv[2] == "answers" else times(float(sys.argv[3]))
    print(json.dumps(done))
