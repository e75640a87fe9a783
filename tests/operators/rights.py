"""The operators work here with the chart's own rights, and each right of the chart is one that they were seen to use.

While ``granted`` lasts, the API server refuses what the chart does not allow, and at its end the test fails for every
refusal. What was used is recorded by ``make rights`` in ``rights.yaml``, which the tests of the chart compare with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml

from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of
from tests.charts.rendering import STORE, rendered

TABLE = Path(__file__).parent / "rights.yaml"
OPERATOR = "millrace-operator"
OWN_NAMESPACE = "millrace-system"
_RECORDING = os.environ.get("MILLRACE_WRITE_RIGHTS") == "1"
_EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}

Right = tuple[str, str, str]


@contextmanager
def granted(server: RunningServer, values: dict[str, Any] | None = None) -> Iterator[RunningServer]:
    """The server, of which the operator may do only what the chart, with these values, allows it."""
    grants = [_EVERYTHING] if _RECORDING else grants_of(values)
    path = "/faults/access"
    with client_of(server) as http:
        http.put(path, json={"userAgent": OPERATOR, "grants": grants}).raise_for_status()
    yield server
    try:
        with client_of(server) as http:
            seen = http.get(path).json()
    except httpx.HTTPError:  # a test that ends its server
        return
    if _RECORDING:
        _record(seen["used"])
    assert seen["denied"] == []


def grants_of(values: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """What the chart allows the operator."""
    return list(_grants(yaml.safe_dump(values or {})))


@cache
def _grants(values: str) -> tuple[dict[str, Any], ...]:
    documents = rendered({**STORE, **yaml.safe_load(values)}, namespace=OWN_NAMESPACE)
    roles = {
        (each["kind"], each["metadata"].get("namespace", OWN_NAMESPACE), each["metadata"]["name"]): each
        for each in documents
    }
    grants = []
    for binding in documents:
        if not binding["kind"].endswith("RoleBinding") or binding["subjects"][0]["name"] != OPERATOR:
            continue
        wide = binding["kind"] == "ClusterRoleBinding"
        namespace = "" if wide else binding["metadata"].get("namespace", OWN_NAMESPACE)
        reference = binding["roleRef"]
        place = OWN_NAMESPACE if reference["kind"] == "ClusterRole" else namespace
        role = roles[reference["kind"], place, reference["name"]]
        grants += [{**rule, "namespace": namespace} for rule in role["rules"]]
    return tuple(grants)


def recorded() -> dict[str, set[Right]]:
    """The rights that were seen in use: everywhere, and in the operator's own namespace alone."""
    table = yaml.safe_load(TABLE.read_text()) if TABLE.exists() else {}
    return {where: _expanded((table or {}).get(where) or {}) for where in ("everywhere", "own")}


def _expanded(table: dict[str, list[str]]) -> set[Right]:
    found = set()
    for name, verbs in table.items():
        resource, _, group = name.partition(".")
        found |= {(group, resource, verb) for verb in verbs}
    return found


def _record(used: list[dict[str, str]]) -> None:
    seen = recorded()
    for call in used:
        where = "own" if call["namespace"] == OWN_NAMESPACE else "everywhere"
        seen[where].add((call["group"], call["resource"], call["verb"]))
    table: dict[str, dict[str, list[str]]] = {where: {} for where in seen}
    for where, rights in seen.items():
        for group, resource, verb in sorted(rights):
            table[where].setdefault(f"{resource}.{group}" if group else resource, []).append(verb)
    TABLE.write_text(yaml.safe_dump(table, sort_keys=False, default_flow_style=None))
