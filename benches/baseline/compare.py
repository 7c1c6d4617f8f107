"""Shoal from Python next to Python's own: first whether both compute the same, then how long they take.

    .venv/bin/python benches/baseline/compare.py [--quick]

The other side is `reference.py` in a process of its own: hyperscale's classes with HYPERSCALE_PATH (and
HYPERSCALE_PYTHON, an interpreter that has its requirements), else a plain-Python model of the same documents. The
same script then runs with Shoal's drop-in classes in their place.
Prints one line of JSON for the report; ends with status 1 when the two sides disagree.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from timing import figure, repeated_cost_ns

REFERENCE = Path(__file__).with_name("reference.py")
# The package of this repository; `make bench` puts the module there that Cargo built.
sys.path.insert(0, str(Path(__file__).parents[2] / "python" / "pysrc"))
TURNS = 3
TOLERANCE = 1e-9


class Missing(Exception):
    """The other side cannot be run."""


def ask(side: str, *arguments: str) -> Any:
    python = sys.executable
    if side == "hyperscale":
        python = os.environ.get("HYPERSCALE_PYTHON", python)
    command = [python, str(REFERENCE), side, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise Missing(f"{' '.join(command)}: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def in_turns(sides: list[str], seconds: float) -> list[Any]:
    """What each of these sides takes. They are timed in turns, and of each figure the calmest turn counts, so
    that what else the machine does at a time meets no side alone."""
    turns = [[ask(side, "times", str(seconds / TURNS)) for side in sides] for _ in range(TURNS)]
    return [calmest(list(of_side)) for of_side in zip(*turns)]


def calmest(turns: list[Any]) -> Any:
    figures = zip(*(turn["figures"] for turn in turns))
    chosen = [min(figure, key=lambda one: one["value"]) for figure in figures]
    return {"figures": chosen, "skipped": turns[0]["skipped"]}


def is_near(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))


def tracker_of(shoal: Any, answers: Any, profile: str) -> Any:
    """A tracker that was told the same as the other side's."""
    arithmetic = shoal.HyperscaleConfig() if profile == "hyperscale" else profile
    config = shoal.VivaldiConfig(profile=arithmetic, sample_interval_ms_min=0)
    tracker = shoal.CoordinateTracker(config=config)
    now_ns = 1_000_000_000
    for peer, vector, height, adjustment, error, rtt_ms in answers["samples"]:
        place = shoal.Coordinate(vector, height, adjustment, error)
        refusal = tracker.observe(address(peer), place, rtt_ms, now_ns=now_ns)
        assert refusal is None, f"{peer}: {refusal}"
        now_ns += 1_000_000_000
    return tracker


def address(peer: str) -> str:
    return f"10.0.0.{peer.removeprefix('dc')}:7462"


def check_coordinates(shoal: Any, answers: Any) -> None:
    own = tracker_of(shoal, answers, "hyperscale").coordinate
    vector, height, adjustment, error = answers["coordinate"]
    ours = [*own.vector, own.height, own.adjustment, own.error]
    theirs = [*vector, height, adjustment, error]
    assert all(map(is_near, ours, theirs)), f"coordinates differ: {ours} and {theirs}"


def candidates_of(shoal: Any, picture: Any) -> list[Any]:
    return [
        shoal.DatacenterCandidate(
            row["datacenter_id"],
            manager_count=3,
            usable_manager_count=row["healthy_managers"],
            available_cores=row["available_cores"],
            total_cores=512,
            queue_depth=row["queue_depth"],
            rtt=shoal.Rtt(row["rtt_ucb_ms"], row["rtt_ucb_ms"], row["coordinate_quality"]),
            health=row["health_bucket"].lower(),
            circuit_pressure=row["circuit_breaker_pressure"],
        )
        for row in picture["candidates"]
    ]


def check_drop_in(drop_in: Any, answers: Any) -> None:
    def numbers(side: Any) -> list[float]:
        vector, *others = side["coordinate"]
        return [*vector, *others, *side["upper_ms"].values()]

    assert all(map(is_near, numbers(drop_in), numbers(answers))), "coordinates differ"
    for number, (ours, theirs) in enumerate(zip(drop_in["pictures"], answers["pictures"])):
        assert ours["first"] == theirs["first"], f"picture {number}: {ours} and {theirs}"


def check_routing(shoal: Any, answers: Any) -> None:
    for number, picture in enumerate(answers["pictures"]):
        chosen = shoal.Router().route(shoal.JobId("job"), candidates_of(shoal, picture)).selected
        assert chosen == picture["first"], f"picture {number}: {chosen} and {picture['first']}"


def times(shoal: Any, answers: Any, seconds: float) -> list[dict[str, object]]:
    places = [
        (address(peer), shoal.Coordinate(vector, height, adjustment, error), rtt_ms)
        for peer, vector, height, adjustment, error, rtt_ms in answers["samples"]
    ]
    costs = {}
    for profile, suffix in (("hyperscale", ""), ("native", ", native profile")):
        tracker = tracker_of(shoal, answers, profile)
        update = repeated_cost_ns(tracker.observe, places, seconds)
        upper = repeated_cost_ns(tracker.upper_ms, [("10.0.0.7:7462",)] * 1_000, seconds)
        costs |= {f"coordinate update{suffix}": update, f"upper bound{suffix}": upper}
    router = shoal.Router()
    listed = candidates_of(shoal, answers["pictures"][1])
    prepared = router.candidates(listed)
    jobs = [shoal.JobId(number) for number in range(256)]
    for name, offered in (("", prepared), (", candidates from a list", listed)):
        calls = [(job, offered) for job in jobs]
        costs[f"route 100{name}"] = repeated_cost_ns(router.route, calls, seconds)
    return [figure(f"python/shoal/{name}", cost) for name, cost in costs.items()]


def main() -> None:
    seconds = 0.1 if "--quick" in sys.argv else 0.4
    side = "hyperscale" if "HYPERSCALE_PATH" in os.environ else "model"
    skipped: list[dict[str, str]] = []
    try:
        answers = ask(side, "answers")
    except Missing as missing:
        if side == "model":
            raise
        advice = "give HYPERSCALE_PYTHON, an interpreter with hyperscale's requirements"
        skipped.append({"what": "hyperscale's own classes", "why": f"{missing}; {advice}"})
        side = "model"
        answers = ask(side, "answers")
    if "HYPERSCALE_PATH" not in os.environ:
        why = "HYPERSCALE_PATH is not set; compared with a plain-Python model of its documents"
        skipped.append({"what": "hyperscale's own classes", "why": why})
    figures: list[dict[str, object]] = []
    sides = [side]
    try:
        import shoal
    except ImportError as error:
        why = f"{error}; `make bench` builds it"
        skipped.append({"what": "Shoal from Python", "why": why})
    else:
        check_coordinates(shoal, answers)
        check_routing(shoal, answers)
        check_drop_in(ask("drop-in", "answers"), answers)
        figures += times(shoal, answers, seconds)
        sides.append("drop-in")
    timed = in_turns(sides, seconds)
    figures += [figure for one in timed for figure in one["figures"]]
    print(json.dumps({"figures": figures, "skipped": skipped + timed[0]["skipped"]}))


if __name__ == "__main__":
    main()
