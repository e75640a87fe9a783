"""What the operators' children need to know of the platform around them; made from the operator's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from millrace_core.api.base import Quantity
from millrace_core.base import destinations
from millrace_core.base.bearer import OPEN, TOKEN_FILE, Bearer
from millrace_core.base.destinations import Outgoing
from millrace_core.base.quantities import quantity
from millrace_core.base.settings import SECRET_PREFIX
from millrace_operators.resilience import Resilience

# Where a pod has its Secret with tokens.
_TOKEN_FOLDER: Final = "/var/millrace/token"  # noqa: S105 a path


@dataclass(frozen=True)
class DefaultResources:
    """Requests and limits of each kind of container, where the object that it is made for states none.

    Args:
        materialize: of runs of a view.
        purge: of Jobs that delete a view's online rows.
        fetch: of the init container that brings a model.
        serve: of the container that serves it.
        gate: of the container that judges one before it serves.
    """

    materialize: Mapping[str, Any] = field(default_factory=lambda: _amounts(("500m", "512Mi"), ("2", "2Gi")))
    purge: Mapping[str, Any] = field(default_factory=lambda: _amounts(("500m", "512Mi"), ("1", "1Gi")))
    fetch: Mapping[str, Any] = field(default_factory=lambda: _amounts(("100m", "128Mi"), ("1", "512Mi")))
    serve: Mapping[str, Any] = field(default_factory=lambda: _amounts(("250m", "256Mi"), ("4", "4Gi")))
    gate: Mapping[str, Any] = field(default_factory=lambda: _amounts(("250m", "512Mi"), ("4", "4Gi")))


def _amounts(request: tuple[str, str], limit: tuple[str, str]) -> dict[str, Any]:
    names = ("cpu", "memory")
    return {"requests": dict(zip(names, request, strict=True)), "limits": dict(zip(names, limit, strict=True))}


class ModelCache(BaseModel):
    """Where nodes keep the models that their pods have had: a folder of each node, or a claim of each namespace."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    host_path: str = Field(
        default="",
        pattern=r"^(/[^/]+)*$",
        description="A folder of the node that pods may write to (mode 1777); each namespace has a folder in it",
    )
    claim: str = Field(
        default="",
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$",
        description="Or a PersistentVolumeClaim of this name, in every namespace with ModelDeployments",
    )
    size: Quantity = Field(default="50Gi", description="Most that the models of one folder may take")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.host_path) == bool(self.claim):
            raise ValueError("one of hostPath and claim says where the cache is")
        if quantity(self.size) < 1:
            raise ValueError("size is at least one byte")
        return self

    @property
    def bytes(self) -> int:
        """``size``, in bytes."""
        return int(quantity(self.size))


class PodToken(NamedTuple):
    """The parts of a pod that bring a token to its process; empty where it needs none."""

    env: dict[str, str]
    mounts: list[dict[str, Any]]
    volumes: list[dict[str, Any]]


@dataclass(frozen=True)
class Platform:
    """Constants of one installation.

    Args:
        inference_image: container image of inference pods on CPUs.
        gpu_image: container image of inference pods on GPUs.
        materialize_image: container image of Jobs that materialize and purge.
        namespace: the operator's own namespace.
        registry_url: base URL of the registry, as pods reach it; empty: there is none.
        gateway_url: base URL of the online-store gateway, as pods reach it; empty: there is none.
        store_url: URL of the online store, as pods reach it; empty: there is none.
        store_secret: Secret of the operator's own namespace that has that URL under the key ``url``.
        token_secret: Secret of each pod's own namespace that has, under the key ``tokens``, what the pod shows to
            registry and gateway; empty: they ask for nothing.
        bearer: what the operator itself shows them.
        prometheus_url: base URL of Prometheus, as KEDA and the operator reach it; empty: there is none.
        resources: of containers whose object states none.
        serve_env: variables of every container that serves a model, beside its own, which go first.
        model_max_bytes: of a model's files: a larger one is not fetched, and its volume holds no more.
        model_cache: where nodes keep models; None: nowhere.
        holdout_max_bytes: of a holdout's file: a larger one is not read.
        image_pull_secrets: names of Secrets of each pod's own namespace, by which its images are pulled.
        lake_uri: where evidence goes that no object names a place for; empty: nowhere.
        lake_secret: name of a Secret of each pod's own namespace that has the keys of that lake; empty: none.
        outgoing: where connections may go that users' objects name.
        trusted_proxies: addresses and networks, with commas between them, whose word on a request's client models take.
        resilience: what proxies do where a pod of a service fails.
    """

    inference_image: str
    gpu_image: str
    materialize_image: str
    namespace: str
    registry_url: str = ""
    gateway_url: str = ""
    store_url: str = ""
    store_secret: str = "millrace-store"  # noqa: S105 a name
    token_secret: str = ""
    bearer: Bearer = OPEN
    prometheus_url: str = ""
    resources: DefaultResources = field(default_factory=DefaultResources)
    serve_env: Mapping[str, str] = field(default_factory=dict)
    model_max_bytes: int = 10 * 1024**3
    model_cache: ModelCache | None = None
    holdout_max_bytes: int = 2 * 1024**3
    image_pull_secrets: tuple[str, ...] = ()
    lake_uri: str = ""
    lake_secret: str = ""
    outgoing: Outgoing = field(default_factory=Outgoing)
    trusted_proxies: str = ""
    resilience: Resilience = field(default_factory=Resilience)

    def going_out(self) -> dict[str, str]:
        """The variables of a pod that connects to what a user's object names."""
        guard = {} if self.outgoing.open else {"AWS_EC2_METADATA_DISABLED": "true"}
        return {destinations.VARIABLE: self.outgoing.as_json(), **guard}

    def token(self) -> PodToken:
        """How the process of a pod comes to its token. A Secret that is not there is for the process to tell of."""
        if not self.token_secret:
            return PodToken({}, [], [])
        volume = {"name": "token", "secret": {"secretName": self.token_secret, "optional": True}}
        mount = {"name": "token", "mountPath": _TOKEN_FOLDER, "readOnly": True}
        return PodToken({TOKEN_FILE: f"{_TOKEN_FOLDER}/tokens"}, [mount], [volume])

    @staticmethod
    def secret(name: str) -> list[dict[str, Any]]:
        """``envFrom`` a user's Secret: under names that mean nothing to the process and its libraries by themselves."""
        return [{"prefix": SECRET_PREFIX, "secretRef": {"name": name}}]

    def image_pulls(self) -> dict[str, Any]:
        """The part of a pod's spec that says how its images are pulled; empty where that needs no Secret."""
        secrets = [{"name": name} for name in self.image_pull_secrets]
        return {"imagePullSecrets": secrets} if secrets else {}
