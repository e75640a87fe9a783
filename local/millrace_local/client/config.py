"""Reads a kubeconfig into what a connection needs: address, TLS and credentials."""

from __future__ import annotations

import base64
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from millrace_core.base.errors import RejectError


@dataclass(frozen=True)
class Connection:
    """How to reach one API server.

    Attributes:
        server: base URL without a trailing slash.
        tls: the TLS context for ``https`` servers, None for ``http``.
        headers: what every request carries.
        token_file: a bearer token that may be rotated under us, read anew for each request.
    """

    server: str
    tls: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)
    token_file: Path | None = None

    def authorization(self) -> dict[str, str]:
        """The headers of one request, with the present token."""
        if self.token_file is None:
            return self.headers
        return {**self.headers, "Authorization": f"Bearer {self.token_file.read_text().strip()}"}


def load(path: Path, context: str = "") -> Connection:
    """Reads the kubeconfig at ``path`` and returns the connection of ``context`` (default: its current context).

    Raises:
        RejectError: the file is missing, is not a kubeconfig, or uses an ``exec`` or ``auth-provider`` login.
    """
    try:
        document = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, yaml.YAMLError) as error:
        raise RejectError(f"cannot read the kubeconfig {path}: {error}", hint="Pass --kubeconfig") from error
    if not isinstance(document, dict):
        raise RejectError(f"{path} is not a kubeconfig", hint="Expected a YAML mapping with clusters and users")
    wanted = context or document.get("current-context", "")
    chosen = _entry(document, "contexts", wanted, path).get("context") or {}
    cluster = _entry(document, "clusters", chosen.get("cluster", ""), path).get("cluster") or {}
    user: dict[str, Any] = {}
    if chosen.get("user"):
        user = _entry(document, "users", chosen["user"], path).get("user") or {}
    if unsupported := {"exec", "auth-provider"} & user.keys():
        raise RejectError(
            f"{path}: user {chosen['user']!r} logs in by {sorted(unsupported)[0]}, which is not supported",
            hint="Use a client certificate or a token (kubectl create token)",
            field="users",
        )
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("http://", "https://")):
        raise RejectError(f"{path}: no http(s) address, got {server!r}", field="clusters[].cluster.server")
    token_file = path.parent / user["tokenFile"] if user.get("tokenFile") else None
    tls = _tls(cluster, user, path.parent) if server.startswith("https://") else None
    return Connection(server, tls, _headers(user), token_file)


def _entry(document: dict[str, Any], section: str, name: str, path: Path) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry
    raise RejectError(f"{path}: no entry named {name!r}", hint="See kubectl config view", field=section)


def _headers(user: dict[str, Any]) -> dict[str, str]:
    if user.get("token"):
        return {"Authorization": f"Bearer {user['token']}"}
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}
    return {}


def _tls(cluster: dict[str, Any], user: dict[str, Any], base: Path) -> ssl.SSLContext:
    authority = _content(cluster, "certificate-authority", base)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    certificate = _content(user, "client-certificate", base)
    key = _content(user, "client-key", base)
    if certificate and key:
        # The ssl module takes client certificates from files only; the file lives as long as this call.
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(certificate + b"\n" + key)
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


def _content(section: dict[str, Any], name: str, base: Path) -> bytes:
    if section.get(f"{name}-data"):
        return base64.b64decode(section[f"{name}-data"])
    if section.get(name):
        return (base / str(section[name])).read_bytes()
    return b""
