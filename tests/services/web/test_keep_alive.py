"""How long a connection may rest between requests, by a clock of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from millrace_services.web.hot import Answer, Call
from millrace_services.web.protocol import HotProtocol
from millrace_services.web.service import Service
from millrace_services.web.settings import ServerSettings

REQUEST = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"


class Clock:
    """A loop whose time is the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rings: list[tuple[float, Callable[[], None]]] = []
        self.create_task = asyncio.get_running_loop().create_task

    def time(self) -> float:
        return self.now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        ring = (self.now + seconds, callback)
        self.rings.append(ring)
        return Timer(self, ring)

    def until(self, moment: float) -> None:
        """Lets time pass."""
        while due := sorted((ring for ring in self.rings if ring[0] <= moment), key=lambda ring: ring[0]):
            ring = due[0]
            self.rings.remove(ring)
            self.now = ring[0]
            ring[1]()
        self.now = moment


class Timer:
    def __init__(self, clock: Clock, ring: Any) -> None:
        self._clock, self._ring = clock, ring

    def cancel(self) -> None:
        if self._ring in self._clock.rings:
            self._clock.rings.remove(self._ring)


class Line(asyncio.Transport):
    """Counts what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0
        self.unsent = 0
        self.closed = False

    def write(self, data: Any) -> None:
        self.answers += 1

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Connection:
    """To a service whose one route waits for ``go``; it may rest for five seconds."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.clock = Clock()
        self.line = Line()
        service = Service("toy", ServerSettings())
        service.hot("POST", "/echo", self._echo)
        config = uvicorn.Config(service, timeout_keep_alive=5, access_log=False, log_config=None)
        config.load()
        loop: Any = self.clock
        self.protocol = HotProtocol(service, config=config, server_state=ServerState(), app_state={}, _loop=loop)
        self.protocol.connection_made(self.line)
        self.go.set()

    async def _echo(self, call: Call) -> Answer:
        await self.go.wait()
        return Answer(200, call.body)

    async def ask(self) -> None:
        self.protocol.data_received(REQUEST)
        await self.settled()

    async def settled(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)


async def test_a_connection_rests_as_long_as_it_may_after_its_last_answer():
    one = Connection()
    await one.ask()
    one.clock.until(4.0)
    await one.ask()
    assert one.line.answers == 2
    one.clock.until(8.9)
    assert not one.line.closed
    one.clock.until(9.0)
    assert one.line.closed


async def test_a_request_under_way_is_no_rest():
    one = Connection()
    await one.ask()
    one.go.clear()
    one.clock.until(1.0)
    await one.ask()
    one.clock.until(100.0)
    assert not one.line.closed
    one.go.set()
    await one.settled()
    assert one.line.answers == 2
    one.clock.until(106.0)
    assert one.line.closed


async def test_a_request_that_is_still_coming_is_no_rest():
    one = Connection()
    await one.ask()
    one.clock.until(4.9)
    one.protocol.data_received(REQUEST[:20])
    one.clock.until(5.1)
    one.protocol.data_received(REQUEST[20:])
    await one.settled()
    assert (one.line.answers, one.line.closed) == (2, False)


async def test_a_connection_that_ends_leaves_no_timer():
    one = Connection()
    await one.ask()
    one.protocol.connection_lost(None)
    assert one.clock.rings == []


async def test_an_answer_that_its_client_has_not_taken_yet_is_no_rest():
    one = Connection()
    await one.ask()
    assert one.protocol.resting_since == 0.0
    one.line.unsent = 5
    assert one.protocol.resting_since is None
