"""How many times faster the drop-ins are than hyperscale's own classes, with equal results.

    HYPERSCALE_PATH=/path/to/checkout pytest benchmarks/test_hyperscale_speed.py

The interpreter needs hyperscale's requirements and pytest-benchmark (`make bench-hyperscale`
sees to both). Both sides run in turns in one process, so that what else the machine does hits both;
the ratio is that of the best rounds.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import random
import sys
import time
import timeit
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import shoal
from shoal.hyperscale._replaced import REPLACED

CHECKOUT = os.environ.get("HYPERSCALE_PATH")
SECRET = "research-shared-secret-0123456789"
ROUNDS = 400
BURST_SECONDS = 0.5e-3
DATAGRAMS = 1_000
"""More than there is room for keys of senders."""

pytestmark = pytest.mark.skipif(CHECKOUT is None, reason="HYPERSCALE_PATH names no checkout")
if CHECKOUT is not None and CHECKOUT not in sys.path:
    sys.path.insert(0, CHECKOUT)


def both(path: str, name: str) -> tuple[Any, Any]:
    """hyperscale's class and ours."""
    assert name in REPLACED[path]
    stock = importlib.import_module(f"hyperscale.distributed.{path}")
    ours = importlib.import_module(f"shoal.hyperscale.{path}")
    return getattr(stock, name), getattr(ours, name)


def calling(statement: str, **names: object) -> timeit.Timer:
    """Runs a call, written as hyperscale writes it."""
    return timeit.Timer(statement, globals=names)


def timer(function: Callable[..., object], *arguments: object) -> timeit.Timer:
    """Calls a function with arguments, and nothing else."""
    names = {f"argument{number}": value for number, value in enumerate(arguments)}
    return timeit.Timer(f"function({', '.join(names)})", globals={"function": function, **names})


def compare(benchmark: Any, stock: timeit.Timer, ours: timeit.Timer, wanted: float) -> None:
    """Measures both sides in turns, in bursts that are rarely interrupted, and checks how many
    times faster ours is."""
    sides = (stock, ours)
    counts = [max(1, int(BURST_SECONDS / min(side.repeat(20, 1)))) for side in sides]
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for number, (side, count) in enumerate(zip(sides, counts, strict=True)):
            best[number] = min(best[number], side.timeit(count) / count)
    ratio = best[0] / best[1]
    benchmark.extra_info["stock_us"] = best[0] * 1e6
    benchmark.extra_info["ours_us"] = best[1] * 1e6
    benchmark.extra_info["times_faster"] = ratio
    figures = f"{best[0] * 1e6:10.3f} us -> {best[1] * 1e6:8.3f} us {ratio:8.1f} times"
    print(f"\n{figures}, wanted {wanted}")
    benchmark(ours.timeit, 10)
    assert ratio >= wanted, f"{ratio:.1f} times faster, wanted {wanted}"


def coordinate_pair() -> tuple[Any, Any, list[Any], list[Any]]:
    """Two trackers and a thousand peers for each."""
    trackers = both("swim.coordinates.coordinate_tracker", "CoordinateTracker")
    places = both("models.coordinates", "NetworkCoordinate")
    draw = random.Random(7)
    vectors = [[draw.uniform(-0.1, 0.1) for _ in range(8)] for _ in range(1000)]
    stock, ours = ([place(list(v), 0.001, 0.0, 0.3) for v in vectors] for place in places)
    return trackers[0](), trackers[1](), stock, ours


def test_coordinate_update(benchmark: Any) -> None:
    stock, ours, stock_peers, our_peers = coordinate_pair()
    for number in range(1000):
        rtt_ms = 1.0 + number % 90
        left = stock.update_peer_coordinate(f"p{number}", stock_peers[number], rtt_ms)
        right = ours.update_peer_coordinate(f"p{number}", our_peers[number], rtt_ms)
        assert right.vec == pytest.approx(left.vec, rel=1e-9, abs=1e-15)
        assert right.error == pytest.approx(left.error, rel=1e-12)
    # As the handler of acks calls it.
    call = "tracker.update_peer_coordinate(peer_id=peer, peer_coordinate=place, rtt_ms=rtt_ms)"
    sample = {"peer": "p7", "rtt_ms": 20.0}
    compare(
        benchmark,
        calling(call, tracker=stock, place=stock_peers[7], **sample),
        calling(call, tracker=ours, place=our_peers[7], **sample),
        40,
    )


