"""What a waiting program with a node costs, and how soon it is told.

The limits in time hold for a release build on a machine with time to spare: SHOAL_RELEASE=1. Other
builds and busy machines get more.
"""

from __future__ import annotations

import asyncio
import os
import statistics

from bench_node import idle_costs, latencies

RELEASE = os.environ.get("SHOAL_RELEASE") == "1"
EVENTS = 100 if RELEASE else 30


def test_an_idle_node_is_small_and_sleeps() -> None:
    megabytes, share = idle_costs(10.0 if RELEASE else 2.0)
    assert megabytes < 45.0
    assert share < (0.2 if RELEASE else 2.0), f"{share:.3f} % of a core"


def test_an_event_reaches_a_coroutine_at_once() -> None:
    found = latencies(EVENTS, asyncio.new_event_loop)
    median, bare = statistics.median(found.events), statistics.median(found.bare)
    limit = 100.0 if RELEASE else 100.0 + 20.0 * bare
    assert median < limit, f"{median:.1f} us, {bare:.1f} us for a bare pipe"
