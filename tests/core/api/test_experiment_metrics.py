"""What a spec of metrics may hold: what is refused names the field and says what is expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace_core.api import checking
from millrace_core.schema import compile_schema
from tests import builders

CRD = Path(__file__).parents[3] / "crds" / "experiments.yaml"

GUARDRAIL: dict[str, Any] = {
    "name": "errors",
    "role": "guardrail",
    "abortAbove": 0.02,
    "source": {"prometheus": 'sum(rate(errors{deployment="{{deployment}}"}[{{interval}}]))'},
}


PRIMARY: dict[str, Any] = {
    "name": "ctr",
    "role": "primary",
    "kind": "proportion",
    "mde": "2%",
    "baseline": 0.1,
    "source": {"outcome": "click"},
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
        ({"source": {}}, "a metric has one source: prometheus, a query; outcome"),
        ({"source": {"comparison": {"output": "y", "measure": "psi"}}}, "a comparison needs spec.type Shadow"),
        ({"source": {"comparison": {"output": "y", "measure": "kl"}}}, "spec.metrics[0].source.comparison.measure"),
        ({"source": {"prometheus": "x", "outcome": "click"}}, "a metric has one source"),
        ({"source": {"prometheus": "x", "denominator": "visit"}}, "denominator is of an outcome"),
        ({"source": {"prometheus": "rate(x[{{window}}])"}}, "after {{ one of service, deployment, namespace, arm and"),
        ({"source": {"prometheus": "rate(x[{{ interval }}])"}}, "without blanks"),
        ({"abortAbove": None}, "a guardrail of Prometheus needs abortAbove or abortBelow"),
        ({"role": "secondary"}, "no other metric has them"),
        ({"role": "primary"}, "the primary metric is an outcome of units"),
        ({"kind": "mean"}, "no other metric has one"),
        ({"margin": 0.1}, "margin is how much worse a guardrail over outcomes may be"),
        ({"abortBelow": 0.02}, "abortBelow must be less than abortAbove"),
        ({"abortAbove": "400ms"}, "spec.metrics[0].abortAbove"),
    ],
)
def test_a_metric_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    metric = {key: value for key, value in {**GUARDRAIL, **changes}.items() if value is not None}
    assert said in faults(metric)


def test_outcomes_of_every_kind_and_role_are_taken() -> None:
    ratio = {"source": {"outcome": "click", "denominator": "visit"}, "kind": "ratio"}
    metrics = [
        {**PRIMARY, **ratio, "variance": 0.4},
        {"name": "orders", "role": "guardrail", "kind": "mean", "margin": 0.1, "source": {"outcome": "order.value"}},
        {"name": "depth", "role": "secondary", **ratio},
    ]
    assert not faults(*metrics, analysis={"method": "groupSequential", "alpha": 0.01, "srm": 0.01, "minUnits": 500})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mde": None}, "the primary metric needs mde and baseline"),
        ({"baseline": None}, "the primary metric needs mde and baseline"),
        ({"mde": "0"}, "an effect of 0 is never found"),
        ({"mde": "0.0%"}, "an effect of 0 is never found"),
        ({"mde": "much"}, "spec.metrics[0].mde"),
        ({"mde": "-2%"}, "spec.metrics[0].mde"),
        ({"kind": None}, "an outcome needs a kind"),
        ({"kind": "mean"}, "needs the variance of a unit"),
        ({"kind": "mean", "variance": 0.0}, "spec.metrics[0].variance"),
        ({"variance": 0.1}, "no other has one"),
        ({"kind": "ratio", "variance": 1.0}, "a ratio needs source.denominator"),
        ({"abortAbove": 1.0}, "no other metric has them"),
        ({"direction": "up"}, "spec.metrics[0].direction"),
        ({"role": "secondary"}, "no other metric has them"),
    ],
)
def test_a_primary_metric_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in faults({key: value for key, value in {**PRIMARY, **changes}.items() if value is not None})


def test_two_primary_metrics_are_refused() -> None:
    assert "at most one of spec.metrics may have the role primary" in faults(PRIMARY, {**PRIMARY, "name": "b"})


def test_a_canary_has_no_primary_metric() -> None:
    built = builders.canary("c", "shop", "v1", "v2", [{"weight": 5}]).having("spec.metrics", [PRIMARY])
    assert "a primary metric decides an ABTest" in "\n".join(map(str, checking.check(built.build()).faults))


def test_two_metrics_of_one_name_are_refused() -> None:
    assert "Duplicate" in faults(GUARDRAIL, GUARDRAIL)


@pytest.mark.parametrize(
    ("analysis", "said"),
    [
        ({"interval": "0s"}, "at least 1s"),
        ({"interval": "100ms"}, "spec.analysis.interval"),
        ({"failureLimit": 0}, "spec.analysis.failureLimit"),
        ({"maxHold": "soon"}, "spec.analysis.maxHold"),
        ({"alpha": 0.0}, "alpha is expected above 0 and below 0.5"),
        ({"alpha": 0.5}, "alpha is expected above 0 and below 0.5"),
        ({"power": 1.0}, "power is expected between 0 and 1"),
        ({"srm": 0.5}, "srm is expected above 0 and below 0.5"),
        ({"minUnits": 1}, "spec.analysis.minUnits"),
        ({"method": "bayes"}, "spec.analysis.method"),
    ],
)
def test_an_analysis_that_cannot_be_is_refused(analysis: dict[str, Any], said: str) -> None:
    assert said in faults(GUARDRAIL, analysis=analysis)


def test_an_analysis_of_nothing_is_refused() -> None:
    assert "spec.analysis needs spec.metrics" in faults(analysis={"interval": "30s"})


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("spec.metrics", [{**PRIMARY, "mde": "3%"}], "the primary metric is frozen"),
        ("spec.metrics", None, "the primary metric is frozen"),
        ("spec.analysis", {"alpha": 0.1}, "method, alpha, power and srm of spec.analysis are frozen"),
        ("spec.analysis", {"method": "fixed"}, "are frozen in status.plan"),
        ("spec.analysis", {"srm": 0.01}, "are frozen in status.plan"),
        ("spec.analysis", None, "are frozen in status.plan"),
        ("spec.analysis", {"maxRuntime": "60d", "interval": "5m"}, ""),
        ("spec.metrics", [PRIMARY, GUARDRAIL], ""),
    ],
)
def test_what_was_planned_is_frozen_once_it_is_ready_and_the_rest_is_not(path: str, value: Any, said: str) -> None:
    crd = yaml.load(CRD.read_text(), yaml.CSafeLoader)
    schema = compile_schema(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    before = builders.experiment("ab", "shop", "v1", "v2").having("spec.metrics", [PRIMARY])
    before = before.having("spec.analysis", {"interval": "60s"})
    plan = {"metric": "ctr", "units": 1, "total": 1, "method": "sequential", "alpha": 0.05, "srm": 0.001}
    before = before.having("status", {"phase": "Running", "definition": "sha256:0", "plan": plan})
    after = before.having(path, value) if value is not None else before.without(path)
    old, new = before.build(), after.build()
    schema.default(old)
    schema.default(new)
    found = "\n".join(map(str, schema.validate(new, old)))
    assert said in found if said else not found
