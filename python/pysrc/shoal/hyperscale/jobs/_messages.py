"""Messages about job timeouts between managers and gates, and whether they arrived."""

from __future__ import annotations

from dataclasses import make_dataclass
from typing import Any

from shoal.hyperscale._host import NodeLog, host_attribute
from shoal.hyperscale.models.jobs import TimeoutTrackingState

__all__ = ["TERMINAL_STATUSES", "node_log", "report", "sent", "tracking_state"]

TERMINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "timeout", "timed_out"})
"""States that a job does not leave."""


def report(name: str, **fields: Any) -> Any:
    """A message of hyperscale's, or a plain object with the same fields where it is not there."""
    message = host_attribute("distributed.models.distributed", name, None)
    return (message or make_dataclass(name, fields))(**fields)


def tracking_state(**fields: Any) -> Any:
    """What a job knows of its timeout: hyperscale's own class, or ours where it is not there."""
    own = TimeoutTrackingState
    return host_attribute("distributed.models.jobs", "TimeoutTrackingState", own)(**fields)


def node_log(node: Any) -> NodeLog:
    """Where a gate or manager logs to."""
    return NodeLog(node._udp_logger, node._host, node._tcp_port, node._node_id.short)


async def sent(node: Any, address: tuple[str, int], action: str, message: Any) -> Exception | None:
    """Sends a message; gives what went wrong. hyperscale's `send_tcp` hands exceptions back as
    results, so that a call that returns has not yet succeeded."""
    try:
        data = message.dump() if hasattr(message, "dump") else message
        answer: Any = await node.send_tcp(address, action, data, timeout=5.0)
    except Exception as error:
        return error
    result = answer if isinstance(answer, Exception) else _first(answer)
    return result if isinstance(result, Exception) else None


def _first(answer: Any) -> Any:
    """The result in a pair of result and clock."""
    try:
        return answer[0]
    except (TypeError, IndexError):
        return None
