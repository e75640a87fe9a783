"""The arithmetic of rolling updates, and whole rollouts step by step."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.api.conditions import find
from millrace_kube.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from millrace_local.controllers.deployment.rolling import Bounds, Size, bounds, grown, proportional, shrunk
from millrace_local.controllers.pods import is_active, is_ready
from tests.examples import examples
from tests.local.controllers.objects import Obj, deployment, rolling, template
from tests.local.controllers.world import World


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 3, (1, 0)),
        ("25%", "25%", 4, (1, 1)),
        ("50%", "10%", 5, (3, 0)),
        (0, 0, 5, (0, 1)),
        ("0%", "1%", 5, (0, 1)),
        (2, 9, 5, (2, 5)),
    ],
)
def test_surge_rounds_up_and_unavailable_rounds_down(
    surge: int | str, unavailable: int | str, replicas: int, expected: tuple[int, int]
) -> None:
    found = bounds(rolling(surge, unavailable), replicas)
    assert (found.surge, found.unavailable) == expected


@settings(max_examples=examples(2))
@given(
    replicas=st.integers(1, 12),
    surge=st.integers(0, 4),
    unavailable=st.integers(0, 4),
    old=st.integers(0, 12),
    ready=st.lists(st.integers(0, 3), min_size=40, max_size=40),
)
def test_a_rolling_update_never_leaves_its_bounds_and_always_ends(
    replicas: int, surge: int, unavailable: int, old: int, ready: list[int]
) -> None:
    limits = bounds(rolling(surge, unavailable), replicas)
    old = min(old, replicas)
    new, before = Size("new", 0, 0), Size("old", old, old)
    # Pods become available in any order and number; in the end all do.
    for more in [*ready, *[9] * 40]:
        size = grown(limits, new, [before])
        if size != new.desired:
            new = Size("new", size, new.available)
        else:
            smaller = shrunk(limits, new, [before]).get("old", before.desired)
            before = Size("old", smaller, min(before.available, smaller))
        assert new.desired + before.desired <= max(limits.most, old)
        assert new.available + before.available >= min(limits.least, old)
        new = Size("new", new.desired, min(new.desired, new.available + more))
    assert (new.desired, before.desired) == (replicas, 0)


def test_unhealthy_old_pods_go_before_healthy_ones() -> None:
    limits = Bounds(4, 1, 1)
    olds = [Size("a", 2, 2), Size("b", 2, 0)]
    assert shrunk(limits, Size("new", 1, 0), olds) == {"b": 1}


@settings(max_examples=examples(5))
@given(st.integers(0, 20), st.integers(0, 5), st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_a_resize_in_mid_rollout_reaches_the_total_and_goes_below_zero_for_none(
    replicas: int, surge: int, sizes: list[int]
) -> None:
    limits = Bounds(replicas, surge, 0)
    sets = [Size(str(number), size, size, sum(sizes)) for number, size in enumerate(sizes)]
    result = proportional(limits, sets)
    assert all(size >= 0 for size in result.values())
    assert sum(result.values()) == limits.most


def roll(world: World, web: Obj, *, ready: bool = True, until: int = 50) -> list[str]:
    """Runs the controllers until nothing changes; each new pod becomes ready in the round after it was made."""
    start = len(world.told)
    for _ in range(until):
        world.now += timedelta(seconds=1)
        moved = world.step_deployment(web)
        waiting = [pod for pod in world.all(PODS) if is_active(pod) and not is_ready(pod)]
        if ready:
            for pod in waiting:
                world.run(pod)
        gone = [pod for pod in world.all(PODS) if not is_active(pod)]
        world.bury()
        if not moved and not gone and not (ready and waiting):
            break
    else:
        raise AssertionError("the rollout does not come to rest")
    names = {item["metadata"]["name"]: f"r{_revision(item)}" for item in world.all(REPLICA_SETS)}
    return [
        message.replace("Scaled ", "").replace("replica set ", "").replace(name, short)
        for message in world.told[start:]
        for name, short in names.items()
        if message.startswith("Scaled") and name in message
    ]


def _revision(item: Obj) -> str:
    return str((item["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", ""))


def test_a_rolling_update_takes_exactly_these_steps() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(4, strategy=rolling(1, 1)))
    assert roll(world, web) == ["up r1 from 0 to 4"]
    world.edit(DEPLOYMENTS, "web", template=template("millrace/materialize:2"))
    assert roll(world, web) == [
        "up r2 from 0 to 1",
        "down r1 from 4 to 3",
        "up r2 from 1 to 2",
        "down r1 from 3 to 2",
        "up r2 from 2 to 3",
        "down r1 from 2 to 1",
        "up r2 from 3 to 4",
        "down r1 from 1 to 0",
    ]
    status = world.get(DEPLOYMENTS, "web")["status"]
    assert (status["updatedReplicas"], status["availableReplicas"], status["replicas"]) == (4, 4, 4)
    assert find(status["conditions"], "Progressing")["reason"] == "NewReplicaSetAvailable"
    assert status["observedGeneration"] == world.get(DEPLOYMENTS, "web")["metadata"]["generation"]


def test_with_no_surge_pods_go_before_others_come() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(2, strategy=rolling(0, 1)))
    roll(world, web)
    world.edit(DEPLOYMENTS, "web", template=template("millrace/materialize:2"))
    assert roll(world, web) == [
        "down r1 from 2 to 1",
        "up r2 from 0 to 1",
        "down r1 from 1 to 0",
        "up r2 from 1 to 2",
    ]


def test_recreate_waits_for_the_last_old_pod_to_end() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(2, strategy={"type": "Recreate"}))
    roll(world, web)
    world.edit(DEPLOYMENTS, "web", template=template("millrace/materialize:2"))
    for _ in range(5):
        world.step_deployment(web)
    assert len(world.all(PODS)) == 2
    assert all(not is_active(pod) for pod in world.all(PODS))
    world.bury()
    roll(world, web)
    assert {pod["spec"]["containers"][0]["image"] for pod in world.all(PODS)} == {"millrace/materialize:2"}


def test_a_template_that_never_gets_ready_stops_the_rollout_and_fails_at_its_deadline() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(3, strategy=rolling(1, 0), progressDeadlineSeconds=60))
    roll(world, web)
    world.edit(DEPLOYMENTS, "web", template=template("millrace/materialize:broken"))
    assert roll(world, web, ready=False) == ["up r2 from 0 to 1"]
    status = world.get(DEPLOYMENTS, "web")["status"]
    assert status["availableReplicas"] == 3
    assert find(status["conditions"], "Progressing")["status"] == "True"
    world.now += timedelta(seconds=61)
    world.step_deployment(web)
    failed = find(world.get(DEPLOYMENTS, "web")["status"]["conditions"], "Progressing")
    assert (failed["status"], failed["reason"]) == ("False", "ProgressDeadlineExceeded")


def test_going_back_reuses_the_old_replica_set_under_a_new_revision() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(1))
    roll(world, web)
    first = world.all(REPLICA_SETS)[0]["metadata"]["uid"]
    world.edit(DEPLOYMENTS, "web", template=template("millrace/materialize:2"))
    roll(world, web)
    world.edit(DEPLOYMENTS, "web", template=template("millrace/materialize:1"))
    roll(world, web)
    annotations = {item["metadata"]["uid"]: item["metadata"]["annotations"] for item in world.all(REPLICA_SETS)}
    assert len(annotations) == 2
    assert annotations[first]["deployment.kubernetes.io/revision"] == "3"
    assert annotations[first]["deployment.kubernetes.io/revision-history"] == "1"
    noted = world.get(DEPLOYMENTS, "web")["metadata"]["annotations"]
    assert noted["deployment.kubernetes.io/revision"] == "3"


def test_only_so_many_old_revisions_are_kept() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(1, revisionHistoryLimit=2))
    for number in range(6):
        world.edit(DEPLOYMENTS, "web", template=template(f"millrace/materialize:{number}"))
        roll(world, web)
    revisions = sorted(_revision(item) for item in world.all(REPLICA_SETS))
    assert len(revisions) == 3
    assert world.get(DEPLOYMENTS, "web")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] in revisions


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(2))
    roll(world, web)
    world.edit(DEPLOYMENTS, "web", paused=True, replicas=3, template=template("millrace/materialize:2"))
    assert roll(world, web) == ["up r1 from 2 to 3"]
    assert {pod["spec"]["containers"][0]["image"] for pod in world.all(PODS)} == {"millrace/materialize:1"}
    paused = find(world.get(DEPLOYMENTS, "web")["status"]["conditions"], "Progressing")
    assert (paused["status"], paused["reason"]) == ("Unknown", "DeploymentPaused")
    world.edit(DEPLOYMENTS, "web", paused=False)
    roll(world, web)
    assert {pod["spec"]["containers"][0]["image"] for pod in world.all(PODS)} == {"millrace/materialize:2"}


def test_a_resize_in_mid_rollout_keeps_old_and_new_in_proportion() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(10, strategy=rolling(3, 2)))
    roll(world, web)
    world.edit(DEPLOYMENTS, "web", template=template("millrace/materialize:2"))
    roll(world, web, ready=False)
    world.edit(DEPLOYMENTS, "web", replicas=15)
    roll(world, web, ready=False)
    assert sum(item["spec"]["replicas"] for item in world.all(REPLICA_SETS)) == 18


def test_a_settled_deployment_is_not_written() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(3))
    roll(world, web)
    before = world.writes
    for _ in range(5):
        world.now += timedelta(hours=1)
        world.step_deployment(web)
    assert world.writes == before


def test_a_taken_name_is_counted_as_a_collision_and_avoided() -> None:
    world = World()
    web = world.add(DEPLOYMENTS, deployment(1))
    roll(world, web)
    name = world.all(REPLICA_SETS)[0]["metadata"]["name"]
    other = World()
    stranger = {"kind": "ReplicaSet", "metadata": {"name": name}, "spec": {"replicas": 0}}
    other.add(REPLICA_SETS, stranger)
    again = other.add(DEPLOYMENTS, deployment(1))
    roll(other, again)
    assert other.get(DEPLOYMENTS, "web")["status"]["collisionCount"] == 1
    assert len(other.all(REPLICA_SETS, other.get(DEPLOYMENTS, "web"))) == 1
