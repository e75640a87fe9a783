"""Subresources other than status: scale, binding, eviction, logs, finalize."""

from __future__ import annotations

from millrace.local.apiserver.cluster import Cluster
from millrace.local.apiserver.request import Request, Response, Stream, Target
from millrace.local.apiserver.status import method_not_allowed


def answer(verb: str, request: Request, target: Target, cluster: Cluster) -> Response | Stream:
    """Carries out a request on a subresource."""
    raise method_not_allowed(f"{target.resource.plural}/{target.subresource}", target.resource.group, verb)
