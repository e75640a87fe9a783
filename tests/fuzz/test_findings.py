"""What the fuzz targets found once, as inputs with names."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import orjson
import pytest

from millrace_core.base import yaml_text
from millrace_core.base.errors import RejectError, ReportError
from millrace_core.base.quantities import quantity
from millrace_core.features.expressions import expressions
from millrace_core.features.online import feast_form, keys
from millrace_core.features.online.plain import PlainReader, ViewFeatures
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import RowReader, layouts_of
from millrace_local.mesh.model import MeshObjects
from millrace_local.mesh.translate import translate
from millrace_services.inference import protocol
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import TensorSpec
from tests.builders import feature_view
from tests.fuzz import meshed_objects, stored_rows
from tests.fuzz.cluster_requests import ClusterRequests
from tests.fuzz.in_process import Answered
from tests.local.mesh import objects as o
from tests.services.gateway.test_feature_reads import compiled, published

AS_OF = 1_800_000_000_000_000
NUMBERS = compiled(published(feature_view("numbers").build(), "shop"), "shop")
ROW = Layout.of(NUMBERS).encode(AS_OF - 1, None, [1.5, 2])
WHOLE = Layout.of(stored_rows.WHOLE)


@pytest.mark.parametrize("kind", ["BYTES", "UINT64", "INT64", "FP32", "BOOL"])
def test_lists_nested_beyond_what_numpy_knows_are_no_tensor(kind: str) -> None:
    signature = Signature([TensorSpec("a", kind, (-1, 2))], [])
    for leaf, depth in product((b"null", b"1", b'"x"', b"[1,[2]]"), (3, 33, 64, 65, 120)):
        data = b"[" * depth + leaf + b"]" * depth
        body = b'{"inputs": [{"name": "a", "datatype": "%s", "shape": [1, 2], "data": %s}]}' % (kind.encode(), data)
        with pytest.raises(RejectError, match="a"):
            protocol.decode(body, signature)


def test_a_row_with_another_behind_it_is_not_read_as_two() -> None:
    reader = RowReader(NUMBERS, ["amount", "visits"])
    for stored in ([ROW + bytes(len(ROW))], [ROW[:-3], ROW + b"abc"], [ROW + ROW]):
        with pytest.raises(ReportError, match="no whole row"):
            reader.read(stored, AS_OF)


def test_rows_whose_lengths_make_up_for_each_other_are_not_plain() -> None:
    reader = PlainReader.of([ViewFeatures(NUMBERS, ["amount", "visits"], [0, 1])])
    assert reader is not None
    assert reader.read([ROW, ROW], AS_OF) is not None
    # The second begins as the first would go on, so that both have their heads where they belong.
    longer = ROW[:9] + ROW[9:] + ROW[-1:]
    assert reader.read([ROW[:-1], longer], AS_OF) is None


def test_values_that_end_before_they_begin_or_behind_the_row_are_corrupt_for_every_reader() -> None:
    sound = stored_rows.ROWS[0]
    ends = range(WHOLE.fixed.size - 40, WHOLE.fixed.size)
    damaged = [sound[:at] + b"\x7f" + sound[at + 1 :] for at in ends] + [sound[:-1], sound + b"x", sound[:-4]]
    for row in damaged:
        try:
            whole = WHOLE.decode(row)
        except ReportError:
            with pytest.raises(ReportError):
                RowReader(stored_rows.WHOLE, [each.name for each in WHOLE.features]).read([row], AS_OF)
        else:
            assert whole  # a number was damaged, which is another number


def test_a_text_of_the_store_that_is_no_unicode_is_corrupt() -> None:
    row = stored_rows.ROWS[0].replace("é".encode(), b"\xff\xfe")
    with pytest.raises(ReportError, match="no whole row"):
        RowReader(stored_rows.WHOLE, ["f_string"]).read([row], AS_OF)


@pytest.mark.parametrize(
    "value",
    [b"", b"\xff", b"[]", b"{}", b'{"id": "x", "features": []}', b'{"id": "00", "features": [["a", "money", ""]]}',
     b'{"id": "0102030405060708", "features": [["a"]]}', b'{"id": "0102030405060708", "features": [["a", [], ""]]}'],
)  # fmt: skip
def test_a_layout_that_cannot_be_read_is_none_that_is_known(value: bytes) -> None:
    sound = orjson.dumps(WHOLE.as_dict())
    found = layouts_of({keys.META_LAYOUT + b"a": value, keys.META_LAYOUT + b"b": sound})
    assert list(found.values()) == [WHOLE]


def test_a_refusal_is_short_whatever_is_its_field() -> None:
    error = RejectError("y" * 10**6, field=f"entities.{'x' * 10**6}")
    assert len(str(error)) < 5000
    with pytest.raises(ValueError, match="no quantity") as refused:
        quantity("9" * 5000 + "!")
    assert len(str(refused.value)) < 300


def test_a_destination_rule_that_is_malformed_harms_its_own_service_alone() -> None:
    for policy in ({"loadBalancer": True}, {"connectionPool": {"tcp": [1]}}, {"portLevelSettings": [5]}, {"tls": "no"}):
        rule = o.destination_rule("rec", {"v1": {"arm": "v1"}}, **policy)
        mesh = translate(
            MeshObjects(services=(o.service("rec"), o.service("good")), destination_rules=(rule,), virtual_services=())
        )
        assert {host.name for host in mesh.hosts} >= {
            f"{name}.default.svc.cluster.local:80" for name in ("rec", "good")
        }
        assert [problem.name for problem in mesh.problems] == ["rec"]


WRONG = [None, 5, 1.5, True, "", "x", [], [5], ["x"], {}, {"a": 1}, {"a": {"b": []}}]


def replaced(document: Any) -> Iterator[Any]:
    """The document with each of its parts in turn replaced by what it must not be."""
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, part in parts:
        for wrong in WRONG:
            yield (
                {**document, key: wrong}
                if isinstance(document, dict)
                else [*document[:key], wrong, *document[key + 1 :]]
            )
        for inner in replaced(part):
            yield (
                {**document, key: inner}
                if isinstance(document, dict)
                else [*document[:key], inner, *document[key + 1 :]]
            )


@pytest.mark.parametrize("kind", ["VirtualService", "HTTPRoute", "DestinationRule"])
def test_a_route_or_rule_whose_content_is_of_other_types_harms_itself_alone(kind: str) -> None:
    field = {"VirtualService": "virtual_services", "HTTPRoute": "http_routes", "DestinationRule": "destination_rules"}[
        kind
    ]
    services = (o.service("rec"), o.service("good"))
    good = o.virtual_service("good", [{"route": [o.destination("good")]}])
    documents = [orjson.loads(seed) for seed in meshed_objects.SEEDS]
    for document in (each for each in documents if each["kind"] == kind):
        metadata = {"namespace": "default", **document["metadata"]}
        for spec in [*WRONG, *replaced(document["spec"])]:
            objects: dict[str, Any] = {"services": services, "virtual_services": (good,)}
            objects[field] = (*objects.get(field, ()), {**document, "metadata": metadata, "spec": spec})
            mesh = translate(MeshObjects(**objects))
            meshed_objects.written_for_envoy(mesh)
            [host] = (host for host in mesh.hosts if host.name == "good.default.svc.cluster.local:80")
            assert host.origins == (("VirtualService", "default", "good"),), spec
            assert host.rules[0].backends, spec


def test_a_route_that_is_malformed_is_left_out_beside_others_of_its_host() -> None:
    rules = [{"backendRefs": [{"name": "rec", "port": 80}]}]
    bad = [{"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": ["x"]}}], **rules[0]}]
    routes = (o.http_route("good", rules, "x.example.com"), o.http_route("bad", bad, "x.example.com"))
    mesh = translate(MeshObjects(services=(o.service("rec"),), http_routes=routes))
    [host] = (host for host in mesh.hosts if host.name == "x.example.com")
    assert [rule.name for rule in host.rules] == ["HTTPRoute default/good spec.rules[0]"]
    assert [problem.name for problem in mesh.problems] == ["bad"]


@pytest.fixture(scope="module")
def cluster() -> ClusterRequests:
    return ClusterRequests()


_NAMESPACE = b"/apis/apps/v1/namespaces/default/deployments/d"
_APPLY = b" content-type:application/apply-patch+yaml\n"
REQUESTS = {
    "apply of a list with an item that is no object": b"PATCH /apis/millrace.dev/v1alpha1/namespaces/default/featureviews/"
    b"x?fieldManager=m" + _APPLY + b'{"apiVersion": "millrace.dev/v1alpha1", "kind": "FeatureView", "spec": {"features": '
    b'[{"name": "a", "type": "float64"}, null]}}',
    "apply without metadata": b"PATCH " + _NAMESPACE + b"?fieldManager=m" + _APPLY
    + b'{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": null, "spec": {}}',
    "apply with metadata of a text": b"PATCH " + _NAMESPACE + b"?fieldManager=m" + _APPLY
    + b'{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": "x"}',
    "preconditions that are none": b'DELETE /api/v1/namespaces/default/configmaps/x\n{"preconditions": true}',
    "grace of a text": b'DELETE /api/v1/namespaces/default/pods/x\n{"gracePeriodSeconds": "x"}',
    "binding to a number": b'POST /api/v1/namespaces/default/pods/x/binding\n{"target": 5}',
    "old binding without metadata": b'POST /api/v1/namespaces/default/bindings\n{"metadata": 5, "target": {"name": "n"}}',
    "eviction by a text": b'POST /api/v1/namespaces/default/pods/x/eviction\n{"deleteOptions": "x"}',
    "namespace finalized by a number": b'PUT /api/v1/namespaces/default/finalize\n{"spec": 5}',
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_no_body_of_a_subresource_or_an_apply_is_an_error_of_the_api_server(
    cluster: ClusterRequests, name: str
) -> None:
    answered = cluster(REQUESTS[name])
    assert isinstance(answered, Answered)
    assert answered.status in (400, 404, 422), answered


NULLS: list[Any] = [
    {"containers": [None]},
    {"initContainers": [None]},
    {"volumes": [None]},
    {"tolerations": [None]},
    {"containers": [{"name": "c", "ports": [None], "env": [None], "volumeMounts": [None]}]},
    {"containers": [{"name": "c", "ports": [5]}]},
    {"containers": [{"name": "c", "env": ["x", {"name": "y"}]}]},
    {"imagePullSecrets": [None, {"name": "x"}]},
    {"volumes": [{"name": "v", "secret": {"items": [None]}}, 5]},
    {"volumes": [{"name": "v", "projected": {"sources": [None]}}]},
    {"$setElementOrder/containers": [None], "containers": [{"name": "c"}]},
]


@pytest.mark.parametrize("kind", ["strategic-merge-patch+json", "merge-patch+json", "apply-patch+yaml"])
def test_a_null_or_a_number_in_a_list_of_objects_is_no_error_of_the_api_server(
    cluster: ClusterRequests, kind: str
) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    whole = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "nulls"}, "spec": spec}
    cluster(b"POST /apis/apps/v1/namespaces/default/deployments\n" + orjson.dumps(whole))
    line = b"PATCH /apis/apps/v1/namespaces/default/deployments/%s?fieldManager=m content-type:application/%s\n"
    for patched in NULLS:
        for name in (b"nulls", b"absent"):
            body = {
                **whole,
                "metadata": {"name": name.decode()},
                "spec": {**spec, "template": {**template, "spec": patched}},
            }
            answered = cluster(line % (name, kind.encode()) + orjson.dumps(body))
            assert isinstance(answered, Answered), patched
            assert answered.status < 500, (patched, answered)
    for patched in NULLS:
        body = {**whole, "metadata": {"name": "other"}, "spec": {**spec, "template": {**template, "spec": patched}}}
        answered = cluster(b"POST /apis/apps/v1/namespaces/default/deployments\n" + orjson.dumps(body))
        assert isinstance(answered, Answered), patched
        assert answered.status < 500, (patched, answered)


@pytest.mark.parametrize("spec", [b"true", b"[]", b'"x"', b'{"replicas": "x"}', b'{"replicas": -1}', b"5"])
def test_a_scale_that_is_none_is_refused(cluster: ClusterRequests, spec: bytes) -> None:
    body = orjson.dumps(
        {
            "metadata": {"name": "scaled"},
            "spec": {
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
            },
        }
    )
    cluster(b"POST /apis/apps/v1/namespaces/default/deployments\n" + body)
    line = (
        b"PATCH /apis/apps/v1/namespaces/default/deployments/scaled/scale content-type:application/merge-patch+json\n"
    )
    for odd in (b'{"metadata": %s, "spec": {"replicas": 1}}' % spec, b'{"status": %s}' % spec):
        answered = cluster(line + odd)
        assert answered is not None
        assert answered.status < 500, answered
    refused = cluster(line + b'{"spec": %s}' % spec)
    assert refused is not None
    assert refused.status in (400, 422), refused


@pytest.mark.parametrize(
    "path", ["apis/apps/v1/namespaces/x", "apis/apps/v1/namespaces", "api/v1/namespaces/a/b/c/d/e"]
)
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE", "POST"])
def test_a_path_that_ends_before_a_resource_names_nothing(cluster: ClusterRequests, method: str, path: str) -> None:
    answered = cluster(f"{method} {path} content-type:application/merge-patch+json\n{{}}".encode())
    assert answered is not None
    assert answered.status == 404


def test_a_refusal_of_an_object_is_short_whatever_is_wrong_in_it(cluster: ClusterRequests) -> None:
    long = "x" * 50_000
    template = {"metadata": {"labels": {"app": long}}, "spec": {"containers": [{"name": long, "image": "i"}]}}
    for metadata, labels in (
        ({"name": "d"}, {"app": long}),
        ({"name": long}, {long: "a"}),
        ({"name": "d"}, dict.fromkeys(map(str, range(3000)), "!")),
    ):
        document = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**metadata, "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }
        answered = cluster(b"POST /apis/apps/v1/namespaces/default/deployments\n" + orjson.dumps(document))
        assert answered is not None
        assert answered.status == 422
        assert len(answered.body) < 8000  # the target itself asserts it, too


def test_an_integer_of_feast_that_no_double_holds_is_no_json() -> None:
    with pytest.raises(RejectError, match="not JSON"):
        feast_form.loads(b'{"a": NaN, "b": 1%s}' % (b"0" * 400))


def test_long_names_are_cut_in_messages() -> None:
    with pytest.raises(yaml_text.YamlError) as anchor:
        yaml_text.values("a: [*" + "9" * 4500 + "]")
    with pytest.raises(RejectError) as name:
        expressions.predicate("a" + "9" * 4000, {"a": "BIGINT"}, where="spec.source.where", what="columns")
    assert len(str(anchor.value)) < 500
    assert len(str(name.value)) < 500
