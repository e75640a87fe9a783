"""The translation: the rules of each host, and the problems that are reported."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from millrace_local.mesh.clusters import Clusters, cluster_name, endpoint_resources, overlap
from millrace_local.mesh.holding import HeldSubsets
from millrace_local.mesh.model import MeshObjects, RequestMirror, RouteRule, VirtualHost
from millrace_local.mesh.translate import MOST_POLICIES, Mesh, translate
from tests.local.mesh import objects as o

HOST = "rec.default.svc.cluster.local"
ARMS = {"v1": {"arm": "v1"}, "v2": {"arm": "v2"}}


def mesh_of(**objects: Any) -> Mesh:
    return translate(MeshObjects(**{name: tuple(items) for name, items in objects.items()}))


def host_of(mesh: Mesh, domain: str) -> VirtualHost:
    return next(host for host in mesh.hosts if domain in host.domains)


def rules_of(http: list[Any], **objects: Any) -> tuple[RouteRule, ...]:
    mesh = mesh_of(services=[o.service("rec")], virtual_services=[o.virtual_service("rec", http)], **objects)
    return host_of(mesh, HOST).rules


def targets(rule: RouteRule) -> list[tuple[str, int]]:
    return [(backend.destination.key, backend.weight) for backend in rule.backends]


def messages(mesh: Mesh) -> list[str]:
    return [problem.message for problem in mesh.problems]


def test_a_service_without_port_80_is_reached_without_a_port_only_if_it_has_a_single_one() -> None:
    mesh = mesh_of(services=[o.service("one", 9000), o.service("two", 9000, 9001)])
    assert targets(host_of(mesh, "one.default").rules[0]) == [("one.default:9000", 100)]
    assert host_of(mesh, "two.default").rules[0].direct_response is not None
    assert targets(host_of(mesh, "two.default:9001").rules[0]) == [("two.default:9001", 100)]


def test_endpoints_follow_the_port_of_the_service_by_name() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "metrics", "port": 9090}]
    slices = [
        o.endpoint_slice("rec", {"a": "127.1.1.1"}, port=8080, port_name="http"),
        o.endpoint_slice("rec", {"a": "127.1.1.1"}, port=8081, port_name="metrics"),
    ]
    mesh = mesh_of(services=[o.service("rec", *ports)], endpoint_slices=slices)
    found = {upstream.destination.key: upstream.addresses for upstream in mesh.clusters.upstreams}
    assert found == {"rec.default:80": (("127.1.1.1", 8080),), "rec.default:9090": (("127.1.1.1", 8081),)}


def test_subsets_hold_the_ready_endpoints_whose_pods_have_the_labels() -> None:
    pods = [o.pod("a", arm="v1"), o.pod("b", arm="v2", extra="1"), o.pod("c", arm="v2")]
    addresses = {"a": "127.1.1.1", "b": "127.1.1.2", "c": "127.1.1.3", "unlabelled": "127.1.1.4"}
    mesh = mesh_of(
        services=[o.service("rec")],
        pods=pods,
        endpoint_slices=[o.endpoint_slice("rec", addresses, unready=["c"])],
        destination_rules=[o.destination_rule("rec", ARMS)],
        virtual_services=[o.virtual_service("rec", [{"route": [o.destination("rec", "v2")]}])],
    )
    assert [upstream.addresses for upstream in mesh.clusters.upstreams] == [(("127.1.1.2", 8080),)]
    assert mesh.problems == ()


def test_short_names_mean_services_of_the_routes_own_namespace() -> None:
    services = [o.service("rec", namespace="a"), o.service("rec", namespace="b")]
    route = o.virtual_service("rec", [{"route": [o.destination("rec")]}], namespace="b")
    mesh = mesh_of(services=services, virtual_services=[route])
    assert targets(host_of(mesh, "rec.b.svc").rules[0]) == [("rec.b:80", 100)]
    assert host_of(mesh, "rec.a.svc").rules[0].name == "Service a/rec"


def test_a_destination_without_a_port_takes_the_only_port_or_the_one_the_client_asked_for() -> None:
    services = [o.service("rec", 80, 81), o.service("one", 9000)]
    http = [{"route": [o.destination("rec", weight=1), o.destination("one", weight=1)]}]
    mesh = mesh_of(services=services, virtual_services=[o.virtual_service("rec", http)])
    assert targets(host_of(mesh, f"{HOST}:81").rules[0]) == [("rec.default:81", 1), ("one.default:9000", 1)]


def test_the_oldest_virtual_service_of_a_host_decides_and_the_other_gets_a_problem() -> None:
    older = o.virtual_service("old", [{"route": [o.destination("rec")]}], "rec", created="2026-01-01T00:00:00Z")
    newer = o.virtual_service("new", [{"route": [o.destination("x")]}], "rec", created="2026-01-02T00:00:00Z")
    mesh = mesh_of(services=[o.service("rec")], virtual_services=[newer, older])
    assert host_of(mesh, HOST).rules[0].name.startswith("VirtualService default/old")
    assert [(problem.name, "belongs to the older" in problem.message) for problem in mesh.problems] == [("new", True)]


def test_what_destinations_lack_is_said_once_with_its_field() -> None:
    http = [{"route": [o.destination("gone", weight=1), o.destination("rec", "v9", weight=1)]}]
    mesh = mesh_of(services=[o.service("rec", 80, 81)], virtual_services=[o.virtual_service("rec", http)])
    assert messages(mesh) == [
        "spec.http[0].route[0].destination.host: there is no Service gone.default.svc.cluster.local; "
        "Istio takes a short name or a full one",
        f"spec.http[0].route[1].destination.subset: no DestinationRule for {HOST} has a subset 'v9'",
    ]


def test_a_route_that_istio_would_refuse_answers_503_with_the_field() -> None:
    for http, said in [
        (
            {"route": [o.destination("rec", weight=0), o.destination("rec", weight=0)]},
            "spec.http[0].route: the weights",
        ),
        ({"route": [o.destination("rec")], "timeout": "fast"}, "spec.http[0].timeout: 'fast' is no duration"),
        ({"match": [{"uri": {"regex": "(?=x)"}}], "route": [o.destination("rec")]}, "RE2"),
        ({"match": [{"uri": {"regex": "("}}], "route": [o.destination("rec")]}, "no regular expression"),
        ({"route": "rec"}, "another type than its schema says"),
    ]:
        mesh = mesh_of(services=[o.service("rec")], virtual_services=[o.virtual_service("rec", [http])])
        response = host_of(mesh, HOST).rules[0].direct_response
        assert response is not None
        assert response.status == 503
        assert said in messages(mesh)[0]
        assert host_of(mesh, HOST).rules[0].backends == ()


def test_retries_are_only_for_requests_that_never_left_unless_asked_for() -> None:
    route = {"route": [o.destination("rec")]}
    absent, off, asked = rules_of(
        [
            route,
            {**route, "retries": {"attempts": 0}},
            {**route, "retries": {"attempts": 3, "retryOn": "5xx,429", "perTryTimeout": "2s"}},
        ]
    )
    assert absent.retries is not None
    assert absent.retries.on == ("connect-failure", "refused-stream")
    assert off.retries is None
    assert asked.retries is not None
    assert (asked.retries.on, asked.retries.statuses, asked.retries.per_try) == (("5xx",), (429,), 2.0)


def test_matches_that_an_ingress_cannot_judge_never_match_and_are_reported() -> None:
    route = [o.destination("rec")]
    http = [
        {"match": [{"sourceLabels": {"app": "x"}}], "route": route},
        {"match": [{"gateways": ["edge"]}], "route": route},
        {"match": [{"port": 81}], "route": route},
        {"match": [{"port": 80}, {"uri": {"exact": "/x"}}], "route": route},
    ]
    mesh = mesh_of(services=[o.service("rec")], virtual_services=[o.virtual_service("rec", http)])
    rules = host_of(mesh, HOST).rules
    assert [rule.name for rule in rules] == ["VirtualService default/rec spec.http[3]"]
    assert len(rules[0].matches) == 2
    assert messages(mesh) == [
        "spec.http[0].match[0]: the embedded mesh does not know a client's pod, so this never matches"
    ]


def test_a_delegates_rules_hold_under_the_roots_conditions() -> None:
    root = o.virtual_service(
        "root",
        [
            {
                "match": [{"uri": {"prefix": "/shop"}, "headers": {"x": {"exact": "1"}}}],
                "timeout": "5s",
                "delegate": {"name": "shop", "namespace": "teams"},
            },
            {"route": [o.destination("rec")]},
        ],
        "rec",
    )
    delegate = o.virtual_service(
        "shop",
        [
            {"match": [{"uri": {"prefix": "/shop/v2"}}], "route": [o.destination("two")], "timeout": "1s"},
            {"match": [{"uri": {"prefix": "/other"}}], "route": [o.destination("two")]},
            {"route": [o.destination("two")]},
        ],
        namespace="teams",
    )
    delegate["spec"].pop("hosts")
    services = [o.service("rec"), o.service("two", namespace="default")]
    mesh = mesh_of(services=services, virtual_services=[root, delegate])
    first, second, third = host_of(mesh, HOST).rules
    assert [first.matches[0].path.value, first.timeout] == ["/shop/v2", 1.0]  # type: ignore[union-attr]
    assert [name for name, _ in first.matches[0].headers] == ["x"]
    assert [second.matches[0].path.value, second.timeout] == ["/shop", 5.0]  # type: ignore[union-attr]
    assert targets(third) == [("rec.default:80", 100)]
    assert messages(mesh)[-1].endswith("no path of its match lies within the root's, so it never matches")


def test_a_delegate_that_is_missing_stops_only_its_own_rule() -> None:
    first, second = rules_of([{"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "gone"}},
                              {"route": [o.destination("rec")]}])  # fmt: skip
    assert (first.direct_response is not None, second.direct_response) == (True, None)


def test_mirrors_default_to_every_request() -> None:
    base = {"route": [o.destination("rec")]}
    one, many = rules_of(
        [
            {**base, "mirror": {"host": "rec"}},
            {**base, "mirrors": [{"destination": {"host": "rec"}, "percentage": {"value": 0.5}}]},
        ]
    )
    assert [mirror.percent for mirror in (*one.mirrors, *many.mirrors)] == [100.0, 0.5]
    assert isinstance(one.mirrors[0], RequestMirror)


def test_http_routes_are_tried_most_specific_first_and_after_virtual_services() -> None:
    def rule(path: str, kind: str = "PathPrefix", **more: Any) -> Any:
        matches = [{"path": {"type": kind, "value": path}, **more}]
        return {"matches": matches, "backendRefs": [{"name": "rec", "port": 80}]}

    header = [{"name": "x", "value": "1"}]
    rules = [rule("/"), rule("/a"), rule("/a/b"), rule("/a", method="GET"), rule("/a", headers=header),
             rule("/", "Exact")]  # fmt: skip
    parent = [{"group": "", "kind": "Service", "name": "rec"}]
    route = o.http_route("r", rules, parents=parent)
    mesh = mesh_of(services=[o.service("rec")], http_routes=[route])
    order = [rule.name.rpartition(" ")[2] for rule in host_of(mesh, HOST).rules]
    assert order == [f"spec.rules[{index}]" for index in (5, 2, 3, 4, 1, 0)]
    virtual = o.virtual_service("rec", [{"route": [o.destination("rec")]}])
    mesh = mesh_of(services=[o.service("rec")], http_routes=[route], virtual_services=[virtual])
    assert host_of(mesh, HOST).rules[0].name.startswith("VirtualService")


def test_an_http_route_without_a_usable_backend_answers_500() -> None:
    rules = [{"backendRefs": [{"name": "rec", "port": 80, "weight": 0}]}]
    mesh = mesh_of(services=[o.service("rec")], http_routes=[o.http_route("r", rules, "shop.example.com")])
    response = host_of(mesh, "shop.example.com").rules[0].direct_response
    assert response is not None
    assert response.status == 500


def test_mirrors_of_http_routes_take_percents_and_fractions() -> None:
    def mirror(**share: Any) -> Any:
        return {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "rec", "port": 80}, **share}}

    filters = [mirror(), mirror(percent=5), mirror(fraction={"numerator": 1, "denominator": 8})]
    rules = [{"backendRefs": [{"name": "rec", "port": 80}], "filters": filters}]
    mesh = mesh_of(services=[o.service("rec")], http_routes=[o.http_route("r", rules, "x.example.com")])
    assert [one.percent for one in host_of(mesh, "x.example.com").rules[0].mirrors] == [100.0, 5.0, 12.5]


def test_distinct_traffic_policies_get_clusters_of_their_own_up_to_a_limit() -> None:
    names = [f"s{n}" for n in range(MOST_POLICIES + 5)]
    pools = [{"connectionPool": {"http": {"http2MaxRequests": n + 1}}} for n in range(len(names))]
    mesh = mesh_of(
        services=[o.service(name) for name in names],
        destination_rules=[o.destination_rule(name, {}, **pool) for name, pool in zip(names, pools, strict=True)],
    )
    assert len(mesh.clusters.policies()) == MOST_POLICIES
    assert len(mesh.problems) == 6


def test_ports_that_speak_http2_are_reached_by_http2() -> None:
    ports = [{"name": "grpc-x", "port": 80}, {"name": "b", "port": 81, "appProtocol": "kubernetes.io/h2c"},
             {"name": "http", "port": 82}]  # fmt: skip
    mesh = mesh_of(services=[o.service("rec", *ports)])
    assert [upstream.policy.http2 for upstream in mesh.clusters.upstreams] == [True, True, False]


def revisions(label: str, *pods: str, unready: tuple[str, ...] = ()) -> Mesh:
    """Subset ``v1`` of ``rec`` by the revision ``label`` and pods ``a`` (revision 1) and ``b`` (2), if named."""
    known = {"a": "127.1.1.1", "b": "127.1.1.2"}
    return mesh_of(
        services=[o.service("rec")],
        pods=[o.pod("a", rev="1"), o.pod("b", rev="2")],
        endpoint_slices=[o.endpoint_slice("rec", {pod: known[pod] for pod in pods}, unready=unready)],
        destination_rules=[o.destination_rule("rec", {"v1": {"rev": label}})],
        virtual_services=[o.virtual_service("rec", [{"route": [o.destination("rec", "v1")]}])],
    )


def addresses(found: Clusters) -> list[str]:
    return [address for upstream in found.upstreams for address, _ in upstream.addresses]


def test_a_subset_whose_new_pods_are_not_known_yet_keeps_the_old_ones_for_a_moment() -> None:
    holding, old = HeldSubsets(), revisions("1", "a").clusters
    ahead = revisions("2", "a")
    held = holding.apply(old, ahead.clusters, ahead.ready, 10.0)
    assert (addresses(held), holding.active) == (["127.1.1.1"], True)
    held = holding.apply(held, ahead.clusters, ahead.ready, 10.9)
    assert addresses(held) == ["127.1.1.1"]
    arrived = revisions("2", "a", "b")
    assert addresses(holding.apply(held, arrived.clusters, arrived.ready, 10.95)) == ["127.1.1.2"]
    assert not holding.active


def test_a_subset_that_stays_empty_or_whose_pods_are_unready_is_not_held() -> None:
    holding, old = HeldSubsets(), revisions("1", "a").clusters
    ahead = revisions("2", "a")
    held = holding.apply(old, ahead.clusters, ahead.ready, 10.0)
    assert addresses(holding.apply(held, ahead.clusters, ahead.ready, 11.0)) == []
    lost = revisions("1", "a", unready=("a",))
    assert addresses(holding.apply(old, lost.clusters, lost.ready, 12.0)) == []
    assert not holding.active


SERVICES = st.lists(st.sampled_from(["a", "b", "c"]), unique=True, min_size=1)
ROUTE = st.fixed_dictionaries(
    {
        "host": st.sampled_from(["a", "b", "c", "nowhere"]),
        "subset": st.sampled_from(["", "v1", "v2"]),
        "weight": st.integers(0, 100),
    }
)


@st.composite
def clusters(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Services of one to three names, some with endpoints, subsets and routes."""
    names = draw(SERVICES)
    pods = {f"p{n}": f"127.1.0.{n + 1}" for n in range(draw(st.integers(0, 4)))}
    return {
        "services": [o.service(name, *draw(st.sampled_from([(80,), (80, 81), (9000,)]))) for name in names],
        "endpoint_slices": [o.endpoint_slice(name, pods) for name in names],
        "pods": [o.pod(name, arm=draw(st.sampled_from(["v1", "v2"]))) for name in pods],
        "destination_rules": [o.destination_rule(name, ARMS) for name in names],
        "virtual_services": [
            o.virtual_service(
                f"vs{index}",
                [{"route": [o.destination(r["host"], r["subset"], r["weight"]) for r in routes]}],
                draw(st.sampled_from([*names, "a.default", "shop.example.com", "*.example.com"])),
            )
            for index, routes in enumerate(draw(st.lists(st.lists(ROUTE, min_size=1, max_size=4), max_size=3)))
        ],
    }


