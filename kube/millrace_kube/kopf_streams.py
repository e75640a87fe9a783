"""All that this house knows of kopf, behind one function: ``follow`` keeps stores true by kopf's streams.

kopf watches the kinds that users write: it finds their CRDs when they are installed, logs in again, streams. Its
``kopf.on.event`` handlers only look (kopf calls them low-level spies), so no handler state, annotation or finalizer of
kopf's ever lands on an object, and nothing can fight a GitOps tool. What kopf does not do is done here around it:

- It reports neither when its list is complete nor what was deleted since its last one: we list after it does.
- It copies every object to find out what changed, which nobody asks for: ``_NoDiffs``.
- It gives up a request after a while: ``_Backoffs``.
- It swallows a cancel that comes while a stream gives way to its next one: ``_end``, which leans on names of its tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

import kopf

from millrace_core.base.errors import MillraceError
from millrace_kube.connection import Connection
from millrace_kube.informer import WHILE_NOT_INSTALLED, Informer
from millrace_kube.queue import backoff

_log = logging.getLogger(__name__)

# How kopf names the tasks that hold its streams.
STREAMS: Final = ("watcher for ", "resource observer")
_KOPFS_FILES: Final = str(Path(kopf.__file__).parent)
_CANCEL_AGAIN_SECONDS: Final = 0.5
# How long after a list of kopf's our own begins: long enough for kopf to have delivered what it listed.
_SETTLE_SECONDS: Final = 1.0
# Nobody sees it, for there are no peers. Without one kopf asks for the user's name, which a pod's user need not have.
_IDENTITY: Final[Any] = "millrace-operator"
_USER_AGENT: Final = {"User-Agent": "millrace-operator-kopf"}


async def follow(
    informers: Sequence[Informer], connect: Callable[[], Awaitable[Connection]], *, relist: float = 300.0
) -> None:
    """Keeps the informers' stores true until cancelled, or until kopf, which takes the signals over, gets one.

    One at a time in an event loop: the end of one ends all of kopf's tasks.

    Args:
        connect: logs in, again whenever the API server refuses the old token.
        relist: seconds after which everything is listed again, though nothing happened.
    """
    logging.getLogger("kopf").setLevel(logging.WARNING)
    registry, settings = kopf.OperatorRegistry(), _settings()
    _log_in(registry, connect)
    listing = []
    for informer in informers:
        listed_by_kopf = asyncio.Event()
        _spy(registry, settings, informer, listed_by_kopf)
        listing.append(asyncio.create_task(_list_after_kopf(informer, listed_by_kopf, relist)))
    # Started and ended one by one: ``kopf.operator`` would also end every other task of the loop.
    spawning = asyncio.create_task(
        kopf.spawn_tasks(registry=registry, settings=settings, identity=_IDENTITY, standalone=True, clusterwide=True)
    )
    try:
        tasks = await asyncio.shield(spawning)  # a cancel here would leave kopf's tasks to nobody
        done, _ = await asyncio.wait([*tasks, *listing], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # none of them ends on its own, but by an error or a signal
    finally:
        logging.getLogger("kopf").setLevel(logging.CRITICAL)  # what is cut off now is no error
        for task in listing:
            task.cancel()
        await _end(await spawning)
        await asyncio.gather(*listing, return_exceptions=True)


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancels kopf's tasks until all are done.

    One cancel is not enough: where a stream gives way to its next one (after 410, or a list that failed), kopf swallows
    a cancel that comes in that moment, and streams on. The tasks that wait for the streams get no second cancel, which
    would make them go without their streams, and leave the connections open.
    """
    for task in tasks:
        task.cancel()
    waiting = set(tasks)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=_CANCEL_AGAIN_SECONDS)
        for task in asyncio.all_tasks():
            if task.cancelling() and task.get_name().startswith(STREAMS):
                task.cancel()
    # A scan for kinds that is cut off leaves its requests behind, which wait for a log-in that never comes.
    left = [task for task in asyncio.all_tasks() if _is_kopfs(task)]
    for task in left:
        task.cancel()
    await asyncio.gather(*tasks, *left, return_exceptions=True)


def _is_kopfs(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(_KOPFS_FILES)


async def _list_after_kopf(informer: Informer, listed_by_kopf: asyncio.Event, relist: float) -> None:
    """Lists at the start, a moment after each list of kopf's, and every ``relist`` seconds."""
    random, failures = Random(), 0  # noqa: S311 jitter, no secret
    while True:
        listed_by_kopf.clear()
        try:
            await informer.relist()
        except MillraceError as error:
            failures += 1
            delay = backoff(failures, random)
            _log.warning("cannot list %s: %s; again in %.1f s", informer.store.resource.plural, error, delay)
            await asyncio.sleep(delay)
            continue
        failures = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(relist if informer.store.served else WHILE_NOT_INSTALLED):
                await listed_by_kopf.wait()
                await asyncio.sleep(_SETTLE_SECONDS)


def _spy(
    registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, informer: Informer, listed_by_kopf: asyncio.Event
) -> None:
    store = informer.store
    where = (store.resource.group, store.resource.version, store.resource.plural)
    if store.watch.labels:
        settings.watching.label_selectors[where] = store.watch.labels

    @kopf.on.event(*where, registry=registry, id=f"observe-{store.resource.plural}")
    async def observe(event: kopf.RawEvent, **_: Any) -> None:
        document = store.resource.typed(dict(event["object"]))
        if event["type"] == "DELETED":
            store.remove(document)
        else:
            store.upsert(document)
        if event["type"] is None:  # an object of a list
            listed_by_kopf.set()


def _log_in(registry: kopf.OperatorRegistry, connect: Callable[[], Awaitable[Connection]]) -> None:
    @kopf.on.login(registry=registry, id="log-in")
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        found = await connect()
        session = found.session({**_USER_AGENT, **found.authorization()})
        return kopf.AiohttpSession(server=found.server, aiohttp_session=session)


class _Backoffs:
    """Seconds between kopf's tries of a failed request; without an end, because an outage must not end the operator."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.2, 0.5, 1, 2, 5)
        while True:
            yield 10


class _NoDiffs(kopf.DiffBaseStorage):
    """Nobody asks kopf what changed, so it need not copy every object to find out (a third of its time)."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing of the object."""
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        """Nothing was stored."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is stored."""


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    settings.networking.error_backoffs = _Backoffs()
    settings.watching.reconnect_backoff = 0.2
    settings.queueing.idle_timeout = 0.5
    settings.queueing.exit_timeout = 0.1
    settings.process.ultimate_exiting_timeout = None
    return settings
