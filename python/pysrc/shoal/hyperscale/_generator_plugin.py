"""For `pytest -p`: hyperscale's topmost conftest.py writes `Generator[X, None]`, for which `typing`
wants three parameters before Python 3.13."""

from __future__ import annotations

import collections.abc
import sys
import typing

if sys.version_info < (3, 13):
    setattr(typing, "Generator", collections.abc.Generator)  # noqa: B010
