"""Quality rules: what a definition may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api.quality import QualityRule
from millrace_core.base.errors import RejectError
from millrace_core.features.definition import quality
from millrace_core.features.definition.definition import Definition
from tests.core.features.histories import view

V = view(("x", "float64"), created="created")


def rules(*documents: dict[str, Any]) -> tuple[quality.Check, ...]:
    return quality.compile([QualityRule.model_validate(document) for document in documents])


@pytest.mark.parametrize(
    ("rule", "field", "said"),
    [
        ({}, "spec.quality[1]", "exactly one of"),
        ({"column": "x", "freshness": "1h", "min": 1}, "spec.quality[1]", "exactly one of"),
        ({"column": "x"}, "spec.quality[1]", "nothing of the column 'x' is checked"),
        ({"freshness": "1h", "min": 3}, "spec.quality[1].column", "range is about a column"),
        ({"column": "x", "pattern": "[a"}, "spec.quality[1].pattern", r"'\[a' is no regular expression: missing \]"),
        (
            {"column": "x", "pattern": "(?!a)"},
            "spec.quality[1].pattern",
            r"no regular expression: .*without look-around",
        ),
        ({"predicate": "now() > x"}, "spec.quality[1].predicate", "now"),
        ({"predicate": "request.a > x"}, "spec.quality[1].predicate", "of a request"),
    ],
)
def test_a_rule_that_means_nothing_is_refused_with_its_field(rule: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(RejectError, match=said) as raised:
        rules({"column": "x", "min": 1}, rule)
    assert raised.value.field == field


def test_definitions_with_rules_can_be_compared_and_hashed() -> None:
    def made() -> Definition:
        checks = rules({"column": "x", "allowed": [1]})
        return Definition(**{**vars(V), "quality": checks})

    assert made() == made()
    assert hash(made().quality) == hash(made().quality)
