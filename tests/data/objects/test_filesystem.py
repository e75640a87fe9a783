"""What a URI means is the same for tables, which are opened by file systems, and for models."""

from __future__ import annotations

import pytest

from millrace_core.base.errors import RejectError
from millrace_data.objects import uri
from millrace_data.objects.filesystem import ObjectStoreSettings, open_filesystem

SETTINGS = ObjectStoreSettings.load({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("s3://lake/day=2026-01-01 00%3A00%3A00/x", "lake/day=2026-01-01 00%3A00%3A00/x"),
        ("s3://lake/brand#21/x", "lake/brand#21/x"),
        ("s3://lake/what?/x", "lake/what?/x"),
        ("s3://lake.of.dots/x", "lake.of.dots/x"),
        ("file:///lake/a%20b/x", "/lake/a b/x"),
        ("file:///lake/brand#21/what?", "/lake/brand#21/what?"),
        ("file://localhost/lake/x", "/lake/x"),
    ],
)
def test_a_uri_means_one_object_for_tables_and_for_models(text: str, path: str) -> None:
    model = uri.parse(text)
    assert open_filesystem(text, SETTINGS)[1] == path
    assert (f"{model.host}/{model.key}" if model.scheme == "s3" else model.path) == path


def test_a_whole_bucket_and_a_whole_machine_have_a_path() -> None:
    assert open_filesystem("s3://lake/", SETTINGS)[1] == "lake"
    assert open_filesystem("file:///", SETTINGS)[1] == "/"


def test_a_file_of_another_host_is_refused() -> None:
    with pytest.raises(RejectError, match="names the host 'lake'"):
        open_filesystem("file://lake/x", SETTINGS)
