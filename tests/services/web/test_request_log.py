"""A line per request where it is wanted, and one for a slow request, of which there are few."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import pytest

from millrace_services.web.request_log import DETAILS, RequestLog

TOY = str(Path(__file__).with_name("toy_service.py"))
SCOPE = {"method": "POST", "path": "/predict", DETAILS: lambda: {"queueSeconds": 1.5}}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def took(log: RequestLog, seconds: float, scope=SCOPE) -> None:
    if seconds >= log.least:  # as the service asks
        log.write(scope, "predict", 200, seconds)


def test_a_slow_request_says_what_its_time_went_into(caplog):
    log = RequestLog(False, 2.0, Clock())
    took(log, 1.9)
    took(log, 2.0)
    [line] = caplog.records
    assert (line.levelno, line.message, line.seconds, line.queueSeconds) == (logging.WARNING, "slow request", 2.0, 1.5)


def test_many_slow_requests_make_one_line_a_second_that_counts_the_others(caplog):
    clock = Clock()
    log = RequestLog(False, 2.0, clock)
    for second in (10.0, 10.5, 10.9, 11.0, 12.0):
        clock.now = second
        took(log, 3.0)
    assert [line.slowOmitted for line in caplog.records] == [0, 2, 0]


@pytest.mark.parametrize(("every", "slow", "lines"), [(False, 0.0, 0), (True, 0.0, 3), (True, 2.0, 3)])
def test_with_an_access_log_each_request_has_one_line(caplog, every, slow, lines):
    caplog.set_level(logging.INFO)
    log = RequestLog(every, slow, Clock())
    for seconds in (0.0, 3.0, 4.0):
        took(log, seconds)
    took(log, 1.0, {"method": "GET", "path": "/health/live"})
    assert len(caplog.records) == lines


def test_the_access_log_is_json_with_route_status_and_trace(start_service):
    toy = start_service(TOY, MILLRACE_ACCESS_LOG="true")
    trace_id = "4" * 32
    httpx.post(f"{toy.url}/echo", content="missing", headers={"traceparent": f"00-{trace_id}-{'b' * 16}-01"})
    httpx.get(f"{toy.url}/health/live")
    httpx.get(f"{toy.url}/trace")
    lines = [line for line in toy.log_lines() if line["message"] == "request"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/echo", 404),
        ("GET", "/trace", 200),
    ]
    assert lines[0]["trace_id"] == trace_id
