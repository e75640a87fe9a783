"""Which form of an answer a client asked for."""

from __future__ import annotations

from millrace_local.apiserver.forms import Form, PartialForm
from millrace_local.apiserver.request import Request
from millrace_local.apiserver.resources import Resource
from millrace_local.apiserver.status import not_acceptable
from millrace_local.apiserver.tables import TableForm

_ACCEPTED = ("application/json",)


def _parameters(media_range: str) -> tuple[str, dict[str, str]]:
    kind, *rest = (part.strip() for part in media_range.split(";"))
    return kind.lower(), dict(part.partition("=")[::2] for part in rest)


def form_of(request: Request, resource: Resource) -> Form:
    """The first form in the Accept header that this server can write.

    Raises:
        ApiError: 406 when there is none, as for a client that takes only protobuf.
    """
    accept = request.headers.get("accept", "")
    if accept in ("", "*/*", "application/json"):
        return Form(resource)
    for media_range in accept.split(","):
        kind, parameters = _parameters(media_range)
        if kind not in ("application/json", "application/*", "*/*"):
            continue
        wanted = parameters.get("as", "")
        if not wanted:
            return Form(resource)
        if parameters.get("g") == "meta.k8s.io" and parameters.get("v") in ("v1", "v1beta1"):
            if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
                return PartialForm(resource)
            if wanted == "Table":
                return TableForm(resource, request.query.get("includeObject", "Metadata"), parameters["v"])
    raise not_acceptable(_ACCEPTED)
