"""A view reaches the same state whatever fails on the way: killed at any write, refused, cut off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from millrace_core.api import names
from millrace_kube.resources import (
    CRON_JOBS,
    EVENTS,
    FEATURE_VIEWS,
    JOBS,
    MODEL_DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
    Resource,
    annotations_of,
    name_of,
)
from millrace_operators.featureview.writes import FINALIZER
from tests.operators.featureview.life import PLATFORM
from tests.operators.featureview.world import World, Worlds, clicks
from tests.operators.harness import AGENT, WRITES, Api

Stories = list[dict[str, Any]]
Scenario = Callable[[World], Awaitable[Stories]]

FAULTS: list[dict[str, Any]] = [
    {"action": "dropAfter"},
    {"action": "status", "code": 409},
    {"action": "dropAfter"},
    {"action": "status", "code": 500},
    {"action": "status", "code": 429, "retryAfter": 1},
]


async def live(world: World) -> Stories:
    """A life: made, materialized, commanded, blocked, changed."""
    stories = []
    world.create(clicks())
    await world.settle()
    stories.append(world.story())
    [job] = world.jobs()
    world.succeed(job)
    await world.settle()
    stories.append(world.story())
    world.edit({"metadata": {"annotations": {"millrace.dev/command": "1:materialize"}}})
    await world.settle()
    [job] = world.jobs()
    failing = {"name": "amount.range", "severity": "block", "passed": False, "message": "1 of 5", "failing": 1}
    world.fail(job, "QualityBlocked", quality=[failing])
    await world.settle()
    assert world.condition("QualityOK") == ("False", "QualityBlocked")
    stories.append(world.story())
    world.edit({"spec": {"features": [{"name": "amount", "type": "int64"}]}})
    await world.settle()
    [job] = world.jobs()
    world.succeed(job)
    await world.settle()
    stories.append(world.story())
    return stories


async def leave(world: World) -> Stories:
    """An end: deleted while a run is at work, purged."""
    world.create(clicks())
    await world.settle()
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    await world.settle()
    [purge] = world.jobs()
    assert purge["spec"]["template"]["spec"]["containers"][0]["args"] == ["purge"]
    stories = [world.story()]
    world.end(purge, "Complete", 0, "{}")
    await world.settle()
    return [*stories, world.story()]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [live, leave])
async def test_a_kill_before_any_write_changes_nothing_in_the_end(worlds: Worlds, scenario: Scenario) -> None:
    unharmed = worlds()
    wanted = await scenario(unharmed)
    for number in range(1, unharmed.writes + 1):
        world = worlds(number)
        assert await scenario(world) == wanted, f"killed before write {number}"
        assert world.kills == 1


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [live, leave])
async def test_a_lost_or_refused_answer_to_any_write_changes_nothing_in_the_end(
    worlds: Worlds, api: Api, scenario: Scenario
) -> None:
    unharmed = worlds()
    wanted = await scenario(unharmed)
    for number in range(1, unharmed.writes + 1):
        fault = FAULTS[number % len(FAULTS)]
        world = worlds()
        api.fault({"verb": WRITES, "userAgent": AGENT, "nth": number, **fault})
        assert await scenario(world) == wanted, f"{fault} at write {number}"
        assert api.rules()[0]["fired"] == 1
        api.no_faults()


async def test_a_restart_a_minute_later_keeps_every_job_that_was_made(worlds: Worlds) -> None:
    unharmed = worlds()
    unharmed.create(clicks())
    await unharmed.settle()
    for number in range(1, unharmed.writes + 1):
        world = worlds(number)
        world.create(clicks())
        await world.turn()
        made = {name_of(job) for job in world.jobs()}
        world.now += timedelta(minutes=1)
        await world.settle()
        assert made <= {name_of(job) for job in world.jobs()}, f"killed before write {number}"
        assert len(world.jobs()) == 1


async def test_of_finished_one_shot_jobs_the_last_alone_stays(worlds: Worlds) -> None:
    world = worlds()
    await live(world)
    [last] = world.api.list(JOBS, world.namespace)
    assert annotations_of(last)[names.RUN] == "backfill"


async def test_a_settled_view_is_not_written(worlds: Worlds) -> None:
    world = worlds()
    await live(world)
    before = world.writes
    for _ in range(3):
        assert await world.turn()
    assert world.writes == before


async def test_a_spec_that_changes_while_a_turn_writes_is_not_said_to_be_observed(worlds: Worlds) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    world.edit({"spec": {"features": [{"name": "amount", "type": "int64"}]}})
    # The first write says which definition it is, the second one is a child's.
    world.before_write(world.writes + 2, lambda: world.edited_as_watched({"spec": {"ttl": "30d"}}))
    await world.turn()
    view = world.view()
    assert view is not None
    assert view["status"]["observedGeneration"] == view["metadata"]["generation"] - 1
    await world.settle()
    view = world.view()
    assert view is not None
    assert view["status"]["observedGeneration"] == view["metadata"]["generation"]


@pytest.mark.parametrize("resource", [FEATURE_VIEWS, MODEL_DEPLOYMENTS], ids=lambda resource: resource.kind)
async def test_nothing_is_done_while_our_own_kinds_are_not_served(worlds: Worlds, resource: Resource) -> None:
    """Neither readers nor the view itself have gone because the cache has none of them."""
    world = worlds()
    world.create(clicks())
    await world.settle()
    world.edit({"spec": {"features": [{"name": "amount", "type": "int64"}]}})
    world.absent, before = {resource}, world.writes
    assert not await world.turn()
    assert world.writes == before
    world.absent = set()
    await world.settle()
    assert world.writes > before


async def test_each_turn_of_a_condition_is_one_event(worlds: Worlds) -> None:
    world = worlds()
    await live(world)
    assert [reason for reason, _ in world.events()] == [
        "AllWell",
        "AllWell",
        "Covered",
        "Covered",
        *["QualityBlocked"] * 2,
        *["QualityPassed"] * 2,
        "UpToDate",
        "UpToDate",
    ]


async def test_a_bad_command_is_told_though_the_answer_of_the_status_was_lost(worlds: Worlds, api: Api) -> None:
    world = worlds()
    world.fragile = False
    world.create(clicks().having("metadata.annotations", {"millrace.dev/command": "1:dance"}))
    # The first one is of the definition. Sent again, since its connection broke, it is a conflict with itself.
    api.fault({"verb": "patch", "resource": "featureviews/status", "action": "dropAfter", "nth": 2})
    await world.settle()
    assert world.kills == 1
    assert [reason for reason, _ in world.events()] == ["BadCommand"]


async def test_a_bad_command_is_one_event_and_a_sentence_in_the_status(worlds: Worlds) -> None:
    world = worlds()
    world.create(clicks().having("metadata.annotations", {"millrace.dev/command": "1:dance"}))
    await world.settle()
    await world.settle()
    [(reason, message)] = world.events()
    assert reason == "BadCommand"
    assert '"<id>:materialize <start> <end>"' in message
    view = world.view()
    assert view is not None
    assert "is no command" in view["status"]["commandResult"]


async def test_a_command_of_any_text_is_answered_once_and_makes_no_run(worlds: Worlds) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    jobs, told = len(world.jobs()), len(world.events())
    odd = [
        ":",
        "1:",
        "x" * 10_000,
        "1:materialize " + "x" * 10_000 + " y",
        "1\x00:materialize full",
        "1:materialize \x1b",
    ]
    for number, text in enumerate(odd, 1):
        world.edit({"metadata": {"annotations": {"millrace.dev/command": text}}})
        await world.settle()
        status = (world.view() or {})["status"]
        assert len(status["handledCommand"]) <= 253
        assert len(status["commandResult"]) < 400
        assert (status["handledCommand"] + status["commandResult"]).isprintable()
        assert [reason for reason, _ in world.events()[told:]] == ["BadCommand"] * number
    for text in ("", " \n"):
        world.edit({"metadata": {"annotations": {"millrace.dev/command": text}}})
        await world.settle()
    assert (len(world.events()), len(world.jobs())) == (told + len(odd), jobs)


async def test_a_schedule_that_never_comes_is_not_accepted_and_names_the_field(worlds: Worlds) -> None:
    world = worlds()
    # The CRD refuses the plain ones, such as 0 0 30 2 *; steps of months it does not follow.
    world.create(clicks().having("spec.materialization.schedule", "0 0 31 4/5 *"))
    await world.settle()
    assert world.condition("Accepted") == ("False", "InvalidObject")
    assert world.condition("Ready")[0] == "False"
    [(_, message)] = world.events()
    assert "spec.materialization.schedule" in message
    assert world.api.list(CRON_JOBS, world.namespace) == []


async def test_an_expression_that_grows_without_a_bound_is_not_accepted_and_other_views_go_on(worlds: Worlds) -> None:
    world = worlds()
    world.others = ("odd",)
    world.create(clicks())
    grows = {"name": "a", "type": "string", "expression": "rpad(visits, 2000000000, 'x')"}
    world.create(clicks().having("metadata.name", "odd").having("spec.features", [grows]))
    await world.settle()
    assert world.condition("Accepted") == ("True", "Valid")
    odd = world.view("odd")
    assert odd is not None
    [accepted] = (each for each in odd["status"]["conditions"] if each["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "ExpressionTooLarge")
    assert "spec.features[0].expression" in accepted["message"]
    assert [job["metadata"]["ownerReferences"][0]["name"] for job in world.jobs()] == ["clicks"]


async def test_a_name_that_is_taken_is_left_alone_and_said(worlds: Worlds, api: Api) -> None:
    world = worlds()
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "x"}]}}
    theirs = {
        "metadata": {"name": "fv-clicks", "namespace": world.namespace},
        "spec": {"schedule": "1 1 1 1 1", "jobTemplate": {"spec": {"template": template}}},
    }
    api.create(CRON_JOBS, theirs)
    world.create(clicks())
    await world.settle()
    assert world.condition("Materialized") == ("False", "NameTaken")
    assert api.list(CRON_JOBS, world.namespace)[0]["spec"]["schedule"] == "1 1 1 1 1"


@pytest.mark.parametrize("plural", ["cronjobs", "jobs"])
async def test_a_child_that_a_quota_forbids_is_told_with_the_servers_words_and_made_once_it_is_allowed(
    worlds: Worlds, api: Api, plural: str
) -> None:
    world = worlds()
    api.fault({"verb": "create|patch", "resource": plural, "userAgent": AGENT, "action": "status", "code": 403})
    world.create(clicks())
    world.edit({"metadata": {"annotations": {"millrace.dev/command": "1:materialize"}}})
    await world.turn()
    assert world.kills == 0, "no turn is broken off"
    assert world.wake is not None
    assert world.wake.after <= 30, "it is tried again"
    view = world.view()
    assert view is not None
    assert world.condition("Materialized") == ("False", "Forbidden")
    [said] = [item["message"] for item in view["status"]["conditions"] if item["type"] == "Materialized"]
    assert plural in said
    assert "fault injected: 403" in said
    assert "handledCommand" not in view["status"], "its Job is still to be made"
    api.no_faults()
    await world.settle()
    view = world.view()
    assert view is not None
    assert view["status"]["handledCommand"] == "1:materialize"
    assert len(world.jobs()) == 1


@pytest.mark.parametrize(("verb", "plural"), [("delete", "cronjobs"), ("create|patch", "jobs")])
async def test_a_purge_that_is_forbidden_is_told_and_done_once_it_is_allowed(
    worlds: Worlds, api: Api, verb: str, plural: str
) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    api.fault({"verb": verb, "resource": plural, "userAgent": AGENT, "action": "status", "code": 403})
    await world.turn()
    await world.turn()
    assert world.kills == 0
    assert world.wake is not None
    assert world.wake.after <= 30
    view = world.view()
    assert view is not None
    [said] = [item["message"] for item in view["status"]["conditions"] if item["type"] == "Ready"]
    assert "fault injected: 403" in said
    api.no_faults()
    await world.settle()
    [purge] = world.jobs()
    assert purge["spec"]["template"]["spec"]["containers"][0]["args"] == ["purge"]


@pytest.mark.parametrize(
    ("resource", "patch"),
    [
        (JOBS, {"spec": {"suspend": True}}),
        (JOBS, {"spec": {"parallelism": 0}}),
        (CRON_JOBS, {"spec": {"jobTemplate": {"spec": {"parallelism": 0}}}}),
        (CRON_JOBS, {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"nodeSelector": {"disk": "none"}}}}}}}),
        (CRON_JOBS, {"spec": {"suspend": False, "timeZone": "Europe/Berlin"}}),
    ],
)
async def test_what_somebody_adds_to_a_child_is_put_back_and_told(
    worlds: Worlds, api: Api, resource: Resource, patch: dict[str, Any]
) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    [child] = api.list(resource, world.namespace)
    api.merge(resource, world.namespace, name_of(child), patch)
    await world.settle()
    [after] = api.list(resource, world.namespace)
    assert after["metadata"]["uid"] == child["metadata"]["uid"]
    # Job's defaults are written where they were not.
    stated = {"suspend": False, "parallelism": 1} if resource is JOBS else {}
    assert {**stated, **after["spec"]} == {**stated, **child["spec"]}
    told = [item for item in api.list(EVENTS, world.namespace) if item["reason"] == "ChildPutBack"]
    assert [(item["involvedObject"]["kind"], item["involvedObject"]["name"]) for item in told] == [
        ("FeatureView", "clicks")
    ]


async def test_a_purge_reads_the_stores_password_where_the_operator_has_it(worlds: Worlds, api: Api) -> None:
    world = worlds()
    world.platform = replace(PLATFORM, store_url="redis://:hunter2@store:6379", store_secret="mine")
    world.create(clicks())
    await world.settle()
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    await world.settle()
    [purge] = world.jobs()
    [container] = purge["spec"]["template"]["spec"]["containers"]
    [store] = [each for each in container["env"] if each["name"] == "MILLRACE_STORE_URL"]
    assert store["valueFrom"] == {"secretKeyRef": {"name": "mine", "key": "url"}}
    assert api.list(SECRETS, PLATFORM.namespace) == []


async def test_a_view_whose_rows_cannot_be_deleted_goes_nevertheless_and_says_what_stays(worlds: Worlds) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    for _ in range(3):
        await world.settle()
        [purge] = world.jobs()
        world.fail(purge, "StoreDown")
    await world.settle()
    assert world.view() is None
    [(_reason, message)] = [event for event in world.events() if event[0] == "PurgeIncomplete"]
    assert "it is not there" in message
    assert "no ttl, so they stay" in message
    assert not [job for job in world.api.list(JOBS, PLATFORM.namespace) if world.namespace in str(job)]


async def test_a_view_that_never_was_online_goes_at_once(worlds: Worlds) -> None:
    world = worlds()
    world.create(clicks().having("spec.online", {"enabled": False}))
    await world.settle()
    view = world.view()
    assert view is not None
    assert FINALIZER not in view["metadata"].get("finalizers", [])
    world.api.delete(FEATURE_VIEWS, world.namespace, "clicks")
    assert world.view() is None


async def test_a_namespace_that_goes_takes_its_views_with_it(worlds: Worlds, api: Api) -> None:
    world = worlds()
    world.create(clicks())
    await world.settle()
    api.delete(NAMESPACES, "", world.namespace)
    await world.settle()
    [purge] = world.jobs()
    assert purge["metadata"]["namespace"] == PLATFORM.namespace
    world.end(purge, "Complete", 0, "{}")
    await world.settle()
    assert world.view() is None
