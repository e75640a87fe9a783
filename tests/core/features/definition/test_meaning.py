"""Which changes of a view are free, and which take from its readers what they read: every field is one or the other."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api.crdgen import crd
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.api.kinds import FEATURE_VIEW
from millrace_core.api.source import SOURCE_KINDS
from millrace_core.features.definition import definition
from millrace_core.features.definition.evolution import Evolution, evolution
from millrace_core.features.definition.meaning import FIELDS, Effect

SOURCES: dict[str, dict[str, Any]] = {
    "parquet": {"uri": "s3://lake/a/"},
    "delta": {"uri": "s3://lake/a/", "version": 3},
    "iceberg": {
        "catalog": {"name": "c", "type": "rest", "uri": "http://one", "warehouse": "w"},
        "table": "a.b",
        "snapshotId": 4,
    },
    "postgres": {"host": "one", "port": 5432, "database": "d", "sslMode": "prefer", "table": "t"},
    "sql": {"table": "t"},
    "push": {"uri": "s3://lake/log/"},
}
VIEW: dict[str, Any] = {
    "description": "one",
    "owner": "one",
    "tags": {"team": "one"},
    "entities": [{"name": "user_id", "type": "int64"}],
    "source": {
        "timestampField": "at",
        "createdTimestampField": "made",
        "where": "a = 1",
        "credentialsSecretRef": {"name": "one"},
    },
    "features": [
        {"name": "amount", "type": "float64", "column": "amount"},
        {
            "name": "typical",
            "type": "float64",
            "aggregate": {"function": "approx_percentile", "column": "amount", "window": "6h", "quantile": 0.5},
        },
        {"name": "ratio", "type": "float64", "expression": "request.cart / amount"},
    ],
    "requestFields": [{"name": "cart", "type": "float64"}],
    "aggregation": {"every": "1h", "partials": {"uri": "s3://lake/one/"}},
    "ttl": "7d",
    "online": {"enabled": True},
    "materialization": {
        "schedule": "0 * * * *",
        "lag": "1m",
        "lateness": "1m",
        "startFrom": "2026-01-01T00:00:00Z",
        "parallelism": 1,
        "resources": {"requests": {"cpu": "1"}},
        "suspend": False,
    },
    "quality": [{"column": "amount", "min": 0}],
}
# What each field becomes; a change of several that belong together is written as what they become together.
CHANGES: dict[str, Any] = {
    "description": "two",
    "owner": None,
    "tags": {"team": "two"},
    "entities[].name": "customer_id",
    "entities[].type": "string",
    "source.parquet.uri": "s3://lake/b/",
    "source.delta.uri": "s3://lake/b/",
    "source.delta.version": 4,
    "source.iceberg.catalog.name": "e",
    "source.iceberg.catalog.type": "glue",
    "source.iceberg.catalog.uri": "http://two",
    "source.iceberg.catalog.warehouse": "v",
    "source.iceberg.table": "a.c",
    "source.iceberg.snapshotId": None,
    "source.postgres.host": "two",
    "source.postgres.port": 5433,
    "source.postgres.database": "e",
    "source.postgres.sslMode": "require",
    "source.postgres.table": "u",
    "source.postgres.query": {"table": None, "query": "select 1"},
    "source.sql.table": "u",
    "source.sql.query": {"table": None, "query": "select 1"},
    "source.push.uri": "s3://lake/other/",
    "source.timestampField": "made",
    "source.createdTimestampField": None,
    "source.timestampUnit": "ms",
    "source.createdTimestampUnit": "ms",
    "source.columns[].name": {"source.columns": [{"name": "user_id", "expression": "lower(buyer)"}]},
    "source.columns[].expression": {"source.columns": [{"name": "a", "expression": "b + 1"}]},
    "source.where": "a = 2",
    "source.credentialsSecretRef.name": "two",
    "features[].name": {"features.0.name": "price", "features.2.expression": "request.cart / price"},
    "features[].type": "float32",
    "features[].column": "price",
    "features[].aggregate.function": {"function": "max", "quantile": None},
    "features[].aggregate.column": "price",
    "features[].aggregate.window": "12h",
    "features[].aggregate.quantile": 0.9,
    "features[].expression": "request.cart + amount",
    "requestFields[].name": {"requestFields.0.name": "basket", "features.2.expression": "request.basket / amount"},
    "requestFields[].type": "int64",
    "aggregation.every": "15m",
    "aggregation.partials.uri": "s3://lake/two/",
    "ttl": "1m",
    "online.enabled": False,
    "materialization.schedule": "*/5 * * * *",
    "materialization.lag": "1h",
    "materialization.lateness": "1h",
    "materialization.startFrom": None,
    "materialization.parallelism": 4,
    "materialization.resources": None,
    "materialization.suspend": True,
    "quality": [{"column": "amount", "max": 9, "severity": "warn"}],
}
# The feature, of those of the view, that a change of a field of features is about.
_ABOUT = {"features[].aggregate": 1, "features[].expression": 2}


def leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Dotted paths of all fields that hold a value of their own."""
    inner, mark = (schema.get("items") or {}, "[]") if schema.get("type") == "array" else (schema, "")
    if not inner.get("properties"):
        yield path
        return
    for name, field in inner["properties"].items():
        yield from leaves(field, f"{path}{mark}.{name}" if path else name)


