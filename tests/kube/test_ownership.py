"""What others did to a child that is put back, and what stays; the embedded server's field manager keeps the fields."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.schema import Schema, compile_schema
from millrace_kube.ownership import difference, shown, taken_over, without_scaled
from millrace_kube.resources import Object
from millrace_local.apiserver import thirdparty
from millrace_local.apiserver.fieldmanager import apply, record_update
from millrace_local.apiserver.kinds.jobs import CronJobStrategy, JobStrategy
from millrace_local.apiserver.kinds.services import ServiceStrategy
from millrace_local.apiserver.kinds.workloads import DeploymentStrategy
from millrace_local.apiserver.openapi import builtin_schema
from millrace_local.apiserver.strategy import Strategy

OPERATORS = Path(__file__).parents[1] / "operators"
NOW = "2026-01-01T00:00:00Z"
Edit = Callable[[Any], object]
DEFAULTS: dict[str, Strategy] = {
    "Deployment": DeploymentStrategy(),
    "CronJob": CronJobStrategy(),
    "Job": JobStrategy(),
    "Service": ServiceStrategy(),
}


@cache
def children() -> dict[str, Object]:
    """One object of each kind that operators make, as they are checked against golden files."""
    found: dict[str, Object] = {}
    for path in sorted(OPERATORS.glob("*/golden/*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            found.setdefault(document["kind"], document)
    return found


@cache
def schema_of(kind: str) -> Schema:
    group, _, version = children()[kind]["apiVersion"].rpartition("/")
    if "." not in group or group.endswith(".k8s.io"):
        return compile_schema(builtin_schema(group, version, kind))
    for path in Path(thirdparty.__path__[0]).glob("*.yaml"):
        for crd in yaml.safe_load_all(path.read_text()):
            if crd["spec"]["names"]["kind"] == kind:
                [stored] = [item for item in crd["spec"]["versions"] if item["storage"]]
                return compile_schema(stored["schema"]["openAPIV3Schema"])
    raise AssertionError(f"no CRD of {kind}")


class Child:
    """A child on an API server that keeps its fields' owners."""

    def __init__(self, kind: str) -> None:
        self.wanted = children()[kind]
        metadata = self.wanted["metadata"]
        stamped = {**(metadata.get("annotations") or {}), "millrace.dev/applied": "hash"}  # as the client adds it
        self.wanted = {**self.wanted, "metadata": {**metadata, "annotations": stamped}}
        self.live: Object = {}
        self.writes = 0
        self.edits: list[Edit] = []
        self._schema = schema_of(kind)
        self._apply(self.wanted)

    def edited(self, edit: Edit, manager: str = "kubectl-patch", subresource: str = "") -> Child:
        """Another manager updates it."""
        new = copy.deepcopy(self.live)
        edit(new)
        about = {"schema": self._schema, "api_version": self.wanted["apiVersion"], "now": NOW}
        record_update(self.live, new, manager=manager, subresource=subresource, **about)
        self.live = new
        return self

    def stated(self, manager: str) -> Child:
        """Another manager applies all of its spec as it is."""
        stated = {"apiVersion": self.wanted["apiVersion"], "kind": self.wanted["kind"], "spec": self.live["spec"]}
        stated["metadata"] = {"name": self.wanted["metadata"]["name"]}
        about = {"schema": self._schema, "api_version": self.wanted["apiVersion"], "now": NOW}
        self.live = apply(self.live, stated, manager=manager, force=True, **about)
        return self

    def admitted(self, edit: Edit) -> Child:
        """A default or a webhook changes it: nobody is recorded as the owner."""
        edit(self.live)
        return self

    def put_back(self) -> None:
        """What the operator writes, as long as something differs."""
        while found := difference(self.wanted, self.live):
            self.writes += 1
            assert self.writes < 4, f"a write loop: {found}"
            if found.added:
                self.take_over()
            self._apply(found.desired)

    def take_over(self) -> None:
        """The first of the two writes that put back."""
        entries = taken_over(self.live, difference(self.wanted, self.live).added)
        self.edited(lambda live: live["metadata"].update(managedFields=entries), "millrace")

    def _apply(self, wanted: Object) -> None:
        about = {"schema": self._schema, "api_version": wanted["apiVersion"], "now": NOW}
        self.live = apply(self.live or None, wanted, manager="millrace", force=True, **about)

    @property
    def spec(self) -> Any:
        return self.live["spec"]


