"""Roles and states. Their members are strings, so a plain name does wherever one is expected."""

from enum import StrEnum


class _Name(StrEnum):
    """A string whose `repr` is the way to write it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class Role(_Name):
    """What a node does in the job system. It decides how eagerly peers confirm it."""

    GATE = "gate"
    """Entry point that routes jobs to datacenters."""
    MANAGER = "manager"
    """Owner of jobs inside one datacenter."""
    WORKER = "worker"
    """Runs the work; confirmed only passively."""


class MemberState(_Name):
    """Where a member stands in its life, as one node sees it."""

    UNCONFIRMED = "unconfirmed"
    """Heard of, not yet heard from. Never suspected, never declared dead."""
    ALIVE = "alive"
    """Heard from, and answering."""
    SUSPECT = "suspect"
    """Did not answer; may still refute."""
    DEAD = "dead"
    """Did not refute in time."""
    LEFT = "left"
    """Said goodbye."""
    REMOVED = "removed"
    """Forgotten: its record is gone. Seen in events only."""
