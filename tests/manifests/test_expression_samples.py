"""The samples of expressions give what their comments say."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace_core.api.featureview import FeatureView
from millrace_core.api.loading import load_yaml
from millrace_core.features.definition import definition
from millrace_core.features.evaluation.program import Program
from millrace_core.features.types import times

SAMPLE = Path(__file__).parents[2] / "manifests" / "samples" / "features" / "expressions.yaml"
VIEWS = {view.metadata["name"]: view for view in load_yaml(SAMPLE.read_text()) if isinstance(view, FeatureView)}
SATURDAY = datetime(2026, 1, 3, 23, 30, tzinfo=UTC)


def computed(view: str, row: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """Every expression of a view for one row and request."""
    compiled = definition.compile(view, "default", VIEWS[view].spec)
    program = Program(compiled, [each.name for each in compiled.features if each.expression], ())
    given = {(name,): value for name, value in row.items()} | {("request", name): v for name, v in request.items()}
    columns = [
        [times.microseconds(given[each.name]) if each.type == "timestamp" else given[each.name]]
        for each in program.inputs
    ]
    return {name: values[0] for name, values in zip(program.wanted, program.values(columns, 1).values, strict=True)}


def test_temporal_features() -> None:
    found = computed(
        "rider-moments",
        {"last_ended_at": SATURDAY},
        {"asked_at": datetime(2026, 1, 5, 1, tzinfo=UTC)},
    )
    assert found == {
        "last_day_of_week": 6,
        "last_hour": 23,
        "last_was_weekend": True,
        "last_hour_in_berlin": 0,
        "last_hour_sin": pytest.approx(math.sin(2 * math.pi * 23 / 24)),
        "last_hour_cos": pytest.approx(math.cos(2 * math.pi * 23 / 24)),
        "asked_at_weekend": False,
        "hours_since_last": 25.5,
    }


def test_ratios_buckets_and_crosses() -> None:
    row = {"last_fare": 12.0, "last_km": 0.0, "last_city": "Zürich", "last_product": "van"}
    found = computed("rider-spending", row, {"fare": 18.0, "product": "bike"})
    assert 0 <= found.pop("city_x_product_id") < 10_000
    assert found == {
        "last_fare_per_km": None,
        "fare_ratio": 1.5,
        "last_fare_bucket": "middle",
        "last_km_by_five": 0,
        "last_fare_magnitude": 3,
        "city_x_product": "Zürich:van",
        "city_x_asked_product": "Zürich:bike",
    }


def test_similarity_of_embeddings() -> None:
    assert computed("item-embedding", {"embedding": [3.0, 4.0]}, {"query": [6.0, 8.0]}) == {
        "similarity": pytest.approx(1),
        "is_near": True,
    }
    for query in ([1.0], None, [1.0, None]):
        assert computed("item-embedding", {"embedding": [3.0, 4.0]}, {"query": query})["similarity"] is None
