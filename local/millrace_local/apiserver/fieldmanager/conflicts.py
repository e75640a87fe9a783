"""Conflicts of server-side apply, worded as a Kubernetes API server words them."""

from __future__ import annotations

from itertools import groupby

from millrace_core.base.errors import RejectError
from millrace_kube.fieldset import intersection, paths, union
from millrace_local.apiserver.fieldmanager.managers import Manager, Managers
from millrace_local.apiserver.fieldmanager.typed import Comparison


class ApplyConflict(RejectError):  # noqa: N818 - the name of the Kubernetes error
    """Other managers own fields that would change. ``conflicts`` lists (manager as shown, field path), sorted."""

    reason = "Conflict"

    def __init__(self, conflicts: list[tuple[str, str]]) -> None:
        super().__init__(_message(conflicts))
        self.conflicts = conflicts


def conflicts_with(managers: Managers, change: Comparison, applier: Manager) -> list[tuple[str, str]]:
    """The fields of other managers that the change would take over."""
    written = union(change.added, change.modified)
    if not written:
        return []
    return sorted(
        (str(manager), path)
        for manager, entry in managers.items()
        if manager != applier
        for path in paths(intersection(entry.fields, written))
    )


def _message(conflicts: list[tuple[str, str]]) -> str:
    if len(conflicts) == 1:
        ((manager, path),) = conflicts
        return f"Apply failed with 1 conflict: conflict with {manager}: {path}"
    lines = [
        line
        for manager, group in groupby(conflicts, key=lambda conflict: conflict[0])
        for line in (f"conflicts with {manager}:", *(f"- {path}" for _, path in group))
    ]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