def test_coordinate_upper_estimate(benchmark: Any) -> None:
    stock, ours, stock_peers, our_peers = coordinate_pair()
    for left, right in zip(stock_peers, our_peers, strict=True):
        assert ours.estimate_rtt_ucb_ms(right) == pytest.approx(stock.estimate_rtt_ucb_ms(left))
    # As the router calls it.
    call = "tracker.estimate_rtt_ucb_ms(place)"
    compare(
        benchmark,
        calling(call, tracker=stock, place=stock_peers[7]),
        calling(call, tracker=ours, place=our_peers[7]),
        40,
    )


def routers(count: int) -> tuple[Any, Any]:
    """Two routers with the same datacenters, at the same distances."""
    stock_tracker, our_tracker, stock_peers, our_peers = coordinate_pair()
    candidates = both("routing.candidate_filter", "DatacenterCandidate")
    classes = both("routing.gate_job_router", "GateJobRouter")
    made: list[Any] = []
    sides = ((stock_tracker, stock_peers), (our_tracker, our_peers))
    for candidate, router, (tracker, peers) in zip(candidates, classes, sides, strict=True):
        draw = random.Random(11)
        listed = [
            candidate(
                f"dc{number}",
                draw.choice(["HEALTHY", "HEALTHY", "BUSY", "DEGRADED"]),
                draw.randrange(100),
                100,
                draw.randrange(50),
                1.0,
                draw.random(),
                total_managers=3,
                healthy_managers=3,
            )
            for number in range(count)
        ]
        for number in range(count):
            tracker.update_peer_coordinate(f"dc{number}", peers[number], 20.0)
        made.append(router(tracker, listed.copy))
    return made[0], made[1]


def test_route_job(benchmark: Any) -> None:
    stock, ours = routers(100)
    left, right = stock.route_job("job"), ours.route_job("job")
    assert right.primary_datacenters == left.primary_datacenters
    assert right.fallback_datacenters == left.fallback_datacenters
    assert right.scores == pytest.approx(left.scores, rel=1e-6)
    compare(benchmark, timer(stock.route_job, "job"), timer(ours.route_job, "job"), 20)


def test_native_router(benchmark: Any) -> None:
    stock, _ = routers(100)
    wanted = stock.route_job("job")
    config = shoal.RouterConfig(scoring=shoal.ScoringConfig())
    router = shoal.Router(config=config)
    names = {"HEALTHY": "healthy", "BUSY": "busy", "DEGRADED": "degraded"}
    listed = [
        shoal.DatacenterCandidate(
            one.datacenter_id,
            health=names[one.health_bucket],
            manager_count=3,
            available_cores=one.available_cores,
            total_cores=one.total_cores,
            queue_depth=one.queue_depth,
            circuit_pressure=one.circuit_breaker_pressure,
            rtt=shoal.Rtt(one.rtt_ucb_ms, one.rtt_ucb_ms, one.coordinate_quality),
        )
        for one in stock._get_datacenter_candidates()
    ]
    prepared = router.candidates(listed)
    job = shoal.JobId("job")
    assert router.route(job, prepared).selected == wanted.primary_datacenters[0]
    compare(benchmark, timer(stock.route_job, "job"), timer(router.route, job, prepared), 100)


def test_gossip_encode(benchmark: Any) -> None:
    stock, ours = (cls() for cls in both("swim.gossip.gossip_buffer", "GossipBuffer"))
    for buffer in (stock, ours):
        for number in range(1000):
            buffer.add_update("alive", ("10.0.0.1", 9000 + number), number, n_members=10**300)
    for _ in range(500):
        assert ours.encode_piggyback(5) == stock.encode_piggyback(5)
    compare(benchmark, timer(stock.encode_piggyback, 5), timer(ours.encode_piggyback, 5), 40)


