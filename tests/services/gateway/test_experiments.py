"""Units are assigned, exposures logged, outcomes summed: by a real gateway, registry and store."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_core.experiments.assignment import bucket
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Publish, Store, a_gateway
from tests.services.gateway.experiments import bandit, expected, experiment, moment, outcome

Post = Callable[..., httpx.Response]


@pytest.fixture
def post(gateway: RunningService) -> Post:
    return posting(gateway)


def posting(gateway: RunningService) -> Post:
    def send(path: str, body: Any, **headers: str) -> httpx.Response:
        until = time.monotonic() + 60
        while True:
            answer = httpx.post(f"{gateway.url}{path}", json=body, headers=headers)
            if answer.status_code != 503 or time.monotonic() > until:
                return answer
            time.sleep(0.05)

    return send


def arms_of(post: Post, name: str, units: list[str]) -> dict[str, str]:
    found = post("/assign", {"experiment": name, "units": units}).json()["assignments"]
    return {each["unit"]: each["arm"] for each in found}


def sums_of(gateway: RunningService, name: str) -> dict[str, Any]:
    """As soon as they are whole."""
    until = time.monotonic() + 60
    while True:
        answer = httpx.get(f"{gateway.url}/experiments/rides/{name}/sums")
        if answer.status_code == 200:
            found: dict[str, Any] = answer.json()
            return found
        assert answer.json()["reason"] == "SumsNotWhole", answer.text
        assert time.monotonic() < until, answer.text
        time.sleep(0.1)


def test_a_unit_gets_the_arm_of_its_bucket_alone_and_among_many(publish: Publish, post: Post) -> None:
    publish(experiment("ab-assign", weight=30))
    units = [f"user-{number}" for number in range(500)]
    arms = arms_of(post, "ab-assign", units)
    assert arms == {unit: "v2" if bucket("salt", unit) < 3000 else "champion" for unit in units}
    one = post("/assign", {"experiment": "rides/ab-assign", "unit": "user-7"}).json()
    assert one == {
        "experiment": "rides/ab-assign",
        "phase": "Running",
        "epoch": 0,
        "unit": "user-7",
        "arm": arms["user-7"],
        "bucket": bucket("salt", "user-7"),
        "holdout": False,
        "reason": "Assigned",
    }


def test_who_is_held_out_or_overridden_or_too_early_is_not_exposed_and_told_why(
    publish: Publish, post: Post, gateway: RunningService
) -> None:
    publish(experiment("ab-held", holdout=99), experiment("ab-over"), experiment("ab-early", phase="Ready"))
    held = post("/assign", {"experiment": "ab-held", "units": [f"u{number}" for number in range(50)]}).json()
    reasons = Counter(each["reason"] for each in held["assignments"])
    assert reasons["HeldOut"] > 40
    by_unit = post("/assign", {"experiment": "ab-over", "unit": "tester"}).json()
    by_header = post("/assign", {"experiment": "ab-over", "unit": "anybody"}, **{"x-arm": "v2"}).json()
    early = post("/assign", {"experiment": "ab-early", "unit": "tester"}).json()
    assert [(each["arm"], each["reason"]) for each in (by_unit, by_header, early)] == [
        ("v2", "Overridden"),
        ("v2", "Overridden"),
        ("champion", "NotRunning"),
    ]
    assert sums_of(gateway, "ab-over")["exposures"] == {}
    exposed = sums_of(gateway, "ab-held")["exposures"]
    assert sum(exposed.get("0", {}).values()) == reasons["Assigned"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"experiment": "nobody", "unit": "u"}, 404, "experiment"),
        ({"experiment": "ab-bad"}, 400, "unit"),
        ({"experiment": "ab-bad", "unit": ""}, 400, "unit"),
        ({"experiment": "ab-bad", "unit": 7}, 400, "unit"),
        ({"experiment": "ab-bad", "units": ["a", None]}, 400, "units[1]"),
        ({"experiment": "ab-bad", "units": ["a"] * 10_001}, 413, "units"),
        ({"experiment": "ab-bad", "unit": "u", "arm": "v2"}, 400, "arm"),
    ],
)
def test_a_wrong_assignment_names_its_field(
    publish: Publish, post: Post, body: dict[str, Any], status: int, field: str
) -> None:
    publish(experiment("ab-bad"))
    answer = post("/assign", body)
    assert (answer.status_code, answer.json().get("field")) == (status, field)


def test_sums_are_exact_whatever_comes_twice_and_in_whatever_order(
    publish: Publish, post: Post, gateway: RunningService
) -> None:
    publish(experiment("ab-sums"))
    drawn = random.Random(1)
    units = [f"user-{number}" for number in range(40)]
    arms = arms_of(post, "ab-sums", units)
    outcomes = [
        outcome("ab-sums", f"id-{number}", drawn.choice(units), metric, value)
        for number in range(600)
        for metric in [drawn.choice(("click", "amount", "order"))]
        for value in [1.0 if metric != "amount" else drawn.choice((0.1, -1e15, 1e15, 3.3e-9, 7.0))]
    ]
    twice = outcomes + drawn.sample(outcomes, 200)
    drawn.shuffle(twice)
    told: Counter[str] = Counter()
    for start in range(0, len(twice), 97):
        answer = post("/outcomes", {"outcomes": twice[start : start + 97]}).json()
        told.update({key: answer[key] for key in ("accepted", "duplicate", "unexposed", "refused", "pending")})
    assert told == {"accepted": 600, "duplicate": 200, "unexposed": 0, "refused": 0, "pending": 0}
    found = sums_of(gateway, "ab-sums")
    assert found["metrics"] == expected(arms, outcomes)
    assert found["exposures"] == {"0": dict(Counter(arms.values()))}


def test_outcomes_wait_for_their_exposure_and_a_covariate_comes_before_it(
    publish: Publish, post: Post, gateway: RunningService
) -> None:
    publish(experiment("ab-wait"))
    early = [
        outcome("ab-wait", "pre", "late-comer", "before", 40.0, moment(-3600 * 24)),
        outcome("ab-wait", "much-too-early", "late-comer", "amount", 9.0, moment(-3600)),
        outcome("ab-wait", "never", "nobody", "click", 1.0),
    ]
    answer = post("/outcomes", {"outcomes": early}).json()
    assert answer["unexposed"] == 3
    assert [each["status"] for each in answer["results"]] == ["unexposed"] * 3
    [arm] = arms_of(post, "ab-wait", ["late-comer"]).values()
    assert post("/outcomes", outcome("ab-wait", "post", "late-comer", "amount", 2.0)).json() == {"status": "accepted"}
    until = time.monotonic() + 60
    while (found := sums_of(gateway, "ab-wait"))["unexposed"] != 2:
        assert time.monotonic() < until, found
        time.sleep(0.05)
    assert found["metrics"]["revenue"]["0"][arm] == {
        "n": 1,
        "sum": 2.0,
        "sumSquares": 4.0,
        "sumOther": 40.0,
        "sumOtherSquares": 1600.0,
        "sumProducts": 80.0,
    }
    assert found["late"] == 0


def wrong(**change: Any) -> dict[str, Any]:
    return outcome("ab-refuse", "an-id", "u", "click", 1.0) | change


@pytest.mark.parametrize(
    ("item", "status", "field"),
    [
        (wrong(experiment="nobody"), 404, "experiment"),
        (wrong(experiment="ab-unbegun"), 400, "experiment"),
        (wrong(metric="ctr"), 400, "metric"),
        (wrong(value="1"), 400, "value"),
        (wrong(value=True), 400, "value"),
        (wrong(value=1e101), 400, "value"),
        (wrong(time=moment(3600)), 400, "time"),
        (wrong(time="yesterday"), 400, "time"),
        (wrong(id="an id"), 400, "id"),
        (wrong(unit="a\0b"), 400, "unit"),
        (wrong(extra=1), 400, "extra"),
    ],
)
def test_a_wrong_outcome_names_its_field_and_the_good_ones_beside_it_are_kept(
    publish: Publish, post: Post, item: dict[str, Any], status: int, field: str
) -> None:
    unbegun = experiment("ab-unbegun", phase="Pending")
    del unbegun["status"]["assignment"]
    publish(experiment("ab-refuse"), unbegun)
    arms_of(post, "ab-refuse", ["u"])
    answer = post("/outcomes", item)
    assert (answer.status_code, answer.json()["field"]) == (status, field)
    good = wrong(id=f"good-{time.monotonic_ns()}")
    both = post("/outcomes", {"outcomes": [item, good]})
    assert (both.status_code, both.json()["accepted"], both.json()["refused"]) == (200, 1, 1)
    [told] = both.json()["results"]
    assert (told["index"], told["status"], told["field"]) == (0, "refused", f"outcomes[0].{field}")


def test_a_million_at_once_and_numbers_that_are_none_are_refused(publish: Publish, post: Post) -> None:
    publish(experiment("ab-refuse"))
    many = post("/outcomes", {"outcomes": [1] * 10_001})
    assert (many.status_code, many.json()["field"]) == (413, "outcomes")
    for value in ("NaN", "Infinity", "1e999"):
        known = '"experiment":"ab-refuse","unit":"u","metric":"click","time":"2026-01-01T00:00:00Z","id":"1"'
        body = f'{{{known},"value":{value}}}'
        answer = httpx.post(f"{post_url(post)}/outcomes", content=body)
        assert answer.status_code == 400, value


def post_url(post: Post) -> str:
    return str(post("/assign", {}).request.url).removesuffix("/assign")


def test_sums_that_the_store_lost_are_told_as_such_and_come_back_as_they_were(
    publish: Publish, post: Post, gateway: RunningService, store: Store
) -> None:
    publish(experiment("ab-lost"))
    units = [f"user-{number}" for number in range(30)]
    arms = arms_of(post, "ab-lost", units)
    outcomes = [outcome("ab-lost", f"id-{unit}", unit, "amount", number / 3) for number, unit in enumerate(units)]
    assert post("/outcomes", {"outcomes": outcomes}).json()["accepted"] == 30
    before = sums_of(gateway, "ab-lost")
    assert before["metrics"] == expected(arms, outcomes)
    for key in store.client.scan_iter("experiment-sums:*"):
        store.client.delete(key)
    lost = httpx.get(f"{gateway.url}/experiments/rides/ab-lost/sums")
    assert (lost.status_code, lost.json()["reason"]) == (503, "SumsNotWhole")
    again = sums_of(gateway, "ab-lost")
    assert again | {"asOf": ""} == before | {"asOf": ""}
    rebuilt = httpx.post(f"{gateway.url}/experiments/rides/ab-lost/rebuild", timeout=60)
    assert rebuilt.json() == {"experiment": "rides/ab-lost", "whole": True}
    assert sums_of(gateway, "ab-lost") | {"asOf": ""} == before | {"asOf": ""}
    assert post("/outcomes", {"outcomes": outcomes}).json()["duplicate"] == 30


def test_a_unit_that_gets_another_arm_once_weights_change_is_told_as_a_crossover(
    publish: Publish, gateway: RunningService, post: Post
) -> None:
    units = [f"user-{number}" for number in range(100)]
    publish(experiment("ab-crossed", weight=30))
    before = arms_of(post, "ab-crossed", units)
    publish(experiment("ab-crossed", weight=60))
    after = arms_of(post, "ab-crossed", units)
    crossed = sum(before[unit] != after[unit] for unit in units)
    until = time.monotonic() + 60
    while (found := sums_of(gateway, "ab-crossed"))["crossovers"] != crossed:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    assert found["exposures"]["0"] == Counter(before.values())
    assert crossed


def test_units_of_a_bandit_keep_their_arm_while_its_weights_move_and_new_ones_follow_them(
    publish: Publish,
    post: Post,
    gateway: RunningService,
    start: StartService,
    registry: RunningService,
    store: Store,
    evidence: Path,
    tmp_path: Path,
) -> None:
    units = [f"user-{number}" for number in range(1000)]
    publish(bandit("ab-bandit", champion=80, v2=10, v3=10))
    early = arms_of(post, "ab-bandit", units[:500])
    assert Counter(early.values()).most_common(1)[0][0] == "champion"
    until = time.monotonic() + 60
    while sums_of(gateway, "ab-bandit")["exposures"].get("0") != Counter(early.values()):
        assert time.monotonic() < until
        time.sleep(0.1)
    publish(bandit("ab-bandit", champion=10, v2=10, v3=80, epoch=1))
    for each in (post, posting(a_gateway(start, registry, store, evidence, tmp_path / "log"))):
        late = arms_of(each, "ab-bandit", units)
        assert {unit: late[unit] for unit in units[:500]} == early
        new = Counter(late[unit] for unit in units[500:])
        assert new["v3"] > 350
        assert min(new["champion"], new["v2"]) > 0
    found = sums_of(gateway, "ab-bandit")
    assert (found["exposures"]["0"], found["crossovers"]) == (Counter(early.values()), 0)


def test_a_bandits_new_units_follow_its_weights_while_the_store_is_away(
    publish: Publish, post: Post, store: Store
) -> None:
    publish(bandit("ab-alone", champion=10, v2=10, v3=80))
    known = arms_of(post, "ab-alone", ["user-1"])
    store.stop()
    try:
        arms = arms_of(post, "ab-alone", [f"user-{number}" for number in range(500)])
    finally:
        store.start()
    assert arms["user-1"] == known["user-1"]
    assert Counter(arms.values())["v3"] > 350
