"""Settings: one list, one set of defaults, checked at once."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import shoal
from shoal import _native

ENGINE_SOURCE = Path(__file__).parents[2] / "core" / "src" / "config.rs"
# What identifies a node is an argument of its own.
ARGUMENTS = ["advertise", "generation", "role", "datacenter", "secrets"]


def test_every_setting_of_the_engine_is_here_and_no_other() -> None:
    source = ENGINE_SOURCE.read_text()
    body = source.split("pub struct Config {")[1].split("\n}")[0]
    settings = [name for name in re.findall(r"pub (\w+):", body) if name not in ARGUMENTS]
    assert [field.name for field in dataclasses.fields(shoal.Config)] == settings
    assert list(_native.config_defaults()) == settings


def test_defaults_are_the_engines() -> None:
    config = shoal.Config()
    assert config.probe_interval_ms == 500
    assert dataclasses.asdict(config) == _native.config_defaults()


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
        ("event_capacity", 15, shoal.ConfigError, "event_capacity is 15"),
    ],
)
def test_bad_settings(setting: str, value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        shoal.Config(**{setting: value})


def test_an_unknown_setting() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'probe_intervall_ms'"):
        shoal.Config(probe_intervall_ms=500)  # type: ignore[call-arg]  # pyright: ignore
