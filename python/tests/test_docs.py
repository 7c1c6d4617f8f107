"""Every snippet of the guides runs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "python.md"


def snippets(guide: Path = GUIDE) -> list[tuple[int, str]]:
    """The Python blocks of a guide with the lines they start at."""
    found: list[tuple[int, str]] = []
    block: list[str] | None = None
    for number, line in enumerate(guide.read_text().splitlines(), 1):
        if line == "```python":
            block = []
        elif line == "```" and block is not None:
            found.append((number - len(block), "\n".join(block) + "\n"))
            block = None
        elif block is not None:
            block.append(line)
    return found


def is_program(source: str) -> bool:
    """Whether a block is a program of its own, rather than lines for the prompt."""
    return "asyncio.run(" in source


PROGRAMS = [snippet for snippet in snippets() if is_program(snippet[1])]


@pytest.mark.parametrize(("line", "source"), PROGRAMS, ids=[f"line{line}" for line, _ in PROGRAMS])
def test_programs(line: int, source: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{GUIDE.name}:{line}\n{done.stderr}"
    assert done.stdout


async def test_the_prompt() -> None:
    lines = [snippet for snippet in snippets() if not is_program(snippet[1])]
    assert len(lines) > 10
    names: dict[str, Any] = {"shoal": __import__("shoal")}
    for line, source in lines:
        # Blank lines in front, so that a traceback names the line of the guide.
        code = compile(
            "\n" * (line - 1) + source, str(GUIDE), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        )
        assert isinstance(code, CodeType)
        result: Any = eval(code, names)
        if inspect.iscoroutine(result):
            await result


def test_hyperscale_on_shoal() -> None:
    blocks = snippets(DOCS / "hyperscale.md")
    assert len(blocks) == 4
    program = "\n".join(source for _, source in blocks)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "hyperscale is not there" in done.stdout
