"""Progress of a run for a person: a line that is rewritten on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TextIO

_ON_TERMINAL: Final = 0.2
_IN_LOG: Final = 5.0


class ProgressLine:
    """Call it with the rows so far and the share done."""

    def __init__(self, view: str, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._stream = stream
        self._clock = clock
        self._terminal = stream.isatty()
        self._began = self._shown = clock()

    def __call__(self, rows: int, done: float) -> None:
        """Shows it, unless that was done a moment ago."""
        now = self._clock()
        if now - self._shown < (_ON_TERMINAL if self._terminal else _IN_LOG):
            return
        self._shown = now
        rate = rows / (now - self._began)
        left = (now - self._began) * (1 - done) / done if done else 0.0
        line = f"{self._view}: {rows:,} rows ({done:.0%}), {rate:,.0f} rows/s, {left:.0f} s left"
        self._stream.write(f"\r{line}\x1b[K" if self._terminal else f"{line}\n")
        self._stream.flush()

    def close(self, line: str) -> None:
        """Shows the last line."""
        self._stream.write(f"\r{line}\x1b[K\n" if self._terminal else f"{line}\n")
        self._stream.flush()
