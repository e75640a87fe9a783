"""Access reviews. Whoever has the token may do everything."""

from __future__ import annotations

from typing import Any

from millrace_local.apiserver.decoding import decode_object
from millrace_local.apiserver.request import Request, RequestTarget, Response, json_response

_RULES = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}
_ALLOWED = {"allowed": True, "reason": "the embedded mode has no access control"}
_USER = {"userInfo": {"username": "millrace", "groups": ["system:masters", "system:authenticated"]}}
_ANSWERS: dict[str, dict[str, Any]] = {"SelfSubjectRulesReview": _RULES, "SelfSubjectReview": _USER}


def review(request: Request, target: RequestTarget) -> Response:
    """The review with its status filled in."""
    resource = target.resource
    review = {"apiVersion": resource.api_version, "kind": resource.kind, **decode_object(request)}
    return json_response({**review, "status": _ANSWERS.get(resource.kind, _ALLOWED)}, 201)
