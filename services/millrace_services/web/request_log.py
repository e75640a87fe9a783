"""A line per request where that is wanted, and one for a request that took long."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from millrace_services.web.trace import Scope

logger = logging.getLogger(__name__)

# Where a handler leaves, in ASGI's scope, a function that tells what there is to say of its request.
DETAILS: Final = "millrace.details"
# Under overload every request is slow, and more than one line a second tells nobody more.
_SECONDS_BETWEEN: Final = 1.0
_QUIET: Final = ("/health/", "/v2/health/", "/metrics")


class RequestLog:
    """Decides which requests are logged.

    Attributes:
        least: seconds of a request that is worth a look, which is all that requests pay who are not logged.

    Args:
        every: whether all but probes and scrapes are.
        slow: seconds from which one is logged as slow, with how many others there were since the last; 0: none is.
    """

    def __init__(self, every: bool, slow: float, clock: Callable[[], float] = monotonic) -> None:
        self._every = every
        self._slow = slow or math.inf
        self._clock = clock
        self._next = -math.inf
        self._omitted = 0
        self.least = 0.0 if every else self._slow

    def write(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Logs a request that took ``least`` seconds."""
        if seconds >= self._slow and self._may_tell():
            extra = {**_fields(scope, route, status, seconds), "slowOmitted": self._omitted}
            self._omitted = 0
            logger.warning("slow request", extra=extra)
        elif self._every and not scope["path"].startswith(_QUIET):
            logger.info("request", extra=_fields(scope, route, status, seconds))

    def _may_tell(self) -> bool:
        now = self._clock()
        if now < self._next:
            self._omitted += 1
            return False
        self._next = now + _SECONDS_BETWEEN
        return True


def _fields(scope: Scope, route: str, status: int, seconds: float) -> dict[str, Any]:
    details: Callable[[], Mapping[str, Any]] | None = scope.get(DETAILS)
    return {
        "method": scope["method"],
        "path": scope["path"],
        "route": route,
        "status": status,
        "seconds": round(seconds, 6),
        **(details() if details is not None else {}),
    }
