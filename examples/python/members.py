"""Joins a cluster, prints what happens in it and lists its members.

    export SHOAL_SECRET=$(shoal keygen)
    shoal agent --bind 127.0.0.1:7462 &
    python examples/python/members.py --join 127.0.0.1:7462 --count 2

Ends with status 0 when `--count` members, itself included, are alive, and with status 1 when they
are not after `--seconds`. Without `--count` it watches until it is interrupted or the time is over.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import shoal


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Join a cluster and list its members.")
    parser.add_argument("--bind", default="127.0.0.1:0", help="address of the socket")
    parser.add_argument("--join", action="append", default=[], help="a member; may be repeated")
    parser.add_argument("--role", choices=list(shoal.Role), default=shoal.Role.WORKER)
    parser.add_argument("--datacenter", default="default", help="where this node runs")
    parser.add_argument("--secret-file", type=Path, help="the shared secret; else $SHOAL_SECRET")
    parser.add_argument("--backend", choices=["auto", "uring", "poll"], default="auto")
    parser.add_argument("--count", type=int, help="end when so many members are alive")
    parser.add_argument("--seconds", type=float, help="end after this time")
    return parser.parse_args()


def read_secret(file: Path | None) -> bytes:
    """Reads the secret as the `shoal` program does."""
    return file.read_bytes().strip() if file else os.environb.get(b"SHOAL_SECRET", b"")


def count_alive(node: shoal.Node) -> int:
    """How many members are alive, the node itself included."""
    return sum(member.state is shoal.MemberState.ALIVE for member in node.members())


async def watch(node: shoal.Node, count: int | None) -> None:
    """Prints events until enough members are alive."""
    events = node.events()
    while count is None or count_alive(node) < count:
        match await anext(events):
            case shoal.MemberEvent(address, state, role, datacenter):
                print(f"{state:<11} {address:<21} {role:<7} {datacenter}", flush=True)
            case shoal.Joined(seed):
                print(f"joined through {seed}", flush=True)
            case shoal.JoinDelayed(attempts):
                print(f"no seed answered {attempts} times; trying on", flush=True)
            case other:
                print(other, flush=True)


def list_members(node: shoal.Node) -> None:
    """Prints the table of members, this node first."""
    print(f"\n{'address':<21} {'state':<11} {'role':<7} {'datacenter':<12} round trip")
    for member in node.members():
        rtt = f"{member.rtt.ms:.3f} ms" if member.rtt else "unknown"
        row = f"{member.address:<21} {member.state:<11} {member.role:<7} {member.datacenter:<12}"
        print(f"{row} {rtt}", flush=True)


async def main() -> int:
    """Runs a node until its job is done."""
    options = read_options()
    try:
        node = shoal.Node(
            options.bind,
            secret=read_secret(options.secret_file),
            role=options.role,
            datacenter=options.datacenter,
            join=options.join,
            backend=options.backend,
        )
        async with node:
            print(f"started {node.address} on {node.backend}", flush=True)
            try:
                async with asyncio.timeout(options.seconds):
                    await watch(node, options.count)
            except TimeoutError:
                if options.count is not None:
                    alive = count_alive(node)
                    print(f"only {alive} of {options.count} members are alive", file=sys.stderr)
                    return 1
            list_members(node)
    except shoal.ShoalError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        sys.exit(130)