@given(clusters(), st.randoms(use_true_random=False))
def test_the_order_of_objects_changes_nothing(objects: dict[str, list[Any]], chance: random.Random) -> None:
    shuffled = {kind: chance.sample(items, len(items)) for kind, items in objects.items()}
    first, second = mesh_of(**objects), mesh_of(**shuffled)
    assert (first.hosts, first.clusters) == (second.hosts, second.clusters)
    assert set(first.problems) == set(second.problems)


@given(clusters(), clusters())
def test_every_destination_has_its_cluster_and_no_domain_has_two_hosts(
    objects: dict[str, list[Any]], later: dict[str, list[Any]]
) -> None:
    old, new = mesh_of(**objects), mesh_of(**later)
    for mesh in (old, new):
        domains = [domain for host in mesh.hosts for domain in host.domains]
        assert len(domains) == len(set(domains))
        known = mesh.clusters.names()
        rules = [rule for host in mesh.hosts for rule in host.rules]
        assert all(backend.destination in known for rule in rules for backend in rule.backends if backend.weight)
        assert all(bool(rule.backends) + bool(rule.direct_response) + bool(rule.redirect) == 1 for rule in rules)
    # While routes change from one to the other, all that either names is there, with its present endpoints.
    both = endpoint_resources(overlap(old.clusters, new.clusters))
    for upstream in (*old.clusters.upstreams, *new.clusters.upstreams):
        assert cluster_name(upstream.policy) in both
