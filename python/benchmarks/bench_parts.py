"""What coordinates, routing and job timeouts cost when they are called from Python.

    python python/benchmarks/bench_parts.py

Prints one line per figure: the best of several runs.
"""

from __future__ import annotations

from collections.abc import Callable

import shoal
from bench_node import cost_us


def coordinate_costs() -> dict[str, Callable[[], object]]:
    """A sample that moves the own coordinate, and questions about a peer."""
    config = shoal.VivaldiConfig(sample_interval_ms_min=0)
    tracker = shoal.CoordinateTracker(config=config)
    peers = [f"10.0.0.{number}:7462" for number in range(100)]
    places = [shoal.CoordinateTracker(seed=number).coordinate for number in range(100)]
    for peer, place in zip(peers, places, strict=True):
        tracker.observe(peer, place, 20.0, now_ns=1_000_000_000)
    peer, place, now_ns = peers[7], places[7], 2_000_000_000
    return {
        "observe(peer, coordinate, rtt_ms)": lambda: tracker.observe(peer, place, 20.0),
        "upper_ms(peer)": lambda: tracker.upper_ms(peer),
        "upper_ms(peer, now_ns=...)": lambda: tracker.upper_ms(peer, now_ns=now_ns),
        "rtt(peer)": lambda: tracker.rtt(peer),
        "round_trips_ms() of 100": tracker.round_trips_ms,
    }


def routing_costs(count: int) -> dict[str, Callable[[], object]]:
    """A decision over so many datacenters."""
    router = shoal.Router()
    listed = [
        shoal.DatacenterCandidate(
            f"dc{number}",
            manager_count=3,
            available_cores=number,
            total_cores=count,
            rtt=shoal.Rtt(10.0 + number, 12.0 + number, 0.9),
        )
        for number in range(count)
    ]
    prepared = router.candidates(listed)
    job, jobs = shoal.JobId("job"), [shoal.JobId(number) for number in range(100)]
    return {
        f"route(job, prepared) of {count}": lambda: router.route(job, prepared),
        f"route(job, prepared).selected of {count}": lambda: router.route(job, prepared).selected,
        f"route(job, list) of {count}": lambda: router.route(job, listed),
        f"route_many(100 jobs) of {count}, all": lambda: router.route_many(jobs, prepared),
    }


def job_costs(count: int) -> dict[str, Callable[[], object]]:
    """A look at so many running jobs, and progress of one of them."""
    timeouts = shoal.JobTimeouts()
    jobs = [shoal.JobId(number) for number in range(count)]
    for job in jobs:
        timeouts.job_started(job, 3_600.0)
    return {
        f"handle_timeout() with {count} jobs": timeouts.handle_timeout,
        "job_progress(job)": lambda: timeouts.job_progress(jobs[0]),
    }


def main() -> None:
    """Prints all figures."""
    calls = {"lambda: None": lambda: None, **coordinate_costs()}
    for name, call in {**calls, **routing_costs(100), **job_costs(1_000)}.items():
        print(f"{name:<42} {cost_us(call):10.3f} us")


if __name__ == "__main__":
    main()
