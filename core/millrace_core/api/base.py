"""Base of the API models, CEL rules as data, and field types that several kinds use."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from millrace_core.base import duration, timestamps
from millrace_core.base.errors import RejectError


class Rule(NamedTuple):
    """A CEL rule (``x-kubernetes-validations``) and the message that a user reads when it fails."""

    rule: str
    message: str


class ApiModel(BaseModel):
    """Base of every part of a spec or status: camelCase outside, unknown fields refused, JSON types, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, strict=True)

    rules: ClassVar[tuple[Rule, ...]] = ()


class StatusModel(ApiModel):
    """Base of status parts. Unknown fields are ignored: a newer operator may have written them."""

    model_config = ConfigDict(extra="ignore")


def list_map(*keys: str) -> dict[str, Any]:
    """Schema extras of a list whose items are identified by ``keys``."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def validations(*rules: Rule) -> dict[str, Any]:
    """Schema extras of a field with rules of its own, whose errors name it rather than the object that it is in."""
    return {"x-kubernetes-validations": [rule._asdict() for rule in rules]}


ATOMIC_LIST: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}

Duration = Annotated[str, Field(pattern=duration.PATTERN, max_length=32)]


def _timestamp(text: str) -> str:
    expected = "a time such as 2026-01-31T00:00:00Z is expected"
    if not timestamps.is_date_time(text):
        raise ValueError(f"{text!r} came, {expected}")
    try:
        timestamps.parse(text)
    except RejectError as error:
        raise ValueError(f"{text!r} came, {expected}") from error
    return text


def _moment(value: object) -> datetime:
    return value if isinstance(value, datetime) else timestamps.parse(_timestamp(str(value)))


Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}), AfterValidator(_timestamp)]
# A Timestamp that is read into an aware UTC datetime, and written by ``timestamps.render``.
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    PlainSerializer(timestamps.render, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"
# Kubernetes' own quantity form, without exponents.
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$"

DnsLabel = Annotated[str, Field(pattern=DNS_LABEL, min_length=1, max_length=63)]
ColumnName = Annotated[str, Field(min_length=1, max_length=128)]
Identifier = Annotated[str, Field(pattern=IDENTIFIER, min_length=1, max_length=63)]
Quantity = Annotated[str, Field(pattern=QUANTITY, max_length=32)]


class SecretRef(ApiModel):
    """A Secret in the object's own namespace."""

    name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Name of the Secret, in the namespace of this object."
    )


ResourceName = Annotated[str, Field(max_length=128)]


class Resources(ApiModel):
    """Compute resources of a container, as Kubernetes writes them."""

    requests: dict[str, Quantity] | None = Field(
        default=None,
        max_length=16,
        description="What the container is guaranteed, by resource name: cpu, memory.",
    )
    limits: dict[str, Quantity] | None = Field(
        default=None, max_length=16, description="What the container may not exceed, by resource name."
    )


class Condition(StatusModel):
    """One observation about the object, in Kubernetes' standard form."""

    type: Annotated[str, Field(max_length=316)] = Field(description="Name of the condition.")
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})] = Field(
        description="True, False or Unknown."
    )
    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation that was observed."
    )
    last_transition_time: Timestamp = Field(description="When the status last changed.")
    reason: Annotated[str, Field(min_length=1, max_length=1024)] = Field(
        description="The reason of the last transition, a CamelCase constant."
    )
    message: Annotated[str, Field(max_length=32768)] = Field(
        description="What was observed, and what to do about it, in a sentence."
    )


ObjectMeta = dict[str, Any]
