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
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

LOADED = (
    "millrace_services.gateway.app",
    "millrace_services.registry.app",
    "millrace_services.inference.app",
    "millrace_services.materialize.main",
    "millrace.cli.features.app",
    "typer.rich_utils",
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


def run(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs ``python *arguments`` in ``folder``, where its modules may be, until it ends."""
    with tempfile.TemporaryDirectory() as place:
        output, errors = Path(place, "output"), Path(place, "errors")
        code = start(arguments, environment, folder, output, errors).wait(60)
        return subprocess.CompletedProcess(arguments, code, output.read_text(), errors.read_text())


def start(
    arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, log: Path, errors: Path | None = None
) -> WarmProcess:
    """Starts ``python *arguments``: ``-m module …``, ``-c program …`` or ``script …``; its output goes to ``log``.

    Args:
        errors: where what it writes to stderr goes, if not to ``log`` as well.
    """
    log.write_bytes(b"")  # the process may not have opened it yet when a test looks
    words = (arguments, dict(environment), folder, log, errors or log)
    process = processes.Process(target=_become, args=words, daemon=True)
    process.start()
    return WarmProcess(process)


def _become(arguments: tuple[str, ...], environment: dict[str, str], folder: Path, log: Path, errors: Path) -> None:
    """Does in a fresh fork what ``python *arguments`` does in a new process."""
    for stream, path in ((1, log), (2, errors)):
        sink = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
