"""What one stack is made of: its folder, its ports, and what runs in it."""

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
class Layout:
    """The files below the root folder of a stack."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """Reaches the API server of this stack."""
        return self.root / "kubeconfig"

    @property
    def settings(self) -> Path:
        """What the running, or else the next, supervisor is told to run."""
        return self.root / "stack.json"

    @property
    def state(self) -> Path:
        """What the supervisor runs; see ``state.py``."""
        return self.root / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.root / "lock"

    @property
    def api(self) -> Path:
        """The API server's journal."""
        return self.root / "api"

    @property
    def store(self) -> Path:
        """The online store's data."""
        return self.root / "store"

    @property
    def mesh(self) -> Path:
        """Envoy's configuration."""
        return self.root / "mesh"

    @property
    def platform(self) -> Path:
        """The platform's own objects, as the API server reads them at its start."""
        return self.root / "platform"

    @property
    def registry(self) -> Path:
        """The registry's database."""
        return self.root / "registry"

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
        ports: where its servers listen.
        store_url: a store that runs elsewhere; empty for one of its own.
        prometheus_url: the Prometheus that the operator reads; empty for none.
        crds: folders or files of CRDs that the API server starts with.
        faults: whether the API server takes orders to fail, for tests.
        components: the components to run.
        given_kubeconfig: the cluster to attach to; None for an API server of its own.
        pod_cidr: the addresses that pods get; empty for the node's own choice.
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

    @property
    def layout(self) -> Layout:
        """The files of this stack."""
        return Layout(self.root)

    @property
    def kubeconfig(self) -> Path:
        """How to reach the API server."""
        return self.given_kubeconfig or self.layout.kubeconfig

    @property
    def api_url(self) -> str:
        """The address of the stack's own API server."""
        return f"http://{HOST}:{self.ports.api}"

    @property
    def ingress_url(self) -> str:
        """The mesh's address, which is also the proxy of pods and operator."""
        return f"http://{HOST}:{self.ports.ingress}"

    @property
    def redis_url(self) -> str:
        """The online store's address."""
        return self.store_url or f"redis://{HOST}:{self.ports.store}/0"

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
