"""An online store for one machine and no cluster: a Valkey of our own, whose data stay in a folder.

The server belongs to the process that started it and ends with it; what was acknowledged is in the folder's append-only
file. Another process that uses the folder meanwhile speaks to the same server, and starts one itself once that is gone.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import hashlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import redis

from millrace_core.base.errors import RejectError, ReportError
from millrace_core.features.online import store_url
from millrace_data.online.program import server

# Not `.millrace/store`, which is where `millrace local up` keeps the store of a whole platform.
FOLDER: Final = Path(".millrace/embedded-store")

_PREFIX: Final = "embedded"
_UP_SECONDS: Final = 30.0
_DOWN_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.005
_PR_SET_PDEATHSIG: Final = 1

_running: dict[Path, EmbeddedStore] = {}


@dataclass(frozen=True)
class StoreUrl:
    """Gives the URL of a store when it is called; an embedded store's runs from then on."""

    url: str = ""
    folder: Path | None = None

    def __call__(self) -> str:
        """The URL. Raises as ``EmbeddedStore.url``."""
        if self.folder is None:
            return self.url
        if self.folder not in _running:
            _running[self.folder] = EmbeddedStore(self.folder)
        return _running[self.folder].url()


def resolve(online: str) -> StoreUrl:
    """What gives the URL of the store that ``online`` names: itself, or an embedded store's.

    Args:
        online: a URL, ``embedded``, or ``embedded:<folder>``.

    Raises:
        RejectError: it is none of them.
    """
    name, separator, folder = online.partition(":")
    if "://" in online:
        store_url.parse(online, field="online")
        return StoreUrl(online)
    if name != _PREFIX:
        raise RejectError(
            f"{online.rpartition('@')[2]!r} is no online store",
            hint='Write online="redis://host:6379/0", or online="embedded" for one of your own in .millrace '
            "(embedded:<folder>: elsewhere)",
            field="online",
        )
    if separator and not folder:
        raise RejectError(f"{online!r} names no folder", hint="Write embedded, or embedded:<folder>", field="online")
    return StoreUrl(folder=Path(folder or FOLDER).absolute())


class EmbeddedStore:
    """The store of a folder, which is made where it is absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # The path of a socket may have 100 characters and some, which a folder of a user easily has.
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        self._socket = Path(tempfile.gettempdir()) / f"millrace-{os.getuid()}" / f"{name}.sock"

    def url(self) -> str:
        """Where the server answers; starts it where none does.

        Raises:
            RejectError: the folder cannot be used. ReportError: the server is not installed or does not start.
        """
        if not self._answers():
            with self._locked():
                if not self._answers():
                    self._start()
        return f"unix://{self._socket}"

    def stop(self) -> None:
        """Ends the server where this process started it; the data stay."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_DOWN_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _answers(self) -> bool:
        if not self._socket.exists():
            return False
        client = redis.Redis(unix_socket_path=str(self._socket), socket_timeout=_UP_SECONDS)
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lets one process at a time look and start."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._socket.parent.mkdir(mode=0o700, exist_ok=True)
            lock = (self._folder / "lock").open("w")
        except OSError as error:
            raise RejectError(
                f"the embedded store cannot use {self._folder}: {error.strerror}",
                hint='Name another folder: online="embedded:<folder>"',
                field="online",
            ) from error
        if self._socket.parent.stat().st_uid != os.getuid():
            raise RejectError(f"{self._socket.parent} belongs to another user", hint="Set TMPDIR to a folder of yours")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "save": "",
            "logfile": "server.log",
            "loglevel": "warning",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [str(server()), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=_dying_with_us(),  # noqa: PLW1509 it makes system calls and takes no lock
        )
        atexit.register(self.stop)
        until = time.monotonic() + _UP_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise ReportError(
                    f"the embedded store in {self._folder} does not start", hint=f"See {self._folder / 'server.log'}"
                )
            time.sleep(_POLL_SECONDS)


def _dying_with_us() -> Callable[[], None]:
    """Has the kernel end the server also where this process is killed; elsewhere than on Linux it outlives that."""
    parent = os.getpid()
    call = None
    with suppress(AttributeError):
        call = ctypes.CDLL(None).prctl

    def follow() -> None:
        # Ctrl-C at a terminal reaches a whole group; the server ends when the process that uses it does.
        os.setpgrp()
        if call is not None:
            call(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
            if os.getppid() != parent:
                os._exit(1)

    return follow
