"""The metrics text as the reference parser of OpenMetrics reads it."""

from importlib import import_module
from typing import Any

from cluster import make_node, running_cluster, until

# The parser has no annotations, so it is taken as it is.
parser: Any = import_module("prometheus_client.openmetrics.parser")


def families_of(text: str) -> dict[str, Any]:
    """The families by their names."""
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


async def test_the_reference_parser_reads_everything() -> None:
    async with running_cluster(2) as (one, _):
        await until(lambda: one.stats()["probes_acked"] > 0)
        stats = one.stats()
        families = families_of(one.metrics())
    assert {f"shoal_{name}" for name in stats} <= families.keys()
    assert families["shoal_peers_alive"].samples[0].value == 2
    round_trips = families["shoal_probe_round_trip_seconds"]
    assert (round_trips.type, round_trips.unit) == ("histogram", "seconds")
    counted = {sample.name: sample.value for sample in round_trips.samples}
    assert counted["shoal_probe_round_trip_seconds_count"] > 0
    backend = families["shoal_backend"].samples[0]
    assert backend.labels["backend"] in {"uring", "poll"}
    assert all(family.documentation for family in families.values())


async def test_a_lone_gate_has_metrics_at_once() -> None:
    async with make_node(role="gate") as node:
        families = families_of(node.metrics())
    assert families["shoal_routing_decisions"].samples[0].value == 0
