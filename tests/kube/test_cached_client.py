"""What the operators write, and what they leave alone, on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millrace_core.api import conditions, names
from millrace_core.api.conditions import condition
from millrace_kube import connection, errors
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_kube.events import Emit
from millrace_kube.owners import owner_reference
from millrace_kube.resources import (
    CRON_JOBS,
    EVENTS,
    FEATURE_VIEWS,
    SERVICES,
    Object,
    Resource,
    annotations_of,
    labels_of,
)
from millrace_local.apiserver.process import RunningServer
from tests.builders import feature_view
from tests.operators.harness import AGENT, Api


def cron_job(namespace: str, **spec: Any) -> Object:
    container = {"name": "main", "image": "x", "resources": {"requests": {"cpu": "1000m"}}}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": namespace},
        "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": template}}, **spec},
    }


def view(api: Api, namespace: str) -> Object:
    return api.create(FEATURE_VIEWS, feature_view("clicks").having("metadata.namespace", namespace).build())


async def test_the_same_apply_is_written_once(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    assert await cluster.apply(cron_job(namespace))
    api.count_writes()
    assert not await cluster.apply(cron_job(namespace))
    restarted = CachedClient(cluster.client, Cache())
    assert not await restarted.apply(cron_job(namespace)), "an empty cache asks before it writes"
    assert api.writes() == 0


async def test_an_applied_object_says_whose_it_is(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    made = api.get(CRON_JOBS, namespace, "nightly")
    assert made is not None
    assert labels_of(made)[names.MANAGED_BY] == "millrace"
    assert names.APPLIED_HASH in annotations_of(made)
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["millrace"]
    assert made["metadata"]["managedFields"][0]["operation"] == "Apply"


async def test_drift_by_somebody_else_is_mended_and_their_own_fields_stay(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    api.merge(
        CRON_JOBS, namespace, "nightly", {"spec": {"schedule": "* * * * *"}, "metadata": {"labels": {"team": "x"}}}
    )
    await cluster.live(CRON_JOBS, namespace, "nightly")
    assert await cluster.apply(cron_job(namespace))
    made = api.get(CRON_JOBS, namespace, "nightly")
    assert made is not None
    assert made["spec"]["schedule"] == "0 0 * * *"
    assert labels_of(made)["team"] == "x"


async def test_what_others_add_is_put_back_with_one_event_and_in_two_writes(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    paused = {"spec": {"jobTemplate": {"spec": {"parallelism": 0, "suspend": True}}}}
    api.merge(CRON_JOBS, namespace, "nightly", paused)
    await cluster.live(CRON_JOBS, namespace, "nightly")
    api.count_writes()
    assert await cluster.apply(cron_job(namespace))
    assert not await cluster.apply(cron_job(namespace))
    assert api.writes() == 3, "the owners, the object, the Event"
    made = api.get(CRON_JOBS, namespace, "nightly")
    assert made is not None
    assert not {"parallelism", "suspend"} & made["spec"]["jobTemplate"]["spec"].keys()
    [event] = api.list(EVENTS, namespace)
    assert (event["reason"], event["involvedObject"]["name"]) == ("ChildPutBack", "nightly")
    assert "spec.jobTemplate.spec.parallelism" in event["message"]


async def test_an_equal_value_of_a_gitops_tool_is_told_of_no_more_than_it_is_a_contest(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    for _ in range(5):
        for schedule in ("1 1 1 1 1", cron_job(namespace)["spec"]["schedule"]):
            api.merge(CRON_JOBS, namespace, "nightly", {"spec": {"schedule": schedule}})
        await cluster.live(CRON_JOBS, namespace, "nightly")
        assert await cluster.apply(cron_job(namespace))
        assert not await cluster.apply(cron_job(namespace))
    assert api.list(EVENTS, namespace) == []


async def test_a_gitops_tool_that_states_all_that_is_there_causes_no_write_until_it_changes_something(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    made = api.get(CRON_JOBS, namespace, "nightly")
    assert made is not None
    stated = {name: made[name] for name in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "nightly"}}
    stated["spec"] = {**made["spec"], "suspend": False, "concurrencyPolicy": "Allow", "failedJobsHistoryLimit": 1}
    api.apply(CRON_JOBS, namespace, stated, "argocd")
    await cluster.live(CRON_JOBS, namespace, "nightly")
    assert not await cluster.apply(cron_job(namespace))
    stated["spec"]["suspend"] = True
    api.apply(CRON_JOBS, namespace, stated, "argocd")
    await cluster.live(CRON_JOBS, namespace, "nightly")
    assert await cluster.apply(cron_job(namespace))
    [event] = api.list(EVENTS, namespace)
    assert event["message"].endswith("spec.suspend by argocd")


@pytest.mark.parametrize("nth", [1, 2], ids=["of the owners", "of the object"])
async def test_that_something_was_put_back_is_told_though_an_answer_was_lost(
    cluster: CachedClient, api: Api, nth: int
) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    api.merge(CRON_JOBS, namespace, "nightly", {"spec": {"timeZone": "Europe/Berlin"}})
    await cluster.live(CRON_JOBS, namespace, "nightly")
    writes = {"verb": "patch|update", "resource": "cronjobs", "userAgent": AGENT}
    # A request whose connection broke is sent twice.
    api.fault({**writes, "action": "dropAfter", "nth": nth, "times": 1}, {**writes, "action": "drop", "nth": nth + 1})
    with pytest.raises(errors.UnavailableError):
        await cluster.apply(cron_job(namespace))
    api.no_faults()
    await cluster.live(CRON_JOBS, namespace, "nightly")
    await cluster.apply(cron_job(namespace))
    made = api.get(CRON_JOBS, namespace, "nightly")
    assert made is not None
    assert "timeZone" not in made["spec"]
    assert [event["reason"] for event in api.list(EVENTS, namespace)] == ["ChildPutBack"]


async def test_an_edit_is_told_once_though_a_controller_writes_the_status_meanwhile(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    for zone in ("Europe/Berlin", "Europe/Paris"):
        api.merge(CRON_JOBS, namespace, "nightly", {"spec": {"timeZone": zone}})
        await cluster.live(CRON_JOBS, namespace, "nightly")
        ran = {"status": {"lastScheduleTime": f"2026-01-01T00:00:{len(zone)}Z"}}
        api.merge(CRON_JOBS, namespace, "nightly", ran, "status")
        with pytest.raises(errors.ConflictError):
            await cluster.apply(cron_job(namespace))
        await cluster.live(CRON_JOBS, namespace, "nightly")
        assert await cluster.apply(cron_job(namespace))
    assert [event["reason"] for event in api.list(EVENTS, namespace)] == ["ChildPutBack"] * 2, "one for each edit"


@pytest.mark.parametrize(
    ("ours", "theirs"), [({}, "Europe/Berlin"), ({"timeZone": "UTC"}, None)], ids=["add", "remove"]
)
async def test_two_writers_of_one_field_do_not_drive_each_other_for_ever(
    cluster: CachedClient, api: Api, ours: dict[str, Any], theirs: str | None
) -> None:
    namespace = api.namespace()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    cluster.now = lambda: now
    await cluster.apply(cron_job(namespace, **ours))
    written = 0
    for _ in range(20):
        api.merge(CRON_JOBS, namespace, "nightly", {"spec": {"timeZone": theirs}})
        await cluster.live(CRON_JOBS, namespace, "nightly")
        now += timedelta(seconds=1)
        try:
            written += await cluster.apply(cron_job(namespace, **ours))
        except errors.ContestedError as error:
            said = str(error)
    assert written == 3
    assert "spec.timeZone by" in said
    assert "until 2026-01-01T00:01:01" in said
    now += timedelta(minutes=1)
    assert await cluster.apply(cron_job(namespace, **ours)), "a later try may find the other writer gone"
    assert len(api.list(EVENTS, namespace)) == 4


async def test_a_child_that_is_made_again_often_is_no_contest(cluster: CachedClient, api: Api) -> None:
    """As where a CRD, which takes its objects along, is replaced twice; the one edit is then put back."""
    namespace = api.namespace()
    cluster.now = lambda: datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(4):
        assert await cluster.apply(cron_job(namespace))
        api.delete(CRON_JOBS, namespace, "nightly")
        await cluster.live(CRON_JOBS, namespace, "nightly")
    assert await cluster.apply(cron_job(namespace))
    api.merge(CRON_JOBS, namespace, "nightly", {"spec": {"timeZone": "Europe/Berlin"}})
    await cluster.live(CRON_JOBS, namespace, "nightly")
    assert await cluster.apply(cron_job(namespace))


async def test_what_we_want_ourselves_is_written_in_a_contest_too(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    for minute in range(6):
        assert await cluster.apply(cron_job(namespace, schedule=f"{minute} * * * *"))


async def test_an_edit_that_comes_between_reading_and_putting_back_is_a_conflict(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    api.merge(CRON_JOBS, namespace, "nightly", {"spec": {"timeZone": "Europe/Berlin"}})
    await cluster.live(CRON_JOBS, namespace, "nightly")
    api.merge(CRON_JOBS, namespace, "nightly", {"metadata": {"labels": {"x": "y"}}})
    with pytest.raises(errors.ConflictError):
        await cluster.apply(cron_job(namespace))
    assert await cluster.apply(cron_job(namespace)), "the conflict brought the newer one into the cache"


async def test_a_field_that_is_no_longer_wanted_goes(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace, startingDeadlineSeconds=60))
    assert await cluster.apply(cron_job(namespace))
    made = api.get(CRON_JOBS, namespace, "nightly")
    assert made is not None
    assert "startingDeadlineSeconds" not in made["spec"]


async def test_a_stranger_of_the_same_name_is_left_alone(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    theirs = {"metadata": {"name": "shop", "namespace": namespace}, "spec": {"ports": [{"port": 80}]}}
    api.create(SERVICES, theirs)
    before = api.get(SERVICES, namespace, "shop")
    wanted = {"apiVersion": "v1", "kind": "Service", **theirs}
    with pytest.raises(errors.NameTakenError, match="not managed by Millrace"):
        await cluster.apply(wanted)
    assert api.get(SERVICES, namespace, "shop") == before


async def test_an_invalid_object_is_refused_in_the_servers_words(cluster: CachedClient, api: Api) -> None:
    with pytest.raises(errors.RefusedError, match="schedule"):
        await cluster.apply(cron_job(api.namespace(), schedule="whenever"))


async def test_a_missing_namespace_may_come_yet(cluster: CachedClient) -> None:
    with pytest.raises(errors.AbsentError):
        await cluster.apply(cron_job("nowhere"))


async def test_what_is_gone_is_deleted_already(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    assert await cluster.delete(CRON_JOBS, namespace, "nightly")
    assert not await cluster.delete(CRON_JOBS, namespace, "nightly")
    assert cluster.cache.get(CRON_JOBS, namespace, "nightly") is None


async def test_a_successor_of_the_same_name_is_not_deleted_for_its_predecessor(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    await cluster.apply(cron_job(namespace))
    assert not await cluster.delete(CRON_JOBS, namespace, "nightly", uid="another")
    assert api.get(CRON_JOBS, namespace, "nightly") is not None


async def test_finalizers_come_and_go_and_those_of_others_stay(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    document = view(api, namespace)
    document = api.merge(FEATURE_VIEWS, namespace, "clicks", {"metadata": {"finalizers": ["others.io/x"]}})
    written = await cluster.add_finalizer(document, "millrace.dev/purge")
    held = cluster.cache.get(FEATURE_VIEWS, namespace, "clicks")
    assert held is not None
    assert written["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
    assert held["metadata"]["finalizers"] == ["others.io/x", "millrace.dev/purge"]
    assert await cluster.add_finalizer(held, "millrace.dev/purge") is held
    assert await cluster.remove_finalizer(held, "millrace.dev/purge") is not held
    last = api.get(FEATURE_VIEWS, namespace, "clicks")
    assert last is not None
    assert last["metadata"]["finalizers"] == ["others.io/x"]


async def test_a_write_on_an_old_version_conflicts_and_leaves_the_new_one_in_the_cache(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    old = view(api, namespace)
    api.merge(FEATURE_VIEWS, namespace, "clicks", {"metadata": {"labels": {"x": "y"}}})
    with pytest.raises(errors.ConflictError):
        await cluster.add_finalizer(old, "millrace.dev/purge")
    with pytest.raises(errors.ConflictError):
        await cluster.write_status(old, {"observedGeneration": 1})
    held = cluster.cache.get(FEATURE_VIEWS, namespace, "clicks")
    assert held is not None
    assert labels_of(held) == {"x": "y"}


@pytest.mark.parametrize("known", [False, True])
async def test_an_object_that_is_made_while_the_absence_of_another_is_answered_stays_in_the_cache(
    cluster: CachedClient, api: Api, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    namespace = api.namespace()
    if known:
        cluster.cache.upsert(FEATURE_VIEWS, view(api, namespace))
        api.delete(FEATURE_VIEWS, namespace, "clicks")

    async def get(resource: Resource, *_place: str) -> Object | None:
        cluster.cache.upsert(resource, view(api, namespace))  # a watch brings it before the answer is read
        return None

    monkeypatch.setattr(cluster.client, "get", get)
    assert await cluster.live(FEATURE_VIEWS, namespace, "clicks") is None
    assert cluster.cache.get(FEATURE_VIEWS, namespace, "clicks") is not None


def said(cluster: CachedClient, holds: bool | None, reason: str, before: Object | None = None) -> list[dict[str, Any]]:
    now = condition(conditions.MATERIALIZED, holds, reason, f"because of {reason}")
    previous = ((before or {}).get("status") or {}).get("conditions")
    return conditions.settle(previous, [now, conditions.summary([now])], generation=1, now=cluster.now())


async def test_status_is_written_when_it_differs_and_only_then(cluster: CachedClient, api: Api) -> None:
    document = view(api, api.namespace())
    status = {"observedGeneration": 1, "schemaHash": "sha256:a", "conditions": said(cluster, None, "Pending")}
    written = await cluster.write_status(document, status)
    place = document["metadata"]["namespace"], "clicks"
    held = cluster.cache.get(FEATURE_VIEWS, *place)
    assert held is not None
    assert written["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
    api.count_writes()
    assert await cluster.write_status(held, {**status, "watermark": None}) is held
    assert api.writes() == 0
    run = {"name": "j", "succeeded": True}
    held = await cluster.write_status(held, {**status, "lastRun": {**run, "rows": None}})
    assert held["status"]["lastRun"] == run
    assert await cluster.write_status(held, {**status, "lastRun": {**run, "rows": None}}) is held, "None is nothing"
    assert api.writes() == 1
    assert await cluster.write_status(held, {"observedGeneration": 1}) is not held
    bare = api.get(FEATURE_VIEWS, *place)
    assert bare is not None
    assert bare["status"] == {"observedGeneration": 1}, "what is not in the new status is removed"


async def test_each_transition_is_one_event_and_no_event_is_sent_for_a_write_that_failed(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    first = view(api, namespace)

    async def turn(holds: bool | None, reason: str) -> None:
        held = cluster.cache.get(FEATURE_VIEWS, namespace, "clicks") or first
        await cluster.write_status(held, {"conditions": said(cluster, holds, reason, held)})

    await turn(None, "Pending")
    assert api.list(EVENTS, namespace) == []
    await turn(False, "StoreDown")
    await turn(False, "StoreDown")
    with pytest.raises(errors.ConflictError):
        await cluster.write_status(first, {"conditions": said(cluster, True, "Covered")})
    await turn(True, "Covered")
    events = {(event["type"], event["reason"]): event for event in api.list(EVENTS, namespace)}
    assert set(events) == {("Warning", "StoreDown"), ("Normal", "Covered"), ("Normal", "AllWell")}
    warning = events["Warning", "StoreDown"]
    assert warning["message"] == "Materialized: because of StoreDown"
    assert warning["involvedObject"]["uid"] == first["metadata"]["uid"]


@pytest.mark.parametrize("sent", [1, 2])
async def test_what_a_status_write_tells_is_told_though_its_answer_was_lost(
    cluster: CachedClient, api: Api, sent: int
) -> None:
    namespace = api.namespace()
    document = view(api, namespace)
    status = {"conditions": said(cluster, False, "StoreDown")}
    also = [Emit(document, "Normal", "Began", "it began", ["began"])]
    # The second sending of a request whose connection broke is refused: the first has changed the version.
    api.fault({"verb": "patch", "resource": "featureviews/status", "action": "dropAfter", "times": sent})
    with pytest.raises((errors.ConflictError, errors.UnavailableError)):
        await cluster.write_status(document, status, also=also)
    assert api.list(EVENTS, namespace) == []
    with pytest.raises(errors.ConflictError):  # the cache is still old, and the time is another
        await cluster.write_status(document, {"conditions": said(cluster, False, "StoreGone")}, also=also)
    held = cluster.cache.get(FEATURE_VIEWS, namespace, "clicks")
    assert held is not None
    for _ in range(2):
        assert await cluster.write_status(held, status, also=also) is held
    assert sorted(event["reason"] for event in api.list(EVENTS, namespace)) == ["Began", "StoreDown"]


async def test_a_throttled_request_says_when_to_come_back(cluster: CachedClient, api: Api) -> None:
    api.fault({"verb": "patch", "action": "status", "code": 429, "retryAfter": 7})
    with pytest.raises(errors.ApiError) as caught:
        await cluster.apply(cron_job(api.namespace()))
    assert (caught.value.status, caught.value.delay) == (429, 7.0)


async def test_a_cut_connection_is_an_error_to_retry(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    api.fault({"verb": "patch", "action": "dropAfter", "times": 2})
    with pytest.raises(errors.ApiError) as caught:
        await cluster.apply(cron_job(namespace))
    assert caught.value.status == 0
    assert not await cluster.apply(cron_job(namespace)), "it had been written, and is found so"


async def test_a_connection_that_ended_just_then_is_no_error(cluster: CachedClient, api: Api) -> None:
    api.fault({"verb": "patch", "action": "drop", "times": 1})
    assert await cluster.apply(cron_job(api.namespace()))


async def test_a_process_without_the_lease_writes_nothing(server: RunningServer, api: Api) -> None:
    def fence() -> None:
        raise errors.LostLeadershipError("not leading")

    namespace = api.namespace()
    found = await connection.connect({"KUBECONFIG": str(server.kubeconfig)})
    async with Client(found, fence=fence) as client:
        cluster = CachedClient(client, Cache())
        api.count_writes()
        with pytest.raises(errors.LostLeadershipError):
            await cluster.apply(cron_job(namespace))
        with pytest.raises(errors.LostLeadershipError):
            await cluster.delete(CRON_JOBS, namespace, "x")
        assert await cluster.live(CRON_JOBS, namespace, "nightly") is None, "reading is free"
    assert api.writes() == 0


async def test_a_request_is_not_sent_again_by_who_has_lost_the_lease_meanwhile(server: RunningServer, api: Api) -> None:
    asked: list[None] = []

    def fence() -> None:
        asked.append(None)
        if len(asked) > 1:
            raise errors.LostLeadershipError("not leading any more")

    namespace = api.namespace()
    async with Client(await connection.connect({"KUBECONFIG": str(server.kubeconfig)}), fence=fence) as client:
        api.fault({"verb": "patch", "action": "drop", "times": 1})
        with pytest.raises(errors.LostLeadershipError):
            await client.apply(CRON_JOBS, cron_job(namespace))
    assert api.get(CRON_JOBS, namespace, "nightly") is None


async def test_long_lists_come_in_pages(cluster: CachedClient, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = api.namespace()
    for number in range(5):
        api.create(
            SERVICES, {"metadata": {"name": f"s{number}", "namespace": namespace}, "spec": {"ports": [{"port": 1}]}}
        )
    monkeypatch.setattr("millrace_kube.client.PAGE", 2)
    items, version = await cluster.client.list(SERVICES, namespace)
    assert [item["metadata"]["name"] for item in items] == [f"s{number}" for number in range(5)]
    assert items[0]["kind"] == "Service"
    assert int(version) > 0


def test_an_owner_reference_names_its_owner(api: Api) -> None:
    document = view(api, api.namespace())
    reference = owner_reference(document)
    assert reference["uid"] == document["metadata"]["uid"]
    assert (reference["controller"], reference["blockOwnerDeletion"]) == (True, True)


async def test_no_kubeconfig_is_said_so(tmp_path: Any) -> None:
    with pytest.raises(Exception, match="KUBECONFIG") as caught:
        await connection.connect({"KUBECONFIG": str(tmp_path / "none")})
    assert getattr(caught.value, "reason", "") == "NoKubeconfig"
