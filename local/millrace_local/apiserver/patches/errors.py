"""Why a patch cannot be applied."""

from __future__ import annotations

from typing import Any

from millrace_core.base.errors import RejectError


class PatchError(RejectError):
    """A patch that is malformed (``reason`` is ``BadRequest``) or does not fit the object (``Invalid``)."""

    @classmethod
    def malformed(cls, message: str) -> PatchError:
        return cls(message, reason="BadRequest")


def written(value: Any) -> str:
    """A JSON value as Go's ``%v`` writes it, which is how a Kubernetes API server shows parts of a patch."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{written(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(written(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
