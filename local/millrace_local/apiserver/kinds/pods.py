"""The strategy of pods."""

from __future__ import annotations

from millrace_core.schema.errors import FieldError
from millrace_local.apiserver.kinds.podspec import default_pod_spec, pod_spec_errors, unchanged
from millrace_local.apiserver.strategy import Draft, NoGenerationStrategy, Obj

_MAY_CHANGE = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates")
_FROZEN = (
    "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, "
    "`spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), "
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


class PodStrategy(NoGenerationStrategy):
    """Pods. A node runs them and confirms their end; the spec is fixed but for images and ``_MAY_CHANGE``."""

    has_spec = True
    status_metadata = True

    def default(self, obj: Obj) -> None:
        default_pod_spec(obj["spec"])

    def prepare(self, draft: Draft) -> None:
        obj, old = draft.obj, draft.old
        if old is not None:
            return
        spec = obj["spec"]
        spec.setdefault("serviceAccountName", "default")
        spec["serviceAccount"] = spec["serviceAccountName"]
        spec.setdefault("enableServiceLinks", True)
        obj["status"] = {"phase": "Pending", "qosClass": _qos_class(spec)}

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        if old is None:
            return pod_spec_errors(obj["spec"], "spec")
        if draft.subresource:
            return []
        return unchanged(_without_images(obj["spec"]), _without_images(old["spec"]), _MAY_CHANGE, "spec", _FROZEN)

    def grace(self, obj: Obj, requested: int | None) -> int:
        """The pod's own period unless asked otherwise; none before it runs or after it ended."""
        if not obj["spec"].get("nodeName") or obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        own = obj["spec"].get("terminationGracePeriodSeconds", 30)
        return max(0, own if requested is None else requested)


def _without_images(spec: Obj) -> Obj:
    bare = dict(spec)
    for field in ("containers", "initContainers"):
        if field in bare:
            bare[field] = [{name: value for name, value in c.items() if name != "image"} for c in bare[field]]
    return bare


def _qos_class(spec: Obj) -> str:
    amounts = [
        (container["resources"].get("requests") or {}, container["resources"].get("limits") or {})
        for container in [*spec["containers"], *(spec.get("initContainers") or ())]
    ]
    if not any(requests or limits for requests, limits in amounts):
        return "BestEffort"
    guaranteed = all({"cpu", "memory"} <= limits.keys() and requests == limits for requests, limits in amounts)
    return "Guaranteed" if guaranteed else "Burstable"
