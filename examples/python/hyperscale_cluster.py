"""Five servers of hyperscale, one process each: form, lose one, get it back, stand a flood.

    python examples/python/hyperscale_cluster.py --checkout /path/to/hyperscale

Runs `HealthAwareServer` of an unmodified checkout, first with `shoal.hyperscale.install()`, then
without, and prints what both did side by side. It needs hyperscale's requirements; `make
show-hyperscale HYPERSCALE_PATH=...` brings them along. `--only shoal` or `--only stock` runs one
of them; `--quiet-seconds 300` looks longer for deaths that are none.

Ends with status 0 when the servers on Shoal did all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECRET = "a secret that all five servers share"
COUNT = 5
HOST = "127.0.0.1"
SAMPLES_MIN = 10
"""Round trips after which hyperscale routes by coordinates."""
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


# One server, in a process of its own.


class Embedder:
    """What the server attaches to itself, and what came of others."""

    def __init__(self, state: bytes) -> None:
        self.state = state
        self.received: dict[str, str] = {}

    def get_state(self) -> bytes | None:
        """The own state."""
        return self.state

    async def process_state(self, state_data: bytes, source_addr: Any) -> None:
        """The state of another one, whose address stock servers give as bytes."""
        source = source_addr.decode() if isinstance(source_addr, bytes) else source_addr[1]
        self.received[str(source).rpartition(":")[2]] = state_data.decode()

    def get_health_piggyback(self) -> None:
        """No load is told."""

    def record_probe_rtt(self, source_addr: Any, rtt_ms: float) -> None:
        """Nothing is done with round trips."""


async def serve(index: int, ports: list[int], on_shoal: bool) -> None:
    """Runs a server and tells its parent what it sees, whenever that asks."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # hyperscale logs to the standard streams.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if on_shoal:
        import shoal.hyperscale  # noqa: PLC0415

        shoal.hyperscale.install()
    hyperscale: Any = importlib.import_module("hyperscale.distributed.swim")
    Env: Any = importlib.import_module("hyperscale.distributed.env").Env  # noqa: N806

    env = Env(MERCURY_SYNC_AUTH_SECRET=SECRET, MERCURY_SYNC_LOG_LEVEL="error")
    embedder = Embedder(f"state of {index}".encode())
    server = hyperscale.HealthAwareServer(
        HOST,
        ports[index] + 1,
        ports[index],
        env,
        dc_id="east",
        node_role="manager",
        state_embedder=embedder,
    )
    dead: list[int] = []

    def lost(peer: tuple[str, int]) -> None:
        dead.append(peer[1])

    server.register_on_node_dead(lost)
    await server.start_server(init_context=env.get_swim_init_context())
    server._setup_error_handler()
    probing = asyncio.create_task(server.start_probe_cycle())
    for port in ports[:1] if index else []:
        await server.join_cluster((HOST, port))
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while await commands.readline():
        states = server._incarnation_tracker.node_states
        view = {
            "states": {str(peer[1]): state.status.decode() for peer, state in states.items()},
            "samples": server.get_vivaldi_metrics()["sample_count"],
            "received": embedder.received,
            "dead": dead,
        }
        print(json.dumps(view), file=answers)
    probing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await probing


# The parent.


@dataclass
class Server:
    """A child process."""

    index: int
    ports: list[int]
    on_shoal: bool
    process: subprocess.Popen[str] = field(init=False)

    def start(self) -> None:
        """Starts it, or starts it again."""
        command = [
            sys.executable,
            __file__,
            "--serve",
            str(self.index),
            *map(str, self.ports),
        ]
        command += ["--only", "shoal" if self.on_shoal else "stock"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("SHOW_LOGS") else subprocess.DEVNULL,
            text=True,
        )

    def view(self) -> dict[str, Any]:
        """What it sees now; nothing while it starts, or when it is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("view\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        view: dict[str, Any] = {"states": {}, "samples": 0, "received": {}, "dead": []}
        return {**view, **json.loads(line)} if line else view

    def seconds(self) -> float:
        """The processor time it used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def memory_mb(self) -> float:
        """What it keeps in memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE_MB


def free_ports() -> list[int]:
    """Ports for datagrams whose next port is free as well."""
    ports: list[int] = []
    while len(ports) < COUNT:
        with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket() as two:
            one.bind((HOST, 0))
            port = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                two.bind((HOST, port + 1))
                ports.append(port)
    return ports


def wait_for(condition: Callable[[], bool], seconds: float) -> float | None:
    """After how many seconds something came about; `None` when it did not."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.05)
    return passed if condition() else None


def sees(server: Server, status: str) -> int:
    """How many of the others have this status there."""
    states = server.view()["states"]
    others = [port for port in server.ports if port != server.ports[server.index]]
    return sum(states.get(str(port)) == status for port in others)


# The flood.


