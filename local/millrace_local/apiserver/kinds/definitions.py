"""The strategy of CustomResourceDefinitions: names, versions, schemas, conditions."""

from __future__ import annotations

from collections import Counter
from typing import Any

from millrace_core.base.errors import RejectError
from millrace_core.schema import SchemaError, compile_schema
from millrace_core.schema.errors import FieldError, invalid, not_supported, required
from millrace_core.schema.metadata import name_error
from millrace_local.apiserver import jsonpath
from millrace_local.apiserver.crds import CRD_FINALIZER
from millrace_local.apiserver.strategy import Draft, Obj, Strategy, fill, immutable

_COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")
_CONFLICT = "names that another resource of the group has: "


class DefinitionStrategy(Strategy):
    """A CRD is established in the very write that creates it, unless its names are taken."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        spec = obj["spec"]
        names = spec["names"]
        fill(names, {"singular": names["kind"].lower(), "listKind": f"{names['kind']}List"})
        fill(spec, {"conversion": {"strategy": "None"}})
        for version in spec["versions"]:
            fill(version, {"served": False, "storage": False})

    def prepare(self, draft: Draft) -> None:
        obj, old = draft.obj, draft.old
        spec = obj["spec"]
        if old is None:
            metadata = obj["metadata"]
            metadata["finalizers"] = [*(metadata.get("finalizers") or ()), CRD_FINALIZER]
        status = obj.setdefault("status", {})
        stored = status.setdefault("storedVersions", [])
        stored += [v["name"] for v in spec["versions"] if v.get("storage") and v["name"] not in stored]
        _settle_names(obj, status, draft)

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        spec = obj["spec"]
        name = f"{spec['names']['plural']}.{spec['group']}"
        errors = []
        if obj["metadata"]["name"] != name:
            errors.append(invalid("metadata.name", obj["metadata"]["name"], 'must be spec.names.plural+"."+spec.group'))
        if spec["scope"] not in ("Cluster", "Namespaced"):
            errors.append(not_supported("spec.scope", spec["scope"], ["Cluster", "Namespaced"]))
        if field_error := name_error("", spec["group"], "spec.group"):
            errors.append(field_error)
        if spec.get("preserveUnknownFields"):
            why = "must be false in order to use defaults in the schema and to prune unknown fields"
            errors.append(invalid("spec.preserveUnknownFields", True, why))
        if spec["conversion"]["strategy"] != "None":
            errors.append(not_supported("spec.conversion.strategy", spec["conversion"]["strategy"], ["None"]))
        errors += _version_errors(spec["versions"], (old or {}).get("spec", {}).get("versions") or ())
        errors += _stored_errors(obj)
        return errors + immutable(obj, old, "spec.group", "spec.scope", "spec.names.plural", "spec.names.kind")


def _settle_names(obj: Obj, status: Obj, draft: Draft) -> None:
    taken = _taken_names(obj, draft)
    names = obj["spec"]["names"]
    if taken:
        conditions = [
            ("NamesAccepted", "False", "Conflict", f"{_CONFLICT}{', '.join(taken)}"),
            ("Established", "False", "NotAccepted", "not all names are accepted"),
        ]
        status.setdefault("acceptedNames", {"plural": "", "kind": ""})
    else:
        conditions = [
            ("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
            ("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
        status["acceptedNames"] = dict(names)
    before = {condition["type"]: condition for condition in status.get("conditions") or ()}
    settled = []
    for kind, value, reason, message in conditions:
        last = before.pop(kind, {})
        when = last["lastTransitionTime"] if last.get("status") == value else draft.now
        settled.append(
            {"lastTransitionTime": when, "message": message, "reason": reason, "status": value, "type": kind}
        )
    status["conditions"] = [*settled, *before.values()]


def _taken_names(obj: Obj, draft: Draft) -> list[str]:
    """Names of this CRD that another resource of its group answers to already."""
    spec = obj["spec"]
    names = spec["names"]
    others = [r for r in draft.registry.all() if r.group == spec["group"] and r.plural != names["plural"]]
    plurals = {name for r in others for name in (r.plural, r.singular, *r.short_names)}
    wanted = [names["plural"], names["singular"], *(names.get("shortNames") or ())]
    kinds = {name for r in others for name in (r.kind, r.plural_list_kind)}
    return [n for n in wanted if n in plurals] + [n for n in (names["kind"], names["listKind"]) if n in kinds]


def _version_errors(versions: list[Obj], before: Any) -> list[FieldError]:
    errors = []
    counted = Counter(version["name"] for version in versions)
    known = {version["name"]: version for version in before}
    if sum(bool(version["storage"]) for version in versions) != 1:
        why = "must have exactly one version marked as storage version"
        errors.append(invalid("spec.versions", sorted(counted), why))
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        if counted[version["name"]] > 1:
            errors.append(invalid(f"{path}.name", version["name"], "must contain unique version names"))
        if version != known.get(version["name"]):
            errors += _schema_errors(version, path) + _column_errors(version, path) + _scale_errors(version, path)
    return errors


def _schema_errors(version: Obj, path: str) -> list[FieldError]:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        return [required(f"{path}.schema.openAPIV3Schema", "schemas are required")]
    try:
        compile_schema(schema)
    except SchemaError as error:
        return [field_error._replace(path=f"{path}.schema.{field_error.path}") for field_error in error.errors]
    return []


def _column_errors(version: Obj, path: str) -> list[FieldError]:
    errors = []
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        where = f"{path}.additionalPrinterColumns[{index}]"
        if column["type"] not in _COLUMN_TYPES:
            errors.append(not_supported(f"{where}.type", column["type"], [*_COLUMN_TYPES]))
        errors += _path_errors(column["jsonPath"], f"{where}.jsonPath")
    for index, field in enumerate(version.get("selectableFields") or ()):
        errors += _path_errors(field["jsonPath"], f"{path}.selectableFields[{index}].jsonPath")
    return errors


def _scale_errors(version: Obj, path: str) -> list[FieldError]:
    scale = (version.get("subresources") or {}).get("scale")
    if not scale:
        return []
    where = f"{path}.subresources.scale"
    starts = {"specReplicasPath": ".spec.", "statusReplicasPath": ".status."}
    return [
        invalid(f"{where}.{name}", scale[name], f"should be a json path under {start[:-1]}")
        for name, start in starts.items()
        if not scale[name].startswith(start)
    ]


def _path_errors(path: str, where: str) -> list[FieldError]:
    try:
        jsonpath.check(path)
    except RejectError as error:
        return [invalid(where, path, error.message)]
    return []


def _stored_errors(obj: Obj) -> list[FieldError]:
    present = {version["name"] for version in obj["spec"]["versions"]}
    why = (
        "missing from spec.versions; {0} was previously a storage version, and must remain in spec.versions until a "
        "storage migration ensures no data remains persisted in {0} and removes {0} from status.storedVersions"
    )
    return [
        invalid(f"status.storedVersions[{index}]", name, why.format(name))
        for index, name in enumerate(obj["status"]["storedVersions"])
        if name not in present
    ]
