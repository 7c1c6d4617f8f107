"""`pytest -p shoal.hyperscale.pytest_plugin`: hyperscale's own tests with the drop-ins."""

from __future__ import annotations

import shoal.hyperscale

__all__ = ["pytest_report_header"]

_replaced = shoal.hyperscale.install()


def pytest_report_header() -> str:
    """Says at the head of the run what is replaced."""
    return f"shoal.hyperscale: {len(_replaced)} names replaced"
