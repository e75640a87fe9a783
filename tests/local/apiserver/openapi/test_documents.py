"""The OpenAPI documents, as kubectl reads them."""

from typing import Any

import pytest

from millrace_local.apiserver.openapi import (
    MEDIA_TYPE,
    v2_document,
    v2_protobuf,
    v3_document,
    v3_index,
    wants_protobuf,
)

Obj = dict[str, Any]


def crd(description: str = "A gadget.", **more: Any) -> Obj:
    spec = {
        "type": "object",
        "description": "What is wanted.",
        "required": ["size", "note"],
        "properties": {
            "size": {"type": "integer", "maximum": 5, "description": "How big."},
            "note": {"type": "string", "nullable": True},
            "either": {"x-kubernetes-int-or-string": True},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "mode": {"type": "string", "enum": ["a", "b"], "oneOf": [{"minLength": 1}]},
        },
    }
    schema = {"type": "object", "description": description, "properties": {"spec": spec}}
    return {
        "metadata": {"name": "gadgets.example.dev"},
        "spec": {
            "group": "example.dev",
            "scope": "Namespaced",
            "names": {"kind": "Gadget", "plural": "gadgets", "listKind": "GadgetList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}, "scale": {}},
                    **more,
                }
            ],
        },
    }


def references(found: Any) -> set[str]:
    if isinstance(found, dict):
        own = {found["$ref"]} if isinstance(found.get("$ref"), str) else set()
        return own.union(*(references(value) for value in found.values()))
    return set[str]().union(*(references(item) for item in found)) if isinstance(found, list) else set()


@pytest.mark.parametrize("path", list(v3_index([crd()])["paths"]))
def test_every_document_of_the_index_is_whole(path: str) -> None:
    document = v3_document(path, [crd()])
    assert document is not None
    schemas = document["components"]["schemas"]
    missing = {name for name in references(document) if name.removeprefix("#/components/schemas/") not in schemas}
    assert not missing
    assert all(where.startswith(f"/{path}/") for where in document["paths"])
    for item in document["paths"].values():
        for method, operation in item.items():
            if method != "parameters":
                assert operation["x-kubernetes-action"]
                assert set(operation["x-kubernetes-group-version-kind"]) == {"group", "version", "kind"}


def test_a_patch_names_its_kind_its_parameters_and_the_patch_types() -> None:
    document = v3_document("apis/apps/v1", [])
    assert document is not None
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    names = {parameter["name"] for parameter in patch["parameters"]}
    assert {"dryRun", "fieldManager", "fieldValidation", "force"} <= names
    assert set(patch["requestBody"]["content"]) == {
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    }
    scale = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"]
    assert scale["x-kubernetes-group-version-kind"]["kind"] == "Scale"


