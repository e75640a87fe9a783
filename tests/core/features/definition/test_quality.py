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
        ({"column": "x", "maxErrorRate": 0.1}, "spec.quality[1]", "exactly one of"),
        ({"maxErrorRate": 0.1, "min": 1}, "spec.quality[1].column", "range is about a column"),
        ({"freshness": "1h", "feature": "x"}, "spec.quality[1].feature", "belongs to maxErrorRate"),
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


def test_every_stored_expression_has_a_check_a_rule_for_all_is_one_per_feature_and_without_a_rule_it_warns() -> None:
    def checks(*documents: dict[str, Any]) -> list[tuple[str, str, float | None, bool]]:
        rules = [QualityRule.model_validate(document) for document in documents]
        found = quality.compile_error_checks(rules, ["a", "b"])
        return [(each.name, each.rule.severity, each.rule.max_error_rate, each.implied) for each in found]

    assert checks() == [("a.maxErrorRate", "warn", 0, True), ("b.maxErrorRate", "warn", 0, True)]
    assert checks({"maxErrorRate": 0.1}) == [
        ("a.maxErrorRate", "block", 0.1, False),
        ("b.maxErrorRate", "block", 0.1, False),
    ]
    assert checks({"maxErrorRate": 0.1, "feature": "b", "name": "few", "severity": "warn"}) == [
        ("few.maxErrorRate", "warn", 0.1, False),
        ("a.maxErrorRate", "warn", 0, True),
    ]
    assert [name for name, *_ in checks({"maxErrorRate": 1, "name": "few"})] == ["few.a", "few.b"]


@pytest.mark.parametrize(
    ("stored", "rule", "field", "said"),
    [
        (["a"], {"maxErrorRate": 0, "feature": "x"}, "spec.quality[0].feature", "'x' is no stored.*These are: a"),
        ([], {"maxErrorRate": 0}, "spec.quality[0].maxErrorRate", "no stored feature with an expression"),
    ],
)
def test_a_rule_about_expressions_that_no_run_evaluates_is_refused(
    stored: list[str], rule: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(RejectError, match=said) as raised:
        quality.compile_error_checks([QualityRule.model_validate(rule)], stored)
    assert raised.value.field == field
