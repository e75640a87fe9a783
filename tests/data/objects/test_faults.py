"""What can be wrong with an object store is said alike of tables and of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace_data.objects import faults, filesystem, http_client
from millrace_data.objects.base import ObjectReader
from millrace_data.objects.reader import reader_of
from millrace_data.objects.s3 import S3Reader
from millrace_data.objects.uri import parse
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.data.sources.test_parquet import EVERYTHING, view
from tests.s3_faults import s3_that

Use = Callable[[str], None]
URI = "s3://lake/a/b.parquet"


def environ(endpoint: str) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "hidden", "AWS_ENDPOINT_URL": endpoint}


def table(endpoint: str) -> None:
    list(open_source(view(URI), Credentials.load(environ(endpoint))).scan(["x"], EVERYTHING))


def model(endpoint: str) -> None:
    with reader_of(parse(URI), environ(endpoint)).open(0, 1000) as found:
        list(found.chunks)


USES = pytest.mark.parametrize(
    ("use", "field"), [(table, "spec.source.parquet.uri"), (model, "spec.model.uri")], ids=["table", "model"]
)


def fault(use: Use, endpoint: str) -> MillraceError:
    with pytest.raises(MillraceError) as caught:
        use(endpoint)
    assert URI in caught.value.message
    assert caught.value.hint
    assert "hidden" not in str(caught.value)
    return caught.value


@USES
@pytest.mark.parametrize(
    ("status", "code", "kind", "reason", "part"),
    [
        (404, "NoSuchBucket", NotFoundError, "NotFound", "there is no bucket"),
        (404, "NoSuchKey", NotFoundError, "NotFound", "there is no bucket or path"),
        (403, "AccessDenied", RejectError, "AccessDenied", "is denied"),
        (403, "InvalidAccessKeyId", RejectError, "AccessDenied", "does not know AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", RejectError, "AccessDenied", "AWS_SECRET_ACCESS_KEY is not the secret"),
        (400, "ExpiredToken", RejectError, "AccessDenied", "token has expired"),
        (400, "InvalidToken", RejectError, "AccessDenied", "token has expired or is not valid"),
        (301, "PermanentRedirect", RejectError, "WrongRegion", "another region than AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", RejectError, "WrongRegion", "another region than AWS_REGION"),
        (403, "RequestTimeTooSkewed", RetryError, "", "clock"),
        (400, "KMS.DisabledException", RejectError, "AccessDenied", "the key of KMS"),
        (403, "InvalidObjectState", RejectError, "ObjectArchived", "is archived"),
        (503, "SlowDown", RetryError, "", "fewer requests"),
        (429, "TooManyRequests", RetryError, "", "fewer requests"),
    ],
)
def test_what_a_store_answers(
    use: Use, field: str, status: int, code: str, kind: type[MillraceError], reason: str, part: str
) -> None:
    with s3_that(status, code) as endpoint:
        found = fault(use, endpoint)
    assert type(found) is kind
    assert part in found.message
    assert reason in found.reason
    root = ".".join(field.split(".")[:2])
    assert found.field == (f"{root}.credentialsSecretRef" if reason in ("AccessDenied", "WrongRegion") else field)


@USES
def test_a_store_that_nobody_listens_at(use: Use, field: str) -> None:
    found = fault(use, "http://127.0.0.1:1")
    assert isinstance(found, RetryError)
    assert "cannot connect" in found.message
    assert "AWS_ENDPOINT_URL" in found.hint
    assert found.field == field


@USES
def test_a_store_that_breaks_off(use: Use, field: str) -> None:
    with s3_that(200, cut=300) as endpoint:
        found = fault(use, endpoint)
    assert isinstance(found, RetryError)
    assert "broke off" in found.message


@USES
def test_a_store_that_does_not_answer_in_time(use: Use, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # One attempt, and a second rather than half a minute; of either client.
    monkeypatch.setattr(http_client, "IDLE_SECONDS", 1.0)
    opened = filesystem.s3_filesystem
    monkeypatch.setattr(filesystem, "ATTEMPTS", 1)
    monkeypatch.setattr(filesystem, "s3_filesystem", lambda settings: opened(settings, 1.0))
    with s3_that(200, wait=3.0) as endpoint:
        found = fault(use, endpoint)
    assert isinstance(found, RetryError)
    assert "no data for" in found.message


@USES
def test_an_archived_object_whose_size_is_told(use: Use, field: str) -> None:
    """As S3 does: HEAD is answered, GET is not. Arrow may lose the code of that."""
    text = "The operation is not valid for the object's storage class"
    with s3_that(403, "InvalidObjectState", text=text, head=200) as endpoint:
        found = fault(use, endpoint)
    assert isinstance(found, RejectError)
    assert "archived" in found.message + found.hint


@pytest.mark.parametrize("text", ["InvalidObjectState", "The operation is not valid for the object's storage class"])
def test_an_archived_object_is_refused_at_its_address(text: str) -> None:
    with pytest.raises(RejectError, match="s3://lake/a is archived") as caught, faults.explained("s3://lake/a"):
        raise OSError(f"When reading key 'a' in bucket 'lake': AWS Error [code 136] during GetObject operation: {text}")
    assert (caught.value.reason, caught.value.field) == ("ObjectArchived", "uri")


MARKS = [mark for row in faults.TABLE for mark in row.marks]
NAMES = st.lists(st.sampled_from([*MARKS, "AWS Error ", "' in bucket 'b': ", "a", "/", " "]), min_size=1, max_size=5)
# What the table has to say of each, however the key is called.
ANSWERS = {
    "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7, no server": (RetryError, "cannot connect"),
    "AWS Error SLOW_DOWN during GetObject operation: SlowDown": (RetryError, "fewer requests"),
    "AWS Error UNKNOWN (HTTP status 500) during GetObject operation: broken": (RetryError, "HTTP status 500"),
    "AWS Error ACCESS_DENIED during GetObject operation: no right to arn:aws:s3:::{path}": (RejectError, "is denied"),
    "AWS Error NO_SUCH_KEY during GetObject operation: there is no {path}": (NotFoundError, "no bucket or path"),
}


PLACES = ["When reading information for key '{key}/x' in bucket 'lake': ", "Could not open source 'lake/{key}/x': "]


@given(NAMES, st.sampled_from(PLACES), st.sampled_from(sorted(ANSWERS)))
@example(["' in bucket 'b': ", "NO_SUCH_BUCKET"], PLACES[1], sorted(ANSWERS)[0])
@example(["' in bucket 'b': ", "AWS Error "], PLACES[0], sorted(ANSWERS)[0])
def test_a_key_that_is_called_like_a_fault_is_none(name: list[str], place: str, answer: str) -> None:
    key = "".join(name)
    said = place.format(key=key) + answer.format(path=f"lake/{key}/x")
    kind, part = ANSWERS[answer]
    with pytest.raises(MillraceError) as caught, faults.explained(f"s3://lake/{key}"):
        raise OSError(said)
    assert type(caught.value) is kind
    assert part in caught.value.message
    assert faults.denied(OSError(said)) == (kind is RejectError)
    assert faults.gone(OSError(said)) == (kind is NotFoundError)
    assert faults.of_store(OSError(said)) == (kind is not NotFoundError)


@given(NAMES, st.sampled_from(["{uri} in 3 s: broken off", "for url ({url}/x): 500", "at location {key}, 'no way'"]))
def test_a_path_that_is_called_like_a_fault_is_none_in_the_words_of_other_libraries(name: list[str], said: str) -> None:
    key = "".join(name).strip(" ") or "a"
    text = said.format(uri=f"s3://lake/{key}", url=f"http://store/lake/{quote(key)}", key=key)
    with pytest.raises(RetryError, match="could not be read"), faults.explained(f"s3://lake/{key}"):
        raise OSError(text)


@pytest.mark.parametrize("kind", [FileNotFoundError, PermissionError])
@pytest.mark.parametrize("mark", MARKS)
def test_the_kind_of_an_error_says_more_than_the_path_in_it(kind: type[OSError], mark: str) -> None:
    error = kind(f"[Errno 1] '/data/{mark}/x'")
    assert (faults.gone(error), faults.denied(error)) == (kind is FileNotFoundError, kind is PermissionError)


@pytest.mark.parametrize("reader", [reader_of, S3Reader], ids=["ours", "arrow's"])
def test_a_range_of_an_object_that_stays_the_same(reader: Callable[..., ObjectReader]) -> None:
    with s3_that(200) as endpoint, reader(parse(URI), environ(endpoint)).open(990, 1000) as found:
        assert b"".join(found.chunks) == b"x" * 10
        assert (found.size, found.tag, found.ranged) == (1000, '"1"', True)


def test_an_object_that_changes_while_arrow_reads_it_is_noticed() -> None:
    def read(endpoint: str) -> None:
        with S3Reader(parse(URI), environ(endpoint)).open(0, 10) as found:
            list(found.chunks)

    with s3_that(200, tags=["1", "2"]) as endpoint, pytest.raises(RetryError, match="changed while it was read"):
        read(endpoint)


def test_ranges_of_two_versions_of_an_object_have_two_tags() -> None:
    with s3_that(200, tags=["1", "2"]) as endpoint:
        reader = reader_of(parse(URI), environ(endpoint))
        with reader.open(0, 10) as first, reader.open(10, 20) as second:
            assert (first.tag, second.tag) == ('"1"', '"2"')


def test_a_file_that_is_a_folder_or_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(RejectError) as caught, reader_of(parse(str(path)), {}).open(0, 1):
            pass
        assert caught.value.reason == "ModelNotFound"
        assert str(path) in caught.value.message
