"""A change that breaks whoever reads a view is refused, and they are named."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api import conditions, names
from millrace_core.base.errors import RejectError
from millrace_kube.cache import Cache
from millrace_kube.resources import CRON_JOBS, MODEL_DEPLOYMENTS
from millrace_operators.featureview import desired
from millrace_operators.featureview.observe import observe
from millrace_operators.featureview.readers import refuse_breaking
from tests.builders import Built, feature_view, model_deployment
from tests.operators.featureview.life import NOON, PLATFORM

VIEW = feature_view("stats").having("metadata", {"name": "stats", "namespace": "shop", "uid": "u", "generation": 1})


def cluster(*readers: tuple[str, list[str]], namespace: str = "shop") -> Cache:
    """The view as it was accepted, and deployments by the features that they read."""
    cache = Cache()
    cache.upsert(CRON_JOBS, cron_job())
    for name, refs in readers:
        deployment = model_deployment(name).having("metadata.namespace", namespace)
        cache.upsert(MODEL_DEPLOYMENTS, deployment.having("spec.features", {"refs": refs, "input": "x"}).build())
    return cache


def cron_job() -> dict[str, Any]:
    env = [{"name": "MILLRACE_FEATURE_VIEW", "value": desired.definition_json(VIEW.build())}]
    template = {"spec": {"containers": [{"name": "materialize", "env": env}]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": names.cron_job("stats"), "namespace": "shop", "resourceVersion": "1"},
        "spec": {"jobTemplate": {"spec": {"template": template}}},
    }


def refuse(change: Built, cache: Cache) -> None:
    observed = observe(cache, change.build(), PLATFORM, NOON)
    refuse_breaking(observed.view.definition, observed.cron_job, observed.readers)


RETYPED = VIEW.having("spec.features", [{"name": "amount", "type": "float32"}, {"name": "visits", "type": "int64"}])
RENAMED = VIEW.having("spec.entities", [{"name": "customer_id", "type": "int64"}])


def test_a_feature_that_is_read_keeps_its_type() -> None:
    cache = cluster(("ranker", ["stats:amount"]), ("scorer", ["stats:amount", "x:y"]), ("other", ["stats:visits"]))
    with pytest.raises(
        RejectError, match="'amount' changes from float64 to float32, and is used by ranker, scorer"
    ) as refused:
        refuse(RETYPED, cache)
    assert (refused.value.reason, refused.value.field) == (conditions.IN_USE, "spec.features")


def test_a_view_that_is_read_keeps_its_entities() -> None:
    with pytest.raises(
        RejectError, match=r"from \(user_id int64\) to \(customer_id int64\), and the view is used by ranker"
    ):
        refuse(RENAMED, cluster(("ranker", ["stats:visits"])))


@pytest.mark.parametrize("change", [RETYPED, RENAMED])
def test_what_nobody_reads_may_change(change: Built) -> None:
    refuse(change, cluster())
    refuse(change, cluster(("ranker", ["other:amount"])))
    refuse(change, cluster(("ranker", ["stats:amount"]), namespace="elsewhere"))
    refuse(change, Cache())


def test_widening_a_key_adding_dropping_and_reordering_features_stay_possible() -> None:
    cache = cluster(("ranker", ["stats:amount"]))
    refuse(VIEW.having("spec.entities", [{"name": "user_id", "type": "int32"}]), cache)
    refuse(
        VIEW.having("spec.features", [{"name": "new", "type": "bool"}, {"name": "amount", "type": "float64"}]), cache
    )
