"""What live models read of a view is changed, taken away or deleted only once they have left, or by force."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from millrace_core.api import names
from millrace_core.api.group import FORCE_ANNOTATION
from millrace_kube.cache import Cache
from millrace_kube.resources import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DEPLOYMENTS,
    EXPERIMENTS,
    FEATURE_VIEWS,
    JOBS,
    MODEL_DEPLOYMENTS,
    SECRETS,
    Object,
    name_of,
)
from millrace_kube.writes import InOrder
from millrace_operators.featureview import handlers
from millrace_operators.featureview.acceptance import accept
from millrace_operators.featureview.observe import observe
from millrace_operators.featureview.plan import plan
from millrace_operators.featureview.protection import Ruling
from millrace_operators.featureview.readers import readers
from millrace_operators.featureview.writes import FINALIZER, writes
from tests.builders import experiment, model_deployment
from tests.operators.featureview.life import NOON, PLATFORM
from tests.operators.featureview.world import World, Worlds, clicks
from tests.operators.harness import Api, eventually

AMOUNT = {"name": "amount", "type": "float64"}
VISITS = {"name": "visits", "type": "int64"}
CHANGES: dict[str, dict[str, Any]] = {
    "removed": {"features": [VISITS]},
    "retyped": {"features": [{"name": "amount", "type": "float32"}, VISITS]},
    "column": {"features": [{**AMOUNT, "column": "price"}, VISITS]},
    "aggregate": {
        "features": [{**AMOUNT, "aggregate": {"function": "sum", "column": "amount", "window": "1d"}}, VISITS]
    },
    "expression": {"features": [{**AMOUNT, "expression": "visits * 2.0"}, VISITS]},
    "where": {"source": {"where": "visits > 1"}},
    "time": {"source": {"timestampField": "written_at"}},
    "source": {"source": {"parquet": {"uri": "file:///elsewhere/"}}},
    "entity": {"entities": [{"name": "customer_id", "type": "int64"}]},
    "offline": {"online": {"enabled": False}},
}


async def living(worlds: Worlds) -> World:
    """A view that ranker reads."""
    world = worlds()
    world.create(clicks())
    world.reader("ranker", "clicks:amount")
    await world.settle()
    return world


def stored(world: World) -> Object:
    view = world.view()
    assert view is not None
    return view


def force(world: World) -> None:
    generation = str(stored(world)["metadata"]["generation"])
    assert f"{FORCE_ANNOTATION}={generation}" in world.said("Ready"), "the line to type is there"
    world.edit({"metadata": {"annotations": {FORCE_ANNOTATION: generation}}})


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_under_a_reader_is_refused_and_the_former_definition_stays_in_effect(
    worlds: Worlds, change: str
) -> None:
    world = await living(worlds)
    before, hashed = world.in_effect(), stored(world)["status"]["schemaHash"]
    world.edit({"spec": CHANGES[change]})
    await world.settle()
    assert world.condition("Accepted") == ("False", "InUse")
    assert world.condition("Ready") == ("False", "InUse")
    assert "ranker" in world.said("Accepted")
    assert "amount" in world.said("Accepted") or change == "entity"
    status = stored(world)["status"]
    assert status["definition"] == before == world.in_effect()
    assert status["schemaHash"] == hashed
    assert status["observedGeneration"] == stored(world)["metadata"]["generation"]


async def test_a_refused_change_is_told_once_and_a_restart_forgets_nothing(worlds: Worlds) -> None:
    world = await living(worlds)
    world.edit({"spec": CHANGES["where"]})
    await world.settle()
    before = world.writes
    world._cache = None
    await world.settle()
    assert world.writes == before
    assert len([reason for reason, _ in world.events() if reason == "InUse"]) == 1
    assert world.wake is not None
    assert world.wake.after <= 10, "it is looked at again"


async def test_a_spec_that_goes_back_is_accepted(worlds: Worlds) -> None:
    world = await living(worlds)
    world.edit({"spec": CHANGES["where"]})
    await world.settle()
    world.edit({"spec": {"source": {"where": None}}})
    await world.settle()
    assert world.condition("Accepted") == ("True", "Valid")


@pytest.mark.parametrize("leave", ["moves", "goes"])
async def test_a_refused_change_takes_effect_once_no_reader_is_left(worlds: Worlds, leave: str) -> None:
    world = await living(worlds)
    world.edit({"spec": CHANGES["removed"]})
    await world.settle()
    if leave == "moves":
        world.reader("ranker", "clicks:visits")
    else:
        world.api.delete(MODEL_DEPLOYMENTS, world.namespace, "ranker")
    await world.settle()
    assert world.condition("Accepted") == ("True", "Valid")
    assert [each["name"] for each in world.in_effect()["features"]] == ["visits"]


async def test_a_revision_that_still_runs_reads_what_it_was_made_with(worlds: Worlds) -> None:
    world = await living(worlds)
    labels = {names.MANAGED_BY: "millrace", names.DEPLOYMENT: "ranker"}
    metadata = {"name": "ranker-1", "namespace": world.namespace, "labels": labels}
    content = {"features": {"refs": ["clicks:amount"]}}
    world.api.create(CONTROLLER_REVISIONS, {"metadata": metadata, "revision": 1, "data": {"content": content}})
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "serve", "image": "x"}]}}
    spec = {"selector": {"matchLabels": labels}, "template": pod}
    world.api.create(DEPLOYMENTS, {"metadata": metadata, "spec": spec})
    world.reader("ranker", "clicks:visits")
    world.edit({"spec": CHANGES["removed"]})
    await world.settle()
    assert world.condition("Accepted") == ("False", "InUse")
    world.api.delete(DEPLOYMENTS, world.namespace, "ranker-1")
    await world.settle()
    assert world.condition("Accepted") == ("True", "Valid")


async def test_a_change_is_forced_by_its_generation_alone_and_says_whom_it_breaks(worlds: Worlds) -> None:
    world = await living(worlds)
    world.edit({"spec": CHANGES["where"], "metadata": {"annotations": {FORCE_ANNOTATION: "1"}}})
    await world.settle()
    assert world.condition("Accepted") == ("False", "InUse"), "one generation's force is no other's"
    assert "(it is '1', which forces nothing now)" in world.said("Accepted")
    force(world)
    await world.settle()
    assert world.condition("Accepted") == ("True", "Valid")
    assert world.in_effect()["source"]["where"] == "visits > 1"
    [told] = [message for reason, message in world.events() if reason == "Forced"]
    assert "ranker" in told
    world.edit({"spec": {"source": {"where": "visits > 2"}}})
    await world.settle()
    assert world.condition("Accepted") == ("False", "InUse"), "the next one is refused again"


async def test_no_detour_leads_over_a_view_that_is_offline_meanwhile(worlds: Worlds) -> None:
    world = await living(worlds)
    world.edit({"spec": CHANGES["offline"]})
    await world.settle()
    world.edit({"spec": CHANGES["retyped"]})
    await world.settle()
    world.edit({"spec": {"online": {"enabled": True}}})
    await world.settle()
    assert world.condition("Accepted") == ("False", "InUse")
    assert world.in_effect()["features"][0] == AMOUNT


async def test_what_changes_no_meaning_is_free(worlds: Worlds) -> None:
    world = await living(worlds)
    world.edit({"spec": {"ttl": "1d", "owner": "me", "tags": {"a": "b"}, "materialization": {"schedule": "7 * * * *"}}})
    world.edit({"spec": {"features": [{"name": "new", "type": "string"}, AMOUNT]}})
    await world.settle()
    assert world.condition("Accepted") == ("True", "Valid")
    assert world.in_effect()["ttl"] == "1d"
    assert [each["name"] for each in world.in_effect()["features"]] == ["new", "amount"]
    assert world.api.list(CRON_JOBS, world.namespace)[0]["spec"]["schedule"] == "7 * * * *"


async def test_runs_commands_and_children_go_on_while_a_change_is_refused(worlds: Worlds) -> None:
    world = await living(worlds)
    world.edit({"spec": CHANGES["where"]})
    await world.settle()
    [job] = world.jobs()
    world.succeed(job)
    await world.settle()
    assert world.condition("Materialized") == ("True", "Covered")
    world.edit({"metadata": {"annotations": {"millrace.dev/command": "1:materialize"}}})
    world.api.delete(CRON_JOBS, world.namespace, "fv-clicks")
    await world.settle()
    [job] = world.jobs()
    assert "visits > 1" not in str(job["spec"]["template"])
    assert "where" not in world.in_effect()["source"]


async def test_a_definition_that_is_wrong_leaves_the_former_one_in_effect(worlds: Worlds) -> None:
    world = await living(worlds)
    world.edit({"spec": {"features": [{**AMOUNT, "expression": "nonsense("}]}})
    await world.settle()
    assert world.condition("Accepted")[0] == "False"
    assert world.in_effect()["features"][0] == AMOUNT
    [job] = world.jobs()
    world.succeed(job)
    await world.settle()
    assert world.condition("Materialized") == ("True", "Covered")


async def test_a_model_that_comes_while_a_change_is_made_is_not_overlooked(worlds: Worlds) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    world.edit({"spec": CHANGES["where"]})
    world.after_listing = lambda: world.reader("ranker", "clicks:amount")
    await world.turn()
    assert world.condition("Accepted") == ("False", "InUse")
    assert "where" not in world.in_effect()["source"]


async def test_a_model_that_comes_while_a_view_is_deleted_is_not_overlooked(worlds: Worlds) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    world.after_listing = lambda: world.reader("ranker", "clicks:amount")
    await world.turn()
    assert world.condition("Deletable") == ("False", "InUse")
    assert world.in_effect()["features"][0] == AMOUNT


async def test_a_deletion_waits_for_the_readers_and_the_view_works_meanwhile(worlds: Worlds) -> None:
    world = await living(worlds)
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    await world.settle()
    assert world.condition("Deletable") == ("False", "InUse")
    assert world.condition("Ready") == ("False", "InUse")
    assert "ranker reads amount" in world.said("Ready")
    [job] = world.jobs()
    world.succeed(job)
    await world.settle()
    assert world.condition("Materialized") == ("True", "Covered")
    world.now += timedelta(days=1)
    await world.settle()
    assert stored(world)["metadata"]["finalizers"] == [FINALIZER], "however long it lasts"
    assert world.api.list(CRON_JOBS, world.namespace) != []
    world.api.delete(MODEL_DEPLOYMENTS, world.namespace, "ranker")
    await world.settle()
    assert world.condition("Deletable") == ("True", "Unused")
    [purge] = world.jobs()
    assert purge["spec"]["template"]["spec"]["containers"][0]["args"] == ["purge"], "it has all its time"
    world.end(purge, "Complete", 0, "{}")
    await world.settle()
    assert world.view() is None


async def test_a_deletion_is_forced_by_the_line_that_the_condition_says(worlds: Worlds) -> None:
    world = await living(worlds)
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    await world.settle()
    force(world)
    await world.settle()
    assert world.condition("Deletable") == ("True", "Forced")
    assert "ranker" in world.said("Deletable")
    [purge] = [job for job in world.jobs() if job["spec"]["template"]["spec"]["containers"][0]["args"] == ["purge"]]
    world.end(purge, "Complete", 0, "{}")
    await world.settle()
    assert world.view() is None


async def test_a_view_that_was_let_go_once_is_not_held_again(worlds: Worlds) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    await world.turn()
    world.reader("ranker", "clicks:amount")
    await world.settle()
    assert world.condition("Deletable") == ("True", "Unused")
    [purge] = world.jobs()
    world.end(purge, "Complete", 0, "{}")
    await world.settle()
    assert world.view() is None


async def test_a_change_of_a_view_that_waits_for_its_deletion_is_judged_as_any(worlds: Worlds) -> None:
    world = await living(worlds)
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    await world.settle()
    world.edit({"spec": CHANGES["where"]})
    await world.settle()
    assert world.condition("Accepted") == ("False", "InUse")
    assert "where" not in world.in_effect()["source"]


async def test_a_view_that_is_made_anew_is_another_one(worlds: Worlds) -> None:
    world = await living(worlds)
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    await world.settle()
    world.edit({"metadata": {"finalizers": None}})  # somebody does it by hand
    assert world.view() is None
    for job in world.api.list(JOBS, world.namespace):
        world.api.delete(JOBS, world.namespace, name_of(job))
    world.create(clicks().having("spec.source.where", "visits > 1"))
    await world.settle()
    assert world.condition("Accepted") == ("True", "Valid")
    assert world.in_effect()["source"]["where"] == "visits > 1"
    world.edit({"spec": {"source": {"where": None}}})
    await world.settle()
    assert world.condition("Accepted") == ("False", "InUse"), "from then on it is protected"


async def test_a_deletion_in_the_foreground_is_not_fought_and_the_view_works_on_afterwards(
    worlds: Worlds, api: Api
) -> None:
    world = await living(worlds)
    [before] = api.list(CRON_JOBS, world.namespace)
    api.delete(FEATURE_VIEWS, world.namespace, "clicks", "Foreground")
    # The garbage collector deletes the children, and then takes its own finalizer away.
    await eventually(lambda: stored(world)["metadata"]["finalizers"] == [FINALIZER])
    await world.settle()
    assert world.condition("Deletable") == ("False", "InUse")
    [after] = api.list(CRON_JOBS, world.namespace)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


def test_nothing_is_made_while_kubernetes_deletes_the_children() -> None:
    view = placed(clicks().build())
    view["metadata"] |= {"uid": "u", "generation": 2, "deletionTimestamp": "2026-11-20T12:00:00Z"}
    cache = Cache()
    for finalizers, made in (([FINALIZER], True), ([FINALIZER, "foregroundDeletion"], False)):
        view["metadata"]["finalizers"] = finalizers
        observed = observe(cache, Ruling(view), accept(view), PLATFORM, NOON, held="in use")
        listed = writes(PLATFORM, observed, plan(observed))
        assert any(isinstance(each, InOrder) for each in listed) == made


async def test_no_run_goes_by_a_definition_that_a_restart_would_not_know(worlds: Worlds) -> None:
    for number in range(1, 4):
        world = worlds()
        world.create(clicks())
        await world.settle()
        before = world.in_effect()
        world._kill_at = world.writes + number
        world.edit({"spec": {"source": {"parquet": {"uri": "file:///elsewhere/"}}}})
        await world.turn()
        assert world.in_effect() in (before, stored(world)["status"]["definition"]), f"killed before write {number}"


async def test_a_view_that_waits_keeps_the_secret_that_its_runs_need(worlds: Worlds, api: Api) -> None:
    world = worlds()
    world.platform = replace(PLATFORM, store_url="redis://:hunter2@store:6379", store_secret="mine")
    world.create(clicks())
    world.reader("ranker", "clicks:amount")
    await world.settle()
    api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    api.delete(SECRETS, world.namespace, names.STORE_SECRET)
    await world.settle()
    assert world.kills == 0
    assert api.get(SECRETS, world.namespace, names.STORE_SECRET) is not None


@pytest.mark.slow
async def test_a_kill_before_any_write_never_lets_a_refused_definition_through(worlds: Worlds) -> None:
    async def scenario(world: World) -> list[dict[str, Any]]:
        world.create(clicks())
        world.reader("ranker", "clicks:amount")
        await world.settle()
        world.edit({"spec": CHANGES["where"]})
        await world.settle()
        assert "where" not in world.in_effect()["source"]
        world.api.delete(MODEL_DEPLOYMENTS, world.namespace, "ranker")
        stories = [world.story()]
        await world.settle()
        assert world.in_effect()["source"]["where"] == "visits > 1"
        return [*stories, world.story()]

    unharmed = worlds()
    wanted = await scenario(unharmed)
    for number in range(1, unharmed.writes + 1):
        world = worlds(number)
        assert await scenario(world) == wanted, f"killed before write {number}"


def placed(document: Object) -> Object:
    document["metadata"] |= {"namespace": "shop", "resourceVersion": "1"}
    return document


def test_readers_are_named_with_the_experiments_that_run_through_them() -> None:
    cache = Cache()
    for name, refs in {"one": ["v as s(user_id=sender):a", "w:x"], "two": ["v:b", "v:a"], "three": ["w:v"]}.items():
        model = model_deployment(name).having("spec.features", {"refs": refs, "input": "x"})
        cache.upsert(MODEL_DEPLOYMENTS, placed(model.build()))
    cache.upsert(EXPERIMENTS, placed(experiment("ramp", "s", "one", "three").having("status.phase", "Paused").build()))
    cache.upsert(EXPERIMENTS, placed(experiment("old", "s", "one", "two").having("status.phase", "Succeeded").build()))
    assert readers(cache, "shop", "v") == {"one (arm of Experiment ramp)": ["a"], "two": ["a", "b"]}
    assert readers(cache, "elsewhere", "v") == {}


def test_a_reader_that_changes_wakes_the_views_that_wait_for_it() -> None:
    cache = Cache()
    for name, reason in {"clicks": "InUse", "stats": "Valid"}.items():
        view = clicks().having("metadata", {"name": name}).having("status.conditions", [{"reason": reason}])
        cache.upsert(FEATURE_VIEWS, placed(view.build()))
    assert list(handlers._waiting(cache, placed(model_deployment("m").build()))) == [("shop", "clicks")]
