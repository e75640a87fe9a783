"""Thin stand-ins until the schema, patch, field-manager and OpenAPI packages stand; removed then."""

from __future__ import annotations

from typing import Any

try:
    from millrace.local.apiserver.schema import Schema, SchemaError, compile_schema
except ImportError:

    class SchemaError(Exception):
        errors: list[Any] = []

    class Schema:
        def default(self, obj: dict[str, Any]) -> None: ...
        def prune(self, obj: dict[str, Any]) -> list[str]:
            return []

        def validate(self, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[Any]:
            return []

    def compile_schema(schema: dict[str, Any]) -> Schema:
        return Schema()


try:
    from millrace.local.apiserver.patches import PatchError, apply_json_patch, apply_merge_patch, apply_strategic_patch
except ImportError:

    class PatchError(Exception):
        message = ""

    def apply_merge_patch(doc: Any, patch: Any) -> Any:
        if not isinstance(patch, dict):
            return patch
        out = dict(doc) if isinstance(doc, dict) else {}
        for key, value in patch.items():
            if value is None:
                out.pop(key, None)
            else:
                out[key] = apply_merge_patch(out.get(key), value)
        return out

    def apply_json_patch(doc: Any, ops: Any) -> Any:
        raise PatchError("JSON patch is on its way")

    def apply_strategic_patch(doc: Any, patch: Any, schema: Any) -> Any:
        return apply_merge_patch(doc, patch)


try:
    from millrace.local.apiserver.fieldmanager import ApplyConflict, apply, record_update
except ImportError:

    class ApplyConflict(Exception):
        conflicts: list[tuple[str, str]] = []

    def apply(live: Any, applied: Any, **kw: Any) -> Any:
        return apply_merge_patch(live or {}, applied)

    def record_update(old: Any, new: Any, **kw: Any) -> None: ...


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
