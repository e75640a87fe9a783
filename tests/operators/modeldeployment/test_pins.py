"""One revision never serves two models, whatever happens to the file, to pods, to ConfigMaps and to the operator."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import Any

import pytest

from millrace_kube import resources as r
from tests import builders
from tests.operators.conftest import Faults
from tests.operators.modeldeployment.pod_kubelet import PodKubelet, digest
from tests.operators.world import World, checked

MD = r.MODEL_DEPLOYMENTS
URI = "file:///m/model.onnx"
FIRST, SECOND = digest("a"), digest("b")


def model(pods: int = 1, command: str = "", **changes: Any) -> dict[str, Any]:
    built = builders.model_deployment("m", URI, "shop").having("spec.scaling", {"min": pods, "max": pods})
    for path, value in changes.items():
        built = built.having(f"spec.model.{path}", value)
    if command:
        built = built.having("metadata.annotations", {"millrace.dev/command": command})
    return built.build()


@pytest.fixture
def shop(world: World) -> World:
    world.kubelet = PodKubelet(world.http, world.namespace, files={URI: FIRST})
    return world


def kubelet(world: World) -> PodKubelet:
    assert isinstance(world.kubelet, PodKubelet)
    return world.kubelet


def served(world: World) -> set[str]:
    """Every digest that a pod of any revision was ready with, each revision with one."""
    found = kubelet(world).served
    assert len({revision for revision, _ in found}) == len(found), f"a revision served two models: {found}"
    return {item for _, item in found}


def selected(world: World) -> list[str]:
    """The pods that the service's stable Service leads to."""
    service = world.get(r.SERVICES, "shop")
    assert service is not None
    wanted = service["spec"]["selector"].items()
    return [item["metadata"]["name"] for item in world.all(r.PODS) if wanted <= item["metadata"]["labels"].items()]


def replaced(world: World) -> bool:
    """Whether the status says that the file was replaced, and names both digests."""
    status, reason, message = world.condition(MD, "m", "ModelResolved")
    return (status, reason) == ("False", "ModelReplaced") and FIRST in message and SECOND in message


async def test_the_version_is_that_of_the_file_and_all_pods_serve_it(shop: World) -> None:
    shop.apply(model(pods=3))
    await shop.settle()
    status = shop.status(MD, "m")
    assert status["model"] == {"version": "aaaaaaaa", "digest": FIRST, "bytes": 42}
    assert status["replicas"] == {"ready": 3, "desired": 3}
    [pinned] = shop.all(r.CONFIG_MAPS)
    assert (pinned["metadata"]["name"], pinned["data"]["digest"]) == (status["revision"], FIRST)
    assert len(selected(shop)) == 3


async def test_a_revision_begins_with_one_pod(shop: World) -> None:
    shop.apply(model(pods=3))
    await shop.turn()
    assert len(shop.all(r.PODS)) == 1
    await shop.settle()
    assert len(shop.all(r.PODS)) == 3


async def test_no_scaler_gives_the_first_pod_company(shop: World) -> None:
    document = model()
    document["spec"]["scaling"] = {"min": 2, "max": 5}
    shop.apply(document)
    await shop.turn()
    assert shop.all(r.SCALED_OBJECTS) == []
    await shop.settle()
    [scaled] = shop.all(r.SCALED_OBJECTS)
    assert scaled["spec"]["scaleTargetRef"]["name"] == shop.status(MD, "m")["revision"]
    assert len(shop.all(r.PODS)) == 2


async def test_pods_of_a_stated_digest_begin_together(shop: World) -> None:
    shop.apply(model(pods=3, digest=FIRST))
    await shop.turn()
    assert len(shop.all(r.PODS)) == 3
    await shop.settle()
    assert shop.all(r.CONFIG_MAPS) == []
    assert shop.status(MD, "m")["model"]["digest"] == FIRST


@pytest.mark.parametrize("restarted", [False, True], ids=["one operator", "a new operator"])
async def test_pods_that_scale_out_after_the_file_was_replaced_do_not_serve(shop: World, restarted: bool) -> None:
    shop.apply(model())
    await shop.settle()
    kubelet(shop).files[URI] = SECOND
    if restarted:
        shop.restart()
    shop.apply(model(pods=3))
    await shop.settle()
    assert served(shop) == {FIRST}
    assert replaced(shop)
    assert shop.status(MD, "m")["replicas"] == {"ready": 1, "desired": 3}
    assert shop.condition(MD, "m", "Ready")[0] == "False"
    kubelet(shop).files[URI] = FIRST
    kubelet(shop).act()
    shop.touched(r.PODS), shop.touched(r.DEPLOYMENTS)
    await shop.settle()
    assert shop.condition(MD, "m", "Ready")[0] == "True"


