"""A server's life: port in use, wrong settings, drain without a failed request, faults."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import httpx

TOY = str(Path(__file__).with_name("toy_service.py"))
CONNECTS_AT_THE_LINE = """
import logging, os, socket, sys
sys.path.insert(0, sys.argv[1])
from toy_service import build
from millrace_services.web import server
from millrace_services.web.settings import ServerSettings

class Connects(logging.Handler):
    def emit(self, record):
        if record.getMessage() == "listening":
            connection = socket.socket()
            os._exit(connection.connect_ex((record.host, record.port)))

logging.getLogger("millrace_services.web.server").addHandler(Connects())
server.main(ServerSettings, build)
"""


def one_line_about_it(service) -> str:
    lines = [line for line in service.log().splitlines() if line.startswith("millrace: ")]
    assert len(lines) == 1
    assert "Traceback" not in service.log()
    return lines[0]


def test_a_port_in_use_is_one_line_and_exit_code_2(start_service):
    first = start_service(TOY)
    port = first.url.rsplit(":", 1)[1]
    second = start_service(TOY, listening=False, MILLRACE_PORT=port)
    assert second.exit_code() == 2
    line = one_line_about_it(second)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line
    assert "MILLRACE_PORT" in line


def test_a_server_that_says_it_listens_takes_connections(start_service):
    """From that very moment, which its own log shows it: others wait for the line, and then connect."""
    service = start_service("-c", CONNECTS_AT_THE_LINE, str(Path(TOY).parent), listening=False)
    assert service.exit_code() == 0, service.log()


def test_a_wrong_setting_is_named_in_one_line(start_service):
    toy = start_service(TOY, listening=False, MILLRACE_PORT="eighty")
    assert toy.exit_code() == 2
    assert "MILLRACE_PORT" in one_line_about_it(toy)


def test_a_start_that_is_refused_is_one_line(start_service):
    toy = start_service(TOY, "--broken", listening=False)
    assert toy.exit_code() == 2
    assert "the database is of version 9" in one_line_about_it(toy)


def test_a_fault_found_while_serving_stops_the_server_with_its_reason(start_service):
    toy = start_service(TOY)
    httpx.post(f"{toy.url}/fail")
    assert toy.exit_code() == 1
    assert "the model went away" in one_line_about_it(toy)


def test_sigterm_drains_without_one_failed_request(start_service):
    toy = start_service(TOY, MILLRACE_DRAIN_SECONDS="0.6")
    answers: list[tuple[int, str | None]] = []
    failures: list[Exception] = []

    def client() -> None:
        # Like a pool behind a mesh: goes on until it is asked to close, then never comes back.
        with httpx.Client(base_url=toy.url) as http:
            try:
                while True:
                    response = http.post("/echo", content="hi")
                    answers.append((response.status_code, response.headers.get("connection")))
                    if response.headers.get("connection") == "close":
                        return
            except httpx.HTTPError as error:
                failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(answers) < 50:
        time.sleep(0.01)
    toy.terminate()
    for thread in threads:
        thread.join(10)
    assert toy.exit_code() == 0
    assert failures == []
    assert {status for status, _ in answers} == {200}
    assert sum(connection == "close" for _, connection in answers) == 4


def test_while_draining_it_is_unready_and_still_accepts_and_finishes_what_is_in_flight(start_service):
    toy = start_service(TOY, MILLRACE_DRAIN_SECONDS="100")
    toy.terminate()
    deadline = time.monotonic() + 60
    while (ready := httpx.get(f"{toy.url}/health/ready")).status_code == 200:
        assert time.monotonic() < deadline
    assert ready.json()["checks"]["draining"]
    assert httpx.post(f"{toy.url}/echo", content="slow").text == "slow"
    assert toy.process.poll() is None


def test_ctrl_c_stops_at_once(start_service):
    toy = start_service(TOY, MILLRACE_DRAIN_SECONDS="60")
    toy.terminate(signal.SIGINT)
    assert toy.exit_code() == 0
