"""Takes a message of the membership protocol apart: name, arguments, target and sections."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from shoal.hyperscale._host import call_back, host_attribute

__all__ = ["MessageContext", "MessageParser", "ParseResult"]

_MODELS = "distributed.swim.message_handling.models"
_PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What a handler is told. Used where hyperscale's own class is not imported."""

    source_addr: tuple[str, int]
    target: tuple[str, int] | None
    target_addr_bytes: bytes | None
    message_type: bytes
    message: bytes
    clock_time: int
    source_addr_string: str = field(init=False)

    def __post_init__(self) -> None:
        host, port = self.source_addr
        object.__setattr__(self, "source_addr_string", f"{host}:{port}")

    def get_message_payload(self) -> bytes:
        """What follows the name."""
        return self.message.partition(b":")[2]


@dataclass(slots=True)
class ParseResult:
    """A message with its sections. Used where hyperscale's own class is not imported."""

    context: MessageContext
    health_piggyback: bytes | None = None
    membership_piggyback: bytes | None = None


class MessageParser:
    """Stands in for `hyperscale.distributed.swim.message_handling.core.MessageParser`.

    Sections are found whatever their order, each ends where the next one begins, and those that
    requests carry after the known ones (`#|w`, `#|v`) are cut off as well, so that they do not end
    up in a port number.
    """

    STATE_SEPARATOR: ClassVar[bytes] = b"#|s"
    MEMBERSHIP_SEPARATOR: ClassVar[bytes] = b"#|m"
    HEALTH_SEPARATOR: ClassVar[bytes] = b"#|h"
    WORKER_STATE_SEPARATOR: ClassVar[bytes] = b"#|w"
    COORDINATE_SEPARATOR: ClassVar[bytes] = b"#|v"
    CROSS_CLUSTER_PREFIXES: ClassVar[tuple[bytes, ...]] = (b"xprobe", b"xack", b"xnack")

    def __init__(
        self,
        server: Any,
        process_embedded_state: Callable[[bytes, tuple[str, int]], Any] | None = None,
    ) -> None:
        self._server = server
        self._process_embedded_state = process_embedded_state

    def parse(self, source_addr: tuple[str, int], data: bytes, clock_time: int) -> Any:
        """Takes a message apart. Never raises: what cannot be read is left out."""
        name, arrow, rest = data.partition(b">")
        if arrow and name in self.CROSS_CLUSTER_PREFIXES:
            # The rest is a pickle, in which any bytes may look like a section.
            return self._result(source_addr, name, source_addr, rest, clock_time, {})
        base, sections = self._cut(data)
        message, arrow, target_bytes = base.partition(b">")
        if (state := sections.get(self.STATE_SEPARATOR)) is not None:
            self._take_state(state[len(self.STATE_SEPARATOR) :], source_addr)
        target = self._parse_target_address(target_bytes) if arrow else None
        return self._result(
            source_addr,
            message,
            target,
            target_bytes if arrow else None,
            clock_time,
            sections,
        )

    def _cut(self, data: bytes) -> tuple[bytes, dict[bytes, bytes]]:
        """The message without its sections, and the first section of each kind."""
        known = (
            self.STATE_SEPARATOR,
            self.MEMBERSHIP_SEPARATOR,
            self.HEALTH_SEPARATOR,
            self.WORKER_STATE_SEPARATOR,
            self.COORDINATE_SEPARATOR,
        )
        starts = sorted((at, kind) for kind in known if (at := data.find(kind)) > 0)
        if not starts:
            return data, {}
        ends = [at for at, _ in starts[1:]] + [len(data)]
        sections = {kind: data[at:end] for (at, kind), end in zip(starts, ends, strict=True)}
        return data[: starts[0][0]], sections

    def _result(
        self,
        source_addr: tuple[str, int],
        message: bytes,
        target: tuple[str, int] | None,
        target_bytes: bytes | None,
        clock_time: int,
        sections: dict[bytes, bytes],
    ) -> Any:
        context = host_attribute(_MODELS, "MessageContext", MessageContext)(
            source_addr=source_addr,
            target=target,
            target_addr_bytes=target_bytes,
            message_type=message.partition(b":")[0],
            message=message,
            clock_time=clock_time,
        )
        return host_attribute(_MODELS, "ParseResult", ParseResult)(
            context=context,
            health_piggyback=sections.get(self.HEALTH_SEPARATOR),
            membership_piggyback=sections.get(self.MEMBERSHIP_SEPARATOR),
        )

    def _take_state(self, encoded: bytes, source_addr: tuple[str, int]) -> None:
        if self._process_embedded_state is None:
            return
        try:
            state = b64decode(encoded)
        except (binascii.Error, ValueError):
            return
        call_back("embedded state", self._process_embedded_state, state, source_addr)

    def _parse_target_address(self, target_addr_bytes: bytes) -> tuple[str, int] | None:
        host, colon, port = target_addr_bytes.rpartition(b":")
        if not (colon and host and port.isdigit() and len(port) <= 5):
            return None
        number = int(port)
        try:
            return (host.decode(), number) if number <= _PORT_MAX else None
        except UnicodeDecodeError:
            return None
