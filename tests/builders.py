"""Small builders of the three kinds as the YAML a user would write: start from what is valid, change one thing."""

from __future__ import annotations

import copy
from typing import Any


class Built:
    """An object under construction; every method returns a changed copy."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def having(self, path: str, value: Any) -> Built:
        """The same object with the dotted ``path`` set, such as ``spec.scaling.max``."""
        document = copy.deepcopy(self._document)
        node = document
        *parents, last = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
        return Built(document)

    def without(self, path: str) -> Built:
        """The same object without the dotted ``path``."""
        document = copy.deepcopy(self._document)
        node = document
        *parents, last = path.split(".")
        for parent in parents:
            node = node[parent]
        del node[last]
        return Built(document)

    def build(self) -> dict[str, Any]:
        """The document."""
        return copy.deepcopy(self._document)


def _object(kind: str, name: str, spec: dict[str, Any]) -> Built:
    return Built({"apiVersion": "millrace.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})


def feature_view(name: str, uri: str = "file:///nowhere/") -> Built:
    """A view of one int64 entity ``user_id`` with a float64 ``amount`` and an int64 ``visits``."""
    return _object(
        "FeatureView",
        name,
        {
            "entities": [{"name": "user_id", "type": "int64"}],
            "source": {"parquet": {"uri": uri}, "timestampField": "event_timestamp"},
            "features": [{"name": "amount", "type": "float64"}, {"name": "visits", "type": "int64"}],
            "materialization": {"schedule": "0 0 1 1 *"},
        },
    )


def model_deployment(name: str, uri: str = "file:///nowhere/model.onnx", service: str | None = None) -> Built:
    """A deployment of one pod."""
    spec: dict[str, Any] = {"model": {"uri": uri}}
    if service:
        spec["service"] = service
    return _object("ModelDeployment", name, spec)


def experiment(name: str, service: str, control: str, challenger: str) -> Built:
    """An 80/20 A/B test."""
    return _object(
        "Experiment",
        name,
        {
            "type": "ABTest",
            "service": service,
            "arms": [
                {"name": "control", "deployment": control, "control": True},
                {"name": "challenger", "deployment": challenger, "weight": 20},
            ],
            "routing": {"settle": "500ms"},
        },
    )


def bandit(name: str, service: str, control: str, challenger: str) -> Built:
    """A bandit over clicks."""
    arms = [
        {"name": "control", "deployment": control, "control": True},
        {"name": "challenger", "deployment": challenger},
    ]
    clicks = {"name": "ctr", "role": "primary", "kind": "proportion", "source": {"outcome": "click"}}
    built = experiment(name, service, control, challenger).having("spec.type", "Bandit")
    return built.having("spec.arms", arms).having("spec.metrics", [clicks])


def canary(name: str, service: str, control: str, challenger: str, steps: list[dict[str, Any]]) -> Built:
    """A canary with these steps."""
    return (
        experiment(name, service, control, challenger)
        .having("spec.type", "Canary")
        .having("spec.steps", steps)
        .having(
            "spec.arms",
            [
                {"name": "control", "deployment": control, "control": True},
                {"name": "challenger", "deployment": challenger},
            ],
        )
    )
