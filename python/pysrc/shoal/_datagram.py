"""Datagrams of the Python node, for programs that have a socket of their own."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from shoal._native import Datagram, Envelope

__all__ = [
    "Datagram",
    "HealthNews",
    "MemberNews",
    "WorkerNews",
    "open",
    "parse_datagram",
    "seal",
]

_RINGS_KEPT = 8


class MemberNews(NamedTuple):
    """What a datagram tells of a member."""

    type: str
    """alive, suspect, dead, join or leave."""
    incarnation: int
    address: str
    role: str | None


class HealthNews(NamedTuple):
    """What a datagram tells of a node's load."""

    node_id: str
    node_type: str
    overload: str
    """healthy, busy, stressed or overloaded."""
    accepting_work: bool
    capacity: int
    throughput: float
    expected_throughput: float
    timestamp: float
    """Seconds of the node's own clock."""


class WorkerNews(NamedTuple):
    """What a datagram tells of a worker."""

    worker_id: str
    owner_id: str
    host: str
    tcp_port: int
    udp_port: int
    state: str
    """registered, dead, evicted or left."""
    incarnation: int
    total_cores: int
    available_cores: int
    timestamp: float
    datacenter: str


@lru_cache(maxsize=_RINGS_KEPT)
def envelope(ring: bytes | tuple[bytes, ...]) -> Envelope:
    """What seals and opens with these secrets in this process."""
    return Envelope(ring, secrets.randbits(64))


# A child must not seal under its parent's salt: it would count through the same nonces.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=envelope.cache_clear)


def _of(secret: bytes | Iterable[bytes]) -> Envelope:
    return envelope(secret if isinstance(secret, (bytes, str)) else tuple(secret))


def seal(frame: bytes, secret: bytes | Iterable[bytes]) -> bytes:
    """Packs and seals a frame as the Python node does; the first of several secrets seals."""
    return _of(secret).seal(frame)


def open(  # noqa: A001
    datagram: bytes, secret: bytes | Iterable[bytes]
) -> bytes:
    """Opens and unpacks a datagram with any of the secrets; `DatagramError` when that fails."""
    return _of(secret).open(datagram)


def parse_datagram(datagram: bytes, secret: bytes | Iterable[bytes]) -> Datagram:
    """Opens a datagram and takes it apart; `DatagramError` when it cannot be opened or read."""
    if type(secret) is bytes:  # The usual case, at once.
        return envelope(secret).parse(datagram)
    return _of(secret).parse(datagram)
