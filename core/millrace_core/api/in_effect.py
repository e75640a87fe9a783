"""Which spec of a FeatureView is in effect: not the one that somebody wrote last, but the one that was accepted last.

The operator keeps it whole in ``status.definition`` and writes it before anything follows from it. So a change that is
refused, or that nobody has looked at yet, reaches no run, no gateway and no model, and a restart forgets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def accepted_spec(view: Mapping[str, Any]) -> dict[str, Any] | None:
    """The spec that was accepted last, as the status holds it; None where none was yet."""
    kept = (view.get("status") or {}).get("definition")
    return dict(kept) if isinstance(kept, Mapping) and kept else None


def in_effect(view: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the spec in effect as its spec; as it is where none was accepted yet."""
    accepted = accepted_spec(view)
    return dict(view) if accepted is None else {**view, "spec": accepted}
