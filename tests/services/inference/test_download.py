"""A download arrives whole or not at all, goes on where it broke off, and notices every change."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from millrace_core.base.errors import RejectError, RetryError
from millrace_data.objects import uri
from millrace_data.objects.reader import reader_of
from millrace_services.inference.download import Download

PART = 1000
MOST = 1 << 20
CONTENT = bytes(range(256)) * 40  # 10,240 bytes: eleven parts, the last one short
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Server:
    """Serves ``content``; ``cut`` says how many bytes of an answer are sent before the connection breaks."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag = '"1"'
        self.ranges = True
        self.length = True
        self.most = PART
        self.content_range = "bytes {first}-{last}/{size}"
        self.encoding = ""
        self.status = 200
        self.cut: Callable[[int, int], int | None] = lambda _number, _start: None
        self.surplus = self.sent = 0  # megabytes behind the end
        self.head: Callable[[int], bytes | None] = lambda _number: None  # all that is sent, where it is something
        self.wait: Callable[[int], object] = lambda _number: None
        self.starts: list[int] = []
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            ranged = state.ranges and "range" in self.headers
            asked = self.headers.get("range", "bytes=0-0").removeprefix("bytes=")
            start, stop = map(int, asked.split("-"))
            number = len(state.starts)
            state.starts.append(start)
            state.wait(number)
            if (head := state.head(number)) is not None:
                self.wfile.write(head)
                self.close_connection = True
                return
            size = len(state.content)
            body = state.content[start : stop + 1][: state.most] if ranged else state.content
            status = 200 if not ranged else 206 if body else 416
            self.send_response(state.status if state.status != 200 else status)
            if ranged and state.content_range:
                shown = state.content_range.format(first=start, last=start + len(body) - 1, size=size)
                self.send_header("content-range", shown)
            if state.encoding:
                body = gzip.compress(body)
                self.send_header("content-encoding", state.encoding)
            if state.length:
                self.send_header("content-length", str(len(body)))
            if state.etag:
                self.send_header("etag", state.etag)
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body[: state.cut(number, start)])
            with suppress(OSError):
                for _ in range(state.surplus):
                    self.wfile.write(bytes(1_000_000))
                    state.sent += 1
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_address[1]}/m.onnx"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,))
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "models" / "model.onnx"


def download(server, path, most=MOST) -> Download:
    source = uri.parse(server.url)
    return Download(source, reader_of(source, {}), path, most=most, part=PART, pause=0.001)


def test_a_file_comes_in_parts_and_arrives_whole(server, path):
    fetched = download(server, path).fetch()
    assert (fetched.digest, fetched.bytes) == (DIGEST, len(CONTENT))
    assert not path.exists()
    download(server, path).arrive()
    assert path.read_bytes() == CONTENT
    assert sorted(server.starts) == list(range(0, len(CONTENT), PART))
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART])
def test_sizes_around_the_part_come_whole(server, path, size):
    server.content = CONTENT[:size]
    assert download(server, path).fetch().bytes == size
    assert path.with_name("model.onnx.part").read_bytes() == CONTENT[:size]


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
def test_a_server_without_ranges_is_read_in_one_go(server, path, length):
    server.ranges, server.length = False, length
    assert download(server, path).fetch().digest == DIGEST
    assert server.starts == [0]


@pytest.mark.parametrize(
    "content_range",
    [
        "",
        "bytes {first}-{last}/*",
        "bytes */{size}",
        f"bytes 0-1/{10**30}",
        "bytes 0-1/\xb2",
        "bytes 0-1/" + "9" * 5000,
        "?",
    ],
    ids=["absent", "no size", "no place", "size of no file", "a digit of no number", "no int of Python", "nothing"],
)
def test_an_answer_that_does_not_say_which_part_it_is_is_no_part(server, path, content_range):
    server.content_range = content_range
    fetched = download(server, path).fetch()
    assert (fetched.digest, fetched.bytes) == (DIGEST, len(CONTENT))


def test_a_body_that_is_compressed_otherwise_is_refused(server, path):
    server.encoding = "br"
    with pytest.raises(RejectError, match="compressed as br"):
        download(server, path).fetch()


def test_a_part_that_was_only_claimed_takes_no_room(server, path):
    server.content_range = "bytes {first}-{last}/900000"
    with pytest.raises(RetryError):
        download(server, path).fetch()
    partial = path.with_name("model.onnx.part").stat()
    assert (partial.st_size, partial.st_blocks * 512 <= 3 * len(CONTENT)) == (900_000, True), partial.st_blocks


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_file_that_is_larger_than_it_may_be_is_refused_and_leaves_nothing(server, path, ranges, length):
    server.ranges, server.length = ranges, length
    with pytest.raises(RejectError, match="10239 are the most") as caught:
        download(server, path, most=len(CONTENT) - 1).fetch()
    assert (caught.value.reason, caught.value.field) == ("TooLarge", "spec.model.uri")
    assert list(path.parent.iterdir()) == []
    assert download(server, path, most=len(CONTENT)).fetch().digest == DIGEST


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_size_that_no_disk_has_is_refused_before_anything_is_written(server, path, ranges):
    server.content_range = "bytes {first}-{last}/" + str(2**59)
    with pytest.raises(RejectError, match="576460752303423488 bytes"):
        download(server, path).fetch()
    with pytest.raises(RetryError, match="no free disk"):
        download(server, path, most=2**60).fetch()
    assert sum(file.stat().st_blocks for file in path.parent.iterdir()) == 0


