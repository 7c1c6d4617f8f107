"""Native classes in place of dataclasses."""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from typing import Any

__all__ = ["describe_fields"]


def describe_fields(cls: type[Any], *members: Any) -> None:
    """Lets `dataclasses.fields`, `replace` and `asdict` take a native class for a dataclass."""
    described = fields(make_dataclass(cls.__name__, members))
    setattr(cls, "__dataclass_fields__", {member.name: member for member in described})  # noqa: B010
    setattr(cls, "__match_args__", tuple(member.name for member in described))  # noqa: B010