def pod(child: Object) -> Any:
    spec = child["spec"]
    return (spec["jobTemplate"]["spec"] if child["kind"] == "CronJob" else spec)["template"]["spec"]


def container(child: Object) -> Any:
    return pod(child)["containers"][0]


ADDED: list[tuple[str, Edit, str]] = [
    ("Service", lambda o: o["spec"]["selector"].update(a="b"), "spec.selector"),
    ("Service", lambda o: o["spec"]["ports"].append({"port": 1, "protocol": "TCP"}), "spec.ports[port=1"),
    ("Service", lambda o: o["spec"].update(type="ExternalName", externalName="x"), "spec.externalName"),
    ("Service", lambda o: o["spec"].update(publishNotReadyAddresses=True), "spec.publishNotReadyAddresses"),
    ("Deployment", lambda o: o["spec"].update(paused=True), "spec.paused"),
    ("Deployment", lambda o: pod(o).update(nodeSelector={"disk": "ssd"}), "spec.template.spec.nodeSelector"),
    ("Deployment", lambda o: pod(o)["containers"].append({"name": "x", "image": "x"}), 'spec.containers[name="x"]'),
    ("Deployment", lambda o: pod(o)["initContainers"].append({"name": "x", "image": "x"}), "initContainers"),
    ("Deployment", lambda o: container(o)["env"].append({"name": "X", "value": "1"}), 'env[name="X"]'),
    ("Deployment", lambda o: container(o).update(lifecycle={"preStop": {"sleep": {"seconds": 9}}}), "lifecycle"),
    ("Deployment", lambda o: pod(o)["volumes"][0].update(hostPath={"path": "/"}), "hostPath"),
    ("Deployment", lambda o: pod(o)["volumes"][0]["emptyDir"].update(medium="Memory"), "emptyDir.medium"),
    ("Deployment", lambda o: pod(o).update(hostNetwork=True, tolerations=[{"operator": "Exists"}]), "hostNetwork"),
    ("Deployment", lambda o: o["spec"]["selector"]["matchLabels"].update(a="b"), "spec.selector"),
    ("CronJob", lambda o: o["spec"].update(timeZone="Europe/Berlin"), "spec.timeZone"),
    ("CronJob", lambda o: o["spec"]["jobTemplate"]["spec"].update(parallelism=0), "spec.jobTemplate.spec.parallelism"),
    ("CronJob", lambda o: o["spec"]["jobTemplate"]["spec"].update(suspend=True), "spec.jobTemplate.spec.suspend"),
    ("CronJob", lambda o: pod(o).update(nodeSelector={"disk": "ssd"}), "spec.nodeSelector"),
    ("Job", lambda o: o["spec"].update(parallelism=0), "spec.parallelism"),
    ("Job", lambda o: o["spec"].update(suspend=True), "spec.suspend"),
    ("ScaledObject", lambda o: o["spec"].update(idleReplicaCount=0), "spec.idleReplicaCount"),
    (
        "ScaledObject",
        lambda o: o["metadata"].setdefault("annotations", {}).update({"autoscaling.keda.sh/paused-replicas": "0"}),
        "metadata.annotations.autoscaling.keda.sh/paused-replicas",
    ),
    ("HorizontalPodAutoscaler", lambda o: o["spec"]["behavior"]["scaleUp"].update(selectPolicy="Disabled"), "scaleUp"),
    ("VirtualService", lambda o: o["spec"].update(gateways=["other"]), "spec.gateways"),
    ("VirtualService", lambda o: o["spec"]["http"][0].update(fault={"abort": {"httpStatus": 503}}), "spec.http"),
    ("DestinationRule", lambda o: o["spec"].update(trafficPolicy={"tls": {"mode": "SIMPLE"}}), "spec.trafficPolicy"),
    ("PodDisruptionBudget", lambda o: o["spec"]["selector"]["matchLabels"].update(a="b"), "spec.selector"),
    ("ServiceMonitor", lambda o: o["spec"].update(namespaceSelector={"any": True}), "spec.namespaceSelector"),
]


