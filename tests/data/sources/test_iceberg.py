"""Iceberg tables in each kind of catalog, and as other engines leave them: evolved, partitioned, with deletes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from socket import create_server
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.table import Table
from pyiceberg.types import DoubleType, LongType

from millrace_core.base.errors import NotFoundError, RejectError, ReportError, RetryError
from millrace_core.features.history.history import TimeRange
from millrace_data.sources import iceberg
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.data.sources.iceberg_deletes import delete_equal, delete_positions
from tests.data.sources.test_kinds import EVERYTHING, Place, read, rows, view
from tests.iceberg_catalog import CLIENT, SECRET, TOKEN, rest_catalog
from tests.s3 import s3_bucket, s3_server

KEYS = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"}
DAY = 86_400_000_000


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """S3 with a bucket, and Glue."""
    with s3_server() as url:
        s3_bucket(url, "lake")
        yield url


@pytest.fixture
def lake(tmp_path: Path) -> Catalog:
    """A catalog of this test alone."""
    warehouse = f"file://{tmp_path}"
    made = load_catalog("lake", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=warehouse)
    made.create_namespace("lake")
    return made


def filled(catalog: Catalog, **options: Any) -> Table:
    table = catalog.create_table("lake.events", rows().schema, **options)
    table.append(rows().slice(0, 400))
    table.append(rows().slice(400))
    return table


def place(catalog: Catalog, timestamp: str = "at", **more: Any) -> Place:
    known = {"name": "lake", "type": "sql", "uri": catalog.properties["uri"]}
    source = {"iceberg": {"catalog": known, "table": "lake.events", **more}, "timestampField": timestamp}
    return Place(source, Credentials())


def files_read(table: Table, window: TimeRange, **changes: Any) -> int:
    """How many data files a scan opens."""
    source = open_source(view(place(table.catalog).source, **changes), Credentials())
    scan = source._table.scan(row_filter=source._within(window), snapshot_id=source._snapshot)  # type: ignore[attr-defined]
    return len(list(scan.plan_files()))


def test_a_table_of_glue_on_s3_is_read_with_keys_of_a_secret(aws: str) -> None:
    keys = {"client.access-key-id": "me", "client.secret-access-key": "s", "client.region": "eu-west-1"}
    ends = {"s3.endpoint": aws, "glue.endpoint": aws}
    glue = load_catalog("glue", type="glue", warehouse="s3://lake/glue", **keys, **ends)
    glue.create_namespace("lake")
    filled(glue)
    known = Credentials.load({**KEYS, "AWS_ENDPOINT_URL": aws})
    source = {"iceberg": {"catalog": {"type": "glue"}, "table": "lake.events"}}
    assert len(read(Place(source, known), ["id"])["id"]) == 1000
    with pytest.raises(NotFoundError, match=r"spec.source.iceberg.table: the catalog has no table lake.nothing"):
        read(Place({"iceberg": {**source["iceberg"], "table": "lake.nothing"}}, known), ["id"])


def test_keys_that_glue_does_not_take_are_said(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    monkeypatch.setattr("moto.core.responses.ActionAuthenticatorMixin.request_count", 0)
    known = Credentials.load({**KEYS, "AWS_ENDPOINT_URL": aws})
    source = {"iceberg": {"catalog": {"type": "glue"}, "table": "lake.events"}}
    with pytest.raises(RejectError, match=r"^spec.source.credentialsSecretRef: access to table lake.events is denied"):
        read(Place(source, known), ["id"])


@pytest.fixture
def on_s3(aws: str, tmp_path: Path) -> Catalog:
    keys = {"s3.access-key-id": "me", "s3.secret-access-key": "s", "s3.endpoint": aws, "s3.region": "us-east-1"}
    made = load_catalog("s3", type="sql", uri=f"sqlite:///{tmp_path}/s3.db", warehouse="s3://lake/sql", **keys)
    made.create_namespace("lake")
    filled(made)
    return made


@pytest.mark.parametrize(
    "known",
    [
        {"ICEBERG_TOKEN": TOKEN},
        {"ICEBERG_CREDENTIAL": f"{CLIENT}:{SECRET}"},
        {"ICEBERG_CREDENTIAL": f"{CLIENT}:{SECRET}", "ICEBERG_SCOPE": "all", "ICEBERG_OAUTH2_URI": "/elsewhere"},
    ],
)
def test_a_rest_catalog_is_asked_with_a_token_or_a_client_s_secret(
    known: dict[str, str], on_s3: Catalog, aws: str
) -> None:
    with rest_catalog(on_s3) as url:
        source = {"iceberg": {"catalog": {"type": "rest", "uri": url}, "table": "lake.events"}}
        if "ICEBERG_OAUTH2_URI" in known:
            known = {**known, "ICEBERG_OAUTH2_URI": f"{url}/elsewhere"}
        mine = Credentials.load({**KEYS, "AWS_ENDPOINT_URL": aws, **known})
        assert len(read(Place(source, mine), ["id"])["id"]) == 1000
        with pytest.raises(NotFoundError, match=r"spec.source.iceberg.table: the catalog has no table lake.nothing"):
            read(Place({"iceberg": {**source["iceberg"], "table": "lake.nothing"}}, mine), ["id"])


def test_keys_that_a_rest_catalog_hands_out_are_used(on_s3: Catalog, aws: str) -> None:
    handed = {"s3.access-key-id": "me", "s3.secret-access-key": "s", "s3.endpoint": aws}
    with rest_catalog(on_s3, handed) as url:
        source = {"iceberg": {"catalog": {"type": "rest", "uri": url}, "table": "lake.events"}}
        assert len(read(Place(source, Credentials.load({"ICEBERG_TOKEN": TOKEN})), ["id"])["id"]) == 1000


@pytest.mark.parametrize("known", [{}, {"ICEBERG_TOKEN": "wrong"}, {"ICEBERG_CREDENTIAL": "reader:wrong"}])
def test_a_rest_catalog_that_denies_access_is_said(known: dict[str, str], lake: Catalog) -> None:
    with rest_catalog(lake) as url:
        source = {"iceberg": {"catalog": {"type": "rest", "uri": url}, "table": "lake.events"}}
        with pytest.raises(RejectError, match=r"credentialsSecretRef: access to table lake.events is denied") as caught:
            read(Place(source, Credentials.load(known)), ["id"])
    assert "ICEBERG_TOKEN" in caught.value.hint


def test_a_rest_catalog_that_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iceberg, "_SECONDS", 0.2)
    with create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        source = {"iceberg": {"catalog": {"type": "rest", "uri": url}, "table": "lake.events"}}
        with pytest.raises(RetryError, match=r"spec.source.iceberg.catalog: .* no answer within 0.2 s"):
            read(Place(source, Credentials()), ["id"])


def test_a_driver_of_a_catalog_that_is_not_installed_is_named() -> None:
    source = {"iceberg": {"catalog": {"type": "sql", "uri": "mysql://127.0.0.1/x"}, "table": "a.b"}}
    with pytest.raises(ReportError, match="need MySQLdb, which is not installed"):
        read(Place(source, Credentials()), ["id"])


def test_a_catalog_that_is_read_is_not_written(tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    source = {"iceberg": {"catalog": {"type": "sql", "uri": f"sqlite:///{empty}"}, "table": "a.b"}}
    with pytest.raises(NotFoundError, match="no such table: iceberg_tables"):
        read(Place(source, Credentials()), ["id"])
    assert empty.stat().st_size == 0


def test_a_schema_that_evolved_is_read_as_it_is_now(lake: Catalog) -> None:
    """Columns of Iceberg are numbers: renamed, widened, moved or added ones are read from old files, too."""
    narrow = rows().set_column(3, "x", rows()["x"].cast(pa.float32()))
    narrow = narrow.set_column(0, "id", rows()["id"].cast(pa.int32()))
    table = lake.create_table("lake.events", narrow.schema)
    table.append(narrow.slice(0, 400))
    with table.update_schema() as change:
        change.update_column("x", DoubleType())
        change.update_column("id", LongType())
        change.rename_column("word", "said")
        change.rename_column("at", "moment")
        change.add_column("late", LongType())
    with table.update_schema() as change:
        change.move_first("said")
    renamed = rows().slice(400).rename_columns(["id", "moment", "written", "x", "said"])
    renamed = renamed.append_column("late", pa.array([7] * 600))
    table.append(renamed.select(table.schema().column_names))
    features = [{"name": "x", "type": "float64"}, {"name": "said", "type": "string"}, {"name": "late", "type": "int64"}]
    now = place(lake, timestamp="moment")
    found = read(now, ["id", "said", "late"], features=features)
    assert sorted(found["said"], key=str) == sorted(rows()["word"].to_pylist(), key=str)
    assert (found["late"].count(None), found["late"].count(7)) == (400, 600)
    old = place(lake, snapshotId=table.history()[0].snapshot_id)
    assert len(read(old, ["id", "word"], TimeRange(100, 199))["id"]) == 400
    assert read(old, ["id", "word"], TimeRange(400, 999))["id"] == []


def test_files_outside_the_window_are_not_read(lake: Catalog) -> None:
    partitioned = lake.create_table("lake.events", rows().schema)
    with partitioned.update_spec() as change:
        change.add_identity("at")
    moment = pa.timestamp("us", "UTC")
    for day in range(5):
        partitioned.append(rows(10).set_column(1, "at", pa.array([day * DAY] * 10).cast(moment)))
    assert files_read(partitioned, TimeRange(None, 2**61)) == 5
    assert files_read(partitioned, TimeRange(2 * DAY, 3 * DAY + 4)) == 2
    assert files_read(partitioned, TimeRange(2 * DAY + 1, 3 * DAY - 1)) == 0
    assert len(read(place(lake), ["at"], TimeRange(2 * DAY, 2 * DAY))["at"]) == 10


def test_files_are_skipped_by_what_they_tell_of_their_times(lake: Catalog) -> None:
    table = filled(lake)
    assert [files_read(table, TimeRange(*each)) for each in ((None, 399), (399, 400), (400, 2**62), (1000, 2**62))] == [
        1,
        2,
        1,
        0,
    ]
    assert files_read(table, TimeRange(None, 2**61, created_after=405)) == 1
    assert files_read(table, TimeRange(None, 2**61, created_after=1005)) == 0


def test_deletes_beside_the_data_are_applied(lake: Catalog) -> None:
    table = filled(lake)
    first = next(iter(sorted(table.scan().plan_files(), key=lambda task: -task.file.record_count))).file.file_path
    gone = pq.read_table(first.removeprefix("file://"))["at"].take(pa.array([0, 5, 599])).to_pylist()
    delete_positions(table, first, [0, 5, 599])
    found = read(place(lake), ["at", "id"])["at"]
    assert sorted(found) == [moment for moment in rows()["at"].to_pylist() if moment not in gone]
    assert len(read(place(lake), ["at"], TimeRange(400, 999))["at"]) == 597


def test_deletes_by_value_are_refused_with_what_to_do(lake: Catalog) -> None:
    delete_equal(filled(lake), "id", [3])
    with pytest.raises(RejectError, match=r"spec.source.iceberg: .*equality deletes") as caught:
        read(place(lake), ["id"])
    assert (caught.value.reason, "rewrite" in caught.value.hint) == ("UnreadableTable", True)


def test_a_snapshot_stays_the_same_while_others_come(lake: Catalog) -> None:
    table = filled(lake)
    source = open_source(view(place(lake).source), Credentials())
    scans = [source.scan(["id", "at"], EVERYTHING) for _ in range(2)]
    before = sum(batch.num_rows for batch in scans[0])
    table.append(rows())
    table.delete("id = 3")
    assert (before, sum(batch.num_rows for batch in scans[1])) == (1000, 1000)
    assert len(read(place(lake), ["id"])["id"]) == 1800


def test_a_file_that_goes_while_it_is_read_is_worth_another_run(lake: Catalog) -> None:
    table = filled(lake)
    source = open_source(view(place(lake).source), Credentials())
    for task in table.scan().plan_files():
        Path(task.file.file_path.removeprefix("file://")).unlink()
    with pytest.raises(RetryError, match=r"a file of table lake.events was deleted while it was read") as caught:
        list(source.scan(["id"], EVERYTHING))
    assert caught.value.reason == "SourceChanged"
