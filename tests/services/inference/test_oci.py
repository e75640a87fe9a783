"""Models of registries: artifacts whose layers are files, and images whose layers are archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from base64 import b64encode
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pytest

from millrace_core.base import destinations
from millrace_core.base.destinations import Outgoing
from millrace_core.base.errors import NotFoundError, RejectError, RetryError
from millrace_services.inference import model_files
from millrace_services.inference.fetch import fetch
from millrace_services.inference.settings import FetchSettings
from tests.onnx_models import write_external
from tests.range_server import Answer, RangeServer, range_server

OPEN = destinations.OPEN.as_json()
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
TITLE = "org.opencontainers.image.title"


class Registry:
    """A registry with one repository, ``team/churn``."""

    def __init__(self, server: RangeServer) -> None:
        self.server = server
        self.token = ""
        self.password = ""
        server.refuse = self._refuse

    def push(self, tag: str, *layers: tuple[bytes, Mapping[str, object]], index: bool = False) -> str:
        """Puts a manifest with these layers; returns its digest."""
        described = []
        for content, more in layers:
            digest = self.blob(content)
            described.append({"mediaType": "application/x", "digest": digest, "size": len(content), **more})
        digest = self.manifest(tag, {"schemaVersion": 2, "mediaType": MANIFEST, "layers": described})
        if index:
            unknown = {"digest": f"sha256:{'0' * 64}", "platform": {"os": "unknown", "architecture": "unknown"}}
            other = {"digest": digest, "platform": {"os": "linux", "architecture": "s390x"}}
            digest = self.manifest(tag, {"schemaVersion": 2, "manifests": [unknown, other]})
        return digest

    def blob(self, content: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.server.files[f"/v2/team/churn/blobs/{digest}"] = content
        return digest

    def manifest(self, tag: str, document: object) -> str:
        content = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        for reference in (tag, digest):
            self.server.files[f"/v2/team/churn/manifests/{reference}"] = content
        return digest

    def uri(self, reference: str = ":1") -> str:
        return f"oci://{self.server.host}/team/churn{reference}"

    def _refuse(self, _: str, path: str, headers: Mapping[str, str], __: bytes) -> Answer | None:
        if path.startswith("/token?"):
            basic = "Basic " + b64encode(f"ann:{self.password}".encode()).decode()
            if headers.get("authorization") != basic:
                return 401, {}, b""
            assert "scope=repository%3Ateam%2Fchurn%3Apull" in path
            assert "service=test" in path
            return 200, {}, json.dumps({"token": self.token, "expires_in": 300}).encode()
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            realm = f'Bearer realm="http://{self.server.host}/token",service="test",scope="x"'
            return 401, {"www-authenticate": realm}, b""
        return None


@pytest.fixture
def registry() -> Iterator[Registry]:
    with range_server() as server:
        yield Registry(server)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "volume" / "model.onnx"


def fetched(uri: str, path, environ: Mapping[str, str] | None = None, **more):
    return fetch(FetchSettings(outgoing=OPEN, uri=uri, path=path, **more), environ or {})


def titled(content: bytes, name: str) -> tuple[bytes, dict[str, object]]:
    return content, {"annotations": {TITLE: name}}


def archive(files: Mapping[str, bytes], form: str = "gzip") -> tuple[bytes, dict[str, object]]:
    """A layer of an image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    plain = buffer.getvalue()
    if form == "zstd":
        return pa.compress(plain, "zstd", asbytes=True), {}
    return gzip.compress(plain, mtime=0) if form == "gzip" else plain, {}


def left(path) -> list[str]:
    return sorted(file.name for file in path.parent.rglob("*") if file.is_file())


@pytest.mark.parametrize("index", [False, True], ids=["manifest", "index"])
def test_an_artifact_gives_its_only_onnx_file(registry, models, path, index):
    content = models["sum"].read_bytes()
    registry.push("1", titled(b"read me", "README.md"), titled(content, "churn.onnx"), index=index)
    found = fetched(registry.uri(), path)
    assert (path.read_bytes(), found.digest) == (content, model_files.digest(models["sum"]).digest)
    assert left(path) == ["model.onnx", "model.onnx.digest"]


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_a_modelcar_gives_the_file_of_its_uppermost_layer(registry, models, path, form):
    content = models["sum"].read_bytes()
    registry.push(
        "1",
        archive({"./models/m.onnx": models["lookup"].read_bytes(), "bin/sh": b"#!", "usr/A::B": b""}, form),
        archive({"models/m.onnx": content}, form),
        archive({"etc/motd": b"hello"}, form),
    )
    fetched(registry.uri(), path)
    assert path.read_bytes() == content
    assert left(path) == ["model.onnx", "model.onnx.digest"]


