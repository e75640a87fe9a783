"""Objects of S3 by signed requests: as AWS's own library signs them, one request a range, refusals by their reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_data.objects import s3, uri
from millrace_data.objects.filesystem import ObjectStoreSettings
from millrace_data.objects.reader import reader_of
from tests.doors import ALLOWED, REFUSED, door
from tests.range_server import RangeServer, range_server
from tests.s3 import s3_bucket, s3_server

CONTENT = bytes(range(256)) * 10
KEY = "a b/ü+~*'(x)=&.onnx"
NOW = 1_800_000_000.0


def environ(server: str, **more: str) -> dict[str, str]:
    stated = {"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_REGION": "eu-central-1"}
    return {"AWS_ENDPOINT_URL": f"http://{server}", "AWS_EC2_METADATA_DISABLED": "true", **stated, **more}


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with range_server(ALLOWED) as made:
        made.files = {f"/bucket/{KEY}": CONTENT}
        yield made


def read(reader, start: int = 0, stop: int = len(CONTENT)) -> bytes:
    with reader.open(start, stop) as piece:
        return b"".join(piece.chunks)


def by_botocore(url: str, moment: str, token: str | None) -> str:
    """The signature of AWS's own library, at the same moment."""

    class Auth(S3SigV4Auth):
        def _modify_request_before_signing(self, request: AWSRequest) -> None:
            request.headers["X-Amz-Date"] = moment
            request.headers["X-Amz-Content-SHA256"] = s3._NO_BODY
            if token:
                request.headers["X-Amz-Security-Token"] = token

        def payload(self, request: AWSRequest) -> str:
            del request
            return s3._NO_BODY

        def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
            return super().headers_to_sign(request)

    auth = Auth(Credentials("AKIA", "s3cret", token), "s3", "eu-central-1")
    request = AWSRequest("GET", url)
    request.context["timestamp"] = moment
    auth._modify_request_before_signing(request)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return str(auth.signature(text, request))


@pytest.mark.parametrize("token", [None, "t0ken"])
@pytest.mark.parametrize("path", ["bucket/m.onnx", "bucket/a%20b/%C3%BC%2B~%2A%27%28x%29%3D%26.onnx"])
def test_a_request_is_signed_as_awss_own_library_signs_it(path, token):
    url = f"https://s3.eu-central-1.amazonaws.com/{path}"
    more = {"AWS_SESSION_TOKEN": token} if token else {}
    said = s3.signed(httpx.URL(url), ObjectStoreSettings.load(environ("x", **more)), NOW)
    moment = datetime.fromtimestamp(NOW, UTC).strftime("%Y%m%dT%H%M%SZ")
    assert said["authorization"].endswith(f"Signature={by_botocore(url, moment, token)}")


def test_a_range_is_one_request(server):
    reader = reader_of(uri.parse(f"s3://bucket/{KEY}"), environ(server.host), door())
    assert read(reader) == CONTENT
    assert read(reader, 10, 20) == CONTENT[10:20]
    assert [headers["range"] for *_, headers in server.requests] == [f"bytes=0-{len(CONTENT) - 1}", "bytes=10-19"]


def test_a_real_server_takes_every_letter_of_a_key_and_says_what_is_missing():
    with s3_server() as url:
        s3_bucket(url, "bucket").put_object(Bucket="bucket", Key=KEY, Body=CONTENT)
        stated: Mapping[str, str] = environ(url.removeprefix("http://"))
        assert read(reader_of(uri.parse(f"s3://bucket/{KEY}"), stated)) == CONTENT
        with pytest.raises(NotFoundError, match="there is no bucket or path s3://bucket/x"):
            read(reader_of(uri.parse("s3://bucket/x"), stated))
        with pytest.raises(NotFoundError, match="there is no bucket nowhere"):
            read(reader_of(uri.parse("s3://nowhere/x"), stated))


def test_a_store_that_the_door_refuses_is_not_asked():
    with range_server(REFUSED) as refused:
        with pytest.raises(RejectError) as caught:
            read(reader_of(uri.parse("s3://bucket/m"), environ(refused.host), door()))
        assert caught.value.reason == "NotAllowed"
        assert not refused.requests