@dataclass
class Flood:
    """What a flood of probes did to one server."""

    sent: int
    answered: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Probes answered per second."""
        return self.answered / self.seconds

    @property
    def cpu_us(self) -> float:
        """Processor time of the server for each, in us."""
        return self.cpu_seconds / max(1, self.answered) * 1e6


class Prober:
    """Many peers that each send valid probes, all of them different, and read the answers."""

    PEERS = 200
    BURST = 25
    """Probes that one peer sends before it waits for the answers."""
    PATIENCE = 2.0
    """Seconds without an answer after which none is expected."""
    WINDOW = 100
    """Probes that are not answered yet when all wait."""

    def __init__(self, port: int, count: int) -> None:
        import shoal  # noqa: PLC0415

        self._secret, self._shoal = SECRET.encode(), shoal
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._by_descriptor: dict[int, socket.socket] = {}
        for _ in range(self.PEERS):
            peer = socket.socket(type=socket.SOCK_DGRAM)
            peer.bind((HOST, 0))
            peer.connect((HOST, port))
            peer.setblocking(False)
            self._selector.register(peer, selectors.EVENT_READ)
            self._by_descriptor[peer.fileno()] = peer
            self._sockets.append(peer)
        self._target = f"{HOST}:{port}".encode()
        # Each is made before the clock runs.
        self._probes = [
            [self._probe(peer, number) for number in range(count // self.PEERS)]
            for peer in self._sockets
        ]

    def close(self) -> None:
        """Closes the sockets."""
        for peer in self._sockets:
            peer.close()

    def _frame(self, kind: bytes, peer: socket.socket, number: int, payload: bytes) -> bytes:
        host, port = peer.getsockname()
        head = b"%b<%b:%d<receive<" % (kind, host.encode(), port)
        frame = head + (number + 1).to_bytes(64, "big") + len(payload).to_bytes(4, "big") + payload
        return self._shoal.seal(frame, self._secret)

    def _probe(self, peer: socket.socket, number: int) -> bytes:
        # A server with news of its load and a coordinate. The stock server reads the last entry
        # before the coordinate together with it, so there are two.
        health = b"east-%d|manager|healthy|1|8|1.00|1.00|%d.00" % (
            peer.getsockname()[1],
            number,
        )
        coordinate = (
            b'{"vec":[0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0],"height":0.0005,"adjustment":0.0,'
            b'"error":0.25,"sample_count":12}'
        )
        payload = b"probe>%b#|h%b;%b#|v%b" % (self._target, health, health, coordinate)
        return self._frame(b"c", peer, number, payload)

    def _read(self, peer: socket.socket) -> int:
        """Takes what has come for a peer; counts the acks."""
        count = 0
        while True:
            try:
                datagram = peer.recv(2048)
            except BlockingIOError:
                return count
            except ConnectionRefusedError:
                continue
            read = self._shoal.parse_datagram(datagram, self._secret)
            if read.kind == "request":
                # A stock server stops answering while a peer that it asks is silent.
                host, port = peer.getsockname()
                ack = f"ack>{host}:{port}".encode()
                peer.send(self._frame(b"s", peer, read.clock or 0, ack))
            else:
                count += read.name in ("ack", "alive")

    def flood(self, server: Server, seconds: float) -> Flood:
        """Sends probes as fast as they are answered."""
        sent = answered = waiting = 0
        cpu, began = server.seconds(), time.monotonic()
        for first in range(0, len(self._probes[0]), self.BURST):
            for peer, probes in zip(self._sockets, self._probes, strict=True):
                for probe in probes[first : first + self.BURST]:
                    with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                        peer.send(probe)
                sent += self.BURST
                waiting += self.BURST
                while waiting >= self.WINDOW and time.monotonic() - began < seconds:
                    new = self._read_all()
                    answered += new or 0
                    # What is not answered while nothing comes is lost.
                    waiting = 0 if new is None else max(0, waiting - new)
                if time.monotonic() - began > seconds:
                    answered += self._read_all() or 0
                    return Flood(sent, answered, time.monotonic() - began, server.seconds() - cpu)
        return Flood(sent, answered, time.monotonic() - began, server.seconds() - cpu)

    def _read_all(self) -> int | None:
        """Waits for something to come, for any peer; counts the acks. `None` when nothing came."""
        ready = self._selector.select(self.PATIENCE)
        if not ready:
            return None
        return sum(self._read(self._by_descriptor[key.fd]) for key, _ in ready)


# The whole story.


def run(on_shoal: bool, options: argparse.Namespace) -> dict[str, str]:
    """Runs five servers; what they did, in words."""
    ports = free_ports()
    servers = [Server(index, ports, on_shoal) for index in range(COUNT)]
    results: dict[str, str] = {}

    def note(what: str, result: str) -> None:
        results[what] = result
        print(f"  {what:<42} {result}", flush=True)

    def total(status: str, of: Sequence[Server]) -> int:
        return sum(sees(server, status) for server in of)

    print(
        "with shoal.hyperscale.install()" if on_shoal else "stock hyperscale",
        flush=True,
    )
    try:
        for server in servers:
            server.start()
            if server.index == 0:
                server.view()
        for server in servers:
            server.view()  # Answers when it has started and tried to join.
        pairs = COUNT * (COUNT - 1)
        took = wait_for(lambda: total("OK", servers) == pairs, options.patience)
        seen = total("OK", servers)
        note(
            "views that are OK",
            f"{seen} of {pairs}" + (f" after {took:.1f} s" if took else ""),
        )

        def samples() -> list[int]:
            return [server.view()["samples"] for server in servers]

        wait_for(lambda: min(samples()) >= SAMPLES_MIN, options.patience)
        note("round trips in the coordinates", ", ".join(map(str, samples())))
        states = sum(len(server.view()["received"]) for server in servers)
        note("embedded states that arrived", f"{states} of {pairs}")

        before, began = [server.seconds() for server in servers], time.monotonic()
        time.sleep(options.idle_seconds)
        used = sum(server.seconds() for server in servers) - sum(before)
        share = used / COUNT / (time.monotonic() - began)
        memory = max(server.memory_mb() for server in servers)
        note(
            "idle: processor, memory",
            f"{share:.2%} of a core, {memory:.0f} MB per server",
        )

        victim = servers[COUNT - 2]
        others = [server for server in servers if server is not victim]
        port = ports[victim.index]
        victim.process.send_signal(signal.SIGKILL)
        victim.process.wait()

        def mourners() -> int:
            views = [server.view() for server in others]
            return sum(
                view["states"].get(str(port)) == "DEAD" and port in view["dead"] for view in views
            )

        took = wait_for(lambda: mourners() == len(others), options.patience)
        when = f"after {took:.1f} s" if took else f"within {options.patience:.0f} s"
        note("kill -9: DEAD and on_node_dead", f"at {mourners()} of {len(others)} {when}")

        victim.start()
        victim.view()
        took = wait_for(lambda: total("OK", servers) == pairs, options.patience)
        seen = total("OK", servers)
        when = f" after {took:.1f} s" if took else ""
        note("restart: views that are OK", f"{seen} of {pairs}{when}")

        def deaths() -> int:
            return sum(len(server.view()["dead"]) for server in servers)

        before_quiet = deaths()
        time.sleep(options.quiet_seconds)
        note(
            f"false deaths in {options.quiet_seconds:.0f} s",
            str(deaths() - before_quiet),
        )

        count = options.flood_probes if on_shoal else 20_000
        prober = Prober(ports[0], count)
        flood = prober.flood(servers[0], options.flood_seconds)
        prober.close()
        note("flood: probes answered", f"{flood.rate:,.0f} per second of {flood.sent:,}")
        note("flood: processor time per probe", f"{flood.cpu_us:.1f} us")
        note("flood: false deaths", str(deaths() - before_quiet))
        results["rate"], results["cpu_us"] = str(flood.rate), str(flood.cpu_us)
        wanted = (
            f"{pairs} of {pairs}" in results["views that are OK"]
            and min(samples()) >= SAMPLES_MIN
            and "at 4 of 4 after" in results["kill -9: DEAD and on_node_dead"]
            and f"{pairs} of {pairs}" in results["restart: views that are OK"]
            and deaths() == before_quiet
        )
        results["done"] = "yes" if wanted else ""
    finally:
        for server in servers:
            if hasattr(server, "process") and server.process.poll() is None:
                server.process.kill()
                server.process.wait()
    return results


def read_options() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description="Five servers of hyperscale, with Shoal and without."
    )
    parser.add_argument("--checkout", type=Path, default=os.environ.get("HYPERSCALE_PATH"))
    parser.add_argument("--only", choices=["shoal", "stock"])
    parser.add_argument("--patience", type=float, default=30.0, help="seconds to wait at most")
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="to measure idle servers")
    parser.add_argument("--quiet-seconds", type=float, default=10.0, help="to see false deaths")
    parser.add_argument("--flood-seconds", type=float, default=5.0)
    parser.add_argument("--flood-probes", type=int, default=400_000, help="at most so many")
    parser.add_argument("--serve", nargs="+", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return options
    if options.checkout is None or not (options.checkout / "hyperscale").is_dir():
        parser.error("--checkout, or $HYPERSCALE_PATH, names the root of a hyperscale checkout")
    python_path = os.environ.get("PYTHONPATH")
    paths = [str(options.checkout.resolve()), *([python_path] if python_path else [])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    return options


def main() -> int:
    """Runs what was asked for; 0 when the servers on Shoal did all they should."""
    options = read_options()
    if options.serve:
        index, *ports = options.serve
        asyncio.run(serve(index, ports, options.only == "shoal"))
        return 0
    kinds = [options.only] if options.only else ["shoal", "stock"]
    results = {kind: run(kind == "shoal", options) for kind in kinds}
    if len(kinds) == 2:
        shoal, stock = results["shoal"], results["stock"]
        rates = float(shoal["rate"]) / max(1.0, float(stock["rate"]))
        costs = float(stock["cpu_us"]) / float(shoal["cpu_us"])
        print(f"flood: {rates:.0f} times the probes per second, {costs:.0f} times less processor")
    return 0 if "shoal" not in results or results["shoal"].get("done") else 1


if __name__ == "__main__":
    sys.exit(main())
