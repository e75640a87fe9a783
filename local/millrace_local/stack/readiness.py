"""What readiness of one component means for the others, and for the stack. Pure.

A component is ready when its check has passed after all that it needs was ready: what was seen of it before one of
these ended says nothing any more. An agent, for example, takes its pods with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from millrace_local.stack.state import ComponentState, Phase


class Dependent(Protocol):
    """A component by its name and the names of those that it needs."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> Sequence[str]: ...


def lacking(needs: Sequence[str], states: Mapping[str, ComponentState]) -> str:
    """The first of ``needs`` that is not ready, in a few words; empty if all are."""
    found = (f"for {name}, which is {states[name].health}" for name in needs if states[name].health != "ready")
    return next(found, "")


def dependents(components: Sequence[Dependent], name: str) -> tuple[str, ...]:
    """The components that need ``name``, or need one that does. A component comes after those that it needs."""
    found = [name]
    for component in components:
        if set(component.needs) & set(found):
            found.append(component.name)
    return tuple(found[1:])


def phase(before: Phase, states: Mapping[str, ComponentState]) -> Phase:
    """The phase of a stack whose components are in ``states``: ``degraded`` when not all are ready any more."""
    if before in ("stopping", "stopped"):
        return before
    if all(one.health == "ready" for one in states.values()):
        return "ready"
    return "degraded" if before == "ready" else before
