"""What the API server refuses by a rule of the CRD, `millrace validate` refuses too, by the field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.fields import FieldInfo

from millrace import FeatureStore
from millrace.cli import validating
from millrace_core.api.base import ApiModel, Rule
from millrace_core.api.featureview import FeatureView
from millrace_core.base.errors import RejectError
from millrace_core.schema import Schema, compile_schema
from tests.builders import feature_view

CRD = Path(__file__).parents[3] / "crds" / "featureviews.yaml"
COUNT = {"function": "count", "window": "1h"}
SOURCE = {"timestampField": "event_timestamp"}


def features(**first: Any) -> list[dict[str, Any]]:
    return [{"name": "x", "type": "int64", **first}]


# What is changed of a view that is right, and the field that is named.
CASES: dict[str, tuple[str, Any, str]] = {
    "no entities": ("spec.entities", None, "spec"),
    "a unit of no column": (
        "spec.source",
        {**SOURCE, "parquet": {"uri": "file:///lake/"}, "createdTimestampUnit": "ms"},
        "spec.source",
    ),
    "a unit of pushed rows": (
        "spec.source",
        {**SOURCE, "push": {"uri": "file:///lake/"}, "timestampUnit": "ms"},
        "spec.source",
    ),
    "a feature without its rate": (
        "spec.quality",
        [{"predicate": "x > 0", "feature": "x"}],
        "spec.quality[0].feature",
    ),
    "a long name": ("metadata.name", "a" * 50, "metadata.name"),
    "online without a schedule": ("spec.materialization", None, "spec"),
    "a schedule without fixed times": ("spec.materialization.schedule", "@every 1h", "spec.materialization.schedule"),
    "a schedule in a time zone": (
        "spec.materialization.schedule",
        "TZ=Europe/Berlin 0 0 * * *",
        "spec.materialization.schedule",
    ),
    "a schedule that is no cron line": (
        "spec.materialization.schedule",
        "0 0 * * 7",
        "spec.materialization.schedule",
    ),
    "a range that runs backwards": (
        "spec.materialization.schedule",
        "0 0 * * sat-sun",
        "spec.materialization.schedule",
    ),
    "a schedule that never comes": (
        "spec.materialization.schedule",
        "0 0 30 2 *",
        "spec.materialization.schedule",
    ),
    "a feature called as a key": ("spec.features", [{"name": "user_id", "type": "int64"}], "spec.features[0].name"),
    "a request field called as a key": (
        "spec.requestFields",
        [{"name": "user_id", "type": "int64"}],
        "spec.requestFields[0].name",
    ),
    "a grid of nothing": ("spec.aggregation", {"every": "1h"}, "spec.aggregation"),
    "a column and an aggregate": ("spec.features", features(column="z", aggregate=COUNT), "spec.features[0].column"),
    "an aggregate and an expression": (
        "spec.features",
        features(expression="1", aggregate=COUNT),
        "spec.features[0].expression",
    ),
    "a sum of nothing": (
        "spec.features",
        features(aggregate={**COUNT, "function": "sum"}),
        "spec.features[0].aggregate.column",
    ),
    "a quantile of a count": (
        "spec.features",
        features(aggregate={**COUNT, "quantile": 0.5}),
        "spec.features[0].aggregate.quantile",
    ),
    "a percentile without a quantile": (
        "spec.features",
        [{"name": "x", "type": "float64", "aggregate": {**COUNT, "function": "approx_percentile", "column": "z"}}],
        "spec.features[0].aggregate.quantile",
    ),
    "no source": ("spec.source", SOURCE, "spec.source"),
    "two sources": (
        "spec.source",
        {**SOURCE, "parquet": {"uri": "file:///x"}, "push": {"uri": "file:///y"}},
        "spec.source",
    ),
    "a database without a table": (
        "spec.source",
        {**SOURCE, "postgres": {"host": "h", "database": "d"}},
        "spec.source.postgres",
    ),
    "a table and a query": ("spec.source", {**SOURCE, "sql": {"table": "t", "query": "select 1"}}, "spec.source.sql"),
    "a check of nothing": ("spec.quality", [{"severity": "warn"}], "spec.quality[0]"),
    "a check of two things": ("spec.quality", [{"column": "x", "min": 1, "freshness": "1h"}], "spec.quality[0]"),
    "a column that is not checked": ("spec.quality", [{"column": "x"}], "spec.quality[0]"),
    "a least value of no column": ("spec.quality", [{"freshness": "1h", "min": 1}], "spec.quality[0].column"),
    "what need not be unique": ("spec.quality", [{"column": "x", "unique": False}], "spec.quality[0].unique"),
    "least above greatest": ("spec.quality", [{"column": "x", "min": 2, "max": 1}], "spec.quality[0].min"),
    "a volume without a ratio": ("spec.quality", [{"volume": {"runs": 3}}], "spec.quality[0].volume"),
    "least volume above greatest": (
        "spec.quality",
        [{"volume": {"minRatio": 2, "maxRatio": 1}}],
        "spec.quality[0].volume.minRatio",
    ),
    "keys in the address of files": (
        "spec.source",
        {**SOURCE, "parquet": {"uri": "s3://key:secret@lake/events/"}},
        "spec.source.parquet.uri",
    ),
    "keys in the address of a Delta table": (
        "spec.source",
        {**SOURCE, "delta": {"uri": "s3://key:secret@lake/events/"}},
        "spec.source.delta.uri",
    ),
    "keys in the address of pushed rows": (
        "spec.source",
        {**SOURCE, "push": {"uri": "s3://key:secret@lake/events/"}},
        "spec.source.push.uri",
    ),
    "a user in the host of a database": (
        "spec.source",
        {**SOURCE, "postgres": {"host": "user:word@db", "database": "d", "table": "t"}},
        "spec.source.postgres.host",
    ),
    "a user in the address of a catalog": (
        "spec.source",
        {**SOURCE, "iceberg": {"catalog": {"type": "rest", "uri": "https://user@catalog/"}, "table": "a.b"}},
        "spec.source.iceberg.catalog",
    ),
    "a password in the address of a catalog": (
        "spec.source",
        {**SOURCE, "iceberg": {"catalog": {"type": "sql", "uri": "postgresql://db/d?password=word"}, "table": "a.b"}},
        "spec.source.iceberg.catalog.uri",
    ),
}


@pytest.fixture(scope="module")
def schema() -> Schema:
    versions = yaml.load(CRD.read_text(encoding="utf-8"), yaml.CSafeLoader)["spec"]["versions"]
    return compile_schema(versions[0]["schema"]["openAPIV3Schema"])


def changed(case: str) -> tuple[dict[str, Any], str]:
    path, value, field = CASES[case]
    view = feature_view("stats")
    return (view.without(path) if value is None else view.having(path, value)).build(), field


def refused(schema: Schema, case: str) -> list[str]:
    document, _ = changed(case)
    schema.default(document)
    return [error.message for error in schema.validate(document)]


def rules(model: type[ApiModel], seen: set[type]) -> Iterator[Rule]:
    """All rules of a model and of those in it."""
    pending: list[Any] = [model]
    while pending:
        current = pending.pop()
        if isinstance(current, type) and issubclass(current, ApiModel):
            if current not in seen:
                seen.add(current)
                yield from current.rules
                yield from (Rule(**rule) for each in current.model_fields.values() for rule in _of_field(each))
                pending += [field.annotation for field in current.model_fields.values()]
        else:
            pending += getattr(current, "__args__", ())


def _of_field(field: FieldInfo) -> list[dict[str, str]]:
    extra = field.json_schema_extra
    return list(extra.get("x-kubernetes-validations", [])) if isinstance(extra, dict) else []  # type: ignore[arg-type]


def test_there_is_a_case_of_every_rule(schema: Schema) -> None:
    said = " ".join(error for case in CASES for error in refused(schema, case))
    assert [rule.message for rule in rules(FeatureView, set()) if rule.message not in said] == []


@pytest.mark.parametrize("case", CASES)
def test_what_a_rule_of_the_crd_refuses_the_compiler_refuses_by_name(case: str, tmp_path: Path) -> None:
    document, field = changed(case)
    (tmp_path / "view.yaml").write_text(yaml.safe_dump(document))
    checked = validating.check([tmp_path], look_at_data=False)
    assert checked.objects == []
    assert [mistake.field for mistake in checked.mistakes] == [field]
    assert all(mistake.message for mistake in checked.mistakes)


@pytest.mark.parametrize("case", CASES)
def test_the_sdk_says_of_a_file_what_validate_says(case: str, tmp_path: Path) -> None:
    document, _ = changed(case)
    (tmp_path / "view.yaml").write_text(yaml.safe_dump(document))
    [mistake] = validating.check([tmp_path], look_at_data=False).mistakes
    with pytest.raises(RejectError) as caught:
        FeatureStore.from_files([tmp_path])
    assert caught.value.field == mistake.field
    place = f"{mistake.file}:{mistake.line}:{mistake.column}: {mistake.object}"
    assert caught.value.message == f"{place}: {mistake.message}"
