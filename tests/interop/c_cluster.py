"""A C program, `shoal agent` and a Python node in one cluster, the way a C programmer comes to it.

Installs the libraries with `make install-c`, compiles the example `members.c` with nothing but what
pkg-config says, once with the shared and once with the static library, and runs each program against an
agent and a Python node: all three must see each other, and the two that stay must see the program leave.
Needs cc, pkg-config, the package `shoal`, and the debug builds of library and program:
`make test-c-cluster` sees to that.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import shoal

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ROOT / "target" / "debug"
SECRET = "a secret of three languages"
PATIENCE = 60.0
"""Seconds until a step counts as failed. All of them together take a few."""


def run(*command: str | Path, **environment: str) -> str:
    """Runs a command to its end and returns what it printed."""
    result = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=PATIENCE, cwd=ROOT
    )
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: status {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout


def compile_members(prefix: Path, static: bool) -> Path:
    """Compiles the example against an installation."""
    libraries = prefix / "lib"

    def flags(*options: str) -> list[str]:
        return run("pkg-config", *options, "shoal", PKG_CONFIG_PATH=str(libraries / "pkgconfig")).split()

    program = prefix / ("members-static" if static else "members-shared")
    if static:
        linked = [flag.replace("-lshoal", "-l:libshoal.a") for flag in flags("--static", "--libs")]
        linked = [*flags("--cflags"), *linked]
    else:
        linked = flags("--cflags", "--libs")
    run("cc", "-D_POSIX_C_SOURCE=200809L", "examples/c/members.c", *linked, "-o", program)
    return program


async def start_agent() -> tuple[asyncio.subprocess.Process, str]:
    """Starts an agent and returns it with its address."""
    process = await asyncio.create_subprocess_exec(
        LIBRARIES / "shoal",
        *("agent", "--bind", "127.0.0.1:0", "--format", "json"),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"SHOAL_SECRET": SECRET},
    )
    assert process.stdout is not None
    started = json.loads(await asyncio.wait_for(process.stdout.readline(), PATIENCE))
    assert started["event"] == "started", started
    return process, started["address"]


async def seen_by_python(node: shoal.Node, others: set[str]) -> list[str]:
    """The states of the first member that is none of the others, until it has left."""
    states: list[str] = []
    async for event in node.events():
        if isinstance(event, shoal.MemberEvent) and event.address not in others:
            states.append(event.state)
            if event.state == "left":
                return states
    sys.exit("the Python node ended")


async def seen_by_agent(agent: asyncio.subprocess.Process, others: set[str]) -> list[str]:
    """The same, as the agent tells it."""
    assert agent.stdout is not None
    states: list[str] = []
    async for line in agent.stdout:
        event = json.loads(line)
        if event["event"] == "member" and event["address"] not in others:
            states.append(event["state"])
            if event["state"] == "left":
                return states
    sys.exit("the agent ended")


async def visit(program: Path, prefix: Path, agent: asyncio.subprocess.Process, seed: str, node: shoal.Node) -> None:
    """Lets the C program come, see three members, and leave."""
    others = {seed, node.address}
    watching = asyncio.gather(seen_by_python(node, others), seen_by_agent(agent, others))
    visitor = await asyncio.create_subprocess_exec(
        program,
        *("127.0.0.1:0", SECRET, "3", seed),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"LD_LIBRARY_PATH": str(prefix / "lib") if "shared" in program.name else ""},
    )
    printed, _ = await asyncio.wait_for(visitor.communicate(), PATIENCE)
    assert visitor.returncode == 0, printed.decode()
    for address in others:
        assert f"{address} is alive" in printed.decode(), (address, printed.decode())
    for states in await asyncio.wait_for(watching, PATIENCE):
        assert states[-2:] == ["alive", "left"], states


async def main() -> None:
    for tool in ("cc", "pkg-config"):
        if shutil.which(tool) is None:
            print(f"skipped: {tool} is not installed")
            return
    with tempfile.TemporaryDirectory() as directory:
        prefix = Path(directory)
        run("make", "--no-print-directory", "install-c", f"PREFIX={prefix}", f"FFI_LIBRARIES={LIBRARIES}")
        programs = [compile_members(prefix, static) for static in (False, True)]
        agent, seed = await start_agent()
        try:
            async with shoal.Node("127.0.0.1:0", secret=SECRET.encode(), join=[seed]) as node:
                for program in programs:
                    await visit(program, prefix, agent, seed, node)
                    print(f"{program.name}, shoal agent and a Python node saw each other")
                await node.leave()
        finally:
            agent.terminate()
            await asyncio.wait_for(agent.wait(), PATIENCE)


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(main(), 4 * PATIENCE))
