"""Our own CRDs that are deleted and come back while the operator runs."""

from __future__ import annotations

from functools import partial

import pytest

from millrace_kube.resources import (
    CRON_JOBS,
    DEFINITIONS,
    DEPLOYMENTS,
    EXPERIMENTS,
    FEATURE_VIEWS,
    MODEL_DEPLOYMENTS,
    Object,
    Resource,
)
from millrace_local.apiserver.process import RunningServer
from millrace_operators.operator.process import controllers
from tests.builders import experiment, feature_view, model_deployment
from tests.kube.test_definitions import definition, vanish
from tests.operators.harness import Api, eventually, operators
from tests.operators.world import PLATFORM

MADE = {
    FEATURE_VIEWS: feature_view("clicks"),
    MODEL_DEPLOYMENTS: model_deployment("ranker"),
    EXPERIMENTS: experiment("ab", "ranker", "ranker", "other"),
}


def make(api: Api, resource: Resource, namespace: str) -> Object:
    return api.create(resource, MADE[resource].having("metadata.namespace", namespace).build())


def looked_at(api: Api, resource: Resource, namespace: str) -> bool:
    name = MADE[resource].build()["metadata"]["name"]
    return bool(((api.get(resource, namespace, name) or {}).get("status") or {}).get("conditions"))


@pytest.mark.slow
@pytest.mark.parametrize("gone", MADE, ids=lambda resource: resource.plural)
async def test_a_kind_that_goes_takes_its_objects_and_nothing_else_and_is_acted_on_when_it_is_back(
    fresh: RunningServer, gone: Resource
) -> None:
    api = Api(fresh)
    namespace = api.namespace()
    others = [resource for resource in MADE if resource != gone]
    async with operators(fresh, partial(controllers, platform=PLATFORM)) as running:
        for resource in MADE:
            make(api, resource, namespace)
        await eventually(lambda: all(looked_at(api, resource, namespace) for resource in MADE), 90)
        await running.settle()
        kept = {resource: api.list(resource, namespace)[0]["metadata"]["uid"] for resource in others}
        children = {DEPLOYMENTS: MODEL_DEPLOYMENTS, CRON_JOBS: FEATURE_VIEWS}
        made = {child: api.list(child, namespace) for child, owner in children.items() if owner != gone}
        await vanish(api, gone)
        [store] = [each for each in running.runtime.cluster.cache.stores if each.resource == gone]
        await eventually(lambda: not store.served, 60)
        await running.settle()
        for resource, uid in kept.items():
            assert api.list(resource, namespace)[0]["metadata"]["uid"] == uid
        for child, before in made.items():
            uids = [item["metadata"]["uid"] for item in before]
            assert [item["metadata"]["uid"] for item in api.list(child, namespace)] == uids
        assert api.get(DEFINITIONS, "", f"{gone.plural}.{gone.group}") is None
        api.create(DEFINITIONS, definition(gone.kind))
        await eventually(lambda: store.served, 60)
        make(api, gone, namespace)
        await eventually(lambda: looked_at(api, gone, namespace), 90)
    api.close()