@pytest.mark.parametrize("restarted", [False, True], ids=["one operator", "a new operator"])
async def test_a_pod_that_comes_after_a_lost_node_does_not_serve_a_replaced_file(shop: World, restarted: bool) -> None:
    shop.apply(model())
    await shop.settle()
    revision = shop.status(MD, "m")["revision"]
    kubelet(shop).files[URI] = SECOND
    kubelet(shop).kill(revision)
    if restarted:
        shop.restart()
    shop.touched(r.PODS)
    await shop.settle()
    assert served(shop) == {FIRST}
    assert replaced(shop)
    assert shop.status(MD, "m")["model"]["digest"] == FIRST, "it is what the revision serves, once it can"


async def test_that_a_pod_is_replaced_is_told_though_the_answer_of_the_status_was_lost(
    shop: World, faults: Faults
) -> None:
    shop.apply(model(pods=2))
    await shop.turn()
    [deployment] = shop.all(r.DEPLOYMENTS)
    shop.patch(r.DEPLOYMENTS, deployment["metadata"]["name"], {"spec": {"replicas": 2}})
    kubelet(shop).files[URI] = SECOND
    kubelet(shop).act()
    faults.put({"verb": "patch", "resource": "modeldeployments/status", "action": "dropAfter", "times": 2})
    await shop.settle()
    assert faults.fired() > 0
    assert ("m", "Warning", "ModelReplaced") in shop.events()


@pytest.mark.parametrize("restarted", [False, True], ids=["one operator", "a new operator"])
async def test_of_two_first_pods_that_differ_one_is_replaced_before_it_has_traffic(
    shop: World, restarted: bool
) -> None:
    shop.apply(model(pods=2))
    await shop.turn()
    [deployment] = shop.all(r.DEPLOYMENTS)
    # The operator is away; somebody scales by hand, and the file is replaced between the two.
    shop.patch(r.DEPLOYMENTS, deployment["metadata"]["name"], {"spec": {"replicas": 2}})
    kubelet(shop).files[URI] = SECOND
    kubelet(shop).act()
    assert {item for _, item in kubelet(shop).served} == {FIRST, SECOND}
    if restarted:
        shop.restart()
    await shop.turn()
    assert shop.status(MD, "m").get("revision") is None, "nothing serves while pods differ"
    assert selected(shop) == []
    assert replaced(shop)
    kubelet(shop).served.clear()
    await shop.settle()
    assert SECOND not in served(shop)
    assert shop.status(MD, "m")["model"]["digest"] == FIRST
    [event] = [
        event
        for event in shop.http.get(f"/api/v1/namespaces/{shop.namespace}/events").json()["items"]
        if event["reason"] == "ModelReplaced" and "is replaced" in event["message"]
    ]
    assert FIRST in event["message"]
    assert SECOND in event["message"]
    assert replaced(shop), "the second pod is refused the new file"


async def test_a_restart_serves_the_new_file_by_a_new_revision_and_is_handled_once(shop: World) -> None:
    shop.apply(model())
    await shop.settle()
    old = shop.status(MD, "m")["revision"]
    kubelet(shop).files[URI] = SECOND
    shop.apply(model(command="1:restart"))
    await shop.settle()
    status = shop.status(MD, "m")
    assert status["revision"] != old
    assert (status["model"]["version"], status["handledCommand"]) == ("bbbbbbbb", "1:restart")
    assert served(shop) == {FIRST, SECOND}
    made = len(shop.all(r.CONTROLLER_REVISIONS))
    shop.restart()
    await shop.settle()
    assert (len(shop.all(r.CONTROLLER_REVISIONS)), shop.status(MD, "m")["revision"]) == (made, status["revision"])


async def test_a_command_that_is_none_is_answered_and_changes_nothing(shop: World) -> None:
    shop.apply(model())
    await shop.settle()
    old = shop.status(MD, "m")["revision"]
    shop.apply(model(command="1:reboot"))
    await shop.settle()
    status = shop.status(MD, "m")
    assert (status["revision"], status["handledCommand"]) == (old, "1:reboot")
    assert '"<id>:restart"' in status["commandResult"]
    assert shop.condition(MD, "m", "Ready")[0] == "True"
    assert ("m", "Warning", "BadCommand") in shop.events()
    shop.apply(model(command="1:restart"))
    await shop.settle()
    assert shop.status(MD, "m")["revision"] != old, "the same id with another verb is another command"


