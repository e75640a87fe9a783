"""Mount paths in commands: which are rewritten, and which are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_local.node.paths import rewrite

MOUNTS = {
    "/data": Path("/r/d"),
    "/data/deep": Path("/r/deep"),
    "/dev/termination-log": Path("/r/t"),
    "/models/": Path("/r/m"),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/r/d"),
        ("/data/x.parquet", "/r/d/x.parquet"),
        ("--path=/data/x", "--path=/r/d/x"),
        ("/data/deep/x /data/deeper", "/r/deep/x /r/d/deeper"),
        ("a:/data:/models", "a:/r/d:/r/m"),
        ("file:///data/x", "file:///r/d/x"),
        ('{"uri":"file:///models/m.onnx","p":"/data"}', '{"uri":"file:///r/m/m.onnx","p":"/r/d"}'),
        ("cat </data/x >/dev/termination-log; rm '/data/y'", "cat </r/d/x >/r/t; rm '/r/d/y'"),
        ("curl -T @/data/x", "curl -T @/r/d/x"),
        (r"{\"p\":\"/data\"}", r"{\"p\":\"/r/d\"}"),
        ("file:///data?x=1", "file:///r/d?x=1"),
        ("/database", "/database"),
        ("/x/data", "/x/data"),
        ("x/data/y", "x/data/y"),
        ("http://host/data/x", "http://host/data/x"),
        ("s3://data/x", "s3://data/x"),
        ("s3://lake/data/x", "s3://lake/data/x"),
        ("redis://h:6379/data", "redis://h:6379/data"),
        ("/data-2", "/data-2"),
        ("/dev/termination-logs", "/dev/termination-logs"),
        ("", ""),
    ],
)
def test_only_words_that_name_a_mount_path_are_rewritten(text: str, expected: str) -> None:
    assert rewrite(text, MOUNTS) == expected


def test_a_real_path_that_looks_like_a_mount_is_not_rewritten_again() -> None:
    assert rewrite("/a /b", {"/a": Path("/b/1"), "/b": Path("/a/2")}) == "/b/1 /a/2"


def test_the_root_is_never_a_mount() -> None:
    assert rewrite("/etc/hosts", {"/": Path("/r")}) == "/etc/hosts"


NAMES = st.text("abc", min_size=1, max_size=3)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


@given(PATHS, PATHS, st.sampled_from(["", "--x=", "a ", "file://", '"', "k:"]))
def test_a_path_below_a_mount_leads_below_the_real_one_and_others_stay(mount: str, path: str, before: str) -> None:
    real = Path("/REAL")
    below = path == mount or path.startswith(f"{mount}/")
    expected = f"{real}{path.removeprefix(mount)}" if below else path
    assert rewrite(before + path, {mount: real}) == before + expected


@given(st.text())
def test_any_text_without_a_mount_path_stays_as_it_is(text: str) -> None:
    assert rewrite(text, {"/mnt/none": Path("/r")}) == text or "/mnt/none" in text