def test_timeout_check(benchmark: Any) -> None:
    stock, ours = both("jobs.gates.gate_job_timeout_tracker", "GateJobTimeoutTracker")
    gate = SimpleNamespace()
    trackers = stock(gate), ours(gate)

    async def start() -> None:
        for tracker in trackers:
            for number in range(1000):
                await tracker.start_tracking_job(f"job{number}", 3600.0, ["east", "west", "north"])

    loop = asyncio.new_event_loop()
    loop.run_until_complete(start())
    jobs = list(trackers[0]._tracked_jobs.values())
    for number in range(1000):
        stock_info = trackers[0]._tracked_jobs[f"job{number}"]
        our_info = trackers[1]._tracked_jobs[f"job{number}"]
        assert trackers[1]._judge(our_info, time.monotonic()) == loop.run_until_complete(
            trackers[0]._check_global_timeout(stock_info)
        )

    async def check_stock() -> None:
        for info in jobs:
            await trackers[0]._check_global_timeout(info)

    def run(step: Callable[[], Any]) -> None:
        try:
            step().send(None)
        except StopIteration:
            return
        raise AssertionError("a check waited")

    compare(benchmark, timer(run, check_stock), timer(run, trackers[1]._check_jobs), 50)
    loop.close()


@pytest.mark.parametrize(("sealed_by", "wanted"), [("shoal", 8), ("hyperscale", 4)])
def test_open_and_parse(benchmark: Any, sealed_by: str, wanted: float) -> None:
    """hyperscale draws another salt, and with it another key, for every datagram, and compresses
    it; Shoal does neither."""
    zstandard = importlib.import_module("zstandard")
    aes = importlib.import_module("hyperscale.distributed.encryption.aes_gcm").AESGCMFernet
    security = importlib.import_module("hyperscale.distributed.server.protocol.security")
    message_parser = both("swim.message_handling.core.message_parser", "MessageParser")[0]
    payload = (
        b"probe>127.0.0.1:9001#|mjoin:0:127.0.0.1:9005:worker|suspect:2:127.0.0.1:9007"
        b"|alive:3:127.0.0.1:9008|alive:4:127.0.0.1:9009|dead:5:127.0.0.1:9010"
        b"#|hn1|manager|healthy|1|8|1.50|2.00|1234.50;n2|worker|busy|1|8|1.50|2.00|1234.50"
    )
    clock = (7).to_bytes(64, "big")
    frame = b"c<127.0.0.1:9003<receive<" + clock + len(payload).to_bytes(4, "big") + payload
    fernet = aes(
        SimpleNamespace(MERCURY_SYNC_AUTH_SECRET=SECRET, MERCURY_SYNC_AUTH_SECRET_PREVIOUS="")
    )
    packer, unpacker = zstandard.ZstdCompressor(level=3), zstandard.ZstdDecompressor()
    parser = message_parser(None)
    secret = SECRET.encode()

    def sealed() -> bytes:
        if sealed_by == "hyperscale":
            return bytes(fernet.encrypt(packer.compress(frame)))
        return shoal.seal(frame, secret)

    def stock(datagram: bytes) -> Any:
        opened = unpacker.decompress(fernet.decrypt(datagram), max_output_size=5 << 20)
        _, address, _, rest = opened.split(b"<", maxsplit=3)
        time_of_sender = int.from_bytes(rest[:64], "big")
        size = int.from_bytes(rest[64:68], "big")
        source = security.parse_address(address)
        return parser.parse(source, rest[68 : 68 + size], time_of_sender)

    def ours(datagram: bytes) -> Any:
        read = shoal.parse_datagram(datagram, secret)
        return read.clock, read.name, read.target

    datagrams = [sealed() for _ in range(DATAGRAMS)]
    for datagram in datagrams:
        context = stock(datagram).context
        target = "{}:{}".format(*context.target)
        assert ours(datagram) == (context.clock_time, context.message_type.decode(), target)
        assert len(shoal.parse_datagram(datagram, secret).members) == 5
    call, arriving = "read(next(arriving))", itertools.cycle(datagrams)
    compare(
        benchmark,
        calling(call, read=stock, arriving=arriving),
        calling(call, read=ours, arriving=arriving),
        wanted,
    )
