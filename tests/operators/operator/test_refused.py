"""Lists that the API server refuses: what depends on them waits, all else goes on, and people are told."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import kopf
import pytest

from millrace_core.api import conditions
from millrace_kube.resources import CRON_JOBS, DEPLOYMENTS, EXPERIMENTS, FEATURE_VIEWS, MODEL_DEPLOYMENTS, NAMESPACES
from millrace_local.apiserver.process import RunningServer
from millrace_operators.operator.process import controllers
from tests.api_client import client_of
from tests.builders import feature_view, model_deployment
from tests.operators.harness import Api, eventually, operators
from tests.operators.operator.test_process import Operator, until
from tests.operators.rights import OPERATOR, OWN_NAMESPACE, grants_of
from tests.operators.world import PLATFORM

OURS = ("team-a", "team-b")


def allow(server: RunningServer, grants: list[dict[str, Any]]) -> None:
    """From the next request on the operator may do these alone."""
    body = {"userAgent": OPERATOR, "grants": grants}
    with client_of(server) as client:
        client.put("/faults/access", json=body).raise_for_status()


@pytest.fixture
def operator(fresh: RunningServer, tmp_path: Path) -> Iterator[Operator]:
    settings = {"MILLRACE_NAMESPACES": ",".join(OURS), "MILLRACE_RESYNC_SECONDS": "1"}
    api = Api(fresh)
    for name in (OWN_NAMESPACE, *OURS):
        api.create(NAMESPACES, {"metadata": {"name": name}})
    allow(fresh, [each for each in grants_of({"namespaces": list(OURS)}) if each["namespace"] != "team-b"])
    api.close()
    started = Operator(fresh.kubeconfig, tmp_path / "log", **settings)
    yield started
    started.process.kill()
    started.process.wait()


def refused(operator: Operator) -> str:
    """What the health endpoint says of it."""
    answer = operator.asks("/health/ready")
    return "" if answer is None else str(answer.json()["checks"]["rights"])


def told(operator: Operator) -> list[str]:
    """The lines of the log about it."""
    return [line for line in operator.log.read_text().splitlines() if " refused: " in line or "refuses to list" in line]


@pytest.mark.slow
def test_a_namespace_that_refuses_stops_nothing_in_the_others_and_is_taken_up_once_it_no_longer_does(
    operator: Operator, fresh: RunningServer
) -> None:
    api = Api(fresh)
    whole = grants_of({"namespaces": list(OURS)})
    without = [each for each in whole if each["namespace"] != "team-b"]

    def made(namespace: str, name: str) -> Any:
        return api.get(CRON_JOBS, namespace, f"fv-{name}")

    def view(namespace: str, name: str) -> None:
        api.create(FEATURE_VIEWS, feature_view(name).having("metadata.namespace", namespace).build())

    for namespace in OURS:
        view(namespace, "first")
    until(lambda: made("team-a", "first"))
    until(lambda: "namespace team-b: featureviews, " in refused(operator))
    assert operator.stands_by()
    answer = operator.asks("/metrics")
    assert answer is not None
    assert 'millrace_operator_refused_lists{kind="FeatureView",namespace="team-b"} 1.0' in answer.text
    assert 'namespace="team-a"' not in "".join(line for line in answer.text.splitlines() if "refused_lists" in line)
    until(lambda: told(operator))

    allow(fresh, whole)
    until(lambda: made("team-b", "first"))
    until(operator.leads)
    until(lambda: "namespace team-b: the API server lists everything again" in operator.log.read_text())
    first = told(operator)

    allow(fresh, without)
    api.drop_watches()
    until(lambda: "namespace team-b" in refused(operator))
    until(lambda: len(told(operator)) > len(first))
    for namespace in OURS:
        view(namespace, "second")
    until(lambda: made("team-a", "second"))
    allow(fresh, whole)
    until(lambda: made("team-b", "second"))
    until(operator.leads)
    until(lambda: operator.log.read_text().count("namespace team-b: the API server lists everything again") == 2)
    assert made("team-b", "first"), "what was made before it refused stays"
    lines = told(operator)
    assert (len(first), len(lines)) == (1, 2), "one line of each loss"
    for line in lines:
        assert "helm upgrade RELEASE CHART --namespace millrace-system --reuse-values" in line
        assert "RoleBinding millrace-operator of team-b" in line
    api.close()


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each life of kopf's streams, as it shows it."""
    lives: list[str] = []
    real = kopf.spawn_tasks

    async def spawn(**kwargs: Any) -> Any:
        lives.append(str(kwargs["registry"]._watching.get_all_selectors()))
        return await real(**kwargs)

    monkeypatch.setattr(kopf, "spawn_tasks", spawn)
    return lives


@pytest.mark.slow
async def test_a_kind_that_is_refused_everywhere_stops_what_reads_it_and_no_more(
    fresh: RunningServer, streamed: list[str]
) -> None:
    api, whole = Api(fresh), grants_of()
    namespace = api.namespace()
    without = [{**each, "resources": [r for r in each["resources"] if r != "experiments"]} for each in whole]
    allow(fresh, without)
    api.create(FEATURE_VIEWS, feature_view("clicks").having("metadata.namespace", namespace).build())
    api.create(MODEL_DEPLOYMENTS, model_deployment("ranker").having("metadata.namespace", namespace).build())
    async with operators(fresh, partial(controllers, platform=PLATFORM)) as running:
        await eventually(lambda: api.list(DEPLOYMENTS, namespace), 60)
        refusing = [store for store in running.runtime.cluster.cache.stores if store.refused]
        assert [store.resource.plural for store in refusing] == ["experiments"]
        view = api.get(FEATURE_VIEWS, namespace, "clicks") or {}
        assert "status" not in view, "who reads the view is not known whole"
        allow(fresh, whole)

        def looked_at() -> bool:
            status = (api.get(FEATURE_VIEWS, namespace, "clicks") or {}).get("status") or {}
            return any(item["type"] == conditions.READY for item in status.get("conditions") or ())

        await eventually(looked_at, 60)
        await eventually(lambda: "experiments" in streamed[-1], 60)

        allow(fresh, without)
        api.drop_watches()
        await eventually(lambda: running.runtime.cluster.cache.stores_of([EXPERIMENTS])[0].refused, 60)
        await eventually(lambda: "experiments" not in streamed[-1], 60)
        assert "featureviews" in streamed[-1], "one kind's refusal ends no other's stream"
        allow(fresh, whole)
        await eventually(lambda: running.runtime.synced, 60)
    api.close()
