"""The kubeconfig of the embedded API server, which asks nobody for a password."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_kubeconfig(path: Path, url: str) -> None:
    """Writes a kubeconfig with the one context ``millrace``."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "millrace", "cluster": {"server": url}}],
        "users": [{"name": "millrace", "user": {}}],
        "contexts": [
            {"name": "millrace", "context": {"cluster": "millrace", "user": "millrace", "namespace": "default"}}
        ],
        "current-context": "millrace",
    }
    write_whole(path, json.dumps(document, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Writes by rename, so that readers see all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)
