"""What of an Experiment's object is published: nothing that changes while units go on being assigned as before.

``published`` reads it. Here nothing is checked, so that the registry need not import what checks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SPEC: Final = ("service", "arms", "overrides", "assignment", "metrics")


def published_form(document: Mapping[str, Any]) -> dict[str, Any]:
    """The form of one object, whatever it holds."""
    metadata, spec, status = (_object(document.get(part)) for part in ("metadata", "spec", "status"))
    weights, epochs = _object(status.get("weights")), status.get("epochs")
    return {
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid") if key in metadata},
        "spec": {key: spec[key] for key in _SPEC if spec.get(key) is not None},
        "status": {
            "phase": status.get("phase") or "Pending",
            "weights": weights.get("applied") or weights.get("desired") or {},
            "epoch": _object(epochs[-1]).get("number") if isinstance(epochs, list) and epochs else None,
            "assignment": status.get("assignment"),
        },
    }


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