def view(source: str) -> dict[str, Any]:
    spec = copy.deepcopy(VIEW)
    spec["source"][source] = copy.deepcopy(SOURCES[source])
    return spec


def put(spec: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    node: Any = spec
    for parent in parents:
        node = node[int(parent)] if parent.isdigit() else node.setdefault(parent, {})
    if value is None:
        node.pop(last, None)
    else:
        node[last] = value


def change(spec: dict[str, Any], field: str) -> None:
    value, index = CHANGES[field], next((n for path, n in _ABOUT.items() if field.startswith(path)), 0)
    at = field.replace("[]", f".{index}")
    if not isinstance(value, dict) or field == "tags":
        value = {at: value}
    for name, each in value.items():
        put(spec, name if "." in name or name == at else f"{at.rpartition('.')[0]}.{name}", each)


def compared(before: dict[str, Any], after: dict[str, Any]) -> Evolution:
    compiled = [definition.compile("v", "shop", FeatureViewSpec.model_validate(spec)) for spec in (before, after)]
    return evolution(*compiled)


def source_of(field: str) -> str:
    parts = field.split(".")
    return parts[1] if parts[0] == "source" and parts[1] in SOURCE_KINDS else ""


EVERYTHING = {"ranker": ["amount", "typical", "ratio"]}
FREE = sorted(field for field, effect in FIELDS.items() if effect is Effect.FREE)


def test_every_field_of_the_spec_is_free_or_not() -> None:
    schema = crd(FEATURE_VIEW)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    found = list(leaves(schema))
    below = {each for each in found for free in FREE if each.startswith((f"{free}.", f"{free}["))}
    assert sorted(set(found) - below - FIELDS.keys()) == [], (
        "fields that millrace_core…definition.meaning does not know"
    )
    assert sorted(FIELDS.keys() - set(found) - {free for free in FREE if any(b.startswith(free) for b in below)}) == []
    assert sorted(FIELDS) == sorted(CHANGES)


def test_these_fields_are_free_and_no_others() -> None:
    """What docs/features.md promises; to add one is a decision."""
    parts = "description owner tags ttl quality aggregation.partials.uri source.credentialsSecretRef.name"
    read = "delta.version iceberg.catalog.type iceberg.catalog.uri iceberg.snapshotId postgres.host postgres.port"
    run = "schedule lag lateness startFrom parallelism resources suspend"
    expected = [*parts.split(), *(f"source.{each}" for each in (*read.split(), "postgres.sslMode"))]
    assert sorted([*expected, *(f"materialization.{each}" for each in run.split())]) == FREE


@pytest.mark.parametrize("field", [field for field in FIELDS if FIELDS[field] is not Effect.FREE])
def test_a_change_that_takes_from_a_reader_what_it_reads_names_it(field: str) -> None:
    before = view(source_of(field) or "parquet")
    after = copy.deepcopy(before)
    change(after, field)
    found = compared(before, after)
    assert any("ranker" in why for why in found.blocks(EVERYTHING)), field
    assert found.breaking
    assert not found.blocks({})
    assert not found.blocks({"other": ["unknown"]})


@given(st.sampled_from(SOURCE_KINDS), st.sets(st.sampled_from(FREE)))
def test_free_changes_take_nothing_from_anybody_however_many_come_together(source: str, fields: set[str]) -> None:
    before = view(source)
    after = copy.deepcopy(before)
    for field in sorted(fields):
        if source_of(field) in (source, ""):
            change(after, field)
    found = compared(before, after)
    assert not found.blocks(EVERYTHING)
    assert not found.breaking


def test_another_kind_of_source_is_other_rows() -> None:
    [why] = compared(view("parquet"), view("delta")).blocks(EVERYTHING)
    assert why.startswith("spec.source.delta.uri and spec.source.parquet.uri would give 'amount', 'ratio', 'typical'")


def test_features_may_come_and_move_and_what_nobody_reads_may_go_or_change() -> None:
    before = view("parquet")
    after = copy.deepcopy(before)
    after["features"] = [{"name": "new", "type": "bool"}, after["features"][0]]
    del after["requestFields"]
    del after["aggregation"]
    assert not compared(before, after).blocks({"ranker": ["amount"]})
    assert compared(before, after).blocks({"scorer": ["typical"]}) == [
        "feature 'typical' is removed, and is used by scorer"
    ]


def test_another_spelling_of_the_same_is_no_change() -> None:
    before, after = view("parquet"), view("parquet")
    after["features"][1]["aggregate"]["window"] = "360m"
    after["source"]["where"] = "a  =\n1"
    after["entities"][0]["type"] = "int32"
    del after["features"][0]["column"]
    del after["aggregation"]["every"]
    assert not compared(before, after).breaking


def test_a_new_aggregate_that_moves_the_default_grid_says_how_to_keep_it() -> None:
    before = view("parquet")
    del before["aggregation"]
    after = copy.deepcopy(before)
    after["features"].append({"name": "n", "type": "int64", "aggregate": {"function": "count", "window": "5m"}})
    [why] = compared(before, after).blocks({"ranker": ["typical"]})
    assert "spec.aggregation.every" in why
    after["features"][-1]["aggregate"]["window"] = "1h"
    assert not compared(before, after).breaking


def test_an_expression_is_what_its_inputs_are() -> None:
    before, after = view("parquet"), view("parquet")
    after["features"][0]["column"] = "price"
    assert compared(before, after).blocks({"ranker": ["ratio"]})


@pytest.mark.parametrize(("column", "blocked"), [("amount", True), ("at", True), ("a", True), ("unused", False)])
def test_a_computed_column_takes_only_from_readers_of_what_is_made_of_it(column: str, blocked: bool) -> None:
    before = view("parquet")
    after = copy.deepcopy(before)
    after["source"]["columns"] = [{"name": column, "expression": "epoch_us(b)"}]
    found = compared(before, after)
    assert bool(found.blocks({"ranker": ["amount"]})) is blocked
    assert bool(found.schema) is blocked
    again = copy.deepcopy(after)
    again["source"]["columns"][0]["expression"] = " epoch_us( b )"
    assert not compared(after, again).breaking


def test_a_view_that_was_never_served_takes_nothing_from_anybody() -> None:
    before, after = view("parquet"), view("parquet")
    before["online"]["enabled"] = False
    after["features"] = [{"name": "amount", "type": "string"}]
    del after["requestFields"]
    del after["aggregation"]
    assert not compared(before, after).blocks({"ranker": ["amount"]})
