"""What the API server answered that was not success, as Millrace's own errors."""

from __future__ import annotations

from typing import Final

from millrace_core.base.errors import RejectError, RetryError


class ApiError(RetryError):
    """The API server could not be reached or refused for a reason that may pass: 401, 403, 404, 409, 429, 5xx.

    Args:
        status: HTTP status; 0 where no answer came.
    """

    reason = "ApiServerUnavailable"

    def __init__(self, message: str, *, status: int, delay: float = 0.0, reason: str = "") -> None:
        super().__init__(message, delay=delay, reason=reason)
        self.status = status


class ConflictError(ApiError):
    """409: somebody else wrote first. The cache already holds what is live; reconcile again."""

    reason = "Conflict"


class AlreadyExistsError(ApiError):
    """409 of a create: an object of this name is there."""

    reason = "AlreadyExists"


class AbsentError(ApiError):
    """404: the object, its namespace or its whole kind is not there."""

    reason = "NotFound"


class RefusedError(RejectError):
    """400 or 422: the object is wrong in the API server's eyes, and stays wrong until it changes."""

    reason = "RefusedByApiServer"


class NameTakenError(RejectError):
    """An object of the wanted name exists and is not Millrace's; it is left alone."""

    reason = "NameTaken"


class LostLeadershipError(RetryError):
    """A write was attempted without a valid Lease; nothing was sent."""

    reason = "LostLeadership"


_REFUSED: Final = (400, 422)
_CONFLICT: Final = 409
_ABSENT: Final = 404


def of(status: int, what: str, message: str, reason: str, retry_after: float) -> RetryError | RejectError:
    """The error for an answer: ``what`` is the call, ``message`` and ``reason`` are of the Status object."""
    text = f"{what}: {status} {message}".strip()
    if status in _REFUSED:
        return RefusedError(text)
    if status == _CONFLICT and reason == "AlreadyExists":
        return AlreadyExistsError(text, status=status)
    if status == _CONFLICT:
        return ConflictError(text, status=status)
    if status == _ABSENT:
        return AbsentError(text, status=status)
    return ApiError(text, status=status, delay=retry_after)
