"""The limit of the gateway: a bare Starlette handler with the same MGET, which returns the number of rows.

Starlette on uvicorn (uvloop, httptools) and orjson: ``python handwritten_gateway.py STORE_URL PORT HOW``. HOW is
``client`` for the Redis client library with its parser in C, as such a handler is usually written, or ``wire`` for the
gateway's own connection.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def asking(url: str, how: str) -> Callable[[Sequence[bytes]], Awaitable[Any]]:
    """Asks the store for keys."""
    if how == "client":
        from redis.asyncio import Redis  # noqa: PLC0415 only one of the two is wanted

        return Redis.from_url(url).mget
    from millrace_core.features.online import store_url  # noqa: PLC0415
    from millrace_data.online.connection import SharedConnection  # noqa: PLC0415

    connection = SharedConnection.to(store_url.parse(url), 5.0)
    return lambda keys: connection.execute(b"MGET", keys)


mget = asking(sys.argv[1], sys.argv[3])


async def read(request: Request) -> Response:
    document = orjson.loads(await request.body())
    users, kind = document["entities"]["user_id"], document["features"][0][:1].encode()
    rows = await mget([b"default:%b%d:{%d}" % (kind, view, user) for view in range(3) for user in users])
    return Response(orjson.dumps({"rows": len(rows)}), media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/get-online-features", read, methods=["POST"])])
    uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", access_log=False, log_level="error")
