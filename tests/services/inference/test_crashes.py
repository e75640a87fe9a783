"""Native code that ends its process, and runs and starts that never end: against a real server under load."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from onnx import TensorProto as T
from onnx import helper

from millrace_services.inference import supervisor
from millrace_services.inference.supervisor import DELAYS, WINDOW, Supervisor, delay

from .conftest import counting, tensor, write

LOWEST = -(2**31)


@pytest.fixture(scope="module")
def quotient(tmp_path_factory) -> Path:
    """a, b [n] INT32 → a / b; the processor ends what divides the lowest integer by -1."""
    return write(
        tmp_path_factory.mktemp("quotient") / "model.onnx",
        [
            helper.make_node("Equal", ["b", "zero"], ["is_zero"]),
            helper.make_node("Where", ["is_zero", "one", "b"], ["divisor"]),
            helper.make_node("Div", ["a", "divisor"], ["c"]),
        ],
        [tensor("a", T.INT32, [None]), tensor("b", T.INT32, [None])],
        [tensor("c", T.INT32, [None])],
        [helper.make_tensor("zero", T.INT32, [1], [0]), helper.make_tensor("one", T.INT32, [1], [1])],
    )


@pytest.fixture(scope="module")
def remainder(tmp_path_factory) -> Path:
    """a, b [n] INT32 → a mod b."""
    return write(
        tmp_path_factory.mktemp("remainder") / "model.onnx",
        [helper.make_node("Mod", ["a", "b"], ["c"])],
        [tensor("a", T.INT32, [None]), tensor("b", T.INT32, [None])],
        [tensor("c", T.INT32, [None])],
    )


def divided(client: httpx.Client, a: int, b: int) -> httpx.Response:
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [1], "data": [value]} for name, value in (("a", a), ("b", b))
    ]
    return client.post("/v2/models/m/infer", json={"inputs": inputs})


def counted(client: httpx.Client, *rows: float) -> httpx.Response:
    tensor_ = {"name": "x", "datatype": "FP32", "shape": [len(rows), 1], "data": list(rows)}
    return client.post("/v2/models/m/infer", json={"inputs": [tensor_]})


class Clients:
    """Clients that ask without a break; each failure counts by its kind."""

    def __init__(self, url: str, number: int) -> None:
        self.outcomes: Counter[object] = Counter()
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(number)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        self.wait(100)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait(self, answers: int) -> None:
        """Until so many more were answered well."""
        until = self.outcomes[200] + answers
        while self.outcomes[200] < until:
            assert any(thread.is_alive() for thread in self._threads)
            self._stop.wait(0.01)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    self.outcomes[divided(client, 7, -1).status_code] += 1
                except httpx.TransportError:
                    self.outcomes["reset"] += 1


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_a_request_that_ends_the_process_costs_others_one_connection_and_is_soon_refused(serve, quotient):
    server, ended = serve(quotient), 0
    with httpx.Client(base_url=server.url, timeout=60) as client:
        with Clients(server.url, 4) as clients:
            # In company nobody can tell whose input it was; what is found a second time runs alone, and is it.
            for _ in range(3):
                try:
                    again = divided(client, LOWEST, -1)
                except httpx.TransportError:
                    ended += 1
                clients.wait(100)
        assert ended in (1, 2)
        assert (again.status_code, again.json()["reason"]) == (400, "EndedTheProcess")
        assert clients.outcomes.pop(200) >= 300
        assert clients.outcomes.pop("reset", 0) <= 4 * ended, "each of four lost at most the answer it waited for"
        assert clients.outcomes == {}, "nobody got a 503"
        assert divided(client, 7, -7).json()["outputs"][0]["data"] == [-1]
        crashes = [line for line in client.get("/metrics").text.splitlines() if "crashes_total{" in line]
        counts = {"SIGFPE" in line: float(line.rpartition(" ")[2]) for line in crashes if not line.endswith(" 0.0")}
        assert counts == {True: float(ended)}
    lines = [str(line["message"]) for line in server.log_lines() if "was ended by" in str(line["message"])]
    assert len(lines) == ended
    assert all("SIGFPE (integer arithmetic without a result, such as INT_MIN / -1)" in line for line in lines)
    server.terminate(signal.SIGTERM)
    assert server.exit_code() == 0


@pytest.mark.slow
def test_a_remainder_by_zero_is_its_clients_fault_and_one_that_ends_the_process_is_blamed_on_its_input(
    serve, remainder
):
    server = serve(remainder)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert divided(client, 7, 4).json()["outputs"][0]["data"] == [3]
        by_zero = divided(client, 7, 0)
        assert by_zero.status_code == 400
        assert "modulo by zero" in by_zero.json()["error"]
        with pytest.raises(httpx.TransportError):
            divided(client, LOWEST, -1)
        again = divided(client, LOWEST, -1)
        assert (again.status_code, again.json()["reason"]) == (400, "EndedTheProcess")
        assert divided(client, 7, 4).json()["outputs"][0]["data"] == [3]


@pytest.mark.slow
def test_a_server_that_is_ended_again_and_again_ends_and_tells_the_signal(serve, quotient, tmp_path):
    log = tmp_path / "termination-log"
    server = serve(quotient, MILLRACE_TERMINATION_LOG=str(log))
    for number in range(len(DELAYS) + 1):
        with httpx.Client(base_url=server.url, timeout=60) as client:
            assert divided(client, number, -1).json()["outputs"][0]["data"] == [-number]
            os.kill(children(server.process.pid)[0], signal.SIGSEGV)
            with pytest.raises(httpx.TransportError):
                client.get("/health/live")
    assert server.exit_code() == 128 + signal.SIGSEGV
    error = json.loads(log.read_text())["error"]
    assert error["reason"] == "ModelCrashed"
    assert "was ended 5 times within 10 minutes, last by SIGSEGV (" in error["message"]


def test_crashes_are_followed_by_ever_longer_pauses_and_forgotten_after_a_while():
    assert [delay([0.0] * number, 0.0) for number in range(1, 6)] == [0.0, 1.0, 2.0, 4.0, None]
    assert delay([0.0] * 9 + [WINDOW + 1.0], WINDOW + 1.0) == 0.0


def test_the_servers_process_does_not_outlive_the_one_that_keeps_its_port(serve, quotient):
    server = serve(quotient)
    [child] = children(server.process.pid)
    server.process.kill()
    server.exit_code()
    while Path(f"/proc/{child}").exists():
        if "\nState:\tZ" in Path(f"/proc/{child}/status").read_text():
            break


def test_a_run_without_end_is_408_and_keeps_neither_the_loop_nor_the_model(serve, tmp_path):
    server = serve(counting(tmp_path / "model.onnx"), MILLRACE_RUN_TIMEOUT="200ms")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert counted(client, 3.0).json()["outputs"][0]["data"] == [3.0]
        for rows in ((1e18,), (1e18, 1.0), (1e18,)):
            stopped = counted(client, *rows)
            assert (stopped.status_code, stopped.json()["reason"]) == (408, "DeadlineExceeded")
            assert "the model took longer than 0.2 s" in stopped.json()["error"]
            assert counted(client, 3.0).json()["outputs"][0]["data"] == [3.0]
    assert "was ended by" not in server.log(), "it was the same process all the time"
    assert "Exiting due to terminate flag" not in server.log()


def test_a_model_that_never_ends_its_first_run_fails_and_says_in_which_step(start_service, tmp_path):
    log = tmp_path / "termination-log"
    server = start_service(
        "-m",
        "millrace_services.inference",
        "serve",
        listening=False,
        MILLRACE_MODEL_NAME="m",
        MILLRACE_MODEL_PATH=str(counting(tmp_path / "model.onnx", "1e18")),
        MILLRACE_DEVICE="cpu",
        MILLRACE_START_TIMEOUT="200ms",
        MILLRACE_TERMINATION_LOG=str(log),
    )
    assert server.exit_code() == 1
    error = json.loads(log.read_text())["error"]
    assert error["reason"] == "StartHung"
    assert "the model did not finish its first runs, on 1 row, within 0.2 s" in error["message"]


Handler = Callable[[int, object], None]


class Signals:
    """The module ``signal``, but for whom a handler is given to."""

    def __init__(self, given: Callable[[int, Handler], object]) -> None:
        self.signal = given

    def __getattr__(self, name: str) -> object:
        return getattr(signal, name)


@pytest.fixture(autouse=True)
def same_mask() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_a_signal_before_the_first_child_starts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "signal", Signals(lambda number, handler: handler(number, None)))
    monkeypatch.setattr(supervisor.os, "fork", lambda: pytest.fail("a child was started"))
    with socket.socket() as listener:
        assert Supervisor(pytest.fail).run(lambda: 7, listener) == 0


def test_a_signal_just_after_the_child_has_ended_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[int, Handler] = {}

    def ended(pid: int, options: int) -> tuple[int, int]:
        found = waited(pid, options)
        handlers[signal.SIGTERM](signal.SIGTERM, None)
        return found

    waited = os.waitpid
    monkeypatch.setattr(supervisor, "signal", Signals(handlers.__setitem__))
    monkeypatch.setattr(supervisor.os, "waitpid", ended)
    with socket.socket() as listener:
        assert Supervisor(pytest.fail).run(lambda: 7, listener) == 7
