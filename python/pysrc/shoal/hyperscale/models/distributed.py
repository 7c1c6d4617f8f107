"""The role of a node, where hyperscale is not imported."""

from __future__ import annotations

from enum import Enum

__all__ = ["NodeRole"]


class NodeRole(str, Enum):  # noqa: UP042
    """Compares and hashes like `hyperscale.distributed.models.distributed.NodeRole`."""

    CLIENT = "client"
    GATE = "gate"
    MANAGER = "manager"
    WORKER = "worker"
