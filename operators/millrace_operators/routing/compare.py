"""The objects of a route as they are wanted, held against those that are there: once for each."""

from __future__ import annotations

from millrace_core.api import names
from millrace_kube.ownership import difference
from millrace_operators.routing.state import (
    ComparedObject,
    ComparedRoute,
    LiveRoute,
    Object,
    RouteNotes,
    RouteObjects,
)


def compared(wanted: RouteObjects | None, live: LiveRoute) -> ComparedRoute | None:
    """Whether each object of the mesh was applied as it is wanted, and whether somebody else has edited it."""
    if wanted is None:
        return None
    return ComparedRoute(
        services=wanted.services,
        route=_compared(wanted.route, live.virtual, live.virtual_notes),
        rule=_compared(wanted.rule, live.rule, live.rule_notes),
        transition=_compared(wanted.transition, live.rule, live.rule_notes),
        needed=wanted.needed,
        preview=wanted.preview,
    )


def _compared(item: Object, live: Object | None, notes: RouteNotes) -> ComparedObject:
    """What was removed has no owner, nor what was never applied.

    So it tells of an edit only where nothing new is wanted; what another manager owns tells of one always.
    """
    digest = names.digest(item["spec"])[:16]
    applied, edited = notes.written == digest, False
    if live is not None and notes.written is not None:
        place = {key: value for key, value in item["metadata"].items() if key in ("namespace", "name")}
        found = difference({**item, "metadata": place}, live)
        edited = found.of_others or (applied and bool(found.edits))
    return ComparedObject(item, digest, notes, applied, edited)
