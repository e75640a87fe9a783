"""Messages of the Open Inference Protocol v2 over gRPC, and of gRPC's health check, from tables of their fields.

Names and numbers are the wire format:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto,
https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto (the repository's index) and
https://github.com/grpc/grpc/blob/master/src/proto/grpc/health/v1/health.proto.

The classes are made at import, in a pool of their own: nothing is generated, and a client's library in the same process
has its own of the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE: Final = "inference.GRPCInferenceService"
HEALTH: Final = "grpc.health.v1.Health"

_Field = descriptor_pb2.FieldDescriptorProto
# Fields by name: number and type. A type that is no scalar is a message's name; `*` is a repeated field, `map` one of
# parameters or of texts, by a text; `?` a choice of its message's one-of.
_Table = Mapping[str, Mapping[str, tuple[int, str]]]
_SCALARS: Final = {
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}
_INFERENCE: Final[_Table] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ServerMetadataRequest": {},
    "ServerMetadataResponse": {"name": (1, "string"), "version": (2, "string"), "extensions": (3, "string*")},
    "ModelMetadataRequest": {"name": (1, "string"), "version": (2, "string")},
    "TensorMetadata": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")},
    "ModelMetadataResponse": {
        "name": (1, "string"),
        "versions": (2, "string*"),
        "platform": (3, "string"),
        "inputs": (4, "TensorMetadata*"),
        "outputs": (5, "TensorMetadata*"),
        "properties": (6, "string map"),
    },
    "InferParameter": {
        "bool_param": (1, "bool?"),
        "int64_param": (2, "int64?"),
        "string_param": (3, "string?"),
        "double_param": (4, "double?"),
        "uint64_param": (5, "uint64?"),
    },
    "InferTensorContents": {
        "bool_contents": (1, "bool*"),
        "int_contents": (2, "int32*"),
        "int64_contents": (3, "int64*"),
        "uint_contents": (4, "uint32*"),
        "uint64_contents": (5, "uint64*"),
        "fp32_contents": (6, "float*"),
        "fp64_contents": (7, "double*"),
        "bytes_contents": (8, "bytes*"),
    },
    "InferInputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "int64*"),
        "parameters": (4, "InferParameter map"),
        "contents": (5, "InferTensorContents"),
    },
    "InferRequestedOutputTensor": {"name": (1, "string"), "parameters": (2, "InferParameter map")},
    "InferOutputTensor": {
        "name": (1, "string"),
        "datatype": (2, "string"),
        "shape": (3, "int64*"),
        "parameters": (4, "InferParameter map"),
        "contents": (5, "InferTensorContents"),
    },
    "ModelInferRequest": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "InferParameter map"),
        "inputs": (5, "InferInputTensor*"),
        "outputs": (6, "InferRequestedOutputTensor*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "ModelInferResponse": {
        "model_name": (1, "string"),
        "model_version": (2, "string"),
        "id": (3, "string"),
        "parameters": (4, "InferParameter map"),
        "outputs": (5, "InferOutputTensor*"),
        "raw_output_contents": (6, "bytes*"),
    },
    "RepositoryIndexRequest": {"repository_name": (1, "string"), "ready": (2, "bool")},
    "ModelIndex": {"name": (1, "string"), "version": (2, "string"), "state": (3, "string"), "reason": (4, "string")},
    "RepositoryIndexResponse": {"models": (1, "ModelIndex*")},
}
_HEALTH: Final[_Table] = {
    "HealthCheckRequest": {"service": (1, "string")},
    # An enumeration, which is a number on the wire.
    "HealthCheckResponse": {"status": (1, "int32")},
}


def _classes(package: str, table: _Table) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in table.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add(message, f".{package}", field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in table}


def _add(message: descriptor_pb2.DescriptorProto, package: str, name: str, number: int, kind: str) -> None:
    element = kind.rstrip("*?").removesuffix(" map")
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind.endswith(("*", " map")):
        field.label = _Field.LABEL_REPEATED
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind.endswith(" map"):
        entry = message.nested_type.add(name="".join(each.title() for each in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add(entry, package, "key", 1, "string")
        _add(entry, package, "value", 2, element)
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{package}.{message.name}.{entry.name}"
    elif element in _SCALARS:
        field.type = _SCALARS[element]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{package}.{element}"


MESSAGES: Final = {**_classes("inference", _INFERENCE), **_classes("grpc.health.v1", _HEALTH)}
