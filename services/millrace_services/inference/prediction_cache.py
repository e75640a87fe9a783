"""Answers of the model, kept for a while for requests that are the same.

Whole requests are kept, not rows: an answer is then what one run gave, to the last bit, whichever rows others have
asked for, and a lookup is one hash.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from sys import getsizeof
from time import monotonic
from typing import Final, NamedTuple

import numpy as np

from millrace_services.inference.prediction import Prediction, Timings
from millrace_services.inference.tensors import OutputTensor

# What found a prediction: as it was kept, with a request that was being answered, or not.
HIT: Final = "hit"
SHARED: Final = "shared"
MISS: Final = "miss"
# Those for which the model was not run.
KEPT: Final = frozenset({HIT, SHARED})

# Bytes of an answer: to copy more of them takes more than a millisecond of the event loop.
LARGEST: Final = 4 * 1024**2
# Texts are weighed one by one; more of them than this are too many bytes without a look.
_MOST_TEXTS: Final = 1 << 14
# Of an entry beside its values: key, lists, places in tables.
_ENTRY_BYTES: Final = 1024
_ARRAY_BYTES: Final = 256

Run = Callable[[], Awaitable[Prediction]]


class _Entry(NamedTuple):
    outputs: list[OutputTensor]
    bytes: int
    ends: float


@dataclass(frozen=True)
class CacheLimits:
    """How much is kept, and for how many seconds after its run."""

    seconds: float
    entries: int
    bytes: int


class PredictionCache:
    """The answers of one model.

    Only answers are kept and shared. Whoever waited for a request that failed, or whose client left, runs by itself.

    Args:
        count: called for each request with ``HIT``, ``SHARED`` or ``MISS``.
        clock: seconds.
    """

    def __init__(
        self, limits: CacheLimits, count: Callable[[str], None] = lambda _: None, clock: Callable[[], float] = monotonic
    ) -> None:
        self._limits = limits
        self._count = count
        self._clock = clock
        # The one used longest ago first.
        self._kept: OrderedDict[bytes, _Entry] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[list[OutputTensor] | None]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def answer(self, key: bytes, run: Run) -> Prediction:
        """The prediction of a key: kept, of a request that is being answered, or by ``run``.

        Raises:
            Exception: what ``run`` raises.
        """
        outputs = self._found(key)
        if outputs is not None:
            self._count(HIT)
            return Prediction(outputs, Timings(), HIT)
        first = self._running.get(key)
        if first is None:
            return await self._lead(key, run)
        came = self._clock()
        outputs = await asyncio.shield(first)  # who leaves takes it from no other
        if outputs is not None:
            self._count(SHARED)
            return Prediction(outputs, Timings(queue=self._clock() - came), SHARED)
        if key not in self._running:
            return await self._lead(key, run)
        self._count(MISS)
        return (await run())._replace(cache=MISS)

    async def _lead(self, key: bytes, run: Run) -> Prediction:
        """Runs for all who ask for the same meanwhile."""
        self._count(MISS)
        running = self._running[key] = asyncio.get_running_loop().create_future()
        outputs = None
        try:
            made = await run()
            outputs = self._keep(key, made.outputs)
            return made._replace(outputs=outputs, cache=MISS)
        finally:
            del self._running[key]
            running.set_result(outputs)

    def _found(self, key: bytes) -> list[OutputTensor] | None:
        entry = self._kept.get(key)
        if entry is None:
            return None
        if entry.ends <= self._clock():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return entry.outputs

    def _keep(self, key: bytes, outputs: list[OutputTensor]) -> list[OutputTensor]:
        """Keeps outputs that are not too large; returns those to give away."""
        size = _ENTRY_BYTES + sum(map(_size, outputs))
        if size > min(self._limits.bytes, LARGEST):
            return outputs
        outputs = [_own(output) for output in outputs]
        if key in self._kept:
            self._drop(key)
        self._kept[key] = _Entry(outputs, size, self._clock() + self._limits.seconds)
        self.bytes += size
        while self.bytes > self._limits.bytes or len(self._kept) > self._limits.entries:
            self._drop(next(iter(self._kept)))
        return outputs

    def _drop(self, key: bytes) -> None:
        self.bytes -= self._kept.pop(key).bytes


def _own(output: OutputTensor) -> OutputTensor:
    """An output that holds its own values alone, none of other requests of its run, and that nobody writes to."""
    values = output.values
    if isinstance(values.base, np.ndarray):
        values = values.copy()
    values.flags.writeable = False
    return output._replace(values=values)


def _size(output: OutputTensor) -> int:
    values = output.values
    size = _ARRAY_BYTES + values.nbytes
    if values.dtype.kind != "O":
        return size
    return size + sum(map(getsizeof, values.flat)) if values.size <= _MOST_TEXTS else size + LARGEST