def members(*entries: tuple[str, bytes, bytes | str]) -> tuple[bytes, dict[str, object]]:
    """A layer of members with their types; what is no content is the target of a link."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
                made.addfile(info)
            else:
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
    return buffer.getvalue(), {}


@pytest.mark.parametrize("second", ["m.onnx", "./m.onnx"])
def test_of_two_members_with_one_path_the_last_is_there(registry, models, path, second):
    content = models["sum"].read_bytes()
    registry.push(
        "1", members(("m.onnx", tarfile.REGTYPE, models["lookup"].read_bytes()), (second, tarfile.REGTYPE, content))
    )
    fetched(registry.uri(), path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "upper",
    [
        [("m/net.onnx", tarfile.SYMTYPE, "/elsewhere")],
        [("m", tarfile.REGTYPE, b"a file where a folder was")],
        [("m/net.onnx", tarfile.REGTYPE, b"x"), ("m/net.onnx", tarfile.SYMTYPE, "/elsewhere")],
    ],
    ids=["link", "file", "link-behind-file"],
)
def test_whatever_an_upper_layer_has_at_a_path_hides_the_file_of_a_lower_one(registry, models, path, upper):
    registry.push("1", archive({"m/net.onnx": models["sum"].read_bytes()}), members(*upper))
    with pytest.raises(RejectError, match=r"has no file that ends with \.onnx"):
        fetched(registry.uri(), path)


def test_a_whiteout_takes_nothing_from_its_own_layer_and_a_hard_link_is_the_file_it_names(registry, models, path):
    content = models["sum"].read_bytes()
    own = [("m/.wh..wh..opq", tarfile.REGTYPE, b""), ("m/net", tarfile.REGTYPE, content)]
    linked = ("m/net.onnx", tarfile.LNKTYPE, "m/net")
    registry.push("1", archive({"m/old.onnx": models["lookup"].read_bytes()}), members(*own, linked))
    fetched(registry.uri(), path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("gone", ["models/.wh.m.onnx", ".wh.models", "models/.wh..wh..opq"])
def test_a_file_that_an_upper_layer_deleted_is_not_there(registry, models, path, gone):
    registry.push("1", archive({"models/m.onnx": models["sum"].read_bytes()}), archive({gone: b""}))
    with pytest.raises(RejectError, match=r"has no file that ends with \.onnx") as caught:
        fetched(registry.uri(), path)
    assert caught.value.reason == "ModelNotFound"
    assert left(path) == []


@pytest.mark.parametrize("packed", [False, True], ids=["files", "archive"])
def test_external_data_comes_from_the_same_artifact(registry, tmp_path, path, packed):
    source = write_external(tmp_path / "s" / "net.onnx", ("w.bin", "more/w.bin"))
    files = {f"m/{file.relative_to(source.parent)}": file.read_bytes() for file in source.parent.rglob("*.*")}
    layers = [archive(files)] if packed else [titled(content, name) for name, content in files.items()]
    registry.push("1", *layers)
    found = fetched(registry.uri(), path)
    assert found[:2] == model_files.measured(source)
    assert left(path) == ["model.onnx", "model.onnx.digest", "w.bin", "w.bin"]


def test_of_several_onnx_files_the_uri_names_one(registry, models, path):
    registry.push("1", *(titled(models[name].read_bytes(), f"m/{name}.onnx") for name in ("sum", "lookup")))
    with pytest.raises(RejectError, match=r"has 2 ONNX files.*#path: it has m/lookup\.onnx, m/sum\.onnx"):
        fetched(registry.uri(), path)
    fetched(registry.uri(":1#m/lookup.onnx"), path)
    assert path.read_bytes() == models["lookup"].read_bytes()
    with pytest.raises(RejectError, match=r"has no file m/x\.onnx"):
        fetched(registry.uri(":1#m/x.onnx"), path.with_name("b.onnx"))


def test_a_digest_of_the_uri_holds_whatever_the_tag_means_now(registry, models, path):
    digest = registry.push("1", titled(models["sum"].read_bytes(), "m.onnx"))
    registry.push("1", titled(models["lookup"].read_bytes(), "m.onnx"))
    fetched(registry.uri(f":1@{digest}"), path)
    assert path.read_bytes() == models["sum"].read_bytes()
    registry.server.files[f"/v2/team/churn/manifests/{digest}"] += b" "
    with pytest.raises(RejectError, match="sends another manifest than the one of this digest"):
        fetched(registry.uri(f"@{digest}"), path.with_name("b.onnx"))


def test_a_blob_that_is_another_than_its_digest_says_is_refused(registry, models, path):
    content = models["sum"].read_bytes()
    registry.push("1", titled(content, "m.onnx"))
    registry.server.files[f"/v2/team/churn/blobs/sha256:{hashlib.sha256(content).hexdigest()}"] = content[::-1]
    with pytest.raises(RetryError, match="the registry sent sha256:") as caught:
        fetched(registry.uri(), path)
    assert caught.value.reason == "DigestMismatch"
    assert left(path) == []


def test_credentials_of_the_secret_become_a_token(registry, models, path):
    registry.token, registry.password = "t0ken", "s3cret"
    registry.push("1", titled(models["sum"].read_bytes(), "m.onnx"))
    with pytest.raises(RejectError) as caught:
        fetched(registry.uri(), path, {"MILLRACE_SECRET_HTTP_USER": "ann", "MILLRACE_SECRET_HTTP_PASSWORD": "wrong"})
    assert (caught.value.reason, caught.value.field) == ("AccessDenied", "spec.model.credentialsSecretRef")
    fetched(registry.uri(), path, {"MILLRACE_SECRET_HTTP_USER": "ann", "MILLRACE_SECRET_HTTP_PASSWORD": "s3cret"})
    assert path.read_bytes() == models["sum"].read_bytes()
    assert registry.server.asked("/token") == 2


@pytest.mark.parametrize("member", ["../m.onnx", "/models/m.onnx", "a/../../m.onnx"])
def test_an_archive_that_leads_out_of_itself_is_refused(registry, models, path, member):
    registry.push("1", archive({"ok.onnx": models["sum"].read_bytes(), member: b"x"}))
    with pytest.raises(RejectError, match="which leads out of it"):
        fetched(registry.uri(), path)
    assert left(path) == []


@pytest.mark.parametrize("name", ["../m.onnx", "/m.onnx"])
def test_a_file_of_an_artifact_that_leads_out_is_refused(registry, models, path, name):
    registry.push("1", titled(models["sum"].read_bytes(), name))
    with pytest.raises(RejectError, match="which is no path below it"):
        fetched(registry.uri(), path)


@pytest.mark.parametrize(
    "content",
    [b"no archive at all" * 99, gzip.compress(b"x" * 2000, mtime=0), archive({"m.onnx": bytes(99999)})[0][:150]],
)
def test_a_layer_that_is_no_archive_is_named(registry, path, content):
    registry.push("1", (content, {}))
    with pytest.raises(RejectError, match="is no archive, or a damaged one") as caught:
        fetched(registry.uri(), path)
    assert caught.value.reason == "BadModel"
    assert left(path) == []


def test_an_archive_that_is_large_inside_is_given_up(registry, path, monkeypatch):
    monkeypatch.setattr("millrace_services.inference.oci_image._BESIDE_BYTES", 1 << 20)
    registry.push("1", archive({"zeros": bytes(8 << 20)}))
    with pytest.raises(RejectError, match="too large inside") as caught:
        fetched(registry.uri(), path, max_bytes=1 << 20)
    assert caught.value.reason == "TooLarge"


@pytest.mark.parametrize(
    "manifest",
    [[], {}, {"layers": 3}, {"layers": [{}]}, {"layers": [{"digest": "md5:1", "size": 1}]}, {"manifests": [{}]}],
)
def test_what_is_no_manifest_is_named(registry, path, manifest):
    registry.manifest("1", manifest)
    with pytest.raises(RejectError) as caught:
        fetched(registry.uri(), path)
    assert caught.value.reason == "BadModel"


def test_what_is_not_there_is_named(registry, path):
    with pytest.raises(NotFoundError, match=r"there is no oci://.*/team/churn:1"):
        fetched(registry.uri(), path)
    with pytest.raises(RejectError, match="is no reference of an artifact"):
        fetched(registry.uri(":a b"), path)
    for status in (408, 429, 503):
        registry.server.refuse = lambda *_, status=status: (status, {}, b"")
        with pytest.raises(RetryError, match=f"the registry answers {status}"):
            fetched(registry.uri(), path)


def test_a_registry_is_asked_where_the_door_allows_it(registry, path):
    closed = Outgoing().as_json()
    with pytest.raises(RejectError) as caught:
        fetch(FetchSettings(outgoing=closed, uri=registry.uri(), path=path), {})
    assert caught.value.reason == "NotAllowed"
    assert not registry.server.requests


def test_a_layer_that_was_cut_is_taken_up_where_it_broke(registry, models, path, monkeypatch):
    monkeypatch.setattr("millrace_services.inference.download.ATTEMPTS", 1)
    large, more = archive({"m.onnx": models["sum"].read_bytes(), "zeros": bytes(17 << 20)}, "plain")
    registry.push("1", (large, more))
    registry.server.cut = lambda _, length: 5 if length == len(large) - (16 << 20) else None
    with pytest.raises(RetryError):
        fetched(registry.uri(), path)
    registry.server.cut = lambda *_: None
    registry.server.sent = 0
    fetched(registry.uri(), path)
    assert path.read_bytes() == models["sum"].read_bytes()
    assert registry.server.sent < len(large)
