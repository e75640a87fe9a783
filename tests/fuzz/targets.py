"""What is fuzzed: one function for each parser of bytes that come from outside, with seeds that it understands.

A finding is any exception but the error that the caller is told (``RejectError``, or the parser's own), a signal that
ends the process, and memory that grows beyond ``MOST_GROWTH``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import orjson
import pyarrow as pa

from millrace_core.base import yaml_text
from millrace_core.base.errors import RejectError, ReportError
from millrace_core.features.online import arrow_stream, feast_form, ipc_limits, keys, push_request, request
from millrace_core.features.online.ipc_limits import Limits
from millrace_core.features.online.push_batch import PushClock
from millrace_services.gateway import push_rows
from millrace_services.inference import grpc_protocol, predict, predict_json, protocol
from millrace_services.inference.grpc_messages import MESSAGES
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import TensorSpec
from millrace_services.registry import documents
from millrace_services.registry.models import search
from millrace_services.web import coding
from millrace_services.web.settings import ServerSettings
from tests.builders import feature_view
from tests.fuzz import (
    cluster_requests,
    expressions,
    gateway_routes,
    meshed_objects,
    mlflow_routes,
    operated_objects,
    registry_routes,
    served_model,
    short_texts,
    stored_rows,
)
from tests.fuzz.http_head import HttpHead
from tests.fuzz.in_process import Lazily
from tests.hostile_arrow import rows, stream, texts
from tests.services.gateway.test_feature_reads import compiled, published

# Bytes that the process may take on beyond those of its first examples.
MOST_GROWTH: Final = 300_000_000

_LIMITS: Final = Limits(10_000, 1 << 22)
_STATS: Final = compiled(
    published(
        feature_view("stats")
        .having("spec.entities", [{"name": "user_id", "type": "int64"}, {"name": "name", "type": "string"}])
        .build(),
        "shop",
    ),
    "shop",
)
_CLOCK: Final = PushClock(1_800_000_000_000_000, 1)
_PUSH: Final = orjson.dumps(
    {
        "push_source_name": "stats",
        "df": {
            "user_id": [1, 2],
            "name": ["a", None],
            "event_timestamp": ["2026-01-01T00:00:00Z"] * 2,
            "amount": [1.5, "NaN"],
            "visits": [1, 2**62],
        },
    }
)
_READ: Final = orjson.dumps(
    {"features": ["stats:visits"], "entities": {"user_id": [1, 2], "name": ["a", "b"]}, "request": {"at": [1, 2]}}
)
_SIGNATURE: Final = Signature(
    [TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "BYTES", (-1,)), TensorSpec("c", "UINT64", (-1,))],
    [TensorSpec("y", "FP32", (-1,))],
)
_INFER: Final = orjson.dumps(
    {
        "id": "1",
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2.5], [None, 4]]},
            {"name": "b", "datatype": "BYTES", "shape": [2], "data": ["x", "y"]},
            {"name": "c", "datatype": "UINT64", "shape": [2], "data": [1, 2**63]},
        ],
        "outputs": [{"name": "y"}],
    }
)
_INFER_JSON: Final = orjson.dumps(
    {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
            {"name": "b", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 9}},
            {"name": "c", "datatype": "UINT64", "shape": [1], "data": [1]},
        ],
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        "parameters": {"binary_data_output": False, "timeout": 100},
    }
)
_INFER_BINARY: Final = b"%d\n%b" % (len(_INFER_JSON), _INFER_JSON) + bytes(8) + b"\1\0\0\0x\0\0\0\0"


def _grpc_request(*raw: bytes) -> bytes:
    asked = MESSAGES["ModelInferRequest"](model_name="m", id="1", raw_input_contents=raw)
    for name, datatype, shape in (("a", "FP32", [1, 2]), ("b", "BYTES", [1]), ("c", "UINT64", [2])):
        asked.inputs.add(name=name, datatype=datatype, shape=shape)
    if not raw:
        asked.inputs[0].contents.fp32_contents.extend([1, float("nan")])
        asked.inputs[1].contents.bytes_contents.append(b"x")
        asked.inputs[2].contents.uint64_contents.extend([1, 2**63])
    asked.outputs.add(name="y").parameters["binary_data"].bool_param = True
    asked.parameters["timeout"].int64_param = 5
    content: bytes = asked.SerializeToString(deterministic=True)
    return content


_INFER_GRPC: Final = [_grpc_request(), _grpc_request(bytes(8), b"\1\0\0\0x", bytes(16))]
_SMALL: Final = ServerSettings(max_body_bytes=1 << 20)
_PREDICT: Final = orjson.dumps({"request": {"a": [[1, 2], [3, 4]], "b": ["x", "y"], "c": [1, 2]}})
_YAML: Final = b"""\
apiVersion: millrace.dev/v1alpha1
kind: FeatureView
metadata: {name: stats, labels: &labels {team: "risk", on: yes}}
spec:
  entities: &all [{name: user_id, type: int64}, *labels]
  features: [*all, *all, 0x1F, 1e3, 017, .5, ~, !!str 5, !!binary aGk=]
  more: {<<: *labels, text: |
    line
  }
