"""A MariaDB server for tests, where Debian's package is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
import pytest

from tests import made_once

USER, PASSWORD, DATABASE = "millrace", "sesame", "shop"
LOG_SIZE = "--innodb-log-file-size=16M"


@dataclass
class MariaDb:
    """A server on 127.0.0.1 that asks ``USER`` for ``PASSWORD``; what it is asked stands in ``log``."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"mysql+pymysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(30)


@contextmanager
def mariadb_server() -> Iterator[MariaDb]:
    """Skips the test where the server is not installed."""
    programs = [
        shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("mariadb-install-db", "mariadbd")
    ]
    if None in programs:
        pytest.skip("MariaDB is not installed (apt-get install mariadb-server)")
    install, program = programs
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    owner = ["--user=root"] if os.geteuid() == 0 else []

    def initialize(data: Path) -> None:
        made = ["--no-defaults", f"--datadir={data}", LOG_SIZE, "--auth-root-authentication-method=normal"]
        subprocess.run([str(install), *made, "--skip-test-db", *owner], check=True, capture_output=True)

    made_once.copy("mariadb", initialize, folder / "data")
    # The session's own zone is another than UTC, and its sort order another than that of bytes.
    options = [
        "--no-defaults",
        f"--datadir={folder}/data",
        "--innodb-flush-log-at-trx-commit=0",
        LOG_SIZE,
        "--default-time-zone=+09:00",
    ]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "queries"
    listening = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/socket", f"--pid-file={folder}/pid"]
    logged = ["--general-log", f"--general-log-file={log}", f"--tmpdir={folder}"]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen([str(program), *options, *listening, *logged, *owner], stderr=errors)
    running = MariaDb(port, log, process)
    try:
        _prepare(running, folder)
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(running: MariaDb, folder: Path) -> None:
    """A user and a database, once it answers."""
    until = time.monotonic() + 90
    while True:
        try:
            connection = pymysql.connect(unix_socket=f"{folder}/socket", user="root")
            break
        except pymysql.OperationalError:
            if running.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((folder / "errors").read_text()) from None
            time.sleep(0.05)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"create database {DATABASE} character set utf8mb4")
        cursor.execute(f"create user {USER}@'127.0.0.1' identified by '{PASSWORD}'")
        cursor.execute(f"grant all on *.* to {USER}@'127.0.0.1'")