@pytest.mark.parametrize(("kind", "edit", "path"), ADDED)
def test_what_decides_whether_a_child_works_is_put_back(kind: str, edit: Edit, path: str) -> None:
    child = Child(kind)
    before = copy.deepcopy(child.live)
    child.edited(edit)
    assert child.live["spec"] != before["spec"] or child.live["metadata"] != before["metadata"]
    found = difference(child.wanted, child.live)
    assert path in found.edits
    assert "kubectl-patch" in found.edits
    child.put_back()
    assert child.spec == before["spec"]
    assert child.live["metadata"].get("annotations") == before["metadata"].get("annotations")


_ITEM_KEYS = ("name", "port", "containerPort", "protocol", "mountPath")
KINDS = sorted({kind for kind, *_ in ADDED})
LEFT: list[tuple[str, Edit]] = [
    ("Deployment", lambda o: o["metadata"]["labels"].update(team="x")),
    ("Deployment", lambda o: o["metadata"].update(finalizers=["others.io/x"])),
    ("Deployment", lambda o: o["metadata"]["ownerReferences"].append({"uid": "other", "kind": "K", "name": "n"})),
    (
        "Deployment",
        lambda o: o["spec"]["template"]["metadata"].update(annotations={"kubectl.kubernetes.io/restartedAt": NOW}),
    ),
    ("Deployment", lambda o: o.update(status={"readyReplicas": 1})),
    ("CronJob", lambda o: o["spec"]["jobTemplate"]["metadata"]["annotations"].update(x="y")),
    ("Job", lambda o: pod(o).update(nodeSelector={"pool": "batch"})),
    ("ScaledObject", lambda o: o["metadata"]["annotations"].update({"autoscaling.keda.sh/note": "x"})),
    ("ScaledObject", lambda o: o["metadata"].update(finalizers=["finalizer.keda.sh"])),
    ("Secret", lambda o: o["data"].update(more="eA==")),
]


@pytest.mark.parametrize(("kind", "edit"), LEFT)
def test_what_others_may_add_stays_and_costs_no_write(kind: str, edit: Edit) -> None:
    child = Child(kind).edited(edit)
    after = copy.deepcopy(child.live)
    child.put_back()
    assert child.writes == 0
    assert child.live == after


ASSUMED: list[tuple[str, Edit]] = [
    ("CronJob", lambda o: o["spec"].update(suspend=False, failedJobsHistoryLimit=1)),
    ("CronJob", lambda o: o["spec"]["jobTemplate"]["spec"].update(suspend=False, parallelism=1, completions=1)),
    ("CronJob", lambda o: container(o).update(imagePullPolicy="IfNotPresent", tty=False)),
    ("CronJob", lambda o: pod(o).update(hostNetwork=False, schedulerName="default-scheduler")),
    ("Deployment", lambda o: o["spec"].update(paused=False, minReadySeconds=0)),
    ("Deployment", lambda o: container(o)["readinessProbe"].update(successThreshold=1)),
    ("Deployment", lambda o: container(o)["securityContext"].update(privileged=False)),
    ("Job", lambda o: o["spec"].update(suspend=False, completionMode="NonIndexed")),
    ("Service", lambda o: o["spec"].update(type="ClusterIP", sessionAffinity="None", clusterIP="10.96.0.9")),
    ("HorizontalPodAutoscaler", lambda o: o["spec"]["behavior"]["scaleDown"].update(selectPolicy="Max")),
    ("ScaledObject", lambda o: o["spec"].update(cooldownPeriod=300)),
]


