"""Model URIs are checked before anything is read, and shown without their secrets."""

from __future__ import annotations

import pytest

from millrace_core.base.errors import RejectError
from millrace_data.objects import filesystem, uri


@pytest.mark.parametrize(
    ("text", "scheme", "host", "path", "shown"),
    [
        ("/models/m.onnx", "file", "", "/models/m.onnx", "/models/m.onnx"),
        ("file:///models/a%20b#1?.onnx", "file", "", "/models/a b#1?.onnx", "file:///models/a%20b#1?.onnx"),
        ("s3://bucket/a%20b/m.onnx", "s3", "bucket", "/a%20b/m.onnx", "s3://bucket/a%20b/m.onnx"),
        ("file:/models/m.onnx", "file", "", "/models/m.onnx", "file:///models/m.onnx"),
        ("https://h:8443/m.onnx?sig=s3cret", "https", "h", "/m.onnx", "https://h:8443/m.onnx"),
    ],
)
def test_a_good_uri_is_taken_apart_and_shown_without_secrets(text, scheme, host, path, shown):
    parsed = uri.parse(text)
    assert (parsed.scheme, parsed.host, parsed.path, parsed.shown) == (scheme, host, path, shown)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no file|is no absolute path"),
        ("model.onnx", "is no absolute path"),
        ("file://other/m.onnx", "is no absolute path"),
        ("/models/", "names no file"),
        ("s3://bucket", "names no file"),
        ("s3://bucket/", "names no file"),
        ("s3:///key", "has no bucket"),
        ("s3://bucket/a//m.onnx", "has a folder without a name"),
        ("s3://bucket:80/m.onnx", "has more than the name of a bucket"),
        ("http:///m.onnx", "has no host"),
        ("http://user:s3cret@h/m.onnx", "http://h/m.onnx came with a user or password in it.*HTTP_TOKEN"),
        ("http://h\\i/m.onnx", "has a backslash in its host"),
        ("http://h:port/m.onnx", "is no URI"),
        ("gs://bucket/m.onnx", "has the scheme gs, which is not served. Use file, s3, http or https"),
        ("/models/../etc/passwd", r"has \.\. or control characters"),
        ("file:///models/%2e%2e/etc/passwd", r"has \.\. or control characters"),
        ("s3://bucket/a/../b", r"has \.\. or control characters"),
        ("http://h/a%5c..%5cb", r"has \.\. or control characters"),
        ("/models/a\x00b", r"has \.\. or control characters"),
        ("/models/a%0ab", r"has \.\. or control characters"),
    ],
)
def test_a_bad_uri_is_named_with_its_mend(text, sentence):
    with pytest.raises(RejectError, match=sentence) as caught:
        uri.parse(text)
    assert (caught.value.field, caught.value.reason) == ("spec.model.uri", "BadUri")


@pytest.mark.parametrize("uri_of", ["s3:///a", "s3://bucket//a", "s3://key:s3cret@bucket/a", "s3://bucket:80/a"])
def test_an_address_of_s3_that_there_cannot_be_is_named_for_tables_as_for_models(uri_of):
    with pytest.raises(RejectError) as of_table:
        filesystem.open_filesystem(uri_of, filesystem.ObjectStoreSettings.load({}), "spec.source.parquet.uri")
    with pytest.raises(RejectError) as of_model:
        uri.parse(uri_of + "/m.onnx")
    for caught in (of_table, of_model):
        assert caught.value.reason == "BadUri"
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("path", ["/a#b/c?d", "/[a/b"])
@pytest.mark.parametrize("root", ["file://", "s3://bucket"])
def test_a_path_of_a_table_keeps_every_letter(root, path):
    _, found = filesystem.open_filesystem(root + path, filesystem.ObjectStoreSettings.load({}))
    assert found == root.removeprefix("file://").removeprefix("s3://") + path
