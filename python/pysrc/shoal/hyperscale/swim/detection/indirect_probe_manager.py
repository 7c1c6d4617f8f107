"""The indirect probes that are under way (SWIM, section 3.1)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from shoal.hyperscale._host import LoggerLike, NodeLog

from .pending_indirect_probe import PendingIndirectProbe
from .suspicion_state import Node

__all__ = ["IndirectProbeManager"]


@dataclass(slots=True)
class IndirectProbeManager:
    """Stands in for `hyperscale.distributed.swim.detection.indirect_probe_manager`'s manager.

    An answered probe stays until its time is over, so that whoever waits for it finds the answer.
    """

    pending_probes: dict[Node, PendingIndirectProbe] = field(
        default_factory=dict[Node, PendingIndirectProbe]
    )
    k_proxies: int = 3
    max_pending: int = 100
    probe_ttl: float = 30.0
    _started_count: int = 0
    _completed_count: int = 0
    _expired_count: int = 0
    _rejected_count: int = 0
    _log: NodeLog = field(default_factory=NodeLog)

    def set_logger(self, logger: LoggerLike, node_host: str, node_port: int, node_id: int) -> None:
        """Where to log, and as whom."""
        self._log = NodeLog(logger, node_host, node_port, node_id)

    def start_indirect_probe(
        self, target: Node, requester: Node, timeout: float
    ) -> PendingIndirectProbe | None:
        """Begins a probe; `None` when there are too many."""
        if target not in self.pending_probes and len(self.pending_probes) >= self.max_pending:
            self.cleanup_expired()
            if len(self.pending_probes) >= self.max_pending:
                self._rejected_count += 1
                return None
        probe = PendingIndirectProbe(target, requester, time.monotonic(), timeout)
        self.pending_probes[target] = probe
        self._started_count += 1
        return probe

    def get_pending_probe(self, target: Node) -> PendingIndirectProbe | None:
        """The probe of a node, answered or not."""
        return self.pending_probes.get(target)

    def record_ack(self, target: Node) -> bool:
        """Counts an answer; says whether it is the first."""
        probe = self.pending_probes.get(target)
        if probe is None or not probe.record_ack():
            return False
        self._completed_count += 1
        return True

    def cancel_probe(self, target: Node) -> bool:
        """Ends a probe; says whether there was one."""
        return self.pending_probes.pop(target, None) is not None

    def get_expired_probes(self) -> list[PendingIndirectProbe]:
        """Takes out probes whose time is over, and gives those that nobody answered."""
        over = [probe for probe in self.pending_probes.values() if probe.is_expired()]
        for probe in over:
            del self.pending_probes[probe.target]
        unanswered = [probe for probe in over if not probe.is_completed()]
        self._expired_count += len(unanswered)
        return unanswered

    def cleanup_expired(self) -> int:
        """Takes out probes whose time is over; says how many had no answer."""
        return len(self.get_expired_probes())

    def cleanup_old(self) -> int:
        """Takes out probes older than `probe_ttl`; says how many."""
        cutoff = time.monotonic() - self.probe_ttl
        old = [probe for probe in self.pending_probes.values() if probe.start_time < cutoff]
        for probe in old:
            del self.pending_probes[probe.target]
        self._expired_count += len(old)
        return len(old)

    def cleanup(self) -> dict[str, int]:
        """Both, and how many are left."""
        return {
            "expired_removed": self.cleanup_expired(),
            "old_removed": self.cleanup_old(),
            "pending_probes": len(self.pending_probes),
        }

    def clear_all(self) -> None:
        """Ends all probes."""
        self.pending_probes.clear()

    def get_stats(self) -> dict[str, int]:
        """Counts of what happened."""
        return {
            "pending_probes": len(self.pending_probes),
            "total_started": self._started_count,
            "total_completed": self._completed_count,
            "total_expired": self._expired_count,
            "total_rejected": self._rejected_count,
        }

    async def log_capacity_warning(self) -> bool:
        """Logs that probes were refused, if any were; says whether it did."""
        if self._log.logger is None or self._rejected_count == 0:
            return False
        await self._log.write(
            "ServerDebug",
            f"{self._rejected_count} indirect probes were refused: "
            f"{len(self.pending_probes)} of {self.max_pending} are pending",
        )
        return True
