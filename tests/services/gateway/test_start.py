"""What a gateway has loaded when it says that it is ready; processes that nothing was loaded for before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import feature_view
from tests.running_service import RunningService
from tests.services.gateway.conftest import Store
from tests.told_registry import tell


@pytest.mark.slow
@pytest.mark.parametrize("pushed", [True, False])
def test_arrow_is_there_before_a_gateway_is_ready_whose_views_take_pushes_and_in_no_other(
    registry: RunningService, store: Store, tmp_path: Path, pushed: bool
) -> None:
    view = feature_view("taken")
    if pushed:
        view = view.having("spec.source", {"push": {"uri": f"file://{tmp_path}"}, "timestampField": "event_timestamp"})
    document = view.build()
    document["metadata"] |= {"namespace": "start", "uid": f"u{pushed}", "generation": 1}
    tell(registry.url, document)
    settings = {
        "MILLRACE_REGISTRY_URL": registry.url,
        "MILLRACE_STORE_URL": store.url,
        "MILLRACE_HOST": "127.0.0.1",
        "MILLRACE_PORT": "0",
    }
    log = tmp_path / "log"
    with log.open("wb") as said:
        command = [sys.executable, "-m", "millrace_services.gateway"]
        process = subprocess.Popen(command, env={**os.environ, **settings}, stdout=said, stderr=said)
    try:
        RunningService(process, log).wait_listening()  # type: ignore[arg-type]
        assert ("libarrow" in Path(f"/proc/{process.pid}/maps").read_text()) is pushed
    finally:
        process.kill()
        process.wait()
