"""Runs one node of an unchanged hyperscale checkout and tells what it thinks of others.

`python node.py PORT SEED_PORT...` with the checkout in PYTHONPATH. Every half second one JSON object on standard
output: `{"host:port": [state, incarnation], ...}`. Ends when its standard input does.
"""

import asyncio
import json
import sys

from hyperscale.distributed.env import Env
from hyperscale.distributed.swim.health_aware_server import HealthAwareServer

HOST = "127.0.0.1"
SECRET = "interoperation-secret-0123456789"


def view(server: HealthAwareServer) -> dict[str, list[object]]:
    states = server._incarnation_tracker.node_states.items()
    return {
        f"{host}:{port}": [state.status.decode(), state.incarnation]
        for (host, port), state in list(states)
    }


async def main(port: int, seeds: list[int]) -> None:
    env = Env(MERCURY_SYNC_AUTH_SECRET=SECRET)
    server = HealthAwareServer(HOST, port + 1_000, port, env, dc_id="DC1", node_role="manager")
    await server.start_server(init_context=env.get_swim_init_context())
    server._setup_error_handler()
    for seed in seeds:
        await server.join_cluster((HOST, seed))
    probing = asyncio.create_task(server.start_probe_cycle())
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    while not ended.done():
        print(json.dumps(view(server)), flush=True)
        await asyncio.wait([ended], timeout=0.5)
    probing.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
