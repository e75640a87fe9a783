"""Strategies of the core group's kinds."""

from __future__ import annotations

from millrace.local.apiserver.strategy import Cluster, Obj, Plain


class NamespaceStrategy(Plain):
    """Active until deleted; then Terminating until it is empty."""

    def prepare(self, obj: Obj, old: Obj | None, cluster: Cluster) -> None:
        """Sets the phase, the finalizer of the spec and the label that carries the name."""
        obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        if old is None:
            obj["status"] = {"phase": "Active"}
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get("name", "")

    def grace(self, obj: Obj, asked: int | None) -> int:
        """Namespaces are never removed at once: their contents go first."""
        return 0

    def deleting(self, obj: Obj) -> None:
        """The phase that says so."""
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}


class NodeStrategy(Plain):
    """Nodes register themselves with their status, and report labels with it."""

    status_metadata = True
    keeps_status_on_create = True


class PodStrategy(Plain):
    """Pods wait for their node to end them."""

    status_metadata = True

    def prepare(self, obj: Obj, old: Obj | None, cluster: Cluster) -> None:
        """Defaults that clients rely on."""
        spec = obj.get("spec") or {}
        spec.setdefault("restartPolicy", "Always")
        spec.setdefault("terminationGracePeriodSeconds", 30)
        if old is None:
            obj["status"] = {"phase": "Pending", "qosClass": "BestEffort"}

    def grace(self, obj: Obj, asked: int | None) -> int:
        """The pod's own period unless asked otherwise; none before it runs or after it ended."""
        if not obj["spec"].get("nodeName") or obj.get("status", {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        own = obj["spec"].get("terminationGracePeriodSeconds", 30)
        return max(0, own if asked is None else asked)


class ServiceStrategy(Plain):
    """Services get an address."""

    def prepare(self, obj: Obj, old: Obj | None, cluster: Cluster) -> None:
        """Defaults that clients rely on."""
        spec = obj.setdefault("spec", {})
        spec.setdefault("type", "ClusterIP")
        if old is None:
            obj["status"] = {"loadBalancer": {}}
