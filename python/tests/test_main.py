"""`python -m shoal` as a user sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import shoal
from cluster import SECRET, make_node

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "SHOAL_SECRET"}


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


def test_version_and_help() -> None:
    assert run("--version").stdout == f"shoal {shoal.__version__}\n"
    assert "join a cluster and print what happens in it" in run("--help").stdout
    assert "--join" in run("watch", "--help").stdout


def test_watching_prints_json_lines_and_leaves(tmp_path: Path) -> None:
    secret_file = tmp_path / "secret.key"
    secret_file.write_bytes(SECRET + b"\n")
    with make_node(role="gate", datacenter="east") as node:
        done = run(
            *("watch", "--join", node.address, "--secret-file", str(secret_file)),
            *("--format", "json", "--seconds", "1"),
            secret=None,
        )
        assert done.returncode == 0, done.stderr
        started, *records = [json.loads(line) for line in done.stdout.splitlines()]
        assert started["event"] == "started"
        assert started["backend"] == node.backend
        members = [record for record in records if record.get("address") == node.address]
        assert [record["state"] for record in members] == ["unconfirmed", "alive"]
        assert set(members[0]) == {
            *("event", "address", "state", "incarnation", "role", "datacenter", "at_ms")
        }
        assert members[0]["role"] == "gate"
        assert members[0]["datacenter"] == "east"
        assert records[-1]["event"] == "left"
        watcher = node.member(started["address"])
        assert watcher is not None
        assert watcher.state == "left"


def test_watching_prints_text() -> None:
    with make_node() as node:
        done = run("watch", "--join", node.address, "--seconds", "0.5")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("started 127.0.0.1:")
    assert f"alive       {node.address:<21} manager default" in lines
    assert lines[-1] == "left"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_goodbye(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "shoal", "watch"],
        env={**ENVIRONMENT, "SHOAL_SECRET": SECRET.decode()},
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("started")
        watching.send_signal(number)
        assert watching.stdout.read().splitlines()[-1] == "left"
        assert watching.wait(10) == 0


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "shoal", "watch", "--seconds", "0.3"],
        env={**ENVIRONMENT, "SHOAL_SECRET": SECRET.decode()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.readline()
        watching.stdout.close()
        assert watching.stderr.read() == ""
        assert watching.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "secret", "message"),
    [
        (["watch"], None, "shoal: no secret; give --secret-file FILE or set SHOAL_SECRET"),
        (["watch"], b"short", "shoal: the secret has 5 bytes, expected 16 to 256"),
        (["watch", "--secret-file", "/nowhere"], None, "shoal: secret file /nowhere: No such file"),
        (["watch", "--role", "king"], SECRET, 'shoal: unknown role "king", expected gate'),
        (["watch", "--bind", "nowhere"], SECRET, "'nowhere' is no address"),
        (["watch", "--bind", "192.0.2.1:1"], SECRET, "shoal: cannot bind 192.0.2.1:1: this"),
        (["watch", "--join", "x.invalid:1"], SECRET, "shoal: cannot look up the seed 'x.invalid'"),
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


def test_no_command_is_a_usage_error() -> None:
    assert run().returncode == 2
