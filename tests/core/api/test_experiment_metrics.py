"""What a spec of metrics may hold: what is refused names the field and says what is expected."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api import checking
from tests import builders

GUARDRAIL: dict[str, Any] = {
    "name": "errors",
    "role": "guardrail",
    "abortAbove": 0.02,
    "source": {"prometheus": 'sum(rate(errors{deployment="{{deployment}}"}[{{interval}}]))'},
}


def faults(*metrics: dict[str, Any], **spec: Any) -> str:
    built = builders.experiment("ab", "shop", "v1", "v2")
    built = built.having("spec.metrics", list(metrics)) if metrics else built
    for name, value in spec.items():
        built = built.having(f"spec.{name}", value)
    return "\n".join(map(str, checking.check(built.build()).faults))


def test_guardrails_and_secondary_metrics_are_taken() -> None:
    secondary = {"name": "cost", "role": "secondary", "source": {"prometheus": "cost{a='{b}'}"}}
    assert not faults(GUARDRAIL, secondary, analysis={"interval": "30s", "failureLimit": 3, "maxHold": "2h"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": None}, "spec.metrics[0].source"),
        ({"source": {}}, "prometheus"),
        ({"source": {"prometheus": "rate(x[{{window}}])"}}, "after {{ one of service, deployment, namespace, arm and"),
        ({"source": {"prometheus": "rate(x[{{ interval }}])"}}, "without blanks"),
        ({"abortAbove": None}, "a guardrail needs abortAbove or abortBelow"),
        ({"role": "secondary"}, "a secondary metric has neither"),
        ({"role": "primary"}, "spec.metrics[0].role"),
        ({"abortBelow": 0.02}, "abortBelow must be less than abortAbove"),
        ({"abortAbove": "400ms"}, "spec.metrics[0].abortAbove"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    metric = {key: value for key, value in {**GUARDRAIL, **changes}.items() if value is not None}
    assert said in faults(metric)


def test_two_metrics_of_one_name_are_refused() -> None:
    assert "Duplicate" in faults(GUARDRAIL, GUARDRAIL)


@pytest.mark.parametrize(
    ("analysis", "said"),
    [
        ({"interval": "0s"}, "at least 1s"),
        ({"interval": "100ms"}, "spec.analysis.interval"),
        ({"failureLimit": 0}, "spec.analysis.failureLimit"),
        ({"maxHold": "soon"}, "spec.analysis.maxHold"),
    ],
)
def test_an_analysis_that_cannot_be_is_refused(analysis: dict[str, Any], said: str) -> None:
    assert said in faults(GUARDRAIL, analysis=analysis)


def test_an_analysis_of_nothing_is_refused() -> None:
    assert "spec.analysis needs spec.metrics" in faults(analysis={"interval": "30s"})
