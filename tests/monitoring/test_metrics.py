"""The metrics that running processes expose are those that are documented, under one set of names."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from millrace_kube.resources import FEATURE_VIEWS, NAMESPACES
from millrace_local.apiserver.process import RunningServer
from tests.builders import feature_view
from tests.monitoring.conftest import Families, families, free_port
from tests.operators.harness import Api
from tests.running_service import StartService

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
ROW = re.compile(r"\| (?P<processes>[^|]+) \| `(?P<name>millrace_\w+)` \| (?P<labels>[^|]*)\|")
OF_MODELS = {"model", "version", "deployment"}
# What a histogram, a counter, and a gauge with a unit are called by.
UNITS = {"histogram": ("_seconds", "_rows", "_requests"), "counter": ("_total",)}


def documented(process: str) -> dict[str, set[str]]:
    """The labels of each metric of a process, as the docs have them."""
    rows = [match for line in OPERATIONS.read_text().splitlines() if (match := ROW.match(line))]
    return {row["name"]: set(re.findall(r"`(\w+)`", row["labels"])) for row in rows if process in row["processes"]}


def seen_labels(exposed: Families, name: str) -> set[str]:
    return {label for sample in exposed[name].samples for label in sample.labels} - {"le"}


def check(process: str, exposed: Families, always: set[str]) -> None:
    told = documented(process)
    assert set(exposed) == set(told)
    for name, labels in told.items():
        seen = seen_labels(exposed, name)
        assert seen <= labels | always, name
        assert labels <= seen or not exposed[name].samples or labels - seen == {"arm"}, name
        assert name.endswith(UNITS.get(exposed[name].type, "")), name


@pytest.mark.parametrize("process", ["gateway", "registry", "inference"])
def test_a_service_exposes_what_is_documented(services: Mapping[str, Families], process: str) -> None:
    check(process, services[process], OF_MODELS if process == "inference" else set())


def test_every_metric_of_a_model_has_model_version_and_deployment(services: Mapping[str, Families]) -> None:
    for name, family in services["inference"].items():
        assert all(sample.labels.keys() >= OF_MODELS for sample in family.samples), name


@pytest.mark.slow
def test_the_operator_exposes_what_is_documented(start_service: StartService, fresh: RunningServer) -> None:
    api = Api(fresh)
    api.create(NAMESPACES, {"metadata": {"name": "millrace-system"}})
    api.create(FEATURE_VIEWS, feature_view("clicks").having("metadata.namespace", "default").build())
    port = free_port()
    operator = start_service(
        "-m",
        "millrace_operators.operator",
        listening=False,
        KUBECONFIG=str(fresh.kubeconfig),
        MILLRACE_HEALTH_PORT=str(port),
        MILLRACE_STORE_URL="redis://127.0.0.1:1",
    )
    until = time.monotonic() + 60
    while 'name="clicks",namespace="default",status="True",type="Accepted"' not in (text := _scraped(port)):
        assert time.monotonic() < until, operator.log() + text
        time.sleep(0.05)
    check("operator", families(f"http://127.0.0.1:{port}"), set())
    api.close()


def _scraped(port: int) -> str:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics").text
    except httpx.HTTPError:
        return ""
