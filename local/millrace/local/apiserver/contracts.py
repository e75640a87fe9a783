"""Thin stand-ins until the OpenAPI package stands; removed then."""

from __future__ import annotations

from typing import Any

try:
    from millrace.local.apiserver.openapi import builtin_schema, v2_document, v3_document, v3_index
except ImportError:

    def builtin_schema(group: str, version: str, kind: str) -> dict[str, Any]:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}

    def v2_document(crds: Any) -> dict[str, Any]:
        return {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.32.0"}, "paths": {}, "definitions": {}}

    def v3_index(crds: Any) -> dict[str, Any]:
        from millrace.local.apiserver.resources import BUILTIN

        paths = {("apis/" if r.group else "api/") + r.api_version for r in BUILTIN}
        for crd in crds:
            paths |= {f"apis/{crd['spec']['group']}/{v['name']}" for v in crd["spec"]["versions"]}
        return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash=0"} for path in paths}}

    def v3_document(path: str, crds: Any) -> dict[str, Any]:
        from millrace.local.apiserver.crds import resources_of
        from millrace.local.apiserver.resources import BUILTIN

        known = [*BUILTIN, *(r for crd in crds for r in resources_of(crd))]
        paths: dict[str, Any] = {}
        schemas: dict[str, Any] = {}
        for r in known:
            if path != ("apis/" if r.group else "api/") + r.api_version:
                continue
            gvk = {"group": r.group, "version": r.version, "kind": r.kind}
            where = (
                f"/{path}/namespaces/{{namespace}}/{r.plural}/{{name}}"
                if r.namespaced
                else f"/{path}/{r.plural}/{{name}}"
            )
            paths[where] = {
                "patch": {
                    "parameters": [
                        {"name": n, "in": "query", "schema": {"type": "string"}}
                        for n in ("dryRun", "fieldManager", "fieldValidation", "force")
                    ],
                    "responses": {},
                    "x-kubernetes-action": "patch",
                    "x-kubernetes-group-version-kind": gvk,
                }
            }
            schemas[f"{r.group}.{r.version}.{r.kind}"] = {"type": "object", "x-kubernetes-group-version-kind": [gvk]}
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1.32.0"},
            "paths": paths,
            "components": {"schemas": schemas},
        }
