"""A message that comes in more than one piece: how much of it came, since when, and by when the rest must come."""

from __future__ import annotations

from typing import Final

from millrace_http import head
from millrace_http.limits import Limits
from millrace_http.refusal import Refusal

# What is due next on a connection: a message, or of the present one its head or its body.
NEXT: Final = 0
HEAD: Final = 1
BODY: Final = 2

# Of a body, what may come on the wire for each byte that is allowed: chunks have heads.
WIRE_FACTOR: Final = 4


class Arrival:
    """The head or the body of a message, whose first piece was not all of it.

    Args:
        due: which of the two.
        now: when its first piece came, in seconds of the loop's clock.

    Attributes:
        deadline: by when the rest must have come, by the same clock.
        wire: bytes on the wire behind the first piece.
    """

    __slots__ = ("_gap", "_limits", "deadline", "due", "wire")

    def __init__(self, due: int, now: float, limits: Limits) -> None:
        self.due = due
        self.deadline = now + (limits.head_seconds if due == HEAD else limits.body_seconds)
        self.wire = 0
        self._gap = 0  # the last of these bytes, in which there was nothing of a body
        self._limits = limits

    def add(self, size: int, *, body: bool) -> None:
        """Another piece of so many bytes has come, and with it something of the body, or nothing."""
        if self.due == BODY:
            self.deadline += size / self._limits.body_rate
        self.wire += size
        self._gap = 0 if body else self._gap + size

    def restart(self, now: float) -> None:
        """Until now nobody has waited for the rest of the body."""
        self.deadline = now + self._limits.body_seconds + self.wire / self._limits.body_rate

    def excess(self, target: bytes) -> Refusal | None:
        """The refusal of more than may come; the parser tells what a head or body holds only where it is whole."""
        limits = self._limits
        if self.due == HEAD:
            if len(target) > limits.target_bytes:
                return head.long_target(limits)
            return head.large_head(limits) if self.wire > limits.head_bytes + limits.target_bytes else None
        if self._gap > limits.head_bytes:
            return Refusal(400, "the chunks of the body have too much beside its bytes")
        if self.wire > WIRE_FACTOR * limits.body_bytes + limits.head_bytes:
            return Refusal(413, f"the body takes more than {WIRE_FACTOR} times {limits.body_bytes} bytes")
        return None
