from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import settings as moto_settings

from millrace_core.base.errors import NotFoundError, RejectError, RetryError
from millrace_core.features.history.history import TimeRange
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.data.sources.test_parquet import EVERYTHING, table, view
from tests.s3 import s3_bucket, s3_server


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        client = s3_bucket(url, "lake")
        for name, rows in (("b", range(10)), ("a", range(10, 1000))):
            content = io.BytesIO()
            pq.write_table(table(rows), content, row_group_size=100)
            client.put_object(Bucket="lake", Key=f"events/{name}.parquet", Body=content.getvalue())
            client.put_object(Bucket="lake", Key=f"day=1 00%3A00/brand#{name}/x.parquet", Body=content.getvalue())
        client.put_object(Bucket="lake", Key="corrupt/a.parquet", Body=b"nothing of the kind")
        yield url


def credentials(endpoint: str) -> Credentials:
    return Credentials.load(
        {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": endpoint, "AWS_SESSION_TOKEN": ""}
    )


def read(endpoint: str, uri: str, window: TimeRange = EVERYTHING) -> list[int]:
    batches = list(open_source(view(uri), credentials(endpoint)).scan(["x"], window))
    return pa.Table.from_batches(batches)["x"].to_pylist()  # type: ignore[no-any-return]


def test_a_folder_and_a_file_of_a_bucket_are_read(endpoint: str) -> None:
    assert read(endpoint, "s3://lake/events/") == [*range(10, 1000), *range(10)]
    assert read(endpoint, "s3://lake/events/b.parquet") == list(range(10))
    assert read(endpoint, "s3://lake/events", TimeRange(500, 509)) == list(range(410, 510))  # a row group


def test_a_key_is_written_as_it_is(endpoint: str) -> None:
    """Writers escape the values of partitions, and the escapes are parts of the key."""
    assert read(endpoint, "s3://lake/day=1 00%3A00/brand#b") == list(range(10))
    assert read(endpoint, "s3://lake/day=1 00%3A00/brand#*/x.parquet") == [*range(10, 1000), *range(10)]


@pytest.mark.parametrize("uri", ["s3://lake/nothing", "s3://lake/events/c.parquet", "s3://elsewhere/events"])
def test_what_is_not_there_is_named(endpoint: str, uri: str) -> None:
    with pytest.raises(NotFoundError, match=rf"^spec.source.parquet.uri: there is no bucket or path {uri}"):
        read(endpoint, uri)


def test_a_corrupt_object_is_named(endpoint: str) -> None:
    with pytest.raises(RejectError, match=r"s3://lake/corrupt holds a file that cannot be read as Parquet"):
        read(endpoint, "s3://lake/corrupt")


def test_wrong_credentials_name_the_secret_and_not_its_content(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moto_settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    monkeypatch.setattr("moto.core.responses.ActionAuthenticatorMixin.request_count", 0)
    with pytest.raises(RejectError, match=r"^spec.source.credentialsSecretRef: access to s3://lake/events is denied"):
        read(endpoint, "s3://lake/events")


def test_an_endpoint_that_nobody_listens_on_may_be_tried_again() -> None:
    with pytest.raises(RetryError, match=r"s3://lake/events could not be read: .*connect"):
        read("http://127.0.0.1:1", "s3://lake/events")
