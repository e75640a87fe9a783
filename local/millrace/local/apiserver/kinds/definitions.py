"""The strategy of CustomResourceDefinitions: names, versions, schemas, conditions."""

from __future__ import annotations

from millrace.local.apiserver.crds import CRD_FINALIZER
from millrace.local.apiserver.strategy import Cluster, Obj, Strategy


class DefinitionStrategy(Strategy):
    """A CRD is established in the very write that creates it."""

    def prepare(self, obj: Obj, old: Obj | None, cluster: Cluster) -> None:
        """Defaults the names and writes the status."""
        spec = obj["spec"]
        names = spec["names"]
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
        spec.setdefault("conversion", {"strategy": "None"})
        if old is None:
            obj["metadata"].setdefault("finalizers", []).append(CRD_FINALIZER)
        status = obj.setdefault("status", {})
        status["acceptedNames"] = dict(names)
        stored = status.setdefault("storedVersions", [])
        stored += [v["name"] for v in spec["versions"] if v.get("storage") and v["name"] not in stored]
        if "conditions" not in status:
            status["conditions"] = [
                _condition("NamesAccepted", "NoConflicts", "no conflicts found", cluster.now),
                _condition("Established", "InitialNamesAccepted", "the initial names have been accepted", cluster.now),
            ]


def _condition(kind: str, reason: str, message: str, now: str) -> Obj:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now}
