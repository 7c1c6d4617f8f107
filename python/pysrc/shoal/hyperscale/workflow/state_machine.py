"""The life of a workflow, and since when it has not moved (AD-33)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from shoal.hyperscale._host import LoggerLike, NodeLog

__all__ = ["VALID_TRANSITIONS", "StateTransition", "WorkflowState", "WorkflowStateMachine"]

_HISTORY_MAX = 64


class WorkflowState(Enum):
    """Where a workflow is."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    FAILED_CANCELING_DEPENDENTS = "failed_canceling_deps"
    FAILED_READY_FOR_RETRY = "failed_ready"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    AGGREGATED = "aggregated"


VALID_TRANSITIONS: dict[WorkflowState, set[WorkflowState]] = {
    WorkflowState.PENDING: {
        WorkflowState.DISPATCHED,
        WorkflowState.CANCELLING,
        WorkflowState.FAILED,
    },
    WorkflowState.DISPATCHED: {
        WorkflowState.RUNNING,
        WorkflowState.CANCELLING,
        WorkflowState.FAILED,
    },
    WorkflowState.RUNNING: {
        WorkflowState.COMPLETED,
        WorkflowState.FAILED,
        WorkflowState.CANCELLING,
        WorkflowState.AGGREGATED,
    },
    WorkflowState.FAILED: {WorkflowState.FAILED_CANCELING_DEPENDENTS, WorkflowState.CANCELLED},
    WorkflowState.FAILED_CANCELING_DEPENDENTS: {WorkflowState.FAILED_READY_FOR_RETRY},
    WorkflowState.FAILED_READY_FOR_RETRY: {WorkflowState.PENDING},
    WorkflowState.CANCELLING: {WorkflowState.CANCELLED},
    WorkflowState.COMPLETED: set(),
    WorkflowState.CANCELLED: set(),
    WorkflowState.AGGREGATED: set(),
}
_TERMINAL = frozenset(state for state, following in VALID_TRANSITIONS.items() if not following)

ProgressCallback = Callable[[str, WorkflowState, WorkflowState], Awaitable[None]]


@dataclass
class StateTransition:
    """One step of a workflow."""

    from_state: WorkflowState
    to_state: WorkflowState
    timestamp: float
    reason: str


class WorkflowStateMachine:
    """Stands in for `hyperscale.distributed.workflow.state_machine.WorkflowStateMachine`.

    A slow logger holds up nobody but the caller, and of a workflow that is retried again and again
    the last 64 steps are kept.
    """

    def __init__(self, logger: LoggerLike, node_host: str, node_port: int, node_id: str) -> None:
        self._log = NodeLog(logger, node_host, node_port, node_id)
        self._states: dict[str, WorkflowState] = {}
        self._state_history: dict[str, deque[StateTransition]] = {}
        self._last_progress_time: dict[str, float] = {}
        self._progress_callbacks: list[ProgressCallback] = []

    async def transition(self, workflow_id: str, to_state: WorkflowState, reason: str = "") -> bool:
        """Takes a step if it is one of those allowed; says whether it did."""
        state = self._states.get(workflow_id, WorkflowState.PENDING)
        if to_state not in VALID_TRANSITIONS[state]:
            await self._log.write(
                "ServerWarning",
                f"Invalid state transition for workflow {workflow_id}: {state.value} -> "
                f"{to_state.value} (reason: {reason})",
            )
            return False
        now = time.monotonic()
        self._states[workflow_id] = to_state
        self._last_progress_time[workflow_id] = now
        history = self._state_history.get(workflow_id)
        if history is None:
            history = self._state_history[workflow_id] = deque(maxlen=_HISTORY_MAX)
        history.append(StateTransition(state, to_state, now, reason))
        await self._log.write(
            "ServerDebug",
            f"Workflow {workflow_id}: {state.value} -> {to_state.value} ({reason})",
        )
        for callback in tuple(self._progress_callbacks):
            try:
                await callback(workflow_id, state, to_state)
            except Exception as error:
                name = getattr(callback, "__qualname__", repr(callback))
                await self._log.write(
                    "ServerWarning",
                    f"Progress callback {name} failed for workflow {workflow_id}: {error!r}",
                )
        return True

    def get_state(self, workflow_id: str) -> WorkflowState:
        """Where a workflow is; pending when it is not known."""
        return self._states.get(workflow_id, WorkflowState.PENDING)

    def is_in_state(self, workflow_id: str, *states: WorkflowState) -> bool:
        """Whether it is in one of these states."""
        return self.get_state(workflow_id) in states

    def get_history(self, workflow_id: str) -> list[StateTransition]:
        """Its steps."""
        return list(self._state_history.get(workflow_id, ()))

    def cleanup_workflow(self, workflow_id: str) -> None:
        """Forgets a workflow."""
        self._states.pop(workflow_id, None)
        self._state_history.pop(workflow_id, None)
        self._last_progress_time.pop(workflow_id, None)

    def register_progress_callback(self, callback: ProgressCallback) -> None:
        """Whom to tell of every step."""
        if callback not in self._progress_callbacks:
            self._progress_callbacks.append(callback)

    def unregister_progress_callback(self, callback: ProgressCallback) -> bool:
        """Tells somebody no longer; says whether he was told."""
        if callback not in self._progress_callbacks:
            return False
        self._progress_callbacks.remove(callback)
        return True

    def get_time_since_progress(self, workflow_id: str) -> float | None:
        """Seconds since its last step."""
        moved_at = self._last_progress_time.get(workflow_id)
        return None if moved_at is None else time.monotonic() - moved_at

    def get_stuck_workflows(
        self, threshold_seconds: float, exclude_terminal: bool = True
    ) -> list[tuple[str, WorkflowState, float]]:
        """Workflows that have not moved for so long, the longest first."""
        now = time.monotonic()
        stuck = [
            (name, self._states[name], now - moved_at)
            for name, moved_at in self._last_progress_time.items()
            if now - moved_at >= threshold_seconds
            and not (exclude_terminal and self._states[name] in _TERMINAL)
        ]
        return sorted(stuck, key=lambda entry: entry[2], reverse=True)

    def get_workflows_in_state(self, *states: WorkflowState) -> list[str]:
        """The workflows in these states."""
        return [name for name, state in self._states.items() if state in states]

    def get_running_workflows(self) -> list[str]:
        """The running ones."""
        return self.get_workflows_in_state(WorkflowState.RUNNING)

    def get_pending_workflows(self) -> list[str]:
        """The pending ones."""
        return self.get_workflows_in_state(WorkflowState.PENDING)

    def get_state_counts(self) -> dict[WorkflowState, int]:
        """How many workflows are in each state."""
        counts: dict[Any, int] = dict.fromkeys(WorkflowState, 0)
        for state in self._states.values():
            counts[state] += 1
        return counts
