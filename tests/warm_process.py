"""Python processes that start within milliseconds: forked from one that has loaded what the services load.

Half of the time that a service's start takes goes into its imports. Each worker of the tests pays it once, in a fork
server of its own. That a service starts from nothing, e2e and ``test_processes.py`` show.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

LOADED = (
    "millrace_services.gateway.app",
    "millrace_services.registry.app",
    "millrace_services.inference.app",
    "millrace_services.materialize.main",
)

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(list(LOADED))


class WarmProcess:
    """One process, with those methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(str(self._process.name), timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, log: Path) -> WarmProcess:
    """Starts ``python *arguments``: ``-m module …``, ``-c program …`` or ``script …``; its output goes to ``log``."""
    log.write_bytes(b"")  # the process may not have opened it yet when a test looks
    process = processes.Process(target=_become, args=(arguments, dict(environment), folder, log), daemon=True)
    process.start()
    return WarmProcess(process)


def _become(arguments: tuple[str, ...], environment: dict[str, str], folder: Path, log: Path) -> None:
    """Does in a fresh fork what ``python *arguments`` does in a new process."""
    sink = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(sink, stream)
    os.close(sink)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    try:
        if arguments[0] == "-m":
            sys.argv = ["-m", *arguments[2:]]
            sys.path.insert(0, str(folder))
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = list(arguments)
            sys.path.insert(0, str(Path(arguments[0]).parent))
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
