"""Every kind of source from a terminal: the same rows give the same training sets, stored rows and checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
import sqlalchemy as sa
import yaml
from deltalake import write_deltalake
from pyiceberg.catalog import load_catalog
from sqlalchemy.dialects import mysql

from millrace.cli import validating
from millrace.cli.main import run
from millrace.sdk import embedded
from tests.mariadb import mariadb_server
from tests.postgres import ENVIRONMENT, postgres_server

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KINDS = ["delta", "iceberg", "postgres", "mariadb", "sqlite"]
FEATURES = [
    {"name": "amount", "type": "float64"},
    {"name": "word", "type": "string"},
    {"name": "paid", "type": "bool"},
    {"name": "seen_at", "type": "timestamp"},
    {"name": "orders", "type": "int64", "aggregate": {"function": "count", "window": "2h"}},
    {"name": "spent", "type": "float64", "aggregate": {"function": "sum", "column": "amount", "window": "2h"}},
    {"name": "ratio", "type": "float64", "expression": "amount / nullif(spent, 0)"},
]
REFS = ",".join(f"v:{feature['name']}" for feature in FEATURES)


class Place(NamedTuple):
    """A source's part of the spec, and the environment in which it is read."""

    source: dict[str, Any]
    environment: Mapping[str, str] = MappingProxyType({})


def rows() -> pa.Table:
    """Events of 10 users over 5 hours, to the microsecond, some of them null or late."""
    moments = [NOON + timedelta(minutes=n, microseconds=n) for n in range(300)]
    moment = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "id": pa.array([n * n % 10 for n in range(300)], pa.int64()),
            "at": pa.array(moments, moment),
            "written": pa.array([each + timedelta(seconds=n % 3) for n, each in enumerate(moments)], moment),
            "amount": pa.array([None if n % 7 == 0 else n / 3 for n in range(300)], pa.float64()),
            "word": pa.array([None if n % 11 == 0 else f"é'{n}" for n in range(300)]),
            "paid": pa.array([None if n % 13 == 0 else n % 2 == 0 for n in range(300)]),
            "seen_at": pa.array([None if n % 5 == 0 else each for n, each in enumerate(moments)], moment),
        }
    )


def _parquet(folder: Path, _: ExitStack) -> Place:
    pq.write_table(rows(), folder / "rows.parquet", row_group_size=50)
    return Place({"parquet": {"uri": f"file://{folder}/"}})


def _delta(folder: Path, _: ExitStack) -> Place:
    write_deltalake(str(folder), rows().slice(0, 100), partition_by=["paid"])
    write_deltalake(str(folder), rows().slice(100), mode="append")
    return Place({"delta": {"uri": f"file://{folder}"}})


def _iceberg(folder: Path, _: ExitStack) -> Place:
    catalog = {"name": "lake", "type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}"}
    lake = load_catalog(**catalog)
    lake.create_namespace("lake")
    table = lake.create_table("lake.events", rows().schema)
    table.append(rows().slice(0, 100))
    table.append(rows().slice(100))
    return Place({"iceberg": {"catalog": catalog, "table": "lake.events"}})


def _fill(url: sa.URL | str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    moment = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql")
    number = sa.Float(53)
    columns = {"id": sa.BigInteger(), "amount": number, "word": sa.String(20), "paid": sa.Boolean()}
    table = sa.Table(
        "events", sa.MetaData(), *(sa.Column(name, columns.get(name, moment)) for name in rows().column_names)
    )
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), rows().to_pylist()[::-1])


def _postgres(_: Path, servers: ExitStack) -> Place:
    server = servers.enter_context(postgres_server())
    _fill(server.url)
    return Place(server.source(table="public.events"), ENVIRONMENT)


def _mariadb(_: Path, servers: ExitStack) -> Place:
    server = servers.enter_context(mariadb_server())
    _fill(server.url)
    return Place({"sql": {"table": "events"}}, {"SQL_URL": server.url})


def _sqlite(folder: Path, _: ExitStack) -> Place:
    url = f"sqlite:///{folder}/events.db"
    _fill(url)
    return Place({"sql": {"table": "events"}}, {"SQL_URL": url})


_MAKERS: dict[str, Callable[[Path, ExitStack], Place]] = {
    "parquet": _parquet,
    "delta": _delta,
    "iceberg": _iceberg,
    "postgres": _postgres,
    "mariadb": _mariadb,
    "sqlite": _sqlite,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("store")
    yield f"embedded:{folder}"
    running = embedded._running.pop(folder, None)
    if running is not None:
        running.stop()


@pytest.fixture
def story(store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What the commands say of a kind of source, one after another."""

    def told(kind: str, folder: Path) -> dict[str, Any]:
        with ExitStack() as servers:
            (folder / kind).mkdir()
            place = _MAKERS[kind](folder / kind, servers)
            for name, value in place.environment.items():
                monkeypatch.setenv(name, value)
            spec = {
                "entities": [{"name": "id", "type": "int64"}],
                "source": {**place.source, "timestampField": "at", "createdTimestampField": "written"},
                "features": FEATURES,
                "materialization": {"schedule": "@hourly"},
            }
            view = {"apiVersion": "millrace.dev/v1alpha1", "kind": "FeatureView", "metadata": {"name": "v"}}
            path = folder / f"{kind}.yaml"
            path.write_text(yaml.safe_dump({**view, "spec": spec}))
            redis.Redis.from_url(embedded.resolve(store)()).flushall()
            [checked] = validating.check([path], look_at_data=True).objects
            assert checked["data"] == "fits"
            return commands(folder, "--files", str(path), "--online", store, "-o", "json")

    def commands(folder: Path, *target: str) -> dict[str, Any]:
        frame = pa.table(
            {
                "id": pa.array([*range(12), None] * 4, pa.int64()),
                "event_timestamp": [NOON + timedelta(minutes=n * 6, microseconds=n) for n in range(52)],
            }
        )
        pq.write_table(frame, folder / "frame.parquet")
        asked = [f"--entity=id={number}" for number in range(12)]
        [made] = said("materialize", "--end", "2026-01-01T16:00:00Z", *target)
        counts = {name: made[name] for name in ("rows", "written", "skipped", "keys")}
        [again] = said("materialize", "--end", "2026-01-01T18:00:00Z", *target)
        return {
            "historical": said("historical", "-F", REFS, "--entities", str(folder / "frame.parquet"), *target),
            "all": said("historical", "-F", "v:amount", "--entities", "all", "--end", "2026-01-01T14:00:00Z", *target),
            "counts": counts,
            "again": {name: again[name] for name in ("rows", "written")},
            "online": said("online", "-F", REFS, *asked, *target),
            "verify": said("verify", "v", *target),
        }

    def said(*arguments: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            run(("features", *arguments))
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return json.loads(out)

    return told


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What is told of Parquet files, once somebody asked."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_all_the_same_where_rows_come_from(
    kind: str, story: Callable[..., Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    if not expected:
        expected.update(story("parquet", tmp_path))
    found = story(kind, tmp_path)
    for part, said in expected.items():
        assert found[part] == said, part
    assert len([row for row in found["historical"] if row["amount"] is not None]) > 10
    assert found["counts"] == {"rows": 6, "written": 6, "skipped": 0, "keys": 6}
    assert (found["verify"]["rows"], found["verify"]["different"]) == (6, 0)
