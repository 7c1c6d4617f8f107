"""Settings: one list, one set of defaults, checked at once."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import shoal
from shoal import _native

ENGINE = Path(__file__).parents[2] / "core" / "src"
# What identifies a node is an argument of its own.
ARGUMENTS = ["advertise", "generation", "role", "datacenter", "secrets"]
# What keeps its default in nodes of Python programs.
DEFAULTS = ["mechanisms", "federation", "routing"]
GROUPS = [
    (shoal.Config, ENGINE / "config.rs"),
    (shoal.JobsConfig, ENGINE / "jobs" / "config.rs"),
    (shoal.ExtensionConfig, ENGINE / "jobs" / "config.rs"),
    (shoal.VivaldiConfig, ENGINE / "coordinate" / "config.rs"),
    (shoal.HyperscaleConfig, ENGINE / "coordinate" / "hyperscale.rs"),
    (shoal.FilterConfig, ENGINE / "routing" / "filter.rs"),
    (shoal.ScoringConfig, ENGINE / "routing" / "scoring.rs"),
    (shoal.BootstrapConfig, ENGINE / "routing" / "bootstrap.rs"),
    (shoal.HysteresisConfig, ENGINE / "routing" / "hysteresis.rs"),
    (shoal.ObservedConfig, ENGINE / "routing" / "observed.rs"),
    (shoal.RouterConfig, ENGINE / "routing" / "router.rs"),
]


@pytest.mark.parametrize(("group", "source"), GROUPS)
def test_every_setting_of_the_engine_is_here_and_no_other(group: type[Any], source: Path) -> None:
    body = source.read_text().split(f"pub struct {group.__name__} {{")[1].split("\n}")[0]
    settings = [
        name for name in re.findall(r"pub (\w+):", body) if name not in ARGUMENTS + DEFAULTS
    ]
    assert [field.name for field in dataclasses.fields(group)] == settings
    assert list(_native.config_defaults()[group.__name__]) == settings


@pytest.mark.parametrize("group", [group for group, _ in GROUPS])
def test_defaults_are_the_engines(group: type[Any]) -> None:
    assert dataclasses.asdict(group()) == _native.config_defaults()[group.__name__]


def test_some_defaults() -> None:
    assert shoal.Config().probe_interval_ms == 400
    assert shoal.Config().jobs.stuck_after_ms == 120_000
    assert shoal.Config().jobs.gate_rule == "any"


def test_a_copy_with_a_change() -> None:
    config = dataclasses.replace(shoal.Config(), gossip_fanout=5)
    assert config.gossip_fanout == 5
    assert config != shoal.Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.gossip_fanout = 6  # type: ignore[misc]  # pyright: ignore


@pytest.mark.parametrize(
    ("setting", "value", "error", "message"),
    [
        ("probe_interval_ms", 5, shoal.ConfigError, "probe_interval_ms is 5, expected 10 to 60000"),
        ("probe_interval_ms", -1, shoal.ConfigError, "probe_interval_ms is -1, far outside"),
        ("probe_interval_ms", 2**70, shoal.ConfigError, "far outside of its range"),
        ("probe_interval_ms", 0.5, TypeError, "probe_interval_ms: "),
        ("probe_interval_ms", "500", TypeError, "probe_interval_ms: "),
        ("probe_interval_ms", None, TypeError, "probe_interval_ms: "),
        ("suspicion_min_factor", float("nan"), shoal.ConfigError, "suspicion_min_factor is NaN"),
        ("suspicion_min_factor", float("inf"), shoal.ConfigError, "suspicion_min_factor is inf"),
        ("suspicion_min_factor", "2", TypeError, "suspicion_min_factor: "),
        ("indirect_probe_count", 9, shoal.ConfigError, "expected 0 to 8"),
        ("confirmation_attempts", (1, 2), TypeError, "expected 3 numbers, not 2"),
        ("confirmation_attempts", (1, 2, 300), shoal.ConfigError, "far outside"),
        ("confirmation_attempts", 5, TypeError, "confirmation_attempts: "),
        ("confirmation_timeout_ms", (1, 1, 1), shoal.ConfigError, "expected 100 to"),
        ("member_capacity", 1, shoal.ConfigError, "member_capacity is 1"),
        ("jobs", {"stuck_after_ms": 5}, TypeError, "jobs: expected settings, not dict"),
        ("jobs", None, TypeError, "jobs: expected settings, not NoneType"),
        ("event_capacity", 15, shoal.ConfigError, "event_capacity is 15"),
    ],
)
def test_bad_settings(setting: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        shoal.Config(**{setting: value})


def test_bad_settings_in_groups() -> None:
    with pytest.raises(shoal.ConfigError, match="stuck_after_ms is 5, expected 10 to 86400000"):
        shoal.JobsConfig(stuck_after_ms=5)
    with pytest.raises(shoal.ConfigError, match="gate_rule: unknown timeout rule"):
        shoal.JobsConfig(gate_rule="most")
    with pytest.raises(shoal.ConfigError, match=r"extension\.grant_min_ms is 40000"):
        shoal.JobsConfig(extension=shoal.ExtensionConfig(grant_min_ms=40_000))
    with pytest.raises(TypeError, match="count_max: "):
        shoal.ExtensionConfig(count_max=1.5)  # type: ignore[arg-type]  # pyright: ignore


def test_an_unknown_setting() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'probe_intervall_ms'"):
        shoal.Config(probe_intervall_ms=500)  # type: ignore[call-arg]  # pyright: ignore
