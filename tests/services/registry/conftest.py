"""Registries over a fresh SQLite file, and over PostgreSQL where a server and a driver are installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.registry.database import Database
from millrace.registry.tables import metadata


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of an empty PostgreSQL database of a server of our own."""
    if not (shutil.which("initdb") and shutil.which("postgres") and importlib.util.find_spec("psycopg")):
        pytest.skip("no PostgreSQL server or no psycopg here")
    folder = tmp_path_factory.mktemp("postgres")
    user = _unprivileged(folder)
    data = folder / "data"
    subprocess.run(["initdb", "-A", "trust", "-U", "millrace", "-D", data], check=True, capture_output=True, **user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(arguments, stdout=log, stderr=log, **user)
    try:
        _wait_for(port, server)
        yield f"postgresql+psycopg://millrace@127.0.0.1:{port}/postgres"
    finally:
        server.terminate()
        server.wait(20)


def _unprivileged(folder: Path) -> dict[str, object]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for parent in (folder, *folder.parents):
        if not parent.name.startswith(("postgres", "popen-", "pytest-")):
            break
        parent.chmod(0o755)
    shutil.chown(folder, "nobody")
    return {"user": "nobody"}


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    url = f"sqlite:///{tmp_path}/r.db" if request.param == "sqlite" else request.getfixturevalue("postgres")
    opened = Database(url)
    yield opened
    if request.param == "postgres":
        with opened.writing() as connection:
            metadata.drop_all(connection)
    opened.close()
