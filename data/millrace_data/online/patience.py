"""Waiting for a store that is away, as long as one has patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from millrace_core.base.errors import RetryError

T = TypeVar("T")

_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 2.0


def delays(patience: float) -> Iterator[float]:
    """Seconds to wait before each new attempt: growing, and ``patience`` in all."""
    away = 0.0
    delay = _FIRST_DELAY
    while away < patience:
        yield delay
        away += delay
        delay = min(2 * delay, _LONGEST_DELAY)


def patiently(call: Callable[[], T], patience: float, sleep: Callable[[float], None] = time.sleep) -> T:
    """The call's result; while it raises ``RetryError`` it is tried again, for ``patience`` seconds."""
    for delay in delays(patience):
        try:
            return call()
        except RetryError:
            sleep(delay)
    return call()
