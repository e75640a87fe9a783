"""The one mapping of errors to HTTP: statuses, headers and the JSON body.

Every error body is ``{"error": sentence, "reason": CamelCase, "field": path}``; ``field`` is absent where no
field is at fault. Validation errors of FastAPI take the same form with status 400.

Proxies take 502, 503 and 504 for the fault of the server that says so: they ask another one, and after some in a row
leave it out. So a server answers 503 alone, and only where another one may well do better: it is not ready, or what it
cannot work without is away.
"""

from __future__ import annotations

import logging
import math
from typing import Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError, TooLargeError
from millrace_core.base.shown import line
from millrace_http.refusal import Refusal
from millrace_services.web import trace

logger = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405
INTERNAL = 500
_MOST_OF_PATH: Final = 200


class OverloadedError(RetryError):
    """The server has as much work queued as it can finish in time; 429."""

    reason = "Overloaded"


class DeadlineError(RetryError):
    """The work took longer than it may, by the request's own limit or the server's; 408."""

    reason = "DeadlineExceeded"


class DependencyError(RetryError):
    """What another service has to bring for a request does not come, as it would for any server asked; 424."""

    reason = "FailedDependency"


class ConflictError(RejectError):
    """The request contradicts what is stored; 409."""

    reason = "Conflict"


class UnauthorizedError(RejectError):
    """The caller has to show a token that is taken; 401.

    Args:
        invalid: whether it has shown one, in vain.
    """

    reason = "Unauthorized"

    def __init__(self, message: str, *, hint: str, invalid: bool = False) -> None:
        super().__init__(message, hint=hint, field="Authorization")
        self.challenge = 'Bearer realm="millrace"' + (', error="invalid_token"' if invalid else "")


class ForbiddenError(RejectError):
    """The caller may not do this; 403."""

    reason = "Forbidden"


class MethodError(RejectError):
    """The path is served by other methods; 405.

    Args:
        allowed: these, with commas between them.
    """

    reason = "MethodNotAllowed"

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(f"{line(path, _MOST_OF_PATH)} takes {allowed}, {line(method, 20)} came")
        self.allowed = allowed


class MediaTypeError(RejectError):
    """The body is of a type that is not taken; 415."""

    reason = "UnsupportedMediaType"


# First match wins, so subclasses stand before their bases.
_STATUS: tuple[tuple[type[MillraceError], int], ...] = (
    (NotFoundError, NOT_FOUND),
    (MethodError, METHOD_NOT_ALLOWED),
    (TooLargeError, 413),
    (ConflictError, 409),
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (MediaTypeError, 415),
    (RejectError, 400),
    (OverloadedError, 429),
    (DeadlineError, 408),
    (DependencyError, 424),
    (RetryError, 503),
)


def status_of(error: BaseException) -> int:
    """The HTTP status of an error; 500 for everything that is not a ``MillraceError`` of a known kind."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), INTERNAL)


def render(error: BaseException) -> tuple[int, bytes, list[Header]]:
    """Status, JSON body and headers of an error's response; an unexpected error is logged and not shown.

    The trace id of a 500 goes into the body, so that a user can quote what the log can be searched for.
    """
    if isinstance(error, Refusal):
        return error.status, error.body(), []
    status = status_of(error)
    if not isinstance(error, MillraceError):
        logger.error("unexpected error", exc_info=error)
        sentence = f"internal error; the server's log has it under trace id {trace.current().trace_id}"
        return status, body_of(sentence, "Internal"), []
    if status == INTERNAL:  # a person has to act, and the sentence says how; where it was raised would not help
        logger.error("%s", error)
    headers = []
    if isinstance(error, RetryError):
        headers.append((b"retry-after", str(max(1, math.ceil(error.delay))).encode()))
    if isinstance(error, MethodError):
        headers.append((b"allow", error.allowed.encode()))
    if isinstance(error, UnauthorizedError):
        headers.append((b"www-authenticate", error.challenge.encode()))
    return status, body_of(str(error), error.reason, error.field), headers


def body_of(sentence: str, reason: str, field: str = "") -> bytes:
    """The error body as JSON bytes."""
    body = {"error": sentence, "reason": reason}
    if field:
        body["field"] = field
    return orjson.dumps(body)


def install(api: FastAPI) -> None:
    """Makes a FastAPI application answer every error in the one form."""
    api.add_exception_handler(MillraceError, _on_error)
    api.add_exception_handler(Exception, _on_error)
    api.exception_handler(HTTPException)(_on_http)
    api.exception_handler(RequestValidationError)(_on_invalid)


async def _on_error(_: Request, error: Exception) -> Response:
    status, body, headers = render(error)
    return _response(status, body, headers)


async def _on_http(request: Request, error: HTTPException) -> Response:
    if isinstance(error.__cause__, MillraceError):  # FastAPI wraps what reading the body raises
        return await _on_error(request, error.__cause__)
    sentence, given = str(error.detail), error.headers or {}
    if error.status_code == METHOD_NOT_ALLOWED and "Allow" in given:
        allowed = ", ".join(sorted(given["Allow"].split(", ")))  # Starlette has them as a set does
        return await _on_error(request, MethodError(request.method, request.url.path, allowed))
    if error.status_code == NOT_FOUND and sentence == "Not Found":
        sentence = f"no route {line(request.method, 20)} {line(request.url.path, _MOST_OF_PATH)}"
    reason = "NotFound" if error.status_code == NOT_FOUND else "Invalid"
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    return _response(error.status_code, body_of(sentence, reason), headers)


async def _on_invalid(_: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _response(400, body_of(f"the body is not JSON: {first['ctx']['error']}", "Invalid"), [])
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path")] or ["body"]
    field = ".".join(where)
    return _response(400, body_of(f"{field}: {first['msg']}", "Invalid", field), [])


def _response(status: int, body: bytes, headers: list[Header]) -> Response:
    response = Response(body, status, media_type="application/json")
    response.raw_headers.extend(headers)
    return response
