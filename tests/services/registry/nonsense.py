"""A registry of this process, and values that none of its routes takes.

Thousands of requests need no sockets; what goes over these is tried by the other tests of the routes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx

from tests.fuzz.in_process import InProcess
from tests.fuzz.registry_routes import opened

# A field of which the first ones change no answer is one that the route does not read.
HOSTILE: Final[list[Any]] = [
    *({}, -1, "x" * 5000, [{"key": 5}], None, 2**63, 1e308, True, " ", "\x00", "💥'%", "../..", [None], [{"key": "k"}]),
    *([{"key": 5, "value": 5}], ["a"] * 2000, [{}], {"key": "a"}),
]
_TELLING: Final = 4
_LONGEST: Final = 5002
# What differs between two answers to the same request.
_OF_THE_MOMENT: Final = re.compile(r"[0-9a-f]{32}|[0-9]{13,}")


class _Within(httpx.BaseTransport):
    def __init__(self, application: InProcess) -> None:
        self._application = application

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.raw if name.lower() != b"content-length"}
        asked = self._application.ask(request.method.encode(), request.url.raw_path, headers, request.read())
        answered = self._application.run(asked)
        return httpx.Response(answered.status, content=answered.body)


@contextmanager
def registry() -> Iterator[httpx.Client]:
    """A client of an empty one."""
    application = InProcess(opened)
    try:
        with httpx.Client(base_url="http://registry", transport=_Within(application)) as http:
            yield http
    finally:
        application.close()


def upset(http: httpx.Client, method: str, path: str, sane: dict[str, Any], names: Sequence[str]) -> list[Any]:
    """Which of ``names``, with which value, the route answers by a 5xx."""
    found = []

    def told(**changed: Any) -> tuple[int, str]:
        fields = sane | changed
        if method == "GET":
            texts = {key: each if isinstance(each, str) else json.dumps(each) for key, each in fields.items()}
            given: dict[str, Any] = {"params": texts}
        else:
            given = {"content": json.dumps(fields), "headers": {"content-type": "application/json"}}
        answer = http.request(method, path, **given)
        if answer.status_code >= 500:
            found.append((method, path, changed, answer.text))
        return answer.status_code, _OF_THE_MOMENT.sub("", answer.text)

    usual = told()
    for name in names:
        answers = set()
        for number, value in enumerate(HOSTILE):
            if number == _TELLING and answers == {usual}:
                break
            if method != "GET" or len(json.dumps(value)) <= _LONGEST:
                answers.add(told(**{name: value}))
    return found
