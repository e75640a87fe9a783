from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api.loading import load_object, load_yaml
from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_core.features.definition import definition
from millrace_core.features.definition.aggregate import Aggregate
from tests import builders


def compiled(built: builders.Built, name: str = "user-stats", namespace: str = "default") -> definition.Definition:
    return definition.compile(name, namespace, spec_of(built))


def spec_of(built: builders.Built) -> Any:
    return load_object(built.build()).spec


VIEW = builders.feature_view("user-stats")


def test_a_definition_holds_durations_and_times_in_microseconds() -> None:
    built = VIEW.having("spec.ttl", "1d").having("spec.materialization.lag", "5m")
    got = compiled(built.having("spec.materialization.startFrom", "1970-01-01T00:00:01+01:00"))
    assert (got.ttl, got.lag, got.start_from) == (86_400_000_000, 300_000_000, -3_599_000_000)


def test_a_ttl_of_zero_is_none() -> None:
    assert compiled(VIEW.having("spec.ttl", "0s")).ttl is None


def test_a_time_in_yaml_may_stand_without_quotes() -> None:
    text = """
apiVersion: millrace.dev/v1alpha1
kind: FeatureView
metadata: {name: v}
spec:
  entities: [{name: id, type: int64}]
  source: {parquet: {uri: file:///x}, timestampField: ts}
  features: [{name: a, type: float32}]
  materialization: {schedule: "@daily", startFrom: 2026-01-01T00:00:00Z}
"""
    (found,) = load_yaml(text)
    assert definition.compile("v", "default", found.spec).start_from == 1_767_225_600_000_000  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.ttl", "7d"),
        ("spec.source.parquet.uri", "s3://elsewhere/"),
        ("spec.description", "words"),
        ("spec.owner", "me"),
        ("spec.materialization.schedule", "@hourly"),
        ("spec.entities", [{"name": "user_id", "type": "int32"}]),
        (
            "spec.features",
            [{"name": "amount", "type": "float64", "column": "amount"}, {"name": "visits", "type": "int64"}],
        ),
    ],
)
def test_the_schema_hash_stays_with_what_does_not_decide_a_stored_row(path: str, value: Any) -> None:
    assert compiled(VIEW.having(path, value)).schema_hash == compiled(VIEW).schema_hash


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.entities", [{"name": "user_id", "type": "string"}]),
        ("spec.entities", [{"name": "uid", "type": "int64"}]),
        ("spec.features", [{"name": "visits", "type": "int64"}, {"name": "amount", "type": "float64"}]),
        ("spec.features", [{"name": "amount", "type": "float32"}, {"name": "visits", "type": "int64"}]),
        ("spec.features", [{"name": "amount", "type": "float64"}]),
        ("spec.features", [{"name": "amount", "type": "float64", "column": "a"}, {"name": "visits", "type": "int64"}]),
        ("spec.source.timestampField", "ts"),
        ("spec.source.createdTimestampField", "created"),
    ],
)
def test_the_schema_hash_changes_with_what_decides_a_stored_row(path: str, value: Any) -> None:
    assert compiled(VIEW.having(path, value)).schema_hash != compiled(VIEW).schema_hash


def test_the_schema_hash_is_the_same_in_every_process_and_version() -> None:
    expected = "sha256:5239e023b0dc8fd29fe83908668fe75f827779264f448b7667cb9d9a50cee7e3"
    assert compiled(VIEW).schema_hash == expected


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (
            VIEW.having("spec.features", [{"name": "a", "type": "bool"}, {"name": "a", "type": "int64"}]),
            r"spec.features\[1\].name: 'a' is there twice, also at spec.features\[0\]",
        ),
        (
            VIEW.having("spec.entities", [{"name": "a", "type": "bool"}, {"name": "a", "type": "int64"}]),
            r"spec.entities\[1\].name: 'a' is there twice",
        ),
        (
            VIEW.having("spec.features", [{"name": "user_id", "type": "int64"}]),
            r"spec.features\[0\].name: 'user_id' is the name of an entity",
        ),
        (VIEW.having("spec.ttl", "99999999w"), r"spec.ttl: '99999999w' is longer than"),
        (
            VIEW.having("spec.materialization.startFrom", "yesterday"),
            r"spec.materialization.startFrom: FeatureView user-stats: 'yesterday' came",
        ),
    ],
)
def test_a_refusal_names_the_field_and_the_token(built: builders.Built, message: str) -> None:
    with pytest.raises(RejectError, match=message):
        compiled(built)


@pytest.mark.parametrize("name", ["a.b", "A", "a:b", "", "a" * 64, "a\n"])
def test_a_name_that_cannot_be_part_of_a_key_is_refused(name: str) -> None:
    with pytest.raises(RejectError, match="cannot be part of a store key"):
        compiled(VIEW, name=name)
    with pytest.raises(RejectError, match=r"metadata.namespace"):
        compiled(VIEW, namespace=name)


