"""API errors as Kubernetes writes them: a ``Status`` object with reason, code, details and causes.

Source: the API conventions of Kubernetes ("Response Status Kind") and the constructors of
``k8s.io/apimachinery/pkg/api/errors``, whose wording clients parse and people know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from millrace_core.base.errors import MillraceError
from millrace_core.base.shown import cut
from millrace_core.schema.errors import FieldError

# How much of what came an answer repeats, in characters: of a name, of one error, and of all errors.
_NAME: Final = 253
_LINE: Final = 1000
_TOLD: Final = 3000


class StatusError(MillraceError):
    """A response other than success, sent as a ``Status`` object.

    Args:
        code: the HTTP status.
        reason: Kubernetes' machine-readable reason, such as ``NotFound``.
        message: what a person reads.
        details: ``Status.details`` (name, group, kind, uid, causes, retryAfterSeconds).
        headers: extra HTTP headers, such as ``Retry-After``.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message, reason=reason)
        self.code = code
        self.details = details or {}
        self.headers = tuple(headers)

    def body(self) -> dict[str, Any]:
        """The ``Status`` object of this error."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status


def success(kind: str, group: str, name: str, uid: str) -> dict[str, Any]:
    """The ``Status`` that a finished delete returns."""
    details = {"name": name, "kind": kind, "uid": uid}
    if group:
        details["group"] = group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def qualified(plural: str, group: str) -> str:
    """``deployments.apps`` or, in the core group, ``pods``."""
    return f"{plural}.{group}" if group else plural


def _details(plural: str, group: str, name: str) -> dict[str, Any]:
    details = {"name": cut(name, _NAME), "kind": plural}
    if group:
        details["group"] = group
    return details


def not_found(plural: str, group: str, name: str) -> StatusError:
    """404 for an object that is not there."""
    message = f'{qualified(plural, group)} "{cut(name, _NAME)}" not found'
    return StatusError(404, "NotFound", message, details=_details(plural, group, name))


def no_such_path() -> StatusError:
    """404 for a path that names no resource."""
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def already_exists(plural: str, group: str, name: str) -> StatusError:
    """409 for a create under a name that exists."""
    message = f'{qualified(plural, group)} "{cut(name, _NAME)}" already exists'
    return StatusError(409, "AlreadyExists", message, details=_details(plural, group, name))


STALE = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(plural: str, group: str, name: str, why: str = STALE) -> StatusError:
    """409 for an outdated resourceVersion or a failed precondition."""
    message = f'Operation cannot be fulfilled on {qualified(plural, group)} "{cut(name, _NAME)}": {why}'
    return StatusError(409, "Conflict", message, details=_details(plural, group, name))


def bad_request(message: str) -> StatusError:
    """400 for a request that cannot be understood."""
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    """401 for a caller who is not known. It says no more, as in Kubernetes."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(plural: str, group: str, name: str, why: str, causes: Sequence[dict[str, str]] = ()) -> StatusError:
    """403 for a request that is refused as such."""
    details = _details(plural, group, name)
    if causes:
        details["causes"] = list(causes)
    message = f'{qualified(plural, group)} "{cut(name, _NAME)}" is forbidden: {cut(why, _LINE)}'
    return StatusError(403, "Forbidden", message, details=details)


def expired(message: str) -> StatusError:
    """410 for a resourceVersion or continue token that is too old."""
    return StatusError(410, "Expired", message)


def too_large_resource_version(requested: int, current: int) -> StatusError:
    """504 for a resourceVersion that this server has not reached."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return StatusError(
        504,
        "Timeout",
        f"Too large resource version: {requested}, current: {current}",
        details={"causes": [cause], "retryAfterSeconds": 1},
    )


def method_not_allowed(plural: str, group: str, verb: str) -> StatusError:
    """405 for a verb that the resource does not know."""
    return StatusError(
        405,
        "MethodNotAllowed",
        f"{verb} is not supported on resources of kind {qualified(plural, group)!r}".replace("'", '"'),
        details={"kind": plural, **({"group": group} if group else {})},
    )


def unsupported_media_type(got: str, accepted: Sequence[str]) -> StatusError:
    """415 for a body in a format that this server does not read, protobuf above all."""
    message = (
        f"the body of the request was in an unknown format {got!r} - accepted media types include: "
        f"{', '.join(accepted)}"
    )
    return StatusError(415, "UnsupportedMediaType", message)


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """406 for an Accept header that asks for nothing this server writes."""
    message = f"only the following media types are accepted: {', '.join(accepted)}"
    return StatusError(406, "NotAcceptable", message)


def invalid(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422 with one cause per faulty field."""
    told = _told(errors)
    lines = [f"{error.path}: {error.message}" if error.path else error.message for error in told]
    if len(told) < len(errors):
        lines.append(f"and {len(errors) - len(told)} more")
    what = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    causes = [{"reason": e.type, "message": e.message, "field": e.path} for e in told]
    details = {**_details(kind, group, name), "causes": causes}
    message = f'{qualified(kind, group)} "{cut(name, _NAME)}" is invalid: {what}'
    return StatusError(422, "Invalid", message, details=details)


def _told(errors: Sequence[FieldError]) -> list[FieldError]:
    """As many of the errors as fit into an answer, each cut: names of fields and values may be of any length."""
    told: list[FieldError] = []
    size = 0
    for error in errors:
        short = FieldError(error.type, cut(error.path, _LINE), cut(error.message, _LINE))
        size += len(short.path) + len(short.message)
        if told and size > _TOLD:
            break
        told.append(short)
    return told