async def test_a_spec_that_goes_back_finds_its_revision_and_its_model_again(shop: World) -> None:
    other = "file:///m/other.onnx"
    kubelet(shop).files[other] = SECOND
    shop.apply(model())
    await shop.settle()
    old = shop.status(MD, "m")["revision"]
    shop.apply(model(uri=other))
    await shop.settle()
    assert shop.status(MD, "m")["model"]["digest"] == SECOND
    kubelet(shop).files[URI] = digest("c")
    shop.apply(model())
    await shop.settle()
    assert shop.status(MD, "m")["targetRevision"] == old
    assert shop.condition(MD, "m", "ModelResolved")[1] == "ModelReplaced"
    assert shop.status(MD, "m")["model"]["digest"] == SECOND, "the other one serves on"
    kubelet(shop).files[URI] = FIRST
    kubelet(shop).act()
    shop.touched(r.PODS), shop.touched(r.DEPLOYMENTS)
    await shop.settle()
    assert shop.status(MD, "m")["revision"] == old
    served(shop)


@pytest.mark.parametrize("data", [None, {"digest": SECOND, "bytes": "1"}], ids=["deleted", "another in its place"])
async def test_what_tells_pods_of_their_model_is_put_back(shop: World, data: dict[str, str] | None) -> None:
    shop.apply(model())
    await shop.settle()
    revision = shop.status(MD, "m")["revision"]
    [before] = shop.all(r.CONFIG_MAPS)
    shop.delete(r.CONFIG_MAPS, revision)
    if data is not None:
        metadata = {"name": revision, "labels": before["metadata"]["labels"]}
        document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": True, "data": data}
        shop.apply(document)
    kubelet(shop).files[URI] = SECOND
    await shop.settle()
    [after] = shop.all(r.CONFIG_MAPS)
    assert after["data"] == before["data"]
    assert served(shop) == {FIRST}
    assert shop.status(MD, "m")["replicas"] == {"ready": 1, "desired": 1}, "pods that serve rightly are left alone"


@pytest.mark.parametrize("replaced_too", [False, True], ids=["the file as it was", "the file replaced, too"])
@pytest.mark.parametrize("restarted", [False, True], ids=["one operator", "a new operator"])
async def test_an_edit_of_the_status_takes_no_pod_away(shop: World, restarted: bool, replaced_too: bool) -> None:
    shop.apply(model(pods=2))
    await shop.settle()
    before, pods = shop.status(MD, "m")["model"], {item["metadata"]["uid"] for item in shop.all(r.PODS)}
    edit_status(shop, {"digest": SECOND, "bytes": 7, "version": "bbbbbbbb"})
    if replaced_too:
        kubelet(shop).files[URI] = SECOND
    if restarted:
        shop.restart()
    await shop.settle()
    assert {item["metadata"]["uid"] for item in shop.all(r.PODS)} == pods
    assert shop.status(MD, "m")["model"] == before
    [pinned] = shop.all(r.CONFIG_MAPS)
    assert pinned["data"]["digest"] == FIRST
    assert served(shop) == {FIRST}


def edit_status(world: World, changes: dict[str, Any]) -> None:
    document = world.get(MD, "m")
    assert document is not None
    document["status"]["model"] = changes
    path = f"{MD.path(world.namespace, 'm')}/status"
    checked(world.http.put(path, json=document))
    world.touched(MD)


@pytest.mark.parametrize("content", ["x", {}, {"model": "x"}], ids=["a text", "empty", "a text in it"])
@pytest.mark.parametrize("template", [[], {}, {"metadata": {"labels": "x"}}], ids=["a list", "empty", "a text in it"])
async def test_a_record_that_somebody_made_by_hand_keeps_nothing_from_being_done(
    shop: World, content: Any, template: Any
) -> None:
    shop.apply(model())
    await shop.settle()
    [kept] = shop.all(r.CONTROLLER_REVISIONS)
    metadata = {key: kept["metadata"][key] for key in ("labels", "ownerReferences")}
    data = {**kept["data"], "content": content, "template": template}
    shop.apply({**kept, "metadata": {"name": "by-hand", **metadata}, "revision": 99, "data": data})
    shop.apply(model(pods=2))
    await shop.settle()
    assert shop.status(MD, "m")["replicas"] == {"ready": 2, "desired": 2}
    assert shop.status(MD, "m")["revision"] == kept["metadata"]["name"]


