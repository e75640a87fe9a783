"""The components of a stack, and the errors for a wrong choice."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from millrace_core.base.errors import RejectError
from millrace_local.stack import launch, platform, prepare
from millrace_local.stack.components import COMPONENTS, Component, Programs, choose_components, components_of
from millrace_local.stack.settings import Ports, StackSettings

PROGRAMS = Programs(python="/py", store="/valkey-server", mesh=("/envoy", "-c", "bootstrap.json"))
SETTINGS = StackSettings(Path("/root"), Ports(1, 2, 3, 4), crds=(Path("/crds"),), components=COMPONENTS)


def planned(settings: StackSettings = SETTINGS) -> dict[str, Component]:
    return {component.name: component for component in components_of(settings, PROGRAMS)}


def test_every_component_that_is_waited_for_runs_before() -> None:
    seen: set[str] = set()
    for component in components_of(SETTINGS, PROGRAMS):
        assert set(component.after) | set(component.needs) <= seen
        seen.add(component.name)
    assert tuple(planned()) == COMPONENTS


def test_every_server_listens_on_its_own_port_of_the_loopback_only() -> None:
    components = planned()
    assert {name: one.port for name, one in components.items() if one.port} == {
        "store": 3,
        "apiserver": 1,
        "mesh": 2,
        "operator": 4,
    }
    store = components["store"].command
    assert store[store.index("--bind") + 1] == "127.0.0.1"
    assert components["operator"].environ["MILLRACE_HOST"] == "127.0.0.1"


def test_the_store_writes_down_what_it_is_told() -> None:
    command = planned()["store"].command
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--dir") + 1] == "/root/store"


def test_the_api_server_starts_with_the_crds_and_the_platforms_objects() -> None:
    command = planned()["apiserver"].command
    assert [command[i + 1] for i, word in enumerate(command) if word == "--crds"] == ["/crds", "/root/platform"]
    assert "--faults" not in command
    assert "--faults" in planned(replace(SETTINGS, faults=True))["apiserver"].command


def test_operator_and_pods_reach_services_by_the_mesh_and_the_api_server_directly() -> None:
    environ = planned()["operator"].environ
    assert environ["http_proxy"] == "http://127.0.0.1:2"
    assert "127.0.0.1" in environ["no_proxy"]
    assert environ["MILLRACE_GATEWAY_URL"] == "http://millrace-gateway.millrace-system.svc"
    agent = planned()["agent"].command
    assert agent[agent.index("--proxy") + 1] == "http://127.0.0.1:2"


def test_a_given_store_takes_the_place_of_the_own_one() -> None:
    assert choose_components((), store_url="redis://elsewhere") == COMPONENTS[1:]
    settings = replace(SETTINGS, store_url="redis://elsewhere:1/2", components=COMPONENTS[1:])
    assert planned(settings)["operator"].environ["MILLRACE_STORE_URL"] == "redis://elsewhere:1/2"


def test_an_attached_stack_runs_no_api_server_and_leaves_the_cluster_its_controllers() -> None:
    assert choose_components((), store_url="", attached=True) == tuple(
        name for name in COMPONENTS if name != "apiserver"
    )
    assert choose_components(["agent"], store_url="", attached=True) == ("agent",)
    run = choose_components((), store_url="", attached=True)
    settings = replace(SETTINGS, components=run, given_kubeconfig=Path("/k"), pod_cidr="10.201.0.0/16")
    components = planned(settings)
    agent = components["agent"].command
    for option, value in {"--kubeconfig": "/k", "--only": "node,mesh", "--pod-cidr": "10.201.0.0/16"}.items():
        assert agent[agent.index(option) + 1] == value
    assert components["operator"].environ["KUBECONFIG"] == "/k"
    assert components["operator"].after == ()
    assert StackSettings.from_json(settings.to_json()) == settings


def test_pods_are_ready_only_with_the_agent_that_runs_them_and_the_mesh_that_reaches_them() -> None:
    components = planned()
    assert components["gateway"].needs == ("agent", "mesh", "registry", "store")
    assert components["registry"].needs == ("agent", "mesh")
    attached = planned(replace(SETTINGS, components=("mesh", "agent", "registry")))
    assert (attached["agent"].needs, attached["registry"].needs) == ((), ("agent", "mesh"))


def test_components_are_chosen_by_name_in_their_own_order() -> None:
    assert choose_components(["mesh", "store"], store_url="") == ("store", "mesh")
    with pytest.raises(RejectError, match=r"there is no component 'redis'. There are store, apiserver"):
        choose_components(["redis"], store_url="")
    with pytest.raises(RejectError, match="component gateway needs agent"):
        choose_components(["gateway", "apiserver", "mesh"], store_url="")


def test_the_platforms_objects_name_the_image_the_secret_and_the_database() -> None:
    items = platform.objects(
        COMPONENTS, version="1", store_url="redis://x", registry_folder=Path("/r"), lake=Path("/l")
    )
    found = {(item["kind"], item["metadata"]["name"]): item for item in items}
    assert next(iter(found)) == ("Namespace", "millrace-system")
    assert found["Secret", "millrace-store"]["stringData"] == {"url": "redis://x"}
    registry = found["Deployment", "millrace-registry"]["spec"]["template"]["spec"]["containers"][0]
    environ = {one["name"]: one.get("value") for one in registry["env"]}
    assert (registry["image"], environ["MILLRACE_DATABASE_URL"]) == ("millrace/registry:1", "sqlite:////r/registry.db")
    for name in ("millrace-registry", "millrace-gateway"):
        [container] = found["Deployment", name]["spec"]["template"]["spec"]["containers"]
        assert container["command"][:2] == ["python", "-m"]
        assert find_spec(f"{container['command'][2]}.__main__")
        labels = found["Deployment", name]["spec"]["template"]["metadata"]["labels"]
        assert found["Service", name]["spec"]["selector"].items() <= labels.items()
    job = found["CronJob", "millrace-evidence"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert job["env"] == [{"name": "MILLRACE_LAKE_URI", "value": "file:///l"}]
    assert find_spec(f"{job['command'][2]}.__main__")
    assert len(platform.objects((), version="1", store_url="s", registry_folder=Path("/r"), lake=Path("/l"))) == 2


def test_the_environment_carries_the_stacks_mark_and_none_of_the_users_proxies() -> None:
    environ = {"PATH": "/bin", "HTTP_PROXY": "x", "https_proxy": "y", "KUBECONFIG": "z", "MILLRACE_PORT": "1"}
    assert launch.environment(SETTINGS, environ) == {
        "PATH": "/bin",
        "MILLRACE_LOCAL_ROOT": "/root",
        "PYTHONUNBUFFERED": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }


def test_settings_are_the_same_after_a_trip_through_json() -> None:
    assert StackSettings.from_json(SETTINGS.to_json()) == SETTINGS


def test_what_is_written_for_the_api_server_is_yaml(tmp_path: Path) -> None:
    prepare.prepare(replace(SETTINGS, root=tmp_path), "i:1")
    documents = list(yaml.safe_load_all((tmp_path / "platform" / "platform.yaml").read_text()))
    assert [document["kind"] for document in documents][:2] == ["Namespace", "Secret"]
