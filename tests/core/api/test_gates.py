"""Gates that cannot be judged are refused as they are applied."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api.checking import check
from tests import builders

ROWS = {"uri": "s3://eval/holdout.parquet", "label": "target"}


def said_of(gates: dict[str, Any]) -> str:
    built = builders.model_deployment("m", "s3://models/m.onnx", "shop").having("spec.gates", gates).build()
    return "; ".join(f"{fault.field}: {fault.message}" for fault in check(built).faults)


@pytest.mark.parametrize(
    "rule",
    [
        {"metric": "f1", "min": 0.85},
        {"metric": "auc", "notWorseThan": "champion", "margin": 0.005},
        {"metric": "rmse", "max": 12},
        {"metric": "accuracy", "min": 0.5, "max": 0.999},
        {"output": "loss", "max": 0.3},
        {"latencyP99": "50ms"},
        {"latencyP50": "5ms", "rows": 64},
        {"maxSize": "500Mi"},
    ],
)
def test_what_can_be_judged_is_taken(rule: dict[str, Any]) -> None:
    assert said_of({"holdout": ROWS, "rules": [rule]}) == ""


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"holdout": ROWS, "rules": [{"metric": "f1", "min": 0.8, "maxSize": "5Mi"}]}, "exactly one of metric, output"),
    ({"holdout": ROWS, "rules": [{"min": 0.8}]}, "exactly one of metric, output"),
    ({"holdout": ROWS, "rules": [{"metric": "f1"}]}, "say what passes"),
    ({"holdout": ROWS, "rules": [{"metric": "f1", "min": 0.8, "notWorseThan": "champion"}]}, "say what passes"),
    ({"holdout": ROWS, "rules": [{"metric": "f1", "min": 0.9, "max": 0.8}]}, "min must not be greater than max"),
    ({"holdout": ROWS, "rules": [{"metric": "f1", "min": 1.5}]}, "no model passes: min is above 1"),
    ({"holdout": ROWS, "rules": [{"metric": "rmse", "max": -1}]}, "no model passes: max is below 0"),
    ({"holdout": ROWS, "rules": [{"metric": "f1", "min": 0.9, "margin": 0.1}]}, "margin belongs to notWorseThan"),
    ({"holdout": ROWS, "rules": [{"output": "loss", "notWorseThan": "champion"}]}, "whether more or less is better"),
    ({"rules": [{"latencyP99": "50ms", "min": 1}]}, "min, max and notWorseThan are about a metric"),
    ({"holdout": ROWS, "rules": [{"metric": "f1", "min": 0.9, "rows": 8}]}, "rows belongs to a latency"),
    ({"rules": [{"metric": "f1", "min": 0.9}]}, "say in holdout where they are"),
    ({"rules": [{"metric": "auc", "notWorseThan": "champion"}]}, "say in holdout where they are"),
    ({"rules": [{"output": "loss", "max": 0.9}]}, "say in holdout where they are"),
    ({"holdout": ROWS | {"minRows": 500, "maxRows": 100}, "rules": [{"maxSize": "5Mi"}]}, "minRows must not be"),
    ({"holdout": ROWS | {"uri": "https://me:pw@h/x"}, "rules": [{"maxSize": "5Mi"}]}, "a user or password is in uri"),
    ({"rules": []}, "at least 1 item"),
    ({"holdout": ROWS, "rules": [{"metric": "gini", "min": 0.5}]}, "gini"),
]


@pytest.mark.parametrize(("gates", "words"), REFUSED)
def test_what_cannot_be_judged_is_refused_and_says_why(gates: dict[str, Any], words: str) -> None:
    assert words in said_of(gates)
