"""Strategies of small kinds: autoscalers, network policies, roles, classes."""

from __future__ import annotations

from millrace_local.apiserver.schema.errors import FieldError, invalid, not_supported
from millrace_local.apiserver.strategy import Draft, Obj, Plain, Strategy, fill, immutable

_RBAC = "rbac.authorization.k8s.io"
_CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}


class ScalerStrategy(Plain):
    """HorizontalPodAutoscalers, as ``autoscaling/v2`` has them."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        """One replica at least; 80% of the CPU where no metric is named (v2 only: v1 has it in a field)."""
        spec = obj["spec"]
        fill(spec, {"minReplicas": 1})
        if obj["apiVersion"] == "autoscaling/v2" and not spec.get("metrics"):
            spec["metrics"] = [_CPU]

    def check(self, draft: Draft) -> list[FieldError]:
        """The bounds are in order."""
        obj = draft.obj
        spec = obj["spec"]
        if spec["maxReplicas"] < spec["minReplicas"]:
            return [invalid("spec.maxReplicas", spec["maxReplicas"], "must be greater than or equal to `minReplicas`")]
        return []


class NetworkPolicyStrategy(Strategy):
    """Kept, not enforced."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        """Ingress always, egress where there are rules for it."""
        spec = obj["spec"]
        fill(spec, {"policyTypes": ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]})
        for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
            for port in rule.get("ports") or ():
                fill(port, {"protocol": "TCP"})


class RoleBindingStrategy(Plain):
    """Binds a role for good: the reference never changes."""

    def default(self, obj: Obj) -> None:
        """The API groups of role and subjects."""
        fill(obj["roleRef"], {"apiGroup": _RBAC})
        for subject in obj.get("subjects") or ():
            if subject["kind"] != "ServiceAccount":
                fill(subject, {"apiGroup": _RBAC})

    def check(self, draft: Draft) -> list[FieldError]:
        """The reference is to a role and stays."""
        obj, old = draft.obj, draft.old
        if obj["roleRef"]["kind"] not in ("Role", "ClusterRole"):
            return [not_supported("roleRef.kind", obj["roleRef"]["kind"], ["ClusterRole", "Role"])]
        if old is not None and obj["roleRef"] != old["roleRef"]:
            return [invalid("roleRef", obj["roleRef"], "cannot change roleRef")]
        return []


class PriorityClassStrategy(Plain):
    """A number with a name."""

    def default(self, obj: Obj) -> None:
        """The preemption policy."""
        fill(obj, {"preemptionPolicy": "PreemptLowerPriority"})

    def check(self, draft: Draft) -> list[FieldError]:
        """The number is fixed."""
        obj, old = draft.obj, draft.old
        return immutable(obj, old, "value", "preemptionPolicy")


class StorageClassStrategy(Plain):
    """Kept for those who name it."""

    def default(self, obj: Obj) -> None:
        """Reclaim policy and binding mode."""
        fill(obj, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})

    def check(self, draft: Draft) -> list[FieldError]:
        """All but the expansion is fixed."""
        obj, old = draft.obj, draft.old
        return immutable(obj, old, "provisioner", "parameters", "reclaimPolicy", "volumeBindingMode")
