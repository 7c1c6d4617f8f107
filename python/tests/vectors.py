"""What hyperscale's own classes were recorded to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).parents[2] / "tests" / "vectors"


def recorded(name: str) -> Any:
    """The contents of a file of vectors."""
    return json.loads((VECTORS / f"{name}.json").read_text())
