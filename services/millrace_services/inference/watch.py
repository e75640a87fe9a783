"""Runs on the event loop that take much longer than was learned are stopped, by a thread that looks at them.

While the model computes on the loop nothing else is answered, not even a probe. A model whose values decide how long
it runs (a ``Loop`` that counts to an input) would hold the loop for as long as one request likes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

_TICK_SECONDS: Final = 0.02
# Of ticks, not of the wall clock: a process that was stopped for a while has no hung run. The processor may be somebody
# else's, or the run's own threads compute while this one waits.
_PATIENCE_TICKS: Final = 50
# A single operator cannot be stopped.
HUNG_TICKS: Final = 500


class Watch:
    """Made on the event loop's thread, which it watches.

    Args:
        stop: ends the run at work, between two operators.
        hung: called when a run went on for ``HUNG_TICKS``, 10 seconds, all the same.
    """

    def __init__(self, stop: Callable[[], Any], hung: Callable[[], Any]) -> None:
        # Not 0 while a run is at work, and another number for each.
        self.run = 0
        self._stop = stop
        self._hung = hung
        self._clock = time.pthread_getcpuclockid(threading.get_ident())
        self._closed = threading.Event()
        threading.Thread(target=self._look, name="watch", daemon=True).start()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()

    def _look(self) -> None:
        seen, ticks, used = 0, 0, 0.0
        while not self._closed.wait(_TICK_SECONDS):
            run, processor = self.run, time.clock_gettime(self._clock)
            ticks += 1
            if run == 0 or run != seen:
                seen, ticks, used = run, 0, processor
            elif ticks > HUNG_TICKS:
                self._hung()
            elif processor - used > _TICK_SECONDS / 2 or ticks > _PATIENCE_TICKS:
                self._stop()
