"""Python processes that start within milliseconds: forked from one that has loaded what they load.

Half of the time that a process's start takes goes into its imports. Each worker of the tests pays it once for each of
``LOADED``, in a fork server of its own. That a process starts from nothing, e2e and ``test_processes.py`` show.
"""

from __future__ import annotations

import atexit
import io
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver, popen_forkserver, util
from multiprocessing.context import ForkServerProcess, reduction, set_spawning_popen
from pathlib import Path
from typing import Any

# For each fork server what it has loaded: all that the modules after it need, and little that they do not.
LOADED: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("millrace_local.apiserver",): ("tests.warmed_api_server",),
    ("millrace_local.agent", "millrace_operators.operator"): (
        "millrace_operators.operator.process",
        "millrace_local.agent.settings",
        "millrace_local.controllers.run",
        "millrace_local.mesh.run",
        "millrace_local.node.run",
    ),
    ("millrace.cli.main",): (
        "millrace.cli.features.app",
        "millrace.cli.groups",
        "millrace_local.commands.app",
        "typer.rich_utils",
    ),
    ("tests.fuzz",): ("tests.fuzz.warmed",),
    ("",): (
        "millrace_services.gateway.app",
        "millrace_services.registry.app",
        "millrace_services.inference.app",
        "millrace_services.materialize.main",
    ),
}


def _server(modules: Sequence[str]) -> forkserver.ForkServer:
    made = forkserver.ForkServer()
    made.set_forkserver_preload(list(modules))
    return made


_SERVERS = {programs: _server(modules) for programs, modules in LOADED.items()}


class _Popen(popen_forkserver.Popen):
    """As its base, but of the fork server that the process names, and without the module that runs the tests."""

    def _launch(self, process_obj: Any) -> None:
        kept = multiprocessing.spawn.get_preparation_data(process_obj.name)
        prepared = {name: value for name, value in kept.items() if not name.startswith("init_main")}
        data = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(prepared, data)
            reduction.dump(process_obj, data)
        finally:
            set_spawning_popen(None)
        self.sentinel, written = _SERVERS[process_obj.programs].connect_to_new_process([])
        self.finalizer = util.Finalize(self, util.close_fds, (os.dup(written), self.sentinel))
        with os.fdopen(written, "wb") as stream:
            stream.write(data.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


class _Process(ForkServerProcess):
    programs: tuple[str, ...]

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - the name that multiprocessing calls
        return _Popen(process_obj)


def of(function: Callable[..., Any], *arguments: Any, programs: tuple[str, ...] = ("",)) -> ForkServerProcess:
    """A process that calls a function once it is started; it does not outlive the tests."""
    process = _Process(target=_alone, args=(function, arguments), daemon=True)
    process.programs = programs
    return process


def _alone(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    # While a process holds this, its fork server stays, even if the tests are killed.
    with suppress(OSError):
        os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    function(*arguments)


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


def run(arguments: Sequence[str], environment: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs ``python *arguments`` in ``folder``, where its modules may be, until it ends."""
    with tempfile.TemporaryDirectory() as place:
        output, errors = Path(place, "output"), Path(place, "errors")
        code = start(arguments, environment, folder, output, errors).wait(60)
        return subprocess.CompletedProcess(arguments, code, output.read_text(), errors.read_text())


def start(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, errors: Path | None = None
) -> WarmProcess:
    """Starts ``python *arguments``: ``-m module …``, ``-c program …`` or ``script …``; its output is added to ``log``.

    Args:
        errors: where what it writes to stderr goes, if not to ``log`` as well.
    """
    log.touch()  # the process may not have opened it yet when a test looks
    programs = next(names for names in LOADED if {*arguments[1:2], ""} & {*names})
    process = of(_become, arguments, dict(environment), folder, log, errors or log, programs=programs)
    process.start()
    return WarmProcess(process)


def _become(arguments: Sequence[str], environment: dict[str, str], folder: Path, log: Path, errors: Path) -> None:
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
