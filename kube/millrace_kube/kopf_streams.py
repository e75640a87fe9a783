"""All that this house knows of kopf, behind one function: ``follow`` keeps stores true by kopf's streams.

kopf streams the kinds that users write. Its ``kopf.on.event`` handlers only look (kopf calls them low-level spies), so
no handler state, annotation or finalizer of kopf's ever lands on an object, and nothing can fight a GitOps tool. What
kopf does not do is done here around it:

- It tells neither when its list is complete nor what was deleted since its last one: so we list when it watches anew.
- It copies every object to find out what changed, which nobody asks for: ``_NoDiffs``.
- A failed request (the API server is away, or was set back to before the version from which kopf watches; a CRD was
  deleted) it repeats as it was, or lets end one of its tasks while the others seem well. So the first failure ends all
  of kopf, and it begins again, for the kinds that are served then: ``_Lives`` and ``_trace``.
- It swallows a cancel that comes while a stream gives way to its next one: ``_end``, which leans on names of its tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, Final

import aiohttp

from millrace_core.base import retry
from millrace_core.base.errors import MillraceError
from millrace_kube.connection import Connection
from millrace_kube.errors import ForbiddenError
from millrace_kube.informer import LONGEST_DELAY, UNKNOWN_FORM, WHILE_NOT_INSTALLED, Informer, pause
from millrace_kube.stopping import until


@contextlib.contextmanager
def _as_if_absent(package: str) -> Iterator[None]:
    """Lets imports of a package fail meanwhile, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # "there is none", to the import system
    try:
        yield
    finally:
        del sys.modules[package]


# kopf imports the official client where it is installed, to know its objects, of which it gets none here.
with _as_if_absent("kubernetes"):
    import kopf

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
_ERROR: Final = 400


async def follow(
    informers: Sequence[Informer], connect: Callable[[], Awaitable[Connection]], *, relist: float = 300.0
) -> None:
    """Keeps the informers' stores true until cancelled, or until SIGTERM or SIGINT, which kopf would take over.

    One at a time in an event loop: the end of one ends all of kopf's tasks.

    Args:
        connect: logs in; again each time kopf begins again.
        relist: seconds after which everything is listed again, though nothing happened.
    """
    logging.getLogger("kopf").setLevel(logging.CRITICAL)  # what goes wrong is told here
    kinds = [_Kind(informer) for informer in informers]
    lives = _Lives(kinds, connect)
    tasks = [
        asyncio.create_task(lives.run(), name="kopf's lives"),
        *(asyncio.create_task(kind.keep_listed(relist, lives.over)) for kind in kinds),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # none ends on its own, but by an error or a signal
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Kind:
    """One kind that kopf streams, and its lists.

    Attributes:
        due: set when a list is due soon.
    """

    def __init__(self, informer: Informer) -> None:
        self.store = informer.store
        self.due = asyncio.Event()
        self._informer = informer

    async def keep_listed(self, relist: float, over: asyncio.Event) -> None:
        """Lists at the start, when the store says so, a moment after it is due, and every ``relist`` seconds.

        Args:
            over: is set where kopf must begin again: the kind is served or allowed now or no more, or the server was
                set back.
        """
        random, failures = Random(), 0  # noqa: S311 jitter, no secret
        while True:
            self.due.clear()
            before = self._standing()
            try:
                await self._informer.relist()
            except (MillraceError, *UNKNOWN_FORM) as error:
                failures += 1
                if isinstance(error, ForbiddenError):  # of which the store's owner tells, of all kinds at once
                    self.store.refuse(str(error))
                delay = pause(self.store, failures, random)
                level = logging.WARNING if retry.is_told(failures) and not self.store.refused else logging.DEBUG
                _log.log(level, "cannot list %s: %s; again in %.1f s", self.store.resource.plural, error, delay)
                if self._standing() != before:
                    over.set()
                await asyncio.sleep(delay)
                continue
            failures = 0
            if self._standing() != before:
                over.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(relist if self.store.served else WHILE_NOT_INSTALLED):
                    await until(self.store.due, self._due())

    def _standing(self) -> tuple[bool, bool, int]:
        return self.store.served, bool(self.store.refused), self.store.set_backs

    async def _due(self) -> None:
        await self.due.wait()
        await asyncio.sleep(_SETTLE_SECONDS)


class _Lives:
    """kopf, again and again.

    Attributes:
        over: set to end kopf's present life; the next one begins.
    """

    def __init__(self, kinds: Sequence[_Kind], connect: Callable[[], Awaitable[Connection]]) -> None:
        self.over = asyncio.Event()
        self._kinds = kinds
        self._connect = connect
        self._asked_to_stop = False
        self._failures = 0
        self._trouble = ""

    async def run(self) -> None:
        """Returns after a signal."""
        random = Random()  # noqa: S311 jitter, no secret
        for kind in self._kinds:
            await kind.store.answered.wait()
        while not self._asked_to_stop:
            self.over.clear()
            served = [kind for kind in self._kinds if kind.store.served and not kind.store.refused]
            try:
                await until(self.over, self._live(served))
            except Exception as error:
                # Whatever it is that kopf ends of, its next life begins with lists.
                self._failed(repr(error))
            if self._failures and not self._asked_to_stop:
                delay = retry.delay(self._failures, longest=LONGEST_DELAY, random=random)
                text = "kopf's streams broke off (%s), beginning again in %.1f s"
                _log.log(
                    logging.WARNING if retry.is_told(self._failures) else logging.DEBUG, text, self._trouble, delay
                )
                self.over.clear()
                await until(self.over, asyncio.sleep(delay))

    async def _live(self, kinds: Sequence[_Kind]) -> None:
        if not kinds:
            await asyncio.Event().wait()
        registry, settings = kopf.OperatorRegistry(), _settings()
        sessions: list[aiohttp.ClientSession] = []
        _log_in(registry, self._connect, _trace(self._failed, self._streams), sessions)
        for kind in kinds:
            _spy(registry, settings, kind)
        # Started and ended one by one: ``kopf.operator`` would also end every other task of the loop.
        spawning = asyncio.create_task(self._spawn(registry, settings))
        try:
            tasks = await asyncio.shield(spawning)  # a cancel here would leave kopf's tasks to nobody
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled() and (error := task.exception()) is not None:
                    self._failed(repr(error))
        finally:
            await _end(await spawning)
            for session in sessions:
                await session.close()  # kopf does not where it is ended while it logs in

    async def _spawn(
        self, registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings
    ) -> Collection[asyncio.Task[None]]:
        tasks = await kopf.spawn_tasks(
            registry=registry, settings=settings, identity=_IDENTITY, standalone=True, clusterwide=True
        )
        if threading.current_thread() is threading.main_thread():
            # kopf has taken them over, and forgets them where it ends.
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self._stop)
        return tasks

    def _stop(self) -> None:
        self._asked_to_stop = True
        self.over.set()

    def _failed(self, trouble: str) -> None:
        """What ends this life. Later ones follow from its end: requests of sessions that are closed, say."""
        if not self.over.is_set():
            self._failures += 1
            self._trouble = trouble
        self._list()
        self.over.set()

    def _streams(self) -> None:
        self._failures = 0
        self._list()

    def _list(self) -> None:
        for kind in self._kinds:
            kind.due.set()


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


