"""The fetch command: from every kind of place, and what it tells the operator when it cannot."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator

import boto3
import httpx
import pytest

from millrace_core.base import destinations
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace_services.inference.fetch import fetch
from millrace_services.inference.settings import FetchSettings
from tests.s3 import s3_server

OPEN = destinations.OPEN.as_json()


def command(environment: dict[str, str], **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "millrace_services.inference", "fetch"],
        env={**os.environ, destinations.VARIABLE: OPEN, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "volume" / "model.onnx"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server that checks credentials; its address."""
    with s3_server() as url:
        yield url
        httpx.post(f"{url}/moto-api/reset-auth", content="inf")


def test_the_command_brings_the_file_and_reports_digest_and_size(models, path, tmp_path):
    log = tmp_path / "termination-log"
    done = command(
        {
            "MILLRACE_MODEL_URI": f"file://{models['sum']}",
            "MILLRACE_MODEL_PATH": str(path),
            "MILLRACE_TERMINATION_LOG": str(log),
        }
    )
    assert done.returncode == 0, done.stderr
    content = models["sum"].read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert json.loads(log.read_text()) == {"digest": digest, "bytes": len(content)}
    assert path.read_bytes() == content
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.onnx", "model.onnx.digest"]


def test_a_full_disk_is_said_before_the_first_byte_and_leaves_no_model(path, tmp_path):
    log = tmp_path / "termination-log"
    large = tmp_path / "large.onnx"
    large.write_bytes(bytes(100_000))
    done = command(
        {
            "MILLRACE_MODEL_URI": str(large),
            "MILLRACE_MODEL_PATH": str(path),
            "MILLRACE_TERMINATION_LOG": str(log),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert done.returncode == 1
    error = json.loads(log.read_text())["error"]
    assert error["reason"] == "NoSpace"
    assert error["message"].startswith(f"no free disk at {path.parent}")
    assert "Traceback" not in done.stderr
    assert not path.exists()


def test_wrong_settings_are_one_line(path):
    done = command(
        {"MILLRACE_MODEL_URI": "/m.onnx", "MILLRACE_MODEL_PATH": str(path), "MILLRACE_MODEL_DIGEST": "md5:1"}
    )
    assert done.returncode == 2
    assert done.stderr.startswith("millrace: MILLRACE_MODEL_DIGEST")
    assert "Traceback" not in done.stderr


def settings(uri: object, path, digest: str | None = None) -> FetchSettings:
    return FetchSettings(outgoing=OPEN, uri=str(uri), path=path, digest=digest)


def test_a_wrong_digest_says_both_and_leaves_nothing(models, path):
    expected = "sha256:" + "0" * 64
    with pytest.raises(RejectError) as caught:
        fetch(settings(models["sum"], path, expected))
    actual = hashlib.sha256(models["sum"].read_bytes()).hexdigest()
    assert f"has the digest sha256:{actual}, {expected} is expected" in str(caught.value)
    assert (caught.value.field, caught.value.reason) == ("spec.model.digest", "DigestMismatch")
    assert list(path.parent.iterdir()) == []


def test_a_file_other_than_the_revisions_first_pod_measured_is_refused_with_both_digests(models, path):
    measured = fetch(settings(models["sum"], path)).digest
    other = path.with_name("other.onnx")
    with pytest.raises(RejectError) as caught:
        fetch(FetchSettings(outgoing=OPEN, uri=str(models["lookup"]), path=other, pinned=measured))
    actual = hashlib.sha256(models["lookup"].read_bytes()).hexdigest()
    assert f"has the digest sha256:{actual}, while this revision serves {measured}" in str(caught.value)
    assert (caught.value.field, caught.value.reason) == ("spec.model.uri", "ModelReplaced")
    assert not other.exists()
    assert fetch(FetchSettings(outgoing=OPEN, uri=str(models["sum"]), path=other, pinned=measured)).digest == measured


def test_a_pod_that_fetches_again_keeps_the_file_it_has_measured(models, path, tmp_path):
    source = tmp_path / "source.onnx"
    source.write_bytes(models["sum"].read_bytes())
    first = fetch(settings(source, path))
    source.write_bytes(models["lookup"].read_bytes())
    assert fetch(settings(source, path)) == first
    path.write_bytes(b"damaged")
    assert fetch(settings(source, path)) != first, "what is damaged is fetched"


def test_a_corrupt_model_is_named_and_leaves_nothing(models, path, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(models["sum"].read_bytes()[:50])
    with pytest.raises(RejectError, match=r"broken\.onnx \(50 bytes\) is not an ONNX model") as caught:
        fetch(settings(broken, path))
    assert caught.value.reason == "BadModel"
    assert list(path.parent.iterdir()) == []


def test_a_file_that_is_there_with_the_right_digest_is_not_fetched_again(models, path):
    digest = fetch(settings(models["sum"], path)).digest
    assert fetch(settings("s3://nowhere/at/all", path, digest)).digest == digest


def test_a_missing_file_is_named(path):
    with pytest.raises(RejectError, match=r"cannot read /nowhere/m\.onnx: No such file"):
        fetch(settings("/nowhere/m.onnx", path))


def use(monkeypatch, endpoint: str, key: str = "", secret: str = "") -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    for name, value in (("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)):
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name, raising=False)


def test_an_object_comes_from_s3_and_what_is_wrong_is_told_apart(models, path, s3, monkeypatch, caplog):
    admin = {"endpoint_url": s3, "region_name": "us-east-1"}
    admin |= {"aws_access_key_id": "x", "aws_secret_access_key": "y"}
    content = models["sum"].read_bytes()
    key, secret = _allowed(s3, admin)
    allowed = boto3.client("s3", endpoint_url=s3, aws_access_key_id=key, aws_secret_access_key=secret)
    allowed.create_bucket(Bucket="models")
    allowed.put_object(Bucket="models", Key="a/m.onnx", Body=content)

    use(monkeypatch, s3, key, secret)
    assert fetch(settings("s3://models/a/m.onnx", path)).bytes == len(content)
    assert path.read_bytes() == content
    path = path.with_name("another.onnx")  # what was fetched stays
    assert _error("s3://models/b.onnx", path) == (
        NotFoundError,
        "ModelNotFound",
        "there is no bucket or path s3://models/b.onnx",
    )
    assert _error("s3://nope/m.onnx", path) == (
        NotFoundError,
        "ModelNotFound",
        "there is no bucket nope, of s3://nope/m.onnx",
    )
    use(monkeypatch, s3, key, "wrong-secret")
    kind, reason, said = _error("s3://models/a/m.onnx", path)
    assert (kind, reason) == (RejectError, "AccessDenied")
    assert "AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID" in said
    use(monkeypatch, s3, "AKIAUNKNOWN", secret)
    assert _error("s3://models/a/m.onnx", path)[:2] == (RejectError, "AccessDenied")
    assert secret not in caplog.text


def test_an_endpoint_that_is_not_there_may_be_tried_again(path, monkeypatch):
    monkeypatch.setattr("millrace_services.inference.download.ATTEMPTS", 1)
    use(monkeypatch, "http://127.0.0.1:1", "a", "b")
    assert _error("s3://models/a/m.onnx", path)[:2] == (RetryError, "Unreachable")
    assert _error("http://no-such-host.invalid/m.onnx", path)[:2] == (RetryError, "Unreachable")


def _error(uri: str, path) -> tuple[type[MillraceError], str, str]:
    with pytest.raises(MillraceError) as caught:
        fetch(settings(uri, path))
    assert uri in caught.value.message
    return type(caught.value), caught.value.reason, caught.value.message.removeprefix(f"{uri}: ")


def _allowed(s3: str, admin: dict[str, str]) -> tuple[str, str]:
    """The keys of a user who may do everything, made before the server begins to check."""
    iam = boto3.client("iam", **admin)
    iam.create_user(UserName="trainer")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="trainer", PolicyName="all", PolicyDocument=json.dumps(policy))
    made = iam.create_access_key(UserName="trainer")["AccessKey"]
    httpx.post(f"{s3}/moto-api/reset-auth", content="0").raise_for_status()
    return made["AccessKeyId"], made["SecretAccessKey"]
