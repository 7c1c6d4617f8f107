"""`python -m shoal`: watch a cluster from a shell.

Prints the same lines as the agent of the `shoal` program: one JSON object per event for machines, a
line of text for people. Exit codes: 0 done, 1 failed, 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import shoal

_DONE, _FAILED, _USAGE = 0, 1, 2
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        node = shoal.Node(
            options.bind,
            secret=_read_secret(options.secret_file),
            role=options.role,
            datacenter=options.datacenter,
            join=options.join,
            advertise=options.advertise,
            backend=options.backend,
        )
    except shoal.ConfigError as error:
        return _complain(error, _USAGE)
    try:
        asyncio.run(_watch(node, options.format == "json", options.seconds))
    except (shoal.StartError, shoal.ConfigError) as error:
        return _complain(error, _USAGE)
    except shoal.ShoalError as error:
        return _complain(error, _FAILED)
    except BrokenPipeError:
        # Nobody reads any more. What is still buffered has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m shoal", description="Shoal from a shell.")
    parser.add_argument("--version", action="version", version=f"shoal {shoal.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    watch = commands.add_parser(
        "watch",
        help="join a cluster and print what happens in it",
        description="Join a cluster as a member and print what happens in it until SIGINT or "
        "SIGTERM; then leave.",
    )
    add = watch.add_argument
    add("--bind", metavar="ADDR", default="127.0.0.1:0", help="socket address (%(default)s)")
    add("--advertise", metavar="ADDR", help="the address that peers send to, if another")
    add("--join", metavar="ADDR", action="append", default=[], help="a member; may be repeated")
    add("--role", default="worker", help="gate, manager or worker (%(default)s)")
    add("--datacenter", metavar="NAME", default="default", help="where it runs (%(default)s)")
    add("--secret-file", metavar="F", type=Path, help="the shared secret; else $SHOAL_SECRET")
    add("--backend", default="auto", help="auto, uring or poll (%(default)s)")
    add("--format", choices=["text", "json"], default="text", help="(%(default)s)")
    add("--seconds", metavar="S", type=float, help="stop after this time")
    return parser


def _read_secret(file: Path | None) -> bytes:
    if file is not None:
        try:
            return file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise shoal.ConfigError(f"secret file {file}: {error.strerror}") from error
    secret = os.environb.get(b"SHOAL_SECRET")
    if secret is None:
        raise shoal.ConfigError("no secret; give --secret-file FILE or set SHOAL_SECRET")
    return secret


async def _watch(node: shoal.Node, as_json: bool, seconds: float | None) -> None:
    loop = asyncio.get_running_loop()
    goodbyes: list[asyncio.Task[None]] = []

    def say_goodbye() -> None:
        # A second signal has its usual effect.
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        goodbyes.append(loop.create_task(node.leave()))

    async with node:
        for number in _SIGNALS:
            loop.add_signal_handler(number, say_goodbye)
        if seconds is not None:
            loop.call_later(seconds, say_goodbye)
        _print({"event": "started", "address": node.address, "backend": node.backend}, as_json)
        # Ends by itself when the goodbye is said.
        async for event in node.events():
            _print(_record(event, node), as_json)


def _record(event: shoal.Event, node: shoal.Node) -> dict[str, object]:
    match event:
        case shoal.MemberEvent():
            return {
                "event": "member",
                "address": event.address,
                "state": event.state,
                "incarnation": event.incarnation,
                "role": event.role,
                "datacenter": event.datacenter,
                "at_ms": node.unix_ms(event.at_ns),
            }
        case shoal.Joined(seed, at_ns):
            return {"event": "joined", "seed": seed, "at_ms": node.unix_ms(at_ns)}
        case shoal.JoinDelayed(attempts, at_ns):
            return {"event": "join_delayed", "attempts": attempts, "at_ms": node.unix_ms(at_ns)}
        case shoal.Refuted(incarnation, at_ns):
            return {"event": "refuted", "incarnation": incarnation, "at_ms": node.unix_ms(at_ns)}
        case shoal.Left(at_ns):
            return {"event": "left", "at_ms": node.unix_ms(at_ns)}
        case shoal.Overflow(lost):
            return {"event": "overflow", "lost": lost}
        case other:
            return {"event": "other", "text": str(other)}


def _print(record: dict[str, object], as_json: bool) -> None:
    if as_json:
        line = json.dumps(record, separators=(",", ":"))
    elif record["event"] == "member":
        line = "{state:<11} {address:<21} {role:<7} {datacenter}".format(**record)
    else:
        line = " ".join(str(value) for name, value in record.items() if name != "at_ms")
    print(line, flush=True)


def _complain(error: Exception, code: int) -> int:
    # An `OSError` prints its number first, which tells a user nothing.
    print(f"shoal: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
