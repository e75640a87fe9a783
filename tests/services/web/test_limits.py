"""What clients see where there are too many connections, or too much in a body."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.running_service import RunningService, StartService
from tests.services.web.raw_client import answer, connected, request

TOY = str(Path(__file__).with_name("toy_service.py"))
LIMIT = 500_000
CONNECTIONS = 8
JAVA = """
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] given) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int each = 1; each < given.length; each++) {
            var body = HttpRequest.BodyPublishers.ofString("x".repeat(Integer.parseInt(given[each])));
            var request = HttpRequest.newBuilder(URI.create(given[0])).POST(body).build();
            var answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.version() + " " + answer.statusCode() + " " + answer.body().length());
        }
    }
}
"""


@pytest.fixture(scope="module")
def toy(start_service: StartService) -> RunningService:
    return start_service(TOY, MILLRACE_MAX_BODY_BYTES=str(LIMIT), MILLRACE_MAX_CONNECTIONS=str(CONNECTIONS))


def in_flight(toy: RunningService, count: int) -> None:
    until = time.monotonic() + 60
    while f"millrace_http_in_flight {count}.0" not in httpx.get(f"{toy.url}/metrics").text:
        assert time.monotonic() < until


def test_probes_are_answered_while_all_connections_are_taken_and_others_are_told_to_come_again(
    start_service: StartService,
) -> None:
    toy = start_service(TOY, MILLRACE_MAX_CONNECTIONS=str(CONNECTIONS), MILLRACE_DRAIN_SECONDS="60")
    with ExitStack() as stack:
        working = [stack.enter_context(connected(toy)) for _ in range(CONNECTIONS - 1)]
        for each in working:
            each.sendall(request(b"work", path="/drained"))
        in_flight(toy, CONNECTIONS)  # the scrape itself
        last = stack.enter_context(connected(toy))
        last.sendall(request(b"work", path="/drained"))
        deadline = time.monotonic() + 60
        while (refused := httpx.post(f"{toy.url}/echo", content="a")).status_code != 429:
            assert time.monotonic() < deadline
        assert (refused.json()["reason"], refused.headers["retry-after"]) == ("Overloaded", "1")
        silent = [stack.enter_context(connected(toy)) for _ in range(100)]
        assert silent
        for path in ("/health/live", "/health/ready"):
            probe = httpx.get(toy.url + path)
            assert (probe.status_code, probe.headers["connection"]) == (200, "close")
        toy.terminate()
        assert [answer(each)[1] for each in (*working, last)] == [b"work"] * CONNECTIONS


def test_connections_that_rest_give_way_to_new_ones(toy: RunningService) -> None:
    with ExitStack() as stack:
        for number in range(3 * CONNECTIONS):
            connection = stack.enter_context(connected(toy))
            connection.sendall(request(b"%d" % number))
            assert answer(connection)[1] == b"%d" % number


def test_a_client_that_sends_all_of_too_large_a_body_reads_why_and_goes_on(toy: RunningService) -> None:
    for path in ("/echo", "/gated", "/double"):
        with connected(toy) as connection:
            for _ in range(2):
                connection.sendall(request(b"x" * 3 * LIMIT, path=path))
                head, body, _ = answer(connection)
                assert head.startswith(b"HTTP/1.1 413 ")
                assert b"MILLRACE_MAX_BODY_BYTES" in body
            connection.sendall(request(b"small"))
            assert answer(connection)[1] == b"small"


@pytest.mark.parametrize("path", ["/echo", "/gated", "/double"])
def test_a_client_that_asks_before_too_large_a_body_is_not_told_to_send_it(toy: RunningService, path: str) -> None:
    with connected(toy) as connection:
        connection.sendall(request(b"x" * 3 * LIMIT, "expect: 100-continue", path=path)[:200].partition(b"xxxx")[0])
        head, _, rest = answer(connection)
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nconnection: close" in head
        assert (rest, connection.recv(1)) == (b"", b"")


@pytest.mark.parametrize("options", [["--http2"], ["--http1.1"]])
def test_curl_has_its_answers(toy: RunningService, options: list[str], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    for size, status in ((10, "200"), (2_000_000, "413")):
        (tmp_path / "body").write_bytes(b"x" * size)
        command = ["curl", *options, "-sS", "--data-binary", f"@{tmp_path}/body", "-o", str(tmp_path / "answer")]
        done = subprocess.run(
            [*command, "-w", "%{http_code}", f"{toy.url}/echo"], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.stdout, done.stderr) == (status, "")
    assert b"MILLRACE_MAX_BODY_BYTES" in (tmp_path / "answer").read_bytes()


@pytest.mark.slow
def test_javas_client_which_asks_for_h2c_has_its_answers(toy: RunningService, tmp_path: Path) -> None:
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    (tmp_path / "Client.java").write_text(JAVA)
    sizes = ["10", "100000", "2000000", "10"]
    command = ["java", str(tmp_path / "Client.java"), f"{toy.url}/echo", *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    if done.returncode and "java.net.http" in done.stderr:
        pytest.skip("this Java has no HttpClient")
    assert [line.split()[:2] for line in lines] == [["HTTP_1_1", code] for code in ("200", "200", "413", "200")], (
        done.stderr
    )
    assert lines[1].split()[2] == "100000"


def test_sockets_that_only_announce_bodies_take_no_room_behind_a_gate(toy: RunningService) -> None:
    at = urlsplit(toy.url)
    with socket.create_connection((at.hostname, at.port), timeout=20) as silent:
        silent.sendall(request(b"x" * LIMIT, path="/gated").partition(b"xxxx")[0])
        in_flight(toy, 2)
        assert "toy_gate_bytes 0.0" in httpx.get(f"{toy.url}/metrics").text
        silent.sendall(b"x" * 1000)
        until = time.monotonic() + 60
        while "toy_gate_bytes 1000.0" not in httpx.get(f"{toy.url}/metrics").text:
            assert time.monotonic() < until
