"""Sources go where the door allows it: what is refused gets no packet, by whatever way it is named."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from deltalake import write_deltalake
from pyiceberg.catalog import Catalog, load_catalog

from millrace_core.base.errors import MillraceError, RejectError, RetryError
from millrace_data.objects.door import Door
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.data.sources.test_kinds import Place, read, rows
from tests.data.sources.test_warehouse import compiled
from tests.doors import ALLOWED, REFUSED, Server, door, serving, to
from tests.iceberg_catalog import TOKEN, rest_catalog
from tests.mariadb import MariaDb, mariadb_server
from tests.postgres import ENVIRONMENT, Postgres, postgres_server

LOOPBACK = "127.0.0.1"
AWS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


@pytest.fixture
def refused() -> Iterator[Server]:
    """A server that nobody may connect to, and to which nobody did at the end."""
    with serving(REFUSED) as server:
        yield server
        assert server.accepted == 0


def opened(source: dict[str, Any], environ: Mapping[str, str], through: Door) -> Any:
    return open_source(compiled(source), Credentials.load(environ).through(through))


def refusal(source: dict[str, Any], environ: Mapping[str, str], through: Door) -> RejectError:
    with pytest.raises(RejectError) as caught:
        opened(source, environ, through)
    assert caught.value.reason == "NotAllowed", caught.value
    return caught.value


@pytest.mark.parametrize("kind", ["parquet", "delta", "push"])
def test_files_of_a_store_that_is_not_allowed(kind: str, refused: Server) -> None:
    source = {kind: {"uri": "s3://lake/t"}}
    for host in (REFUSED, "127.3", "minio.data.svc", "files.example.com"):
        through = door({"minio.data.svc": [REFUSED], "files.example.com": [ALLOWED, REFUSED]})
        environ = {**AWS, "AWS_ENDPOINT_URL": f"http://{host}:{refused.server_port}"}
        assert refusal(source, environ, through).field == "AWS_ENDPOINT_URL"


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_files_of_a_store_that_redirects(kind: str, refused: Server) -> None:
    with serving(ALLOWED, to(refused)) as server:
        with pytest.raises(MillraceError) as caught:
            opened({kind: {"uri": "s3://lake/t"}}, {**AWS, "AWS_ENDPOINT_URL": f"http://{server.address}"}, door())
        assert server.requests
        assert "location" not in str(caught.value).lower()


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_what_a_store_says_is_in_no_message(kind: str) -> None:
    body = b"<Error><Code>Foo</Code><Message>s3cret \x1b[31m</Message></Error>"
    with serving(ALLOWED, lambda _: (400, {"content-type": "application/xml"}, body)) as server:
        with pytest.raises(MillraceError) as caught:
            opened({kind: {"uri": "s3://lake/t"}}, {**AWS, "AWS_ENDPOINT_URL": f"http://{server.address}"}, door())
        assert "s3cret" not in str(caught.value)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["parquet", "delta", "push"])
def test_local_files_are_read_within_the_folders_alone(kind: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for folder in (inside / "t", tmp_path / "t"):
        table = pa.table({"id": [1], "at": pa.array([1], pa.timestamp("us", "UTC")), "word": ["a"]})
        if kind == "delta":
            write_deltalake(f"{folder}", table)
        else:
            folder.mkdir()
            pq.write_table(table, folder / "a.parquet")
    through = door(folders=[str(inside)])
    assert opened({kind: {"uri": f"file://{inside}/t"}}, {}, through)
    (inside / "link").symlink_to(tmp_path / "t")
    for path in (tmp_path / "t", inside / "link"):
        assert "outgoing.folders" in refusal({kind: {"uri": f"file://{path}"}}, {}, through).hint
    if kind != "delta":
        (inside / "t" / "link.parquet").symlink_to(tmp_path / "t" / "a.parquet")
        refusal({kind: {"uri": f"file://{inside}/t"}}, {}, through)


def test_a_table_of_delta_names_no_file_outside_of_the_folders(tmp_path: Path) -> None:
    write_deltalake(f"{tmp_path}/in/t", pa.table({"id": [1], "at": pa.array([1], pa.timestamp("us")), "word": ["a"]}))
    pq.write_table(pa.table({"id": [7]}), tmp_path / "secret.parquet")
    log = tmp_path / "in/t/_delta_log/00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "add" in line:
            line["add"]["path"] = "../../secret.parquet"
    log.write_text("\n".join(json.dumps(line) for line in lines))
    refusal({"delta": {"uri": f"file://{tmp_path}/in/t"}}, {}, door(folders=[f"{tmp_path}/in"]))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as running:
        with sa.create_engine(running.url, poolclass=sa.NullPool).begin() as connection:
            connection.exec_driver_sql("create table events (id bigint, at timestamptz, word text)")
        yield running


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDb]:
    with mariadb_server() as running:
        with sa.create_engine(running.url, poolclass=sa.NullPool).begin() as connection:
            connection.exec_driver_sql("create table events (id bigint, at datetime, word varchar(20))")
        yield running


def test_a_postgres_is_connected_to_at_the_address_that_was_checked(postgres: Postgres, refused: Server) -> None:
    spec = postgres.source(table="events")["postgres"]
    named = {"postgres": {**spec, "host": "db.example.com"}}
    assert opened(named, ENVIRONMENT, door({"db.example.com": [ALLOWED, LOOPBACK]}, allow=["127.0.0.0/30"]))
    for host in (REFUSED, "db.example.com", "/var/run/postgresql", f"{LOOPBACK},{REFUSED}", "127.3"):
        source = {"postgres": {**spec, "host": host, "port": refused.server_port}}
        found = refusal(source, ENVIRONMENT, door({"db.example.com": [LOOPBACK, REFUSED]}, allow=[LOOPBACK]))
        assert found.field == "spec.source.postgres.host"


def test_a_mariadb_is_connected_to_at_the_address_that_was_checked(mariadb: MariaDb, refused: Server) -> None:
    source = {"sql": {"table": "events"}}
    url = sa.make_url(mariadb.url)

    def through(*names: str) -> Door:
        return door({"db.example.com": names}, allow=[LOOPBACK])

    def environ(changed: sa.URL) -> dict[str, str]:
        return {"SQL_URL": changed.render_as_string(hide_password=False)}

    assert opened(source, environ(url.set(host="db.example.com")), through(LOOPBACK))
    refusal(source, environ(url.set(host="db.example.com", port=refused.server_port)), through(LOOPBACK, REFUSED))
    refusal(source, environ(url.set(host=REFUSED, port=refused.server_port)), through())
    with pytest.raises(RetryError, match="Can't connect"):
        opened(source, environ(url.set(port=1)), through())


def test_a_mysql_gets_the_one_connection_whose_address_was_checked(refused: Server) -> None:
    with socket.create_server((ALLOWED, 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        answers = iter([[ALLOWED], [REFUSED]])
        through = Door(door().outgoing, lambda host, port: next(answers))
        url = f"mysql+pymysql://u:pw@db.example.com:{listener.getsockname()[1]}/d"
        with pytest.raises(RetryError, match="Lost connection"):
            opened({"sql": {"table": "events"}}, {"SQL_URL": url}, through)
        thread.join(10)
        assert not thread.is_alive()
    url = f"mysql+pymysql://u:pw@db.example.com:{refused.server_port}/d"
    refusal({"sql": {"table": "events"}}, {"SQL_URL": url}, through)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:pw@127.0.0.2/d?host=127.0.0.3",
        "postgresql+psycopg://u:pw@127.0.0.2/d?hostaddr=127.0.0.3",
        "postgresql+psycopg://u:pw@127.0.0.2/d?service=s",
        "postgresql+psycopg://u:pw@127.0.0.2/d?sslkey=/etc/passwd",
        "postgresql+psycopg:///d",
        "postgresql+psycopg2://u:pw@127.0.0.2/d",
        "postgresql+asyncpg://u:pw@127.0.0.2/d",
        "mysql+pymysql://u:pw@127.0.0.2/d?unix_socket=/run/mysqld.sock",
        "mysql+pymysql://u:pw@127.0.0.2/d?read_default_file=/etc/passwd",
        "mysql+pymysql://u:pw@127.0.0.2/d?local_infile=1",
        "mysql+mysqldb://u:pw@127.0.0.2/d",
        "mssql+pyodbc://u:pw@127.0.0.2/d",
        "oracle://u:pw@127.0.0.2/d",
        "duckdb:////etc/passwd",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:/etc/passwd?uri=true",
        "sqlite:///file:/etc/passwd?mode=rwc&uri=true",
        "sqlite:////INSIDE/a.db?vfs=unix-none",
        "sqlite:////INSIDE/a.db?mode=rwc",
        "sqlite:////INSIDE/../a.db",
        "sqlite:////INSIDE/link.db",
        "sqlite:////etc/passwd",
        "sqlite:///a.db",
    ],
)
def test_urls_of_databases_that_could_lead_elsewhere(url: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for folder in (inside, tmp_path):
        sqlite3.connect(folder / "a.db").close()
    (inside / "link.db").symlink_to(tmp_path / "a.db")
    said = refusal(
        {"sql": {"table": "t"}}, {"SQL_URL": url.replace("/INSIDE", str(inside))}, door(folders=[str(inside)])
    )
    assert said.field == "spec.source.credentialsSecretRef"
    assert "pw" not in str(said)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_file_of_sqlite_is_only_read(guarded: bool, tmp_path: Path) -> None:
    file = tmp_path / "a b?.db"
    with sqlite3.connect(file) as connection:
        connection.execute("create table events (id integer, at text, word text)")
        connection.execute("insert into events values (1, '1970-01-02', 'a')")
    connection.close()
    credentials = Credentials.load({"SQL_URL": sa.URL.create("sqlite", database=str(file)).render_as_string()})
    if guarded:
        credentials = credentials.through(door(folders=[str(tmp_path)]))
    source: Any = open_source(compiled({"sql": {"table": "events"}}), credentials)
    assert source.columns
    with pytest.raises(sa.exc.DatabaseError, match="not authorized"):
        source._connection.exec_driver_sql("delete from events")
    missing = sa.URL.create("sqlite", database=str(tmp_path / "none.db")).render_as_string()
    with pytest.raises(MillraceError):
        opened({"sql": {"table": "events"}}, {"SQL_URL": missing}, credentials.door)
    assert not (tmp_path / "none.db").exists()


@pytest.fixture
def lake(tmp_path: Path) -> Catalog:
    made = load_catalog("lake", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/w")
    made.create_namespace("lake")
    made.create_table("lake.events", rows().schema).append(rows())
    return made


def rest(url: str) -> dict[str, Any]:
    return {"iceberg": {"catalog": {"type": "rest", "uri": url}, "table": "lake.events"}}


def count(source: dict[str, Any], through: Door, **environ: str) -> int:
    place = Place({**source, "timestampField": "at"}, Credentials.load(environ).through(through))
    return len(read(place, ["id"])["id"])


def test_tables_of_iceberg_are_read_within_the_folders_alone(lake: Catalog, tmp_path: Path) -> None:
    within, elsewhere = door(allow=[LOOPBACK], folders=[str(tmp_path)]), door(allow=[LOOPBACK], folders=["/srv/none"])
    sql = {"catalog": {"name": "lake", "type": "sql", "uri": lake.properties["uri"]}, "table": "lake.events"}
    with rest_catalog(lake) as url:
        for source in ({"iceberg": sql}, rest(url)):
            assert count(source, within, ICEBERG_TOKEN=TOKEN) == 1000
            with pytest.raises(RejectError) as caught:
                count(source, elsewhere, ICEBERG_TOKEN=TOKEN)
            assert caught.value.reason == "NotAllowed"


def test_a_catalog_that_is_not_allowed(refused: Server) -> None:
    through = door({"catalog.data.svc": [REFUSED]})
    for host in (REFUSED, "catalog.data.svc", "127.3", "[::ffff:127.0.0.3]"):
        refusal(rest(f"http://{host}:{refused.server_port}"), {"ICEBERG_TOKEN": "t"}, through)
    for url in ("file:///etc/passwd", "http://u:p@127.0.0.2/", "http://127.0.0.2\\@127.0.0.3/", "nonsense"):
        refusal({**rest("http://h")}, {"ICEBERG_TOKEN": "t", "ICEBERG_URI": url}, through)
    known = {"ICEBERG_CREDENTIAL": "a:b", "ICEBERG_OAUTH2_URI": f"http://{refused.address}/token"}
    refusal(rest(f"http://{ALLOWED}:1"), known, through)


def test_a_catalog_redirects_nobody(refused: Server) -> None:
    with serving(ALLOWED, to(refused)) as server, serving(ALLOWED) as other:
        with pytest.raises(MillraceError):
            count(rest(f"http://{server.address}"), door(), ICEBERG_TOKEN="t")
        server.answer = to(other)
        with pytest.raises(MillraceError):
            count(rest(f"http://{server.address}"), door(), ICEBERG_TOKEN="t")
        assert len(server.requests) == 2
        assert other.requests == []


@pytest.mark.parametrize(
    "overrides",
    [
        {"uri": "http://REFUSED"},
        {"auth": {"type": "custom", "impl": "os.system"}},
        {"auth": {"type": "oauth2", "oauth2": {"client_id": "a", "client_secret": "b", "token_url": "http://REFUSED"}}},
        {"py-io-impl": "os.path"},
        {"rest.sigv4-enabled": "true"},
        {"oauth2-server-uri": "http://REFUSED"},
    ],
)
def test_settings_of_a_catalog_lead_nowhere_else(overrides: dict[str, Any], refused: Server) -> None:
    sent = json.loads(json.dumps(overrides).replace("REFUSED", refused.address))
    body = json.dumps({"defaults": sent, "overrides": sent}).encode()

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        return (200, {"content-type": "application/json"}, body) if "config" in path else (404, {}, b"{}")

    with serving(ALLOWED, answer) as server:
        with pytest.raises(MillraceError):
            count(rest(f"http://{server.address}"), door(), ICEBERG_TOKEN="t")
        assert server.requests


@pytest.mark.parametrize("handed", [{"s3.endpoint": "http://REFUSED"}, {"s3.proxy-uri": "http://REFUSED"}, {}])
def test_what_a_catalog_hands_out_for_a_table_leads_nowhere_else(
    handed: dict[str, str], lake: Catalog, refused: Server
) -> None:
    table = lake.load_table("lake.events")
    with serving(ALLOWED, to(refused)) as store, rest_catalog(lake) as url:
        document = json.loads(table.metadata.model_dump_json(by_alias=True, exclude_none=True))
        for snapshot in document["snapshots"]:
            snapshot["manifest-list"] = "s3://lake/list.avro" if handed else f"abfss://c@{refused.address}/list.avro"
        config = {name: value.replace("REFUSED", refused.address) for name, value in handed.items()}
        body = json.dumps({"metadata-location": "s3://lake/m.json", "metadata": document, "config": config}).encode()

        def answer(path: str) -> tuple[int, dict[str, str], bytes]:
            known = b'{"defaults": {}, "overrides": {}}' if "config" in path else body
            return 200, {"content-type": "application/json"}, known

        with serving(ALLOWED, answer) as catalog:
            environ = {**AWS, "AWS_ENDPOINT_URL": f"http://{store.address}", "ICEBERG_TOKEN": "t"}
            with pytest.raises(MillraceError):
                count(rest(f"http://{catalog.address}"), door(), **environ)
            assert url
            assert catalog.requests


def test_glue_is_asked_by_keys_of_the_secret_alone(refused: Server) -> None:
    glue = {"iceberg": {"catalog": {"type": "glue"}, "table": "lake.events"}}
    refusal(glue, {**AWS, "AWS_ENDPOINT_URL": f"http://{refused.address}"}, door())
    with pytest.raises(RejectError, match="Glue was given no credentials"):
        opened(glue, {"AWS_ENDPOINT_URL": f"http://{ALLOWED}:1"}, door())
    with serving(ALLOWED, to(refused)) as server:
        with pytest.raises(MillraceError):
            opened(glue, {**AWS, "AWS_ENDPOINT_URL": f"http://{server.address}"}, door())
        assert server.requests
