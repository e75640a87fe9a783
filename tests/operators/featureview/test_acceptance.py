"""What a definition must be beyond what its schema says."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_operators.featureview.acceptance import accept
from tests.builders import Built, feature_view


def view() -> Built:
    return (
        feature_view("clicks")
        .having("metadata.namespace", "shop")
        .having("metadata.uid", "u")
        .having("metadata.generation", 1)
    )


def test_a_view_is_accepted_with_the_hash_of_its_definition() -> None:
    accepted = accept(view().build())
    assert (accepted.namespace, accepted.name, accepted.changed) == ("shop", "clicks", True)
    assert accepted.definition.schema_hash.startswith("sha256:")


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.materialization.schedule", "0 0 31 2 *", "spec.materialization.schedule"),
        ("spec.materialization.schedule", "61 * * * *", "spec.materialization.schedule"),
        ("spec.ttl", "1w1x", "spec.ttl"),
        ("spec.features", [{"name": "a", "type": "int64"}] * 2, "spec.features[1].name"),
        ("spec.features", [{"name": "user_id", "type": "int64"}], "spec.features[0].name"),
        ("spec.unheard", 1, "spec.unheard"),
        (
            "spec.features",
            [{"name": "a", "type": "string", "expression": "rpad(x, 2000000000, 'y')"}],
            "spec.features[0].expression",
        ),
        ("spec.source.where", "x ~ '((a{1000}){1000}){1000}'", "spec.source.where"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(path: str, value: Any, field: str) -> None:
    with pytest.raises(RejectError) as caught:
        accept(view().having(path, value).build())
    assert caught.value.field == field


def test_a_definition_that_no_process_could_be_given_is_refused() -> None:
    features = [{"name": f"f{number}", "type": "int64", "column": "c" * 120} for number in range(1000)]
    with pytest.raises(RejectError, match="Split the view"):
        accept(view().having("spec.features", features).build())
