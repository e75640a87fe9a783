"""A route's next writes, and its objects as applies and edits leave them, with the fields' owners."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime
from typing import Any

from millrace_kube.ownership import difference, taken_over
from millrace_kube.resources import Object
from millrace_local.apiserver.fieldmanager import apply, record_update
from millrace_operators.routing.changes import route_changes
from millrace_operators.routing.compare import compared
from millrace_operators.routing.desired import route_objects
from millrace_operators.routing.state import DesiredRoute, LiveRoute, RouteChanges
from tests.kube.test_ownership import schema_of


def next_changes(desired: DesiredRoute, live: LiveRoute, now: datetime) -> RouteChanges:
    """What is written next, as a turn decides it."""
    return route_changes(desired, compared(route_objects(desired, live), live), live, now)


def applied(live: Object | None, item: Object, last: Object | None) -> Object:
    """The object after a server-side apply, as the client does it: what others added is taken over first.

    It is ``live`` itself where ``item`` is what was applied last and nothing of it is others'.
    """
    if live is not None:
        found = difference(item, live)
        if item == last and not found:
            return live
        if found.added:
            live = updated(
                live, lambda new: new["metadata"].update(managedFields=taken_over(live, found.added)), "millrace"
            )
    about = {"schema": schema_of(item["kind"]), "api_version": item["apiVersion"], "now": "2026-01-01T00:00:00Z"}
    return apply(live, copy.deepcopy(item), manager="millrace", force=True, **about)


def updated(live: Object, change: Callable[[Any], object], manager: str) -> Object:
    """The object after another manager's update."""
    new = copy.deepcopy(live)
    change(new)
    about = {"schema": schema_of(live["kind"]), "api_version": live["apiVersion"], "now": "2026-01-01T00:00:00Z"}
    record_update(live, new, manager=manager, subresource="", **about)
    return new
