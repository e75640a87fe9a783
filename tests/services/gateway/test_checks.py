"""What a mesh is told of a request's unit: always 200, with its arm or without one."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_core.evidence.outcome import Exposure
from millrace_core.experiments.assignment import Assignment, Slot
from millrace_core.experiments.published import Experiments, PublishedExperiment
from millrace_services.gateway.experiments import checks
from millrace_services.gateway.experiments.assigning import Assigning
from millrace_services.gateway.experiments.checks import Checks
from millrace_services.gateway.experiments.group_commit import GroupCommit
from millrace_services.web.hot import Call
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.experiments import experiment
from tests.services.gateway.test_experiments import Post, arms_of, post, sums_of  # noqa: F401 a fixture

PATH = "/assign/check"
TOKEN = "a" * 32


def on(name: str, service: str, **given: Any) -> dict[str, Any]:
    """An experiment of this service in the namespace ``rides``."""
    document = experiment(name, **given)
    document["spec"]["service"] = service
    return document


def ask(gateway: RunningService, service: str, unit: str | bytes = "", path: str = PATH, **more: Any) -> str | None:
    """The arm; the answer is fine."""
    headers = {"x-millrace-service": f"rides/{service}", **more.pop("headers", {})}
    if unit:
        headers["x-millrace-unit"] = unit
    answer = httpx.request(more.pop("method", "GET"), gateway.url + path, headers=headers)
    assert (answer.status_code, answer.content) == (200, b""), answer.text
    return answer.headers.get("x-millrace-arm")


def counted(gateway: RunningService) -> Counter[str]:
    """Answers by reason."""
    text = httpx.get(f"{gateway.url}/metrics").text
    found = re.findall(r'^millrace_gateway_assignment_checks_total{reason="(\w+)"} (\d+)', text, re.MULTILINE)
    return Counter({reason: int(number) for reason, number in found})


def test_a_unit_has_the_arm_that_assign_gives_it_and_is_exposed_once(
    publish: Publish,
    post: Post,  # noqa: F811
    gateway: RunningService,
) -> None:
    publish(on("ab-check", "checked", weight=30))
    arms_of(post, "ab-check", ["somebody"])  # the log is open
    units = ["ß", *(f"user-{number}" for number in range(60))]
    before = counted(gateway)
    found = {unit: ask(gateway, "checked", unit.encode()) for unit in units}
    assert {unit: ask(gateway, "checked", headers={"x-user-id": unit.encode()}) for unit in units} == found
    assert found == arms_of(post, "ab-check", units)
    assert set(found.values()) == {"champion", "v2"}
    assert counted(gateway) - before == {"Assigned": 2 * len(units)}
    until = time.monotonic() + 60
    while sum((exposures := sums_of(gateway, "ab-check")["exposures"]).get("0", {}).values()) <= len(units):
        assert time.monotonic() < until, exposures
    assert exposures["0"] == Counter([*found.values(), arms_of(post, "ab-check", ["somebody"])["somebody"]])


def test_whatever_is_asked_is_answered_200_and_without_an_arm_where_there_is_none(
    publish: Publish,
    post: Post,  # noqa: F811
    gateway: RunningService,
) -> None:
    publish(on("ab-none", "here"), on("ab-ended", "ended", phase="Succeeded"), on("ab-soon", "soon", phase="Ready"))
    arms_of(post, "ab-none", ["somebody"])
    before = counted(gateway)
    assert ask(gateway, "here", "u1", f"{PATH}/v2/models/m/infer?x=%ff&y", method="PATCH") in ("champion", "v2")
    assert [ask(gateway, name, "u1") for name in ("nowhere", "ended", "soon", "here/more", "")] == [None] * 5
    assert ask(gateway, "here", "u1", headers={"x-millrace-arm": "v2"}) is None
    for unit in (b"", b"\xff", b"u" * 257):
        assert ask(gateway, "here", unit) is None
    for headers in ({"x-arm": "v2"}, {"x-user-id": "tester"}):
        assert ask(gateway, "here", headers={"x-user-id": "u1", **headers}) is None
    assert counted(gateway) - before == {"Assigned": 1, "NotRunning": 5, "Named": 1, "NoUnit": 3, "Overridden": 2}


def test_who_is_held_out_has_the_control_and_is_not_exposed(
    publish: Publish,
    post: Post,  # noqa: F811
    gateway: RunningService,
) -> None:
    publish(on("ab-out", "out", holdout=99))
    asked = [f"u{number}" for number in range(40)]
    held = [each for each in asked if post("/assign", {"experiment": "ab-out", "unit": each}).json()["holdout"]]
    before = counted(gateway)
    assert [ask(gateway, "out", unit) for unit in held] == ["champion"] * len(held)
    assert counted(gateway) - before == {"HeldOut": len(held)}
    assert sum(sums_of(gateway, "ab-out")["exposures"].get("0", {}).values()) == len(asked) - len(held)


def test_who_is_not_let_in_and_a_gateway_without_a_log_refuse_nobodys_request(
    start: StartService, registry: RunningService, store: Store, tmp_path: Path, publish: Publish
) -> None:
    publish(on("ab-closed", "closed"))
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    common = {
        "MILLRACE_REGISTRY_URL": registry.url,
        "MILLRACE_STORE_URL": store.url,
        "MILLRACE_OUTGOING": '{"open": true}',
    }
    without_log = start("-m", "millrace_services.gateway", **common)
    assert ask(without_log, "closed", "u1") is None
    assert counted(without_log)["NoLog"] == 1
    # The registry of these tests knows no token; it is told nothing by this gateway's either.
    closed = start(
        "-m",
        "millrace_services.gateway",
        **common,
        MILLRACE_TOKEN_FILE=str(tokens),
        MILLRACE_EVIDENCE_LOG=str(tmp_path / "log"),
        MILLRACE_ALLOWED_HOSTS="127.0.0.1",
    )
    let_in = {"authorization": f"Bearer {TOKEN}"}
    until = time.monotonic() + 60
    while ask(closed, "closed", "u1", headers=let_in) is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    for headers in ({}, {"authorization": "Bearer " + "b" * 32}, {**let_in, "host": "evil.example"}):
        assert ask(closed, "closed", "u1", headers=headers) is None
        assert ask(closed, "closed", "u1", headers=headers, method="POST", path=f"{PATH}/x") is None
    assert counted(closed)["Refused"] == 6


class Disk:
    """A log that fails as long as it is told to."""

    def __init__(self) -> None:
        self.fails = False
        self.written: list[Exposure] = []

    def write(self, records: Sequence[Exposure]) -> int:
        if self.fails:
            raise OSError("no space left on device")
        self.written += records
        return 0


async def _told(records: Sequence[Exposure], _: int) -> list[int]:
    return [0] * len(records)


def checking(disk: Disk) -> tuple[Checks, Callable[[str], Any]]:
    """The checks over this log, and one question for a unit."""
    assignment = Assignment("salt", "a", {"b": Slot(0, 10_000)}, {"a": 50, "b": 50})
    known = PublishedExperiment("ns", "ab", "uid", "Running", "a", 0, "x-user-id", assignment, {}, (), "shop")

    class Known:
        experiments = Experiments({("ns", "ab"): known})

    exposures: GroupCommit[Exposure] = GroupCommit(disk.write, _told)
    no_store: Any = None  # of no Bandit, so nobody is looked up
    assigning = Assigning(Known(), "ns", no_store, exposures, Counter(), lambda: 1)  # type: ignore[arg-type]
    made = Checks(Counter(), lambda _: None, assigning)

    async def of(unit: str) -> bool:
        headers = [(b"x-millrace-service", b"ns/shop"), (b"x-user-id", unit.encode())]
        answer = await made.handle(Call({"headers": headers}, b"", lambda: asyncio.sleep(0, result=False)))
        assert answer.status == 200
        return bool(answer.headers)

    return made, of


async def test_no_arm_is_given_while_the_log_takes_nothing_and_known_units_keep_theirs() -> None:
    disk = Disk()
    made, of = checking(disk)
    assert await of("old")
    async with asyncio.timeout(60):
        while made._pending:
            await asyncio.sleep(0)
    disk.fails = True
    assert await of("first")  # that it fails is found out by this one
    async with asyncio.timeout(60):
        while made._pending:
            await asyncio.sleep(0)
    assert await asyncio.gather(*(of(unit) for unit in ("first", "second", "second", "old"))) == [
        False,
        False,
        False,
        True,
    ]
    assert made.counts["NoLog"] == 3
    disk.fails = False
    assert await of("first")
    assert await of("second")
    async with asyncio.timeout(60):
        while made._pending:
            await asyncio.sleep(0)
    assert sorted(each.unit for each in disk.written) == ["first", "old", "second"]


async def test_units_that_are_not_on_disk_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MOST_PENDING", 3)
    made, of = checking(Disk())
    found = await asyncio.gather(*(of(unit) for unit in ("a", "b", "a", "c", "d", "b")))
    assert found == [True, True, True, True, False, True]
    async with asyncio.timeout(60):
        while made._pending:
            await asyncio.sleep(0)
    assert await of("d")
