"""How long and how often a request is tried, and when a pod is left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_operators.operator.settings import OperatorSettings
from millrace_operators.resilience import Resilience
from millrace_operators.routing import observe
from millrace_operators.routing.champion import desired_route
from millrace_operators.routing.desired import route_objects
from millrace_operators.routing.state import LiveRoute, RouteObjects, RouteObservation, RouteTarget
from tests.builders import model_deployment
from tests.operators import golden

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def target(queue: str | None = None, name: str = "fraud") -> RouteTarget:
    built = model_deployment(name)
    document = (built if queue is None else built.having("spec.inference", {"queue": {"timeout": queue}})).build()
    document["metadata"]["uid"] = name
    return observe.target(document)


def objects_of(*targets: RouteTarget, resilience: Resilience | None = None) -> RouteObjects:
    observation = RouteObservation("fraud", "default", targets, LiveRoute(), NOW, resilience=resilience or Resilience())
    objects = route_objects(desired_route(observation, None), observation.live)
    assert objects is not None
    for item in (objects.rule, objects.route):
        golden.check_schema(item)
    return objects


def tries(objects: RouteObjects) -> dict[str, Any]:
    rule = objects.route["spec"]["http"][0]
    return {"timeout": rule["timeout"], **rule["retries"]}


def test_a_try_takes_as_long_as_a_request_may_wait_for_its_turn_and_its_own_time_beside() -> None:
    assert tries(objects_of(target()))["perTryTimeout"] == "16s"
    assert tries(objects_of(target("1m500ms"), target("2s", "other")))["perTryTimeout"] == "75.5s"
    assert tries(objects_of(target("1m500ms")))["timeout"] == "151s"


def test_without_retries_a_request_has_the_time_of_one_try() -> None:
    found = tries(objects_of(target(), resilience=Resilience(retries=0, try_timeout="3s")))
    assert found == {"attempts": 0, "timeout": "4s"}


def test_pods_are_not_left_alone_where_the_platform_does_not_want_it() -> None:
    assert "outlierDetection" in objects_of(target()).rule["spec"]["trafficPolicy"]
    policy = objects_of(target(), resilience=Resilience(eject_after=0)).rule["spec"]["trafficPolicy"]
    assert policy.keys() == {"connectionPool"}


def test_the_operators_setting_is_json_that_names_what_differs() -> None:
    found = OperatorSettings.load({"MILLRACE_RESILIENCE": '{"tryTimeout": "1m", "retries": 1}'}).platform().resilience
    assert found == Resilience(try_timeout="1m", retries=1)
    assert OperatorSettings.load({}).platform().resilience == Resilience()
    for wrong in ('{"tries": 3}', '{"tryTimeout": "fast"}', '{"ejectFor": "0s"}', '{"retries": 11}'):
        with pytest.raises(RejectError, match="MILLRACE_RESILIENCE"):
            OperatorSettings.load({"MILLRACE_RESILIENCE": wrong})
