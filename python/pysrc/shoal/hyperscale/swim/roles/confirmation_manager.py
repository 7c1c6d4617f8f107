"""Peers that were told of but never heard: whom to ask, and whom to forget (AD-35)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from shoal.hyperscale._host import host_attribute
from shoal.hyperscale.models.distributed import NodeRole
from shoal.hyperscale.swim.coordinates.coordinate_tracker import CoordinateTracker
from shoal.hyperscale.swim.detection.suspicion_state import Node
from shoal.hyperscale.swim.roles.confirmation_strategy import (
    RoleBasedConfirmationStrategy,
    get_strategy_for_role,
)

__all__ = ["ConfirmationResult", "RoleAwareConfirmationManager", "UnconfirmedPeerState"]

_REFERENCE_RTT_MS = 10.0
_LATENCY_FACTOR_MAX = 10.0


@dataclass(slots=True)
class UnconfirmedPeerState:
    """A peer that was never heard."""

    peer_id: str
    peer_address: Node
    role: NodeRole
    discovered_at: float
    confirmation_attempts_made: int = 0
    next_attempt_at: float | None = None
    last_attempt_at: float | None = None


@dataclass
class ConfirmationResult:
    """What became of such a peer."""

    peer_id: str
    confirmed: bool
    removed: bool
    attempts_made: int
    reason: str


class RoleAwareConfirmationManager:
    """Stands in for `hyperscale.distributed.swim.roles.confirmation_manager`'s manager.

    What differs: all roles are counted, clients too; a ping that raises counts as unanswered; a
    peer that is confirmed while it is pinged is not removed afterwards; pings of one pass run side
    by side.
    """

    def __init__(
        self,
        coordinator_tracker: CoordinateTracker | None = None,
        send_ping: Callable[[str, Node], Awaitable[bool]] | None = None,
        get_lhm_multiplier: Callable[[], float] | None = None,
        on_peer_confirmed: Callable[[str], Awaitable[None]] | None = None,
        on_peer_removed: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self._unconfirmed_peers: dict[str, UnconfirmedPeerState] = {}
        self._coordinator_tracker = coordinator_tracker
        self._send_ping = send_ping
        self._get_lhm_multiplier = get_lhm_multiplier or (lambda: 1.0)
        self._on_peer_confirmed = on_peer_confirmed
        self._on_peer_removed = on_peer_removed
        self._lock = asyncio.Lock()
        self._total_confirmed = 0
        self._total_removed_by_role: dict[NodeRole, int] = dict.fromkeys(self._roles(), 0)
        self._total_proactive_attempts = 0

    @staticmethod
    def _roles() -> list[NodeRole]:
        return list(host_attribute("distributed.models.distributed", "NodeRole", NodeRole))

    async def track_unconfirmed_peer(
        self, peer_id: str, peer_address: Node, role: NodeRole
    ) -> None:
        """Takes note of a peer that somebody told of."""
        if peer_id in self._unconfirmed_peers:
            return
        now = time.monotonic()
        state = UnconfirmedPeerState(peer_id, peer_address, role, now)
        strategy = get_strategy_for_role(role)
        if strategy.enable_proactive_confirmation:
            state.next_attempt_at = now + strategy.passive_timeout_seconds / 2
        self._unconfirmed_peers[peer_id] = state

    async def confirm_peer(self, peer_id: str) -> bool:
        """Takes note of a peer that was heard; says whether it was waited for."""
        if self._unconfirmed_peers.pop(peer_id, None) is None:
            return False
        self._total_confirmed += 1
        if self._on_peer_confirmed:
            await self._on_peer_confirmed(peer_id)
        return True

    async def check_and_cleanup_unconfirmed_peers(self) -> list[ConfirmationResult]:
        """Pings peers whose turn it is and forgets those whose time is over."""
        now = time.monotonic()
        load = self._get_lhm_multiplier()
        steps: list[Awaitable[ConfirmationResult | None]] = []
        for state in self._unconfirmed_peers.values():
            strategy = get_strategy_for_role(state.role)
            if self._is_over(strategy, state, load, now):
                is_asked = strategy.enable_proactive_confirmation
                reason = "exhausted_proactive_attempts" if is_asked else "passive_timeout_expired"
                steps.append(self._remove(state, reason))
            elif state.next_attempt_at is not None and now >= state.next_attempt_at:
                steps.append(self._attempt(state, strategy, now))
        results = await asyncio.gather(*steps)
        return [result for result in results if result is not None]

    def _is_over(
        self,
        strategy: RoleBasedConfirmationStrategy,
        state: UnconfirmedPeerState,
        load: float,
        now: float,
    ) -> bool:
        elapsed = now - state.discovered_at
        if elapsed < strategy.passive_timeout_seconds:
            return False
        if strategy.enable_proactive_confirmation:
            attempts = state.confirmation_attempts_made
            if attempts < strategy.confirmation_attempts:
                return False
        return elapsed >= self._effective_timeout(strategy, state, load)

    def _effective_timeout(
        self, strategy: RoleBasedConfirmationStrategy, state: UnconfirmedPeerState, load: float
    ) -> float:
        """The time of the role, longer under load and for peers that are far or badly known."""
        timeout = strategy.passive_timeout_seconds * min(load, strategy.load_multiplier_max)
        tracker = self._coordinator_tracker
        if not strategy.latency_aware or tracker is None:
            return timeout
        coordinate = tracker.get_peer_coordinate(state.peer_id)
        if coordinate is None:
            return timeout
        latency = tracker.estimate_rtt_ucb_ms(coordinate) / _REFERENCE_RTT_MS
        quality = tracker.coordinate_quality(coordinate)
        return timeout * min(_LATENCY_FACTOR_MAX, max(1.0, latency)) * (1.5 - 0.5 * quality)

    async def _attempt(
        self, state: UnconfirmedPeerState, strategy: RoleBasedConfirmationStrategy, now: float
    ) -> ConfirmationResult | None:
        self._total_proactive_attempts += 1
        state.confirmation_attempts_made += 1
        state.last_attempt_at = now
        is_last = state.confirmation_attempts_made >= strategy.confirmation_attempts
        state.next_attempt_at = None if is_last else now + strategy.attempt_interval_seconds
        answered = False
        if self._send_ping is not None:
            try:
                answered = await self._send_ping(state.peer_id, state.peer_address)
            except Exception:
                answered = False
        if answered and await self.confirm_peer(state.peer_id):
            return ConfirmationResult(
                state.peer_id,
                confirmed=True,
                removed=False,
                attempts_made=state.confirmation_attempts_made,
                reason="proactive_confirmation_success",
            )
        if is_last:
            return await self._remove(state, "exhausted_proactive_attempts")
        return None

    async def _remove(self, state: UnconfirmedPeerState, reason: str) -> ConfirmationResult | None:
        if self._unconfirmed_peers.pop(state.peer_id, None) is None:
            return None
        self._total_removed_by_role[state.role] += 1
        if self._on_peer_removed:
            await self._on_peer_removed(state.peer_id, reason)
        return ConfirmationResult(
            state.peer_id,
            confirmed=False,
            removed=True,
            attempts_made=state.confirmation_attempts_made,
            reason=reason,
        )

    def get_unconfirmed_peer_count(self) -> int:
        """How many peers are waited for."""
        return len(self._unconfirmed_peers)

    def get_unconfirmed_peers_by_role(self) -> dict[NodeRole, int]:
        """The same by role."""
        counts = dict.fromkeys(self._roles(), 0)
        for state in self._unconfirmed_peers.values():
            counts[state.role] += 1
        return counts

    def get_metrics(self) -> dict[str, Any]:
        """Counts of what happened."""
        return {
            "unconfirmed_count": len(self._unconfirmed_peers),
            "unconfirmed_by_role": self.get_unconfirmed_peers_by_role(),
            "total_confirmed": self._total_confirmed,
            "total_removed_by_role": dict(self._total_removed_by_role),
            "total_proactive_attempts": self._total_proactive_attempts,
        }

    async def clear(self) -> None:
        """Forgets all peers."""
        self._unconfirmed_peers.clear()
