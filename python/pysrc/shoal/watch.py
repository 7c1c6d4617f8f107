"""The members that a node knows, as a table in the terminal. Needs `pip install 'shoal[rich]'`.

    python -m shoal.watch 10.0.0.1:7462 --secret-file secret

joins a cluster as a worker, shows who is there until Ctrl-C, and leaves.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from shoal._enums import MemberState, Role
from shoal._errors import MissingExtraError, ShoalError
from shoal._native import Member
from shoal._node import Node

try:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
except ImportError as error:
    raise MissingExtraError(__name__, "rich") from error

__all__ = ["members_table", "show", "watch"]

_STYLES = {
    MemberState.UNCONFIRMED: "dim",
    MemberState.ALIVE: "green",
    MemberState.SUSPECT: "yellow",
    MemberState.DEAD: "red",
}


def members_table(node: Node) -> Table:
    """Every member with its state, the round trip to it, a bound of that and how far to trust it,
    and how wrong predictions from its coordinate are."""
    members = node.members()
    alive = sum(member.state == MemberState.ALIVE for member in members)
    title = f"{node.address}: {alive} of {len(members)} alive"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    # Where the terminal is narrow, everything gives way before the addresses do.
    table.add_column("member", min_width=max(len(member.address) for member in members))
    for name in ("state", "role", "datacenter"):
        table.add_column(name, no_wrap=True)
    for name in ("round trip", "at most", "trust", "error"):
        table.add_column(name, justify="right", no_wrap=True)
    for member in members:
        state = f"[{_STYLES.get(member.state, 'dim')}]{member.state}[/]"
        row = (member.address, state, member.role, member.datacenter)
        table.add_row(*row, *_round_trip(member), _error(member))
    return table


def _round_trip(member: Member) -> tuple[str, str, str]:
    if (rtt := member.rtt) is None:
        return ("", "", "")
    return (f"{rtt.ms:.2f} ms", f"{rtt.upper_ms:.2f} ms", f"{rtt.quality:.0%}")


def _error(member: Member) -> str:
    return "" if member.coordinate is None else f"{member.coordinate.error:.0%}"


def show(node: Node, *, console: Console | None = None) -> None:
    """Prints the table once, to the terminal when there is no `console`."""
    (console or Console()).print(members_table(node))


async def watch(
    node: Node, *, interval_seconds: float = 1.0, console: Console | None = None
) -> None:
    """Shows the table and keeps it up to date, until the node is closed or this is cancelled."""
    with Live(members_table(node), console=console, auto_refresh=False) as live:
        while node.is_running:
            live.update(members_table(node), refresh=True)
            await asyncio.sleep(interval_seconds)


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m shoal.watch", description="Join a cluster and show its members."
    )
    parser.add_argument("seeds", nargs="+", metavar="SEED", help="a member to join through")
    parser.add_argument("--bind", default="127.0.0.1:0", help="own address (%(default)s)")
    parser.add_argument("--secret-file", type=Path, help="the shared secret; else $SHOAL_SECRET")
    parser.add_argument("--datacenter", default="default", help="where this is (%(default)s)")
    parser.add_argument("--interval-seconds", type=float, default=1.0, help="(%(default)s)")
    return parser.parse_args(arguments)


def _make_node(options: argparse.Namespace) -> Node:
    file: Path | None = options.secret_file
    secret = file.read_bytes().strip() if file else os.environb.get(b"SHOAL_SECRET", b"")
    return Node(
        options.bind,
        secret=secret,
        role=Role.WORKER,
        datacenter=options.datacenter,
        join=options.seeds,
    )


async def _run_and_watch(node: Node, interval_seconds: float) -> None:
    async with node:
        watching = asyncio.create_task(watch(node, interval_seconds=interval_seconds))
        # Set here, they work in the background of a shell, too, where Ctrl-C is ignored at first.
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, watching.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await watching


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs until it is interrupted; the exit code is 0, or 1 when the node cannot start."""
    options = _read_options(arguments)
    try:
        asyncio.run(_run_and_watch(_make_node(options), options.interval_seconds))
    except (OSError, ShoalError) as error:
        print(f"shoal.watch: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
