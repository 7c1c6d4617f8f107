"""Nanoseconds per call, for both sides of the comparison alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any


def cost_ns(call: Callable[[], object], seconds: float) -> list[float]:
    """Nanoseconds per call in each of seven loops that together take about this long."""
    count = 1
    while True:
        before = time.perf_counter_ns()
        for _ in range(count):
            call()
        if time.perf_counter_ns() - before > seconds * 1e9 / 20:
            break
        count *= 2
    samples = []
    gc.disable()
    for _ in range(7):
        before = time.perf_counter_ns()
        for _ in range(count):
            call()
        samples.append((time.perf_counter_ns() - before) / count)
    gc.enable()
    return samples


def loop_cost_ns(loop: Callable[[], object], count: int, seconds: float) -> list[float]:
    """The same for a call that is so short that the loop around it would show: this is the loop, with so
    many calls in it."""
    return [cost / count for cost in cost_ns(loop, seconds)]


def repeated_cost_ns(
    call: Callable[..., object], arguments: list[Any], seconds: float
) -> list[float]:
    """The same for a function that is called with each of these in turn."""

    def every() -> None:
        for one in arguments:
            call(*one)

    return loop_cost_ns(every, len(arguments), seconds)


def figure(name: str, samples: list[float]) -> dict[str, object]:
    """A figure as the report reads it."""
    return {
        "name": name,
        "value": statistics.median(samples),
        "unit": "ns",
        "low": min(samples),
        "high": max(samples),
    }