@pytest.mark.parametrize(("kind", "edit"), ASSUMED)
def test_what_is_assumed_anyway_may_be_stated_and_costs_no_write(kind: str, edit: Edit) -> None:
    child = Child(kind).edited(edit, "argocd")
    after = copy.deepcopy(child.live)
    child.put_back()
    assert child.writes == 0
    assert child.live == after


@pytest.mark.parametrize("kind", sorted(DEFAULTS))
def test_all_that_the_api_server_fills_in_may_be_stated(kind: str) -> None:
    child = Child(kind)
    before = copy.deepcopy(child.spec)
    child.admitted(DEFAULTS[kind].default)
    assert child.spec != before
    assert not difference(child.wanted, child.stated("argocd").live), "one that applies"
    child = Child(kind).edited(DEFAULTS[kind].default, "argocd")
    assert difference(child.wanted, child.live).edits == "", "one that updates"


def test_another_value_than_the_assumed_one_goes_though_that_one_was_stated_before() -> None:
    child = Child("Job").edited(lambda o: o["spec"].update(suspend=False), "argocd")
    child.edited(lambda o: o["spec"].update(suspend=True), "argocd")
    assert difference(child.wanted, child.live).edits == "spec.suspend by argocd"
    child.put_back()
    assert "suspend" not in child.spec


@pytest.mark.parametrize(("kind", "edit"), [(kind, edit) for kind, edit, _ in ADDED])
def test_what_a_default_or_a_webhook_changes_stays_and_costs_no_write(kind: str, edit: Edit) -> None:
    child = Child(kind).admitted(edit)
    child.put_back()
    assert child.writes == 0


def test_a_webhook_may_change_what_is_ours_and_no_write_loop_starts() -> None:
    child = Child("Deployment").admitted(lambda o: container(o).update(image="mirror.example.com/image"))
    child.put_back()
    assert child.writes == 0


def test_an_injected_sidecar_stays_with_its_volume_and_annotations() -> None:
    def inject(live: Object) -> None:
        pod(live)["containers"].insert(0, {"name": "istio-proxy", "image": "proxy"})
        pod(live)["volumes"].append({"name": "istio-token", "emptyDir": {}})
        live["spec"]["template"]["metadata"]["annotations"] = {"sidecar.istio.io/status": "injected"}

    child = Child("Deployment").admitted(inject)
    child.put_back()
    assert child.writes == 0
    assert container(child.live)["name"] == "istio-proxy"
    child.edited(lambda o: container(o).update(image="newer")).put_back()
    assert child.writes == 0, "it would be a container without an image"


def test_the_number_that_a_scaler_sets_is_not_stated_again() -> None:
    child = Child("Deployment").edited(lambda o: o["spec"].update(replicas=7), "kube-controller-manager", "scale")
    assert difference(child.wanted, child.live).drifted
    child.wanted = {**child.wanted, "spec": {**child.wanted["spec"], "replicas": 7}}
    found = difference(child.wanted, child.live)
    assert not found
    assert "replicas" not in found.desired["spec"]
    assert "replicas" not in without_scaled(child.wanted)["spec"]


def test_the_number_that_nobody_else_set_is_stated_or_it_would_become_one() -> None:
    child = Child("Deployment")
    child.wanted = {**child.wanted, "spec": {**child.wanted["spec"], "replicas": 7}}
    assert difference(child.wanted, child.live).desired["spec"]["replicas"] == 7
    child.put_back()
    assert child.spec["replicas"] == 7


def test_a_crash_between_the_two_writes_is_made_good() -> None:
    child = Child("Deployment").edited(lambda o: o["spec"].update(paused=True))
    child.take_over()
    assert difference(child.wanted, child.live).unfinished
    child.put_back()
    assert "paused" not in child.spec


