"""Model URIs are checked before anything is read, and shown without their secrets."""

from __future__ import annotations

import pytest

from millrace_core.base.errors import RejectError
from millrace_data.objects import uri


@pytest.mark.parametrize(
    ("text", "scheme", "host", "path", "shown"),
    [
        ("/models/m.onnx", "file", "", "/models/m.onnx", "/models/m.onnx"),
        ("file:///models/a%20b#1?.onnx", "file", "", "/models/a b#1?.onnx", "file:///models/a%20b#1?.onnx"),
        ("s3://bucket/a%20b/m.onnx", "s3", "bucket", "/a%20b/m.onnx", "s3://bucket/a%20b/m.onnx"),
        ("https://h:8443/m.onnx?sig=s3cret", "https", "h", "/m.onnx", "https://h:8443/m.onnx"),
        ("http://user:s3cret@h/m.onnx", "http", "h", "/m.onnx", "http://h/m.onnx"),
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
        ("http:///m.onnx", "has no host"),
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
