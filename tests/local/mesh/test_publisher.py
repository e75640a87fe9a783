"""The files that Envoy reads, without an Envoy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millrace_local.mesh import initial
from millrace_local.mesh.admin import EnvoyAdmin
from millrace_local.mesh.model import MeshObjects
from millrace_local.mesh.publisher import Publisher
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import translate
from tests.local.mesh import objects as o


def contents(settings: MeshSettings) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in settings.xds.iterdir()}


def a_mesh(*services: str, **policy: object) -> MeshObjects:
    return MeshObjects(
        services=tuple(o.service(name) for name in services),
        endpoint_slices=tuple(o.endpoint_slice(name, {"a": "127.1.1.1"}) for name in services),
        destination_rules=(o.destination_rule("rec", {}, **policy),) if policy else (),
    )


async def test_publishing_the_same_mesh_again_writes_nothing(tmp_path: Path) -> None:
    settings = MeshSettings(tmp_path / "mesh")
    initial.prepare(settings)
    async with EnvoyAdmin(settings.directory) as admin:
        publisher = Publisher(settings, admin)
        await publisher.publish(translate(a_mesh("rec")))
        before = contents(settings)
        await publisher.publish(translate(a_mesh("rec")))
        assert contents(settings) == before
        assert not publisher.confirmed
        assert list((settings.directory / "unfinished").iterdir()) == []


async def test_new_endpoints_replace_one_file_only(tmp_path: Path) -> None:
    settings = MeshSettings(tmp_path / "mesh")
    initial.prepare(settings)
    async with EnvoyAdmin(settings.directory) as admin:
        publisher = Publisher(settings, admin)
        await publisher.publish(translate(a_mesh("rec")))
        before = contents(settings)
        moved = MeshObjects(
            services=(o.service("rec"),), endpoint_slices=(o.endpoint_slice("rec", {"a": "127.1.1.2"}),)
        )
        await publisher.publish(translate(moved))
        after = contents(settings)
        assert {name for name in after if after[name] != before[name]} == {"endpoints-pods.json"}


async def test_files_of_clusters_that_are_gone_are_removed(tmp_path: Path) -> None:
    settings = MeshSettings(tmp_path / "mesh")
    initial.prepare(settings)
    async with EnvoyAdmin(settings.directory) as admin:
        publisher = Publisher(settings, admin)
        await publisher.publish(translate(a_mesh("rec", loadBalancer={"simple": "RANDOM"})))
        assert len(contents(settings)) == 4
        await publisher.publish(translate(a_mesh("rec")))
        assert contents(settings).keys() == {"clusters.json", "routes.json", "endpoints-pods.json"}


def test_what_stood_there_from_an_earlier_time_routes_nothing_any_more(tmp_path: Path) -> None:
    settings = MeshSettings(tmp_path / "mesh")
    settings.xds.mkdir(parents=True)
    (settings.xds / "endpoints-pods-old.json").write_text("{}")
    (settings.xds / "routes.json").write_text("cut off")
    initial.prepare(settings)
    assert contents(settings).keys() == {"clusters.json", "routes.json", "endpoints-pods.json"}
    routes = json.loads((settings.xds / "routes.json").read_text())
    assert [host["name"] for host in routes["resources"][0]["virtual_hosts"]] == ["unknown"]


async def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    settings = MeshSettings(tmp_path / "mesh")
    initial.prepare(settings)
    async with EnvoyAdmin(settings.directory) as admin:
        publisher = Publisher(settings, admin)
        (settings.directory / "unfinished").rmdir()
        with pytest.raises(OSError, match="unfinished"):
            await publisher.publish(translate(a_mesh("rec")))
        (settings.directory / "unfinished").mkdir()
        await publisher.publish(translate(a_mesh("rec")))
        assert "rec.default" in (settings.xds / "routes.json").read_text()
