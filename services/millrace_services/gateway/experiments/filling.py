"""Sums are filled from the lake and the logs, and every gateway says how far its own log was told to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from millrace_core.base.errors import MillraceError, NotFoundError, RetryError
from millrace_core.experiments.published import Experiments, PublishedExperiment
from millrace_data.online import experiment_sums, sums_state
from millrace_data.online.sums_state import LogState, Stored
from millrace_services.gateway.experiments.store import SumsStore

if TYPE_CHECKING:
    from millrace_services.gateway.experiments.logs import Logs

logger = logging.getLogger(__name__)

ENDED: Final = ("Succeeded", "Failed", "Inconclusive")
# So long gateways that nobody remembers get to say that they are there, before a store that was lost counts as filled.
_GRACE_SECONDS: Final = 2.5
# The lock of who fills is renewed meanwhile: that of a gateway which was killed holds nobody up for long.
_LOCK_SECONDS: Final = 10.0
_WAIT_SECONDS: Final = 0.2
# Sums of experiments that have ended are looked at each so many rounds.
_ROUNDS: Final = 10


class Filling:
    """Keeps sums whole, of one gateway among several.

    Args:
        experiments: those that are known now; None before anything is known.
        untold: whether some rows of an experiment that are logged here were not told.
        now: the present moment in microseconds.
        gateway: its name, for people.
    """

    def __init__(
        self,
        logs: Logs,
        store: SumsStore,
        experiments: Callable[[], Experiments | None],
        untold: Callable[[PublishedExperiment], bool],
        now: Callable[[], int],
        gateway: str,
    ) -> None:
        self._logs = logs
        self._store = store
        self._experiments = experiments
        self._untold = untold
        self._now = now
        self._gateway = gateway.replace(" ", "-") or "-"
        self._incarnations: dict[str, str] = {}
        self._filled: dict[str, bool] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._peers = logs.peers()
        self._filling: dict[str, asyncio.Task[None]] = {}
        self._by_hand: set[str] = set()
        self._round = 0
        self._said: dict[str, str] = {}

    def takes(self, experiment: PublishedExperiment) -> bool:
        """Whether its sums take what is in the logs: they have what the lake has, so that first exposures are first."""
        return experiment.phase in ENDED or self._filled.get(experiment.identity, False)

    def told(self, experiment: PublishedExperiment) -> tuple[int, int]:
        """The segments, of exposures and of outcomes, up to which an earlier process has told all."""
        return self._told.get(experiment.identity, (0, 0))

    async def close(self) -> None:
        """Ends what is under way."""
        for task in list(self._filling.values()):
            task.cancel()
            await asyncio.wait({task})

    async def leave(self) -> None:
        """Is waited for no more, where all of the log is in the lake."""
        known = self._experiments()
        if known is None or not (self._logs.exposures.in_lake and self._logs.outcomes.in_lake):
            return
        for experiment in known.known.values():
            if experiment.identity in self._incarnations:
                await self._store.give_up(experiment, [self._logs.uid])

    async def look(self, *, all_of_them: bool = False) -> None:
        """Says how far this log is told; fills sums that the store has not, or not whole."""
        known = self._experiments()
        if known is None:
            return
        every = all_of_them or self._round % _ROUNDS == 0
        self._round += 1
        shipped = [(log, log.shipped()) for log in (self._logs.exposures, self._logs.outcomes)]
        steady = True
        before = {identity: dict(peers) for identity, peers in self._peers.items()}
        for experiment in known.known.values():
            if experiment.began and (every or experiment.phase not in ENDED):
                steady = await self._look_at(experiment) and steady
        if every and not known.broken:
            self._forget({each.identity for each in known.known.values()})
        if self._peers != before:
            await asyncio.to_thread(self._logs.keep_peers, self._peers)
        if steady and every:
            # Whoever fills sums from now on finds these in the lake.
            for log, sequences in shipped:
                log.remove(sequences)

    async def rebuild(self, experiment: PublishedExperiment, without: Sequence[str] = ()) -> None:
        """Makes the sums anew, of all that the logs have; returns once they are whole.

        Args:
            without: uids of logs that are given up.

        Raises:
            NotFoundError: there is no such log. RetryError: a log is missing, another gateway does it, the lake or the
            store does not answer, or the keys went away meanwhile.
        """
        logs = (await self._store.read(experiment)).logs
        unknown = [uid for uid in without if uid not in logs]
        if unknown:
            there = ", ".join(sorted(logs)) or "none"
            raise NotFoundError(f"no gateway has a log {unknown[0][:80]!r}", hint=f"There are {there}", field="without")
        left = {uid: each for uid, each in logs.items() if uid not in without}
        self._require(experiment, left, anew=True)
        await self._store.give_up(experiment, without)
        self._by_hand.add(experiment.identity)
        try:
            await self._fill(experiment, clear=True)
        finally:
            self._by_hand.discard(experiment.identity)
        while sums_state.lacking(experiment, found := await self._store.read(experiment), self._now()):
            self._require(experiment, found.logs, anew=False)
            await asyncio.sleep(_WAIT_SECONDS)

    def _require(self, experiment: PublishedExperiment, logs: dict[str, LogState], *, anew: bool) -> None:
        others = {uid: each for uid, each in logs.items() if uid != self._logs.uid}
        if gone := sums_state.missing(others, self._now(), anew=anew):
            raise RetryError(
                f"the sums would lack {sums_state.told_missing(gone)}",
                hint=f"Start a gateway on its volume, or go on without: {_command(experiment, gone)}",
                reason="LogMissing",
            )

    async def _look_at(self, experiment: PublishedExperiment) -> bool:
        """False where the keys are other ones than at the look before."""
        identity = experiment.identity
        before = self._incarnations.get(identity)
        found = await self._store.look(experiment, self._logs.uid, before or "", self._state(experiment))
        self._incarnations[identity] = found.incarnation
        self._filled[identity] = found.whole == experiment_sums.metrics_digest(experiment)
        self._remember(identity, found)
        if before is None:
            mine = found.logs.get(self._logs.uid)
            self._told[identity] = (mine.exposures, mine.outcomes) if mine and found.incarnation else (0, 0)
        elif before != found.incarnation:
            self._told.pop(identity, None)
            self._logs.exposures.fall_behind()
            self._logs.outcomes.fall_behind()
        if before != found.incarnation and found.incarnation and self._state(experiment).told:
            await self._look_at(experiment)  # there is nothing to tell, so that nobody need wait for it
        elif not self._filled[identity] and experiment.phase not in ENDED and identity not in self._busy:
            self._begin(experiment, found)
        return before in (None, found.incarnation)

    @property
    def _busy(self) -> set[str]:
        return {*self._filling, *self._by_hand}

    def _begin(self, experiment: PublishedExperiment, found: Stored) -> None:
        """Fills, unless what the old sums have would be lost with them."""
        if found.incarnation:
            others = {uid: each for uid, each in found.logs.items() if uid != self._logs.uid}
            if gone := sums_state.missing(others, self._now(), anew=True):
                said = f"{sums_state.told_missing(gone)}: {_command(experiment, gone)}"
                if said != self._said.get(experiment.identity):
                    logger.warning("sums are not made anew, which would lack %s", said)
                self._said[experiment.identity] = said
                return
        task = asyncio.create_task(self._fill_alone(experiment, clear=bool(found.incarnation)))
        self._filling[experiment.identity] = task
        task.add_done_callback(partial(self._done, experiment.identity))

    def _done(self, identity: str, _: asyncio.Task[None]) -> None:
        del self._filling[identity]

    def _state(self, experiment: PublishedExperiment) -> LogState:
        exposures, outcomes = self._logs.exposures, self._logs.outcomes
        busy = experiment.identity in self._busy
        told = not (busy or exposures.behind or outcomes.behind or self._untold(experiment))
        far = (0, 0) if busy else (exposures.told, outcomes.told)
        return LogState(told, exposures.in_lake and outcomes.in_lake, *far, self._now(), self._gateway)

    def _remember(self, identity: str, found: Stored) -> None:
        """The logs of others, in case that the store forgets them."""
        if not found.incarnation:
            return
        others = {uid: each.gateway for uid, each in found.logs.items() if uid != self._logs.uid and not each.shipped}
        if others:
            self._peers[identity] = others
        else:
            self._peers.pop(identity, None)

    def _forget(self, there: set[str]) -> None:
        gone = {*self._peers, *self._incarnations, *self._said} - there
        for identity in gone:
            self._peers.pop(identity, None)
            self._incarnations.pop(identity, None)
            self._filled.pop(identity, None)
            self._told.pop(identity, None)
            self._said.pop(identity, None)

    async def _fill_alone(self, experiment: PublishedExperiment, *, clear: bool) -> None:
        try:
            await self._fill(experiment, clear=clear)
        except MillraceError as error:
            logger.warning("sums are not whole: %s", error, extra={"experiment": experiment.identity})
        except Exception:  # the next look tries again
            logger.exception("sums could not be made whole", extra={"experiment": experiment.identity})

    async def _fill(self, experiment: PublishedExperiment, *, clear: bool) -> None:
        incarnation = str(uuid4())
        if not await self._store.lock(experiment, incarnation, _LOCK_SECONDS):
            raise RetryError("another gateway rebuilds these sums just now", reason="Rebuilding")
        replaying = asyncio.create_task(self._replay(experiment, incarnation, clear=clear))
        keeping = asyncio.create_task(self._keep_lock(experiment, incarnation))
        try:
            await asyncio.wait({replaying, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not replaying.done():
                raise RetryError("another gateway has begun to rebuild these sums", reason="Rebuilding")
            await replaying
            if not await self._store.finish(experiment, incarnation):
                raise RetryError("the sums were lost again while they were rebuilt", reason="SumsNotWhole")
            self._filled[experiment.identity] = True
            logger.info("sums are filled", extra={"experiment": experiment.identity})
        finally:
            replaying.cancel()
            keeping.cancel()
            await asyncio.wait({replaying, keeping})
            try:
                await self._store.unlock(experiment, incarnation)
            except MillraceError as error:
                logger.warning("the lock of these sums stays until it expires: %s", error)

    async def _keep_lock(self, experiment: PublishedExperiment, incarnation: str) -> None:
        """Ends where the lock is somebody else's."""
        kept = True
        while kept:
            await asyncio.sleep(_LOCK_SECONDS / 4)
            try:
                kept = await self._store.keep_lock(experiment, incarnation, _LOCK_SECONDS)
            except MillraceError as error:
                logger.warning("the lock of these sums is not renewed just now: %s", error)

    async def _replay(self, experiment: PublishedExperiment, incarnation: str, *, clear: bool) -> None:
        if clear:
            await self._store.clear(experiment, incarnation)
        else:
            await self._store.begin(experiment, incarnation, self._peers.get(experiment.identity, {}))
        self._incarnations[experiment.identity] = incarnation
        self._told.pop(experiment.identity, None)
        began, uid = monotonic(), self._logs.uid
        lots = await asyncio.to_thread(lambda: iter(self._logs.known_exposures(experiment)))
        while (exposures := await asyncio.to_thread(next, lots, None)) is not None:
            exposures.sort(key=lambda each: each.time)
            await self._store.expose(experiment, exposures, uid)
        outcome_lots = await asyncio.to_thread(lambda: iter(self._logs.known_outcomes(experiment)))
        while (outcomes := await asyncio.to_thread(next, outcome_lots, None)) is not None:
            outcomes.sort(key=lambda each: each.received)
            await self._store.count(experiment, outcomes, uid)
        if not clear:
            await asyncio.sleep(max(0.0, began + _GRACE_SECONDS - monotonic()))


def _command(experiment: PublishedExperiment, gone: dict[str, LogState]) -> str:
    return f"millrace outcomes rebuild {experiment.name} -n {experiment.namespace} {sums_state.without(gone)}"
