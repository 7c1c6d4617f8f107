"""Enums and identifiers mean the same in Python and in Rust."""

from __future__ import annotations

import pickle
import uuid
from enum import StrEnum
from typing import Any

import pytest
import shoal
from shoal import _enums, _native

ENUMS = _native.enum_names()


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_enums_have_the_engines_names_in_its_order(name: str) -> None:
    enum: type[StrEnum] = getattr(_enums, name)
    assert [str(member) for member in enum] == ENUMS[name]
    assert getattr(shoal, name) is enum
    first = next(iter(enum))
    assert repr(first) == f"{name}.{first.name}"


def test_every_enum_has_a_native_twin() -> None:
    enums = {
        name
        for name, value in vars(_enums).items()
        if isinstance(value, type) and issubclass(value, StrEnum) and not name.startswith("_")
    }
    assert enums - {"StrEnum"} == set(ENUMS)


KINDS: list[Any] = [shoal.JobId, shoal.WorkerId, shoal.WorkflowId]


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_one_identifier_everywhere(kind: Any) -> None:
    # The first half of the published SHA-256 of "abc".
    identifier = kind("abc")
    assert str(identifier) == "ba7816bf8f01cfea414140de5dae2223"
    assert repr(identifier) == f"{kind.__name__}(0xba7816bf8f01cfea414140de5dae2223)"
    assert identifier.bytes.hex() == str(identifier)
    assert int(identifier) == int(str(identifier), 16)
    assert eval(repr(identifier), {kind.__name__: kind}) == identifier
    assert kind(uuid.UUID(str(identifier))) == identifier
    assert kind(identifier.bytes) == identifier
    assert kind(identifier) == identifier
    twin = pickle.loads(pickle.dumps(identifier))
    assert twin == identifier
    assert hash(twin) == hash(identifier)
    assert identifier != kind("abd")
    assert kind(1) < kind(2) <= kind(2)
    assert sorted([kind(2), kind(1)]) == [kind(1), kind(2)]


def test_kinds_of_identifiers_are_kept_apart() -> None:
    assert shoal.JobId("abc") != shoal.WorkerId("abc")
    with pytest.raises(TypeError):
        _ = shoal.JobId("abc") < shoal.WorkerId("abc")  # type: ignore  # pyright: ignore


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (-1, shoal.ConfigError, r"an int from 0 to 2\*\*128 - 1"),
        (2**128, shoal.ConfigError, r"an int from 0 to 2\*\*128 - 1"),
        (b"short", shoal.ConfigError, "5 bytes, expected 16"),
        (1.5, TypeError, "expected a str, an int, a uuid.UUID or 16 bytes, not float"),
        (None, TypeError, "not NoneType"),
        ([1], TypeError, "not list"),
    ],
)
def test_bad_identifiers(kind: Any, name: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        kind(name)
