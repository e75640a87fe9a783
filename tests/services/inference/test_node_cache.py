"""A second pod of one model on a node asks no source, and no byte of the cache is served that has not the digest."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

from millrace_core.base import destinations
from millrace_core.base.errors import RetryError
from millrace_services.inference import model_files
from millrace_services.inference.fetch import fetch
from millrace_services.inference.node_cache import NodeCache
from millrace_services.inference.settings import FetchSettings
from tests.onnx_models import write_external
from tests.range_server import range_server

OPEN = destinations.OPEN.as_json()
MEBIBYTE = 1 << 20


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "cache"
    made.mkdir()
    return made


@pytest.fixture
def server(models):
    with range_server() as made:
        made.files = {"/m.onnx": models["sum"].read_bytes()}
        yield made


def model(tmp_path, number: int, size: int = 1000):
    """A file as a fetch left it, and its digest."""
    path = tmp_path / f"pod-{number}" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(bytes([number]) * size)
    return path, model_files.digest(path).digest


def pod(server, folder, tmp_path, name: str, digest: str | None = None, file: str = "m.onnx", **more):
    path = tmp_path / name / "model.onnx"
    uri = f"http://{server.host}/{file}"
    return fetch(FetchSettings(outgoing=OPEN, uri=uri, path=path, digest=digest, cache=folder, **more)), path


def test_the_second_pod_of_a_model_asks_no_source(server, folder, tmp_path):
    first, _ = pod(server, folder, tmp_path, "a")
    asked = len(server.requests)
    second, path = pod(server, folder, tmp_path, "b", first.digest)
    assert (first.cache, second.cache, len(server.requests)) == ("stored", "hit", asked)
    assert path.read_bytes() == server.files["/m.onnx"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.onnx", "model.onnx.digest"]
    third, _ = pod(server, folder, tmp_path, "c", file="elsewhere.onnx", pinned=first.digest)
    assert third.cache == "hit", "another deployment's URI, and the digest that its revision pinned"


def test_a_model_whose_digest_nobody_knows_comes_from_its_source(server, folder, tmp_path):
    pod(server, folder, tmp_path, "a")
    server.files["/m.onnx"] = server.files["/m.onnx"] + b"\x08\x08"
    again, path = pod(server, folder, tmp_path, "b")
    assert (again.cache, path.read_bytes()) == ("stored", server.files["/m.onnx"])


def test_external_data_is_cached_with_its_model(server, folder, tmp_path):
    source = write_external(tmp_path / "source" / "net.onnx", ("w.bin", "more/w.bin"))
    server.files = {f"/{file.relative_to(source.parent)}": file.read_bytes() for file in source.parent.rglob("*.*")}
    first, _ = pod(server, folder, tmp_path, "a", file="net.onnx")
    server.files.clear()
    second, path = pod(server, folder, tmp_path, "b", first.digest, file="net.onnx")
    assert (second.cache, second.bytes) == ("hit", first.bytes)
    assert model_files.measured(path) == first[:2]


@pytest.mark.parametrize("damage", [b"", b"short", None], ids=["empty", "short", "same size"])
def test_what_is_damaged_in_the_cache_is_fetched_anew_and_replaced(server, folder, tmp_path, damage):
    first, _ = pod(server, folder, tmp_path, "a")
    entry = folder / first.digest.removeprefix("sha256:") / "model"
    entry.write_bytes(bytes(len(server.files["/m.onnx"])) if damage is None else damage)
    second, path = pod(server, folder, tmp_path, "b", first.digest)
    assert (second.cache, path.read_bytes()) == ("stored", server.files["/m.onnx"])
    assert pod(server, folder, tmp_path, "c", first.digest)[0].cache == "hit"


def test_a_copy_for_which_the_disk_has_room_in_part_is_none(folder, tmp_path):
    cache = NodeCache(folder, MEBIBYTE)
    path, digest = model(tmp_path, 1)
    assert cache.put(digest, path, [])
    target = tmp_path / "pod-2" / "model.onnx"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, before[1]))
    try:
        assert cache.take(digest, target) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert cache.take(digest, target) is not None


def test_a_link_in_the_cache_leads_nowhere(server, folder, tmp_path):
    first, _ = pod(server, folder, tmp_path, "a")
    entry = folder / first.digest.removeprefix("sha256:") / "model"
    entry.unlink()
    entry.symlink_to(tmp_path / "a" / "model.onnx")
    assert NodeCache(folder, MEBIBYTE).take(first.digest, tmp_path / "x" / "model.onnx") is None


def test_pods_that_start_at_once_download_once(server, folder, tmp_path):
    digest = f"sha256:{hashlib.sha256(server.files['/m.onnx']).hexdigest()}"
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(pod(server, folder, tmp_path, f"p{n}", digest)[0].cache))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["hit"] * 5 + ["stored"]
    assert server.asked("m.onnx") == 1


def test_a_failed_download_gives_the_turn_to_the_next(server, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("millrace_services.inference.download.ATTEMPTS", 1)
    digest = f"sha256:{hashlib.sha256(server.files['/m.onnx']).hexdigest()}"
    server.cut = lambda *_: 10
    with pytest.raises(RetryError):
        pod(server, folder, tmp_path, "a", digest)
    server.cut = lambda *_: None
    assert pod(server, folder, tmp_path, "b", digest)[0].cache == "stored"


def test_whoever_waits_too_long_for_another_pod_goes_on_alone(folder, tmp_path):
    cache, digest = NodeCache(folder, MEBIBYTE), f"sha256:{'0' * 64}"
    times = iter(range(100))
    other = NodeCache(folder, MEBIBYTE, wait=5, sleep=lambda _: None, now=lambda: float(next(times)))
    with cache.turn(digest) as first, other.turn(digest) as second:
        assert (first, second) == (False, False)
    assert 5 <= next(times) <= 10


def test_what_was_used_longest_ago_makes_room(folder, tmp_path):
    cache = NodeCache(folder, 2500)
    made = [model(tmp_path, number) for number in range(4)]
    for number, (path, digest) in enumerate(made[:2]):
        assert cache.put(digest, path, [])
        os.utime(folder / digest.removeprefix("sha256:"), (number, number))
    assert cache.take(made[0][1], tmp_path / "x" / "model.onnx") is not None  # used now
    assert cache.put(made[2][1], made[2][0], [])
    kept = [cache.take(digest, tmp_path / "y" / "model.onnx") is not None for _, digest in made]
    assert kept == [True, False, True, False]


def test_what_is_in_use_is_never_taken_away(folder, tmp_path):
    cache = NodeCache(folder, 1500)
    (first, one), (second, two) = model(tmp_path, 1), model(tmp_path, 2)
    assert cache.put(one, first, [])
    with cache.turn(one) as there:
        assert there
        assert not cache.put(two, second, [])
    assert cache.put(two, second, [])
    assert [entry.name for entry in folder.iterdir() if entry.name != "locks"] == [two.removeprefix("sha256:")]


def test_a_model_larger_than_the_cache_is_not_kept_and_takes_nothing_away(server, folder, tmp_path):
    small, digest = model(tmp_path, 1, 10)
    assert NodeCache(folder, 100).put(digest, small, [])
    assert pod(server, folder, tmp_path, "a", cache_bytes=50)[0].cache == "missed"
    assert NodeCache(folder, 100).take(digest, tmp_path / "x" / "model.onnx") is not None


def test_strange_things_in_the_folder_stay(folder, tmp_path):
    (folder / "lost+found").mkdir()
    (folder / "lost+found" / "x").write_bytes(bytes(5000))
    path, digest = model(tmp_path, 1)
    assert NodeCache(folder, 1500).put(digest, path, [])
    assert (folder / "lost+found" / "x").exists()


def test_a_cache_that_cannot_be_written_keeps_no_pod_from_its_model(server, tmp_path):
    nowhere = tmp_path / "file"
    nowhere.write_bytes(b"")
    digest = f"sha256:{hashlib.sha256(server.files['/m.onnx']).hexdigest()}"
    for name, known in (("a", None), ("b", digest)):
        fetched, path = pod(server, nowhere, tmp_path, name, known)
        assert (fetched.cache, path.read_bytes()) == ("missed", server.files["/m.onnx"])


def test_a_full_disk_of_the_cache_leaves_nothing_of_the_model_there(folder, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, digest = model(tmp_path, 1)
    monkeypatch.setattr("millrace_services.inference.node_cache._copied", full)
    assert not NodeCache(folder, MEBIBYTE).put(digest, path, [])
    assert [entry.name for entry in folder.iterdir()] == ["locks"]


def test_what_a_killed_pod_left_is_swept_and_its_lock_is_gone(folder, tmp_path):
    script = f"""
