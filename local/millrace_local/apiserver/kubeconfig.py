"""The kubeconfig of the embedded API server. It carries no credentials: the server authenticates nobody."""

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
    """Writes a file by renaming, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)
