"""The e2e tests know only a kubeconfig: that of the embedded mode, or of any cluster in MILLRACE_E2E_KUBECONFIG.

To such a cluster the millrace node is attached, since its own nodes cannot run this checkout; its pods get addresses of
MILLRACE_E2E_POD_CIDR.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from millrace_local.stack import LocalStack
from tests.e2e.kubectl import Kubectl, Proxy, proxy

REPOSITORY = Path(__file__).parents[2]
REAL_CRDS = REPOSITORY.parent / "shared" / "crds"
UP_SECONDS = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = f"{Path(__file__).parent}/"
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.e2e)


@dataclass(frozen=True)
class ClusterUnderTest:
    """The cluster under test: how to reach its API and, through the mesh, its services."""

    kubeconfig: Path
    ingress_url: str
    store_url: str
    looking: Proxy


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    given = os.environ.get("MILLRACE_E2E_KUBECONFIG")
    stack = LocalStack(
        tmp_path_factory.mktemp("stack"),
        ports="random",
        third_party_crds=REAL_CRDS if REAL_CRDS.is_dir() and not given else None,
        kubeconfig=Path(given) if given else None,
        pod_cidr=os.environ.get("MILLRACE_E2E_POD_CIDR"),
        detach=False,
    )
    stack.up(UP_SECONDS)
    try:
        with proxy(stack.kubeconfig) as looking:
            yield ClusterUnderTest(stack.kubeconfig, stack.ingress_url, stack.store_url, looking)
    finally:
        stack.down()


@contextmanager
def in_namespace(target: ClusterUnderTest) -> Iterator[Kubectl]:
    """kubectl in a fresh namespace, whose deletion begins afterwards."""
    cluster = Kubectl(target.kubeconfig, f"e2e-{uuid.uuid4().hex[:8]}", target.looking)
    cluster.run("create", "namespace", cluster.namespace)
    try:
        yield cluster
    finally:
        cluster.run("delete", "namespace", cluster.namespace, "--wait=false", check=False)


@pytest.fixture
def kubectl(target: ClusterUnderTest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own; a module whose tests change nothing has one of its own scope."""
    with in_namespace(target) as cluster:
        yield cluster