def aggregated(*aggregates: dict[str, Any], kind: str = "float64", every: str | None = None) -> builders.Built:
    """A view with these aggregates."""
    features = [{"name": f"a{i}", "type": kind, "aggregate": each} for i, each in enumerate(aggregates)]
    built = VIEW.having("spec.features", features)
    return built.having("spec.aggregation", {"every": every}) if every else built


SUM = {"function": "sum", "column": "amount", "window": "7d"}
HOUR = 3_600_000_000


def test_an_aggregate_holds_its_window_and_grid_in_microseconds() -> None:
    (feature,) = compiled(aggregated(SUM)).features
    assert feature.aggregate == Aggregate("sum", "amount", 7 * 24 * HOUR, HOUR)
    assert feature.meaning == "sum(amount) over 604800000000us by 3600000000us"
    assert (feature.column, feature.source_column) == (None, ("amount", "float64"))


def test_a_view_with_aggregates_stores_the_time_of_its_row_last() -> None:
    assert compiled(VIEW).stored[-1].name == "visits"
    assert compiled(aggregated(SUM)).stored[-1] == ("$event", "timestamp", "$event")


@pytest.mark.parametrize(
    ("windows", "grid"),
    [(["1h", "7d"], "1h"), (["1h", "90m"], "15m"), (["1h", "20m"], "5m"), (["1h", "7m"], "1m"), (["1h30m"], "15m")],
)
def test_the_grid_is_the_largest_that_divides_all_windows(windows: list[str], grid: str) -> None:
    features = compiled(aggregated(*(SUM | {"window": window} for window in windows))).features
    assert {feature.aggregate and feature.aggregate.every for feature in features} == {duration.microseconds(grid)}


@pytest.mark.parametrize(("moment", "grid"), [(0, 0), (1, 0), (-1, -HOUR), (HOUR, HOUR), (HOUR - 1, 0), (-HOUR, -HOUR)])
def test_moments_go_down_to_the_grid_also_before_1970(moment: int, grid: int) -> None:
    assert Aggregate("count", None, HOUR, HOUR).grid(moment) == grid


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (aggregated(SUM | {"window": "0s"}), r"spec.features\[0\].aggregate.window: '0s' is no duration"),
        (
            aggregated(SUM | {"window": "90s"}),
            r"spec.features\[0\].aggregate.window: '90s' is no multiple of any of",
        ),
        (
            aggregated(SUM, SUM | {"window": "90s"}, every="1m"),
            r"spec.features\[1\].aggregate.window: '90s' is no multiple of the grid '1m'",
        ),
        (aggregated(SUM, every="0s"), r"spec.aggregation.every: '0s' is no duration"),
        (VIEW.having("spec.aggregation", {"every": "1h"}), r"spec.aggregation: the view has no aggregate"),
        (
            aggregated({"function": "sum", "window": "1h"}),
            r"spec.features\[0\].aggregate.column: 'sum' needs a column",
        ),
        (
            aggregated({"function": "approx_percentile", "column": "amount", "window": "1h"}),
            r"spec.features\[0\].aggregate.quantile: 'approx_percentile' needs a quantile",
        ),
        (aggregated(SUM | {"quantile": 0.5}), r"aggregate.quantile: 0.5 came; 'sum' takes none"),
        (aggregated(SUM, kind="string"), r"spec.features\[0\].type: 'sum' is no string. It can be float64, float32 or"),
        (aggregated(SUM | {"function": "mean"}, kind="int64"), r"'mean' is no int64. It can be float64 or float32"),
        (aggregated(SUM | {"function": "count"}, kind="float64"), r"'count' is no float64. It can be int64"),
        (aggregated(SUM | {"function": "min"}, kind="string"), r"'min' is no string"),
        (
            VIEW.having("spec.features", [{"name": "a", "type": "float64", "column": "amount", "aggregate": SUM}]),
            r"spec.features\[0\].column: 'a' has both a column \('amount'\) and an aggregate",
        ),
    ],
)
def test_an_aggregate_that_means_nothing_is_refused(built: builders.Built, message: str) -> None:
    with pytest.raises(RejectError, match=message):
        compiled(built)


@pytest.mark.parametrize(
    "other",
    [
        aggregated(SUM | {"function": "mean"}),
        aggregated(SUM | {"column": "visits"}),
        aggregated(SUM | {"window": "8d"}),
        aggregated(SUM, every="15m"),
        aggregated(SUM, kind="float32"),
    ],
)
def test_the_schema_hash_changes_with_what_an_aggregate_is(other: builders.Built) -> None:
    assert compiled(other).schema_hash != compiled(aggregated(SUM)).schema_hash
    same = aggregated(SUM | {"window": "168h"}, every="60m")
    assert compiled(same).schema_hash == compiled(aggregated(SUM)).schema_hash
