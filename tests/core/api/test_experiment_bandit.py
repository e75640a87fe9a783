"""What a Bandit may hold, and what is refused with the field named."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api import checking
from tests import builders

METRIC = {"name": "ctr", "role": "primary", "kind": "proportion", "source": {"outcome": "click"}}


def faults(**changes: Any) -> str:
    built = builders.bandit("b", "shop", "v1", "v2")
    for name, value in changes.items():
        built = built.having(f"spec.{name}", value)
    return "\n".join(map(str, checking.check(built.build()).faults))


def test_a_bandit_with_a_primary_metric_is_taken() -> None:
    assert not faults()
    assert not faults(bandit={"floor": 0.5, "every": "15m", "decay": 1.0}, analysis={"minUnits": 500, "alpha": 0.01})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bandit": {"floor": 0.0}}, "a share from 0.01 to 0.5 is expected"),
        ({"bandit": {"floor": "much"}}, "spec.bandit.floor"),
        ({"bandit": {"every": "30s"}}, "at least 1m"),
        ({"bandit": {"every": "daily"}}, "spec.bandit.every"),
        ({"bandit": {"decay": 0.0}}, "a factor above 0 and up to 1 is expected"),
        ({"bandit": {"decay": 1.01}}, "a factor above 0 and up to 1 is expected"),
        ({"steps": [{"weight": 5}]}, "a Bandit has no weights and no steps"),
        ({"metrics": [{**METRIC, "role": "secondary"}]}, "a Bandit needs a primary metric"),
        ({"metrics": [{**METRIC, "mde": "2%", "baseline": 0.1}]}, "no size is planned for a Bandit"),
        ({"metrics": [{**METRIC, "kind": "mean", "variance": 2.0}]}, "no other has one"),
        ({"analysis": {"method": "fixed"}}, "spec.analysis.method is of an ABTest"),
        ({"type": "Canary"}, "spec.bandit needs spec.type Bandit"),
    ],
)
def test_a_bandit_that_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in faults(**{"bandit": {}, **changes})


def test_floors_that_are_more_than_all_traffic_are_refused() -> None:
    arms = [{"name": f"v{n}", "deployment": f"v{n}", "control": n == 1} for n in range(1, 4)]
    assert not faults(arms=arms, bandit={"floor": 0.33})
    assert "more than all traffic" in faults(arms=arms, bandit={"floor": 0.34})


def test_an_ab_test_still_needs_its_mde() -> None:
    built = builders.experiment("ab", "shop", "v1", "v2").having("spec.metrics", [METRIC])
    assert "the primary metric of an ABTest needs mde and baseline" in "\n".join(
        map(str, checking.check(built.build()).faults)
    )
