"""The server as a process: start, stop, crash, and what a restart finds."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from millrace_core.base.errors import ReportError
from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of
from tests.api_server import start

pytestmark = pytest.mark.slow

MAPS = "/api/v1/namespaces/default/configmaps"


def begin(folder: Path) -> RunningServer:
    """Starts a server on a folder."""
    return start(folder, kubeconfig=folder / "kubeconfig")


def names(server: RunningServer) -> set[str]:
    """The ConfigMaps that are there."""
    with client_of(server) as http:
        return {item["metadata"]["name"] for item in http.get(MAPS).json()["items"]}


def create(server: RunningServer, name: str) -> httpx.Response:
    """Creates a ConfigMap."""
    with client_of(server) as http:
        return http.post(MAPS, json={"metadata": {"name": name}, "data": {"k": "x" * 300}})


def test_it_says_where_it_is_and_leaves_nothing_running(tmp_path: Path) -> None:
    server = begin(tmp_path)
    assert json.loads((tmp_path / "apiserver.json").read_text()) == {"url": server.url, "pid": server.pid}
    config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    assert (config["current-context"], config["clusters"][0]["cluster"]["server"]) == ("millrace", server.url)
    assert server.url.startswith("https://127.0.0.1:")
    http = client_of(server)
    assert http.get("/readyz").text == "ok"
    server.stop()
    assert server.process.returncode == 0
    assert not (tmp_path / "apiserver.json").exists()
    with pytest.raises(httpx.ConnectError):
        http.get("/readyz")
    http.close()
    server.stop()


def test_it_ends_with_open_watches(tmp_path: Path) -> None:
    server = begin(tmp_path)
    with client_of(server) as http, http.stream("GET", f"{MAPS}?watch=1") as answer:
        server.stop()
        assert list(answer.iter_lines()) == []
    assert server.process.returncode == 0


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ReportError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            start(tmp_path, port=port, kubeconfig=tmp_path / "kubeconfig")
        command = [sys.executable, "-m", "millrace_local.apiserver", "--data", str(tmp_path), "--port", str(port)]
        done = subprocess.run(
            [*command, "--kubeconfig", str(tmp_path / "k")], capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("a: [", "is not valid YAML"),
        ("kind: Nope\napiVersion: v9\n", "no such kind: v9 Nope"),
        ("- 1\n", "expected an object"),
    ],
)
def test_a_wrong_crd_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "wrong.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ReportError, match=message):
        start(tmp_path / "data", kubeconfig=tmp_path / "kubeconfig", crds=[file])


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from millrace_local.apiserver.process import start;"
        "d = Path(sys.argv[1]); print(start(d, kubeconfig=d / 'k').pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while _running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[RunningServer] = []
    thread = threading.Thread(target=lambda: started.append(begin(tmp_path)))
    thread.start()
    thread.join()
    server = started[0]
    try:
        time.sleep(0.2)
        with client_of(server) as http:
            assert http.get("/readyz").text == "ok"
    finally:
        server.stop()
    assert server.process.returncode == 0


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_writes(tmp_path: Path) -> None:
    server = begin(tmp_path)
    acknowledged: set[str] = set()

    def write(worker: int) -> None:
        with client_of(server) as http:
            for number in range(10_000):
                name = f"w{worker}-{number}"
                try:
                    if http.post(MAPS, json={"metadata": {"name": name}}).status_code == 201:
                        acknowledged.add(name)
                except httpx.HTTPError:
                    return

    workers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    while len(acknowledged) < 100:
        time.sleep(0.01)
    os.kill(server.pid, signal.SIGKILL)
    for worker in workers:
        worker.join()
    server.process.wait()
    again = begin(tmp_path)
    try:
        kept = names(again)
        assert acknowledged <= kept
        # What was under way may have happened, one write per connection at most.
        assert len(kept - acknowledged) <= len(workers)
    finally:
        again.stop()


def test_a_watch_goes_on_across_a_restart(tmp_path: Path) -> None:
    server = begin(tmp_path)
    create(server, "a")
    with client_of(server) as http:
        start_at = http.get(MAPS).json()["metadata"]["resourceVersion"]
        create(server, "b")
        http.delete(f"{MAPS}/a")
    server.kill()
    again = begin(tmp_path)
    try:
        query = {"watch": "1", "resourceVersion": start_at, "timeoutSeconds": "1"}
        with client_of(again) as http:
            lines = http.get(MAPS, params=query).text.splitlines()
        seen = [(event["type"], event["object"]["metadata"]["name"]) for event in map(json.loads, lines)]
        assert seen == [("ADDED", "b"), ("DELETED", "a")]
        before = int(start_at)
        assert int(create(again, "c").json()["metadata"]["resourceVersion"]) > before + 2
    finally:
        again.stop()


def test_a_journal_cut_off_in_the_middle_of_a_write_loses_only_that(tmp_path: Path) -> None:
    server = begin(tmp_path)
    for number in range(20):
        create(server, f"n{number:02}")
    server.kill()
    log = tmp_path / "journal.db-wal"
    os.truncate(log, log.stat().st_size - 100)
    again = begin(tmp_path)
    try:
        assert sorted(names(again)) == [f"n{number:02}" for number in range(19)]
        assert create(again, "later").status_code == 201
    finally:
        again.stop()


def test_two_servers_never_share_a_folder(tmp_path: Path) -> None:
    server = begin(tmp_path)
    try:
        with pytest.raises(ReportError, match="another API server"):
            begin(tmp_path)
        assert create(server, "a").status_code == 201
    finally:
        server.stop()
