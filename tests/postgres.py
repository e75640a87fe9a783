"""A PostgreSQL server for tests, where Debian's package is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests import made_once

USER, PASSWORD, DATABASE = "millrace", "sesame", "postgres"
# PostgreSQL refuses to run as root.
OWNER = "nobody" if os.geteuid() == 0 else None
ENVIRONMENT = {"PGUSER": USER, "PGPASSWORD": PASSWORD}


@dataclass(frozen=True)
class Postgres:
    """A server on 127.0.0.1 that asks ``USER`` for ``PASSWORD``."""

    port: int

    @property
    def url(self) -> sa.URL:
        return sa.URL.create("postgresql+psycopg", USER, PASSWORD, "127.0.0.1", self.port, DATABASE)

    def source(self, **part: Any) -> dict[str, Any]:
        """As a view's source; ``part`` says which rows."""
        return {"postgres": {"host": "127.0.0.1", "port": self.port, "database": DATABASE, **part}}


def binaries() -> Path:
    """Where the server's programs are; skips the test where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    return found[-1].parent


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """Skips the test where the server is not installed."""
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if OWNER:
        shutil.chown(folder, OWNER)
    data = folder / "data"
    made_once.copy("postgres", _initialize, data)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
    server = subprocess.Popen([programs / "postgres", *arguments], stderr=subprocess.DEVNULL, user=OWNER)
    try:
        ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "90"]
        while subprocess.run(ready, check=False).returncode:
            if server.poll() is not None:
                raise RuntimeError("the server did not start")
        yield Postgres(port)
    finally:
        server.send_signal(signal.SIGINT)  # "fast": does not wait for clients
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _initialize(data: Path) -> None:
    if OWNER:
        shutil.chown(data, OWNER)
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write(PASSWORD)
        secret.flush()
        if OWNER:
            shutil.chown(secret.name, OWNER)
        subprocess.run(
            [
                binaries() / "initdb",
                "-D",
                data,
                "-U",
                USER,
                f"--pwfile={secret.name}",
                "-A",
                "scram-sha-256",
                "--no-sync",
            ],
            check=True,
            capture_output=True,
            user=OWNER,
        )
