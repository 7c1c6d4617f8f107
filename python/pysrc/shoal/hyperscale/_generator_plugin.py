"""For `pytest -p`: hyperscale's topmost conftest.py writes `Generator[X, None]`, for which `typing`
wants three parameters before Python 3.13."""

from __future__ import annotations

import sys
import typing
from typing import Any


class _LenientGenerator:
    """`typing.Generator`, which takes parameters that are left out for `None`."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def __getitem__(self, parameters: tuple[Any, ...]) -> Any:
        return self._generator[(*parameters, None, None)[:3]]


if sys.version_info < (3, 13):
    setattr(typing, "Generator", _LenientGenerator(typing.Generator))  # noqa: B010
