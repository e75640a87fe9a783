"""Raw bytes on connections to a service: whole, and cut in two.

A finding is an exception, a status of 5xx that no refusal of the head has, an answer that is none, other answers to the
same bytes in two pieces, and a connection that neither waits for more, nor has answered, nor ends.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import uvicorn
from uvicorn.server import ServerState

from millrace_http.arrival import BODY
from millrace_services.web.hot import Answer, Call
from millrace_services.web.protocol import HotProtocol
from millrace_services.web.service import Service
from millrace_services.web.settings import ServerSettings
from tests.services.web.conformance import CASES, PROBE

# Not a fault of the server: no such version, no such coding.
_REFUSED: Final = {501, 505}
_ANSWER: Final = re.compile(rb"HTTP/1\.1 (\d\d\d) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n")
_TURNS: Final = 20_000


class _Line(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.ended

    def close(self) -> None:
        self.ended = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class HttpHead:
    """Called with the bytes of one connection."""

    SEEDS: Final = [case.sent.replace(PROBE, b"/health/live") for case in CASES.values() if len(case.sent) < 1000]

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, sent: bytes) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._service = Service("toy", ServerSettings(max_body_bytes=1000))
            self._service.hot("POST", "/nowhere", _echo)
            self._service.health.started = True
            self._config = uvicorn.Config(self._service, interface="asgi3", access_log=False, log_config=None)
            self._config.load()
        whole = self._loop.run_until_complete(self._exchange([sent]))
        middle = len(sent) // 2
        halves = self._loop.run_until_complete(self._exchange([sent[:middle], sent[middle:]]))
        assert whole == halves, (whole, halves)

    async def _exchange(self, pieces: list[bytes]) -> list[int]:
        line = _Line()
        state = ServerState()
        connection = HotProtocol(self._service, config=self._config, server_state=state, app_state={})
        connection.connection_made(line)
        for piece in pieces:
            if not line.ended or connection.deaf:
                connection.data_received(piece)
        for _ in range(_TURNS):
            # The last one may wait for its body.
            if connection.running <= (connection._due == BODY):
                break
            await asyncio.sleep(0)
        else:
            raise AssertionError("it hangs")
        connection.connection_lost(None)
        while state.tasks:
            await asyncio.sleep(0)
        found = [int(status) for status in _ANSWER.findall(line.written)]
        assert line.written.startswith(b"HTTP/1.1 ") or not line.written, line.written[:100]
        assert not [status for status in found if status >= 500 and status not in _REFUSED], line.written[:1000]
        return [status for status in found if status != 100]


async def _echo(call: Call) -> Answer:
    return Answer(200, call.body)