def _spy(registry: kopf.OperatorRegistry, settings: kopf.OperatorSettings, kind: _Kind) -> None:
    store = kind.store
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


def _log_in(
    registry: kopf.OperatorRegistry,
    connect: Callable[[], Awaitable[Connection]],
    trace: aiohttp.TraceConfig,
    sessions: list[aiohttp.ClientSession],
) -> None:
    @kopf.on.login(registry=registry, id="log-in")
    async def log_in(**_: Any) -> kopf.AiohttpSession:
        found = await connect()
        session = found.session({**_USER_AGENT, **found.authorization()}, trace)
        sessions.append(session)
        return kopf.AiohttpSession(server=found.server, aiohttp_session=session)


def _trace(failed: Callable[[str], None], streams: Callable[[], None]) -> aiohttp.TraceConfig:
    """Looks at each request of kopf's. One that fails is kept from kopf, whose life is over, until it is cancelled.

    Args:
        failed: called with what failed.
        streams: called when a watch begins.
    """
    trace = aiohttp.TraceConfig()

    async def end(_: aiohttp.ClientSession, __: SimpleNamespace, answer: aiohttp.TraceRequestEndParams) -> None:
        if answer.response.status >= _ERROR:
            failed(f"{answer.method} {answer.url.path}: {answer.response.status}")
            await asyncio.Event().wait()
        elif "watch" in answer.url.query:
            streams()

    async def broken(_: aiohttp.ClientSession, __: SimpleNamespace, seen: aiohttp.TraceRequestExceptionParams) -> None:
        if isinstance(seen.exception, Exception):  # and no cancel
            failed(f"{seen.method} {seen.url.path}: {seen.exception or type(seen.exception).__name__}")
            await asyncio.Event().wait()

    trace.on_request_end.append(end)
    trace.on_request_exception.append(broken)
    return trace


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
    settings.watching.reconnect_backoff = 0.2
    settings.scanning.disabled = True  # which kinds are served is seen by lists
    settings.queueing.idle_timeout = 0.5
    settings.queueing.exit_timeout = 0.1
    settings.process.ultimate_exiting_timeout = None
    return settings
