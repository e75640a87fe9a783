"""Requests of web pages, which the mesh refuses; what it lets through it marks for the pods.

A page that a browser shows may send requests to every address of the machine, but cannot leave out ``Origin`` where
they can change something. ``Host`` needs no check here: the routes are the list of known names.
"""

from __future__ import annotations

from typing import Any

from millrace_core.base.callers import MESH_HEADER
from millrace_local.mesh.routes import TYPE

Json = dict[str, Any]

# The port does not count: Envoy has removed it from the authority where it is that of the ingress.
_SCRIPT = """
local function name(text)
  return (text:lower():gsub(":%d+$", ""))
end

function envoy_on_request(request)
  local headers = request:headers()
  local origin = headers:get("origin")
  if origin == nil then
    return
  end
  local site = origin:match("^https?://(.+)$")
  if headers:getNumValues("origin") == 1 and site and name(site) == name(headers:get(":authority")) then
    return
  end
  request:respond(
    {[":status"] = "403", ["content-type"] = "application/json"},
    '{"error": "requests of web pages of other sites are refused"}'
  )
end
"""

_NAME = "envoy.filters.http.lua"
_HAS_ORIGIN: Json = {
    "single_predicate": {
        "input": {
            "name": "origin",
            "typed_config": {"@type": f"{TYPE}.type.matcher.v3.HttpRequestHeaderMatchInput", "header_name": "origin"},
        },
        # Any bytes: where a header that is there were not matched, the script would be skipped.
        "value_match": {"safe_regex": {"google_re2": {}, "regex": r"\C*"}},
    }
}
_SKIP: Json = {
    "name": "skip",
    "typed_config": {"@type": f"{TYPE}.extensions.filters.common.matcher.action.v3.SkipFilter"},
}


def http_filter() -> Json:
    """The filter that refuses requests with the ``Origin`` of another site."""
    script = {"@type": f"{TYPE}.extensions.filters.http.lua.v3.Lua", "default_source_code": {"inline_string": _SCRIPT}}
    # A script takes several times what the rest of the filters take, and programs send no Origin.
    matching = {
        "@type": f"{TYPE}.extensions.common.matching.v3.ExtensionWithMatcher",
        "extension_config": {"name": _NAME, "typed_config": script},
        "xds_matcher": {
            "matcher_list": {"matchers": [{"predicate": {"not_matcher": _HAS_ORIGIN}, "on_match": {"action": _SKIP}}]}
        },
    }
    return {"name": _NAME, "typed_config": matching}


def marked(host: Json, secret: str) -> Json:
    """A virtual host that tells the pods that a request came through the mesh; the caller's own word is replaced."""
    if not secret:
        return host
    header = {"key": MESH_HEADER.decode(), "value": secret}
    return {**host, "request_headers_to_add": [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]}
