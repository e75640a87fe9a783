"""An ASGI application on a loop of its own, asked without a socket.

A request is written as one line, ``PUT /v1/x?a=b content-type:application/json …``, a newline, and the body. Targets
are made such as the HTTP layer lets through, which has a target of its own (``http_head``).
"""

from __future__ import annotations

import asyncio
import atexit
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

_METHOD: Final = re.compile(rb"[A-Z]{3,16}")
_OUTSIDE: Final = re.compile(rb"[^\x21-\x7e]|[#\"<>\\^`{|}]")
_LONGEST_REFUSAL: Final = 8000
_ERROR: Final = 400
INTERNAL: Final = 500

Application = Callable[[Any, Any, Any], Awaitable[None]]


class Answered(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class InProcess:
    """Calls an application.

    Args:
        opened: gives it on its loop, and holds open what it needs.
        headers: of every request that does not give them.
        expected: statuses of 500 and more that are no finding, because something outside of the process is missing.
    """

    def __init__(
        self,
        opened: Callable[[], AbstractAsyncContextManager[Application]],
        headers: Sequence[tuple[bytes, bytes]] = (),
        expected: Sequence[int] = (),
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._context = opened()
        self._application = self.run(self._context.__aenter__())
        self._headers = dict(headers)
        self._expected = expected
        atexit.register(self.close)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs something on the application's loop."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Ends what the application needs."""
        atexit.unregister(self.close)
        self.run(self._context.__aexit__(None, None, None))
        self._loop.close()

    def __call__(self, sent: bytes) -> Answered | None:
        """Asks once.

        Raises:
            AssertionError: the answer is a finding: a status of 500 or more, or a refusal that says too much.
        """
        head, _, body = sent.partition(b"\n")
        words = head.split()
        if len(words) < 2 or not _METHOD.fullmatch(words[0]):
            return None
        given = dict(_header(word) for word in words[2:] if b":" in word)
        target = _OUTSIDE.sub(lambda found: b"%%%02X" % found[0][0], words[1])
        answered = self.run(self.ask(words[0], b"/" + target.lstrip(b"/"), self._headers | given, body))
        allowed = answered.status < INTERNAL or answered.status in self._expected
        assert allowed, (answered.status, answered.body[:1000])
        if answered.status >= _ERROR:
            assert len(answered.body) < _LONGEST_REFUSAL, (answered.status, answered.body[:300])
        return answered

    async def ask(self, method: bytes, target: bytes, headers: dict[bytes, bytes], body: bytes) -> Answered:
        """One request and its answer; the client of a stream goes away after its first piece."""
        path, _, query = target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method.decode(),
            "scheme": "http",
            "path": unquote(path.decode()),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [*headers.items(), (b"content-length", b"%d" % len(body))],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        gone = asyncio.Event()
        status, pieces = 0, []

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                pieces.append(message.get("body", b""))
                if message.get("more_body"):
                    gone.set()

        await self._application(scope, receive, send)
        return Answered(status, b"".join(pieces))


def _header(word: bytes) -> tuple[bytes, bytes]:
    name, _, value = word.partition(b":")
    return name.lower(), value


class Lazily:
    """A target's function that is made when it is first called: what it needs is not needed to name it."""

    def __init__(self, make: Callable[[], Callable[[bytes], object]]) -> None:
        self._make = make
        self._made: Callable[[bytes], object] | None = None

    def __call__(self, body: bytes) -> None:
        if self._made is None:
            self._made = self._make()
        self._made(body)
