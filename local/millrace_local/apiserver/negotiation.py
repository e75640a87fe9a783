"""Which representation the Accept header asks for."""

from __future__ import annotations

from millrace_local.apiserver.errors import not_acceptable
from millrace_local.apiserver.representations import PartialRepresentation, Representation
from millrace_local.apiserver.request import Request
from millrace_local.apiserver.resources import ApiResource
from millrace_local.apiserver.tables import TableRepresentation

_ACCEPTED = ("application/json",)


def _parameters(media_range: str) -> tuple[str, dict[str, str]]:
    kind, *rest = (part.strip() for part in media_range.split(";"))
    return kind.lower(), dict(part.partition("=")[::2] for part in rest)


def representation_of(request: Request, resource: ApiResource) -> Representation:
    """The first representation in the Accept header that this server can write.

    Raises:
        StatusError: 406 when there is none, as for a client that accepts only protobuf.
    """
    accept = request.headers.get("accept", "")
    if accept in ("", "*/*", "application/json"):
        return Representation(resource)
    for media_range in accept.split(","):
        kind, parameters = _parameters(media_range)
        if kind not in ("application/json", "application/*", "*/*"):
            continue
        wanted = parameters.get("as", "")
        if not wanted:
            return Representation(resource)
        if parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1"):
            if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return PartialRepresentation(resource)
            if wanted == "Table":
                return TableRepresentation(resource, request.query.get("includeObject", "Metadata"), parameters["v"])
    raise not_acceptable(_ACCEPTED)
