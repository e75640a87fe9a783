"""The settings of one stack: its folder, its ports, and what it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """TCP ports on 127.0.0.1. ``operator`` serves the operator's health and metrics."""

    api: int = 16443
    ingress: int = 18080
    store: int = 16379
    operator: int = 18081


@dataclass(frozen=True)
class StackPaths:
    """The files below the root folder of a stack."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of this stack's API server."""
        return self.root / "kubeconfig"

    @property
    def settings(self) -> Path:
        """The settings of the running, or the next, supervisor."""
        return self.root / "stack.json"

    @property
    def state(self) -> Path:
        """What the supervisor runs; see ``state.py``."""
        return self.root / "state.json"

    @property
    def lock(self) -> Path:
        """The supervisor locks it as long as it lives."""
        return self.root / "lock"

    @property
    def models(self) -> Path:
        """The node's cache of models."""
        return self.root / "models"

    @property
    def api(self) -> Path:
        """The folder of the API server's journal."""
        return self.root / "api"

    @property
    def store(self) -> Path:
        """The online store's data."""
        return self.root / "store"

    @property
    def store_settings(self) -> Path:
        """The online store's settings: a command line would show its password to every user of the machine."""
        return self.store / "valkey.conf"

    @property
    def mesh(self) -> Path:
        """Envoy's configuration."""
        return self.root / "mesh"

    @property
    def pods(self) -> Path:
        """The files of pods, by uid."""
        return self.root / "pods"

    @property
    def platform(self) -> Path:
        """The platform's own objects, which the API server creates at its start."""
        return self.root / "platform"

    @property
    def registry(self) -> Path:
        """The registry's database."""
        return self.root / "registry"

    @property
    def lake(self) -> Path:
        """The evidence lake."""
        return self.root / "lake"

    @property
    def logs(self) -> Path:
        """One log file per component."""
        return self.root / "logs"

    def log(self, component: str) -> Path:
        """The log of one component, or of the ``supervisor``."""
        return self.logs / f"{component}.log"


@dataclass(frozen=True)
class StackSettings:
    """What a supervisor runs.

    Attributes:
        root: absolute path of the stack's folder.
        ports: the ports of its servers.
        store_url: a store that runs elsewhere; empty for one of its own.
        prometheus_url: the Prometheus that the operator reads; empty for none.
        crds: folders or files of CRDs that the API server creates at its start.
        faults: whether the API server serves ``/faults``, for tests.
        components: the components to run.
        given_kubeconfig: the cluster to attach to; None for an API server of its own.
        pod_cidr: the addresses for pods; empty for the node's default.
        store_password: the password of the stack's own store.
        mesh_secret: what pods know requests of the mesh by.
    """

    root: Path
    ports: Ports = field(default_factory=Ports)
    store_url: str = ""
    prometheus_url: str = ""
    crds: tuple[Path, ...] = ()
    faults: bool = False
    components: tuple[str, ...] = ()
    given_kubeconfig: Path | None = None
    pod_cidr: str = ""
    store_password: str = field(default="", repr=False)
    mesh_secret: str = field(default="", repr=False)

    @property
    def paths(self) -> StackPaths:
        """The files of this stack."""
        return StackPaths(self.root)

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of the API server."""
        return self.given_kubeconfig or self.paths.kubeconfig

    @property
    def api_url(self) -> str:
        """The URL of the stack's own API server."""
        return f"https://{HOST}:{self.ports.api}"

    @property
    def ingress_url(self) -> str:
        """The URL of the mesh, which is also the proxy of pods and operator."""
        return f"http://{HOST}:{self.ports.ingress}"

    @property
    def redis_url(self) -> str:
        """The URL of the online store."""
        return self.store_url or f"redis://:{self.store_password}@{HOST}:{self.ports.store}/0"

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        given = self.given_kubeconfig and str(self.given_kubeconfig)
        crds = [str(path) for path in self.crds]
        return {**asdict(self), "root": str(self.root), "crds": crds, "given_kubeconfig": given}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The settings that ``to_json`` wrote."""
        given = document.get("given_kubeconfig")
        return cls(
            **{
                **document,
                "root": Path(document["root"]),
                "ports": Ports(**document["ports"]),
                "crds": tuple(Path(path) for path in document["crds"]),
                "components": tuple(document["components"]),
                "given_kubeconfig": Path(given) if given else None,
            }
        )
