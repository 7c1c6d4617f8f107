"""`python -m shoal.hyperscale.check PATH`: the tests of a hyperscale checkout, with the drop-ins.

Runs the tests that concern what is replaced, with the interpreter that runs this, which needs
hyperscale's requirements, pytest, pytest-asyncio and pytest-timeout. `--stock` runs them without
the drop-ins.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["LINES", "main"]

LINES: dict[str, tuple[tuple[str, ...], int]] = {
    "timing wheel, failure detector, job suspicions": (
        (
            "infrastructure/test_timing_wheel.py",
            "health/test_hierarchical_failure_detector.py",
            "jobs/test_job_suspicion_manager.py",
        ),
        115,
    ),
    "health gossip": (
        (
            "health/test_health_gossip_buffer.py",
            "health/test_health_gossip_swim_integration.py",
            "health/test_health_piggyback.py",
            "health/test_peer_health_awareness.py",
            "health/test_out_of_band_health_channel.py",
        ),
        181,
    ),
    "extensions and health of workers, managers, gates": (
        (
            "health/test_healthcheck_extensions.py",
            "health/test_healthcheck_extensions_edge_cases.py",
            "health/test_healthcheck_extensions_server.py",
            "worker/test_worker_health.py",
            "manager/test_manager_health.py",
            "gate/test_gate_health.py",
        ),
        218,
    ),
    "messages": (("messaging",), 226),
    "datacenters and hashing": (
        (
            "jobs/test_datacenter_management.py",
            "jobs/test_cross_dc_correlation.py",
            "infrastructure/test_consistent_hashing.py",
        ),
        82,
    ),
    "cluster": (("cluster",), 179),
}
"""What is run, in one process each: paths below `tests/unit/distributed`, and how many tests pass
without the drop-ins."""

_TESTS = Path("tests", "unit", "distributed")


def _run(checkout: Path, paths: Sequence[str], with_drop_ins: bool) -> tuple[int, int]:
    """How many tests passed, and the exit status."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60"]
    command += ["-p", "shoal.hyperscale._generator_plugin"]
    if with_drop_ins:
        command += ["-p", "shoal.hyperscale.pytest_plugin"]
    command += [str(_TESTS / path) for path in paths]
    paths_before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    python_path = os.pathsep.join(filter(None, [str(checkout), *paths_before]))
    environment = {**os.environ, "PYTHONPATH": python_path}
    result = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    passed = re.search(r"(\d+) passed", result.stdout)
    if result.returncode != 0:
        print(result.stdout[-8000:], result.stderr[-2000:], sep="\n", file=sys.stderr)
    return int(passed[1]) if passed else 0, result.returncode


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all lines; 0 when as many tests pass as without the drop-ins, and none fails."""
    parser = argparse.ArgumentParser(prog="python -m shoal.hyperscale.check", description=__doc__)
    parser.add_argument("checkout", type=Path, help="the root of a hyperscale checkout")
    parser.add_argument("--stock", action="store_true", help="without the drop-ins")
    options = parser.parse_args(arguments)
    checkout: Path = options.checkout.resolve()
    if not (checkout / _TESTS).is_dir():
        parser.error(f"{checkout} is no hyperscale checkout: {_TESTS} is missing")
    total = expected = failures = 0
    for name, (paths, count) in LINES.items():
        passed, status = _run(checkout, paths, not options.stock)
        print(f"{name:<52} {passed:5} of {count:5} passed", flush=True)
        total, expected, failures = total + passed, expected + count, failures + (status != 0)
    print(f"{'all':<52} {total:5} of {expected:5} passed")
    return 0 if total >= expected and failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
