"""`python -m shoal` as a user sees it: the commands of the `shoal` program."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import shoal
from cluster import SECRET, make_node, until_blocking

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "SHOAL_SECRET"}
COMMANDS = {
    *("agent", "status", "members", "rtt", "route", "top", "coordinates", "metrics", "leave"),
    *("config", "keygen", "demo", "simulate"),
}


def run(*arguments: str, secret: bytes | None = SECRET) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "shoal", *arguments],
        env=ENVIRONMENT if secret is None else {**ENVIRONMENT, "SHOAL_SECRET": secret.decode()},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts an agent."""
    return subprocess.Popen(
        [sys.executable, "-m", "shoal", "agent", "--bind", "127.0.0.1:0", *arguments],
        env={**ENVIRONMENT, "SHOAL_SECRET": SECRET.decode(), "SHOAL_LOG": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_line(agent: subprocess.Popen[str]) -> str:
    """The first line of an agent, which says that it runs."""
    assert agent.stdout is not None
    return agent.stdout.readline()


def test_version_and_help() -> None:
    assert run("--version").stdout == f"shoal {shoal.__version__}\n"
    assert set(re.findall(r"^  ([a-z]+) +\S", run("--help").stdout, re.MULTILINE)) >= COMMANDS
    assert "--join" in run("agent", "--help").stdout


def test_an_agent_is_a_member_and_answers(tmp_path: Path) -> None:
    control = str(tmp_path / "control")
    with make_node(role="gate", datacenter="east") as node:
        options = ("--join", node.address, "--control", control, "--format", "json")
        with start(*options) as agent:
            started = json.loads(first_line(agent))
            assert started["event"] == "started"
            until_blocking(lambda: len(node.members()) == 2)
            listed = run("members", "--control", control, "--format", "json")
            assert listed.returncode == 0, listed.stderr
            members = {member["address"]: member for member in json.loads(listed.stdout)}
            assert members.keys() == {node.address, started["address"]}
            assert members[node.address]["role"] == "gate"
            assert run("leave", "--control", control).returncode == 0
            assert agent.stdout is not None
            records = [json.loads(line) for line in agent.stdout]
            assert agent.wait(10) == 0
        assert {record["event"] for record in records} >= {"member"}
        agent_member = node.member(started["address"])
        assert agent_member is not None
        assert agent_member.state == "left"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_goodbye(number: signal.Signals) -> None:
    with make_node() as node, start("--join", node.address) as agent:
        assert first_line(agent)
        until_blocking(lambda: len(node.members()) == 2)
        agent.send_signal(number)
        assert agent.wait(10) == 0
        assert agent.stderr is not None
        assert agent.stderr.read() == ""
        until_blocking(lambda: node.members()[1].state == "left")


def test_keys_are_made() -> None:
    made = run("keygen", secret=None)
    assert made.returncode == 0
    assert 16 <= len(made.stdout.strip()) <= 256


@pytest.mark.parametrize(
    ("arguments", "secret", "message"),
    [
        (["agent"], None, "no secret; make one with `shoal keygen"),
        (["agent", "--bind", "127.0.0.1:0"], None, "secret"),
        (["agent", "--bind", "127.0.0.1:0"], b"short", "16 to 256"),
        (["agent", "--bind", "127.0.0.1:0", "--role", "king"], SECRET, "gate, manager or worker"),
        (["nonsense"], SECRET, "nonsense"),
    ],
)
def test_mistakes_are_one_line_and_exit_two(
    arguments: list[str], secret: bytes | None, message: str
) -> None:
    done = run(*arguments, secret=secret)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
