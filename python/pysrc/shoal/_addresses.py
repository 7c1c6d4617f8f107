"""Addresses as people write them: an IP address or a name, and a port.

A node works with IP addresses. A seed may be a name, which is looked up when the node starts; a
name with several addresses gives several seeds.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any, TypeAlias

from shoal._errors import AddressError, StartError

Address: TypeAlias = str | tuple[str, int]
"""`"ip:port"`, or the tuple `(ip, port)` of Python's sockets."""

_PORT_MAX = 65_535


def split_seeds(seeds: Iterable[Address]) -> tuple[tuple[str, int], ...]:
    """Reads seeds without looking anything up."""
    if isinstance(seeds, str):
        raise TypeError("join takes a list of addresses, not one str; write join=[...]")
    return tuple(_split(seed) for seed in seeds)


def _split(seed: object) -> tuple[str, int]:
    match seed:
        case str():
            host, port = _split_text(seed)
        case (str() as host, int() as port) | (str() as host, int() as port, int(), int()):
            pass
        case _:
            raise TypeError(f"an address is a str or a tuple (host, port), not {seed!r}")
    if not host or not 0 < port <= _PORT_MAX:
        raise AddressError(
            f"{seed!r} is no address; expected a host and a port, such as "
            '"10.0.0.1:7462", "[fd00::1]:7462" or "seed.example:7462"'
        )
    return host, port


def _split_text(seed: str) -> tuple[str, int]:
    """Host and port, the port 0 when there is none."""
    host, _, port_text = seed.rpartition(":")
    port = int(port_text) if port_text.isascii() and port_text.isdigit() else 0
    if host.startswith("[") and host.endswith("]"):
        return host[1:-1], port
    # Without brackets nobody can tell where an IPv6 address ends.
    return (host, 0) if ":" in host else (host, port)


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def look_up(seeds: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Looks up the names among the seeds. Waits for the system's resolver."""
    found: list[tuple[str, int]] = []
    for host, port in seeds:
        if not _is_name(host):
            found.append((host, port))
            continue
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise _unknown(host, error) from error
        found.extend(_addresses(answers))
    return list(dict.fromkeys(found))


async def look_up_async(seeds: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """As `look_up`, while the event loop goes on."""
    found: list[tuple[str, int]] = []
    for host, port in seeds:
        if not _is_name(host):
            found.append((host, port))
            continue
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise _unknown(host, error) from error
        found.extend(_addresses(answers))
    return list(dict.fromkeys(found))


def _addresses(answers: Iterable[tuple[Any, ...]]) -> list[tuple[str, int]]:
    return [(str(answer[4][0]), int(answer[4][1])) for answer in answers]


def _unknown(host: str, error: OSError) -> StartError:
    hint = "check the name, or give the IP address"
    return StartError(error.errno, f"cannot look up the seed {host!r} ({error.strerror}); {hint}")
