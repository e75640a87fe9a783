"""The limit of ``/assign`` in a web framework: a bare Starlette handler on uvicorn that reads JSON and answers some.

``handwritten_starlette.py PORT``.
"""

from __future__ import annotations

import sys

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def assign(request: Request) -> Response:
    """Answers as ``/assign`` does, and does nothing for it."""
    unit = orjson.loads(await request.body())["unit"]
    answer = {"experiment": "default/ab", "epoch": 0, "unit": unit, "arm": "v2", "bucket": 1, "holdout": False}
    return Response(orjson.dumps(answer), media_type="application/json")


async def ready(_: Request) -> Response:
    """Says that it listens."""
    return Response(b"{}", media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[Route("/assign", assign, methods=["POST"]), Route("/ready", ready)]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        lifespan="off",
        access_log=False,
        log_level="warning",
        ws="none",
    )
