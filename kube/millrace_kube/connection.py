"""Where the API server is and who we are to it: ``KUBECONFIG``, else the pod's service account, else ~/.kube/config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from millrace_core.base.errors import RejectError


async def load(environ: Mapping[str, str]) -> Configuration:
    """The official client's configuration; tokens that expire renew themselves as it is used.

    Raises:
        RejectError: no configuration was found, or it cannot be read.
    """
    configuration = Configuration()
    # http_proxy is the way to services (and the embedded mesh), never to the API server; a kubeconfig's own
    # proxy-url is respected.
    configuration.client_session_kwargs = {"trust_env": False}
    path = environ.get("KUBECONFIG", "")
    try:
        if not path and environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=path or "~/.kube/config", client_configuration=configuration, persist_config=False
            )
    except (ConfigException, OSError) as error:
        raise RejectError(
            f"no way to the API server: {error}",
            hint="Set KUBECONFIG to a kubeconfig file, or run in a pod with a service account",
            field="KUBECONFIG",
            reason="NoKubeconfig",
        ) from error
    return configuration


async def token(configuration: Configuration) -> str:
    """The bearer token without its scheme; empty where the connection uses none (it may use a certificate)."""
    header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    return str(header).split(" ", 1)[-1] if header else ""


def server(configuration: Configuration) -> dict[str, Any]:
    """Address, certificates and proxy as ``kopf.ConnectionInfo`` takes them."""
    return {
        "server": configuration.host,
        "ca_path": configuration.ssl_ca_cert,
        "insecure": not configuration.verify_ssl,
        "certificate_path": configuration.cert_file,
        "private_key_path": configuration.key_file,
        "proxy_url": configuration.proxy,
    }