def test_a_custom_kind_gets_type_metadata_and_a_list() -> None:
    document = v3_document("apis/example.dev/v1", [crd()])
    assert document is not None
    schemas = document["components"]["schemas"]
    gadget = schemas["dev.example.v1.Gadget"]
    kind = {"group": "example.dev", "version": "v1", "kind": "Gadget"}
    assert gadget["x-kubernetes-group-version-kind"] == [kind]
    assert gadget["properties"]["metadata"]["allOf"] == [
        {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    ]
    assert gadget["properties"]["spec"]["properties"]["mode"]["oneOf"] == [{"minLength": 1}]
    assert schemas["dev.example.v1.GadgetList"]["properties"]["items"]["items"] == {
        "$ref": "#/components/schemas/dev.example.v1.Gadget"
    }
    patch = document["paths"]["/apis/example.dev/v1/namespaces/{namespace}/gadgets/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]


def test_addresses_in_the_index_change_with_the_crd_they_lead_to_and_only_then() -> None:
    one, same, other = (v3_index([crd(text)])["paths"] for text in ("A gadget.", "A gadget.", "Another."))
    assert one == same
    assert {path for path in one if one[path] != other[path]} == {"apis/example.dev/v1"}
    assert one["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")
    assert "apis/example.dev/v1" not in v3_index([])["paths"]
    assert v3_document("apis/example.dev/v1", []) is None


def test_a_version_that_is_not_served_is_not_described() -> None:
    assert v3_document("apis/example.dev/v1", [crd(served=False)]) is None


def test_version_2_says_only_what_old_clients_understand() -> None:
    document = v2_document([crd()])
    assert {name.removeprefix("#/definitions/") for name in references(document)} <= set(document["definitions"])
    spec = document["definitions"]["dev.example.v1.Gadget"]["properties"]["spec"]
    assert spec["required"] == ["size"]
    assert spec["properties"]["note"] == {}
    assert spec["properties"]["any"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert spec["properties"]["mode"] == {"type": "string", "enum": ["a", "b"]}
    patch = document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert patch["consumes"][0] == "application/apply-patch+yaml"
    assert patch["parameters"][0]["in"] == "body"
    assert {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": True}.items() <= next(
        parameter for parameter in patch["parameters"] if parameter["name"] == "dryRun"
    ).items()


def test_old_clients_ask_for_protocol_buffers_in_two_spellings() -> None:
    assert wants_protobuf("application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
    assert wants_protobuf(f"application/json, {MEDIA_TYPE}")
    assert not wants_protobuf("application/json")


def add_message(file: Any, name: str, fields: list[tuple[str, int, str]]) -> None:
    """A message of (name, number, type) fields; a type with a leading capital is another message, ``*`` repeats."""
    message = file.message_type.add(name=name)
    kinds = {"string": 9, "double": 1, "int64": 3, "bool": 8}
    for field_name, number, kind in fields:
        field = message.field.add(name=field_name, number=number, label=3 if kind.endswith("*") else 1)
        plain = kind.removesuffix("*")
        if plain in kinds:
            field.type = kinds[plain]
        else:
            field.type, field.type_name = 11, f".{plain}"


def decoder() -> Any:
    """An independent reader of the parts that kubectl reads."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")
    message_factory = pytest.importorskip("google.protobuf.message_factory")
    file = descriptor_pb2.FileDescriptorProto(name="openapi.proto", syntax="proto3")
    types = {
        "Document": [("swagger", 1, "string"), ("paths", 8, "Paths"), ("definitions", 9, "Schemas")],
        "Paths": [("path", 2, "NamedPath*")],
        "NamedPath": [("name", 1, "string"), ("value", 2, "Path")],
        "Path": [("get", 2, "Operation"), ("patch", 8, "Operation")],
        "Operation": [("operation_id", 5, "string"), ("consumes", 7, "string*"), ("extension", 13, "NamedAny*")],
        "NamedAny": [("name", 1, "string"), ("value", 2, "Any")],
        "Any": [("yaml", 2, "string")],
        "Schemas": [("named", 1, "NamedSchema*")],
        "NamedSchema": [("name", 1, "string"), ("value", 2, "Schema")],
        "Types": [("value", 1, "string*")],
        "Items": [("schema", 1, "Schema*")],
        "Schema": [
            ("ref", 1, "string"),
            ("description", 4, "string"),
            ("maximum", 7, "double"),
            ("required", 19, "string*"),
            ("enum", 20, "Any*"),
            ("type", 22, "Types"),
            ("items", 23, "Items"),
            ("properties", 25, "Schemas"),
            ("extension", 31, "NamedAny*"),
        ],
    }
    for name, fields in types.items():
        add_message(file, name, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Document"))


def test_protocol_buffers_say_the_same_as_json() -> None:
    document = v2_document([crd()])
    read = decoder().FromString(v2_protobuf(document))
    assert read.swagger == "2.0"
    schemas = {entry.name: entry.value for entry in read.definitions.named}
    assert set(schemas) == set(document["definitions"])
    spec = {entry.name: entry.value for entry in schemas["dev.example.v1.Gadget"].properties.named}["spec"]
    fields = {entry.name: entry.value for entry in spec.properties.named}
    assert (list(spec.required), fields["size"].maximum, list(fields["size"].type.value)) == (
        ["size"],
        5.0,
        ["integer"],
    )
    assert [choice.yaml for choice in fields["mode"].enum] == ['"a"', '"b"']
    container = {e.name: e.value for e in schemas["io.k8s.api.core.v1.PodSpec"].properties.named}["containers"]
    assert container.items.schema[0].ref == "#/definitions/io.k8s.api.core.v1.Container"
    assert {e.name: e.value.yaml for e in container.extension}["x-kubernetes-patch-merge-key"] == '"name"'
    paths = {entry.name: entry.value for entry in read.paths.path}
    patch = paths["/api/v1/namespaces/{namespace}/pods/{name}"].patch
    kind = {extension.name: extension.value.yaml for extension in patch.extension}["x-kubernetes-group-version-kind"]
    assert kind == '{"group":"","version":"v1","kind":"Pod"}'
