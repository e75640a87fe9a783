"""Faults on demand: each rule has its effect on the client."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of

Eventually = Callable[..., Any]

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def client(faulty: RunningServer) -> Iterator[httpx.Client]:
    """A client of a server with ``/faults``."""
    with client_of(faulty, **{"user-agent": "tester/1"}) as http:
        yield http


def rules(client: httpx.Client, *given: dict[str, Any]) -> None:
    """Sets the rules."""
    client.put("/faults", json=list(given)).raise_for_status()


def create(client: httpx.Client, name: str) -> httpx.Response:
    """Creates a ConfigMap."""
    return client.post(MAPS, json={"metadata": {"name": name}})


@pytest.mark.parametrize(
    ("code", "reason"),
    [(409, "Conflict"), (429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable")],
)
def test_a_status_is_answered_instead(client: httpx.Client, code: int, reason: str) -> None:
    rules(client, {"verb": "create", "action": "status", "code": code, "retryAfter": 3})
    answer = create(client, "a")
    assert (answer.status_code, answer.json()["reason"], answer.json()["kind"]) == (code, reason, "Status")
    assert answer.headers.get("retry-after") == ("3" if code == 429 else None)
    client.delete("/faults")
    assert create(client, "a").status_code == 201


def test_the_nth_call_alone_fails_and_calls_are_counted(client: httpx.Client) -> None:
    rules(
        client,
        {"verb": "create|update|patch|delete", "resource": "configmaps", "nth": 3, "action": "status", "code": 500},
    )
    assert [create(client, name).status_code for name in "abcd"] == [201, 201, 500, 201]
    shown = client.get("/faults").json()["rules"][0]
    assert (shown["calls"], shown["fired"]) == (4, 1)


def test_a_rule_acts_only_so_many_times_and_only_on_what_it_names(client: httpx.Client) -> None:
    rules(
        client,
        {"name": "bad-.*", "action": "status", "code": 503, "times": 2},
        {"userAgent": "other", "action": "status", "code": 500},
        {"resource": "configmaps/status", "action": "status", "code": 500},
    )
    assert [create(client, n).status_code for n in ("bad-1", "good", "bad-2", "bad-3")] == [503, 201, 503, 201]


def test_a_dropped_connection_does_not_tell_whether_the_write_took_effect(client: httpx.Client) -> None:
    rules(client, {"name": "before", "action": "drop"}, {"name": "after", "action": "dropAfter", "verb": "create"})
    for name in ("before", "after"):
        with pytest.raises(httpx.RemoteProtocolError):
            create(client, name)
    client.delete("/faults")
    assert client.get(f"{MAPS}/before").status_code == 404
    assert client.get(f"{MAPS}/after").status_code == 200


def test_latency_slows_a_call_down(client: httpx.Client) -> None:
    rules(client, {"verb": "list", "action": "latency", "seconds": 0.3})
    started = time.monotonic()
    client.get(MAPS).raise_for_status()
    assert time.monotonic() - started >= 0.3


class WatchThread(threading.Thread):
    """A watch in a thread; ``names`` are the objects of its events, ``error`` is how it ended."""

    def __init__(self, server: RunningServer, user_agent: str = "") -> None:
        super().__init__(daemon=True)
        self.names: list[str] = []
        self.error: Exception | None = None
        self._client = client_of(server, **{"user-agent": user_agent})
        self.open = threading.Event()

    def run(self) -> None:
        try:
            with self._client, self._client.stream("GET", f"{MAPS}?watch=1") as response:
                self.open.set()
                for line in response.iter_lines():
                    self.names.append(json.loads(line)["object"]["metadata"]["name"])
        except httpx.HTTPError as error:
            self.error = error


def test_watches_are_cut_off(client: httpx.Client, faulty: RunningServer) -> None:
    watch = WatchThread(faulty)
    watch.start()
    watch.open.wait(60)
    rules(client, {"verb": "create", "nth": 2, "action": "dropWatches"})
    create(client, "a")
    create(client, "b")
    watch.join(10)
    assert isinstance(watch.error, httpx.TransportError)
    assert watch.names == ["a"]


def test_a_stale_watch_runs_behind_until_the_rule_is_gone(
    client: httpx.Client, faulty: RunningServer, eventually: Eventually
) -> None:
    rules(client, {"resource": "configmaps", "userAgent": "stale", "action": "staleWatch"})
    stale, fresh = WatchThread(faulty, "stale"), WatchThread(faulty, "fresh")
    for watch in (stale, fresh):
        watch.start()
        assert watch.open.wait(60)
    create(client, "a")
    create(client, "b")
    eventually(lambda: fresh.names == ["a", "b"])
    assert stale.names == []
    client.delete("/faults")
    eventually(lambda: stale.names == ["a", "b"])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"action": "explode"}, "action: expected one of"),
        ({"action": "status", "code": 418}, "code: expected one of"),
        ({"action": "drop", "nth": "two"}, "nth: expected a number"),
        ({"action": "drop", "verbs": "get"}, "unknown fields in a fault rule"),
        ({"action": "drop", "name": "("}, "no regular expression"),
        ([], "must be an object"),
    ],
)
def test_rules_that_cannot_be_are_refused(client: httpx.Client, rule: Any, message: str) -> None:
    answer = client.put("/faults", json=[rule])
    assert answer.status_code == 400
    assert message in answer.json()["message"]


def test_there_are_no_faults_unless_asked_for(http: httpx.Client) -> None:
    assert http.put("/faults", json=[]).status_code == 404
