"""The three kinds: names, models, and the columns of ``kubectl get``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from millrace_core.api import experiment_types
from millrace_core.api.base import ApiModel
from millrace_core.api.experiment import Experiment
from millrace_core.api.featureview import FeatureView
from millrace_core.api.group import FEATURE_VIEWS
from millrace_core.api.modeldeployment import ModelDeployment


@dataclass(frozen=True)
class PrinterColumn:
    """A printer column."""

    name: str
    json_path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True)
class ScalePaths:
    """Where the scale subresource reads and writes: JSON paths."""

    spec_replicas: str
    status_replicas: str
    selector: str


@dataclass(frozen=True)
class Kind:
    """One of the three kinds."""

    name: str
    plural: str
    short_name: str
    model: type[ApiModel]
    columns: tuple[PrinterColumn, ...]
    scale: ScalePaths | None = None


def _condition(kind: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].status'


_AGE: Final = PrinterColumn("Age", ".metadata.creationTimestamp", "date")

FEATURE_VIEW: Final = Kind(
    "FeatureView",
    FEATURE_VIEWS,
    "fv",
    FeatureView,
    (
        PrinterColumn("Entities", ".spec.entities[*].name", description="Join keys"),
        PrinterColumn("Features", ".spec.features[*].name", priority=1, description="Features of the view"),
        PrinterColumn("Schedule", ".spec.materialization.schedule", description="When runs start"),
        PrinterColumn("Watermark", ".status.watermark", description="Event time up to which the store is complete"),
        PrinterColumn("Fresh", _condition("Fresh"), description="Whether the watermark keeps up with the schedule"),
        PrinterColumn("Ready", _condition("Ready"), description="Whether everything is as it should be"),
        _AGE,
    ),
)
MODEL_DEPLOYMENT: Final = Kind(
    "ModelDeployment",
    "modeldeployments",
    "md",
    ModelDeployment,
    (
        PrinterColumn("Service", ".status.url", priority=1, description="Where clients call it"),
        PrinterColumn("Model", ".status.model.version", description="Version that serves"),
        PrinterColumn("Device", ".status.device", description="gpu or cpu"),
        PrinterColumn("Replicas", ".status.replicas.ready", "integer", description="Pods that serve"),
        PrinterColumn("Champion", ".status.champion", "boolean", description="Whether it is its service's champion"),
        PrinterColumn("Gates", ".status.gates.verdict", description="Pass, Fail, Inconclusive, Running or Skipped"),
        PrinterColumn("Rollout", ".status.rollout.phase", priority=1, description="How far a BlueGreen rollout is"),
        PrinterColumn("Ready", _condition("Ready"), description="Whether everything is as it should be"),
        _AGE,
    ),
    # What serves counts, not what runs: `kubectl scale --timeout` waits for it.
    ScalePaths(".spec.replicas", ".status.replicas.ready", ".status.selector"),
)
EXPERIMENT: Final = Kind(
    "Experiment",
    "experiments",
    "exp",
    Experiment,
    (
        PrinterColumn("Type", ".spec.type", description=" or ".join(experiment_types.NAMES)),
        PrinterColumn("Service", ".spec.service", description="Service whose traffic is split"),
        PrinterColumn("Phase", ".status.phase", description="Where the experiment stands"),
        PrinterColumn("Weights", ".status.weights.applied", description="Percent of traffic by arm"),
        PrinterColumn("Lift", ".status.arms[*].lift", description="Difference to the control, of the primary metric"),
        PrinterColumn("P", ".status.arms[*].p", description="p-value of that difference, by Holm over challengers"),
        PrinterColumn("Health", ".status.health", description="healthy, no data, guardrail or sample ratio"),
        PrinterColumn("Decision", ".status.decision.verdict", description="How it ended"),
        PrinterColumn("Days Left", ".status.daysLeft", "integer", description="Until the planned units have come"),
        PrinterColumn("Summary", ".status.summary", priority=1, description="Where it stands, in one sentence"),
        PrinterColumn("Ready", _condition("Ready"), priority=1, description="Whether everything is as it should be"),
        _AGE,
    ),
)
KINDS: Final = (FEATURE_VIEW, MODEL_DEPLOYMENT, EXPERIMENT)
