"""An S3 server that answers every request in one wrong way, as S3 does: with a code in the body, but for HEAD."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Final

BODY: Final = b"x" * 1000


@contextmanager
def s3_that(
    status: int,
    code: str = "",
    *,
    text: str = "",
    head: int = 0,
    wait: float = 0.0,
    cut: int | None = None,
    tags: Iterable[str] = repeat("1"),
) -> Iterator[str]:
    """Its address.

    Args:
        status: of every answer; 200 gives an object of 1000 bytes.
        code: S3's error code.
        text: what it says beside the code; the code again where it is absent.
        head: status of answers to HEAD, where it is another.
        wait: seconds before each answer.
        cut: bytes of the object that are sent before the connection breaks.
        tags: of the object, one for each HEAD of Arrow's client, or GET of another, which asks no HEAD.
    """

    each = iter(tags)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            time.sleep(wait)
            self.send_response(head or status)
            self.send_header("content-length", str(len(BODY)) if (head or status) == 200 else "0")
            self.send_header("etag", f'"{next(each)}"')
            self.end_headers()

        def do_GET(self) -> None:
            time.sleep(wait)
            body = (
                BODY
                if status == 200
                else f"<Error><Code>{code}</Code><Message>{text or f'{code}.'}</Message></Error>".encode()
            )
            partial = status == 200 and "range" in self.headers
            self.send_response(206 if partial else status)
            if partial:
                first, last = map(int, self.headers["range"].removeprefix("bytes=").split("-"))
                body = BODY[first : last + 1]
                self.send_header("content-range", f"bytes {first}-{first + len(body) - 1}/{len(BODY)}")
            if (
                status == 200
                and "authorization" in self.headers
                and "aws-sdk" not in self.headers.get("user-agent", "")
            ):
                self.send_header("etag", f'"{next(each)}"')
            self.send_header("content-type", "application/xml")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if cut is None else body[:cut])
            self.close_connection = cut is not None

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
