"""Strategies of small kinds: autoscalers, network policies, roles, classes."""

from __future__ import annotations

from millrace_core.schema.errors import FieldError, invalid, not_supported
from millrace_local.apiserver.strategy import Draft, NoGenerationStrategy, Obj, Strategy, fill, immutable

_RBAC = "rbac.authorization.k8s.io"
_CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}


class ScalerStrategy(NoGenerationStrategy):
    """HorizontalPodAutoscalers, as ``autoscaling/v2`` has them."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        """At least one replica; 80% CPU where no metric is named (v2 only: v1 has a field for it)."""
        spec = obj["spec"]
        fill(spec, {"minReplicas": 1})
        if obj["apiVersion"] == "autoscaling/v2" and not spec.get("metrics"):
            spec["metrics"] = [_CPU]

    def check(self, draft: Draft) -> list[FieldError]:
        obj = draft.obj
        spec = obj["spec"]
        if spec["maxReplicas"] < spec["minReplicas"]:
            return [invalid("spec.maxReplicas", spec["maxReplicas"], "must be greater than or equal to `minReplicas`")]
        return []


class NetworkPolicyStrategy(Strategy):
    """NetworkPolicies are stored; nothing here enforces them."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        spec = obj["spec"]
        fill(spec, {"policyTypes": ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]})
        for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
            for port in rule.get("ports") or ():
                fill(port, {"protocol": "TCP"})


class RoleBindingStrategy(NoGenerationStrategy):
    """RoleBindings and ClusterRoleBindings: the role reference never changes."""

    def default(self, obj: Obj) -> None:
        fill(obj["roleRef"], {"apiGroup": _RBAC})
        for subject in obj.get("subjects") or ():
            if subject["kind"] != "ServiceAccount":
                fill(subject, {"apiGroup": _RBAC})

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        if obj["roleRef"]["kind"] not in ("Role", "ClusterRole"):
            return [not_supported("roleRef.kind", obj["roleRef"]["kind"], ["ClusterRole", "Role"])]
        if old is not None and obj["roleRef"] != old["roleRef"]:
            return [invalid("roleRef", obj["roleRef"], "cannot change roleRef")]
        return []


class PriorityClassStrategy(NoGenerationStrategy):
    """PriorityClasses: the value never changes."""

    def default(self, obj: Obj) -> None:
        fill(obj, {"preemptionPolicy": "PreemptLowerPriority"})

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        return immutable(obj, old, "value", "preemptionPolicy")


class StorageClassStrategy(NoGenerationStrategy):
    """StorageClasses are stored; only ``allowVolumeExpansion`` may change."""

    def default(self, obj: Obj) -> None:
        fill(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        return immutable(obj, old, "provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
