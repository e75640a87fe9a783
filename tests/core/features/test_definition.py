from __future__ import annotations

from typing import Any

import pytest
import yaml

from millrace.api.loading import load_yaml
from millrace.base.errors import RejectError
from millrace.features import definition
from tests import builders


def compiled(built: builders.Built, name: str = "user-stats", namespace: str = "default") -> definition.Definition:
    return definition.compile(name, namespace, spec_of(built))


def spec_of(built: builders.Built) -> Any:
    (found,) = load_yaml(yaml.safe_dump(built.build()))
    return found.spec


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
            r"spec.materialization.startFrom: 'yesterday' is no time",
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
