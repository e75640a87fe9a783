"""Databases as sources: types, times and queries as servers really have them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base.errors import NotFoundError, RejectError, ReportError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import History, TimeRange
from millrace_data.sources import statement_limits
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.postgres import ENVIRONMENT, USER, Postgres, postgres_server

DAY = 86_400_000_000
EVERYTHING = TimeRange(None, 2**62)
Read = Callable[..., list[Any]]
# The second of January 1970, as the servers below have it in a row.
TABLE = """
create table events (
    id integer, at timestamptz, local timestamp, day date, word text, price numeric(12, 2), ref uuid, refs uuid[],
    prices numeric[], moments timestamptz[], raw bytea, mood mood, doc json, clock time, pause interval,
    count numeric, key numeric(20), seconds bigint, iso text, docb jsonb, docs json[]
)
"""
ROW = """
insert into events values (
    1, '1970-01-02T00:00:00Z', '1970-01-02T00:00:00', '1970-01-02', 'ab', 1.25,
    '00000000-0000-0000-0000-000000000001', '{00000000-0000-0000-0000-000000000001}', '{1.5,null}',
    '{1970-01-02T00:00:00Z}', '\\xff', 'glad', '{}', '10:00', '1 day',
    3.00, 9007199254740993, 86400, '1970-01-02T00:00:00Z', '{"a": 1}', array['{}'::json]
)
"""


def compiled(
    source: dict[str, Any], feature: str = "word", kind: str = "string", time: str = "at", **changes: Any
) -> Definition:
    spec = {
        "entities": [{"name": "id", "type": "int64"}],
        "features": [{"name": feature, "type": kind}],
        "source": {**source, "timestampField": time},
        "online": {"enabled": False},
        **changes,
    }
    return definition.compile("v", "default", FeatureViewSpec.model_validate(spec))


def values(view: Definition, known: Credentials, window: TimeRange = EVERYTHING) -> list[Any]:
    history = History(view, open_source(view, known), window)
    numbers = [batch.column("seq").to_numpy() for batch in history.numbered()]
    return [each for rows in history.rows(numbers, view.features) for each in rows.features[0].to_pylist()]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Postgres, sa.Engine]]:
    """A server whose own zone is not UTC."""
    with postgres_server() as running:
        engine = sa.create_engine(running.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"alter role {USER} set timezone = 'Asia/Tokyo'")
            connection.exec_driver_sql("create type mood as enum ('sad', 'glad')")
            connection.exec_driver_sql(TABLE)
            connection.exec_driver_sql(ROW)
        yield running, engine


@pytest.fixture
def read(server: tuple[Postgres, sa.Engine]) -> Read:
    known = Credentials.load(ENVIRONMENT)

    def read(part: dict[str, Any], *about: str, window: TimeRange = EVERYTHING) -> list[Any]:
        return values(compiled(server[0].source(**part), *about), known, window)

    return read


PARTS: list[dict[str, Any]] = [{"table": "events"}, {"query": "select * from events"}]


@pytest.mark.parametrize("part", PARTS, ids=["table", "query"])
@pytest.mark.parametrize("time", ["at", "local", "day"])
def test_a_window_is_utc_whatever_the_servers_zone(part: dict[str, Any], time: str, read: Read) -> None:
    assert read(part, "word", "string", time, window=TimeRange(DAY, DAY)) == ["ab"]
    assert read(part, "word", "string", time, window=TimeRange(DAY - 1, DAY + 1)) == ["ab"]
    assert read(part, "word", "string", time, window=TimeRange(DAY + 1, 2 * DAY)) == []
    assert read(part, "word", "string", time, window=TimeRange(None, DAY - 1)) == []


@pytest.mark.parametrize("text", ["infinity", "-infinity", "0044-03-15 BC", "12026-01-01"])
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_time_that_python_cannot_say_is_refused_with_what_to_do(text: str, kind: str, read: Read) -> None:
    query = f"select id, at, '{text}'::{kind} as odd from events"
    with pytest.raises(RejectError, match=r"spec.source.postgres: a time of the source cannot be read: .* nullif"):
        read({"query": query}, "odd", "timestamp")


@pytest.mark.parametrize("part", PARTS, ids=["table", "query"])
@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        ("price", "float64", 1.25),
        ("count", "int64", 3),
        ("doc", "string", "{}"),
        ("docb", "string", '{"a": 1}'),
        ("docs", "array<string>", ["{}"]),
        ("prices", "array<float64>", [1.5, None]),
        ("ref", "string", "00000000-0000-0000-0000-000000000001"),
        ("refs", "array<string>", ["00000000-0000-0000-0000-000000000001"]),
        ("raw", "bytes", b"\xff"),
        ("mood", "string", "glad"),
    ],
)
def test_types_of_postgresql_are_read(part: dict[str, Any], column: str, kind: str, expected: Any, read: Read) -> None:
    assert read(part, column, kind) == [expected]


@pytest.mark.parametrize("part", PARTS, ids=["table", "query"])
@pytest.mark.parametrize(("time", "unit"), [("seconds", {"timestampUnit": "s"}), ("iso", {})])
def test_numbers_and_texts_are_times_and_decimals_are_exact_keys(
    part: dict[str, Any], time: str, unit: dict[str, str], server: tuple[Postgres, sa.Engine]
) -> None:
    source = {**server[0].source(**part), **unit, "columns": [{"name": "a", "expression": "cast(docb->>'$.a' as int)"}]}
    features = [{"name": "a", "type": "int32"}]
    view = compiled(source, time=time, entities=[{"name": "key", "type": "int64"}], features=features)
    history = History(view, open_source(view, Credentials.load(ENVIRONMENT)), TimeRange(DAY, DAY))
    assert [batch.column("k0").to_pylist() for batch in history.numbered()] == [[2**53 + 1]]
    assert [rows.features[0].to_pylist() for rows in history.rows([np.arange(1)], view.features)] == [[1]]
    later = History(view, history.source, TimeRange(DAY + 1, DAY + 2))
    assert sum(batch.num_rows for batch in later.numbered()) == 0


@pytest.mark.parametrize("part", PARTS, ids=["table", "query"])
@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("clock", "string", "column 'clock' has the type time, which no feature has"),
        ("pause", "string", "column 'pause' has the type interval, which no feature has"),
        ("word", "int64", "column 'word' has the type string, which cannot be read as int64"),
        ("price", "string", r"column 'price' has the type decimal128\(12, 2\), which cannot be read as string"),
    ],
)
def test_a_type_that_does_not_fit_is_refused_before_a_row_is_read(
    part: dict[str, Any], column: str, kind: str, message: str, server: tuple[Postgres, sa.Engine]
) -> None:
    view = compiled(server[0].source(**part), column, kind)
    with pytest.raises(RejectError, match=message) as caught:
        open_source(view, Credentials.load(ENVIRONMENT))
    assert caught.value.reason == "WrongColumnType"


@pytest.mark.parametrize(
    "query",
    [
        "select * from events where word like 'a%' and word <> '%s' and word <> ':x'  -- all of them",
        "with e as (select * from events) select id, at, word from e;",
    ],
)
def test_a_query_may_hold_what_it_likes(query: str, read: Read) -> None:
    assert read({"query": query}) == ["ab"]


@pytest.mark.parametrize(
    "query",
    [
        "select * from events) as s; commit; drop table events; --",
        "drop table events",
        "select id, at, word from events /* unfinished",
        "with gone as (delete from events returning *) select * from gone",
    ],
)
def test_a_query_changes_nothing(query: str, read: Read) -> None:
    with pytest.raises(RejectError):
        read({"query": query})
    assert read({"table": "events"}) == ["ab"]


def test_a_query_of_a_server_that_takes_too_long_is_stopped_and_the_setting_is_named(
    server: tuple[Postgres, sa.Engine],
) -> None:
    known = Credentials.load(ENVIRONMENT).model_copy(update={"sql_seconds": 0.2})
    endless = compiled(server[0].source(query="select events.* from events, generate_series(1, 1000000000000) as n"))
    with pytest.raises(RejectError, match=r"took too long.*statement timeout") as refused:
        values(endless, known)
    assert (refused.value.reason, "MILLRACE_SQL_SECONDS" in refused.value.hint) == ("QueryTooSlow", True)


def test_a_limit_of_the_servers_own_that_is_lower_stays(server: tuple[Postgres, sa.Engine]) -> None:
    with server[1].connect() as connection:
        for before, after in ("0", "10s"), ("2s", "2s"), ("60s", "10s"):
            connection.exec_driver_sql(f"set statement_timeout = '{before}'")
            statement_limits.limit(connection, 10)
            assert connection.exec_driver_sql("show statement_timeout").scalar() == after


def test_both_scans_see_the_rows_of_one_moment(server: tuple[Postgres, sa.Engine]) -> None:
    running, engine = server
    view = compiled(running.source(table="public.Grown"))
    with engine.begin() as connection:
        connection.exec_driver_sql('create table "Grown" as select id, at, word from events')
    history = History(view, open_source(view, Credentials.load(ENVIRONMENT)), EVERYTHING)
    assert sum(batch.num_rows for batch in history.numbered()) == 1
    with engine.begin() as connection:
        connection.exec_driver_sql("insert into \"Grown\" select id, at - interval '1 day', word from events")
    assert [rows.event_times.to_pylist() for rows in history.rows([np.arange(1)], view.features)] == [[DAY]]


def test_what_a_user_may_not_read_is_said(server: tuple[Postgres, sa.Engine]) -> None:
    running, engine = server
    with engine.begin() as connection:
        connection.exec_driver_sql("create role guest login password 'guest'")
    known = Credentials.load({"PGUSER": "guest", "PGPASSWORD": "guest"})
    with pytest.raises(RejectError, match=r"credentialsSecretRef: the database denies access: .* table events"):
        open_source(compiled(running.source(table="events")), known)


@pytest.mark.parametrize("part", [{"table": "t"}, {"query": "select * from t"}], ids=["table", "query"])
@pytest.mark.parametrize(
    ("declared", "text"),
    [
        ("date", "1970-01-02"),
        ("datetime", "1970-01-02 00:00:00"),
        ("datetime", "1970-01-02 00:00:00.000000"),
        ("datetime", "1970-01-02T00:00:00"),
    ],
)
def test_times_of_sqlite_are_read_in_each_spelling(
    part: dict[str, Any], declared: str, text: str, tmp_path: Path
) -> None:
    known = sqlite(tmp_path, f"create table t (id integer, at {declared}, word text)", f"(1, '{text}', 'a')")
    view = compiled({"sql": part})
    assert values(view, known, TimeRange(DAY, DAY)) == ["a"]
    assert values(view, known, TimeRange(DAY + 1, 2 * DAY)) == []


@pytest.mark.parametrize(
    ("row", "feature", "message"),
    [
        ("(1, 'noon', 'a')", ("word", "string"), "a value is not of its column's type: .*noon"),
        ("('one', '1970-01-02', 'a')", ("word", "string"), "column 'id' holds values that do not go together"),
        ("(1.5, '1970-01-02', 'a')", ("word", "string"), "column 'id' holds values that do not go together"),
        ("(1, '1970-01-02', 7)", ("word", "int64"), "column 'word' has the type string"),
    ],
)
def test_a_value_of_sqlite_that_is_not_of_its_columns_type_is_refused(
    row: str, feature: tuple[str, str], message: str, tmp_path: Path
) -> None:
    known = sqlite(tmp_path, "create table t (id integer, at datetime, word text)", row)
    with pytest.raises(RejectError, match=message) as caught:
        values(compiled({"sql": {"table": "t"}}, *feature), known)
    assert caught.value.reason == "WrongColumnType"


def sqlite(folder: Path, table: str, row: str) -> Credentials:
    url = f"sqlite:///{folder}/events.db"
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(table)
        connection.exec_driver_sql(f"insert into t values {row}")
    return Credentials.load({"SQL_URL": url})


def test_a_query_of_sqlite_makes_no_values_of_any_size(tmp_path: Path) -> None:
    known = sqlite(tmp_path, "create table t (id integer, at datetime, word text)", "(1, '1970-01-02', 'a')")
    for made in ("hex(zeroblob(400000000))", "hex(zeroblob(40000000))"):
        view = compiled({"sql": {"query": f"select id, at, {made} as word from t"}})
        with pytest.raises(RejectError, match="too big"):
            values(view, known)


def test_a_query_of_sqlite_that_takes_too_long_is_stopped_and_the_setting_is_named(tmp_path: Path) -> None:
    known = sqlite(tmp_path, "create table t (id integer, at datetime, word text)", "(1, '1970-01-02', 'a')")
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i as id, at, word from n, t"
    with pytest.raises(RejectError, match="took too long") as refused:
        values(compiled({"sql": {"query": endless}}), known.model_copy(update={"sql_seconds": 0.05}))
    assert refused.value.reason == "QueryTooSlow"
    assert "MILLRACE_SQL_SECONDS" in refused.value.hint


@pytest.mark.parametrize(
    "query",
    [
        "select id, at, load_extension('x') as word from t",
        "select id, at, (select name from pragma_database_list) as word from t",
    ],
)
def test_a_query_of_sqlite_reads_rows_and_nothing_else(query: str, tmp_path: Path) -> None:
    known = sqlite(tmp_path, "create table t (id integer, at datetime, word text)", "(1, '1970-01-02', 'a')")
    with pytest.raises(RejectError, match="not authorized"):
        values(compiled({"sql": {"query": query}}), known)


def test_a_wrong_query_is_no_fault_of_the_network(tmp_path: Path) -> None:
    known = sqlite(tmp_path, "create table t (id integer, at datetime, word text)", "(1, '1970-01-02', 'a')")
    for query in ("select from", "select nothing from t", "select nothing() from t"):
        with pytest.raises(RejectError, match=r"spec.source.sql: the database refuses the query") as caught:
            open_source(compiled({"sql": {"query": query}}), known)
        assert caught.value.reason == "BadQuery"


@pytest.mark.parametrize(
    ("source", "library", "hint"),
    [
        ({"delta": {"uri": "file:///x"}}, "deltalake", r"pip install 'millrace\[delta\]'"),
        (
            {"iceberg": {"catalog": {"type": "sql", "uri": "sqlite://", "warehouse": "file:///x"}, "table": "a.b"}},
            "pyiceberg.catalog",
            r"pip install 'millrace\[iceberg\]'",
        ),
        (
            {"postgres": {"host": "127.0.0.1", "port": 1, "database": "d", "table": "t"}},
            "psycopg",
            r"pip install 'millrace\[postgres\]'",
        ),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    source: dict[str, Any], library: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("millrace_data.sources.delta", "millrace_data.sources.iceberg"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ReportError, match=hint) as caught:
        open_source(compiled(source), Credentials())
    assert caught.value.reason == "LibraryMissing"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "mysql+pymysql://h/d",
            r"need pymysql, which is not installed. Install it with: pip install 'millrace\[mysql\]'",
        ),
        ("mysql://h/d", r"need MySQLdb, .* pip install 'millrace\[mysql\]', and write the URL as mysql\+pymysql://"),
        ("oracle://h/d", r"need (cx_Oracle|oracledb), .* pip install (cx_Oracle|oracledb)"),
        ("snowflake://h/d", r"no installed package knows this kind of database: .*snowflake.* how the URL begins"),
    ],
)
def test_a_driver_that_is_not_installed_is_named(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ReportError, match=message) as caught:
        open_source(compiled({"sql": {"table": "t"}}), Credentials.load({"SQL_URL": url}))
    assert caught.value.reason == "LibraryMissing"


class Deaf(SQLiteDialect_pysqlite):
    """A dialect that cannot tell of tables, as some of other packages."""

    supports_statement_cache = True

    def get_columns(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


def test_a_table_of_which_the_dialect_cannot_tell_is_read_all_the_same(tmp_path: Path) -> None:
    sa.dialects.registry.register("deaf", __name__, "Deaf")
    known = sqlite(tmp_path, "create table t (id integer, at datetime, word text)", "(1, '1970-01-02', 'a')")
    deaf = Credentials.load({"SQL_URL": str(known.sql_url).replace("sqlite:", "deaf:")})
    assert values(compiled({"sql": {"table": "t"}}), deaf) == ["a"]
    with pytest.raises(NotFoundError, match="no such table: absent"):
        open_source(compiled({"sql": {"table": "absent"}}), deaf)


@pytest.mark.slow
def test_rows_of_long_texts_come_a_few_at_a_time_and_short_ones_many(tmp_path: Path) -> None:
    known = sqlite(tmp_path, "create table t (id integer, at datetime, word text)", "(1, '1970-01-02', 'a')")
    numbers = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000) "
    long = "case when i <= 1000 then 'a' when i <= 1250 then hex(zeroblob(1000000)) else 'b' end"
    query = f"{numbers} select i as id, datetime(i, 'unixepoch') as at, {long} as word from n where i <= {{most}}"
    batches = {}
    for most in (1250, 30000):
        limited = query.format(most=most).replace(
            "hex(zeroblob(1000000))", "hex(zeroblob(1000000))" if most == 1250 else "'c'"
        )
        source = open_source(compiled({"sql": {"query": limited}}), known)
        batches[most] = [batch.num_rows for batch in source.scan(["id", "word"], EVERYTHING)]
    # 2 MB each: after the first of them no more than 64 MiB at once.
    assert batches[1250] == [1000, 250]
    assert batches[30000] == [1000, 4000, 16000, 9000]
