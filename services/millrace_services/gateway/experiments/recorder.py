"""What was logged reaches the store: at once, or later where the store was away, and again where it was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from millrace_core.base.errors import MillraceError, RetryError
from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.experiments.published import Experiments, PublishedExperiment
from millrace_data.online import experiment_sums
from millrace_services.gateway.experiments.group_commit import GroupCommit
from millrace_services.gateway.experiments.store import SumsStore

if TYPE_CHECKING:
    from millrace_data.evidence.commit_log import CommitLog
    from millrace_data.evidence.spool import Segment
    from millrace_services.gateway.experiments.logs import Logs

logger = logging.getLogger(__name__)

# It is in the log, and not in the store yet.
PENDING: Final = 3

_LOOK_SECONDS: Final = 1.0
# So long other gateways get to tell a new store what is in their own logs, before the sums count as whole.
_GRACE_SECONDS: Final = 2.5
_SHIP_SECONDS: Final = 60.0
# The lock of who rebuilds is renewed meanwhile: that of a gateway which was killed holds nobody up for long.
_LOCK_SECONDS: Final = 10.0
_ENDED: Final = ("Succeeded", "Failed", "Inconclusive")


class Recorder:
    """Logs exposures and outcomes and keeps the store's sums.

    Args:
        experiments: those that are known now; None before anything is known.
        now: the present moment in microseconds.
    """

    def __init__(
        self, logs: Logs, store: SumsStore, experiments: Callable[[], Experiments | None], now: Callable[[], int]
    ) -> None:
        self.logs = logs
        self._store = store
        self._experiments = experiments
        self._now = now
        self.exposures: GroupCommit[Exposure] = GroupCommit(logs.log_exposures, self._exposed)
        self.outcomes: GroupCommit[Outcome] = GroupCommit(logs.log_outcomes, self._counted)
        self._incarnations: dict[str, str] = {}
        self._filling: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Tells the store what it lacks, and ships, until cancelled."""
        shipped = monotonic()
        while True:
            for work in (self._catch_up, self._look):
                try:
                    await work()
                except MillraceError as error:
                    logger.warning("the store lacks exposures or outcomes that are logged: %s", error)
                except Exception:  # nobody waits for it
                    logger.exception("the store could not be told what is logged")
            if monotonic() - shipped >= _SHIP_SECONDS:
                shipped = monotonic()
                await self._ship()
            await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """Ends what is under way, and ships what may go."""
        for task in list(self._filling.values()):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.exposures.drain()
        await self.outcomes.drain()
        await self._ship()
        self.logs.close()

    async def rebuild(self, experiment: PublishedExperiment) -> None:
        """Makes the sums of an experiment anew, of all that the logs have.

        Raises:
            RetryError: another gateway does it, the lake or the store does not answer, or the keys went away meanwhile.
        """
        incarnation = str(uuid4())
        await self._fill(experiment, incarnation, clear=True)

    async def _fill(self, experiment: PublishedExperiment, incarnation: str, *, clear: bool) -> None:
        if not await self._store.lock(experiment, _LOCK_SECONDS):
            raise RetryError("another gateway rebuilds these sums just now", reason="Rebuilding")
        keeping = asyncio.create_task(self._keep_lock(experiment))
        try:
            if clear:
                await self._store.clear(experiment, incarnation, self._now())
            else:
                await self._store.begin(experiment, incarnation)
            self._incarnations[experiment.identity] = incarnation
            began = monotonic()
            await self._replay(experiment)
            await asyncio.sleep(max(0.0, began + _GRACE_SECONDS - monotonic()))
            if not await self._store.finish(experiment, incarnation):
                raise RetryError("the sums were lost again while they were rebuilt", reason="SumsNotWhole")
            logger.info("sums are whole", extra={"experiment": experiment.identity})
        finally:
            keeping.cancel()
            with suppress(MillraceError):
                await self._store.unlock(experiment)

    async def _keep_lock(self, experiment: PublishedExperiment) -> None:
        while True:
            await asyncio.sleep(_LOCK_SECONDS / 4)
            with suppress(MillraceError):
                await self._store.keep_lock(experiment, _LOCK_SECONDS)

    async def _replay(self, experiment: PublishedExperiment) -> None:
        lots = await asyncio.to_thread(lambda: iter(self.logs.known_exposures(experiment)))
        while (exposures := await asyncio.to_thread(next, lots, None)) is not None:
            exposures.sort(key=lambda each: each.time)
            await self._store.expose(experiment, exposures)
        outcome_lots = await asyncio.to_thread(lambda: iter(self.logs.known_outcomes(experiment)))
        while (outcomes := await asyncio.to_thread(next, outcome_lots, None)) is not None:
            outcomes.sort(key=lambda each: each.received)
            await self._store.count(experiment, outcomes)

    async def _look(self) -> None:
        """Fills the sums of experiments that the store has not, or not whole."""
        experiments = self._experiments()
        for experiment in experiments.known.values() if experiments is not None else ():
            if not experiment.began or experiment.phase in _ENDED:
                continue
            whole, incarnation = await self._store.state(experiment)
            before = self._incarnations.get(experiment.identity)
            if incarnation:
                self._incarnations[experiment.identity] = incarnation
            if before is not None and incarnation != before:
                self.logs.exposures.fall_behind()
                self.logs.outcomes.fall_behind()
            if whole == experiment_sums.metrics_digest(experiment):
                continue
            if experiment.identity not in self._filling:
                # Of other metrics: sums of the new ones lack what came before.
                task = asyncio.create_task(self._fill_alone(experiment, clear=bool(incarnation)))
                self._filling[experiment.identity] = task
                task.add_done_callback(partial(self._filled, experiment.identity))

    def _filled(self, identity: str, _: asyncio.Task[None]) -> None:
        del self._filling[identity]

    async def _fill_alone(self, experiment: PublishedExperiment, *, clear: bool) -> None:
        try:
            await self._fill(experiment, str(uuid4()), clear=clear)
        except MillraceError as error:
            logger.warning("sums are not whole: %s", error, extra={"experiment": experiment.identity})
        except Exception:  # the next look tries again
            logger.exception("sums could not be made whole", extra={"experiment": experiment.identity})

    async def _catch_up(self) -> None:
        """Tells the store segments that it may lack."""
        if self._experiments() is None:
            return
        for log in (self.logs.exposures, self.logs.outcomes):
            while (segment := log.take_behind()) is not None:
                done = False
                try:
                    await self._tell(log, segment)
                    done = True
                finally:
                    log.applied(segment.sequence, done=done)

    async def _tell(self, log: CommitLog, segment: Segment) -> None:
        from millrace_core.evidence import outcome_rows  # noqa: PLC0415 Arrow

        for block in await asyncio.to_thread(_blocks, log, segment):
            if log is self.logs.exposures:
                await self._expose(list(outcome_rows.exposures(block)))
            else:
                await self._count(list(outcome_rows.outcomes(block)))

    async def _exposed(self, records: Sequence[Exposure], sequence: int) -> list[int]:
        try:
            await self._expose(records)
        except MillraceError as error:
            return self._late(self.logs.exposures, sequence, error, len(records))
        except BaseException:
            self.logs.exposures.applied(sequence, done=False)
            raise
        self.logs.exposures.applied(sequence, done=True)
        return [experiment_sums.ACCEPTED] * len(records)

    async def _counted(self, records: Sequence[Outcome], sequence: int) -> list[int]:
        try:
            answers = await self._count(records)
        except MillraceError as error:
            return self._late(self.logs.outcomes, sequence, error, len(records))
        except BaseException:
            self.logs.outcomes.applied(sequence, done=False)
            raise
        self.logs.outcomes.applied(sequence, done=True)
        return answers

    def _late(self, log: CommitLog, sequence: int, error: MillraceError, count: int) -> list[int]:
        log.applied(sequence, done=False)
        logger.warning("what was logged is told to the store later: %s", error)
        return [PENDING] * count

    async def _expose(self, records: Sequence[Exposure]) -> None:
        for experiment, places in self._by_experiment(records):
            await self._store.expose(experiment, [records[place] for place in places])

    async def _count(self, records: Sequence[Outcome]) -> list[int]:
        answers = [experiment_sums.UNEXPOSED] * len(records)
        for experiment, places in self._by_experiment(records):
            found = await self._store.count(experiment, [records[place] for place in places])
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return answers

    def _by_experiment(self, records: Sequence[Exposure | Outcome]) -> list[tuple[PublishedExperiment, list[int]]]:
        """The experiments that still are, and the places of their records."""
        known = (self._experiments() or Experiments()).known
        places: dict[tuple[str, str, str], list[int]] = {}
        for place, each in enumerate(records):
            places.setdefault((each.namespace, each.experiment, each.uid), []).append(place)
        return [
            (found, of)
            for (namespace, name, uid), of in places.items()
            if (found := known.get((namespace, name))) is not None and found.uid == uid
        ]

    async def _ship(self) -> None:
        try:
            await asyncio.to_thread(self.logs.ship)
        except Exception:
            logger.exception("exposures and outcomes could not be shipped")


def _blocks(log: CommitLog, segment: Segment) -> list[Any]:
    return list(log.read(segment))
