"""Starting the API server as a process of its own, and stopping it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from millrace_core.base.errors import ReportError
from millrace_kube.connection import Connection, load

_READY_SECONDS = 30.0
_STOP_SECONDS = 5.0


class Process(Protocol):
    """What is needed of a process, as ``subprocess.Popen`` has it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...

    def kill(self) -> None: ...


def run_module(arguments: Sequence[str], log: Path) -> Process:
    """Runs ``python *arguments`` in a process of its own, whose output is added to ``log``."""
    with log.open("ab") as output:
        return subprocess.Popen([sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output)


@dataclass
class RunningServer:
    """A server process that is ready."""

    url: str
    kubeconfig: Path
    pid: int
    process: Process = field(repr=False)

    @property
    def connection(self) -> Connection:
        """How to reach it, as its kubeconfig says."""
        return load(self.kubeconfig)

    def stop(self) -> None:
        """Ends the process cleanly and waits for it; does nothing if it has ended already."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        """Ends the process at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def start(
    data: Path,
    *,
    port: int = 0,
    kubeconfig: Path,
    crds: Sequence[Path] = (),
    pods: Path | None = None,
    faults: bool = False,
    run: Callable[[Sequence[str], Path], Process] = run_module,
) -> RunningServer:
    """Starts the server and waits until it is ready; it ends when this process ends.

    Args:
        data: folder of the journal and of ``apiserver.json`` and ``apiserver.log``.
        port: TCP port on 127.0.0.1; 0 takes a free one.
        kubeconfig: where the kubeconfig is written.
        crds: YAML files, or folders of them, whose objects are there from the start.
        pods: the folder in which the node of this machine keeps its pods, for their logs.
        faults: whether ``/faults`` is served.
        run: how its process is started.

    Raises:
        ReportError: the server did not become ready; the message is what it said.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = data / "apiserver.json"
    address.unlink(missing_ok=True)
    command = ["-m", "millrace_local.apiserver", "--data", str(data), "--port", str(port)]
    command += ["--kubeconfig", str(kubeconfig), "--die-with-parent", *(["--faults"] if faults else [])]
    for path in crds:
        command += ["--crds", str(path)]
    if pods is not None:
        command += ["--pods", str(pods)]
    log = data / "apiserver.log"
    log_start = log.stat().st_size if log.exists() else 0
    process = run(command, log)
    deadline = time.monotonic() + _READY_SECONDS
    while not address.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            said = log.read_bytes()[log_start:].decode(errors="replace").strip()
            raise ReportError(f"the API server did not start: {said or 'it said nothing'}", hint=f"See {log}")
        time.sleep(0.01)
    return RunningServer(json.loads(address.read_text())["url"], kubeconfig, process.pid, process)
