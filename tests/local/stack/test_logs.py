"""Logs: read, followed, kept small."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace_core.base.errors import NotFoundError
from millrace_local.stack import logs


def test_the_lines_of_one_log_stand_alone_and_those_of_several_carry_names(tmp_path: Path) -> None:
    (tmp_path / "store.log").write_text("a\nb\n")
    (tmp_path / "mesh.log").write_text("c\n")
    assert list(logs.read(tmp_path, ["store"], follow=False)) == ["a", "b"]
    assert list(logs.read(tmp_path, [], follow=False)) == ["mesh       c", "store      a", "store      b"]


def test_warnings_that_every_start_and_end_brings_are_left_out_and_others_are_not(tmp_path: Path) -> None:
    ours = "7:M 1 Jan 2026 00:00:00.000 # WARNING Memory overcommit must be enabled! Without it, a background save"
    other = "7:M 1 Jan 2026 00:00:00.000 # WARNING: the disk is full"
    (tmp_path / "store.log").write_text(f"{ours}\n{other}\n")
    (tmp_path / "mesh.log").write_text("[x][warning][main] [source/server/server.cc:1028] caught ENVOY_SIGTERM\n")
    assert list(logs.read(tmp_path, [], follow=False)) == [f"store      {other}"]


def test_a_log_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "store.log").write_text("")
    with pytest.raises(NotFoundError, match=r"there is no log of 'sotre'. There are logs of store"):
        list(logs.read(tmp_path, ["sotre"], follow=False))


def test_following_goes_on_across_a_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LARGEST_BYTES", 10)
    monkeypatch.setattr(logs, "_POLL_SECONDS", 0.01)
    path = tmp_path / "store.log"
    with path.open("a") as writer:
        writer.write("first line\nhalf")
        writer.flush()
        lines = logs.read(tmp_path, ["store"], follow=True)
        assert next(lines) == "first line"
        writer.write(" a line\n")
        writer.flush()
        assert next(lines) == "half a line"
        logs.rotate(path)
        assert (path.stat().st_size, path.with_name("store.log.1").read_text()) == (0, "first line\nhalf a line\n")
        writer.write("new\n")
        writer.flush()
        assert next(lines) == "new"


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store.log").write_text("x\n")
    logs.rotate(tmp_path / "store.log")
    logs.rotate(tmp_path / "gone.log")
    assert [path.name for path in tmp_path.iterdir()] == ["store.log"]


def test_the_tail_is_the_last_lines_of_a_long_log(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("".join(f"line {n}\n" for n in range(10_000)))
    assert logs.tail(path, 2) == "line 9998\nline 9999"
    assert logs.tail(tmp_path / "gone.log", 2) == ""
