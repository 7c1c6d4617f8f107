"""What a waiting program with a node costs, and how soon it is told.

The limits in time hold for a release build on a machine with time to spare: SHOAL_RELEASE=1. Other
builds and busy machines get more.
"""

from __future__ import annotations

import asyncio
import os
import statistics

from bench_node import bare_latencies_us, event_latencies_us, idle_costs

RELEASE = os.environ.get("SHOAL_RELEASE") == "1"
EVENTS = 100 if RELEASE else 30


def test_an_idle_node_is_small_and_sleeps() -> None:
    megabytes, share = idle_costs(10.0 if RELEASE else 2.0)
    assert megabytes < 45.0
    assert share < (0.2 if RELEASE else 2.0), f"{share:.3f} % of a core"


def test_an_event_reaches_a_coroutine_at_once() -> None:
    median = statistics.median(event_latencies_us(EVENTS, asyncio.new_event_loop))
    if RELEASE:
        assert median < 100.0, f"{median:.1f} us"
    else:
        bare = statistics.median(bare_latencies_us(EVENTS, asyncio.new_event_loop))
        assert median < 100.0 + 20.0 * bare, f"{median:.1f} us, {bare:.1f} us for a bare pipe"
