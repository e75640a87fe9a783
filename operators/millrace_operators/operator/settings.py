"""Settings of the operator's process."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

from pydantic import Field, Json

from millrace_core.api.base import Resources
from millrace_core.base.bearer import TokenSettings
from millrace_core.base.destinations import OutgoingSettings
from millrace_core.base.settings import Names, Networks
from millrace_kube.cache import Scope
from millrace_operators.platform import DefaultResources, ModelCache, Platform
from millrace_operators.resilience import Resilience


def _image(process: str) -> str:
    return f"millrace/{process}:{version('millrace')}"


class OperatorSettings(OutgoingSettings, TokenSettings):
    """Where the operator runs and what it tells its children."""

    inference_image: str = Field(
        default_factory=lambda: _image("inference"),
        alias="MILLRACE_INFERENCE_IMAGE",
        description="Container image of inference pods on CPUs",
    )
    gpu_image: str = Field(
        default_factory=lambda: _image("inference-gpu"),
        alias="MILLRACE_GPU_IMAGE",
        description="Container image of inference pods on GPUs",
    )
    materialize_image: str = Field(
        default_factory=lambda: _image("materialize"),
        alias="MILLRACE_MATERIALIZE_IMAGE",
        description="Container image of Jobs that materialize and purge",
    )
    namespace: str = Field(
        "millrace-system",
        alias="MILLRACE_NAMESPACE",
        description="The operator's own namespace: its Lease, and the Jobs that purge deleted views, are there",
    )
    namespaces: Names = Field(
        (),
        alias="MILLRACE_NAMESPACES",
        description="The namespaces whose objects are acted on, with commas between them; rights in these suffice. "
        "Empty: all",
    )
    registry_url: str = Field(
        "",
        alias="MILLRACE_REGISTRY_URL",
        description="Base URL of the registry, which gets the catalogue, and runs from Jobs. Empty: none",
    )
    gateway_url: str = Field(
        "",
        alias="MILLRACE_GATEWAY_URL",
        description="Base URL of the online-store gateway, from which inference pods read features. Empty: none",
    )
    store_url: str = Field(
        "",
        alias="MILLRACE_STORE_URL",
        description="URL of the online store, as Jobs reach it (forms: millrace_core.features.online.store_url). "
        "With a password in it, it reaches them by a Secret. "
        "Empty: no view with an online part can materialize",
    )
    store_secret: str = Field(
        "millrace-store",
        alias="MILLRACE_STORE_SECRET",
        description="Secret of the operator's own namespace that has that URL under the key url: Jobs that purge "
        "deleted views read it there, if it holds a password",
    )
    token_secret: str = Field(
        "",
        alias="MILLRACE_TOKEN_SECRET",
        description="Name of a Secret, in the namespace of each pod that speaks to registry or gateway, with bearer "
        "tokens under the key tokens, each on a line, of which the first is sent. Empty: none",
    )
    prometheus_url: str = Field(
        "",
        alias="MILLRACE_PROMETHEUS_URL",
        description="Base URL of Prometheus, where KEDA reads load and the operator the metrics of Experiments. "
        "Empty: none",
    )
    materialize_resources: Json[Resources] | None = Field(
        None,
        alias="MILLRACE_MATERIALIZE_RESOURCES",
        description="JSON {requests, limits} of a view's runs, for what the view states none of. Empty: built-in ones",
    )
    purge_resources: Json[Resources] | None = Field(
        None,
        alias="MILLRACE_PURGE_RESOURCES",
        description="JSON {requests, limits} of Jobs that purge deleted views. Empty: built-in ones",
    )
    fetch_resources: Json[Resources] | None = Field(
        None,
        alias="MILLRACE_FETCH_RESOURCES",
        description="JSON {requests, limits} of the init container that brings a model. Empty: built-in ones",
    )
    serve_resources: Json[Resources] | None = Field(
        None,
        alias="MILLRACE_SERVE_RESOURCES",
        description="JSON {requests, limits} of the container that serves a model, for what the deployment states none "
        "of. Empty: built-in ones",
    )
    gate_resources: Json[Resources] | None = Field(
        None,
        alias="MILLRACE_GATE_RESOURCES",
        description="JSON {requests, limits} of the container that judges a model, for what the deployment states none "
        "of. Empty: built-in ones",
    )
    serve_env: Json[dict[str, str]] | None = Field(
        None,
        alias="MILLRACE_SERVE_ENV",
        description="JSON {name: value}: variables of every container that serves a model, such as OpenTelemetry's. "
        "Empty: none",
    )
    holdout_max_bytes: int = Field(
        2 * 1024**3,
        alias="MILLRACE_HOLDOUT_MAX_BYTES",
        ge=1,
        description="Most bytes of the holdout's file that gates read",
    )
    model_max_bytes: int = Field(
        10 * 1024**3,
        alias="MILLRACE_MODEL_MAX_BYTES",
        ge=1,
        description="Most bytes of a model's files: a larger one is not fetched, and its volume holds no more",
    )
    model_cache: Json[ModelCache] | None = Field(
        None,
        alias="MILLRACE_MODEL_CACHE",
        description='JSON {"hostPath" or "claim", "size"}: where nodes keep the models that their pods have had, so '
        "that the next pod of one need not fetch it. Empty: nowhere. Pods with a hostPath are refused by the Pod "
        "Security Standards baseline and restricted",
    )
    image_pull_secrets: Names = Field(
        (),
        alias="MILLRACE_IMAGE_PULL_SECRETS",
        description="Names, with commas between them, of Secrets in the namespace of each pod that is made, by which "
        "its image is pulled",
    )
    trusted_proxies: Networks = Field(
        (),
        alias="MILLRACE_TRUSTED_PROXIES",
        description="Addresses and networks of proxies in front of models, with commas between them: their pods take "
        "from X-Forwarded-For of these alone for whom a request is",
    )
    lake_uri: str = Field(
        "",
        alias="MILLRACE_LAKE_URI",
        pattern="^$|^(file|s3)://.+$",
        description="The evidence lake, for logs of predictions that name none. Empty: each has to name one",
    )
    lake_secret: str = Field(
        "",
        alias="MILLRACE_LAKE_SECRET",
        description="Name of a Secret, in the namespace of each pod, with the keys of that lake. Empty: none",
    )
    resilience: Json[Resilience] | None = Field(
        None,
        alias="MILLRACE_RESILIENCE",
        description='JSON {"retries", "tryTimeout", "connectTimeout", "ejectAfter", "ejectFor", "maxRequests", '
        '"maxRetries"}: what the mesh does where a pod that serves a model fails. Empty: built-in numbers',
    )
    host: str = Field(
        "0.0.0.0",  # noqa: S104 a pod's only address
        alias="MILLRACE_HOST",
        description="Address of the health endpoint",
    )
    health_port: int = Field(
        8080,
        alias="MILLRACE_HEALTH_PORT",
        ge=0,
        le=65535,
        description="Port of /health/live, /health/ready and /metrics; 0 takes a free one",
    )
    allowed_hosts: Names = Field(
        (),
        alias="MILLRACE_ALLOWED_HOSTS",
        description="The names (also *.suffix, addresses, networks) that a request's Host may have here; empty: "
        "any. With names, web pages of other sites are refused. For the laptop mode, where browsers reach it",
    )
    workers: int = Field(16, alias="MILLRACE_WORKERS", ge=1, le=256, description="Reconciles at work at once")
    resync_seconds: float = Field(
        300.0,
        alias="MILLRACE_RESYNC_SECONDS",
        ge=1,
        description="After so long every object is listed and reconciled again, though nothing happened",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="MILLRACE_LOG_LEVEL", description="What is logged: DEBUG, INFO, WARNING or ERROR"
    )

    def scope(self) -> Scope:
        """What is watched."""
        return Scope(self.namespaces, self.namespace)

    def platform(self) -> Platform:
        """What children need to know."""
        return Platform(
            inference_image=self.inference_image,
            gpu_image=self.gpu_image,
            materialize_image=self.materialize_image,
            namespace=self.namespace,
            registry_url=self.registry_url,
            gateway_url=self.gateway_url,
            store_url=self.store_url,
            store_secret=self.store_secret,
            token_secret=self.token_secret,
            bearer=self.bearer(),
            prometheus_url=self.prometheus_url,
            resources=self._resources(),
            serve_env=self.serve_env or {},
            model_max_bytes=self.model_max_bytes,
            model_cache=self.model_cache,
            holdout_max_bytes=self.holdout_max_bytes,
            image_pull_secrets=self.image_pull_secrets,
            lake_uri=self.lake_uri,
            lake_secret=self.lake_secret,
            outgoing=self.outgoing,
            trusted_proxies=",".join(map(str, self.trusted_proxies)),
            resilience=self.resilience or Resilience(),
        )

    def _resources(self) -> DefaultResources:
        stated = {
            "materialize": self.materialize_resources,
            "purge": self.purge_resources,
            "fetch": self.fetch_resources,
            "serve": self.serve_resources,
            "gate": self.gate_resources,
        }
        return DefaultResources(**{name: each.model_dump(exclude_none=True) for name, each in stated.items() if each})
