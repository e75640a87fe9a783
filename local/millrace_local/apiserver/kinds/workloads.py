"""Strategies of the workloads that keep pods running: Deployments and their like."""

from __future__ import annotations

from typing import ClassVar

from millrace_core.schema.errors import FieldError, invalid, required
from millrace_local.apiserver.kinds.podspec import default_pod_spec, selector_errors, template_errors, unchanged
from millrace_local.apiserver.strategy import Draft, NoGenerationStrategy, Obj, Strategy, fill, immutable


class _Workload(Strategy):
    """What workloads share: a selector that selects the pods of the template and never changes."""

    has_spec = True
    defaults: ClassVar[Obj] = {"replicas": 1}
    fixed: ClassVar[tuple[str, ...]] = ("spec.selector",)

    def default(self, obj: Obj) -> None:
        spec = obj["spec"]
        fill(spec, self.defaults)
        default_pod_spec(spec["template"].setdefault("spec", {}))

    def prepare(self, draft: Draft) -> None:
        obj = draft.obj
        fill(obj, {"status": {}})

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        spec = obj["spec"]
        errors = selector_errors(spec) + template_errors(spec["template"], ("Always",))
        if spec.get("replicas", 0) < 0:
            errors.append(invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
        return errors + immutable(obj, old, *self.fixed)


class DeploymentStrategy(_Workload):
    """Deployments: by default a rolling update by a quarter of the replicas."""

    defaults: ClassVar[Obj] = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}

    def default(self, obj: Obj) -> None:
        super().default(obj)
        strategy = obj["spec"].setdefault("strategy", {})
        fill(strategy, {"type": "RollingUpdate"})
        if strategy["type"] == "RollingUpdate":
            fill(strategy, {"rollingUpdate": {}})
            fill(strategy["rollingUpdate"], {"maxUnavailable": "25%", "maxSurge": "25%"})

    def check(self, draft: Draft) -> list[FieldError]:
        """A rolling update needs ``maxSurge`` or ``maxUnavailable`` above 0."""
        obj = draft.obj
        errors = super().check(draft)
        strategy = obj["spec"]["strategy"]
        rolling = strategy.get("rollingUpdate")
        path = "spec.strategy.rollingUpdate"
        if strategy["type"] == "Recreate" and rolling:
            message = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
            errors.append(FieldError("FieldValueForbidden", path, message))
        elif rolling and {rolling["maxSurge"], rolling["maxUnavailable"]} <= {0, "0", "0%"}:
            why = "may not be 0 when `maxSurge` is 0"
            errors.append(invalid(f"{path}.maxUnavailable", rolling["maxUnavailable"], why))
        if obj["spec"]["progressDeadlineSeconds"] <= obj["spec"].get("minReadySeconds", 0):
            path, value = "spec.progressDeadlineSeconds", obj["spec"]["progressDeadlineSeconds"]
            errors.append(invalid(path, value, "must be greater than minReadySeconds"))
        return errors


class ReplicaSetStrategy(_Workload):
    """ReplicaSets."""


class StatefulSetStrategy(_Workload):
    """StatefulSets: only the fields that Kubernetes names may change."""

    defaults: ClassVar[Obj] = {
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    }
    fixed: ClassVar[tuple[str, ...]] = ()
    _free = (
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
        "revisionHistoryLimit",
    )

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        errors = super().check(draft)
        if old is not None:
            free = ", ".join(f"'{name}'" for name in self._free)
            why = f"updates to statefulset spec for fields other than {free} are forbidden"
            errors += unchanged(obj["spec"], old["spec"], self._free, "spec", why)
        return errors


class DaemonSetStrategy(_Workload):
    """DaemonSets."""

    defaults: ClassVar[Obj] = {
        "revisionHistoryLimit": 10,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
    }


class ReplicationControllerStrategy(Strategy):
    """ReplicationControllers: the selector is a plain map, by default the labels of the template."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        spec = obj["spec"]
        fill(spec, {"replicas": 1})
        template = spec.get("template")
        if template:
            default_pod_spec(template.setdefault("spec", {}))
            labels = (template.get("metadata") or {}).get("labels") or {}
            fill(spec, {"selector": labels})

    def check(self, draft: Draft) -> list[FieldError]:
        obj = draft.obj
        template = obj["spec"].get("template")
        return template_errors(template, ("Always",)) if template else [required("spec.template")]


class ControllerRevisionStrategy(NoGenerationStrategy):
    """ControllerRevisions: the data never changes."""

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        return immutable(obj, old, "data")
