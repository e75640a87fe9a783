"""Access reviews: everyone may do everything here; and the legacy top-level Binding."""

from __future__ import annotations

from millrace.local.apiserver.cluster import Cluster
from millrace.local.apiserver.decoding import decode_object
from millrace.local.apiserver.request import Request, Response, Target, json_response

_ALL_RULES = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}


def answer(request: Request, target: Target, cluster: Cluster) -> Response:
    """The review with its status filled in."""
    resource = target.resource
    obj = decode_object(request)
    status = (
        _ALL_RULES
        if resource.kind == "SelfSubjectRulesReview"
        else {"allowed": True, "reason": "no authorization in the embedded mode"}
    )
    review = {**obj, "apiVersion": resource.api_version, "kind": resource.kind, "status": status}
    return json_response(review, 201)
