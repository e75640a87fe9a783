"""The server process: socket, kubeconfig, readiness file and signals."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import uvicorn

from millrace_core.base.errors import ReportError
from millrace_kube.times import now
from millrace_local.apiserver import connections
from millrace_local.apiserver.app import App
from millrace_local.apiserver.authentication import Authentication
from millrace_local.apiserver.credentials import certificate_files, obtain
from millrace_local.apiserver.faults import FaultInjector
from millrace_local.apiserver.kubeconfig import write_kubeconfig
from millrace_local.apiserver.listening import BACKLOG, HOST
from millrace_local.apiserver.seeding import seed
from millrace_local.apiserver.server import ApiServer
from millrace_local.atomic_file import write_atomically

_PR_SET_PDEATHSIG = 1
_PARENT_SIGNAL = signal.SIGUSR1


class _UvicornServer(uvicorn.Server):
    """uvicorn, but watches end before it waits for open connections."""

    def __init__(self, config: uvicorn.Config, server: ApiServer, parent: int | None) -> None:
        super().__init__(config)
        self._server = server
        self._parent = parent

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stops on SIGTERM and SIGINT; uvicorn's own version raises them again afterwards."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        if self._parent is not None:
            loop.add_signal_handler(_PARENT_SIGNAL, self._parent_ended)
            self._parent_ended()
        yield

    def _stop(self) -> None:
        self.should_exit = True

    def _parent_ended(self) -> None:
        # The kernel signals the end of the thread that started this process; its process may still run.
        if os.getppid() != self._parent:
            self._stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._server.hub.drop()
        await super().shutdown(sockets)


def serve(
    data: Path,
    listener: socket.socket,
    *,
    kubeconfig: Path,
    crds: Sequence[Path],
    pods: Path | None,
    faults: bool,
    die_with_parent: bool,
) -> None:
    """Runs the server on a socket that listens until SIGTERM or SIGINT.

    Raises:
        ReportError: the journal cannot be used, a CRD file is wrong.
    """
    parent = os.getppid() if die_with_parent else None
    if parent is not None:
        _follow(parent)
    server = ApiServer(data, pods=pods)
    credentials = obtain(data, now())
    certificate, key = certificate_files(credentials, data)
    seed(server, crds)
    url = f"https://{HOST}:{listener.getsockname()[1]}"
    app = App(server, Authentication(credentials.token), FaultInjector(server) if faults else None)
    config = _config(app, certificate, key)
    http_server = _UvicornServer(config, server, parent)
    write_kubeconfig(kubeconfig, url, credentials)
    ready = data / "apiserver.json"
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_run(http_server, server, listener, ready, url))
    ready.unlink(missing_ok=True)


def _config(app: App, certificate: Path, key: Path) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        # Nothing more is asked of the class than to be called.
        http=partial(connections.Protocol, connections.guard()),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=connections.KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=2,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        backlog=BACKLOG,
    )


async def _run(http_server: _UvicornServer, server: ApiServer, listener: socket.socket, ready: Path, url: str) -> None:
    cleaning = asyncio.create_task(server.run())
    # The socket listens already: clients that read the file now wait in its backlog.
    write_atomically(ready, json.dumps({"url": url, "pid": os.getpid()}))
    # Objects of the start stay for ever, so Python's garbage collector need not scan them again.
    gc.collect()
    gc.freeze()
    try:
        await http_server.serve(sockets=[listener])
    finally:
        cleaning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cleaning
        server.close()


def _follow(parent: int) -> None:
    """Has the kernel signal this process when its parent ends."""
    signal.signal(
        _PARENT_SIGNAL, signal.SIG_IGN
    )  # until the loop handles the signal; it checks the parent itself at its start
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _PARENT_SIGNAL)
    if os.getppid() != parent:  # the parent ended before the call took effect
        raise ReportError("the process that started the API server has ended")
