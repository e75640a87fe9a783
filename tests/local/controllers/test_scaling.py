"""ScaledObjects: how many replicas, and what is said where there is no Prometheus."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError, RetryError
from millrace_local.controllers.scaling.decide import Memory, decide
from millrace_local.controllers.scaling.prometheus import number
from millrace_local.controllers.scaling.spec import Scaling, read
from tests.local.controllers.world import START, Obj


def scaled_object(metadata: Obj | None = None, **spec: Any) -> Obj:
    trigger = {
        "type": "prometheus",
        "metadata": {
            "serverAddress": "http://prometheus:9090",
            "query": "sum(q)",
            "threshold": "5",
            **(metadata or {}),
        },
    }
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"scaleTargetRef": {"name": "web"}, "triggers": [trigger], "maxReplicaCount": 10, **spec},
    }


def scaling(metadata: Obj | None = None, **spec: Any) -> Scaling:
    return read(scaled_object(metadata, **{"minReplicaCount": 1, **spec}))


def replicas(what: Scaling, value: float | None, current: int, memory: Memory | None = None) -> int:
    return decide(what, [value], current, memory or Memory(), START).replicas


@pytest.mark.parametrize(
    ("value", "current", "expected"),
    [(5, 1, 1), (5.4, 1, 1), (5.6, 1, 2), (50, 1, 5), (50, 6, 10), (500, 6, 10), (0, 1, 1), (21, 4, 4), (23, 4, 5)],
)
def test_the_average_per_replica_is_kept_at_the_threshold(value: float, current: int, expected: int) -> None:
    assert replicas(scaling(), value, current) == expected


@given(st.floats(0, 1e6), st.integers(0, 20), st.integers(0, 5), st.integers(5, 30))
def test_replicas_stay_within_their_bounds(value: float, current: int, least: int, most: int) -> None:
    found = replicas(scaling(minReplicaCount=least, maxReplicaCount=most), value, current)
    assert least <= found <= most


def test_down_goes_only_what_was_not_asked_for_within_the_window() -> None:
    what, memory, now, current = scaling(), Memory(), START, 4
    seen = []
    for value in [40, 5, 5, 30, 5, 5, 5, 5, 5]:
        decision = decide(what, [value], current, memory, now)
        memory, current = decision.memory, decision.replicas
        seen.append(current)
        now += timedelta(seconds=100)
    assert seen == [8, 8, 8, 6, 6, 6, 1, 1, 1]


OURS = {
    "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}]},
    "scaleDown": {
        "stabilizationWindowSeconds": 0,
        "policies": [
            {"type": "Percent", "value": 10, "periodSeconds": 60},
            {"type": "Pods", "value": 1, "periodSeconds": 60},
        ],
    },
}


def behaving(behavior: Obj) -> Scaling:
    return scaling(advanced={"horizontalPodAutoscalerConfig": {"behavior": behavior}})


def followed(what: Scaling, values: list[float], seconds: float, current: int) -> list[int]:
    memory, now, seen = Memory(), START, []
    for value in values:
        decision = decide(what, [value], current, memory, now)
        memory, current, now = decision.memory, decision.replicas, now + timedelta(seconds=seconds)
        seen.append(current)
    return seen


def test_policies_limit_how_many_replicas_come_and_go_in_their_period() -> None:
    assert followed(behaving(OURS), [50] * 6, 5, 1) == [3, 3, 3, 5, 5, 5]
    assert followed(behaving(OURS), [0] * 6, 30, 4) == [3, 3, 2, 2, 1, 1]
    disabled = {"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}}
    assert followed(behaving(disabled), [0] * 3, 600, 4) == [4, 4, 4]


def test_the_least_of_several_policies_counts_where_it_is_selected() -> None:
    least = {**OURS["scaleDown"], "selectPolicy": "Min"}
    assert followed(behaving({"scaleDown": least}), [0], 30, 10) == [9]
    assert followed(behaving({"scaleDown": {**least, "policies": OURS["scaleUp"]["policies"]}}), [0], 30, 9) == [7]


def test_more_come_only_when_they_were_wanted_for_the_whole_window_of_scaling_up() -> None:
    slow = {"scaleUp": {"stabilizationWindowSeconds": 60}}
    assert followed(behaving(slow), [20, 20, 20, 20], 25, 1) == [1, 1, 1, 4]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("static", 3),
        ("currentReplicas", 5),
        ("currentReplicasIfHigher", 5),
        ("currentReplicasIfLower", 3),
    ],
)
def test_the_fallback_looks_at_the_present_replicas_as_it_says(kind: str, expected: int) -> None:
    what = scaling(fallback={"replicas": 3, "failureThreshold": 1, "behavior": kind})
    assert replicas(what, None, 5) == expected


def test_a_restart_does_not_scale_down_at_once() -> None:
    assert replicas(scaling(), 5, 8, Memory()) == 8


def test_to_zero_only_after_the_cool_down_and_back_up_at_once() -> None:
    what = scaling(minReplicaCount=0, cooldownPeriod=60)
    busy = decide(what, [3], 0, Memory(), START)
    assert (busy.replicas, busy.active) == (1, True)
    idle = decide(what, [0], 1, busy.memory, START + timedelta(seconds=59))
    assert (idle.replicas, idle.reason) == (1, "cooling down")
    assert decide(what, [0], 1, idle.memory, START + timedelta(seconds=60)).replicas == 0


def test_a_failed_poll_takes_nothing_away_and_falls_back_when_it_goes_on() -> None:
    what = scaling(fallback={"replicas": 6, "failureThreshold": 3})
    memory, seen = Memory(), []
    for _ in range(4):
        decision = decide(what, [None], 2, memory, START)
        memory = decision.memory
        seen.append((decision.replicas, decision.fell_back))
    assert seen == [(2, False), (2, False), (6, True), (6, True)]
    assert decide(what, [5], 2, memory, START).memory.failures == 0


def test_without_a_fallback_failed_polls_change_nothing() -> None:
    assert replicas(scaling(), None, 7) == 7


def test_a_total_value_scales_by_its_ratio() -> None:
    what = scaling()
    total = read(
        {**scaled_object(), "spec": {**scaled_object()["spec"], "triggers": [{**_trigger(), "metricType": "Value"}]}}
    )
    assert decide(total, [10], 3, Memory(), START).replicas == 6
    assert decide(what, [10], 3, Memory(), START).replicas == 3


def _trigger() -> Obj:
    found: Obj = scaled_object()["spec"]["triggers"][0]
    return found


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scaleTargetRef": {"name": "x", "kind": "Rollout"}}, "spec.scaleTargetRef.kind"),
        ({"triggers": [{"type": "cron", "metadata": {}}]}, "spec.triggers[0].type"),
        ({"triggers": [{"type": "prometheus", "metadata": {"query": "q"}}]}, "spec.triggers[0].metadata"),
        (
            {"triggers": [{"type": "prometheus", "metadata": {"query": "q", "threshold": "0"}}]},
            "spec.triggers[0].metadata.threshold",
        ),
    ],
)
def test_what_cannot_be_scaled_here_is_named(change: Obj, field: str) -> None:
    with pytest.raises(RejectError) as caught:
        read(scaled_object(**change))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "success", "data": {"resultType": "vector", "result": [{"value": [0, "3.5"]}]}}, 3.5),
        ({"status": "success", "data": {"resultType": "scalar", "result": [0, "2"]}}, 2.0),
        ({"status": "success", "data": {"resultType": "vector", "result": []}}, 0.0),
        ({"status": "success", "data": {"resultType": "vector", "result": [{"value": [0, "NaN"]}]}}, 0.0),
    ],
)
def test_answers_of_prometheus_are_read(body: Obj, expected: float) -> None:
    assert number(body, scaling().triggers[0]) == expected


@pytest.mark.parametrize(
    "body",
    [
        {"status": "error", "error": "parse error"},
        {"status": "success", "data": {"resultType": "vector", "result": [{"value": [0, "1"]}, {"value": [0, "2"]}]}},
        ["not", "prometheus"],
    ],
)
def test_answers_that_are_no_number_are_failures(body: Any) -> None:
    with pytest.raises(RetryError):
        number(body, scaling().triggers[0])
