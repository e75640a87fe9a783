"""A database that is reached through SQLAlchemy: MariaDB, which speaks as MySQL does."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from millrace_core.base.errors import NotFoundError, RejectError, RetryError
from millrace_core.features.history.history import History, TimeRange
from millrace_data.sources import statement_limits
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.data.sources.test_warehouse import DAY, EVERYTHING, compiled, values
from tests.mariadb import MariaDb, mariadb_server

ROWS = 200_000
MOMENT = datetime(1970, 1, 2, 0, 0, 0, 1, tzinfo=UTC)
# Of one day; types that other databases do not have, or have otherwise.
TABLE = """
create table events (
    id bigint unsigned not null, at datetime(6) not null, stamp timestamp(6) not null, day date,
    flag boolean, bits bit(1), small tinyint unsigned, price decimal(20, 4), big bigint unsigned,
    single float, ratio double, word varchar(20), kind enum('sad', 'glad'), raw varbinary(10), doc json,
    clock time(6), year year
)
"""
ROW = {
    "id": 1,
    "at": "1970-01-02 00:00:00.000001",
    "day": "1970-01-02",
    "flag": True,
    "small": 255,
    "price": Decimal("12345678901234.5678"),
    "big": 2**63 - 1,
    "single": 1 / 3,
    "ratio": 1e-9 / 3,
    "word": "ab",
    "kind": "glad",
    "raw": b"\xff",
    "doc": '{"a": 1}',
    "clock": "12:00:00.5",
    "year": 1999,
}
COLUMNS = ", ".join(ROW)
PLACES = ", ".join(f":{name}" for name in ROW)
# A query says itself how many digits of a single are wanted.
QUERY = f"select {COLUMNS.replace('single', 'single * 1e0 as single')}, stamp, bits from events"
PARTS: list[dict[str, Any]] = [{"table": "events"}, {"query": QUERY}]

Read = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDb]:
    with mariadb_server() as running:
        with engine(running).begin() as connection:
            connection.exec_driver_sql(TABLE)
            connection.exec_driver_sql("set time_zone = '+00:00'")
            insert = f"insert into events ({COLUMNS}, stamp, bits) values ({PLACES}, :at, b'1')"
            connection.execute(sa.text(insert), ROW)
            connection.exec_driver_sql("create table many (id bigint, at datetime(6), word varchar(40), key (at))")
            connection.exec_driver_sql(
                "insert into many select seq, timestampadd(microsecond, seq, '1970-01-02'), repeat('x', 40) "
                f"from seq_1_to_{ROWS}"
            )
        yield running


def engine(server: MariaDb) -> sa.Engine:
    return sa.create_engine(server.url, poolclass=sa.NullPool)


def known(server: MariaDb) -> Credentials:
    return Credentials.load({"SQL_URL": server.url})


@pytest.fixture
def read(server: MariaDb) -> Read:
    def read(part: dict[str, Any], *about: str, window: TimeRange = EVERYTHING) -> list[Any]:
        return values(compiled({"sql": part}, *about), known(server), window)

    return read


@pytest.mark.parametrize("part", PARTS, ids=["table", "query"])
@pytest.mark.parametrize(
    ("column", "kind", "expected"),
    [
        ("flag", "bool", True),
        ("flag", "int64", 1),
        ("small", "int32", 255),
        ("price", "float64", 12345678901234.5678),
        ("big", "int64", 2**63 - 1),
        ("single", "float32", float(np.float32(1 / 3))),
        ("ratio", "float64", 1e-9 / 3),
        ("word", "string", "ab"),
        ("kind", "string", "glad"),
        ("raw", "bytes", b"\xff"),
        ("year", "int32", 1999),
        ("at", "timestamp", MOMENT),
        ("stamp", "timestamp", MOMENT),
        ("day", "timestamp", MOMENT.replace(microsecond=0)),
    ],
)
def test_types_of_mysql_are_read(part: dict[str, Any], column: str, kind: str, expected: Any, read: Read) -> None:
    assert read(part, column, kind) == [expected]


@pytest.mark.parametrize("part", PARTS, ids=["table", "query"])
@pytest.mark.parametrize("time", ["at", "stamp"])
def test_a_window_is_utc_whatever_the_servers_zone(part: dict[str, Any], time: str, read: Read) -> None:
    assert read(part, "word", "string", time, window=TimeRange(DAY + 1, DAY + 1)) == ["ab"]
    assert read(part, "word", "string", time, window=TimeRange(DAY + 2, 2 * DAY)) == []
    assert read(part, "word", "string", time, window=TimeRange(None, DAY)) == []


@pytest.mark.parametrize("part", PARTS, ids=["table", "query"])
@pytest.mark.parametrize(
    ("column", "kind", "value", "message"),
    [
        ("clock", "string", None, "holds values of the kind time(delta)?, which no feature has"),
        ("big", "int64", 2**63, "column 'big' holds values that do not go together: an integer beyond 64 bits"),
        ("small", "bool", 2, "a boolean is 0 or 1, and 2 to 2 came"),
        ("word", "int64", None, "column 'word' has the type string, which cannot be read as int64"),
    ],
)
def test_a_value_that_no_feature_holds_is_refused(
    part: dict[str, Any], column: str, kind: str, value: Any, message: str, server: MariaDb, read: Read
) -> None:
    if value is not None:
        changed = f"(select {value} as {column}, id, at from events)"
        part = {"query": f"select * from {changed} as changed"}
    with pytest.raises(RejectError, match=message) as caught:
        read(part, column, kind)
    assert caught.value.reason == "WrongColumnType"


def test_columns_and_times_are_asked_of_the_server(server: MariaDb) -> None:
    before = len(server.log.read_text())
    part = {"sql": {"table": "many"}}
    assert values(compiled(part), known(server), TimeRange(DAY + 5, DAY + 7)) == ["x" * 40] * 3
    asked = " ".join(server.log.read_text()[before:].split())
    assert "SELECT many.id, many.at FROM many WHERE many.at >= '1970-01-02 00:00:00.000005'" in asked
    assert "SELECT many.id, many.at, many.word FROM many WHERE" in asked
    assert "AND many.at <= '1970-01-02 00:00:00.000007' ORDER BY many.at" in asked


def test_texts_that_a_collation_calls_equal_have_one_order(server: MariaDb) -> None:
    with engine(server).begin() as connection:
        connection.exec_driver_sql("create table cased (id bigint, at datetime, word varchar(9))")
        words = ["b", "A", "a", "B", "a "]
        connection.execute(sa.text("insert into cased values (1, '1970-01-02', :word)"), [{"word": w} for w in words])
    assert values(compiled({"sql": {"table": "cased"}}), known(server)) == ["A", "B", "a", "a ", "b"]


def test_both_scans_see_the_rows_of_one_moment(server: MariaDb) -> None:
    with engine(server).begin() as connection:
        connection.exec_driver_sql("create table grown as select id, at, word from events")
    view = compiled({"sql": {"table": "grown"}})
    history = History(view, open_source(view, known(server)), EVERYTHING)
    assert sum(batch.num_rows for batch in history.numbered()) == 1
    with engine(server).begin() as connection:
        connection.exec_driver_sql("insert into grown select id, at - interval 1 day, word from events")
    assert [rows.event_times.to_pylist() for rows in history.rows([np.arange(1)], view.features)] == [[DAY + 1]]


@pytest.mark.parametrize(
    ("changes", "part", "kind", "message"),
    [
        ({"password": "wrong"}, {"table": "events"}, RejectError, "credentialsSecretRef: .*Access denied for user"),
        ({"database": "nowhere"}, {"table": "events"}, NotFoundError, "the database says: Unknown database 'nowhere'"),
        ({}, {"table": "nothing"}, NotFoundError, "spec.source.sql.table: there is no table nothing"),
        ({}, {"query": "select * from nothing"}, NotFoundError, "Table 'shop.nothing' doesn't exist"),
        ({}, {"query": "select nothing from events"}, RejectError, "refuses the query: Unknown column 'nothing'"),
        ({}, {"query": "select from events"}, RejectError, "refuses the query: You have an error in your SQL syntax"),
        ({"port": 1}, {"table": "events"}, RetryError, "the database could not be read: Can't connect"),
    ],
)
def test_what_is_wrong_is_said(
    changes: dict[str, Any], part: dict[str, Any], kind: type[Exception], message: str, server: MariaDb
) -> None:
    url = sa.make_url(server.url).set(**changes).render_as_string(hide_password=False)
    with pytest.raises(kind, match=message):
        open_source(compiled({"sql": part}), Credentials.load({"SQL_URL": url}))


def test_a_query_changes_nothing(server: MariaDb, read: Read) -> None:
    with engine(server).begin() as connection:
        connection.exec_driver_sql("create table touched (n int)")
        connection.exec_driver_sql(
            "create function touch() returns int begin insert into touched values (1); return 1; end"
        )
    with pytest.raises(RetryError, match="READ ONLY transaction"):
        read({"query": "select id, at, word from events where touch() = 1"})
    with engine(server).connect() as connection:
        assert connection.exec_driver_sql("select count(*) from touched").scalar_one() == 0


def connections(server: MariaDb) -> list[int]:
    with engine(server).connect() as connection:
        found = connection.exec_driver_sql(
            "select id from information_schema.processlist where info like '%%FROM many%%'"
        )
        return [row[0] for row in found if row[0] != connection.connection.thread_id()]


def test_rows_come_as_a_stream_that_may_be_left_at_any_moment(server: MariaDb) -> None:
    source = open_source(compiled({"sql": {"table": "many"}}), known(server))
    stream = iter(source.scan(["id", "at"], EVERYTHING))
    assert next(stream).num_rows < ROWS / 5
    assert len(connections(server)) == 1
    del source, stream
    gc.collect()
    until = time.monotonic() + 60
    while connections(server):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_connection_that_is_lost_in_a_scan_is_worth_another_run(server: MariaDb) -> None:
    source = open_source(compiled({"sql": {"table": "many"}}), known(server))
    stream = iter(source.scan(["id", "at"], EVERYTHING))
    next(stream)
    with engine(server).connect() as connection:
        for number in connections(server):
            connection.exec_driver_sql(f"kill connection {number}")
    with pytest.raises(RetryError, match="the database could not be read: Lost connection") as caught:
        list(stream)
    assert caught.value.reason == "SourceUnavailable"


def test_a_date_of_zeros_is_refused_with_what_to_do(server: MariaDb) -> None:
    with engine(server).begin() as connection:
        connection.exec_driver_sql("set sql_mode = ''")
        connection.exec_driver_sql("create table zeros (id bigint, at datetime(6), word varchar(20))")
        connection.exec_driver_sql("insert into zeros values (1, '1970-01-02', 'a'), (2, '0000-00-00', 'b')")
    view = compiled({"sql": {"table": "zeros"}})
    with pytest.raises(RejectError, match=r"column 'at' holds '0000-00-00 .*', which is no time. Read it .* nullif"):
        values(view, known(server))
    query = "select id, nullif(at, '0000-00-00') as at, word from zeros"
    assert values(compiled({"sql": {"query": query}}), known(server)) == ["a"]


def test_a_query_that_takes_too_long_is_stopped_and_the_setting_is_named(server: MariaDb) -> None:
    endless = compiled(
        {"sql": {"query": "select a.id, a.at, a.word from many a, many b, many c where a.id + b.id = -c.id"}}
    )
    with pytest.raises(RejectError, match="took too long") as refused:
        values(endless, known(server).model_copy(update={"sql_seconds": 0.2}))
    assert (refused.value.reason, "MILLRACE_SQL_SECONDS" in refused.value.hint) == ("QueryTooSlow", True)


def test_a_limit_of_the_servers_own_that_is_lower_stays(server: MariaDb) -> None:
    with engine(server).connect() as connection:
        for before, after in (0, 10), (2, 2), (60, 10):
            connection.exec_driver_sql(f"set session max_statement_time = {before}")
            statement_limits.limit(connection, 10)
            assert connection.exec_driver_sql("select @@session.max_statement_time").scalar() == after
