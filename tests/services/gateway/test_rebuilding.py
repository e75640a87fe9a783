"""Sums that are made again of the logs are those that were counted as it came."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_core.base import destinations
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Store
from tests.services.gateway.experiments import experiment, outcome
from tests.told_registry import tell

NAME = "ab-rebuilt"
UNITS = [f"user-{number}" for number in range(40)]

pytestmark = pytest.mark.slow


@pytest.fixture
def gateway(start: StartService, registry: RunningService, store: Store, tmp_path: Path) -> Callable[..., str]:
    """Starts one on the folder of the test, after the one before has ended; its URL."""
    running: list[RunningService] = []

    def begin(ending: signal.Signals = signal.SIGTERM, **more: str) -> str:
        for each in running:
            each.terminate(ending)
            each.exit_code()
        service = start(
            "-m",
            "millrace_services.gateway",
            MILLRACE_REGISTRY_URL=registry.url,
            MILLRACE_STORE_URL=store.url,
            MILLRACE_OUTGOING=destinations.OPEN.as_json(),
            MILLRACE_PROJECT="rides",
            MILLRACE_REFRESH_SECONDS="0.1",
            MILLRACE_EVIDENCE_LOG=str(tmp_path / "log"),
            **more,
        )
        running[:] = [service]
        return service.url

    return begin


def answered(method: str, url: str, body: Any = None) -> dict[str, Any]:
    """As soon as the gateway knows of the experiment and its sums are whole."""
    until = time.monotonic() + 60
    while True:
        answer = httpx.request(method, url, json=body, timeout=60)
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return {name: value for name, value in found.items() if name != "asOf"}
        assert answer.status_code in (404, 503), answer.text
        assert time.monotonic() < until, answer.text
        time.sleep(0.05)


def test_units_that_a_ramp_exposed_again_stay_in_their_first_epoch_and_arm(
    gateway: Callable[..., str], registry: RunningService, tmp_path: Path
) -> None:
    lake = f"file://{tmp_path}/lake"
    tell(registry.url, experiment(NAME, weight=20))
    url = gateway(MILLRACE_LAKE_URI=lake)
    assert answered("POST", f"{url}/assign", {"experiment": NAME, "units": UNITS})["epoch"] == 0
    clicks = [outcome(NAME, f"id-{unit}", unit, "click", 1) for unit in UNITS]
    assert answered("POST", f"{url}/outcomes", {"outcomes": clicks})["accepted"] == len(UNITS)
    ramped = experiment(NAME, weight=50)
    ramped["status"]["epochs"].insert(
        0, {"number": 0, "start": "2025-01-01T00:00:00Z", "weights": {"champion": 80, "v2": 20}}
    )
    ramped["status"]["epochs"][1]["number"] = 1
    tell(registry.url, ramped)
    url = gateway(MILLRACE_LAKE_URI=lake)  # what the first one logged is in the lake; this one logs all units again
    _until(lambda: answered("POST", f"{url}/assign", {"experiment": NAME, "units": []})["epoch"] == 1)
    answered("POST", f"{url}/assign", {"experiment": NAME, "units": UNITS})
    sums = f"{url}/experiments/rides/{NAME}/sums"
    _until(lambda: answered("GET", sums)["crossovers"] > 0)  # the store knows the second exposures
    counted = answered("GET", sums)
    assert {epoch: sum(arms.values()) for epoch, arms in counted["exposures"].items()} == {"0": len(UNITS)}
    answered("POST", f"{url}/experiments/rides/{NAME}/rebuild")
    assert answered("GET", sums) == counted


def _until(there: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not there():
        assert time.monotonic() < until
        time.sleep(0.05)
