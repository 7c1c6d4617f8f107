"""The engine without sockets, driven by hand over a perfect network with a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import shoal
from cluster import SECRET

MILLISECOND = 1_000_000
SECOND = 1_000 * MILLISECOND
ONE_WAY = 10 * MILLISECOND


def make_engine(number: int, **options: Any) -> shoal.Engine:
    """A node of the virtual network."""
    options = {"secret": SECRET, "seed": number, "generation": 1, "now_ns": 0, **options}
    return shoal.Engine(f"10.0.0.{number}:7462", **options)


class Network:
    """Engines by address, and the datagrams between them."""

    def __init__(self, count: int) -> None:
        self.now = 0
        self.engines = {(f"10.0.0.{n}", 7462): make_engine(n) for n in range(1, count + 1)}
        self.events: list[tuple[str, shoal.Event]] = []
        self.sent: list[bytes] = []
        self._flying: list[tuple[int, tuple[str, int], tuple[str, int], bytes]] = []
        first, *others = self.engines.items()
        for address, engine in others:
            engine.join(self.now, [first[0]])
            self.drain(address, engine)

    def drain(self, address: tuple[str, int], engine: shoal.Engine) -> None:
        """Takes what an input has brought about."""
        while (transmit := engine.poll_transmit(self.now)) is not None:
            datagram, target = transmit
            self.sent.append(datagram)
            self._flying.append((self.now + ONE_WAY, address, target, datagram))
        while (event := engine.poll_event()) is not None:
            self.events.append((address[0], event))

    def run_for(self, duration: int) -> None:
        """Lets time pass."""
        end = self.now + duration
        while True:
            deadlines = [
                (deadline, address, engine)
                for address, engine in self.engines.items()
                if (deadline := engine.poll_timeout()) is not None
            ]
            timer = min(deadlines, key=lambda entry: entry[0], default=None)
            if self._flying and (timer is None or self._flying[0][0] <= timer[0]):
                arrival, source, target, datagram = self._flying[0]
                if arrival > end:
                    break
                self._flying.pop(0)
                self.now = max(self.now, arrival)
                engine = self.engines.get(target)
                if engine is not None:
                    engine.handle_datagram(self.now, source, datagram)
                    self.drain(target, engine)
            elif timer is not None and timer[0] <= end:
                deadline, address, engine = timer
                self.now = max(self.now, deadline)
                engine.handle_timeout(self.now)
                self.drain(address, engine)
            else:
                break
        self.now = end


def test_engines_form_a_cluster_and_measure_it() -> None:
    network = Network(3)
    network.run_for(10 * SECOND)
    for address, engine in network.engines.items():
        members = engine.members(network.now)
        assert members[0].address == f"{address[0]}:{address[1]}"
        assert [member.state for member in members] == ["alive"] * 3
        for member in members[1:]:
            rtt = engine.rtt(network.now, member.address)
            assert rtt is not None
            assert rtt.ms == pytest.approx(2 * ONE_WAY / MILLISECOND, rel=0.01)
        assert engine.health_score == 0
        assert engine.coordinate == members[0].coordinate
    kinds = {type(event) for _, event in network.events}
    assert kinds == {shoal.MemberEvent, shoal.Joined, shoal.LeaderElected}


def test_a_silent_engine_is_found_dead_and_one_that_leaves_left() -> None:
    network = Network(4)
    network.run_for(5 * SECOND)
    del network.engines["10.0.0.2", 7462]
    leaver = network.engines["10.0.0.3", 7462]
    leaver.leave(network.now)
    network.drain(("10.0.0.3", 7462), leaver)
    network.run_for(20 * SECOND)
    assert leaver.poll_timeout() is None
    observer = network.engines["10.0.0.1", 7462]
    states = [
        member.state if (member := observer.member(network.now, f"10.0.0.{n}:7462")) else None
        for n in (2, 3, 4, 5)
    ]
    assert states == ["dead", "left", "alive", None]
    assert ("10.0.0.3", shoal.Left) in [(name, type(event)) for name, event in network.events]


def test_state_and_broadcasts_spread() -> None:
    network = Network(3)
    network.run_for(5 * SECOND)
    (address, sender), *others = network.engines.items()
    sender.set_state(network.now, b"busy")
    network.drain(address, sender)
    sender.broadcast(network.now, bytearray(b"hello"))
    network.drain(address, sender)
    network.run_for(10 * SECOND)
    name = f"{address[0]}:{address[1]}"
    assert sender.state_of(name) == b"busy"
    for (host, _), engine in others:
        assert engine.state_of(name) == b"busy"
        heard = [event for receiver, event in network.events if receiver == host]
        states = [event.state for event in heard if isinstance(event, shoal.StateChanged)]
        payloads = [event.payload for event in heard if isinstance(event, shoal.Broadcast)]
        assert (states, payloads) == ([b"busy"], [b"hello"])


def test_the_same_seeds_and_inputs_give_the_same_bytes() -> None:
    def run() -> tuple[list[bytes], list[tuple[str, shoal.Event]]]:
        network = Network(3)
        network.run_for(5 * SECOND)
        return network.sent, network.events

    assert run() == run()


def test_the_drive_loop_is_checked() -> None:
    engine = make_engine(1)
    engine.join(0, ["10.0.0.2:7462"])
    engine.handle_timeout(0)
    inputs: list[Callable[[], object]] = [
        lambda: engine.handle_timeout(1),
        lambda: engine.handle_datagram(1, "10.0.0.2:7462", b"x"),
        lambda: engine.join(1, ["10.0.0.2:7462"]),
        lambda: engine.leave(1),
    ]
    for call in inputs:
        with pytest.raises(shoal.LifecycleError, match="call poll_transmit until it returns None"):
            call()
    datagram, target = engine.poll_transmit(1) or (b"", ("", 0))
    assert 0 < len(datagram) <= 1_400
    assert target == ("10.0.0.2", 7462)
    assert engine.poll_transmit(1) is None
    engine.handle_timeout(1)


def test_bad_datagrams_are_counted_and_dropped() -> None:
    engine = make_engine(1)
    for datagram in (b"", b"short", bytes(600), bytearray(9_000)):
        engine.handle_datagram(1, ("10.0.0.9", 1), datagram)
    stats = engine.stats()
    assert stats["datagrams_received"] == 4
    assert stats["dropped_truncated"] == 2
    assert stats["dropped_foreign"] == 1
    assert stats["dropped_oversized"] == 1
    assert engine.poll_transmit(1) is None
    assert len(engine.members(1)) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"secret": b"short"}, shoal.ConfigError),
        ({"secret": "text"}, TypeError),
        ({"seed": -1}, shoal.ConfigError),
        ({"seed": "lucky"}, TypeError),
        ({"generation": 2**64}, shoal.ConfigError),
        ({"now_ns": 1.5}, TypeError),
        ({"role": "king"}, shoal.ConfigError),
        ({"datacenter": "a b"}, shoal.ConfigError),
        ({"config": 5}, TypeError),
        ({"colour": "red"}, TypeError),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make_engine(1, **options)


def test_bad_calls_change_nothing() -> None:
    engine = make_engine(1, config=shoal.Config(probe_interval_ms=100), role="gate")
    anything: Any = "something of another type"
    refused: list[tuple[Any, type[Exception]]] = [
        (lambda: engine.join(0, ["0.0.0.0:1"]), shoal.CommandError),
        (lambda: engine.join(0, ["nowhere"]), shoal.AddressError),
        (lambda: engine.join(0, anything), TypeError),
        (lambda: engine.set_secrets([]), shoal.CommandError),
        (lambda: engine.set_secrets([b"short"]), shoal.ConfigError),
        (lambda: engine.handle_timeout(-1), shoal.ConfigError),
        (lambda: engine.handle_datagram(0, "10.0.0.2:1", anything), TypeError),
        (lambda: engine.handle_datagram(0, 5, b""), TypeError),  # type: ignore  # pyright: ignore
        (lambda: engine.rtt(0, "nowhere"), shoal.AddressError),
        (
            lambda: shoal.Engine("0.0.0.0:1", secret=SECRET, seed=1, generation=1, now_ns=0),
            shoal.ConfigError,
        ),
    ]
    for call, error in refused:
        with pytest.raises(error):
            call()
    assert engine.stats()["datagrams_received"] == 0
    engine.set_secrets([SECRET, bytes(32)])
    engine.leave(0)
    with pytest.raises(shoal.CommandError, match="the node is leaving"):
        engine.leave(0)
