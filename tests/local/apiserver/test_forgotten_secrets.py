"""What a Secret said before it was changed or deleted is in no file any more: in seconds, or after the next start."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from millrace_local.apiserver.journal import FORGOTTEN, Journal, Write
from millrace_local.apiserver.process import RunningServer
from millrace_local.apiserver.resources import SECRETS
from millrace_local.apiserver.store import ObjectStore
from tests.api_client import client_of
from tests.api_server import start

PATH = "/api/v1/namespaces/default/secrets"
# Long values have pages of their own in SQLite's file, short ones share theirs.
LENGTHS = (40, 900, 20_000)
Eventually = Callable[..., object]


def canary(name: str, length: int) -> str:
    return (f"canary-{name}-" * length)[:length]


def found(folder: Path, text: str) -> list[str]:
    """The files below the folder that hold the text, plain or in any of the three alignments of base64."""
    plain = text.encode()
    forms = [plain, *(base64.b64encode(plain[shift:])[:-4] for shift in range(3))]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


def put(http: httpx.Client, name: str, value: str) -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps({"stringData": {"a": value}})}
    body = {"metadata": {"name": name, "annotations": applied}, "stringData": {"a": value}}
    answer = http.put(f"{PATH}/{name}", json=body)
    if answer.status_code == 404:
        answer = http.post(PATH, json=body)
    assert answer.is_success, answer.text


def fill(http: httpx.Client) -> None:
    """Secrets of all lengths, each with a value before and one now, among other objects."""
    for number, length in enumerate(LENGTHS * 4):
        http.post("/api/v1/namespaces/default/configmaps", json={"metadata": {"name": f"m{number}"}})
        put(http, f"kept{number}", canary(f"old{number}", length))
        put(http, f"kept{number}", canary(f"now{number}", length))
        put(http, f"gone{number}", canary(f"gone{number}", length))
        assert http.delete(f"{PATH}/gone{number}").is_success


def left(folder: Path, which: str) -> dict[str, list[str]]:
    names = {f"{which}{number}": length for number, length in enumerate(LENGTHS * 4)}
    files = {name: found(folder, canary(name, length)[:36]) for name, length in names.items()}
    return {name: where for name, where in files.items() if where}


def test_old_values_and_deleted_secrets_leave_the_files(tmp_path: Path, eventually: Eventually) -> None:
    server = start(tmp_path / "data", kubeconfig=tmp_path / "kubeconfig")
    try:
        with client_of(server) as http:
            fill(http)
            assert len(left(tmp_path, "now")) == 12
            eventually(lambda: not left(tmp_path, "gone") and not left(tmp_path, "old"))
            assert base64.b64decode(http.get(f"{PATH}/kept1").json()["data"]["a"]).decode() == canary("now1", 900)
        server.stop()
        assert not left(tmp_path, "gone")
        assert not left(tmp_path, "old")
    finally:
        server.stop()


def test_after_a_kill_the_next_start_takes_them_out(tmp_path: Path, eventually: Eventually) -> None:
    server = start(tmp_path / "data", kubeconfig=tmp_path / "kubeconfig")
    with client_of(server) as http:
        fill(http)
    server.kill()
    again: RunningServer = start(tmp_path / "data", kubeconfig=tmp_path / "kubeconfig")
    try:
        eventually(lambda: not left(tmp_path, "gone") and not left(tmp_path, "old"))
        with client_of(again) as http:
            assert len(http.get(PATH).json()["items"]) == 12
            assert base64.b64decode(http.get(f"{PATH}/kept2").json()["data"]["a"]).decode() == canary("now2", 20_000)
    finally:
        again.stop()


def body(value: str, revision: int) -> bytes:
    return json.dumps({"metadata": {"uid": value, "resourceVersion": str(revision)}, "data": {"a": value}}).encode()


@pytest.mark.parametrize("ending", [None, body("now", 4)])
def test_watches_of_secrets_begin_behind_what_was_forgotten_and_others_go_on(
    tmp_path: Path, ending: bytes | None
) -> None:
    journal = Journal(tmp_path / "journal.db")
    list(journal.read())
    journal.append(Write(1, "/configmaps", "default", "m", body("m", 1)))
    journal.append(Write(2, SECRETS, "default", "s", body("old", 2)))
    journal.append(Write(3, "/configmaps", "default", "n", body("n", 3)))
    journal.append(Write(4, SECRETS, "default", "s", ending))
    journal.append(Write(5, SECRETS, "default", "t", body("t", 5)))
    journal.forget(2)
    journal.close()

    journal = Journal(tmp_path / "journal.db")
    store = ObjectStore(journal)
    assert store.since(SECRETS, 3) is None, "whoever was at 3 would not learn what became of s"
    assert [event.revision for event in store.since(SECRETS, 4) or ()] == [5]
    assert [event.revision for event in store.since("/configmaps", 1) or ()] == [3]
    assert (store.get(SECRETS, "default", "s") is None) == (ending is None)
    journal.close()


def test_a_journal_cut_off_after_forgotten_writes_is_read_to_its_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    list(journal.read())
    for revision in range(1, 200):
        journal.append(Write(revision, SECRETS, "default", "s", body("x" * 500, revision)))
        if revision > 1:
            journal.forget(revision - 1)
    journal.close()
    with (tmp_path / "journal.db").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 4096)
    journal = Journal(tmp_path / "journal.db")
    writes = list(journal.read())
    assert len(writes) > 100
    assert {write.body for write in writes[:-1]} == {FORGOTTEN}
    journal.close()
