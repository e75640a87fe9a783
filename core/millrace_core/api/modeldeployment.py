"""ModelDeployment: serve this model behind this service name."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from millrace_core.api import feature_reference, names
from millrace_core.api.base import (
    ATOMIC_LIST,
    ApiModel,
    Condition,
    Duration,
    ObjectMeta,
    Quantity,
    Resources,
    Rule,
    SecretRef,
    StatusModel,
    list_map,
    validations,
)
from millrace_core.api.gates import Gates, GatesStatus
from millrace_core.base import duration

# Revisions are called <name>-<8 hex digits> and KEDA names their scalers keda-hpa-<revision>, within 63 characters.
MAX_NAME = 45
# Services are called <service> and <service>-arms, as DNS labels of RFC 1035.
MAX_SERVICE = 58

# A file's SHA-256 digest.
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"

SERVICE = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
SECONDS_TO_HOURS = r"^([0-9]{1,4}(s|m|h)){1,3}$"
MAX_DELAY = r"^([0-9]{1,3}ms|[01]s)$"
MODEL_URI = r"^(file|s3|gs|az|pvc|oci|https?)://.+$"
CACHE_BYTES = r"^[1-9][0-9]{0,9}(k|M|G|Ki|Mi|Gi)?$"
LAKE_URI = r"^(file|s3)://.+$"

# A column of the log that may be redacted.
LOG_COLUMN = r"^(unit|(entity|feature|request|input|output)\.[^\s].*)$"

UNIT_HEADER = r"^[a-z0-9]([-a-z0-9_]*[a-z0-9])?$"


class Model(ApiModel):
    """The model to serve: an ONNX file, with the files beside it that hold its external data."""

    uri: Annotated[str, Field(pattern=MODEL_URI, max_length=2048)] = Field(
        description=(
            "Where the ONNX file is: s3://bucket/key, gs://bucket/key, az://container/blob, pvc://claim/path (a "
            "PersistentVolumeClaim of this namespace), oci://registry/repository:tag or …@sha256:… (an artifact or "
            "image; with #path where it has several ONNX files), https://…, http://… or file:///path; on a cluster a "
            "place that the platform's settings allow. External data is read from the same folder."
        ),
        json_schema_extra=validations(
            Rule(
                "!self.matches('^[a-z0-9]+://[^/?#]*@')",
                "a user or password is in uri, where none may be; put HTTP_USER and HTTP_PASSWORD, HTTP_TOKEN or the "
                "keys of S3 into the Secret of credentialsSecretRef",
            ),
            Rule(
                "!self.startsWith('pvc://') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[^/]')",
                "uri of a volume is pvc://claim/path/model.onnx, with the name of a PersistentVolumeClaim",
            ),
            Rule(
                "!self.startsWith('oci://') || "
                "self.matches('^oci://[^/]+/[a-z0-9][a-z0-9._/-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?"
                "(@sha256:[0-9a-f]{64})?(#.+)?$')",
                "uri of an artifact or image is oci://registry/repository:tag or oci://registry/repository@sha256:…, "
                "in lower case, and with #path where it has several ONNX files",
            ),
        ),
    )
    digest: Annotated[str, Field(pattern=DIGEST_PATTERN)] | None = Field(
        default=None,
        description=(
            "SHA-256 digest that the file must have; a file with another one is never served. With external data it "
            "is that of the list of all files, as sha256sum prints it: the ONNX file first, as -, then the others by "
            "name."
        ),
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description=(
            "Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, as needed, AWS_SESSION_TOKEN, "
            "AWS_ENDPOINT_URL and AWS_REGION; for http, https and oci, with HTTP_TOKEN (a bearer token), or HTTP_USER "
            "and HTTP_PASSWORD; for gs, with GOOGLE_SERVICE_ACCOUNT_KEY (a key file, JSON) or GOOGLE_ACCESS_TOKEN; for "
            "az, with AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN."
        ),
    )


FeatureRef = Annotated[
    str,
    Field(pattern=feature_reference.PATTERN, max_length=253),
]


class ServingFeatures(ApiModel):
    """Features that are joined to a request by entity, when clients call /predict."""

    refs: list[FeatureRef] = Field(
        min_length=1,
        max_length=2000,
        description=(
            "Features as view:feature, in the order in which the model takes them. One view may be read under several "
            "keys: user-stats as sender(user_id=sender_id):visits takes the key user_id from the column sender_id."
        ),
        json_schema_extra=ATOMIC_LIST,
    )
    input: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None,
        description="The model's input that receives them as one row; absent: the model's only input, or one input "
        "per feature by name.",
    )
    on_missing: Literal["default", "fail"] = Field(
        default="default",
        description="What a feature without a value (null, not found, or older than the ttl of its view) becomes: "
        "default (NaN, 0 or an empty string, by the input's type) or fail (the request is refused).",
    )
    timeout: Duration = Field(
        default="500ms",
        description="How long a read of features may take; then the request is answered 504, and 503 where the gateway "
        "cannot be reached, whatever onMissing says.",
    )


class Gpu(ApiModel):
    """Which GPU a pod asks for."""

    count: int = Field(default=1, ge=1, le=64, description="GPUs of each pod.")
    resource: Annotated[str, Field(max_length=253)] = Field(
        default="nvidia.com/gpu",
        description="Resource name, such as nvidia.com/gpu or nvidia.com/mig-1g.10gb.",
    )
    product: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Value that the node label nvidia.com/gpu.product must have."
    )


class Batching(ApiModel):
    """Which requests share a run of the model."""

    max_rows: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Rows of one run that several requests may share, where the server finds that the model's rows do "
        "not depend on each other; a request of more rows runs alone. 1: every request runs alone.",
    )
    max_delay: Annotated[str, Field(pattern=MAX_DELAY)] = Field(
        default="2ms",
        description="How long a pod whose model has become free while requests wait may wait for more of them, 0s to "
        "1s. A request that finds the model free never waits.",
    )

    rules: ClassVar = ()


class Queue(ApiModel):
    """Which requests may wait for the model."""

    max_requests: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Requests that may wait in a pod; one more is answered 429 with Retry-After.",
    )
    timeout: Duration = Field(
        default="1s", description="How long a request may wait for its turn; then it is answered 504."
    )

    rules: ClassVar = (Rule("self.timeout.matches('[1-9]')", "spec.inference.queue.timeout must be more than 0"),)


class Cache(ApiModel):
    """Which answers of the model are kept for requests that are the same."""

    ttl: Duration = Field(
        default="0s",
        description="For how long after its run an answer is given again, to requests of the same inputs, outputs and "
        "rows of features; 0s: never. Features are read for each request, so a newer row has an answer of its own at "
        "once.",
    )
    max_entries: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Answers that a pod keeps; those used longest ago go first."
    )
    max_bytes: Annotated[str, Field(pattern=CACHE_BYTES, max_length=16)] = Field(
        default="64Mi",
        description="About how many bytes they may take of a pod's memory, as 64Mi; it is part of resources.limits.",
    )

    rules: ClassVar = ()


class Redact(ApiModel):
    """A column that the log does not have as it is."""

    column: Annotated[str, Field(pattern=LOG_COLUMN, max_length=310)] = Field(
        description="Its name in the log: unit, or entity.<key>, feature.<view>__<name>, request.<field>, input.<name> "
        "or output.<name>."
    )
    how: Literal["drop", "hash"] = Field(
        default="drop",
        description="drop leaves it out; hash keeps the SHA-256 of each value, by which equal ones stay equal and "
        "guessed ones can be checked.",
    )


class PredictionLog(ApiModel):
    """What is logged of predictions, and where to."""

    sample: Annotated[float, Field(ge=0.000001, le=1)] = Field(
        default=1.0, description="The fraction of prediction ids that is logged; a hash of the id decides."
    )
    uri: Annotated[str, Field(pattern=LAKE_URI, max_length=2048)] | None = Field(
        default=None,
        description="The lake that the log goes to: s3://bucket/path, or file:///path; absent: that of the platform. "
        "Files of another lake are merged and deleted by nobody unless somebody runs the platform's job for it.",
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, as needed, AWS_SESSION_TOKEN, "
        "AWS_ENDPOINT_URL and AWS_REGION; absent: the one that the platform's settings name.",
    )
    unit_header: Annotated[str, Field(pattern=UNIT_HEADER, max_length=128)] = Field(
        default=names.UNIT_HEADER,
        description="Header, in lower case, that has the unit, such as the user, by which predictions meet exposures "
        "and outcomes.",
    )
    redact: list[Redact] = Field(
        default_factory=list,
        max_length=200,
        description="Columns that are left out or hashed before anything is written.",
        json_schema_extra=list_map("column"),
    )


class Inference(ApiModel):
    """How the model runs."""

    device: Literal["auto", "gpu", "cpu"] = Field(
        default="auto",
        description="gpu, cpu, or auto: GPU where a node of the cluster offers the resource, CPU otherwise.",
    )
    gpu: Gpu = Field(
        default_factory=Gpu,
        json_schema_extra={"default": {}},
        description="Which GPU a pod asks for, where it gets one.",
    )
    batching: Batching = Field(
        default_factory=Batching,
        json_schema_extra={"default": {}},
        description="Which requests share a run of the model.",
    )
    queue: Queue = Field(
        default_factory=Queue,
        # The rule is put to the default as it stands, before the defaults of its fields are filled in.
        json_schema_extra={"default": {"timeout": "1s"}},
        description="Which requests may wait for the model.",
    )
    cache: Cache | None = Field(
        default=None, description="Which answers are kept for requests that are the same; absent: none."
    )
    log: PredictionLog | None = Field(default=None, description="The log of predictions; absent: nothing is logged.")
    max_request_mib: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        alias="maxRequestMiB",
        description=(
            "Largest body of a request in MiB, as it is without gzip; larger ones get 413. Default: 16. While it is "
            "read, a request takes several times its body of memory: see resources.limits."
        ),
    )

    rules: ClassVar = ()

    @property
    def caching(self) -> Cache | None:
        """``cache``, where it keeps anything."""
        return self.cache if self.cache is not None and duration.microseconds(self.cache.ttl) else None


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


__all__ = [
    "DIGEST_PATTERN",
    "MAX_NAME",
    "MAX_SERVICE",
    "Cache",
    "CacheStatus",
    "Gpu",
    "Inference",
    "Model",
    "ModelDeployment",
    "ModelDeploymentSpec",
    "ModelDeploymentStatus",
    "ModelStatus",
    "PredictionLog",
    "Quantity",
    "Redact",
    "ReplicaStatus",
    "Scaling",
    "ServingFeatures",
    "service_name",
]
