"""Objects of Google Cloud Storage and of Azure Storage, from small servers that check who asks as these do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from millrace_core.base.errors import MillraceError, RejectError, RetryError
from millrace_data.objects import az, gs, uri
from millrace_data.objects.reader import reader_of
from tests.doors import ALLOWED, REFUSED, door
from tests.range_server import Answer, RangeServer, range_server

CONTENT = bytes(range(256)) * 10
ACCOUNT, AZURE_KEY = "models1", base64.b64encode(b"a key of azure").decode()
NOW = 1_800_000_000.0


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with range_server(ALLOWED) as made:
        made.files = {"/bucket/a b/m.onnx": CONTENT}
        yield made


@pytest.fixture(scope="module")
def private() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def account_key(private: rsa.RSAPrivateKey, server: RangeServer) -> str:
    """A key file of a service account, whose tokens come from this server."""
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "reader@project.iam.gserviceaccount.com",
            "private_key_id": "k1",
            "private_key": pem.decode(),
            "token_uri": f"http://{server.host}/token",
        }
    )


def google(private: rsa.RSAPrivateKey):
    """Google's rules: a token for an assertion that is signed rightly, an object for a token."""

    def part(text: str) -> bytes:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def rules(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        if path == "/token":
            assertion = parse_qs(body.decode())["assertion"][0]
            head, claims, signature = assertion.split(".")
            private.public_key().verify(
                part(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
            )
            said = json.loads(part(claims))
            assert json.loads(part(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
            assert said["aud"].endswith("/token")
            assert said["scope"] == "https://www.googleapis.com/auth/devstorage.read_only"
            assert said["exp"] - said["iat"] == 3600
            return 200, {}, json.dumps({"access_token": f"t{said['iat']}", "expires_in": 3600}).encode()
        return None if headers.get("authorization", "").startswith("Bearer t") else (401, {}, b"")

    return rules


def read(reader, start: int = 0, stop: int = len(CONTENT)) -> bytes:
    with reader.open(start, stop) as piece:
        assert (piece.size, piece.ranged, bool(piece.tag)) == (len(CONTENT), True, True)
        return b"".join(piece.chunks)


def gcs(server: RangeServer, **secret: str) -> dict[str, str]:
    return {"GOOGLE_STORAGE_ENDPOINT": f"http://{server.host}", **secret}


def test_an_object_of_google_is_read_by_ranges_with_the_token_of_a_service_account(server, private):
    server.refuse = google(private)
    environ = gcs(server, GOOGLE_SERVICE_ACCOUNT_KEY=account_key(private, server))
    reader = reader_of(uri.parse("gs://bucket/a b/m.onnx"), environ, door())
    assert read(reader) == CONTENT
    assert read(reader, 10, 20) == CONTENT[10:20]
    assert [path for _, path, _ in server.requests] == ["/token", "/bucket/a%20b/m.onnx", "/bucket/a%20b/m.onnx"]


def test_a_token_of_google_is_renewed_before_it_ends(server, private):
    server.refuse = google(private)
    now = [NOW]
    environ = gcs(server, GOOGLE_SERVICE_ACCOUNT_KEY=account_key(private, server))
    reader = gs.reader(uri.parse("gs://bucket/a b/m.onnx"), environ, door(), lambda: now[0])
    for now[0] in (NOW, NOW + 3539, NOW + 3541):
        read(reader)
    tokens = [headers["authorization"] for method, _, headers in server.requests if method == "GET"]
    assert tokens == [f"Bearer t{int(NOW)}"] * 2 + [f"Bearer t{int(NOW) + 3541}"]


def test_a_public_bucket_is_asked_anonymously_and_a_token_is_sent_as_it_stands(server):
    assert read(reader_of(uri.parse("gs://bucket/a b/m.onnx"), gcs(server), door())) == CONTENT
    read(reader_of(uri.parse("gs://bucket/a b/m.onnx"), gcs(server, GOOGLE_ACCESS_TOKEN="t1"), door()))
    assert [headers.get("authorization") for *_, headers in server.requests] == [None, "Bearer t1"]


def _failure(target: str, environ: Mapping[str, str]) -> MillraceError:
    with pytest.raises(MillraceError) as caught:
        read(reader_of(uri.parse(target), environ, door()))
    return caught.value


def test_what_is_wrong_with_google_is_named_and_the_key_is_in_no_message(server, private):
    server.refuse = google(private)
    denied = _failure("gs://bucket/a b/m.onnx", gcs(server))
    assert (type(denied), denied.reason) == (RejectError, "AccessDenied")
    assert "GOOGLE_SERVICE_ACCOUNT_KEY" in denied.hint
    missing = _failure("gs://bucket/x.onnx", gcs(server, GOOGLE_ACCESS_TOKEN="t1"))
    assert (missing.reason, missing.message.startswith("gs://bucket/x.onnx")) == ("ModelNotFound", True)
    for text in ("s3cret", "{}", '{"client_email": "s3cret", "private_key": "s3cret"}', "[1]"):
        bad = _failure("gs://bucket/m.onnx", gcs(server, GOOGLE_SERVICE_ACCOUNT_KEY=text))
        assert (bad.reason, bad.field) == ("AccessDenied", "spec.model.credentialsSecretRef")
        assert "s3cret" not in str(bad)


@pytest.mark.parametrize(("status", "error"), [(400, RejectError), (429, RetryError), (503, RetryError)])
def test_a_server_of_tokens_that_gives_none_is_named(server, private, status, error):
    server.refuse = lambda *_: (status, {}, b"no")
    failed = _failure("gs://bucket/m.onnx", gcs(server, GOOGLE_SERVICE_ACCOUNT_KEY=account_key(private, server)))
    assert isinstance(failed, error)
    assert failed.field == "spec.model.credentialsSecretRef"


def test_stores_and_servers_of_tokens_are_reached_through_the_door_alone(server, private):
    with range_server(REFUSED) as refused:
        key = account_key(private, refused)
        for target, environ in (
            ("gs://bucket/m.onnx", {"GOOGLE_STORAGE_ENDPOINT": f"http://{refused.host}"}),
            ("gs://bucket/m.onnx", gcs(server, GOOGLE_SERVICE_ACCOUNT_KEY=key)),
            ("az://bucket/m.onnx", {**azure(refused), "AZURE_STORAGE_KEY": AZURE_KEY}),
        ):
            assert _failure(target, environ).reason == "NotAllowed"
        assert not refused.requests


def azure(server: RangeServer) -> dict[str, str]:
    return {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_ENDPOINT": f"http://{server.host}"}


def shared_key(method: str, path: str, headers: Mapping[str, str], _: bytes) -> Answer | None:
    """Azure's rule, written down a second time: from the headers that came."""
    standard = [
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-type",
        "date",
        "if-modified-since",
        "if-match",
        "if-none-match",
        "if-unmodified-since",
        "range",
    ]
    lines = [method, *(headers.get(name, "") for name in standard)]
    lines += [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-ms-")]
    text = "\n".join([*lines, f"/{ACCOUNT}{path}"])
    signature = base64.b64encode(hmac.digest(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256)).decode()
    return None if headers.get("authorization") == f"SharedKey {ACCOUNT}:{signature}" else (403, {}, b"")


def test_a_blob_of_azure_is_read_by_ranges_with_the_accounts_key(server):
    server.refuse = shared_key
    reader = reader_of(uri.parse("az://bucket/a b/m.onnx"), {**azure(server), "AZURE_STORAGE_KEY": AZURE_KEY}, door())
    assert read(reader) == CONTENT
    assert read(reader, 10, 20) == CONTENT[10:20]


def test_the_text_that_azure_has_signed_is_that_of_its_documentation():
    url = az.httpx.URL("https://a.blob.core.windows.net/c/b%20c?ignored")
    headers = {"range": "bytes=0-9", "x-ms-version": "2021-12-02", "x-ms-date": "now", "accept": "*/*"}
    expected = "GET" + "\n" * 11 + "bytes=0-9\nx-ms-date:now\nx-ms-version:2021-12-02\n/a/c/b%20c"
    assert az.text_to_sign("a", url, headers) == expected


def test_a_signature_of_azure_goes_into_the_query_and_into_no_message(server):
    environ = {**azure(server), "AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=s3cret%3D"}
    assert read(reader_of(uri.parse("az://bucket/a b/m.onnx"), environ, door())) == CONTENT
    assert server.requests[0][1] == "/bucket/a%20b/m.onnx?sv=1&sig=s3cret%3D"
    missing = _failure("az://bucket/x.onnx", environ)
    assert missing.reason == "ModelNotFound"
    assert "s3cret" not in str(missing)


def test_what_is_wrong_with_azure_is_named(server):
    server.refuse = shared_key
    wrong = _failure("az://bucket/m.onnx", {**azure(server), "AZURE_STORAGE_KEY": "c2VjcmV0"})
    assert (wrong.reason, "AZURE_STORAGE_KEY" in wrong.hint) == ("AccessDenied", True)
    for environ in ({**azure(server), "AZURE_STORAGE_KEY": "%"}, {}, {"AZURE_STORAGE_ACCOUNT": "No/Account"}):
        bad = _failure("az://bucket/m.onnx", environ)
        assert (bad.reason, bad.field) == ("AccessDenied", "spec.model.credentialsSecretRef")


def test_a_volume_is_read_within_itself_alone(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "m.onnx").write_bytes(CONTENT)
    (tmp_path / "secret").write_bytes(CONTENT)
    (volume / "link").symlink_to(tmp_path / "secret")
    assert read(reader_of(uri.parse("pvc://claim/m.onnx"), {}, volume=volume)) == CONTENT
    with pytest.raises(RejectError, match="is not within a folder"):
        read(reader_of(uri.parse("pvc://claim/link"), {}, volume=volume))
    with pytest.raises(RejectError, match="cannot read pvc://claim/x: No such file"):
        read(reader_of(uri.parse("pvc://claim/x"), {}, volume=volume))
    with pytest.raises(RejectError, match="is on a volume, and none is mounted here"):
        reader_of(uri.parse("pvc://claim/m.onnx"), {})
