"""One indirect probe: peers were asked to look at a node that did not answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from .suspicion_state import Node

__all__ = ["MAX_PROXIES", "PendingIndirectProbe"]

MAX_PROXIES = 10


@dataclass(slots=True)
class PendingIndirectProbe:
    """Stands in for `hyperscale.distributed.swim.detection.pending_indirect_probe`'s class."""

    target: Node
    requester: Node
    start_time: float
    timeout: float
    proxies: set[Node] = field(default_factory=set[Node])
    received_acks: int = 0
    _completed: bool = False
    max_proxies: int = MAX_PROXIES
    _proxies_dropped: int = 0

    def add_proxy(self, proxy: Node) -> bool:
        """Takes note of a peer that was asked, unless there are enough."""
        if proxy not in self.proxies and len(self.proxies) >= self.max_proxies:
            self._proxies_dropped += 1
            return False
        self.proxies.add(proxy)
        return True

    def record_ack(self) -> bool:
        """Counts an answer; says whether it is the first."""
        if self._completed:
            return False
        self.received_acks += 1
        self._completed = True
        return True

    def is_expired(self) -> bool:
        """Whether the time to answer is over."""
        return time.monotonic() - self.start_time > self.timeout

    def is_completed(self) -> bool:
        """Whether somebody reached the node."""
        return self._completed
