"""The operator of some namespaces: it acts there by Roles alone, and on nothing else."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millrace_core.api import names
from millrace_kube.cache import Scope
from millrace_kube.resources import CRON_JOBS, FEATURE_VIEWS, JOBS, NAMESPACES, NODES, PODS, SECRETS, Object
from millrace_local.apiserver.process import RunningServer
from millrace_operators.operator.settings import OperatorSettings
from tests.builders import feature_view
from tests.operators.harness import Api, start_server
from tests.operators.operator.test_process import Operator, until
from tests.operators.rights import OWN_NAMESPACE, granted

OURS = ("team-a", "team-b")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server that gives the operator the rights of the chart for two namespaces."""
    running = start_server(tmp_path)
    with granted(running, {"namespaces": list(OURS)}):
        yield running
    running.stop()


@pytest.fixture
def start(server: RunningServer, tmp_path: Path) -> Iterator[Callable[[], Operator]]:
    started: list[Operator] = []

    def launch() -> Operator:
        settings = {"MILLRACE_NAMESPACES": ",".join(OURS), "MILLRACE_STORE_URL": "redis://:hunter2@127.0.0.1:1"}
        started.append(Operator(server.kubeconfig, tmp_path / "log", **settings))
        return started[-1]

    yield launch
    for operator in started:
        operator.process.kill()
        operator.process.wait()


@pytest.mark.slow
def test_views_of_its_namespaces_are_materialized_and_purged_and_others_are_left_alone(
    start: Callable[[], Operator], server: RunningServer
) -> None:
    api = Api(server)
    for name in (OWN_NAMESPACE, *OURS, "team-c"):
        api.create(NAMESPACES, {"metadata": {"name": name}})
    for namespace in (*OURS, "team-c"):
        api.create(FEATURE_VIEWS, feature_view("early").having("metadata.namespace", namespace).build())
    operator = start()
    until(operator.leads)
    for namespace in (*OURS, "team-c"):
        api.create(FEATURE_VIEWS, feature_view("late").having("metadata.namespace", namespace).build())
    for namespace in OURS:
        for name in ("fv-early", "fv-late"):
            until(lambda namespace=namespace, name=name: api.get(CRON_JOBS, namespace, name))  # type: ignore[misc]
    for resource in (CRON_JOBS, JOBS, SECRETS):
        assert api.list(resource, "team-c") == []
    for namespace in OURS:
        secret = until(lambda namespace=namespace: two_owners(api, namespace))  # type: ignore[misc]
        assert b64decode(secret["data"]["url"]) == b"redis://:hunter2@127.0.0.1:1"

    api.delete(FEATURE_VIEWS, "team-b", "late")
    [purge] = until(lambda: api.list(JOBS, OWN_NAMESPACE))
    done = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    times = {"startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:00Z"}
    met = {**done, "type": "SuccessCriteriaMet"}
    status = {"succeeded": 1, "conditions": [met, done], **times}
    api.merge(JOBS, OWN_NAMESPACE, purge["metadata"]["name"], {"status": status}, "status")
    until(lambda: api.get(FEATURE_VIEWS, "team-b", "late") is None)
    assert "hunter2" not in str([api.list(resource) for resource in (CRON_JOBS, JOBS)])
    assert api.get(FEATURE_VIEWS, "team-a", "late")
    api.close()


def two_owners(api: Api, namespace: str) -> Object | None:
    """The one Secret of the store's URL, once both views of the namespace own it."""
    found = api.get(SECRETS, namespace, names.STORE_SECRET)
    return found if found and len(found["metadata"]["ownerReferences"]) == 2 else None


def test_what_is_watched_of_each_kind() -> None:
    scope = OperatorSettings.load({"MILLRACE_NAMESPACES": "a, b", "MILLRACE_NAMESPACE": "own"}).scope()
    assert scope.of(FEATURE_VIEWS) == ("a", "b")
    assert scope.of(JOBS) == scope.of(PODS) == ("a", "b", "own")
    assert scope.of(NODES) == ()
    assert Scope(("a", "own"), "own").of(JOBS) == ("a", "own")
    everywhere = OperatorSettings.load({}).scope()
    assert everywhere.of(JOBS) == everywhere.of(NODES) == ("",)
