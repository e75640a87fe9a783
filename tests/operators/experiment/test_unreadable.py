"""An Experiment that this release of the operator cannot read: what it has stays as it is, and it can be deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_operators.experiment import reading
from millrace_operators.experiment.observation import Unreadable
from millrace_operators.facts.fact import NO_FACTS
from millrace_operators.routing.state import LiveRoute, RouteObservation
from tests import builders
from tests.operators.experiment.test_reconcile import EXP, MD, SOON, champion, split
from tests.operators.world import World


@pytest.fixture
async def shop(world: World) -> World:
    """The service ``shop`` with the deployments v1 (champion) and v2."""
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, f"file:///m/{name}.onnx", "shop").build())
    await world.settle()
    return world


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of Experiments that cannot be read."""
    names: set[str] = set()
    read = reading.load

    def load(model: type[Any], document: dict[str, Any]) -> Any:
        if document["metadata"]["name"] in names:
            raise RejectError("there is no such field", field="spec.new", reason="InvalidObject")
        return read(model, document)

    monkeypatch.setattr(reading, "load", load)
    return names


def ab_test(name: str = "ab") -> dict[str, Any]:
    return builders.experiment(name, "shop", "v1", "v2").build()


async def test_one_that_runs_keeps_its_split_and_the_service_and_goes_on_once_it_can_be_read(
    shop: World, unreadable: set[str]
) -> None:
    shop.apply(ab_test())
    await shop.settle()
    unreadable.add("ab")
    shop.apply(ab_test("other"))
    await shop.settle()
    assert split(shop) == {"v1": 80, "v2": 20}
    assert shop.condition(EXP, "ab", "Accepted")[:2] == ("False", "InvalidObject")
    assert shop.condition(EXP, "ab", "RouteProgrammed")[:2] == ("Unknown", "Held")
    assert shop.condition(EXP, "other", "Accepted")[:2] == ("False", "ServiceBusy")
    unreadable.clear()
    shop.touched(EXP)
    await shop.settle()
    assert (split(shop), shop.condition(EXP, "ab", "RouteProgrammed")[0]) == ({"v1": 80, "v2": 20}, "True")
    assert shop.status(EXP, "other")["phase"] == "Pending"


async def test_one_that_has_not_started_keeps_nothing(shop: World, unreadable: set[str]) -> None:
    unreadable.add("ab")
    shop.apply(ab_test())
    shop.apply(ab_test("other"))
    await shop.settle()
    assert (shop.status(EXP, "other")["phase"], split(shop)) == ("Running", {"v1": 80, "v2": 20})


async def test_one_that_is_deleted_while_it_runs_goes_after_traffic_is_back(shop: World, unreadable: set[str]) -> None:
    shop.apply(ab_test())
    await shop.settle()
    unreadable.add("ab")
    await shop.settle()
    shop.now += timedelta(minutes=1)  # all that was changed so far has reached every proxy
    shop.delete(EXP, "ab")
    await shop.turn()
    assert split(shop) == {"v1": 100}
    assert shop.get(EXP, "ab") is not None, "its subset has to settle first"
    await shop.settle()
    assert (shop.get(EXP, "ab"), champion(shop)) == (None, "v1")


async def test_one_in_a_phase_of_a_newer_release_keeps_its_split(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    path = f"{EXP.path(shop.namespace, 'ab')}/status"
    header = {"content-type": "application/merge-patch+json"}
    assert shop.http.patch(path, json={"status": {"phase": "Draining"}}, headers=header).status_code == 200
    shop.touched(EXP)
    await shop.settle(horizon=SOON)
    assert (split(shop), shop.status(EXP, "ab")["phase"]) == ({"v1": 80, "v2": 20}, "Draining")
    refused = shop.condition(EXP, "ab", "Accepted")
    assert refused[:2] == ("False", "UnknownPhase")
    assert "upgrade the operator" in refused[2]
    shop.delete(MD, "v2")
    await shop.settle(horizon=SOON)
    assert split(shop) == {"v1": 80, "v2": 20}


def test_one_of_a_later_release_is_told_so_though_its_fields_are_not_known_either() -> None:
    document = ab_test()
    later = {**document, "spec": {**document["spec"], "later": 1}, "status": {"phase": "Sampling"}}
    route = RouteObservation("shop", "default", (), LiveRoute(), datetime(2026, 1, 1, tzinfo=UTC))
    [found] = reading.read_all([later], route, {}, NO_FACTS)
    assert isinstance(found, Unreadable)
    assert found.error.reason == reading.UNKNOWN_PHASE