async def test_old_revisions_are_kept_for_a_while_and_then_taken_away(shop: World) -> None:
    for number in range(9):
        uri = f"file:///m/{number}.onnx"
        kubelet(shop).files[uri] = digest(str(number))
        shop.apply(model(uri=uri))
        await shop.settle()
    kept = shop.all(r.CONTROLLER_REVISIONS)
    assert sorted(item["revision"] for item in kept) == [4, 5, 6, 7, 8, 9]
    assert [item["metadata"]["name"] for item in shop.all(r.CONFIG_MAPS)] == [item["metadata"]["name"] for item in kept]
    assert len(shop.all(r.DEPLOYMENTS)) == 1


async def test_the_revision_that_serves_is_put_back_while_another_comes_up(shop: World) -> None:
    other = "file:///m/other.onnx"
    kubelet(shop).files[other] = SECOND
    shop.apply(model())
    await shop.settle()
    [serving] = shop.all(r.DEPLOYMENTS)
    shop.apply(model(uri=other))
    shop.patch(r.DEPLOYMENTS, serving["metadata"]["name"], {"spec": {"replicas": 0}})
    await shop.turn()
    found = {item["metadata"]["name"]: item["spec"]["replicas"] for item in shop.all(r.DEPLOYMENTS)}
    assert len(found) == 2
    assert found[serving["metadata"]["name"]] == 1


class Mishaps:
    """What may happen to a deployment, in an order that a seed decides.

    A pin is deleted only while the operator is there: a pod that starts before it is put back is held by nothing.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = Random(seed)
        self._command = ""

    async def one(self) -> None:
        """One of them, and as a rule a turn of the operator after it."""
        kinds = (self.scale, self.lose_nodes, self.delete_pins, self.change, self.restart, self.replace, self.act)
        kind = self._chance.choice(kinds)
        kind()
        if kind == self.delete_pins or self._chance.random() < 0.7:
            await self._world.turn()

    def scale(self) -> None:
        for item in self._world.all(r.DEPLOYMENTS):
            count = {"spec": {"replicas": self._chance.randint(1, 3)}}
            self._world.patch(r.DEPLOYMENTS, item["metadata"]["name"], count)

    def lose_nodes(self) -> None:
        for item in self._world.all(r.DEPLOYMENTS):
            kubelet(self._world).kill(item["metadata"]["name"])
        self._world.touched(r.PODS)

    def delete_pins(self) -> None:
        for item in self._world.all(r.CONFIG_MAPS):
            self._world.delete(r.CONFIG_MAPS, item["metadata"]["name"])

    def change(self) -> None:
        self._command = self._chance.choice([self._command, f"{self._chance.random()}:restart"])
        self._world.apply(model(pods=self._chance.randint(1, 3), command=self._command))

    def restart(self) -> None:
        self._world.restart()

    def replace(self) -> None:
        kubelet(self._world).files[URI] = digest(self._chance.choice("abc"))

    def act(self) -> None:
        kubelet(self._world).act()
        self._world.touched(r.PODS)
        self._world.touched(r.DEPLOYMENTS)


@pytest.mark.parametrize("seed", range(5))
async def test_no_revision_ever_leads_traffic_to_two_models(shop: World, seed: int) -> None:
    mishaps = Mishaps(shop, seed)
    led_to: dict[str, set[str]] = defaultdict(set)
    mishaps.change()
    for _ in range(40):
        await mishaps.one()
        for item in ready_pods(shop):
            revision = item["metadata"]["labels"]["millrace.dev/revision"]
            led_to[revision].add(kubelet(shop).measured[item["metadata"]["name"]])
        assert all(len(found) == 1 for found in led_to.values()), led_to
    assert led_to


def ready_pods(world: World) -> list[dict[str, Any]]:
    """The ready pods that the service's stable Service leads to."""
    chosen = selected(world) if world.get(r.SERVICES, "shop") else []
    return [
        item
        for item in world.all(r.PODS)
        if item["metadata"]["name"] in chosen and item["status"]["conditions"][0]["status"] == "True"
    ]
