"""The writes of a turn are carried out in order; what is refused, and what it gives, is followed."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.base.errors import MillraceError
from millrace_kube import errors
from millrace_kube.cached_client import CachedClient
from millrace_kube.resources import CONFIG_MAPS, EVENTS, FEATURE_VIEWS, Object, name_of
from millrace_kube.writes import (
    AddFinalizer,
    Apply,
    Delete,
    Emit,
    InOrder,
    RemoveFinalizer,
    Write,
    WriteStatus,
    carry_out,
)
from tests.kube.test_cached_client import view
from tests.operators.harness import Api

FINALIZER = "millrace.dev/test"


def config_map(namespace: str, name: str, **data: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"millrace.dev/view": "clicks"}},
        "data": data,
    }


def foreign(api: Api, namespace: str, name: str) -> None:
    """Somebody else has the name, so that an apply is refused."""
    api.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": namespace}})


def names(api: Api, namespace: str) -> list[str]:
    return sorted(name_of(item) for item in api.list(CONFIG_MAPS, namespace, "millrace.dev/view=clicks"))


async def test_a_refusal_ends_what_needs_it_and_nothing_else(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    foreign(api, namespace, "taken")
    foreign(api, namespace, "also-taken")
    writes: list[Write] = [
        InOrder((Apply(config_map(namespace, "taken")), Apply(config_map(namespace, "needs-it")))),
        Apply(config_map(namespace, "also-taken")),
        Apply(config_map(namespace, "free")),
        InOrder((Apply(config_map(namespace, "a")), Apply(config_map(namespace, "b")))),
    ]
    refused = await carry_out(cluster, writes)
    assert isinstance(refused, errors.NameTakenError)
    assert "/taken" in str(refused)
    assert names(api, namespace) == ["a", "b", "free"]


async def test_the_report_is_asked_for_after_the_writes_and_hears_of_the_first_refusal(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    foreign(api, namespace, "taken")
    heard: list[tuple[MillraceError | None, list[str]]] = []

    def report(refused: MillraceError | None) -> list[Write]:
        heard.append((refused, names(api, namespace)))
        return [Delete(CONFIG_MAPS, namespace, "free")]

    await carry_out(cluster, [Apply(config_map(namespace, "free"))], report)
    assert heard == [(None, ["free"])]
    assert names(api, namespace) == []
    refused = await carry_out(cluster, [Apply(config_map(namespace, "taken"))], report)
    assert heard[1:] == [(refused, [])]
    assert refused is not None


async def test_writes_of_one_object_follow_each_other_though_all_name_it_as_it_was_observed(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    document = view(api, namespace)
    writes: list[Write] = [AddFinalizer(document, FINALIZER), WriteStatus(document, {"observedGeneration": 1})]

    def report(_refused: MillraceError | None) -> list[Write]:
        return [WriteStatus(document, {"observedGeneration": 2}), RemoveFinalizer(document, FINALIZER)]

    await carry_out(cluster, writes, report)
    found = api.get(FEATURE_VIEWS, namespace, "clicks")
    assert found is not None
    assert found["status"] == {"observedGeneration": 2}
    assert not found["metadata"].get("finalizers")


async def test_a_write_of_somebody_else_between_two_of_ours_makes_a_conflict(cluster: CachedClient, api: Api) -> None:
    """What was decided is void then, even where the cache knows of the other's write."""
    namespace = api.namespace()
    document = view(api, namespace)

    def report(_refused: MillraceError | None) -> list[Write]:
        cluster.cache.upsert(FEATURE_VIEWS, api.merge(FEATURE_VIEWS, namespace, "clicks", {"spec": {"owner": "me"}}))
        return [WriteStatus(document, {"observedGeneration": 2})]

    with pytest.raises(errors.ConflictError):
        await carry_out(cluster, [AddFinalizer(document, FINALIZER)], report)
    found = api.get(FEATURE_VIEWS, namespace, "clicks")
    assert found is not None
    assert "status" not in found


async def test_events_of_a_status_are_sent_when_it_is_written_and_not_when_it_was_so_already(
    cluster: CachedClient, api: Api
) -> None:
    namespace = api.namespace()
    document = view(api, namespace)

    def told(number: int) -> WriteStatus:
        event = Emit(document, "Normal", f"Turn{number}", "a note", identity=number)
        return WriteStatus(document, {"observedGeneration": 1}, events=(event,))

    await carry_out(cluster, [told(1), told(2), Emit(document, "Warning", "Alone", "a note", identity="x")])
    assert sorted(event["reason"] for event in api.list(EVENTS, namespace)) == ["Alone", "Turn1"]


@pytest.mark.parametrize("fault", [{}, {"action": "dropAfter"}, {"action": "status", "code": 500}])
async def test_what_an_apply_tells_is_told_once_also_where_no_answer_comes(
    cluster: CachedClient, api: Api, fault: Object
) -> None:
    namespace = api.namespace()
    about = view(api, namespace)
    event = Emit(about, "Normal", "Made", "it is made", identity=["made"])
    writes: list[Write] = [Apply(config_map(namespace, "a"), (event,))]
    if fault:
        api.fault({"verb": "patch|create", "resource": "configmaps", "times": 2, **fault})
        with pytest.raises(errors.UnavailableError):
            await carry_out(cluster, writes)
        api.no_faults()
    for _ in range(2):
        await carry_out(cluster, writes)
    assert [event["reason"] for event in api.list(EVENTS, namespace)] == ["Made"]


async def test_what_an_apply_tells_is_not_told_where_it_is_refused(cluster: CachedClient, api: Api) -> None:
    namespace = api.namespace()
    foreign(api, namespace, "taken")
    event = Emit(view(api, namespace), "Normal", "Made", "it is made", identity=["made"])
    await carry_out(cluster, [Apply(config_map(namespace, "taken"), (event,))])
    assert api.list(EVENTS, namespace) == []
