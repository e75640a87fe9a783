"""Where the API server is, and who we are to it: the one seam between the ways to log in and every request.

A ``Connection`` says all that a request needs, and ``Connection.session`` is the only place where connections to an API
server are made: the client's requests and kopf's streams go through it. Kubeconfigs and service accounts are read here;
the official client, which takes a second to import, is used only where a user logs in by a program or a provider.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millrace_core.base.errors import RejectError
from millrace_core.base.lazy_import import lazy_import
from millrace_kube.errors import PluginLoginError

if TYPE_CHECKING:
    import aiohttp

    from millrace_core.base import yaml_text
else:
    # A kubeconfig of the laptop mode is JSON.
    yaml_text = lazy_import("millrace_core.base.yaml_text")
    # Whoever only reads a kubeconfig, as the laptop mode's command and supervisor do, makes no session.
    aiohttp = lazy_import("aiohttp")

REQUEST_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 10.0
_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PLUGINS: Final = {"exec", "auth-provider"}


@dataclass(frozen=True)
class Connection:
    """How to reach one API server.

    Attributes:
        server: base URL without a trailing slash.
        tls: the TLS context for ``https`` servers, None for ``http``.
        headers: what every request carries.
        token_file: a bearer token that may be rotated under us, read anew for each request.
        proxy: URL of the kubeconfig's own proxy; "" for none.
    """

    server: str
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    token_file: Path | None = None
    proxy: str = ""

    def authorization(self) -> Mapping[str, str]:
        """The headers of one request, with the present token."""
        if self.token_file is None:
            return self.headers
        return {**self.headers, "Authorization": f"Bearer {self.token_file.read_text(encoding='utf-8').strip()}"}

    def session(self, headers: Mapping[str, str], *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
        """A pool of connections to this server, whose requests carry ``headers``; the caller closes it.

        The environment's proxies are left aside: ``http_proxy`` is the way to services (and the embedded mesh), never
        to the API server.
        """
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.tls or True, limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS),
            headers=headers,
            proxy=self.proxy or None,
            trace_configs=list(traces),
        )


async def connect(environ: Mapping[str, str]) -> Connection:
    """The connection that the environment names: ``KUBECONFIG``, else the pod's service account, else ~/.kube/config.

    Raises:
        RejectError: there is none, or it cannot be read.
    """
    path = environ.get("KUBECONFIG", "")
    if not path and environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster(environ)
    path = path or "~/.kube/config"
    if os.pathsep in path:
        return await _by_official_client(path)
    try:
        return load(Path(path))
    except PluginLoginError:
        return await _by_official_client(path)


def in_cluster(environ: Mapping[str, str], account: Path = _SERVICE_ACCOUNT) -> Connection:
    """The connection of a pod by its service account.

    Raises:
        RejectError: the pod has none.
    """
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        tls = _tls((account / "ca.crt").read_bytes())
        (account / "token").read_bytes()
    except OSError as error:
        raise _unreachable(f"this pod has no service account: {error}") from error
    return Connection(
        f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", tls, {}, account / "token"
    )


def load(path: Path, context: str = "") -> Connection:
    """Reads the kubeconfig at ``path`` and returns the connection of ``context`` (default: its current context).

    Raises:
        RejectError: the file is missing or is not a kubeconfig. PluginLoginError: its user logs in by a program.
    """
    path = path.expanduser()
    try:
        document = _document(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreachable(f"cannot read the kubeconfig {path}: {error}") from error
    if not isinstance(document, dict):
        raise _unreachable(f"{path} is not a kubeconfig, which is a YAML mapping with clusters and users")
    chosen = _entry(document, "contexts", context or document.get("current-context", ""), path).get("context") or {}
    cluster = _entry(document, "clusters", chosen.get("cluster", ""), path).get("cluster") or {}
    user: dict[str, Any] = {}
    if chosen.get("user"):
        user = _entry(document, "users", chosen["user"], path).get("user") or {}
    if unsupported := _PLUGINS & user.keys():
        raise PluginLoginError(
            f"{path}: user {chosen['user']!r} logs in by {sorted(unsupported)[0]}, which is not supported here",
            hint="Use a client certificate or a token (kubectl create token)",
            field="users",
        )
    if cluster.get("tls-server-name"):
        raise RejectError(f"{path}: tls-server-name is not supported", field="clusters[].cluster.tls-server-name")
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("http://", "https://")):
        raise RejectError(f"{path}: no http(s) address, got {server!r}", field="clusters[].cluster.server")
    authority, certificate, key = (
        _content(section, name, path.parent)
        for section, name in ((cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key"))
    )
    verify = not cluster.get("insecure-skip-tls-verify")
    return Connection(
        server,
        _tls(authority, certificate, key, verify=verify) if server.startswith("https://") else None,
        _headers(user),
        path.parent / user["tokenFile"] if user.get("tokenFile") else None,
        str(cluster.get("proxy-url") or ""),
    )


def _document(text: str) -> Any:
    """The first document of a text in YAML or, which is less work, in JSON."""
    with suppress(ValueError):
        return json.loads(text)
    return next(iter(yaml_text.values(text)), None)


def _unreachable(message: str) -> RejectError:
    return RejectError(
        message,
        hint="Set KUBECONFIG (or --kubeconfig) to a kubeconfig file, or run in a pod with a service account",
        field="KUBECONFIG",
        reason="NoKubeconfig",
    )


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


def _tls(authority: bytes, certificate: bytes = b"", key: bytes = b"", *, verify: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
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
    return (base / str(section[name])).read_bytes() if section.get(name) else b""


async def _by_official_client(path: str) -> Connection:
    """The connection of users that only the official client can log in, and of kubeconfigs in several files."""
    from kubernetes.aio.client import Configuration  # noqa: PLC0415 a second, which few need
    from kubernetes.aio.config import ConfigException, load_kube_config  # noqa: PLC0415

    found = Configuration()
    try:
        await load_kube_config(path, client_configuration=found, persist_config=False)  # type: ignore[no-untyped-call]
        token = await found.get_api_key_with_prefix("BearerToken", alias="authorization")
    except (ConfigException, OSError) as error:
        raise _unreachable(f"cannot log in by {path}: {error}") from error
    return _official(found, str(token or ""))


def _official(found: Any, authorization: str) -> Connection:
    """The connection that a configuration of the official client says."""
    files = (Path(file).read_bytes() if file else b"" for file in (found.ssl_ca_cert, found.cert_file, found.key_file))
    return Connection(
        found.host,
        _tls(*files, verify=found.verify_ssl) if found.host.startswith("https://") else None,
        {"Authorization": authorization} if authorization else {},
        proxy=found.proxy or "",
    )
