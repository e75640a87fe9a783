"""The limit of any server: raw ASGI on uvicorn that answers with the bytes that came: ``handwritten_echo.py PORT``."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn


async def app(_: dict[str, Any], receive: Any, send: Any) -> None:
    content, more = b"", True
    while more:
        message = await receive()
        content += message["body"]
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=int(sys.argv[1]), lifespan="off", access_log=False, log_level="warning", ws="none"
    )
