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

USER, PASSWORD, DATABASE = "millrace", "sesame", "postgres"
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
    # PostgreSQL refuses to run as root.
    owner = "nobody" if os.geteuid() == 0 else None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    if owner:
        shutil.chown(folder, owner)
        shutil.chown(secret, owner)
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256", "--no-sync"],
        check=True,
        capture_output=True,
        user=owner,
    )
    arguments = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-F"]
    server = subprocess.Popen([programs / "postgres", *arguments], stderr=subprocess.DEVNULL, user=owner)
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
