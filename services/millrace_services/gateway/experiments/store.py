"""An experiment's sums as the gateway asks the online store for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final, TypeVar

from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.experiments.published import PublishedExperiment
from millrace_core.experiments.sums import ExperimentSums, MetricSums
from millrace_data.online import experiment_sums, sums_state
from millrace_data.online.sums_script import TELL
from millrace_data.online.sums_state import LogState, Script, Stored
from millrace_services.gateway.store import RowStore

T = TypeVar("T")

_TELL: Final = Script.of(TELL)
# Calls that are under way at once: the last one's answer has to come within the store's timeout.
_TOGETHER: Final = 4
_NO_EXPOSURES: Final[Sequence[Exposure]] = ()
_NO_OUTCOMES: Final[Sequence[Outcome]] = ()


class SumsStore:
    """The sums in the store. All methods raise what ``RowStore`` raises.

    Args:
        now: the present moment in microseconds.
    """

    def __init__(self, store: RowStore, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now

    async def expose(self, experiment: PublishedExperiment, exposures: Sequence[Exposure], writer: str) -> None:
        """Tells exposures of a log."""
        for together in _slices(list(_slices(exposures, experiment_sums.MOST_AT_ONCE)), _TOGETHER):
            await asyncio.gather(*(self._tell(experiment, some, _NO_OUTCOMES, writer) for some in together))

    async def arms(self, experiment: PublishedExperiment, units: Sequence[str]) -> dict[str, str]:
        """The arms of those units that are known to be exposed."""
        found: dict[str, str] = {}
        key = experiment_sums.base_key(experiment.identity) + b"units"
        for some in _slices(units, experiment_sums.MOST_AT_ONCE):
            values = await self._store.execute(b"HMGET", key, [unit.encode() for unit in some])
            found |= {
                unit: value.split(b"\0", 1)[0].decode()
                for unit, value in zip(some, values, strict=True)
                if value is not None
            }
        return found

    async def count(self, experiment: PublishedExperiment, outcomes: Sequence[Outcome], writer: str) -> list[int]:
        """Tells outcomes of a log; what became of each."""
        answers: list[int] = []
        for together in _slices(list(_lots(outcomes)), _TOGETHER):
            # One after the other in the store, as they have one connection.
            found = await asyncio.gather(*(self._tell(experiment, _NO_EXPOSURES, some, writer) for some in together))
            answers += [each for some in found for each in some]
        return answers

    async def _tell(
        self, experiment: PublishedExperiment, exposures: Sequence[Exposure], outcomes: Sequence[Outcome], writer: str
    ) -> list[int]:
        arguments = experiment_sums.arguments(experiment, exposures, outcomes, self._now(), writer)
        found: list[int] = await self._evaluate(experiment, _TELL, arguments)
        return found

    async def look(self, experiment: PublishedExperiment, uid: str, incarnation: str, said: LogState) -> Stored:
        """What is whole, and the logs as they were before ``said`` became known of the log ``uid``."""
        arguments = [uid.encode(), incarnation.encode(), *said.arguments(), b"%d" % experiment_sums.KEPT_SECONDS]
        return sums_state.stored(await self._evaluate(experiment, sums_state.LOOK, arguments))

    async def read(self, experiment: PublishedExperiment) -> Stored:
        """All that is read of the sums, at one moment."""
        return sums_state.stored(await self._evaluate(experiment, sums_state.READ, []))

    async def begin(self, experiment: PublishedExperiment, incarnation: str, peers: Mapping[str, str]) -> None:
        """Keys that have none get this incarnation, and the logs that are known of."""
        arguments = sums_state.begin_arguments(incarnation, self._now(), peers.items())
        await self._evaluate(experiment, sums_state.BEGIN, arguments)

    async def clear(self, experiment: PublishedExperiment, incarnation: str) -> None:
        """Takes all sums of the experiment away; they begin anew as this incarnation."""
        await self._evaluate(experiment, sums_state.CLEAR, sums_state.clear_arguments(incarnation, self._now()))

    async def finish(self, experiment: PublishedExperiment, incarnation: str) -> bool:
        """Says that all of the lake is there; False where the keys are of another incarnation."""
        digest = experiment_sums.metrics_digest(experiment)
        return bool(await self._evaluate(experiment, sums_state.FINISH, [incarnation.encode(), digest.encode()]))

    async def doubt(self, experiment: PublishedExperiment) -> None:
        """The sums lack something: they are to be made anew."""
        await self._store.execute(b"HDEL", experiment_sums.base_key(experiment.identity) + b"state", [b"whole"])

    async def give_up(self, experiment: PublishedExperiment, uids: Iterable[str]) -> None:
        """Logs that nobody waits for."""
        key = experiment_sums.base_key(experiment.identity) + b"logs"
        if named := [uid.encode() for uid in uids]:
            await self._store.execute(b"HDEL", key, named)

    async def lock(self, experiment: PublishedExperiment, incarnation: str, seconds: float) -> bool:
        """Whether this incarnation, and no other, is filled for so long."""
        key = experiment_sums.base_key(experiment.identity) + b"lock"
        arguments = [incarnation.encode(), b"NX", b"PX", b"%d" % (seconds * 1000)]
        return await self._store.execute(b"SET", key, arguments) is not None

    async def keep_lock(self, experiment: PublishedExperiment, incarnation: str, seconds: float) -> bool:
        """The lock lasts so long from now; False where it is somebody else's, or nobody's."""
        arguments = [incarnation.encode(), b"%d" % (seconds * 1000)]
        return bool(await self._evaluate(experiment, sums_state.KEEP_LOCK, arguments))

    async def unlock(self, experiment: PublishedExperiment, incarnation: str) -> None:
        """Lets others fill, where the lock is still this one's."""
        await self._evaluate(experiment, sums_state.UNLOCK, [incarnation.encode()])

    async def _evaluate(self, experiment: PublishedExperiment, script: Script, arguments: Sequence[bytes]) -> Any:
        return await self._store.evaluate(script, experiment_sums.base_key(experiment.identity), arguments)


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


def _cell(sums: Mapping[bytes, bytes], cell: bytes, *, has_other: bool) -> MetricSums:
    x, xx, z, zz, xz = (experiment_sums.exact(sums.get(cell + part, b"")) for part in (b"x", b"xx", b"z", b"zz", b"xz"))
    if not has_other:
        return MetricSums(n=int(sums[cell + b"n"]), sum=x, sum_squares=xx)
    return MetricSums(
        n=int(sums[cell + b"n"]), sum=x, sum_squares=xx, sum_other=z, sum_other_squares=zz, sum_products=xz
    )


def _lots(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    """Outcomes that were received in one period, not too many at once, in order."""
    period = experiment_sums.period
    if outcomes and period(outcomes[0].received) == period(outcomes[-1].received):
        yield from _slices(outcomes, experiment_sums.MOST_AT_ONCE)  # they are in the order of that
        return
    for _, group in groupby(outcomes, lambda each: period(each.received)):
        yield from _slices(list(group), experiment_sums.MOST_AT_ONCE)


def _slices(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (items[start : start + most] for start in range(0, len(items), most))