def test_a_small_body_that_becomes_large_is_given_up_at_the_limit(server, path):
    server.encoding, server.content = "gzip", bytes(200_000_000)
    tracemalloc.start()
    with pytest.raises(RejectError, match="has more than"):
        download(server, path).fetch()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20_000_000 + len(server.content) // 100
    assert list(path.parent.iterdir()) == []


def test_a_part_without_an_end_is_read_to_its_own(server, path):
    server.content = CONTENT[:PART]
    server.length, server.surplus = False, 200
    assert download(server, path).fetch().bytes == PART
    assert server.sent < 200


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_a_body_that_is_compressed_unasked_is_read_whole(server, path, ranges):
    server.encoding, server.ranges = "gzip", ranges
    assert download(server, path).fetch().digest == DIGEST


def test_parts_of_another_place_are_not_taken(server, path):
    server.content_range = "bytes 0-999/{size}"
    with pytest.raises(RetryError, match=r"sends bytes from 0 on where those from \d+ on were asked for"):
        download(server, path).fetch()


def test_without_a_tag_no_two_versions_are_mixed(server, path):
    versions = [bytes([number]) * len(CONTENT) for number in range(100)]

    def change(number: int, _: int) -> None:
        server.content = versions[number + 1]

    server.etag, server.content, server.cut = "", versions[0], change
    download(server, path).fetch()
    assert path.with_name("model.onnx.part").read_bytes() in versions


def test_a_body_of_unknown_length_that_is_empty_is_no_model(server, path):
    server.content, server.ranges, server.length = b"", False, False
    with pytest.raises(RejectError, match="is empty"):
        download(server, path).fetch()


def test_a_connection_that_breaks_is_taken_up_where_it_broke(server, path):
    server.cut = lambda number, _: 100 if number == 4 else None
    assert download(server, path).fetch().digest == DIGEST
    assert len(server.starts) < 2 * len(range(0, len(CONTENT), PART))


def test_an_interrupted_run_is_resumed_by_the_next_without_reading_parts_twice(server, path):
    server.cut = lambda _, start: 10 if start == 9000 else None
    with pytest.raises(RetryError, match="the download broke off"):
        download(server, path).fetch()
    server.cut = lambda *_: None
    server.starts.clear()
    assert download(server, path).fetch().digest == DIGEST
    assert 9000 in server.starts
    assert len(server.starts) <= 3


@pytest.mark.parametrize("etag", ['"2"', ""], ids=["changed", "gone"])
def test_another_file_under_the_same_name_is_read_anew(server, path, etag):
    server.cut = lambda _, start: 10 if start == 9000 else None
    with pytest.raises(RetryError):
        download(server, path).fetch()
    server.cut = lambda *_: None
    server.content, server.etag = CONTENT[::-1], etag
    fetched = download(server, path).fetch()
    assert fetched.digest == f"sha256:{hashlib.sha256(CONTENT[::-1]).hexdigest()}"


def test_a_file_that_changes_while_it_is_read_is_read_anew_and_never_mixed(server, path):
    def change(number: int, _: int) -> None:
        if number == 5:
            server.content, server.etag = CONTENT[::-1], '"2"'

    server.cut = change
    fetched = download(server, path).fetch()
    assert fetched.digest == f"sha256:{hashlib.sha256(CONTENT[::-1]).hexdigest()}"


def test_a_file_that_becomes_shorter_while_it_is_read_is_read_anew(server, path):
    def shorten(number: int, _: int) -> None:
        if number == 0:
            server.content, server.etag = CONTENT[:500], '"2"'

    server.cut = shorten
    assert download(server, path).fetch().bytes == 500


def test_a_server_that_sends_less_than_the_range_leaves_no_hole(server, path):
    server.most = 500
    with pytest.raises(RetryError, match="broke off after 500 of 1000 bytes"):
        download(server, path).fetch()


