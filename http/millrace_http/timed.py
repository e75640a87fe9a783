"""When something of a connection is overdue: a head or a body, an answer that is not taken, a rest that is too long.

One timer per connection rings at the earliest moment at which something may be due, and then looks; a request that
comes in one piece starts and stops none.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from millrace_http.arrival import BODY, NEXT, Arrival
from millrace_http.limits import Limits
from millrace_http.refusal import Refusal

# How long a connection is read on after its refusal.
LINGER_SECONDS: Final = 2.0


class TimedProtocol(HttpToolsProtocol):
    """What the timer and the door see of a connection; what comes and goes on it ``GuardedProtocol`` knows.

    Args:
        limits: of its server.
    """

    # Of an object with more than 30 attributes beside its slots Python looks each one up slowly; uvicorn has some 27.
    __slots__ = (
        "_arrival",
        "_due",
        "_lingers_since",
        "_rests_since",
        "_rings",
        "_stalled_since",
        "_unsent",
        "deaf",
        "limits",
        "running",
    )
    cycle: Any

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self.limits = limits
        self.running = 0  # requests that are begun and not yet answered
        self.deaf = False  # what still comes is not read any more
        self._due = NEXT
        self._arrival: Arrival | None = None  # of the present message, where it does not come in one piece
        self._rests_since = self._lingers_since = self._stalled_since = 0.0
        self._unsent = 0
        self._rings = inf

    def refuse(self, refusal: Refusal) -> None:
        """Answers so what is overdue."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._stalled_since = self.loop.time()
        self._ring_by(self._stalled_since + self.limits.write_seconds)

    # The door's view.

    @property
    def resting_since(self) -> float | None:
        """When it began to rest; None while a request or its answer is under way, or what was refused is read on."""
        if self._due or self.deaf or self.running or self.transport.get_write_buffer_size():
            return None
        return self._rests_since

    def give_way(self) -> None:
        """Closes it, for a new one."""
        if self._due or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # The timer.

    def timeout_keep_alive_handler(self) -> None:
        """Looks whether something is overdue."""
        self.timeout_keep_alive_task = None
        self._rings = inf
        if self.transport.is_closing() and not self.transport.get_write_buffer_size():
            return
        due = self._deadline()
        if due > self.loop.time():
            self._ring_by(due)
        elif self.deaf or self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()
        elif self._due:
            self.refuse(Refusal(408, f"the request's {'body' if self._due == BODY else 'head'} came too slowly"))
        else:
            self.give_way()

    def _deadline(self) -> float:
        now, limits = self.loop.time(), self.limits
        if self.flow.write_paused:
            unsent = self.transport.get_write_buffer_size()
            if unsent < self._unsent:
                self._unsent, self._stalled_since = unsent, now
            return self._stalled_since + limits.write_seconds
        if self.deaf:
            return (now if self.running else self._lingers_since) + LINGER_SECONDS
        if self._due and self._arrival is not None:
            if not (self._due == BODY and self.flow.read_paused):
                return self._arrival.deadline
            self._arrival.restart(now)
        if self._due or self.running:
            return now + limits.body_seconds
        return self._rests_since + (limits.head_seconds if self.cycle is None else self.timeout_keep_alive)

    def _ring_by(self, moment: float) -> None:
        if self._rings <= moment:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self._rings = moment
        seconds = max(0.0, moment - self.loop.time())
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _unset_keepalive_if_required(self) -> None:
        """uvicorn would stop the timer at each request; here it looks, when it rings, at what has come."""
