"""The kubeconfig of the embedded API server: readable by its owner only, since it carries the token."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from millrace_local.apiserver.credentials import Credentials
from millrace_local.atomic_file import write_atomically


def write_kubeconfig(path: Path, url: str, credentials: Credentials) -> None:
    """Writes a kubeconfig with the one context ``millrace``."""
    authority = base64.b64encode(credentials.authority.encode()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "millrace", "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": "millrace", "user": {"token": credentials.token}}],
        "contexts": [
            {"name": "millrace", "context": {"cluster": "millrace", "user": "millrace", "namespace": "default"}}
        ],
        "current-context": "millrace",
    }
    write_atomically(path, json.dumps(document, indent=2) + "\n")