@pytest.mark.parametrize("cut", [0, 1, PART // 2, PART - 1], ids=["no byte", "one", "half", "all but one"])
@pytest.mark.parametrize("start", [0, PART, 10 * PART], ids=["first part", "second", "last, which is short"])
def test_a_cut_at_any_byte_of_any_part_is_mended(server, path, start, cut):
    broken = []

    def once(_: int, at: int) -> int | None:
        if at != start or broken:
            return None
        broken.append(at)
        return min(cut, (len(CONTENT) - start) - 1)

    server.cut = once
    assert download(server, path).fetch().digest == DIGEST
    assert broken


@pytest.mark.parametrize("head", [b"", b"HT", b"HTTP/1.1 206 Partial", b"HTTP/1.1 206 Partial\r\ncontent-le"])
@pytest.mark.parametrize("number", [0, 3])
def test_a_cut_within_the_head_of_an_answer_is_mended(server, path, head, number):
    server.head = lambda now: head if now == number else None
    assert download(server, path).fetch().digest == DIGEST


def test_a_killed_process_leaves_what_the_next_goes_on_with(server, path):
    held = threading.Event()
    server.wait = lambda number: number >= 10 and held.wait(60)
    script = (
        "import sys; from pathlib import Path; from millrace_data.objects import uri\n"
        "from millrace_data.objects.reader import reader_of\n"
        "from millrace_services.inference.download import Download\n"
        "source = uri.parse(sys.argv[1])\n"
        f"Download(source, reader_of(source, {{}}), Path(sys.argv[2]), most={MOST}, part={PART}).fetch()\n"
    )
    note = path.with_name("model.onnx.part.json")
    with subprocess.Popen([sys.executable, "-c", script, server.url, str(path)]) as process:
        for _ in range(600):
            if note.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.kill()
    held.set()
    done = json.loads(note.read_bytes())["done"]
    assert len(done) >= 8
    server.starts.clear()
    assert download(server, path).fetch().digest == DIGEST
    assert not set(server.starts) & set(done) - {0}, "the first part is asked for to know what there is"


def test_a_download_that_always_breaks_off_says_so(server, path):
    server.ranges = False
    server.cut = lambda *_: 5000
    with pytest.raises(RetryError, match=r"m\.onnx: the download broke off") as caught:
        download(server, path).fetch()
    assert caught.value.field == "spec.model.uri"
    assert not path.exists()


def test_a_torn_note_is_no_harm(server, path):
    server.cut = lambda _, start: 10 if start == 9000 else None
    with pytest.raises(RetryError):
        download(server, path).fetch()
    path.with_name("model.onnx.part.json").write_bytes(b'{"identity": ')
    server.cut = lambda *_: None
    assert download(server, path).fetch().digest == DIGEST


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (401, RejectError, "AccessDenied"),
        (403, RejectError, "AccessDenied"),
        (404, RejectError, "ModelNotFound"),
        (416, RejectError, "BadModel"),
        (400, RejectError, "BadUri"),
        (405, RejectError, "BadUri"),
        (408, RetryError, "Unreachable"),
        (429, RetryError, "Unreachable"),
        (500, RetryError, "Unreachable"),
        (503, RetryError, "Unreachable"),
    ],
)
def test_what_the_server_refuses_is_named(server, path, status, error, reason):
    server.status = status
    with pytest.raises(error) as caught:
        download(server, path).fetch()
    assert caught.value.reason == reason
    assert server.url in str(caught.value)


def test_an_empty_file_is_no_model(tmp_path, path):
    (tmp_path / "empty").touch()
    source = uri.parse(str(tmp_path / "empty"))
    with pytest.raises(RejectError, match="is empty"):
        Download(source, reader_of(source, {}), path, most=MOST).fetch()


def test_a_file_that_is_overwritten_while_it_is_read_is_noticed(tmp_path):
    written = tmp_path / "m.onnx"
    written.write_bytes(b"old" * 100)
    os.utime(written, ns=(1, 1))
    source = uri.parse(str(written))

    def read() -> None:
        with reader_of(source, {}).open(0, 300) as piece:
            written.write_bytes(b"new" * 100)
            list(piece.chunks)

    with pytest.raises(RetryError, match="changed while it was read"):
        read()


def test_a_pipe_is_no_model_and_nobody_waits_for_its_writer(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    source = uri.parse(str(tmp_path / "pipe"))
    with pytest.raises(RejectError, match="is no regular file"):
        Download(source, reader_of(source, {}), path, most=MOST).fetch()


@pytest.mark.parametrize("host", ["xn--", "a..b", "a" * 300], ids=["no punycode", "empty label", "long label"])
def test_a_host_that_no_name_can_be_is_named(path, host):
    source = uri.parse(f"http://{host}/m.onnx")
    with pytest.raises(RejectError) as caught:
        Download(source, reader_of(source, {}), path, most=MOST).fetch()
    assert caught.value.reason == "BadUri"


def test_a_folder_is_no_model(tmp_path, path):
    source = uri.parse(str(tmp_path))
    with pytest.raises(RejectError, match=r"cannot read .*Is a directory"):
        Download(source, reader_of(source, {}), path, most=MOST).fetch()
