"""What a turn writes, as plain values, and the one loop that carries it out.

An operator decides first and writes then: pure code lists the writes, ``carry_out`` does them in order. Two things are
not known before: what the API server refuses, which is why the report of a turn (its conditions and Events) is asked
for after its writes; and the resource versions that those writes give, which ``carry_out`` follows by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from millrace_core.base.errors import MillraceError
from millrace_kube import errors
from millrace_kube.cached_client import CachedClient
from millrace_kube.events import Emit
from millrace_kube.refusals import Refusals
from millrace_kube.resources import Object, Resource


@dataclass(frozen=True)
class Apply:
    """A child is to be as ``desired``. A refusal keeps nothing else from being done.

    Attributes:
        events: what to tell once it is so. They need identities of their own: where no answer comes, they are told
            too, since nobody could tell them later.
    """

    desired: Object
    events: tuple[Emit, ...] = ()


@dataclass(frozen=True)
class Delete:
    """A child has to go; with ``uid`` only the object that has it. A refusal keeps nothing else from being done."""

    resource: Resource
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True)
class InOrder:
    """Writes of children of which each needs those before it: a refusal ends them."""

    writes: tuple[Apply | Delete, ...]


@dataclass(frozen=True)
class AddFinalizer:
    """``about`` gets the finalizer, unless it is being deleted."""

    about: Object
    finalizer: str


@dataclass(frozen=True)
class RemoveFinalizer:
    """``about`` may go, as far as this finalizer holds it."""

    about: Object
    finalizer: str


@dataclass(frozen=True)
class WriteStatus:
    """The whole status of ``about``; see ``CachedClient.write_status``.

    Attributes:
        reported: condition types whose transitions become Events; None: all.
        events: what else to tell of ``about`` once the status was written; nothing where it was so already.
    """

    about: Object
    status: Mapping[str, Any]
    reported: tuple[str, ...] | None = None
    events: tuple[Emit, ...] = ()


Write = Apply | Delete | InOrder | AddFinalizer | RemoveFinalizer | WriteStatus | Emit
# The writes that follow from the first refusal of those before, or from there being none.
Report = Callable[[MillraceError | None], Iterable[Write]]


def _nothing(_refused: MillraceError | None) -> Iterable[Write]:
    return ()


async def carry_out(cluster: CachedClient, writes: Iterable[Write], report: Report = _nothing) -> MillraceError | None:
    """Does ``writes``, then what ``report`` makes of them; gives the first refusal of a child's write.

    Raises:
        ConflictError: somebody else has changed an object whose status or finalizers are written; decide again.
        RetryError: no answer came. What was written stays, the rest is not done.
    """
    turn = _Turn(cluster)
    for write in writes:
        await turn.do(write)
    for write in report(turn.refusals.first):
        await turn.do(write)
    return turn.refusals.first


class _Turn:
    """The writes of one turn, as far as they depend on each other."""

    def __init__(self, cluster: CachedClient) -> None:
        self.refusals = Refusals()
        self._cluster = cluster
        # Objects as our own writes of this turn left them, by uid. A write of anybody else makes a conflict.
        self._written: dict[str, Object] = {}

    async def do(self, write: Write) -> None:
        match write:
            case Apply() | Delete():
                await self._children((write,))
            case InOrder():
                await self._children(write.writes)
            case AddFinalizer():
                self._took(await self._cluster.add_finalizer(self._newest(write.about), write.finalizer))
            case RemoveFinalizer():
                self._took(await self._cluster.remove_finalizer(self._newest(write.about), write.finalizer))
            case WriteStatus():
                about, reported = self._newest(write.about), write.reported
                self._took(await self._cluster.write_status(about, write.status, reported=reported, also=write.events))
            case Emit():
                await self._tell((write,))

    async def _children(self, writes: Iterable[Apply | Delete]) -> None:
        with self.refusals.noted():
            for write in writes:
                if isinstance(write, Apply):
                    await self._apply(write)
                else:
                    await self._cluster.delete(write.resource, write.namespace, write.name, uid=write.uid)

    async def _apply(self, write: Apply) -> None:
        try:
            await self._cluster.apply(write.desired)
        except errors.UnavailableError as error:
            if not isinstance(error, (errors.ForbiddenError, errors.AbsentError)):
                await self._tell(write.events)
            raise
        await self._tell(write.events)

    async def _tell(self, events: Iterable[Emit]) -> None:
        for one in events:
            about = self._newest(one.about)
            await self._cluster.events.emit(about, one.kind, one.reason, one.note, identity=one.identity)

    def _newest(self, about: Object) -> Object:
        return self._written.get(about["metadata"]["uid"], about)

    def _took(self, after: Object) -> None:
        self._written[after["metadata"]["uid"]] = after
