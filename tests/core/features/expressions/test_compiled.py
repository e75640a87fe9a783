from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api.featureview import FeatureView
from millrace_core.base.errors import RejectError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from tests import builders

COLUMNS = [{"name": "amount", "type": "float64"}, {"name": "label", "type": "string"}]
COUNT = {"name": "events_1h", "type": "int64", "aggregate": {"function": "count", "window": "1h"}}


def view(*features: dict[str, Any], columns: list[dict[str, Any]] = COLUMNS, request: Any = None) -> Definition:
    built = builders.feature_view("v").having("spec.features", [*columns, *features])
    if request is not None:
        built = built.having("spec.requestFields", [{"name": name, "type": kind} for name, kind in request.items()])
    return definition.compile("v", "default", FeatureView.model_validate(built.build()).spec)


def computed(name: str, expression: str, kind: str = "float64") -> dict[str, Any]:
    return {"name": name, "type": kind, "expression": expression}


def test_an_expression_with_request_fields_is_on_demand_and_so_is_what_reads_it() -> None:
    compiled = view(
        computed("ratio", "request.cart / nullif(doubled, 0)"),
        computed("high", "ratio > 1", "bool"),
        computed("doubled", "amount * 2"),
        request={"cart": "float64"},
    )

    on_demand = {feature.name for feature in compiled.features if feature.on_demand}
    assert on_demand == {"ratio", "high"}
    assert [each.name for each in compiled.stored] == ["amount", "label", "doubled"]


def test_an_expression_is_row_bound_where_it_reads_a_column_or_the_view_has_no_aggregates() -> None:
    constant = view(computed("one", "1.0::double"))
    mixed = view(
        COUNT,
        computed("busy", "events_1h > 3", "bool"),
        computed("share", "amount / events_1h"),
        computed("both", "case when busy then share else 0 end"),
        computed("one", "1.0::double"),
    )

    assert constant.feature["one"].row_bound
    assert {name for name, feature in mixed.feature.items() if feature.row_bound} == {
        "amount",
        "label",
        "share",
        "both",
    }


def test_the_meaning_changes_with_what_is_read_and_not_with_how_it_is_written() -> None:
    def meaning(expression: str, column: str = "amount", kind: str = "float64") -> str:
        columns = [{"name": "amount", "type": kind, "column": column}]
        return view(computed("x", expression), columns=columns).feature["x"].meaning

    assert meaning("amount+1") == meaning("AMOUNT + 1 -- more".replace("AMOUNT", "amount"))
    others = [meaning("amount + 2"), meaning("amount + 1", column="price"), meaning("amount + 1", kind="float32")]
    assert len({meaning("amount + 1"), *others}) == 4


def test_the_schema_hash_covers_stored_expressions_alone() -> None:
    plain = view(request={"cart": "float64"})
    stored = view(computed("x", "amount + 1"), request={"cart": "float64"})
    on_demand = view(computed("x", "amount + request.cart"), request={"cart": "float64"})

    assert plain.schema_hash == on_demand.schema_hash != stored.schema_hash


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            [computed("x", "amout + 1")],
            r"features\[2\].expression: 'amout' is not known.*: amount, label, x, req",
        ),
        ([computed("x", "request.card + 1")], r"features\[2\].expression: 'request.card' is not known"),
        ([computed("x", "x + 1")], r"features\[2\].expression: 'x' reads itself: x -> x"),
        (
            [computed("x", "y + 1"), computed("y", "z"), computed("z", "x")],
            r"features\[2\].expression: 'x' reads itself: x -> y -> z -> x",
        ),
        ([computed("x", "label + 1")], r"features\[2\].expression: the types do not go together.*VARCHAR"),
        (
            [computed("x", "amount > 1")],
            r"features\[2\].expression: it gives BOOLEAN, which is no float64",
        ),
        ([computed("x", "amount * 1", "int64")], r"it gives DOUBLE, which is no int64. Write cast\(… as BIGINT\)"),
        ([computed("x", "[amount]")], r"it gives DOUBLE\[\], which is no float64"),
        ([computed("x", "amount", "array<float64>")], r"it gives DOUBLE, which is no array<float64>"),
        ([computed("x", "[[amount]]", "array<float64>")], r"it gives DOUBLE\[\]\[\], which is no array<float64>"),
        ([computed("x", "interval 1 day", "timestamp")], r"it gives INTERVAL, which is no timestamp"),
        ([computed("x", "now()", "timestamp")], r"features\[2\].expression: 'now\(\)' is not allowed"),
        ([computed("x", "regexp_matches(label, '(')", "bool")], r"features\[2\].expression: .*missing \)"),
        ([computed("user_id", "1")], r"features\[2\].name: 'user_id' is the name of an entity"),
    ],
)
def test_a_wrong_expression_is_refused_by_field_and_token(features: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RejectError, match=message):
        view(*features, request={"cart": "float64"})


def test_a_request_field_is_named_once_and_not_as_an_entity() -> None:
    with pytest.raises(RejectError, match=r"spec.requestFields\[0\].name: 'user_id' is the name of an entity"):
        view(request={"user_id": "int64"})


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("null", "float32"),
        ("[]", "array<int64>"),
        ("[null]", "array<string>"),
        ("amount::decimal(10, 2)", "float32"),
        ("make_timestamp(amount::bigint)::date", "timestamp"),
        ("label::date", "timestamp"),
        ("encode(label)", "string"),
        ("label", "bytes"),
        ("1::hugeint", "int32"),
        ("[1.5, 2]::float[2]", "array<float64>"),
        ("string_split(label, ',')", "array<string>"),
    ],
)
def test_a_type_that_can_be_read_as_declared_is_taken(expression: str, kind: str) -> None:
    assert view(computed("x", expression, kind)).feature["x"].type == kind
