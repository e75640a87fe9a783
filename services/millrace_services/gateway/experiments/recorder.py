"""What was logged reaches the store: at once, or later where the store was away, and again where it was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from millrace_core.base.errors import MillraceError
from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.experiments.published import Experiments, PublishedExperiment
from millrace_data.online import experiment_sums
from millrace_services.gateway.experiments.filling import Filling
from millrace_services.gateway.experiments.group_commit import GroupCommit
from millrace_services.gateway.experiments.store import SumsStore

if TYPE_CHECKING:
    from millrace_data.evidence.commit_log import CommitLog
    from millrace_data.evidence.spool import Segment
    from millrace_services.gateway.experiments.logs import Logs

logger = logging.getLogger(__name__)

# It is in the log, and not in the store yet.
PENDING: Final = 3
# Its experiment went away while it was logged.
UNKNOWN: Final = 5

_LOOK_SECONDS: Final = 1.0
_SHIP_SECONDS: Final = 60.0

# Namespace, name and uid of an experiment.
Reference = tuple[str, str, str]


class _Sorted(NamedTuple):
    """Records by what can be done with them: the places of those to tell, of those to keep, and of those to forget."""

    told: list[tuple[PublishedExperiment, list[int]]]
    kept: dict[Reference, list[int]]
    gone: dict[Reference, list[int]]


class Recorder:
    """Logs exposures and outcomes and keeps the store's sums.

    Args:
        experiments: those that are known now; None before anything is known.
        now: the present moment in microseconds.
        gateway: its name, for people.
    """

    def __init__(
        self,
        logs: Logs,
        store: SumsStore,
        experiments: Callable[[], Experiments | None],
        now: Callable[[], int],
        gateway: str,
    ) -> None:
        self.logs = logs
        self._store = store
        self._experiments = experiments
        self.exposures: GroupCommit[Exposure] = GroupCommit(logs.log_exposures, self._exposed)
        self.outcomes: GroupCommit[Outcome] = GroupCommit(logs.log_outcomes, self._counted)
        self.filling = Filling(logs, store, experiments, self._lacks, now, gateway)
        # Segments with rows of experiments that could not be told, by the log's uid and the sequence.
        self._kept: dict[tuple[str, int], set[Reference]] = {}
        # Whose rows were let go, as nothing was known of them any more.
        self._gone: set[Reference] = set()

    async def run(self) -> None:
        """Tells the store what it lacks, and ships, until cancelled."""
        shipped = monotonic()
        while True:
            for work in (self._found_again, self.filling.look, self._catch_up):
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
        await self.filling.close()
        await self.exposures.drain()
        await self.outcomes.drain()
        await self._ship()
        try:
            await self.filling.look(all_of_them=True)
            await self.filling.leave()
        except MillraceError as error:
            logger.warning("other gateways wait for this one's log, as the store does not hear of it: %s", error)
        self.logs.close()

    def _lacks(self, experiment: PublishedExperiment) -> bool:
        """Whether rows of it are kept until they can be told."""
        reference = (experiment.namespace, experiment.name, experiment.uid)
        return any(reference in of for of in self._kept.values())

    async def _found_again(self) -> None:
        """The sums of experiments that are known again are made anew, as they lack what came meanwhile."""
        experiments = self._experiments()
        for reference in list(self._gone if experiments is not None else ()):
            found = experiments.known.get(reference[:2]) if experiments is not None else None
            if found is not None and found.uid == reference[2]:
                await self._store.doubt(found)
                self._gone.discard(reference)

    async def _catch_up(self) -> None:
        """Tells the store segments that it may lack."""
        if self._experiments() is None:
            return
        for log in (self.logs.exposures, self.logs.outcomes):
            while (segment := log.take_behind()) is not None:
                done = False
                try:
                    kept = await self._tell(log, segment, None)
                    done = True
                finally:
                    if done and kept:
                        self._keep(log, segment.sequence, kept)
                    else:
                        log.applied(segment.sequence, done=done)
            await self._tell_kept(log)

    async def _tell_kept(self, log: CommitLog) -> None:
        """Tells what was kept, once it can be told."""
        for segment in log.segments():
            of = self._kept.get((log.uid, segment.sequence), set())
            ready = {each for each in of if self._takes(each) is not False}
            if ready:
                left = await self._tell(log, segment, ready)
                of -= ready - left
                if not of:
                    del self._kept[log.uid, segment.sequence]
                    log.applied(segment.sequence, done=True)

    def _keep(self, log: CommitLog, sequence: int, references: set[Reference]) -> None:
        """A segment that was begun stays so until these are told."""
        before = self._kept.setdefault((log.uid, sequence), set())
        if before:
            log.applied(sequence, done=True)
        before |= references

    async def _tell(self, log: CommitLog, segment: Segment, only: set[Reference] | None) -> set[Reference]:
        """Tells a segment, or those rows of it; whose rows have to be kept."""
        from millrace_core.evidence import outcome_rows  # noqa: PLC0415 Arrow

        kept: set[Reference] = set()
        for block in await asyncio.to_thread(_blocks, log, segment):
            records: list[Any]
            if log is self.logs.exposures:
                records = list(outcome_rows.exposures(block))
            else:
                records = list(outcome_rows.outcomes(block))
            if only is not None:
                records = [each for each in records if _reference(each) in only]
            found = self._sorted(records, segment.sequence, held=True)
            kept |= found.kept.keys()
            if log is self.logs.exposures:
                await self._expose(records, found)
            else:
                await self._count(records, found)
        return kept

    async def _exposed(self, records: Sequence[Exposure], sequence: int) -> list[int]:
        return await self._take(self.logs.exposures, records, sequence, self._expose)

    async def _counted(self, records: Sequence[Outcome], sequence: int) -> list[int]:
        return await self._take(self.logs.outcomes, records, sequence, self._count)

    async def _take(self, log: CommitLog, records: Sequence[Any], sequence: int, tell: Any) -> list[int]:
        found = self._sorted(records, sequence, held=False)
        try:
            answers: list[int] = await tell(records, found)
        except MillraceError as error:
            log.applied(sequence, done=False)
            logger.warning("what was logged is told to the store later: %s", error)
            return [PENDING] * len(records)
        except BaseException:
            log.applied(sequence, done=False)
            raise
        if found.kept:
            self._keep(log, sequence, set(found.kept))
        else:
            log.applied(sequence, done=True)
        return answers

    async def _expose(self, records: Sequence[Exposure], found: _Sorted) -> list[int]:
        for experiment, places in found.told:
            await self._store.expose(experiment, [records[place] for place in places], self.logs.uid)
        return [experiment_sums.ACCEPTED] * len(records)

    async def _count(self, records: Sequence[Outcome], found: _Sorted) -> list[int]:
        answers = [PENDING] * len(records)
        for places in found.gone.values():
            for place in places:
                answers[place] = UNKNOWN
        for experiment, places in found.told:
            whole = len(places) == len(records)
            told = records if whole else [records[place] for place in places]
            became = await self._store.count(experiment, told, self.logs.uid)
            if whole:
                answers = became
            else:
                for place, answer in zip(places, became, strict=True):
                    answers[place] = answer
        return answers

    def _sorted(self, records: Sequence[Exposure | Outcome], sequence: int, *, held: bool) -> _Sorted:
        """Sorts records of a segment.

        Args:
            held: whether those are kept whose sums are not filled yet, and those left out that were told before.
        """
        by_reference: dict[Reference, list[int]] = {}
        for place, each in enumerate(records):
            by_reference.setdefault(each[:3], []).append(place)
        found = _Sorted([], {}, {})
        for reference, places in by_reference.items():
            experiment = self._takes(reference, held=held)
            if experiment is None:
                found.gone[reference] = places
                self._gone.add(reference)
            elif experiment is False:
                found.kept[reference] = places
            elif not held or sequence > self.filling.told(experiment)[isinstance(records[0], Outcome)]:
                found.told.append((experiment, places))
        return found

    def _takes(self, reference: Reference, *, held: bool = True) -> PublishedExperiment | Literal[False] | None:
        """The experiment whose sums take a record; False: not now; None: it is gone."""
        experiments = self._experiments()
        if experiments is None or reference[:2] in experiments.broken:
            return False
        found = experiments.known.get(reference[:2])
        if found is None or found.uid != reference[2]:
            return None
        return False if held and not self.filling.takes(found) else found

    async def _ship(self) -> None:
        try:
            await asyncio.to_thread(self.logs.ship)
        except Exception:
            logger.exception("exposures and outcomes could not be shipped")


def _reference(record: Exposure | Outcome) -> Reference:
    return record[:3]


def _blocks(log: CommitLog, segment: Segment) -> list[Any]:
    return list(log.read(segment))
