"""A server's life: bind, start, serve, drain, exit.

On SIGTERM the server is unready at once, goes on accepting for the drain time (endpoints and proxies need that
long to learn of it) while asking every client to close its connection, finishes what is in flight and exits 0.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

import uvicorn
import uvloop

from millrace_core.base.errors import MillraceError, RejectError
from millrace_services.web import logs
from millrace_services.web.protocol import HotProtocol
from millrace_services.web.service import Service
from millrace_services.web.settings import ServerSettings

logger = logging.getLogger(__name__)

# Objects between collections of the young, and collections between those of the older.
_COLLECTED: Final = (20_000, 20, 50)

SettingsT = TypeVar("SettingsT", bound=ServerSettings)


def main(
    settings_class: type[SettingsT],
    build: Callable[[SettingsT], Service],
    on_error: Callable[[MillraceError], None] = lambda _: None,
    supervise: Callable[[Callable[[], int], socket.socket], int] | None = None,
) -> int:
    """Loads settings from the process's environment, binds, builds the service and serves it until told to stop.

    Args:
        on_error: told why the server did not start or stopped by itself.
        supervise: takes what builds and serves, which it may do in another process and more than once, and the bound
            socket; returns the exit code.

    Returns:
        The exit code: 0 stopped as asked, 2 wrong settings or input (a restart will not help), 1 anything
        else. The reason is one line on stderr.
    """
    try:
        settings = settings_class.load(os.environ)
    except MillraceError as error:
        return _failed(error, on_error, str)
    return run(settings, build, on_error, supervise)


def run(
    settings: SettingsT,
    build: Callable[[SettingsT], Service],
    on_error: Callable[[MillraceError], None] = lambda _: None,
    supervise: Callable[[Callable[[], int], socket.socket], int] | None = None,
    shown: Callable[[MillraceError], str] = str,
) -> int:
    """The same as ``main`` with settings that are there; ``shown`` says what is printed of an error."""
    try:
        logs.configure(settings.log_level)
        with bind(settings.host, settings.port, settings.host_setting, settings.port_setting) as listener:
            attempt = partial(_attempt, settings, build, listener, on_error, shown)
            return supervise(attempt, listener) if supervise else attempt()
    except MillraceError as error:
        return _failed(error, on_error, shown)


def _attempt(
    settings: SettingsT,
    build: Callable[[SettingsT], Service],
    listener: socket.socket,
    on_error: Callable[[MillraceError], None],
    shown: Callable[[MillraceError], str],
) -> int:
    try:
        service = build(settings)
        service.trace(os.environ)
        serve(service, settings, listener)
    except MillraceError as error:
        return _failed(error, on_error, shown)
    return 0


def _failed(
    error: MillraceError, on_error: Callable[[MillraceError], None], shown: Callable[[MillraceError], str]
) -> int:
    on_error(error)
    print(f"millrace: {shown(error)}", file=sys.stderr)  # noqa: T201 the one line a person reads
    return 2 if isinstance(error, RejectError) else 1


def serve(service: Service, settings: ServerSettings, listener: socket.socket) -> None:
    """Serves on a bound socket until SIGTERM or SIGINT.

    Raises:
        MillraceError: what the service could not start with, or failed of later.
    """
    service.guard.fit_files()
    uvloop.run(_serve(service, settings, listener))
    if service.fault is not None:
        raise service.fault


def bind(
    host: str, port: int, host_setting: str = ServerSettings.host_setting, setting: str = ServerSettings.port_setting
) -> socket.socket:
    """A bound TCP socket; binding comes first, so that a port in use is known before anything is loaded.

    Args:
        host_setting: how messages call what says the host.
        setting: the same for the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        raise RejectError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint=f"Stop what listens there, or set {setting} to a free port"
            if in_use
            else f"Set {host_setting} to an address of this machine and {setting} to a port you may use",
            reason="PortInUse" if in_use else "BadAddress",
        ) from error
    return listener


def freeze() -> None:
    """Takes all that lives now out of the garbage collector's sight, and has it look less often at what comes.

    Full collections over a loaded service cost tens of milliseconds, and what start-up made is never garbage. Requests
    leave few cycles behind, while looking for them after every 700 objects took 30 us of each small read.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED)


async def _serve(service: Service, settings: ServerSettings, listener: socket.socket) -> None:
    server = _Server(
        service.closers,
        settings.grace_seconds,
        uvicorn.Config(
            service,
            # Nothing more is asked of the class than to be called.
            http=partial(HotProtocol, service),  # type: ignore[arg-type]
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
        ),
    )
    service.on_fault = server.stop
    _on_signals(service, server, settings.drain_seconds)
    async with service.running():
        freeze()
        # From here on connections wait rather than being refused; uvicorn sets its own backlog a moment later.
        listener.listen()
        host, port = listener.getsockname()[:2]
        logger.info("listening", extra={"host": host, "port": port})
        await server.serve(sockets=[listener])
    logger.info("stopped")


class _Server(uvicorn.Server):
    def __init__(
        self, closers: Sequence[Callable[[float], Awaitable[None]]], grace: float, config: uvicorn.Config
    ) -> None:
        super().__init__(config)
        self._closers = closers
        self._grace = grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.gather(super().shutdown(sockets), *(close(self._grace) for close in self._closers))

    def stop(self) -> None:
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn would raise the signal again after the shutdown, and the exit code would not be 0.
        yield


def _on_signals(service: Service, server: _Server, drain_seconds: float) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        service.health.ending = True
        server.stop()

    def terminate() -> None:
        if service.health.draining or not server.started:
            stop()
            return
        service.health.draining = True
        logger.info("draining", extra={"seconds": drain_seconds})
        loop.call_later(drain_seconds, stop)

    loop.add_signal_handler(signal.SIGTERM, terminate)
    loop.add_signal_handler(signal.SIGINT, stop)
