"""JSON bodies of control routes, read as those of hot routes are.

FastAPI's own reading takes texts that are no Unicode, integers of any length, and numbers that are none, which then
fail wherever they are kept or sent on.
"""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown


async def json_object(request: Request) -> dict[str, Any]:
    """The body, a JSON object; for ``Depends``.

    Raises:
        RejectError: it is none.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # Pages of other sites can send other types without asking.
        raise RejectError(f"{shown(media_type, 80)} came, application/json is expected", field="content-type")
    try:
        document = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise RejectError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RejectError(f"the body is {shown(document, 40)}, an object is expected")
    return document
