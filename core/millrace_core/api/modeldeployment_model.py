"""The model of a ModelDeployment, and the features that it takes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace_core.api import feature_reference
from millrace_core.api.base import ATOMIC_LIST, ApiModel, Duration, Rule, SecretRef, validations

# A file's SHA-256 digest.
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"

MODEL_URI = r"^(file|s3|gs|az|pvc|oci|https?)://.+$"


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
        description="How long a read of features may take; then the request is answered 424, as where the gateway "
        "cannot be reached, whatever onMissing says.",
    )
