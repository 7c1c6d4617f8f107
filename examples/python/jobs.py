"""A job that ends in time although the manager that leads it dies.

    python examples/python/jobs.py

A gate and two managers in one program. The first manager leads a job and a worker gets more time
for it; then that manager stops without a word. What the next one needs was published as the state
of its node, which every member holds. When the death is noticed the second manager goes on from
there, and when the time and the extension are over, the gate ends the job.
"""

from __future__ import annotations

import asyncio
import sys
import time

import shoal

SECRET = b"a secret for the example only"
# Peers are probed every 200 ms, and the first extension is half of two seconds.
CONFIG = shoal.Config(
    probe_interval_ms=200,
    jobs=shoal.JobsConfig(extension=shoal.ExtensionConfig(base_ms=2_000)),
)


def make_node(role: str, datacenter: str, *join: str) -> shoal.Node:
    """A node of the cluster."""
    return shoal.Node(
        "127.0.0.1:0", secret=SECRET, role=role, datacenter=datacenter, join=join, config=CONFIG
    )


def is_alive(node: shoal.Node, address: str) -> bool:
    """Whether a node knows this member as alive."""
    member = node.member(address)
    return member is not None and member.state is shoal.MemberState.ALIVE


async def take_over(manager: shoal.Node, is_ready: asyncio.Event) -> None:
    """Goes on with the job of a manager that died, from what it published last. Is ready as soon as
    it would notice that."""
    published: dict[str, tuple[shoal.JobSnapshot, float]] = {}
    async for event in manager.events():
        match event:
            case shoal.StateChanged(address, state):
                published[address] = (shoal.JobSnapshot.from_bytes(state), time.monotonic())
            case shoal.MemberEvent(address, shoal.MemberState.DEAD) if address in published:
                snapshot, received_at = published.pop(address)
                print(f"second: {address} is dead", flush=True)
                manager.job_taken_over(snapshot.aged(time.monotonic() - received_at))
                print("second: took over", flush=True)
            case shoal.JobTimedOut(reason=reason, elapsed_seconds=seconds):
                print(f"second: timed out because of {reason}, after {seconds:.2f} s", flush=True)
                return
            case _:
                pass
        if any(is_alive(manager, address) for address in published):
            is_ready.set()


async def watch(gate: shoal.Node) -> None:
    """Waits until the gate has decided."""
    async for event in gate.events():
        match event:
            case shoal.JobGlobalTimeout(reason=reason, elapsed_seconds=seconds):
                print(f"gate: timed out because of {reason}, after {seconds:.2f} s", flush=True)
                return
            case _:
                pass


async def main() -> None:
    """Tells the story."""
    async with (
        asyncio.timeout(30),
        make_node("gate", "hub") as gate,
        make_node("manager", "east", gate.address) as second,
        asyncio.TaskGroup() as tasks,
    ):
        is_ready = asyncio.Event()
        tasks.create_task(watch(gate))
        tasks.create_task(take_over(second, is_ready))
        first = make_node("manager", "east", gate.address).start()

        # The gate sends a job to the east, the first manager there leads it.
        gate.gate_job_started("nightly", timeout_seconds=5, datacenters={"east": first.address})
        first.job_started("nightly", timeout_seconds=5, gate=gate.address, datacenter_count=1)
        answer = first.worker_extension("nightly", worker="busy", progress=0.5)
        assert isinstance(answer, shoal.ExtensionGrant)
        print(f"first: granted {answer.duration_seconds:.2f} s more", flush=True)
        kept = first.job_snapshot("nightly")
        assert kept is not None
        first.state = kept.to_bytes()
        await is_ready.wait()
        first.close()
        print("first: stopped", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
