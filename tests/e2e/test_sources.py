"""Tables as sources, with what they ask for in a Secret: Iceberg by its REST catalog, MariaDB by SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pyiceberg.catalog import load_catalog

from tests.builders import Built, feature_view
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.test_feature_view import online, write_events
from tests.iceberg_catalog import CLIENT, SECRET, rest_catalog
from tests.mariadb import MariaDb, mariadb_server
from tests.s3 import s3_server


def secret(**content: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": content}


def reading(source: dict[str, Any]) -> Built:
    whole = {**source, "timestampField": "event_timestamp", "credentialsSecretRef": {"name": "keys"}}
    return feature_view("stats").having("spec.source", whole)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses of a REST catalog and of the S3 server that has its files."""
    folder = tmp_path_factory.mktemp("lake")
    write_events(folder)
    with s3_server() as s3:
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=s3, **keys).create_bucket(Bucket="lake")
        known = {
            "s3.endpoint": s3,
            "s3.access-key-id": "key",
            "s3.secret-access-key": "secret",
            "s3.region": "us-east-1",
        }
        catalog = load_catalog("lake", type="sql", uri=f"sqlite:///{folder}/c.db", warehouse="s3://lake/t", **known)
        catalog.create_namespace("shop")
        events = pq.read_table(folder / "events.parquet")
        catalog.create_table("shop.events", events.schema).append(events)
        with rest_catalog(catalog) as url:
            yield url, s3


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    write_events(folder := tmp_path_factory.mktemp("events"))
    rows = pq.read_table(folder / "events.parquet").to_pylist()
    with mariadb_server() as server:
        with sa.create_engine(server.url).begin() as connection:
            connection.exec_driver_sql(
                "create table events (user_id bigint, event_timestamp datetime(6), amount double, visits int)"
            )
            insert = "insert into events values (:user_id, :event_timestamp, :amount, :visits)"
            connection.execute(sa.text(insert), rows)
        yield server


def stands_in_the_store(target: ClusterUnderTest, kubectl: Kubectl) -> None:
    kubectl.wait_ready("featureview", "stats")
    assert kubectl.get("fv", "stats")["status"]["lastRun"]["rows"] == 3
    found = eventually(lambda: online(target, kubectl.namespace, ["stats:amount"], [1000, 1002]))
    assert found["amount"]["values"] == [100.0, 102.0]


def test_a_view_reads_iceberg_by_a_rest_catalog(
    target: ClusterUnderTest, kubectl: Kubectl, lake: tuple[str, str]
) -> None:
    catalog, s3 = lake
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL": s3}
    view = reading({"iceberg": {"catalog": {"type": "rest", "uri": catalog}, "table": "shop.events"}})
    kubectl.apply(secret(ICEBERG_CREDENTIAL=f"{CLIENT}:{SECRET}", **keys), view.build())
    stands_in_the_store(target, kubectl)


def test_a_secret_that_a_catalog_does_not_take_is_said(kubectl: Kubectl, lake: tuple[str, str]) -> None:
    view = reading({"iceberg": {"catalog": {"type": "rest", "uri": lake[0]}, "table": "shop.events"}})
    kubectl.apply(secret(ICEBERG_CREDENTIAL=f"{CLIENT}:wrong"), view.build())
    condition = eventually(
        lambda: (found := kubectl.condition("fv", "stats", "Materialized")).get("status") == "False" and found, 60
    )
    assert "access to table shop.events is denied" in condition["message"]


def test_a_view_reads_mariadb(target: ClusterUnderTest, kubectl: Kubectl, database: MariaDb) -> None:
    query = "select user_id, event_timestamp, amount, visits from events where amount >= 0"
    kubectl.apply(secret(SQL_URL=database.url), reading({"sql": {"query": query}}).build())
    stands_in_the_store(target, kubectl)
