"""The embedded store: its data stay, two processes share it, and what is wrong is said."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from millrace.sdk import embedded
from millrace.sdk.embedded import EmbeddedStore
from millrace_core.base.errors import RejectError


def client(store: EmbeddedStore) -> redis.Redis:
    return redis.Redis.from_url(store.url())


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_data_stay_when_the_server_ends(tmp_path: Path) -> None:
    first = EmbeddedStore(tmp_path / "deep" / "folder")
    client(first).set("a", "1")
    first.stop()
    second = EmbeddedStore(tmp_path / "deep" / "folder")
    assert client(second).get("a") == b"1"
    second.stop()


def test_two_processes_share_the_server_and_the_second_goes_on_alone(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, redis\n"
        "from millrace.sdk.embedded import EmbeddedStore\n"
        "store = EmbeddedStore(pathlib.Path(sys.argv[1]))\n"
        "redis.Redis.from_url(store.url()).set('a', 'theirs')\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "up\n"
    ours = EmbeddedStore(tmp_path)
    assert client(ours).get("a") == b"theirs"
    assert ours._process is None
    server = client(ours).info("server")["process_id"]
    other.kill()
    other.communicate(timeout=20)
    # The server ends with its owner, but a moment after it.
    while runs(server):
        time.sleep(0.01)
    assert client(ours).get("a") == b"theirs"
    ours.stop()


def test_a_url_is_itself() -> None:
    assert embedded.resolve("redis://somewhere:6379")() == "redis://somewhere:6379"


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RejectError, match=r"cannot use .*/file/store"):
        EmbeddedStore(tmp_path / "file" / "store").url()
    with pytest.raises(RejectError, match="names no folder"):
        embedded.resolve("embedded:")
