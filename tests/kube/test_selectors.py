"""Selectors and paths mean what Kubernetes means."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_kube.resources import DEPLOYMENTS, NODES, PODS
from millrace_kube.selectors import matches, matches_map, matches_node_terms


def test_paths_are_those_of_the_api() -> None:
    assert PODS.path("ns", "p", "log") == "/api/v1/namespaces/ns/pods/p/log"
    assert DEPLOYMENTS.path("ns") == "/apis/apps/v1/namespaces/ns/deployments"
    assert DEPLOYMENTS.path() == "/apis/apps/v1/deployments"
    assert NODES.path("ignored", "n") == "/api/v1/nodes/n"


@pytest.mark.parametrize(
    ("rule", "selected"),
    [
        ({"operator": "In", "values": ["1", "2"]}, True),
        ({"operator": "NotIn", "values": ["1"]}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "DoesNotExist"}, False),
        ({"operator": "Gt", "values": ["0"]}, True),
        ({"operator": "Lt", "values": ["1"]}, False),
    ],
)
def test_selector_expressions_mean_what_kubernetes_means(rule: dict[str, Any], selected: bool) -> None:
    assert matches({"matchExpressions": [{"key": "a", **rule}]}, {"a": "1"}) is selected


def test_empty_selectors_differ() -> None:
    assert matches({}, {"a": "1"})
    assert not matches(None, {"a": "1"})
    assert not matches_map({}, {"a": "1"})
    assert matches_map({"a": "1"}, {"a": "1", "b": "2"})
    assert not matches({"matchLabels": {"b": "1"}}, {"a": "1"})


def test_node_terms_are_alternatives_of_labels_and_names() -> None:
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    by_label = {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
    assert matches_node_terms([by_label, by_name], {}, "n")
    assert not matches_node_terms([by_label], {}, "n")
    assert not matches_node_terms([{}], {"gpu": ""}, "n")
