"""The counts of a process that shows none: they go nowhere, and the library of metrics is not loaded for them."""

from __future__ import annotations

from typing import Any, Final, Self


class _Uncounted:
    """Stands for ``KubeMetrics`` and for each of its series."""

    def __getattr__(self, _: str) -> Self:
        return self

    def labels(self, *_: str) -> Self:
        return self

    def inc(self) -> None:
        """Counts nothing."""

    def set(self, value: float) -> None:
        """Shows nothing."""

    def observe(self, amount: float) -> None:
        """Measures nothing."""


UNCOUNTED: Final[Any] = _Uncounted()
