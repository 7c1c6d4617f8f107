"""Settings, as frozen dataclasses.

Defaults and ranges are the engine's; a value out of its range raises `ConfigError` at once.
Durations are whole milliseconds where the name says so. `dataclasses.replace` makes a changed copy.
"""

from shoal._config.coordinates import HyperscaleConfig, VivaldiConfig
from shoal._config.node import Config, ExtensionConfig, JobsConfig
from shoal._config.routing import (
    BootstrapConfig,
    FilterConfig,
    HysteresisConfig,
    ObservedConfig,
    RouterConfig,
    ScoringConfig,
)

__all__ = [
    "BootstrapConfig",
    "Config",
    "ExtensionConfig",
    "FilterConfig",
    "HyperscaleConfig",
    "HysteresisConfig",
    "JobsConfig",
    "ObservedConfig",
    "RouterConfig",
    "ScoringConfig",
    "VivaldiConfig",
]
