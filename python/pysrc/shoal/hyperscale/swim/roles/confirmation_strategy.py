"""How long each kind of node may stay unconfirmed, and whether it is asked (AD-35)."""

from __future__ import annotations

from dataclasses import dataclass

from shoal.hyperscale.models.distributed import NodeRole

__all__ = ["RoleBasedConfirmationStrategy", "get_strategy_for_role"]


@dataclass(slots=True)
class RoleBasedConfirmationStrategy:
    """Has the fields of hyperscale's class of the same name."""

    role: NodeRole
    passive_timeout_seconds: float
    enable_proactive_confirmation: bool
    confirmation_attempts: int
    attempt_interval_seconds: float
    latency_aware: bool
    use_vivaldi: bool
    load_multiplier_max: float


_GATE = RoleBasedConfirmationStrategy(NodeRole.GATE, 120.0, True, 5, 5.0, True, True, 3.0)
_MANAGER = RoleBasedConfirmationStrategy(NodeRole.MANAGER, 90.0, True, 3, 5.0, True, True, 5.0)
_WORKER = RoleBasedConfirmationStrategy(NodeRole.WORKER, 180.0, False, 0, 0.0, False, False, 10.0)


def get_strategy_for_role(role: NodeRole) -> RoleBasedConfirmationStrategy:
    """The rules for a role. Workers and whoever else come and go: they are not asked."""
    return {"gate": _GATE, "manager": _MANAGER}.get(role.value, _WORKER)
