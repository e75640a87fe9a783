"""Outcomes that were answered are counted once, whatever is killed meanwhile."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_core.base import destinations
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Store
from tests.services.gateway.experiments import expected, experiment, outcome
from tests.told_registry import tell

KILLS = 4
NAME = "ab-kills"

Gateway = Callable[[], RunningService]

pytestmark = pytest.mark.slow


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    store.start()
    yield store
    store.stop()


class Sender(threading.Thread):
    """Sends outcomes, each until it is answered, so that some come twice."""

    def __init__(self, number: int, units: list[str]) -> None:
        super().__init__(daemon=True)
        self.url = ""
        self.answered: list[dict[str, Any]] = []
        self.ending = threading.Event()
        self._number = number
        self._units = units
        self._drawn = random.Random(number)

    def run(self) -> None:
        batch: list[dict[str, Any]] = []
        while not (self.ending.is_set() and not batch):
            if not batch:
                batch = [self._one(len(self.answered) + at) for at in range(self._drawn.randint(1, 20))]
            try:
                answer = httpx.post(f"{self.url}/outcomes", json={"outcomes": batch}, timeout=10)
            except httpx.HTTPError:
                time.sleep(0.02)
                continue
            if answer.status_code != 200:
                time.sleep(0.02)
                continue
            assert answer.json()["refused"] == 0, answer.text
            self.answered += batch
            batch = []

    def _one(self, at: int) -> dict[str, Any]:
        value = self._drawn.choice((0.1, 0.7, 3.0))
        return outcome(NAME, f"{self._number}-{at}", self._drawn.choice(self._units), "amount", value)


@pytest.fixture
def gateway(start: StartService, registry: RunningService, own_store: Store, tmp_path: Path) -> Gateway:
    def begin() -> RunningService:
        return start(
            "-m",
            "millrace_services.gateway",
            MILLRACE_REGISTRY_URL=registry.url,
            MILLRACE_STORE_URL=own_store.url,
            MILLRACE_OUTGOING=destinations.OPEN.as_json(),
            MILLRACE_PROJECT="rides",
            MILLRACE_REFRESH_SECONDS="0.1",
            MILLRACE_STORE_TIMEOUT_SECONDS="0.5",
            MILLRACE_EVIDENCE_LOG=str(tmp_path / "log"),
        )

    return begin


def test_what_comes_while_the_store_is_away_is_pending_and_counted_once_it_is_back(
    gateway: Gateway, registry: RunningService, own_store: Store
) -> None:
    tell(registry.url, experiment(NAME))
    running = gateway()
    arms = _assigned(running.url, ["u", "v"])
    own_store.stop()
    sent = [outcome(NAME, "1", "u", "amount", 0.1), outcome(NAME, "2", "v", "amount", 0.2)]
    answer = httpx.post(f"{running.url}/outcomes", json={"outcomes": sent}, timeout=30)
    assert (answer.status_code, answer.json()["pending"]) == (200, 2)
    assert httpx.get(f"{running.url}/experiments/rides/{NAME}/sums").status_code == 503
    own_store.start()
    _until(lambda: _metrics(running.url) == expected(arms, sent))


def test_nothing_is_lost_and_nothing_counts_twice_while_gateway_and_store_are_killed(
    gateway: Gateway, registry: RunningService, own_store: Store
) -> None:
    tell(registry.url, experiment(NAME))
    running = gateway()
    units = [f"user-{number}" for number in range(50)]
    arms = _assigned(running.url, units)
    senders = [Sender(number, units) for number in range(4)]
    for sender in senders:
        sender.url = running.url
        sender.start()
    drawn = random.Random(7)
    for kill in range(KILLS):
        before = sum(len(sender.answered) for sender in senders)
        _until(lambda before=before: sum(len(sender.answered) for sender in senders) > before + drawn.randint(1, 60))
        if kill == KILLS // 2:
            own_store.stop()
            own_store.start()
        running.terminate(signal.SIGKILL)
        running.exit_code()
        running = gateway()
        for sender in senders:
            sender.url = running.url
    for sender in senders:
        sender.ending.set()
    for sender in senders:
        sender.join(60)
        assert not sender.is_alive()
    sent = [each for sender in senders for each in sender.answered]
    wanted = expected(arms, sent)
    _until(lambda: _metrics(running.url) == wanted)


def _metrics(url: str) -> Any:
    """Of the sums, where they are whole."""
    answer = httpx.get(f"{url}/experiments/rides/{NAME}/sums")
    return answer.json()["metrics"] if answer.status_code == 200 else None


def _assigned(url: str, units: list[str]) -> dict[str, str]:
    answers: list[httpx.Response] = []

    def ask() -> bool:
        answers[:] = [httpx.post(f"{url}/assign", json={"experiment": NAME, "units": units})]
        return answers[0].status_code == 200

    _until(ask)
    return {each["unit"]: each["arm"] for each in answers[0].json()["assignments"]}


def _until(there: Any) -> None:
    until = time.monotonic() + 60
    while not there():
        assert time.monotonic() < until
        time.sleep(0.02)
