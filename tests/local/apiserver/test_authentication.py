"""Who is let in: holders of the token, from no web page; and how the server proves itself."""

from __future__ import annotations

import json
import shutil
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from millrace_core.base.errors import ReportError
from millrace_local.apiserver import credentials
from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of
from tests.api_server import start
from tests.local.apiserver.conftest import KubectlProcess

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def stranger(server: RunningServer) -> httpx.Client:
    """Somebody who knows the address, and the certificate, but no token."""
    tls = server.connection.tls
    assert tls is not None
    return httpx.Client(base_url=server.url, verify=tls, trust_env=False)


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Bearer no", b"Basic dTpw", b"Bearer \x80"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", MAPS),
        ("GET", f"{MAPS}?watch=1"),
        ("POST", MAPS),
        ("GET", "/apis"),
        ("GET", "/openapi/v2"),
        ("GET", "/nowhere"),
        ("PUT", "/faults"),
    ],
)
def test_without_the_token_nothing_is_told_or_done(
    stranger: httpx.Client, method: str, path: str, header: bytes | None
) -> None:
    headers = {} if header is None else {"authorization": header}
    body = json.dumps({"metadata": {"name": "sneaked"}}) if method == "POST" else None
    answer = stranger.request(method, path, headers=headers, content=body)
    assert answer.status_code == 401
    assert answer.json() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "Unauthorized",
        "reason": "Unauthorized",
        "code": 401,
    }


def test_health_and_version_are_for_everybody(stranger: httpx.Client) -> None:
    for path in ("/healthz", "/livez", "/readyz", "/readyz/ping", "/version"):
        assert stranger.get(path).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:16443"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
def test_a_web_page_is_refused_even_with_the_token(http: httpx.Client, headers: dict[str, str]) -> None:
    answer = http.get(MAPS, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")


def test_the_token_is_in_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = start(data, kubeconfig=tmp_path / "kubeconfig")
    try:
        for path in (tmp_path / "kubeconfig", data / credentials.FILE, data / "server.key", data / "journal.db"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
    finally:
        server.stop()


def test_each_folder_has_a_token_of_its_own_which_stays(tmp_path: Path) -> None:
    made = credentials.obtain(tmp_path / "a", datetime.now(UTC))
    assert credentials.obtain(tmp_path / "a", datetime.now(UTC)) == made
    assert credentials.obtain(tmp_path / "b", datetime.now(UTC)).token != made.token
    assert made.token not in repr(made)
    (tmp_path / "a" / credentials.FILE).write_text("{}")
    with pytest.raises(ReportError, match="cannot use the credentials"):
        credentials.obtain(tmp_path / "a", datetime.now(UTC))


def test_a_client_does_not_take_another_server_for_this_one(server: RunningServer, tmp_path: Path) -> None:
    other = start(tmp_path, kubeconfig=tmp_path / "kubeconfig")
    try:
        with client_of(server) as client, pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            client.get(f"{other.url}/readyz")
    finally:
        other.stop()


def test_strict_libraries_take_the_certificate(server: RunningServer) -> None:
    tls = server.connection.tls
    assert tls is not None
    tls.verify_flags |= ssl.VERIFY_X509_STRICT
    with httpx.Client(verify=tls, trust_env=False) as client:
        assert client.get(f"{server.url}/readyz").text == "ok"
        assert client.get(f"{server.url}/readyz".replace("127.0.0.1", "localhost")).text == "ok"


def test_kubectl_without_the_token_is_not_let_in(kubectl: KubectlProcess, tmp_path: Path) -> None:
    assert kubectl("get", "configmaps") == ""
    config = json.loads(kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "wrong"}
    shutil.copy(kubectl.kubeconfig, tmp_path / "config")
    (tmp_path / "config").write_text(json.dumps(config))
    other = KubectlProcess(tmp_path / "config", kubectl.namespace, kubectl.home)
    said = other("get", "configmaps", fails=True)
    assert "Unauthorized" in said
