"""Whether a change or the deletion of a view goes ahead: not under those who read it, unless it is forced.

What was accepted last stands whole in the status (``millrace_core.api.in_effect``), and stays in effect until the next
one is accepted. Before a change that could break a reader is accepted, or a view is let go, the API server is asked for
the readers: a cache that lags must not overlook a model that came before. A model that comes later is judged by what is
in effect then, and a view that is being deleted takes no new readers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from millrace_core.api import conditions
from millrace_core.api.group import FORCE_ANNOTATION
from millrace_core.api.in_effect import accepted_spec, in_effect
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.features.definition.evolution import Evolution, evolution
from millrace_kube.cached_client import CachedClient
from millrace_kube.resources import Object, annotations_of, deleting, name_of, namespace_of
from millrace_operators.featureview.acceptance import accept
from millrace_operators.featureview.readers import Readers, readers, readers_now

# When something refused is looked at again, whether or not a watch says that its readers have gone.
LOOK_AGAIN_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Ruling:
    """What is in effect of a view.

    Attributes:
        document: the object with the spec in effect.
        refused: why that is not the spec that somebody wrote.
        forced: whom the change breaks, where it goes ahead by force.
    """

    document: Object
    refused: RejectError | None = None
    forced: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """Whether a view that is being deleted may go.

    Attributes:
        held: what it waits for, and what to do; empty: it may go.
        forced: who still reads it, where it goes by force.
    """

    held: str = ""
    forced: str = ""


async def rule(cluster: CachedClient, document: Object) -> Ruling:
    """Which spec of the view is in effect now.

    Raises:
        RejectError: the spec is wrong, and none was accepted before.
    """
    former = in_effect(document)
    try:
        changed = await asyncio.to_thread(accept, document)
    except RejectError as error:
        if accepted_spec(document) is None:
            raise
        return Ruling(former, error)
    if former["spec"] == document["spec"]:
        return Ruling(document)
    try:
        before = await asyncio.to_thread(accept, former)
    except RejectError:  # accepted by another release, and wrong by this one: nothing can go on with it
        return Ruling(document)
    why = await _blocked(cluster, document, evolution(before.definition, changed.definition))
    if not why:
        return Ruling(document)
    if _is_forced(document):
        return Ruling(document, forced=tuple(why))
    return Ruling(former, _in_use(document, why))


async def release(cluster: CachedClient, document: Object) -> Release:
    """Whether a view that is being deleted may go now. What was let go once stays so: its rows may be gone."""
    if conditions.holds((document.get("status") or {}).get("conditions"), conditions.DELETABLE):
        return Release()
    namespace, name = namespace_of(document), name_of(document)
    reading = _known(document, readers(cluster.cache, namespace, name))
    reading = reading or _known(document, await readers_now(cluster, namespace, name))
    if not reading:
        return Release()
    who = "; ".join(f"{user} reads {', '.join(features)}" for user, features in reading.items())
    if _is_forced(document):
        return Release(forced=who)
    return Release(
        f"the view is in use and goes when nobody reads it: {who}. Let them read other features or delete them first; "
        f"to delete the view under them: {_command(document)}"
    )


async def _blocked(cluster: CachedClient, document: Object, evolved: Evolution) -> list[str]:
    if not evolved.breaking:
        return []
    namespace, name = namespace_of(document), name_of(document)
    return evolved.blocks(readers(cluster.cache, namespace, name)) or evolved.blocks(
        await readers_now(cluster, namespace, name)
    )


def _known(document: Object, found: Readers) -> dict[str, Sequence[str]]:
    """Those that read what the view has. One that waits for something else loses nothing."""
    spec: Mapping[str, Any] = in_effect(document)["spec"]
    if not (spec.get("online") or {}).get("enabled", True):
        return {}
    features = {item["name"] for item in spec.get("features") or ()}
    here = {user: [name for name in names if name in features] for user, names in found.items()}
    return {user: names for user, names in here.items() if names}


def _in_use(document: Object, why: Sequence[str]) -> RejectError:
    return RejectError(
        f"{'; '.join(why)}. The definition accepted before stays in effect, whole",
        hint="Put the spec back, and add a feature or view of another name for the models to move to; "
        f"to change it under them: {_command(document)}",
        field="spec",
        reason=conditions.IN_USE,
    )


def _is_forced(document: Object) -> bool:
    return _force(document) == str(document["metadata"]["generation"])


def _force(document: Object) -> str:
    return annotations_of(document).get(FORCE_ANNOTATION, "").strip()


def _command(document: Object) -> str:
    """The line that forces this change and no other: a generation never comes back."""
    generation, other = document["metadata"]["generation"], _force(document)
    return (
        f"kubectl annotate featureview {name_of(document)} -n {namespace_of(document)} --overwrite "
        f"{FORCE_ANNOTATION}={generation}" + (f" (it is {shown(other, 20)}, which forces nothing now)" if other else "")
    )


def is_foreground(document: Object) -> bool:
    """Whether Kubernetes itself deletes the children, so that none of them can be kept."""
    return deleting(document) and "foregroundDeletion" in (document["metadata"].get("finalizers") or ())