"""

_SEARCH: Final = b"name LIKE 'a%' AND tags.`a.b` != \"x\" AND name IN ('a', 'b') AND tag.c = 'it''s'\n`name` DESC"


class Target(NamedTuple):
    """A parser: what is called, what it may raise, and bodies that it takes."""

    call: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: Sequence[bytes]

    @property
    def whole(self) -> bool:
        """Whether each input goes through a whole service."""
        return isinstance(self.call, Lazily)


def _arrow(body: bytes) -> None:
    taken = ipc_limits.check(body, _LIMITS)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    try:
        taken.table(pool)
    finally:
        # What is decoded, what is validated, and what Arrow rounds up to.
        assert (pool.max_memory() or 0) <= 2 * taken.weight + len(body) + (1 << 16), pool.max_memory()


def _arrow_push(body: bytes) -> None:
    pushed = push_request.from_stream(ipc_limits.check(body, _LIMITS), "shop", "")
    push_rows.checked(_STATS, pushed, _CLOCK)


def _arrow_read(body: bytes) -> None:
    keys.store_keys(_STATS, arrow_stream.parse(ipc_limits.check(body, _LIMITS), "shop").entities)


def _json_push(body: bytes) -> None:
    push_rows.checked(_STATS, push_request.from_json(body, "shop", ""), _CLOCK)


def _feast_push(body: bytes) -> None:
    push_rows.checked(_STATS, push_request.from_json(body, "shop", "", feast=True), _CLOCK)


def _feast_read(body: bytes) -> None:
    entities = request.parse(body, "shop", feast_form.loads).entities
    feast_form.check_dummies(feast_form.DUMMY_KEYS, entities)
    types = [(key.name, key.type) for key in _STATS.join_keys]
    keys.store_keys(_STATS, feast_form.columns(types, entities))
    # What has come so far goes back as it came.
    orjson.dumps(
        {name: entities.get(name) for name in (*(key.name for key in _STATS.join_keys), *feast_form.DUMMY_KEYS)}
    )


def _json_read(body: bytes) -> None:
    keys.store_keys(_STATS, request.parse(body, "shop", orjson.loads).entities)


def _infer(body: bytes) -> None:
    protocol.decode(body, _SIGNATURE)


def _infer_binary(body: bytes) -> None:
    """A line with the header, then the body."""
    length, _, rest = body.partition(b"\n")
    protocol.decode(rest, _SIGNATURE, length)


def _infer_grpc(body: bytes) -> None:
    grpc_protocol.decode(grpc_protocol.parse("ModelInferRequest", body), _SIGNATURE)


def _coded(body: bytes) -> None:
    name, _, rest = body.partition(b"\n")
    assert len(coding.decoded(rest, name, _SMALL)) <= _SMALL.max_body_bytes


def _predict(body: bytes) -> None:
    asked = predict_json.decode(body, joins=False)
    predict.for_features(asked, _SIGNATURE, [])
    predict.feeds(asked, _SIGNATURE, [])


def _registry(body: bytes) -> None:
    document = orjson.loads(body)
    documents.entry("FeatureView", document).row()


def _mlflow_search(body: bytes) -> None:
    text, _, order = body.decode().partition("\n")
    for query in (search.models_query, search.versions_query):
        query(text, [order] if order else []).compile()


_ARROW: Final = [
    stream(rows(3, name=pa.array(["a", "bb", None]))),
    stream(rows(3, name=pa.array(["a", "bb", "c" * 99])), compression="zstd"),
    stream(rows(3, name=pa.array([[1], None, [2, 3]])), compression="lz4"),
    stream({"user_id": pa.array([1, 2], pa.int8()), "name": pa.array(["a", "b"], pa.large_string())}),
    stream(rows(2, name=pa.nulls(2), other=pa.array([[1.0, 2.0]] * 2, pa.list_(pa.float32(), 2)))),
    texts(0, 8, 8),
]

TARGETS: Final[Mapping[str, Target]] = {
    "arrow": Target(_arrow, (RejectError,), _ARROW),
    "arrow-push": Target(_arrow_push, (RejectError,), _ARROW),
    "arrow-read": Target(_arrow_read, (RejectError,), _ARROW),
    "expressions": Target(expressions.check, (RejectError,), expressions.SEEDS),
    "feast-push": Target(_feast_push, (RejectError,), [_PUSH]),
    "feast-read": Target(_feast_read, (RejectError,), [_READ]),
    "http_head": Target(HttpHead(), (), HttpHead.SEEDS),
    "content-coding": Target(
        _coded,
        (RejectError,),
        [
            b"gzip\n" + gzip.compress(_INFER, mtime=0) * 2,
            b"deflate\n" + zlib.compress(bytes(1 << 22)),
            b"br\n" + _INFER,
        ],
    ),
    "infer": Target(_infer, (RejectError,), [_INFER, _INFER.replace(b"2.5", b"NaN")]),
    "infer-binary": Target(_infer_binary, (RejectError,), [_INFER_BINARY]),
    "infer-grpc": Target(_infer_grpc, (RejectError,), _INFER_GRPC),
    "json-push": Target(_json_push, (RejectError,), [_PUSH]),
    "json-read": Target(_json_read, (RejectError,), [_READ]),
    "mlflow-routes": Target(Lazily(mlflow_routes.MlflowRoutes), (), mlflow_routes.SEEDS),
    "mlflow-search": Target(_mlflow_search, (RejectError, UnicodeDecodeError), [_SEARCH]),
    "predict": Target(_predict, (RejectError,), [_PREDICT]),
    "cluster-requests": Target(Lazily(cluster_requests.ClusterRequests), (), cluster_requests.SEEDS),
    "gateway-experiments": Target(Lazily(gateway_routes.ExperimentRoutes), (), gateway_routes.EXPERIMENTS),
    "gateway-pushes": Target(Lazily(gateway_routes.GatewayRoutes), (), gateway_routes.PUSHES),
    "gateway-reads": Target(Lazily(gateway_routes.GatewayRoutes), (), gateway_routes.READS),
    "kept-definitions": Target(stored_rows.kept, (ReportError,), stored_rows.KEPT),
    "meshed-objects": Target(Lazily(meshed_objects.MeshedObjects), (), meshed_objects.SEEDS),
    "operated-objects": Target(Lazily(operated_objects.OperatedObjects), (), operated_objects.SEEDS),
    "registry-routes": Target(Lazily(registry_routes.RegistryRoutes), (), registry_routes.SEEDS),
    "served-model": Target(Lazily(served_model.ServedModel), (), served_model.SEEDS),
    "stored-bytes": Target(Lazily(gateway_routes.StoredBytes), (), stored_rows.ROWS),
    "stored-rows": Target(stored_rows.read, (ReportError,), stored_rows.ROWS),
    "registry": Target(_registry, (RejectError, orjson.JSONDecodeError), [orjson.dumps(feature_view("stats").build())]),
    "short-texts": Target(short_texts.parse, (), short_texts.SEEDS),
    "yaml": Target(lambda body: yaml_text.values(body.decode()), (yaml_text.YamlError, UnicodeDecodeError), [_YAML]),
}
