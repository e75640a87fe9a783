"""The limit to measure against: a Starlette handler that does the same MGET and answers how many rows came.

Starlette on uvicorn (uvloop, httptools), orjson, and the gateway's own connection to the store, because the client
library's would cost more than all the rest: ``python handwritten_gateway.py STORE_URL PORT``.
"""

from __future__ import annotations

import sys

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millrace.features import store_url
from millrace.online.pipe import Pipe

pipe = Pipe.to(store_url.parse(sys.argv[1]), 5.0)


async def read(request: Request) -> Response:
    users = orjson.loads(await request.body())["entities"]["user_id"]
    rows = await pipe.ask(b"MGET", [b"default:v%d:{%d}" % (view, user) for view in range(3) for user in users])
    return Response(orjson.dumps({"rows": len(rows)}), media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/get-online-features", read, methods=["POST"])])
    uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", access_log=False, log_level="error")
