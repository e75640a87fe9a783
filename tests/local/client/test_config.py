"""Kubeconfigs, selectors, and errors that say what to do."""

from __future__ import annotations

import base64
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from millrace_core.base.errors import RejectError
from millrace_kube.resources import DEPLOYMENTS, NODES, PODS
from millrace_kube.selectors import matches, matches_map, matches_node_terms
from millrace_local.client.api import ApiError, Client
from millrace_local.client.config import Connection, load


def write(
    folder: Path, *, server: str = "http://127.0.0.1:1", user: dict[str, Any] | None = None, **cluster: Any
) -> Path:
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_plain_server_needs_no_more_than_its_address(tmp_path: Path) -> None:
    found = load(write(tmp_path, server="http://127.0.0.1:1/"))
    assert (found.server, found.tls, found.headers) == ("http://127.0.0.1:1", None, {})


def test_tokens_are_sent_and_token_files_are_read_anew(tmp_path: Path) -> None:
    assert load(write(tmp_path, user={"token": "abc"})).authorization() == {"Authorization": "Bearer abc"}
    (tmp_path / "token").write_text("one\n")
    found = load(write(tmp_path, user={"tokenFile": "token"}))
    assert found.authorization()["Authorization"] == "Bearer one"
    (tmp_path / "token").write_text("two\n")
    assert found.authorization()["Authorization"] == "Bearer two"
    basic = load(write(tmp_path, user={"username": "a", "password": "b"})).headers["Authorization"]
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"a:b"


def test_an_https_server_is_verified_unless_the_kubeconfig_says_otherwise(tmp_path: Path) -> None:
    verified = load(write(tmp_path, server="https://k:6443")).tls
    assert verified is not None
    assert verified.verify_mode == ssl.CERT_REQUIRED
    lax = load(write(tmp_path, server="https://k:6443", **{"insecure-skip-tls-verify": True})).tls
    assert lax is not None
    assert lax.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is not a kubeconfig"),
        ("a: [", "cannot read"),
        ("contexts: []", "no entry named"),
    ],
)
def test_what_is_no_kubeconfig_is_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(RejectError, match=told):
        load(tmp_path / "kubeconfig")


def test_a_missing_file_and_a_login_by_program_are_told(tmp_path: Path) -> None:
    with pytest.raises(RejectError, match="cannot read the kubeconfig"):
        load(tmp_path / "none")
    with pytest.raises(RejectError, match="logs in by exec"):
        load(write(tmp_path, user={"exec": {"command": "aws"}}))


def pem(*parts: Any) -> bytes:
    return b"".join(
        part.public_bytes(Encoding.PEM)
        if isinstance(part, x509.Certificate)
        else part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for part in parts
    )


def certificate(name: str, issuer: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """A certificate and its key, signed by the issuer or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC) - timedelta(days=1)
    builder = (
        x509.CertificateBuilder(issuer[0].subject if issuer else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


async def test_a_server_is_trusted_by_its_authority_and_told_who_comes_by_a_client_certificate(tmp_path: Path) -> None:
    authority = certificate("authority")
    server, client = certificate("server", authority), certificate("somebody", authority)
    (tmp_path / "server.pem").write_bytes(pem(*server))
    (tmp_path / "ca.pem").write_bytes(pem(authority[0]))

    async def who(request: web.Request) -> web.Response:
        assert request.transport is not None
        subject = dict(pair for group in request.transport.get_extra_info("peercert")["subject"] for pair in group)
        return web.json_response({"metadata": {"name": subject["commonName"]}})

    app = web.Application()
    app.router.add_get("/api/v1/nodes/me", who)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    context.load_cert_chain(tmp_path / "server.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    address = f"https://127.0.0.1:{runner.addresses[0][1]}"
    user = {
        "client-certificate-data": base64.b64encode(pem(client[0])).decode(),
        "client-key-data": base64.b64encode(pem(client[1])).decode(),
    }
    try:
        known = load(write(tmp_path, server=address, user=user, **{"certificate-authority": "ca.pem"}))
        async with Client(known) as connected:
            assert (await connected.get(NODES, "", "me"))["metadata"]["name"] == "somebody"
        async with Client(load(write(tmp_path, server=address, user=user))) as stranger:
            with pytest.raises(ApiError, match="certificate verify failed"):
                await stranger.get(NODES, "", "me")
    finally:
        await runner.cleanup()


async def test_no_server_is_an_error_of_no_status() -> None:
    async with Client(Connection("http://127.0.0.1:1")) as client:
        with pytest.raises(ApiError) as caught:
            await client.get(PODS, "default", "p")
    assert caught.value.status == 0
    assert "GET /api/v1/namespaces/default/pods/p" in str(caught.value)


def test_paths_are_those_of_the_api() -> None:
    assert PODS.path("ns", "p", "log") == "/api/v1/namespaces/ns/pods/p/log"
    assert DEPLOYMENTS.path("ns") == "/apis/apps/v1/namespaces/ns/deployments"
    assert DEPLOYMENTS.path() == "/apis/apps/v1/deployments"
    assert NODES.path("ignored", "n") == "/api/v1/nodes/n"


@pytest.mark.parametrize(
    ("rule", "selected"),
    [
        ({"operator": "In", "values": ["1", "2"]}, True),
        ({"operator": "NotIn", "values": ["1"]}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "DoesNotExist"}, False),
        ({"operator": "Gt", "values": ["0"]}, True),
        ({"operator": "Lt", "values": ["1"]}, False),
    ],
)
def test_selector_expressions_mean_what_kubernetes_means(rule: dict[str, Any], selected: bool) -> None:
    assert matches({"matchExpressions": [{"key": "a", **rule}]}, {"a": "1"}) is selected


def test_empty_selectors_differ() -> None:
    assert matches({}, {"a": "1"})
    assert not matches(None, {"a": "1"})
    assert not matches_map({}, {"a": "1"})
    assert matches_map({"a": "1"}, {"a": "1", "b": "2"})
    assert not matches({"matchLabels": {"b": "1"}}, {"a": "1"})


def test_node_terms_are_alternatives_of_labels_and_names() -> None:
    by_name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}
    by_label = {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
    assert matches_node_terms([by_label, by_name], {}, "n")
    assert not matches_node_terms([by_label], {}, "n")
    assert not matches_node_terms([{}], {"gpu": ""}, "n")
