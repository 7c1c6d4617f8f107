"""The metrics text as the reference parser of OpenMetrics reads it."""

import asyncio
from typing import Any

from cluster import make_node, running_cluster, until
from prometheus_client.openmetrics import parser

text_string_to_metric_families: Any = vars(parser)["text_string_to_metric_families"]


async def test_the_reference_parser_reads_everything() -> None:
    async with running_cluster(2) as (one, _):
        await until(lambda: one.stats()["probes_acked"] > 0)
        stats = one.stats()
        text = one.metrics()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {f"shoal_{name}" for name in stats} <= families.keys()
    assert families["shoal_peers_alive"].samples[0].value == 2
    round_trips = families["shoal_probe_round_trip_seconds"]
    assert (round_trips.type, round_trips.unit) == ("histogram", "seconds")
    counted = {sample.name: sample.value for sample in round_trips.samples}
    assert counted["shoal_probe_round_trip_seconds_count"] > 0
    backend = families["shoal_backend"].samples[0]
    assert backend.labels["backend"] in {"uring", "poll"}
    assert all(family.documentation for family in families.values())


async def test_a_lone_node_has_metrics_at_once() -> None:
    async with make_node() as node:
        await asyncio.sleep(0)
        assert list(text_string_to_metric_families(node.metrics()))
