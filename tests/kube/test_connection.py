"""Kubeconfigs, service accounts and logins by programs; what is missing or wrong says what to do."""

from __future__ import annotations

import base64
import json
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
from millrace_kube.client import Client
from millrace_kube.connection import Connection, connect, in_cluster, load
from millrace_kube.errors import ApiError
from millrace_kube.resources import NODES, PODS


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
            found = await connected.get(NODES, "", "me")
            assert found is not None
            assert found["metadata"]["name"] == "somebody"
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


async def test_a_user_that_logs_in_by_a_program_is_logged_in_by_it(tmp_path: Path) -> None:
    status = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "minted"}}
    program = tmp_path / "login"
    program.write_text(f"#!/bin/sh\necho '{json.dumps(status)}'\n")
    program.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}}
    path = write(tmp_path, user=user, **{"proxy-url": "http://127.0.0.1:9"})
    found = await connect({"KUBECONFIG": str(path)})
    assert found.authorization() == {"Authorization": "Bearer minted"}
    assert (found.server, found.proxy) == ("http://127.0.0.1:1", "http://127.0.0.1:9")


async def test_kubeconfigs_in_several_files_are_one(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    first, second = write(tmp_path), write(tmp_path / "more", server="http://127.0.0.1:2")
    assert (await connect({"KUBECONFIG": f"{first}:{second}"})).server == "http://127.0.0.1:1"


def account(folder: Path) -> Path:
    (folder / "ca.crt").write_bytes(pem(certificate("authority")[0]))
    (folder / "token").write_text("first")
    return folder


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_a_pod_comes_by_its_service_account_whose_token_rotates(host: str, server: str, tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    found = in_cluster(environ, account(tmp_path))
    assert found.server == server
    assert found.tls is not None
    assert found.tls.verify_mode == ssl.CERT_REQUIRED
    (tmp_path / "token").write_text("second")
    assert found.authorization() == {"Authorization": "Bearer second"}


@pytest.mark.parametrize("missing", ["ca.crt", "token"])
def test_a_pod_without_a_service_account_is_told(missing: str, tmp_path: Path) -> None:
    (account(tmp_path) / missing).unlink()
    with pytest.raises(RejectError, match=missing) as caught:
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)
    assert caught.value.reason == "NoKubeconfig"


async def test_a_kubeconfig_comes_before_the_service_account(tmp_path: Path) -> None:
    environ = {"KUBECONFIG": str(write(tmp_path)), "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert (await connect(environ)).server == "http://127.0.0.1:1"


async def test_an_environments_proxy_is_not_the_way_to_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def node(_: web.Request) -> web.Response:
        return web.json_response({"metadata": {"name": "me"}})

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    app = web.Application()
    app.router.add_get("/api/v1/nodes/me", node)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with Client(Connection(f"http://127.0.0.1:{runner.addresses[0][1]}")) as client:
            assert await client.get(NODES, "", "me")
    finally:
        await runner.cleanup()
