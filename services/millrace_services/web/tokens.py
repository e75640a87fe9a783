"""Who may call a service: whoever sends one of its bearer tokens (RFC 6750), where it has some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from millrace_core.base.bearer import Bearer
from millrace_services.web.errors import Header, UnauthorizedError

_AUTHORIZATION: Final = b"authorization"
_SCHEME: Final = b"bearer"
_HOW: Final = (
    "Send it as Authorization: Bearer TOKEN. The SDK takes token=, or MILLRACE_TOKEN or MILLRACE_TOKEN_FILE of the "
    "environment; the command line --token-file or the same variables; Millrace's own processes MILLRACE_TOKEN_FILE "
    "(the chart's auth.existingSecret); MLflow's client MLFLOW_TRACKING_TOKEN"
)


def refusal(bearer: Bearer, headers: Iterable[Header]) -> UnauthorizedError | None:
    """Why a request with these headers is not served; None where it is. What came is never repeated."""
    given = [value for name, value in headers if name == _AUTHORIZATION]
    if not given:
        return UnauthorizedError("this server asks for a bearer token, and none came", hint=_HOW)
    if len(given) > 1:
        return UnauthorizedError(f"{len(given)} headers Authorization came, one is expected", hint=_HOW, invalid=True)
    scheme, _, token = given[0].strip().partition(b" ")
    if scheme.lower() != _SCHEME:
        return UnauthorizedError("Authorization of another scheme came, Bearer is expected", hint=_HOW)
    if not bearer.admits(token.strip(b" ")):
        return UnauthorizedError("the bearer token is none of those that this server takes", hint=_HOW, invalid=True)
    return None
