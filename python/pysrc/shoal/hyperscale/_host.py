"""What drop-ins borrow from a hyperscale that runs in the same process.

Reports, heartbeats and log records must be hyperscale's own classes when hyperscale handles them.
Without hyperscale the small stand-ins here take their place.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["LogRecord", "LoggerLike", "NodeLog", "call_back", "host_attribute"]

_log = logging.getLogger("shoal.hyperscale")
_running: set[asyncio.Future[Any]] = set()


class LoggerLike(Protocol):
    """What drop-ins ask of hyperscale's logger."""

    async def log(self, entry: Any, /) -> object:
        """Writes a record."""


@dataclass(slots=True)
class LogRecord:
    """What is logged where hyperscale's own records are not there."""

    message: str
    node_host: str
    node_port: int
    node_id: str | int


def host_attribute(module: str, name: str, own: Any) -> Any:
    """An attribute of a module below `hyperscale` if that is imported, else our own."""
    loaded = sys.modules.get(f"hyperscale.{module}")
    return own if loaded is None else getattr(loaded, name, own)


@dataclass(slots=True)
class NodeLog:
    """Where a node logs to, and as whom."""

    logger: LoggerLike | None = None
    host: str = ""
    port: int = 0
    node_id: str | int = ""

    async def write(self, kind: str, message: str) -> None:
        """Logs with hyperscale's record of this kind ("ServerDebug", ...). A logger that fails is
        told to Python's own logging: it is no reason for a failure detector to stop."""
        if self.logger is None:
            return
        record = host_attribute("logging.hyperscale_logging_models", kind, LogRecord)
        entry = record(
            message=message, node_host=self.host, node_port=self.port, node_id=self.node_id
        )
        try:
            await self.logger.log(entry)
        except Exception:
            _log.exception("the logger of a node failed")


def call_back(
    name: str,
    callback: Callable[..., Any] | None,
    *arguments: Any,
    on_error: Callable[[str, Exception], Any] | None = None,
) -> None:
    """Calls a program's function. A coroutine that it hands back is run; an exception, now or
    later, goes to `on_error`, and otherwise to Python's logging with the callback's name."""
    if callback is None:
        return
    try:
        result = callback(*arguments)
    except Exception as error:
        _tell(name, error, on_error)
        return
    if inspect.isawaitable(result):
        task = asyncio.ensure_future(result)
        _running.add(task)

        def finished(task: asyncio.Future[Any]) -> None:
            _running.discard(task)
            if not task.cancelled() and isinstance(error := task.exception(), Exception):
                _tell(name, error, on_error)

        task.add_done_callback(finished)


def _tell(name: str, error: Exception, on_error: Callable[[str, Exception], Any] | None) -> None:
    if on_error is not None:
        try:
            result = on_error(f"{name} callback failed: {error}", error)
        except Exception:
            _log.exception("the error callback failed while it was told about %s", name)
        else:
            if inspect.iscoroutine(result):
                result.close()
            return
    _log.error("the callback %s failed", name, exc_info=error)
