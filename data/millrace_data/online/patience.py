"""Waiting for a store that is away, as long as one has patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from millrace_core.base.errors import RetryError

T = TypeVar("T")

_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 2.0


class StoreRestartedError(RetryError):
    """Another server answers than the one that took the first rows, or the same one has forgotten them."""

    reason = "StoreRestarted"

    def __init__(self, shown: str) -> None:
        super().__init__(
            f"the online store {shown} was restarted, replaced or emptied during the run, so it may have lost what was "
            "written",
            hint="Run it again; the watermark has not moved",
        )


def delays(patience: float) -> Iterator[float]:
    """Seconds to wait before each new attempt: growing, and ``patience`` in all."""
    away = 0.0
    delay = _FIRST_DELAY
    while away < patience:
        yield delay
        away += delay
        delay = min(2 * delay, _LONGEST_DELAY)


def patiently(call: Callable[[], T], patience: float, sleep: Callable[[float], None] = time.sleep) -> T:
    """The call's result; while it raises ``RetryError`` it is tried again, for ``patience`` seconds.

    A store that was restarted is not waited for: what it has lost does not come back.
    """
    for delay in delays(patience):
        try:
            return call()
        except StoreRestartedError:
            raise
        except RetryError:
            sleep(delay)
    return call()
