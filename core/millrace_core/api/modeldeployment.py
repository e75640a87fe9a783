"""ModelDeployment: serve this model behind this service name."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from millrace_core.api.base import (
    ApiModel,
    Condition,
    ObjectMeta,
    Resources,
    Rule,
    StatusModel,
    list_map,
    validations,
)
from millrace_core.api.gates import Gates, GatesStatus
from millrace_core.api.modeldeployment_inference import Inference
from millrace_core.api.modeldeployment_model import Model, ServingFeatures
from millrace_core.api.rollout import Rollout, RolloutStatus

# Revisions are called <name>-<8 hex digits> and KEDA names their scalers keda-hpa-<revision>, within 63 characters.
MAX_NAME = 45
# Services are called <service>, <service>-arms and <service>-preview, as DNS labels of RFC 1035.
MAX_SERVICE = 55

SERVICE = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
SECONDS_TO_HOURS = r"^([0-9]{1,4}(s|m|h)){1,3}$"


class Scaling(ApiModel):
    """Between how many pods a scaler chooses, and by what."""

    min: int = Field(default=1, ge=1, le=1000, description="Fewest pods. At least 1: nothing wakes a pod from zero.")
    max: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Most pods. Above min KEDA chooses between them, or, in a cluster without KEDA, a "
        "HorizontalPodAutoscaler by CPU.",
    )
    metric: Literal["queueDepth", "inFlight", "requestRate", "gpuUtilization"] = Field(
        default="inFlight",
        description="What load is: requests waiting, requests in work, requests per second, or percent of a GPU's "
        "time, as NVIDIA's DCGM exporter measures it; summed over pods.",
    )
    target: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=5, description="Load that one pod should carry; of gpuUtilization in percent, from 10 to 100."
    )
    scale_down_delay: Annotated[str, Field(pattern=SECONDS_TO_HOURS, max_length=32)] = Field(
        default="5m",
        description="For how long fewer pods must have sufficed before any goes; at most 1h. Then pods go slowly, a "
        "tenth of them a minute, and at least one. More pods come at once.",
        json_schema_extra=validations(
            Rule("duration(self) <= duration('1h')", "at most 1h, as a HorizontalPodAutoscaler remembers no longer")
        ),
    )

    rules: ClassVar = (
        Rule("self.min <= self.max", "spec.scaling.min must be at most spec.scaling.max (1 by default)"),
        Rule(
            "self.metric != 'gpuUtilization' || (self.target >= 10 && self.target <= 100)",
            "spec.scaling.target is in percent where the metric is gpuUtilization: from 10 to 100",
        ),
    )


class ModelDeploymentSpec(ApiModel):
    """Desired state of the deployment."""

    description: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="What the deployment is about, for people who search the registry."
    )
    owner: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Team or person that is responsible for it; the registry searches by it."
    )
    tags: dict[str, Annotated[str, Field(max_length=253)]] | None = Field(
        default=None, max_length=32, description="Free labels; the registry searches by them."
    )
    service: Annotated[str, Field(pattern=SERVICE, min_length=1, max_length=MAX_SERVICE)] | None = Field(
        default=None,
        description="Name that clients call; several deployments may share it. Immutable. Default: the object's name.",
    )
    model: Model = Field(description="The model to serve.")
    features: ServingFeatures | None = Field(
        default=None, description="Features that are joined to a request by entity."
    )
    inference: Inference = Field(
        default_factory=Inference, json_schema_extra={"default": {}}, description="How the model runs."
    )
    resources: Resources | None = Field(
        default=None,
        description=(
            "Compute resources of the container that serves. What is not stated of CPU and memory, requests or limits, "
            "the operator's settings say: 250m and 256Mi requested, 4 and 4Gi at most, if nobody changed them."
        ),
    )
    replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="How many pods serve, where no scaler chooses (default: 1). kubectl scale sets it. Not together "
        "with scaling.",
    )
    scaling: Scaling | None = Field(
        default=None, description="Between how many pods a scaler chooses, and by what. Not together with replicas."
    )
    gates: Gates | None = Field(
        default=None,
        description="What a revision has to pass before it gets any traffic; until then the one before it serves on.",
    )
    rollout: Rollout | None = Field(
        default=None,
        description="How a new revision takes the traffic from the one that serves. Default: a RollingUpdate.",
    )

    rules: ClassVar = (
        Rule(
            "!(has(self.replicas) && has(self.scaling))",
            "spec.replicas fixes the number of pods, and spec.scaling leaves it to a scaler: remove one of them. "
            "kubectl scale sets spec.replicas; where spec.scaling is, change its min and max instead",
        ),
    )

    @property
    def bounds(self) -> Scaling:
        """``scaling``, or the fixed number as bounds."""
        number = self.replicas or 1
        return self.scaling or Scaling(min=number, max=number)


class CacheStatus(StatusModel):
    """What the pods of the active revision found in the caches of their nodes."""

    nodes: int = Field(description="Nodes whose cache had or took the model when one of these pods fetched it.")
    hits: int = Field(description="Pods that got it from there, and not from its source.")


class ModelStatus(StatusModel):
    """The model that the active revision serves."""

    version: str = Field(description="Version that clients see: the first 8 hex digits of the digest.")
    digest: str = Field(description="SHA-256 of the file, as the pods measured it; with external data, of all files.")
    bytes: int = Field(description="Size of the file; with external data, of all files.")
    cached: CacheStatus | None = Field(
        default=None, description="What the nodes' caches gave, where the platform has them."
    )


class ReplicaStatus(StatusModel):
    """Pods of the active revision."""

    ready: int = Field(description="Pods that are loaded, warm and serving.")
    desired: int = Field(description="Pods that the spec or a scaler asks for.")


class ModelDeploymentStatus(StatusModel):
    """What was observed."""

    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that this status describes."
    )
    model: ModelStatus | None = Field(default=None, description="The model that the active revision serves.")
    revision: str | None = Field(default=None, description="The active revision: the one that serves.")
    target_revision: str | None = Field(
        default=None, description="The revision that the spec asks for; equal to revision once it is ready."
    )
    champion: bool | None = Field(default=None, description="Whether this deployment is its service's champion.")
    url: str | None = Field(default=None, description="Where clients call the service, inside the cluster.")
    replicas: ReplicaStatus | None = Field(default=None, description="Pods of the active revision.")
    selector: str | None = Field(
        default=None, description="Label selector of the active revision's pods, for the scale subresource."
    )
    device: str | None = Field(default=None, description="Where the active revision runs: gpu or cpu.")
    gates: GatesStatus | None = Field(
        default=None, description="The judgement of the revision that the spec asks for, where the spec has gates."
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="How far the rollout is, where its strategy is BlueGreen."
    )
    handled_command: str | None = Field(default=None, description="The last handled millrace.dev/command, as written.")
    command_result: str | None = Field(default=None, description="What became of that command.")
    conditions: list[Condition] | None = Field(
        default=None,
        max_length=16,
        description="Accepted, ModelResolved, GatesPassed, Available, ScalerReady, TemplateCurrent, Ready.",
        json_schema_extra=list_map("type"),
    )


class ModelDeployment(ApiModel):
    """A model served behind a service name: loaded, warm, scaled and replaced without a failed request."""

    api_version: str = "millrace.dev/v1alpha1"
    kind: Literal["ModelDeployment"] = "ModelDeployment"
    metadata: ObjectMeta
    spec: ModelDeploymentSpec = Field(description="Desired state of the deployment.")
    status: ModelDeploymentStatus | None = Field(default=None, description="What was observed.")

    rules: ClassVar = (
        Rule(
            f"size(self.metadata.name) <= {MAX_NAME}",
            f"metadata.name must have at most {MAX_NAME} characters, because the names of revisions and scalers are "
            "made from it; choose a shorter one",
        ),
        Rule(
            f"has(self.spec.service) || self.metadata.name.matches('{SERVICE}')",
            "metadata.name is also the service's name here, so it must begin with a letter and hold only lower case "
            "letters, digits and -; or give spec.service",
        ),
        Rule(
            "(has(self.spec.service) ? self.spec.service : self.metadata.name) == "
            "(has(oldSelf.spec.service) ? oldSelf.spec.service : self.metadata.name)",
            "spec.service is immutable, because clients, experiments and records know the deployment by it; "
            "make another ModelDeployment for the other service",
        ),
    )


def service_name(name: str, spec: ModelDeploymentSpec) -> str:
    """The service that the deployment ``name`` belongs to."""
    return spec.service or name
