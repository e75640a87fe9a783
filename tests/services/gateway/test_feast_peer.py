"""Feast's own client gets from the gateway what it gets from Feast's own feature server.

Needs Feast in an environment of its own, which ``make bench-feast-env`` makes from PyPI.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.builders import feature_view, model_deployment
from tests.running_service import RunningService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import published

ROOT = Path(__file__).parents[3]
FEAST = ROOT / ".bench" / "feast" / "bin" / "python"
PEER = Path(__file__).with_name("feast_peer.py")
SECONDS = 120

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FEAST.exists(), reason="needs Feast; make bench-feast-env installs it"),
]

DRIVERS = (
    feature_view("driver-stats")
    .having("spec.entities", [{"name": "driver_id", "type": "int64"}])
    .having(
        "spec.features",
        [
            {"name": "conv_rate", "type": "float64"},
            {"name": "small", "type": "float32"},
            {"name": "trips", "type": "int64"},
            {"name": "short", "type": "int32"},
            {"name": "note", "type": "string"},
            {"name": "vip", "type": "bool"},
            {"name": "seen", "type": "timestamp"},
            {"name": "vec", "type": "array<float32>"},
            {"name": "tags", "type": "array<string>"},
            {"name": "times", "type": "array<timestamp>"},
        ],
    )
)


def test_feasts_client_gets_from_the_gateway_what_it_gets_from_feasts_server(
    gateway: RunningService, publish: Publish, store: Store, tmp_path: Path
) -> None:
    refs = {"refs": ["driver-stats:conv_rate", "driver-stats:seen"]}
    deployment = model_deployment("fraud-check").having("spec.features", refs)
    publish(published(DRIVERS.build(), "rides"), published(deployment.build(), "rides"))
    store.client.flushall()
    folders = [tmp_path / "server", tmp_path / "client"]
    for folder in folders:
        folder.mkdir()
    command = [FEAST, PEER, *map(str, folders), f"{gateway.url}/feast"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folders[1])
    assert done.returncode == 0, done.stderr[-3000:]
    theirs, ours = json.loads(done.stdout.splitlines()[-1])
    for part, expected in theirs.items():
        assert ours[part] == expected, part
    # So that two answers that say nothing are no success.
    assert theirs["raw"]["seen"]["values"][1] == 0
    assert [each[:4] for each in theirs["raw"]["conv_rate"]["statuses"]] == [
        "PRES",
        "PRES",
        "NOT_",
        "PRES",
        "PRES",
        "PRES",
    ]
    assert theirs["raw"]["conv_rate"]["values"] == [0.25, None, None, 1.0, None, 1.0]
