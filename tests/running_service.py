"""Starts real service processes on free ports of 127.0.0.1."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import warm_process
from tests.warm_process import WarmProcess


class RunningService:
    """One server process; its logs go to a file."""

    def __init__(self, process: WarmProcess, log: Path) -> None:
        self.process = process
        self._log = log
        self.url = ""

    def log(self) -> str:
        return self._log.read_text()

    def log_lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def wait_listening(self, seconds: float = 90) -> None:
        """Waits for the server's own word on where it listens; fails with its log when it exits first."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for line in self.log_lines() if self.log().endswith("\n") else []:
                if line["message"] == "listening":
                    self.url = f"http://{line['host']}:{line['port']}"
                    return
            if self.process.poll() is not None:
                raise AssertionError(f"exited with {self.process.returncode}: {self.log()}")
            time.sleep(0.02)
        raise AssertionError(f"not listening after {seconds} s: {self.log()}")

    def terminate(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def exit_code(self, seconds: float = 60) -> int:
        return self.process.wait(seconds)


StartService = Callable[..., RunningService]


@contextmanager
def starting(folder: Path) -> Iterator[StartService]:
    """A function ``(*python arguments, listening=True, **environment)`` that starts a server process.

    What it started ends with the block, so that a server's start is paid once where tests can share it.
    """
    started: list[RunningService] = []

    def start(*arguments: str, listening: bool = True, **environment: str) -> RunningService:
        log = folder / f"service-{len(started)}.log"
        defaults = {"MILLRACE_HOST": "127.0.0.1", "MILLRACE_PORT": "0", "MILLRACE_DRAIN_SECONDS": "0"}
        process = warm_process.start(arguments, {**os.environ, **defaults, **environment}, folder, log)
        service = RunningService(process, log)
        started.append(service)
        if listening:
            service.wait_listening()
        return service

    try:
        yield start
    finally:
        for service in started:
            if service.process.poll() is None:
                service.process.kill()
                service.process.wait(10)


@pytest.fixture(scope="module")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """Starts server processes that end with the module; see ``starting``."""
    with starting(tmp_path_factory.mktemp("services")) as start:
        yield start
