"""What the extras `rich` and `plots` show of a cluster."""

# matplotlib does not say which further keywords its methods take.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import shoal
import shoal.plots
import shoal.watch
from cluster import FAST, SECRET, running_cluster, state_of, until
from rich.console import Console


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def located_cluster_settles(nodes: list[shoal.Node]) -> None:
    """Every node comes to know where its peers are and how far away."""
    await until(
        lambda: all(
            member.coordinate is not None and member.rtt is not None
            for node in nodes
            for member in node.members()
        )
    )


async def test_a_table_tells_of_every_member() -> None:
    async with running_cluster(3, datacenter="east") as nodes:
        await located_cluster_settles(nodes)
        console = terminal()
        shoal.watch.show(nodes[0], console=console)
        text = shown(console)
        assert f"{nodes[0].address}: 3 of 3 alive" in text
        for node in nodes:
            (line,) = (line for line in text.splitlines() if line.split()[:1] == [node.address])
            assert "alive" in line
            assert "east" in line
            assert line.count(" ms") == 2
            assert line.count("%") == 2


async def test_a_watched_node_is_shown_until_it_is_closed() -> None:
    async with running_cluster(2) as nodes:
        console = terminal()
        watching = asyncio.create_task(
            shoal.watch.watch(nodes[0], interval_seconds=0.01, console=console)
        )
        await until(lambda: "2 of 2 alive" in shown(console))
        nodes[1].close()
        await until(lambda: "1 of 2 alive" in shown(console))
        nodes[0].close()
        await asyncio.wait_for(watching, 5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_program_joins_and_leaves(number: signal.Signals) -> None:
    async with running_cluster(1) as (node,):
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "shoal.watch", node.address),
            stdout=subprocess.PIPE,
            env={**os.environ, "SHOAL_SECRET": SECRET.decode()},
        )
        await until(lambda: len(node.members()) == 2)
        (address,) = {member.address for member in node.members()} - {node.address}
        await until(lambda: state_of(node, address) == "alive")
        program.send_signal(number)
        output, _ = await program.communicate()
        assert program.returncode == 0
        assert f"{address}: " in output.decode()
        assert state_of(node, address) == "left"


def test_the_program_says_why_it_cannot_start() -> None:
    command = [sys.executable, "-m", "shoal.watch", "127.0.0.1:1"]
    environment = {**os.environ, "SHOAL_SECRET": "short"}
    done = subprocess.run(command, capture_output=True, env=environment, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("shoal.watch: ")
    assert "Traceback" not in done.stderr


async def test_a_map_has_every_member_that_is_somewhere() -> None:
    async with running_cluster(3, datacenter="east") as nodes:
        await located_cluster_settles(nodes)
        figure = shoal.plots.coordinate_map(nodes[0])
        (axis,) = figure.axes
        assert {text.get_text() for text in axis.texts} == {node.address for node in nodes}
        legend = axis.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["east"]
        image = io.BytesIO()
        figure.savefig(image, format="png")
        assert image.getvalue().startswith(b"\x89PNG")


async def test_predictions_are_of_every_peer() -> None:
    async with running_cluster(3) as nodes:
        await located_cluster_settles(nodes)
        (axis,) = shoal.plots.predictions(nodes[0]).axes
        (points,) = axis.collections
        assert np.asarray(points.get_offsets()).shape == (2, 2)


def test_a_node_alone_has_pictures() -> None:
    with shoal.Node("127.0.0.1:0", secret=SECRET, config=FAST) as node:
        for figure in (shoal.plots.coordinate_map(node), shoal.plots.predictions(node)):
            figure.savefig(io.BytesIO(), format="svg")


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [("shoal.watch", "rich", "rich"), ("shoal.plots", "matplotlib", "plots")],
)
def test_a_missing_extra_is_named(module: str, package: str, extra: str) -> None:
    program = f"""
import sys
import shoal
sys.modules[{package!r}] = None
try:
    import {module}
except shoal.MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"{module} needs more packages: pip install 'shoal[{extra}]'"
