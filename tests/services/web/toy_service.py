"""A service with one route of each kind, run as a process by the tests beside it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel

from millrace_core.base.errors import NotFoundError, RejectError, ReportError, RetryError
from millrace_services.web import server, trace
from millrace_services.web.errors import DeadlineError, DependencyError, OverloadedError
from millrace_services.web.hot import Answer, Call, ClientGoneError
from millrace_services.web.service import Service
from millrace_services.web.settings import ServerSettings

ERRORS = {
    b"reject": RejectError("wrong shape", field="inputs[0].shape"),
    b"missing": NotFoundError("no such view"),
    b"retry": RetryError("store down", delay=2.2),
    b"overload": OverloadedError("queue full", delay=1),
    b"deadline": DeadlineError("took longer than 20 ms"),
    b"dependency": DependencyError("the gateway is away", delay=1),
    b"report": ReportError("a person has to look"),
    b"bug": ValueError("password=hunter2"),
}


FULL = OverloadedError("queue full", delay=1)
LEFT: list[bytes] = []
NOTES: list[bytes] = []


class Doubled(BaseModel):
    number: int


async def echo(call: Call) -> Answer:
    if call.body in ERRORS:
        raise ERRORS[call.body]
    if call.body == b"slow":
        await asyncio.sleep(0.5)
    return Answer(200, call.body)


async def waits(call: Call) -> Answer:
    """Until its client goes away, which it counts."""
    for _ in range(500):
        if await call.gone():
            LEFT.append(call.body)
            raise ClientGoneError
        await asyncio.sleep(0.01)
    return Answer(200, b"still here")


async def until_draining(service: Service) -> None:
    while not service.health.draining:
        await asyncio.sleep(0.01)


async def note(call: Call) -> Answer:
    """Remembers its body."""
    NOTES.append(call.body)
    return Answer(200, call.body)


async def large(call: Call) -> Answer:
    return Answer(200, bytes(30_000_000))


async def notes(call: Call) -> Answer:
    return Answer(200, b",".join(NOTES))


class Open:
    """A gate through which all requests go."""

    def __init__(self) -> None:
        self.taken = 0

    def enter(self, size: int, own: int) -> None:
        self.taken += size

    def leave(self, size: int) -> None:
        self.taken -= size


async def left(call: Call) -> Answer:
    return Answer(200, b",".join(LEFT))


async def trace_headers(call: Call) -> Answer:
    return Answer(200, b"\n".join(f"{k}: {v}".encode() for k, v in trace.outgoing().items()))


@asynccontextmanager
async def refuses_to_start() -> AsyncIterator[None]:
    raise RejectError("the database is of version 9, this program of version 1", reason="BadDatabase")
    yield


def build(settings: ServerSettings) -> Service:
    service = Service("toy", settings, refuses_to_start) if "--broken" in sys.argv else Service("toy", settings)
    service.hot("POST", "/echo", echo)
    service.hot("GET", "/trace", trace_headers)
    service.hot("POST", "/full", echo, full=lambda: FULL)
    service.hot("POST", "/wait", waits)
    service.hot("GET", "/left", left)
    gate = Open()
    service.hot("POST", "/note", note)
    service.hot("GET", "/notes", notes)
    service.hot("POST", "/large", large)
    service.hot("POST", "/gated-large", large, gate=gate)
    service.hot("POST", "/gated", note, gate=gate)
    service.hot("POST", "/gated-wait", waits, gate=gate)
    service.metrics.gauge("toy_gate_bytes", "Bytes behind the gate", lambda: gate.taken)

    @service.api.post("/double")
    async def double(body: Doubled) -> int:
        return body.number * 2

    async def drained(call: Call) -> Answer:
        await until_draining(service)
        return Answer(200, call.body)

    service.hot("POST", "/drained", drained)

    @service.api.get("/control-drained")
    async def control_drained() -> None:
        await until_draining(service)

    @service.api.get("/bug")
    async def bug() -> None:
        raise ERRORS[b"bug"]

    @service.api.post("/fail")
    async def fail() -> None:
        service.fail(RetryError("the model went away"))

    async def store() -> str:
        return "cannot reach the store" if "--store-down" in sys.argv else ""

    service.health.add("store", store)
    return service


if __name__ == "__main__":
    sys.exit(server.main(ServerSettings, build))
