"""The examples work as their first lines say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import SECRET, make_node, state_of

EXAMPLES = Path(__file__).parents[2] / "examples" / "python"


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs an example to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *arguments],
        env={**os.environ, "SHOAL_SECRET": SECRET.decode()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_members_lists_the_cluster() -> None:
    with make_node(role="gate") as one, make_node(join=[one.address]) as two:
        done = run("members.py", "--join", one.address, "--count", "3", "--seconds", "30")
        assert done.returncode == 0, done.stderr
        started, *_ = done.stdout.splitlines()
        table = done.stdout.split("\n\n")[1].splitlines()
        assert table[0].split() == ["address", "state", "role", "datacenter", "round", "trip"]
        rows = {row.split()[0]: row.split()[1:4] for row in table[1:]}
        own = started.split()[1]
        assert rows == {
            own: ["alive", "worker", "default"],
            one.address: ["alive", "gate", "default"],
            two.address: ["alive", "manager", "default"],
        }
        assert state_of(one, own) == "left"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--count", "2", "--seconds", "0.2"], 1, "only 1 of 2 members are alive"),
        (["--seconds", "0.2"], 0, ""),
        (["--bind", "nowhere"], 2, "'nowhere' is no address"),
        (["--role", "king"], 2, "invalid choice: 'king'"),
    ],
)
def test_members_ends(arguments: list[str], status: int, message: str) -> None:
    done = run("members.py", *arguments)
    assert done.returncode == status
    assert message in done.stderr


def test_jobs_ends_a_job_whose_manager_died() -> None:
    done = run("jobs.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["first: granted 1.00 s more", "first: stopped"]
    assert any(line.endswith("is dead") for line in lines)
    assert "second: took over" in lines
    ends = [
        line for line in lines if "timed out because of datacenters_timed_out, after 6." in line
    ]
    assert sorted(line.split(":")[0] for line in ends) == ["gate", "second"]


def test_hyperscale_cluster_says_what_it_needs() -> None:
    done = run("hyperscale_cluster.py", "--checkout", "/nowhere")
    assert done.returncode == 2
    assert "names the root of a hyperscale checkout" in done.stderr
