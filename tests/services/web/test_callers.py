"""A server that a browser can reach refuses what web pages may send, on every kind of route; others do not ask."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from millrace_services.web.callers import CallerGuard
from millrace_services.web.settings import ServerSettings

TOY = str(Path(__file__).with_name("toy_service.py"))
KNOWN = "localhost,127.0.0.0/8,::1,*.svc"
OCTETS = {"content-type": "application/octet-stream"}
# A hot route, one with a gate, and FastAPI's.
ROUTES = ["/echo", "/gated", "/double"]


@pytest.fixture(scope="module")
def toy(start_service):
    return start_service(TOY, MILLRACE_ALLOWED_HOSTS=KNOWN, MILLRACE_MESH_SECRET="of the mesh")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8080", "origin": "http://evil.example:8080"},
        {"host": "evil.example", "x-millrace-mesh": "of a mesh"},
        {"host": "evil.example", "x-millrace-mesh": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
    ],
)
def test_a_web_page_is_told_403(toy, path: str, headers: dict[str, str]) -> None:
    answer = httpx.post(f"{toy.url}{path}", json={"number": 1}, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_a_body_that_a_page_may_send_unasked_is_told_415(toy, path: str, kind: str | None) -> None:
    for sent in (b'{"number": 1}', iter([b'{"number": 1}'])):
        answer = httpx.post(f"{toy.url}{path}", content=sent, headers={"content-type": kind} if kind else {})
        assert (answer.status_code, answer.json()["field"]) == (415, "Content-Type")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "localhost:1"},
        {"host": "shop.default.svc"},
        {"host": "shop.default.svc", "origin": "http://shop.default.svc"},
        {"host": "shop.example", "x-millrace-mesh": "of the mesh"},
    ],
)
def test_programs_are_served_under_every_known_name_and_through_the_mesh(toy, headers: dict[str, str]) -> None:
    assert httpx.post(f"{toy.url}/echo", content=b"x", headers={**OCTETS, **headers}).text == "x"
    assert httpx.post(f"{toy.url}/double", json={"number": 2}, headers=headers).json() == 4
    assert httpx.get(f"{toy.url}/health/ready", headers=headers).status_code == 200


def test_what_is_refused_leaves_the_connection_usable(toy) -> None:
    with httpx.Client(base_url=toy.url) as client:
        assert client.post("/echo", content=b"x", headers={**OCTETS, "origin": "null"}).status_code == 403
        assert client.post("/echo", content=b"y", headers=OCTETS).text == "y"


def test_on_a_cluster_nobody_is_asked(start_service) -> None:
    toy = start_service(TOY)
    page = {"host": "a.example", "origin": "https://b.example", "content-type": "text/plain"}
    assert httpx.post(f"{toy.url}/echo", content=b"x", headers=page).text == "x"
    assert CallerGuard.of(ServerSettings()) is None
