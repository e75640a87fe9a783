"""The kubeconfig of the embedded API server. It carries no credentials: the server authenticates nobody."""

from __future__ import annotations

import json
from pathlib import Path

from millrace_local.atomic_file import write_atomically


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
    write_atomically(path, json.dumps(document, indent=2) + "\n")
