"""Errors in MLflow's form: ``{"error_code", "message"}``, whose code decides what a client raises.

Clients send a request again, for minutes, that was answered by 429, 500, 502, 503 or 504. So what will not go away by
itself is never one of these.
"""

from __future__ import annotations

import logging
import math
from typing import Final

import orjson

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace_services.web import trace
from millrace_services.web.errors import ConflictError, Header, status_of

logger = logging.getLogger(__name__)

INVALID: Final = "INVALID_PARAMETER_VALUE"


class MlflowError(RejectError):
    """A request that is refused by a code of MLflow's own."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def invalid(message: str) -> MlflowError:
    """A value that is none of those allowed; 400."""
    return MlflowError(INVALID, 400, message)


def missing(name: str) -> MlflowError:
    """A field that has to be there; 400."""
    return invalid(
        f"Missing value for required parameter '{name}'. "
        "See the API docs for more information about request parameters."
    )


def absent(message: str) -> MlflowError:
    """What is named is not there; 404."""
    return MlflowError("RESOURCE_DOES_NOT_EXIST", 404, message)


def exists(message: str) -> MlflowError:
    """What is to be made is there; 400, by which clients go on with what is there."""
    return MlflowError("RESOURCE_ALREADY_EXISTS", 400, message)


def conflict(message: str) -> MlflowError:
    """What is there is not as the request expects it; 409."""
    return MlflowError("RESOURCE_CONFLICT", 409, message)


# First match wins, so subclasses stand before their bases.
_CODES: Final = (
    (NotFoundError, "RESOURCE_DOES_NOT_EXIST"),
    (ConflictError, "RESOURCE_CONFLICT"),
    (RejectError, INVALID),
    (RetryError, "TEMPORARILY_UNAVAILABLE"),
)


def render(error: Exception) -> tuple[int, bytes, list[Header]]:
    """Status, body and headers of the answer; an unexpected error is logged and not shown."""
    if isinstance(error, MlflowError):
        return error.status, _body(error.code, error.message), []
    if not isinstance(error, MillraceError):
        logger.error("unexpected error", exc_info=error)
        sentence = f"internal error; the server's log has it under trace id {trace.current().trace_id}"
        return 500, _body("INTERNAL_ERROR", sentence), []
    code = next((code for kind, code in _CODES if isinstance(error, kind)), "INTERNAL_ERROR")
    if code == "INTERNAL_ERROR":
        logger.error("%s", error)
    headers = []
    if isinstance(error, RetryError):
        headers.append((b"retry-after", str(max(1, math.ceil(error.delay))).encode()))
    return status_of(error), _body(code, str(error)), headers


def _body(code: str, message: str) -> bytes:
    return orjson.dumps({"error_code": code, "message": message})
