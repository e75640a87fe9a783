"""What a user's object names is connected to where the door allows it, and where it does not no packet is sent."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from millrace_core.base.destinations import Destination, Outgoing
from millrace_core.base.errors import MillraceError, RejectError, RetryError
from millrace_data.objects.door import Door
from millrace_data.objects.filesystem import ObjectStoreSettings, open_filesystem, s3_filesystem
from millrace_data.objects.http import HttpReader
from millrace_data.objects.reader import reader_of
from millrace_data.objects.uri import parse
from tests.doors import ALLOWED, REFUSED, door, serving, to

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def fetched(text: str, through: Door, **environ: str) -> bytes:
    with reader_of(parse(text), environ, through).open(0, 100) as found:
        return b"".join(found.chunks)


def test_a_file_of_an_allowed_server_is_read_by_its_address_and_by_its_name() -> None:
    named = door({"models.example.com": [ALLOWED]})
    with serving(ALLOWED) as server:
        assert fetched(f"http://{server.address}/m.onnx", named) == b"x" * 10
        assert fetched(f"http://MODELS.example.com.:{server.server_port}/m.onnx", named) == b"x" * 10
        assert [path for _, path, _ in server.requests] == ["/m.onnx", "/m.onnx"]
        assert server.requests[1][2]["Host"].lower().startswith("models.example.com")


@pytest.mark.parametrize("address", [[REFUSED], [ALLOWED, REFUSED], [REFUSED, ALLOWED]])
def test_a_server_that_is_not_allowed_gets_no_packet(address: list[str]) -> None:
    with serving(REFUSED) as server:
        for host in (REFUSED, "127.3", "[::ffff:127.0.0.3]", "models.example.com", "localhost", "a.localhost"):
            through = door({"models.example.com": address, "localhost": address, "a.localhost": address})
            with pytest.raises(RejectError) as caught:
                fetched(f"http://{host}:{server.server_port}/m.onnx", through)
            assert (caught.value.reason, caught.value.field) == ("NotAllowed", "spec.model.uri")
        assert server.accepted == 0


def test_what_is_connected_to_is_what_was_checked_though_the_name_means_something_else_a_moment_later() -> None:
    answers = iter([[ALLOWED], [REFUSED]])

    def resolve(host: str, port: int) -> Sequence[str]:
        return next(answers)

    through = Door(Outgoing.model_validate({"allow": [ALLOWED]}), resolve)
    with serving(REFUSED) as refused, serving(ALLOWED) as allowed:
        url = f"http://models.example.com:{allowed.server_port}/m.onnx"
        assert fetched(url, through) == b"x" * 10
        with pytest.raises(RejectError):
            fetched(url, through)
        assert (refused.accepted, len(allowed.requests)) == (0, 1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_goes_no_further_than_a_first_request(status: int) -> None:
    with serving(REFUSED) as refused, serving(ALLOWED, to(refused, status=status)) as server:
        with pytest.raises(RejectError, match=r"no connection is made to 127\.0\.0\.3"):
            fetched(f"http://{server.address}/m.onnx", door())
        assert refused.accepted == 0


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("file:///etc/passwd", "another scheme"),
        ("ftp://127.0.0.2/x", "another scheme"),
        ("s3://bucket/x", "another scheme"),
        ("http://user:pw@127.0.0.2/x", "a user or password"),
        ("//127.0.0.3/x", r"no connection is made to 127\.0\.0\.3"),
        ("http://127.0.0.2\\@127.0.0.3/x", ""),
        ("http://127.0.0.2:1/../..//127.0.0.3", ""),
        ("http://[::ffff:127.0.0.3]/x", "this machine"),
        ("http://2130706435/x", "not written in the one way"),
        ("http://\uff11\uff12\uff17.0.0.3/x", ""),
        ("http://x" + "y" * 300 + "/", ""),
    ],
)
def test_a_redirect_to_something_else_is_refused(location: str, sentence: str) -> None:
    with (
        serving(REFUSED) as refused,
        serving(ALLOWED, lambda _: (302, {"location": location.encode().decode("latin-1")}, b"")) as server,
    ):
        with pytest.raises(MillraceError, match=sentence or None):
            fetched(f"http://{server.address}/m.onnx", door())
        assert refused.accepted == 0


def test_no_redirect_leads_from_https_to_http() -> None:
    reader = HttpReader(parse("https://models.example.com/m.onnx"))
    with pytest.raises(RejectError, match="nobody encrypts"):
        reader._next(httpx.URL("https://models.example.com/m"), httpx.URL("http://models.example.com/m"))
    assert reader._next(httpx.URL("http://a.example/m"), httpx.URL("https://a.example/m")).scheme == "https"


def test_redirects_come_to_an_end() -> None:
    with (
        serving(ALLOWED, lambda path: (302, {"location": path + "x"}, b"")) as server,
        pytest.raises(RejectError, match="more than 10 redirects"),
    ):
        fetched(f"http://{server.address}/m.onnx", door())


def test_credentials_reach_the_server_that_was_named_and_none_that_it_names() -> None:
    with serving(ALLOWED) as other, serving(ALLOWED, to(other)) as server:
        fetched(f"http://{server.address}/m.onnx", door(), HTTP_USER="u", HTTP_PASSWORD="p")
        fetched(f"http://{server.address}/m.onnx", door(), HTTP_TOKEN="t")
        assert [headers.get("authorization") for *_, headers in server.requests] == ["Basic dTpw", "Bearer t"]
        assert [headers.get("authorization") for *_, headers in other.requests] == [None, None]


def test_proxies_of_the_environment_are_not_used_by_a_guarded_door(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(REFUSED) as proxy, serving(ALLOWED) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        monkeypatch.setenv("no_proxy", "")
        assert fetched(f"http://{server.address}/m.onnx", door()) == b"x" * 10
        assert proxy.accepted == 0


def test_what_a_server_says_is_in_no_message() -> None:
    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        return 418 if path == "/m" else 599, {"content-encoding": "s3cret"}, b"s3cret \x1b[31m"

    with serving(ALLOWED, answer) as server:
        for path in ("m", "n"):
            with pytest.raises(MillraceError) as caught:
                fetched(f"http://{server.address}/{path}", door())
            assert "s3cret" not in str(caught.value)
    with serving(ALLOWED, lambda _: (200, {"content-encoding": "s3cret"}, b"")) as server:
        with pytest.raises(RejectError, match="compressed") as caught_2:
            fetched(f"http://{server.address}/m", door())
        assert "s3cret" not in str(caught_2.value)


def test_a_name_without_an_address_may_have_one_later() -> None:
    with pytest.raises(RetryError, match=r"nowhere\.example\.com has no address"):
        fetched("http://nowhere.example.com/m.onnx", door())


@pytest.mark.parametrize("uri", ["https://user:pw@h/m.onnx", "http://token@h/m", "s3://key:secret@bucket/m"])
def test_credentials_in_a_uri_are_refused_and_the_secret_named(uri: str) -> None:
    with pytest.raises(RejectError, match="Secret") as caught:
        parse(uri)
    assert "pw" not in str(caught.value)
    assert "key:secret" not in str(caught.value)


def store(endpoint: str, through: Door, **environ: str) -> fs.FileSystem:
    known = {**KEYS, "AWS_ENDPOINT_URL": endpoint, **environ}
    return s3_filesystem(
        ObjectStoreSettings.load({name: value for name, value in known.items() if value}).through(through)
    )


def test_a_store_that_is_not_allowed_gets_no_packet() -> None:
    with serving(REFUSED) as server:
        for host in (REFUSED, "minio.data.svc", "files.example.com"):
            through = door({"minio.data.svc": [REFUSED], "files.example.com": [REFUSED]})
            with pytest.raises(RejectError) as caught:
                store(f"http://{host}:{server.server_port}", through)
            assert (caught.value.reason, caught.value.field) == ("NotAllowed", "AWS_ENDPOINT_URL")
        assert server.accepted == 0


def test_a_store_is_read_through_the_passage_by_its_name() -> None:
    through = door({"minio.example.com": [ALLOWED]})
    with serving(ALLOWED) as server:
        system = store(f"http://minio.example.com:{server.server_port}", through)
        assert system.open_input_file("bucket/key").read() == b"x" * 10
        assert server.requests[0][2]["Host"] == f"minio.example.com:{server.server_port}"
        assert not any("roxy" in name for *_, headers in server.requests for name in headers)


def test_a_store_that_redirects_sends_nobody_to_what_is_not_allowed() -> None:
    with serving(REFUSED) as refused, serving(ALLOWED, to(refused)) as server:
        system = store(f"http://{server.address}", door())
        with pytest.raises(OSError, match="AWS Error"):
            system.open_input_file("bucket/key").read()
        with pytest.raises(OSError, match="AWS Error"):
            system.get_file_info(fs.FileSelector("bucket/key"))
        assert refused.accepted == 0
        assert server.requests


def test_a_store_is_asked_without_a_name_where_no_name_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a client that looks around would find first.
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with serving(ALLOWED) as server:
        system = store(f"http://{server.address}", door(), AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
        system.open_input_file("bucket/key").read()
        assert all("authorization" not in {name.lower() for name in headers} for *_, headers in server.requests)


def test_the_passage_carries_a_body_of_the_length_that_was_said() -> None:
    with serving(ALLOWED) as server:
        head = f"PUT http://{server.address}/k?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTOKEN\r\n\r\n"
        answer = passage(door(), head.encode() + b"abcGET http://127.0.0.3/ HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert [(method, path) for method, path, _ in server.requests] == [("PUT", "/k?a=b")]


def passage(through: Door, request: bytes, *, password: bool = True) -> bytes:
    found = through.passage
    with socket.create_connection((found.host, found.port), 10) as connection:
        token = f"Proxy-Authorization: {_basic(found)}\r\n".encode() if password else b""
        connection.sendall(request.replace(b"TOKEN\r\n", token))
        answer = b""
        while chunk := connection.recv(1000):
            answer += chunk
        return answer


def _basic(found: Any) -> str:
    from base64 import b64encode  # noqa: PLC0415

    return "Basic " + b64encode(f"{found.user}:{found.password}".encode()).decode()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("CONNECT 127.0.0.3:80 HTTP/1.1", b"403"),
        ("CONNECT [::ffff:127.0.0.3]:80 HTTP/1.1", b"403"),
        ("CONNECT 127.3:80 HTTP/1.1", b"403"),
        ("CONNECT 127.0.0.3 HTTP/1.1", b"400"),
        ("CONNECT 127.0.0.3:x HTTP/1.1", b"400"),
        ("CONNECT 127.0.0.3:99999 HTTP/1.1", b"400"),
        ("GET http://127.0.0.3/ HTTP/1.1", b"403"),
        ("GET http://127.0.0.2:1@127.0.0.3/ HTTP/1.1", b"403"),
        ("GET http://127.0.0.2:x/ HTTP/1.1", b"400"),
        ("GET file:///etc/passwd HTTP/1.1", b"403"),
        ("GET /etc/passwd HTTP/1.1", b"403"),
        ("GET http://127.0.0.2:1/ HTTP/1.1", b"502"),
        ("GET http://127.0.0.2/", b"400"),
        ("nonsense", b"400"),
        ("", b"400"),
    ],
)
def test_the_passage_leads_to_nothing_else(request_line: str, status: bytes) -> None:
    assert passage(door(), f"{request_line}\r\nTOKEN\r\n\r\n".encode()).startswith(b"HTTP/1.1 " + status)


def test_the_passage_serves_nobody_without_its_password() -> None:
    with serving(ALLOWED) as server:
        for head in (f"GET http://{server.address}/ HTTP/1.1", f"CONNECT {server.address} HTTP/1.1"):
            request = f"{head}\r\nTOKEN\r\n\r\n".encode()
            assert passage(door(), request, password=False).startswith(b"HTTP/1.1 407")
        assert server.accepted == 0


def test_a_tunnel_carries_bytes_both_ways() -> None:
    with serving(ALLOWED) as server:
        inner = b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        answer = passage(door(), f"CONNECT {server.address} HTTP/1.1\r\nTOKEN\r\n\r\n".encode() + inner)
    assert answer.startswith(b"HTTP/1.1 200 Connected")
    assert answer.endswith(b"x" * 10)


def test_files_are_read_within_the_folders_alone_whatever_links_lead_out(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        pq.write_table(pa.table({"x": [1]}), folder / "a.parquet")
    (inside / "link.parquet").symlink_to(outside / "a.parquet")
    (inside / "folder").symlink_to(outside)
    (inside / "fine.parquet").symlink_to(inside / "a.parquet")
    through = door(folders=[str(inside)])
    for path in ("inside/a.parquet", "inside/fine.parquet"):
        assert fetched(str(tmp_path / path), through)
    for path in ("outside/a.parquet", "inside/link.parquet", "inside/folder/a.parquet", "inside-out/a"):
        with pytest.raises(RejectError, match=r"not within a folder.*allowed: .*inside"):
            fetched(str(tmp_path / path), through)
        with pytest.raises(RejectError, match=r"outgoing\.folders"):
            open_filesystem(f"file://{tmp_path}/{path}", ObjectStoreSettings.load({}).through(through))
    with pytest.raises(RejectError, match="allowed: none"):
        fetched(str(inside / "a.parquet"), door())


def test_connections_try_all_addresses_that_are_allowed() -> None:
    with serving(ALLOWED) as server:
        through = door({"db.example.com": ["127.0.0.4", ALLOWED]}, allow=[ALLOWED, "127.0.0.4"])
        with through.connect(Destination("http", "db.example.com", server.server_port), "f") as connection:
            assert connection.getpeername()[0] == ALLOWED


def test_parts_of_one_server_share_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[httpx.Client] = []

    class Counted(httpx.Client):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            made.append(self)

    monkeypatch.setattr(httpx, "Client", Counted)
    with serving(ALLOWED) as server:
        reader = HttpReader(parse(f"http://{server.address}/m.onnx"), door=door({}))
        for _ in range(3):
            with reader.open(0, 10) as found:
                assert b"".join(found.chunks) == b"x" * 10
    assert len(made) == 1
