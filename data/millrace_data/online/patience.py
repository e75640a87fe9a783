"""Waiting for a store that is away, as long as one has patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from millrace_core.base.errors import RetryError
from millrace_core.base.retry import delays

T = TypeVar("T")


class RunLostError(RetryError):
    """The run as a whole may be done again; to try this step of it again does not help."""


class StoreRestartedError(RunLostError):
    """Another server answers than the one that took the first rows, or the same one has forgotten them."""

    reason = "StoreRestarted"

    def __init__(self, shown: str) -> None:
        super().__init__(
            f"the online store {shown} was restarted, replaced or emptied during the run, so it may have lost what was "
            "written",
            hint="Run it again; the watermark has not moved",
        )


def patiently(call: Callable[[], T], patience: float, sleep: Callable[[float], None] = time.sleep) -> T:
    """The call's result; while it raises ``RetryError`` it is tried again, for ``patience`` seconds.

    A run that is lost is not waited for: what a restarted store has lost does not come back.
    """
    for delay in delays(patience):
        try:
            return call()
        except RunLostError:
            raise
        except RetryError:
            sleep(delay)
    return call()
