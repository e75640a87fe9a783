"""Raw requests through Envoy to a server of ours: no answer too many, and no body taken for a request."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.local.mesh import objects as o
from tests.local.mesh.conftest import Rig
from tests.running_service import starting
from tests.services.web.conformance import CASES, PROBE, get

TOY: Final = str(Path(__file__).parents[2] / "services" / "web" / "toy_service.py")
LAST: Final = get(b"Connection: close")

# Envoy would look for these hosts outside the cluster.
ELSEWHERE: Final = {
    "a host with a port",
    "two hosts",
    "a host with a space",
    "a host with a path",
    "HTTP/1.0 with two hosts",
}
# What Envoy answers itself, or takes and sends on in a form that nobody can misread, where our servers refuse; with the
# answer to what comes behind it where the connection stays.
BY_ENVOY: Final[dict[str, list[int]]] = {
    "an empty host": [400],
    "no body, and 100-continue": [100, 200, 200],
    "HTTP/1.0": [426],
    "HTTP/1.0 without a host": [426],
    "HTTP/1.0 that would stay": [426],
    "HTTP/1.0 with 100-continue": [426],
    "upgrade: h2c, and what is refused behind it": [200, 426],
    "upgrade: a websocket": [200],
    "upgrade: what nobody knows": [403],
    "chunks twice": [501],
    "chunks, and not": [501],
    "chunks in HTTP/1.0": [426],
    "a chunk's size with a space": [404, 200],
    "a chunk that is longer than its size": [404, 200],
    "a folded header": [200, 200],
    "CR in a header": [200, 200],
    "lines without CR": [200, 200],
    "one line without CR": [200, 200],
    "an expectation that nobody meets": [417, 200],
    "too large a header": [431, 200],
    "a tunnel": [404],
    "too long a target": [414, 200],
    "no version": [426],
    "HTTP/2.0": [426],
    "HTTP/1.2": [426],
    "the preface of HTTP/2": [],
}


async def statuses(address: tuple[str, int], sent: bytes) -> list[int]:
    """Of all answers until the connection ends, for which a last request asks."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent.replace(PROBE, b"/health/live") + LAST.replace(PROBE, b"/health/live"))
    try:
        async with asyncio.timeout(10):
            came = await reader.read()
    except TimeoutError:
        return [-1]
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d\d\d) ", came)]


async def test_every_raw_request_has_its_answer_through_the_mesh(rig: Rig, tmp_path: Path) -> None:
    cases = {name: case for name, case in CASES.items() if name not in ELSEWHERE}
    with starting(tmp_path) as start_service:
        toy = start_service(TOY, MILLRACE_HOST="127.77.0.9")
        slices = [o.endpoint_slice("x", {"a": "127.77.0.9"}, port=urlsplit(toy.url).port or 0)]
        await rig.apply(services=[o.service("x")], endpoint_slices=slices)
        address = (rig.settings.ingress_host, rig.settings.ingress_port)
        answers = await asyncio.gather(*(statuses(address, case.sent) for case in cases.values()))
    found = dict(zip(cases, answers, strict=True))
    expected = {}
    for name, case in cases.items():
        wanted = [*case.statuses, {200}] if case.stays else case.statuses
        fits = len(wanted) == len(found[name]) and all(a in b for a, b in zip(found[name], wanted, strict=True))
        expected[name] = found[name] if fits else BY_ENVOY.get(name)
    assert found == expected