import os, signal
from pathlib import Path
from millrace_services.inference import node_cache
real = node_cache._copied
def dies(*a, **k):
    real(*a, **k)
    os.kill(os.getpid(), signal.SIGKILL)
node_cache._copied = dies
cache = node_cache.NodeCache(Path({str(folder)!r}), 10_000)
with cache.turn({"sha256:" + "1" * 64!r}):
    cache.put({"sha256:" + "1" * 64!r}, Path({str(model(tmp_path, 1)[0])!r}), [])
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert [entry for entry in folder.iterdir() if entry.name.startswith(".new-")]
    path, digest = model(tmp_path, 2)
    cache = NodeCache(folder, 10_000)
    with cache.turn(f"sha256:{'1' * 64}") as there:
        assert not there
    assert cache.put(digest, path, [])
    assert not [entry for entry in folder.iterdir() if entry.name.startswith(".")]


def test_the_command_says_what_the_cache_did(server, folder, tmp_path):
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-m", "millrace_services.inference", "fetch"],
        env={
            **os.environ,
            destinations.VARIABLE: OPEN,
            "MILLRACE_MODEL_URI": f"http://{server.host}/m.onnx",
            "MILLRACE_MODEL_PATH": str(tmp_path / "a" / "model.onnx"),
            "MILLRACE_MODEL_CACHE": str(folder),
            "MILLRACE_TERMINATION_LOG": str(log),
        },
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(log.read_text())["cache"] == "stored"
