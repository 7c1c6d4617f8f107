"""Whatever a caller does wrong is a typed exception that says what to do, and changes nothing."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
import shoal
from cluster import SECRET, make_node

NAN = float("nan")

BAD_ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"bind": "localhost:0"}, shoal.AddressError, "an IP address and a port"),
    ({"bind": "127.0.0.1"}, shoal.AddressError, "an IP address and a port"),
    ({"bind": "127.0.0.1:99999"}, shoal.AddressError, "an IP address and a port"),
    ({"bind": ("127.0.0.1", 99_999)}, shoal.AddressError, "an IP address and a port"),
    ({"bind": ("localhost", 1)}, shoal.AddressError, "an IP address and a port"),
    ({"bind": 7462}, TypeError, "an address is a str or a tuple"),
    ({"bind": None}, TypeError, "an address is a str or a tuple"),
    ({"secret": b"short"}, shoal.ConfigError, "the secret has 5 bytes, expected 16 to 256"),
    ({"secret": b"x" * 257}, shoal.ConfigError, "the secret has 257 bytes"),
    ({"secret": "a text that is long enough"}, TypeError, "encode a str first"),
    ({"secret": []}, shoal.ConfigError, "0 secrets, expected 1 to 4"),
    ({"secret": [SECRET] * 5}, shoal.ConfigError, "5 secrets, expected 1 to 4"),
    ({"secret": [SECRET, "text"]}, TypeError, "encode a str first"),
    ({"secret": None}, TypeError, "a secret is bytes"),
    ({"role": "king"}, shoal.ConfigError, "expected gate, manager or worker"),
    ({"role": 1}, TypeError, "a role is a str, not int"),
    ({"datacenter": "two words"}, shoal.ConfigError, "1 to 31 of the characters"),
    ({"datacenter": ""}, shoal.ConfigError, "1 to 31 of the characters"),
    ({"datacenter": b"east"}, TypeError, "a datacenter is a str, not bytes"),
    ({"join": "127.0.0.1:1"}, TypeError, "write join=[...]"),
    ({"join": ["127.0.0.1"]}, shoal.AddressError, "expected a host and a port"),
    ({"join": ["fd00::1:7462"]}, shoal.AddressError, "expected a host and a port"),
    ({"join": ["127.0.0.1:0"]}, shoal.AddressError, "expected a host and a port"),
    ({"join": [("127.0.0.1", 70_000)]}, shoal.AddressError, "expected a host and a port"),
    ({"join": [":7462"]}, shoal.AddressError, "expected a host and a port"),
    ({"join": [7462]}, TypeError, "an address is a str or a tuple"),
    ({"join": [("127.0.0.1", "1")]}, TypeError, "an address is a str or a tuple"),
    ({"join": 5}, TypeError, "not iterable"),
    ({"config": {"probe_interval_ms": 5}}, TypeError, "config is a shoal.Config, not dict"),
    ({"advertise": "example.org:1"}, shoal.AddressError, "an IP address and a port"),
    ({"backend": "epoll"}, shoal.ConfigError, "expected auto, uring or poll"),
    ({"backend": 1}, TypeError, "backend"),
    ({"cpu": -1}, shoal.ConfigError, "-1 is out of range"),
    ({"cpu": "first"}, TypeError, "cpu"),
    ({"seed": 2**64}, shoal.ConfigError, "expected a whole number"),
    ({"thread": object()}, TypeError, "thread"),
    ({"colour": "red"}, TypeError, "unexpected keyword argument"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD_ARGUMENTS)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        make_node(**arguments)


def test_a_secret_is_needed() -> None:
    with pytest.raises(TypeError, match="secret"):
        shoal.Node("127.0.0.1:0")  # type: ignore[call-arg]  # pyright: ignore


START_REFUSALS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"bind": "192.0.2.1:0"}, shoal.StartError, "this machine has no such address"),
    ({"bind": "0.0.0.0:0"}, shoal.ConfigError, "set the address to advertise"),
    ({"advertise": "224.0.0.1:7462"}, shoal.ConfigError, "cannot advertise 224.0.0.1:7462"),
    ({"join": ["0.0.0.0:1"]}, shoal.ConfigError, "cannot join through 0.0.0.0:1"),
    ({"join": [f"127.0.0.1:{n + 1}" for n in range(65)]}, shoal.ConfigError, "at most 64"),
    ({"join": ["seed.invalid:7462"]}, shoal.StartError, "cannot look up the seed 'seed.invalid'"),
    ({"cpu": 100_000}, shoal.StartError, "cannot pin the node thread to processor 100000"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), START_REFUSALS)
def test_refused_starts(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    node = make_node(**arguments)
    with pytest.raises(error, match=re.escape(message)):
        node.start()
    assert not node.is_running


@pytest.mark.parametrize(("arguments", "error", "message"), START_REFUSALS)
async def test_refused_asynchronous_starts(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        async with make_node(**arguments):
            pass


def test_an_address_in_use_can_be_tried_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        node = make_node(other.getsockname())
        with pytest.raises(shoal.StartError, match="it is in use") as caught:
            node.start()
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == 98
    with node.start():
        assert node.is_running


BAD_CALLS: list[tuple[Callable[[shoal.Node], Any], type[Exception], str]] = [
    (lambda node: node.rtt("somewhere"), shoal.AddressError, "'somewhere' is no address"),
    (lambda node: node.rtt(5), TypeError, "an address is a str or a tuple"),  # type: ignore
    (lambda node: node.member(("127.0.0.1",)), shoal.AddressError, "is no address"),  # type: ignore
    (lambda node: node.member(""), shoal.AddressError, "is no address"),
    (lambda node: node.join(["0.0.0.0:1"]), shoal.CommandError, "cannot join through 0.0.0.0:1"),
    (lambda node: node.join("127.0.0.1:1"), TypeError, "write join=[...]"),
    (lambda node: node.join(["no.such.invalid:1"]), shoal.StartError, "cannot look up"),
    (lambda node: node.set_secrets(b"short"), shoal.ConfigError, "5 bytes"),
    (lambda node: node.set_secrets([]), shoal.CommandError, "0 secrets"),
    (lambda node: node.set_secrets("text"), TypeError, "encode a str first"),  # type: ignore
    (lambda node: node.wait_event(NAN), shoal.ConfigError, "timeout is NaN"),
    (lambda node: node.wait_event(-1.0), shoal.ConfigError, "timeout is -1"),
    (lambda node: node.wait_event("long"), TypeError, "timeout"),  # type: ignore
    (lambda node: node.unix_ms(-1), shoal.ConfigError, "-1 is out of range"),
    (lambda node: node.unix_ms(1.5), TypeError, "at_ns"),  # type: ignore
    (lambda node: node.start(), shoal.LifecycleError, "started already"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_bad_calls(call: Callable[[shoal.Node], Any], error: type[Exception], message: str) -> None:
    with make_node() as node:
        with pytest.raises(error, match=re.escape(message)):
            call(node)
        assert node.is_running
        assert len(node.members()) == 1


@pytest.mark.parametrize(
    ("capacity", "error"),
    [(0, shoal.ConfigError), (-5, shoal.ConfigError), (2**40, shoal.ConfigError), (1.5, TypeError)],
)
async def test_bad_capacities(capacity: Any, error: type[Exception]) -> None:
    async with make_node() as node:
        with pytest.raises(error, match="capacity is"):
            node.events(capacity=capacity)


CALLS: list[Callable[[shoal.Node], Any]] = [
    lambda node: node.coordinate,
    lambda node: node.members(),
    lambda node: node.member("127.0.0.1:1"),
    lambda node: node.rtt("127.0.0.1:1"),
    lambda node: node.stats(),
    lambda node: node.metrics(),
    lambda node: node.unix_ms(1),
    lambda node: node.join(["127.0.0.1:1"]),
    lambda node: node.set_secrets(SECRET),
    lambda node: node.leave_sync(),
    lambda node: node.wait_event(0),
]


@pytest.mark.parametrize("call", CALLS)
def test_calls_before_the_start_and_after_the_end(call: Callable[[shoal.Node], Any]) -> None:
    node = make_node()
    with pytest.raises(shoal.LifecycleError, match="the node is not started"):
        call(node)
    node.start()
    node.close()
    with pytest.raises(shoal.ClosedError, match="the node is closed; make a new one"):
        call(node)


def test_what_is_known_since_the_start() -> None:
    node = make_node()
    assert repr(node) == "<shoal.Node, not started>"
    for name in ("address", "local_address", "backend", "backend_refusal"):
        with pytest.raises(shoal.LifecycleError, match="the node is not started"):
            getattr(node, name)
    node.start()
    facts = (node.address, node.local_address, node.backend, node.backend_refusal)
    assert repr(node) == f"<shoal.Node {node.address}>"
    node.close()
    assert facts == (node.address, node.local_address, node.backend, node.backend_refusal)
    assert repr(node) == f"<shoal.Node {node.address}, closed>"


async def test_events_before_the_start_and_after_the_end() -> None:
    node = make_node()
    with pytest.raises(shoal.LifecycleError, match="the node is not started"):
        node.events()
    with pytest.raises(shoal.LifecycleError, match="the node is not started"):
        await node.leave()
    node.start()
    node.close()
    node.close()
    for call in (node.events, node.start):
        with pytest.raises(shoal.ClosedError, match="the node is closed"):
            call()
    with pytest.raises(shoal.ClosedError, match="the node is closed"):
        await node.leave()


def test_exceptions_form_a_tree_beside_the_built_in_one() -> None:
    pairs = [
        (shoal.ConfigError, ValueError),
        (shoal.AddressError, shoal.ConfigError),
        (shoal.StartError, OSError),
        (shoal.CommandError, RuntimeError),
        (shoal.LeaveTimeoutError, TimeoutError),
        (shoal.LifecycleError, RuntimeError),
        (shoal.ClosedError, shoal.LifecycleError),
        (shoal.ForkedError, shoal.LifecycleError),
    ]
    for error, base in pairs:
        assert issubclass(error, base)
        assert issubclass(error, shoal.ShoalError)
