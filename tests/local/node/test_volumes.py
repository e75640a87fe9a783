"""Volumes as directories, and logs as files."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_local.node import logs
from millrace_local.node.environment import DownwardApi, MissingError
from millrace_local.node.volumes import Content, directory, files, fill, mounts, references

POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "1"}},
    "spec": {"containers": []},
}
DOWNWARD = DownwardApi(POD, "127.64.0.9", "127.0.0.1", {})
SOURCES = {
    ("Secret", "s"): {"key": b"hush"},
    ("ConfigMap", "c"): {"a.txt": b"A", "b.txt": b"B"},
    ("ServiceAccountToken", "me"): {"token": b"t"},
}


def held(volume: dict[str, Any]) -> dict[str, tuple[bytes, int]] | None:
    found = files({"name": "v", **volume}, DOWNWARD, SOURCES)
    return None if found is None else {path: (content.data, content.mode) for path, content in found.items()}


def test_each_kind_of_volume_holds_what_it_says() -> None:
    assert held({"emptyDir": {}}) is None
    assert held({"secret": {"secretName": "s", "defaultMode": 0o400}}) == {"key": (b"hush", 0o400)}
    some = {"configMap": {"name": "c", "items": [{"key": "a.txt", "path": "in/a", "mode": 0o600}]}}
    assert held(some) == {"in/a": (b"A", 0o600)}
    assert held({"configMap": {"name": "none", "optional": True}}) == {}
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    assert held({"downwardAPI": {"items": [labels]}}) == {"labels": (b'a="1"\nb="2"', 0o644)}
    projected = {
        "sources": [
            {"configMap": {"name": "c", "items": [{"key": "b.txt", "path": "b"}]}},
            {"secret": {"name": "s"}},
            {"serviceAccountToken": {"path": "token", "audience": "me"}},
        ]
    }
    assert held({"projected": projected}) == {"b": (b"B", 0o644), "key": (b"hush", 0o644), "token": (b"t", 0o600)}
    assert set(references({"projected": projected})) == SOURCES.keys()


@pytest.mark.parametrize(
    ("volume", "error", "message"),
    [
        ({"secret": {"secretName": "none"}}, MissingError, 'secret "none" not found'),
        ({"configMap": {"name": "c", "items": [{"key": "x", "path": "x"}]}}, MissingError, "non-existent key: x"),
        ({"nfs": {}}, RejectError, "of kind nfs, which does not work"),
        ({"persistentVolumeClaim": {"claimName": "x"}}, RejectError, "Use emptyDir, hostPath"),
    ],
)
def test_a_volume_that_cannot_be_made_says_why(volume: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        held(volume)


def test_files_follow_their_source_and_unchanged_ones_are_not_touched(tmp_path: Path) -> None:
    fill(tmp_path, {"a": Content(b"1", 0o644), "in/b": Content(b"2", 0o600)})
    before = (tmp_path / "a").stat().st_mtime_ns, (tmp_path / "a").stat().st_ino
    assert (tmp_path / "in/b").stat().st_mode & 0o777 == 0o600
    fill(tmp_path, {"a": Content(b"1", 0o644), "c": Content(b"3", 0o644)})
    assert ((tmp_path / "a").stat().st_mtime_ns, (tmp_path / "a").stat().st_ino) == before
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a", "c"]


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x"])
def test_no_path_leads_out_of_its_volume(path: str, tmp_path: Path) -> None:
    with pytest.raises(RejectError, match="leads out"):
        fill(tmp_path / "v", {path: Content(b"", 0o644)})


def test_host_paths_are_the_hosts_own(tmp_path: Path) -> None:
    def at(path: Path, kind: str) -> Path:
        return directory({"name": "v", "hostPath": {"path": str(path), "type": kind}}, tmp_path)

    assert at(tmp_path / "new", "DirectoryOrCreate").is_dir()
    assert at(tmp_path / "file", "FileOrCreate").is_file()
    with pytest.raises(RejectError, match="does not exist"):
        at(tmp_path / "none", "Directory")


def test_mounts_lead_to_their_volumes_and_below_them(tmp_path: Path) -> None:
    container = {"volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "subPath": "x/y"}]}
    assert mounts(container, {"v": tmp_path}) == {"/a": tmp_path, "/b": tmp_path / "x/y"}
    with pytest.raises(RejectError, match="names no volume 'w'"):
        mounts({"volumeMounts": [{"name": "w", "mountPath": "/a"}]}, {"v": tmp_path})


def at_noon() -> datetime:
    return datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


async def written(file: Path, *chunks: bytes, limit: int = logs.LARGEST_FILE) -> None:
    pipe = logs.LogPipe(file, now=at_noon, limit=limit)
    end = os.dup(pipe.writing)
    pipe.started()
    for chunk in chunks:
        os.write(end, chunk)
        await asyncio.sleep(0.01)
    os.close(end)
    await pipe.finish()


async def test_lines_are_written_with_their_time_and_a_last_one_without_an_end_too(tmp_path: Path) -> None:
    await written(tmp_path / "c.log", b"one\ntw", b"o\nthree")
    stamp = b"2026-11-20T12:00:00.123456000Z stdout F "
    assert (tmp_path / "c.log").read_bytes().splitlines() == [stamp + b"one", stamp + b"two", stamp + b"three"]
    assert logs.tail(tmp_path / "c.log") == "one\ntwo\nthree"


async def test_a_line_without_end_is_written_in_parts(tmp_path: Path) -> None:
    await written(tmp_path / "c.log", b"x" * 20_000, b"y\n")
    tags = [line.split(b" ", 3)[2] for line in (tmp_path / "c.log").read_bytes().splitlines()]
    assert tags == [b"P", b"F"]


async def test_a_log_is_bounded_and_loses_no_line_when_it_is_moved(tmp_path: Path) -> None:
    chunks = [b"".join(b"%04d\n" % number for number in range(start, start + 50)) for start in range(0, 200, 50)]
    await written(tmp_path / "c.log", *chunks, limit=5000)
    assert (tmp_path / "c.log").stat().st_size <= 5000
    text = (tmp_path / "c.log.1").read_bytes() + (tmp_path / "c.log").read_bytes()
    assert [int(line[-4:]) for line in text.splitlines()] == list(range(200))


async def test_the_log_of_the_run_before_is_kept(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n", b"third\n"):
        await written(logs.rotate_run(tmp_path, "c"), text)
    assert logs.tail(tmp_path / "c.previous.log") == "second"
    assert logs.tail(tmp_path / "c.log") == "third"


def test_the_tail_is_as_short_as_a_message_may_be(tmp_path: Path) -> None:
    line = "2026-11-20T12:00:00Z stdout F {}\n"
    (tmp_path / "c.log").write_text("".join(line.format(f"{number} {'x' * 40}") for number in range(200)))
    assert len(logs.tail(tmp_path / "c.log")) == 2048
    (tmp_path / "c.log").write_text("".join(line.format(number) for number in range(200)))
    assert logs.tail(tmp_path / "c.log").splitlines() == [str(number) for number in range(120, 200)]
    assert logs.tail(tmp_path / "none.log") == ""


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "..", "", "a/..", "x\0y"])
def test_no_path_of_a_file_or_mount_leads_out_of_the_volume(tmp_path: Path, path: str) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    with pytest.raises(RejectError, match="leads out of the volume"):
        fill(volume, {path: Content(b"x", 0o600)})
    if path:
        mount = {"mountPath": "/m", "name": "v", "subPath": path}
        with pytest.raises(RejectError, match="leads out of the volume"):
            mounts({"volumeMounts": [mount]}, {"v": volume})
    assert sorted(tmp_path.rglob("*")) == [volume]


def test_no_link_that_a_container_made_leads_out_of_the_volume(tmp_path: Path) -> None:
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    volume.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("as it was")
    (volume / "folder").symlink_to(outside)
    (volume / "file").symlink_to(outside / "kept")
    (volume / "..file.fresh").symlink_to(outside / "kept")
    fill(volume, {"file": Content(b"x", 0o600)})
    assert (volume / "file").read_bytes() == b"x"
    with pytest.raises(RejectError, match="by a link"):
        fill(volume, {"folder/kept": Content(b"x", 0o600)})
    for where in ("folder", "folder/kept"):
        with pytest.raises(RejectError, match="by a link"):
            mounts({"volumeMounts": [{"mountPath": "/m", "name": "v", "subPath": where}]}, {"v": volume})
    assert (outside / "kept").read_text() == "as it was"
    assert list(outside.iterdir()) == [outside / "kept"]


@pytest.mark.parametrize("mode", [0o4755, 0o1000, -1])
def test_a_mode_is_within_the_permissions(tmp_path: Path, mode: int) -> None:
    with pytest.raises(RejectError, match="is not within 0o777"):
        fill(tmp_path / "v", {"a": Content(b"x", mode)})


def test_a_volume_whose_name_is_a_path_has_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RejectError, match="leads out"):
        directory({"name": "../x", "emptyDir": {}}, tmp_path)
