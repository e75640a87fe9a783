"""What the API server answered that was not success, as Millrace's own errors: one table, by HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from millrace_core.base.errors import MillraceError, RejectError, RetryError


class ApiError(MillraceError):
    """Root of what a request to the API server raises.

    Args:
        status: HTTP status; 0 where no answer came.
        delay: seconds to wait before another try, as the server asks (Retry-After); 0: it does not say.
    """

    reason = "ApiServerUnavailable"

    def __init__(self, message: str, *, status: int = 0, delay: float = 0.0, reason: str = "") -> None:
        super().__init__(message, reason=reason)
        self.status = status
        self.delay = delay


class UnavailableError(ApiError, RetryError):
    """No answer, or one that says nothing about the object: 401, 429, 5xx."""


class ForbiddenError(UnavailableError):
    """403: a quota, an admission webhook or RBAC is against it, which may change while the object does not."""

    reason = "Forbidden"


class AbsentError(UnavailableError):
    """404: the object, its namespace or its whole kind is not there."""

    reason = "NotFound"


class ConflictError(UnavailableError):
    """409: somebody else wrote first, or what was meant is another object now."""

    reason = "Conflict"


class AlreadyExistsError(ConflictError):
    """409 of a create: an object of this name is there."""

    reason = "AlreadyExists"


class ExpiredError(UnavailableError):
    """The server cannot watch from this resource version: too old (410), or of a future that it was set back from, at
    which some servers are silent.
    """

    reason = "Expired"


class RefusedError(ApiError, RejectError):
    """400, 413 or 422: the object is wrong in the API server's eyes, and stays wrong until it changes."""

    reason = "RefusedByApiServer"


class PluginLoginError(RejectError):
    """A kubeconfig's user logs in by a program or a provider."""

    reason = "UnsupportedLogin"


class NameTakenError(RejectError):
    """An object of the wanted name exists and is not Millrace's; it is left alone."""

    reason = "NameTaken"


class ContestedError(RejectError):
    """Somebody keeps changing an object of ours; it is left as it is for a while."""

    reason = "Contested"


class LostLeadershipError(RetryError):
    """A write was attempted without a valid Lease; nothing was sent."""

    reason = "LostLeadership"


_BY_STATUS: Final[Mapping[int, type[ApiError]]] = {
    400: RefusedError,
    403: ForbiddenError,
    404: AbsentError,
    409: ConflictError,
    410: ExpiredError,
    413: RefusedError,
    422: RefusedError,
}


def of(status: int, what: str, message: str, reason: str = "", delay: float = 0.0) -> ApiError:
    """The error for an answer: ``what`` is the call, ``message`` and ``reason`` are those of its Status object."""
    kind = _BY_STATUS.get(status, UnavailableError)
    if kind is ConflictError and reason == AlreadyExistsError.reason:
        kind = AlreadyExistsError
    if "Too large resource version" in message:
        kind = ExpiredError
    return kind(f"{what}: {status} {message}".strip(), status=status, delay=delay)
