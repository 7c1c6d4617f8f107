"""Shoal: cluster membership, network coordinates and failure detection, on a native engine.

    async with shoal.Node("127.0.0.1:0", secret=secret, join=["127.0.0.1:7462"]) as node:
        async for event in node.events():
            print(event)

`Node` is a running node, `Engine` the same without sockets, threads and clocks. Everything
else is what they take, tell and raise.
"""

import os as _os

from shoal import _native
from shoal._addresses import Address
from shoal._config import Config, ExtensionConfig, JobsConfig
from shoal._enums import MemberState, Role
from shoal._errors import (
    AddressError,
    ClosedError,
    CommandError,
    ConfigError,
    ForkedError,
    LeaveTimeoutError,
    LifecycleError,
    ShoalError,
    StartError,
)
from shoal._events import Event, EventStream
from shoal._native import (
    Broadcast,
    Coordinate,
    Engine,
    JoinDelayed,
    Joined,
    Left,
    Member,
    MemberEvent,
    NodeThread,
    OtherEvent,
    Overflow,
    Refuted,
    Rtt,
    Stalled,
    StateChanged,
    __version__,
)
from shoal._node import Node

# Where there is no fork, nobody needs to be told of one.
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_native.after_fork_in_child)

__all__ = [
    "Address",
    "AddressError",
    "Broadcast",
    "ClosedError",
    "CommandError",
    "Config",
    "ConfigError",
    "Coordinate",
    "Engine",
    "Event",
    "EventStream",
    "ExtensionConfig",
    "ForkedError",
    "JobsConfig",
    "JoinDelayed",
    "Joined",
    "LeaveTimeoutError",
    "Left",
    "LifecycleError",
    "Member",
    "MemberEvent",
    "MemberState",
    "Node",
    "NodeThread",
    "OtherEvent",
    "Overflow",
    "Refuted",
    "Role",
    "Rtt",
    "ShoalError",
    "Stalled",
    "StartError",
    "StateChanged",
    "__version__",
]
