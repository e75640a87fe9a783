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
        ("ftp://h/m.onnx", "has the scheme ftp, which is not served. Use file, s3, gs, az, pvc, oci, http or https"),
        ("gs:///m.onnx", "has no bucket. Write gs://bucket/path/model.onnx; keys are in the Secret"),
        ("az://a@b/m.onnx", "has more than the name of a container before its path"),
        ("pvc://claim/a/../m.onnx", r"has \.\. or control characters"),
        ("pvc://claim", "names no file"),
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


@pytest.mark.parametrize(
    ("text", "name", "beside"),
    [
        ("/models/m.onnx", "w/a b#.bin", "/models/w/a%20b%23.bin"),
        ("file:///models/m.onnx", "w.bin", "file:///models/w.bin"),
        ("s3://bucket/a%20b/m.onnx", "a%20?.bin", "s3://bucket/a%20b/a%20?.bin"),
        ("gs://bucket/m.onnx", "w.bin", "gs://bucket/w.bin"),
        ("pvc://claim/a/m.onnx", "b/w.bin", "pvc://claim/a/b/w.bin"),
        ("https://h:8443/a/m.onnx?sig=1/2", "w?.bin", "https://h:8443/a/w%3F.bin?sig=1/2"),
    ],
)
def test_a_file_beside_another_has_its_folder_and_its_signature(text, name, beside):
    found = uri.parse(text).beside(name)
    assert found.text == beside
    assert found.path.endswith(f"/{name}")


@pytest.mark.parametrize("name", ["w.bin", "./w.bin", "a/./w.bin", "a/b/c", "a b", "…"])
def test_a_path_below_a_folder_stays_there(name):
    assert uri.relative(name) == "/".join(part for part in name.split("/") if part != ".")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "/etc/passwd",
        "../w",
        "a/../../w",
        "a//w",
        "a/",
        "a\\..\\w",
        "c:w",
        "a\x00",
        "a\nb",
        "x" * 1025,
        "a/" * 40,
    ],
)
def test_a_path_that_may_lead_elsewhere_is_none(name):
    assert uri.relative(name) is None
