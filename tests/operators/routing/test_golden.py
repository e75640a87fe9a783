"""The four objects of a route as YAML, accepted by Kubernetes' and Istio's own schemas."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace_operators.routing.state import (
    Champion,
    DesiredRoute,
    HeaderRule,
    LiveRoute,
    Previewed,
    RouteTarget,
    Split,
)
from tests.operators import golden
from tests.operators.routing.applying import next_changes

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
V1 = RouteTarget("recommendation-v1", "uid-1", "2026-01-01T00:00:00Z", "recommendation-v1-6f1c2a7b", ready=True)
V2 = RouteTarget("recommendation-v2", "uid-2", "2026-01-02T00:00:00Z", "recommendation-v2-0a1b2c3d", ready=True)
SPLIT = Split(
    "recommendation-ab",
    "recommendation-v1",
    {"recommendation-v1": 80, "recommendation-v2": 20},
    (
        HeaderRule("override-0", "x-try", "v2", "recommendation-v2"),
        HeaderRule("arm-champion", "x-millrace-arm", "champion", "recommendation-v1"),
        HeaderRule("arm-v2", "x-millrace-arm", "v2", "recommendation-v2"),
    ),
    unit_header="x-user-id",
)
NEW = RouteTarget("recommendation-v1", "uid-1", "")

CASES: dict[str, DesiredRoute] = {
    "before-a-champion": DesiredRoute("recommendation", "recsys", (NEW,), Champion(), NEW, None, 5),
    "champion": DesiredRoute(
        "recommendation", "recsys", (V1, V2), Champion("recommendation-v1", ("recommendation-v2",)), V1, None, 5
    ),
    "split": DesiredRoute("recommendation", "recsys", (V1, V2), Champion("recommendation-v1"), V1, SPLIT, 5),
    "delegate": DesiredRoute(
        "recommendation", "recsys", (V1,), Champion("recommendation-v1"), V1, None, 5, roots=("shop",)
    ),
    "copies": DesiredRoute(
        "recommendation",
        "recsys",
        (V1, V2),
        Champion("recommendation-v1"),
        V1,
        Split(
            "recommendation-copies",
            "recommendation-v1",
            {"recommendation-v1": 100, "recommendation-v2": 0},
            arms=("recommendation-v1", "recommendation-v2"),
            mirrors={"recommendation-v2": 25},
        ),
        5,
    ),
    "preview": DesiredRoute(
        "recommendation",
        "recsys",
        (V1,),
        Champion("recommendation-v1"),
        V1,
        None,
        5,
        previewed=Previewed("recommendation-v1", "recommendation-v1-4e5f6a7b"),
    ),
}


def objects(case: str) -> tuple[dict[str, Any], ...]:
    return next_changes(CASES[case], LiveRoute(), NOW).apply


@pytest.mark.parametrize("case", CASES)
def test_golden_route(case: str) -> None:
    golden.check(GOLDEN / f"{case}.yaml", objects(case))


@pytest.mark.parametrize("case", CASES)
def test_those_who_read_the_route_accept_it(case: str) -> None:
    for document in objects(case):
        golden.check_schema(document)