def test_an_object_whose_owners_were_cleared_is_applied_once() -> None:
    child = Child("Service")
    child.live["metadata"].pop("managedFields")
    child.put_back()
    assert child.writes == 1


def test_a_value_that_others_put_back_themselves_or_state_as_well_is_no_edit() -> None:
    child = Child("CronJob")
    schedule = child.spec["schedule"]
    child.edited(lambda o: o["spec"].update(schedule="1 1 1 1 1"), "argocd")
    child.edited(lambda o: o["spec"].update(schedule=schedule), "argocd")
    found = difference(child.wanted, child.live)
    assert found, "it is made ours again, or its removal would not be seen"
    assert not found.edits
    assert not found.of_others
    child.put_back()
    assert (child.writes, child.spec["schedule"]) == (1, schedule)
    child.edited(lambda o: o["spec"].update(schedule=schedule, suspend=True), "argocd")
    found = difference(child.wanted, child.live)
    assert "spec.suspend by argocd" in found.edits
    assert "schedule" not in found.edits


@pytest.mark.parametrize("left", [{}, {".": {}}])
def test_a_map_that_somebody_emptied_is_ours_no_more_though_it_is_still_recorded(left: dict[str, Any]) -> None:
    child = Child("Service")
    child.spec["selector"].clear()
    child.live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:selector"] = left
    assert difference(child.wanted, child.live).edits == "spec.selector by somebody"


def test_paths_are_shown_as_kubernetes_shows_them() -> None:
    path = ("f:spec", "f:containers", 'k:{"name":"serve"}', "f:args", 'v:"x"')
    assert shown(path) == 'spec.containers[name="serve"].args[="x"]'


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place below the metadata's and the spec's fields."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield (*path, key)
        yield from places(below, (*path, key))


@given(st.data())
def test_whatever_others_do_below_spec_it_is_as_it_was_after_few_writes(data: st.DataObject) -> None:
    child = Child(data.draw(st.sampled_from(KINDS)))
    before = copy.deepcopy(child.spec)
    for manager in data.draw(st.lists(st.sampled_from(["kubectl-edit", "argocd"]), min_size=1, max_size=3)):
        with suppress(RejectError, LookupError):  # the API server refuses some of it, and some needs what has gone
            child.edited(data.draw(edits(child)), manager)
    child.put_back()
    assert filled(child.spec) == filled(before)


def filled(value: Any) -> Any:
    """A value without what is empty in it: a server fills that in."""
    if isinstance(value, dict):
        parts = {key: filled(below) for key, below in value.items()}
        return {key: below for key, below in parts.items() if below not in (None, {}, [])}
    return [filled(item) for item in value] if isinstance(value, list) else value


@st.composite
def edits(draw: st.DrawFn, child: Child) -> Edit:
    """An addition of those above, or a removal or another value of any field below spec."""
    live = child.live
    added = [edit for kind, edit, _ in ADDED if kind == live["kind"] and edit not in child.edits]
    # An item without its key is refused by the validation that is not played here.
    there = sorted((each for each in places(live["spec"]) if each[-1] not in _ITEM_KEYS), key=str)
    if added and (not there or draw(st.booleans())):
        child.edits.append(draw(st.sampled_from(added)))
        return child.edits[-1]
    path = draw(st.sampled_from(there))
    change = draw(st.sampled_from(["remove", "alter"]))

    def edit(new: Object) -> None:
        holder: Any = new["spec"]
        for step in path[:-1]:
            holder = holder[step]
        value = holder[path[-1]]
        if change == "remove":
            del holder[path[-1]]
        elif isinstance(value, bool):
            holder[path[-1]] = not value
        elif isinstance(value, int):
            holder[path[-1]] = value + 1
        elif isinstance(value, str):
            holder[path[-1]] = f"{value}x"

    return edit
