"""An experiment's sums as the gateway asks the online store for them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, TypeVar

from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.experiments.published import PublishedExperiment
from millrace_core.experiments.sums import ExperimentSums, MetricSums
from millrace_data.online import experiment_sums
from millrace_data.online.experiment_sums import CLEAR, FINISH, READ, SCRIPT, Stored
from millrace_data.online.resp import hash_reply
from millrace_services.gateway.store import RowStore

T = TypeVar("T")

# Periods of ids that a rebuilding may have brought back.
_PERIODS: Final = 120
# Calls that are under way at once: the last one's answer has to come within the store's timeout.
_TOGETHER: Final = 4
_NO_EXPOSURES: Final[Sequence[Exposure]] = ()
_NO_OUTCOMES: Final[Sequence[Outcome]] = ()


class SumsStore:
    """The sums in the store. All methods raise what ``RowStore`` raises."""

    def __init__(self, store: RowStore) -> None:
        self._store = store

    async def expose(self, experiment: PublishedExperiment, exposures: Sequence[Exposure]) -> None:
        """Tells exposures."""
        lots = [(0, some) for some in _slices(exposures, experiment_sums.MOST_AT_ONCE)]
        for together in _slices(lots, _TOGETHER):
            await asyncio.gather(*(self._run(experiment, some, _NO_OUTCOMES, at) for at, some in together))

    async def count(self, experiment: PublishedExperiment, outcomes: Sequence[Outcome]) -> list[int]:
        """Tells outcomes; what became of each."""
        answers: list[int] = []
        for together in _slices(list(_lots(outcomes)), _TOGETHER):
            # One after the other in the store, as they have one connection.
            found = await asyncio.gather(*(self._run(experiment, _NO_EXPOSURES, some, at) for at, some in together))
            answers += [each for some in found for each in some]
        return answers

    async def _run(
        self, experiment: PublishedExperiment, exposures: Sequence[Exposure], outcomes: Sequence[Outcome], period: int
    ) -> list[int]:
        arguments = experiment_sums.arguments(experiment, exposures, outcomes, period)
        _, _, answers = await self._evaluate(experiment, SCRIPT, arguments)
        found: list[int] = answers
        return found

    async def state(self, experiment: PublishedExperiment) -> tuple[str, str]:
        """What is whole, and the incarnation; both empty where the store has nothing."""
        key = experiment_sums.base_key(experiment.identity) + b"state"
        whole, incarnation = await self._store.execute(b"HMGET", key, [b"whole", b"incarnation"])
        return (whole or b"").decode(), (incarnation or b"").decode()

    async def read(self, experiment: PublishedExperiment) -> Stored:
        """All that is read of the sums, at one moment."""
        whole, incarnation, crossed, sums = await self._evaluate(experiment, READ, [])
        return Stored(whole.decode(), incarnation.decode(), crossed, hash_reply(sums))

    async def begin(self, experiment: PublishedExperiment, incarnation: str) -> None:
        """Keys that have none get this incarnation."""
        key = experiment_sums.base_key(experiment.identity) + b"state"
        await self._store.execute(b"HSETNX", key, [b"incarnation", incarnation.encode()])

    async def clear(self, experiment: PublishedExperiment, incarnation: str, now: int) -> None:
        """Takes all keys of the experiment away, but this incarnation."""
        last = experiment_sums.period(now)
        periods = [b"%d" % each for each in range(last - _PERIODS, last + 2)]
        kept = b"%d" % experiment_sums.KEPT_SECONDS
        await self._evaluate(experiment, CLEAR, [incarnation.encode(), kept, *periods])

    async def finish(self, experiment: PublishedExperiment, incarnation: str) -> bool:
        """Says that all is there; False where the keys are of another incarnation."""
        digest = experiment_sums.metrics_digest(experiment)
        return bool(await self._evaluate(experiment, FINISH, [incarnation.encode(), digest.encode()]))

    async def lock(self, experiment: PublishedExperiment, seconds: float) -> bool:
        """Whether this gateway may rebuild the experiment's sums for so long."""
        key = experiment_sums.base_key(experiment.identity) + b"lock"
        arguments = [b"1", b"NX", b"PX", b"%d" % (seconds * 1000)]
        return await self._store.execute(b"SET", key, arguments) is not None

    async def keep_lock(self, experiment: PublishedExperiment, seconds: float) -> None:
        """The lock lasts so long from now."""
        key = experiment_sums.base_key(experiment.identity) + b"lock"
        await self._store.execute(b"PEXPIRE", key, [b"%d" % (seconds * 1000)])

    async def unlock(self, experiment: PublishedExperiment) -> None:
        """Lets others rebuild."""
        await self._store.execute(b"DEL", experiment_sums.base_key(experiment.identity) + b"lock", [])

    async def _evaluate(self, experiment: PublishedExperiment, script: bytes, arguments: Sequence[bytes]) -> Any:
        key = experiment_sums.base_key(experiment.identity)
        return await self._store.execute(b"EVAL", key, [script, *arguments])


def answer(experiment: PublishedExperiment, stored: Stored, now: int) -> ExperimentSums:
    """The sums as the gateway answers them."""
    exposures: dict[int, dict[str, int]] = {}
    metrics: dict[str, dict[int, dict[str, MetricSums]]] = {each.name: {} for each in experiment.metrics}
    for field, value in stored.sums.items():
        kind, *rest = field.decode().split("\0")
        if kind == "e" and len(rest) == 2:  # noqa: PLR2004 epoch and arm
            exposures.setdefault(int(rest[0]), {})[rest[1]] = int(value)
    for metric in experiment.metrics:
        has_other = bool(metric.denominator or metric.covariate)
        for epoch, arms in exposures.items():
            for arm in arms:
                cell = f"{metric.name}\0{epoch}\0{arm}\0".encode()
                if cell + b"n" in stored.sums:
                    metrics[metric.name].setdefault(epoch, {})[arm] = _cell(stored.sums, cell, has_other=has_other)
    return ExperimentSums(
        as_of=datetime.fromtimestamp(now / 1e6, UTC),
        whole=True,
        exposures=exposures,
        metrics=metrics,
        crossovers=stored.crossed,
        unexposed=int(stored.sums.get(b"unexposed", 0)),
        late=int(stored.sums.get(b"late", 0)),
    )


def _cell(sums: dict[bytes, bytes], cell: bytes, *, has_other: bool) -> MetricSums:
    x, xx, z, zz, xz = (experiment_sums.exact(sums.get(cell + part, b"")) for part in (b"x", b"xx", b"z", b"zz", b"xz"))
    if not has_other:
        return MetricSums(n=int(sums[cell + b"n"]), sum=x, sum_squares=xx)
    return MetricSums(
        n=int(sums[cell + b"n"]), sum=x, sum_squares=xx, sum_other=z, sum_other_squares=zz, sum_products=xz
    )


def _lots(outcomes: Sequence[Outcome]) -> Iterator[tuple[int, Sequence[Outcome]]]:
    """Outcomes that were received in one period, not too many at once, in order."""
    for period, group in groupby(outcomes, lambda each: experiment_sums.period(each.received)):
        for some in _slices(list(group), experiment_sums.MOST_AT_ONCE):
            yield period, some


def _slices(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (items[start : start + most] for start in range(0, len(items), most))
