"""Pages of a search: where the next one begins, as a text that only this server reads."""

from __future__ import annotations

import base64
from typing import Final

import orjson

from millrace_services.registry.mlflow.errors import invalid

_MOST: Final = 2**31


def offset_of(token: str) -> int:
    """How many results stand before the page of a token; 0 without one.

    Raises:
        MlflowError: it is no token of this server's.
    """
    if not token:
        return 0
    try:
        offset = orjson.loads(base64.b64decode(token, validate=True))["offset"]
    except (ValueError, KeyError, TypeError):
        offset = None
    if not isinstance(offset, int) or not 0 <= offset <= _MOST:
        raise invalid("Invalid page token, could not base64-decode")
    return offset


def token_of(offset: int) -> str:
    """The token of the page that begins after so many results."""
    return base64.b64encode(orjson.dumps({"offset": offset})).decode()
