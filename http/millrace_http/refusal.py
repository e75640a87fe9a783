"""What is answered to a request that no application sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson

Header = tuple[bytes, bytes]

REASONS: Final = {
    400: "Invalid",
    408: "DeadlineExceeded",
    413: "TooLarge",
    414: "TooLarge",
    417: "Invalid",
    429: "Overloaded",
    431: "TooLarge",
    501: "NotImplemented",
    505: "NotImplemented",
}


class Refusal(Exception):  # noqa: N818 it is an answer
    """A request that is answered without its application, and whose connection then ends.

    Args:
        status: of HTTP.
        sentence: what came, and what is expected.
        retry_after: seconds after which it may be sent again; 0 where that does not help.
    """

    def __init__(self, status: int, sentence: str, retry_after: int = 0) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after

    def headers(self, body: bytes) -> list[Header]:
        """Those of its answer."""
        found = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if self.retry_after:
            found.append((b"retry-after", b"%d" % self.retry_after))
        return [*found, (b"connection", b"close")]

    def body(self) -> bytes:
        """Its answer, JSON in the form of every error."""
        return orjson.dumps({"error": str(self), "reason": REASONS[self.status]})

    def response(self, status_line: bytes, server_headers: Iterable[Header]) -> bytes:
        """All of its answer, as it goes on the wire.

        Args:
            status_line: with its end of line.
            server_headers: those of every answer of the server.
        """
        body = self.body()
        lines = [status_line]
        for name, value in (*server_headers, *self.headers(body)):
            lines += (name, b": ", value, b"\r\n")
        return b"".join([*lines, b"\r\n", body])
