"""The script of sums, in a real store: exact, in any order, each id once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.experiments.published import OutcomeMetric, PublishedExperiment
from millrace_data.online import experiment_sums
from millrace_data.online.experiment_sums import ACCEPTED, DROPPED, DUPLICATE, IDS_SECONDS, TELLABLE, UNEXPOSED, exact
from millrace_data.online.sums_script import TELL
from tests.examples import examples
from tests.services.gateway.conftest import Store

NOW = 1_800_000_000_000_000
HOUR = 3600 * 1_000_000
METRICS = (OutcomeMetric("value", "mean", "amount"),)
numbers = count()


def fresh() -> PublishedExperiment:
    return PublishedExperiment("ns", f"e{next(numbers)}", "uid", "Running", "a", 0, "x", None, {}, METRICS)


def exposure(unit: str, time: int = NOW, arm: str = "a", epoch: int = 0) -> Exposure:
    return Exposure("ns", "e", "uid", unit, arm, epoch, 1, time)


def outcome(unit: str, value: float, identity: str, time: int = NOW, received: int = NOW) -> Outcome:
    return Outcome("ns", "e", "uid", unit, "amount", value, time, identity, received)


def run(
    store: Store,
    experiment: PublishedExperiment,
    exposures: Sequence[Exposure] = (),
    outcomes: Sequence[Outcome] = (),
    now: int = NOW,
) -> list[int]:
    arguments = experiment_sums.arguments(experiment, exposures, outcomes, now, "log")
    key = experiment_sums.base_key(experiment.identity)
    reply: Any = store.client.eval(TELL, 1, key, *arguments)  # type: ignore[no-untyped-call]
    answers: list[int] = reply
    return answers


def sums(store: Store, experiment: PublishedExperiment) -> dict[str, Any]:
    found: Any = store.client.hgetall(experiment_sums.base_key(experiment.identity) + b"sums")
    return {
        name.decode(): exact(value) if name.endswith((b"x", b"xx")) else int(value) for name, value in found.items()
    }


values = st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=12)


@settings(max_examples=examples(1))
@given(values, st.randoms(use_true_random=False))
def test_the_sums_are_those_of_fractions_in_any_order(store: Store, drawn: list[float], order: random.Random) -> None:
    experiment = fresh()
    outcomes = [outcome(f"u{at % 3}", value, str(at)) for at, value in enumerate(drawn)]
    by_unit = [sum((Fraction(value) for value in drawn[at::3]), Fraction()) for at in range(min(3, len(drawn)))]
    rounded = [Fraction(float(each)) for each in by_unit]
    order.shuffle(outcomes)
    cut = order.randint(0, len(outcomes))
    run(store, experiment, [exposure("u0")], outcomes[:cut])
    run(store, experiment, [exposure("u1"), exposure("u2")], outcomes[cut:])
    found = sums(store, experiment)
    assert found["value\0000\000a\000n"] == len(rounded)
    assert found["value\0000\000a\000x"] == float(sum(rounded, Fraction()))
    assert found["value\0000\000a\000xx"] == float(sum(_square(each) for each in rounded))


def _square(value: Fraction) -> Fraction:
    """As the script has it: below the smallest double that is not exact, which no real value is."""
    number = float(value)
    return value * value if not 0 < abs(number) < 1e-120 else Fraction(number * number)


def test_an_id_is_known_through_its_period_and_the_next(store: Store) -> None:
    experiment = fresh()
    run(store, experiment, [exposure("u", NOW - HOUR)])
    period = IDS_SECONDS * 1_000_000
    begins = NOW - NOW % period
    asked = [begins + period - 1, begins + period, begins + 2 * period - 1, begins + 2 * period]
    told = [run(store, experiment, (), [outcome("u", 1.0, "same", NOW, at)]) for at in asked]
    assert told == [[ACCEPTED], [DUPLICATE], [DUPLICATE], [ACCEPTED]]


def test_an_id_of_two_periods_counts_once_where_the_log_of_the_later_one_is_told_first(store: Store) -> None:
    experiment = fresh()
    run(store, experiment, [exposure("u", NOW - HOUR)])
    period = IDS_SECONDS * 1_000_000
    begins = NOW - NOW % period
    told = [run(store, experiment, (), [outcome("u", 1.0, "same", NOW, at)]) for at in (begins, begins - 1)]
    assert told == [[ACCEPTED], [DUPLICATE]]


def test_an_outcome_whose_id_may_be_forgotten_is_not_counted_again_and_the_sums_are_whole_no_more(store: Store) -> None:
    experiment = fresh()
    state = experiment_sums.base_key(experiment.identity) + b"state"
    store.client.hset(state, mapping={"whole": "yes", "began": NOW - HOUR})
    logged = [outcome("u", 1.0, "one", NOW), outcome("u", 1.0, "two", NOW + 1)]
    told = [run(store, experiment, [exposure("u", NOW - HOUR)], logged)]
    before = sums(store, experiment)
    for at in (NOW + TELLABLE, NOW + TELLABLE + 1):
        told.append(run(store, experiment, (), logged, at))
        if at == NOW + TELLABLE:
            assert store.client.hget(state, "whole") == b"yes"
    assert told == [[ACCEPTED] * 2, [DUPLICATE] * 2, [DROPPED] * 2]
    assert sums(store, experiment) == before
    assert store.client.hget(state, "whole") is None


def test_an_outcome_of_long_ago_is_counted_in_sums_that_have_just_begun_to_be_filled(store: Store) -> None:
    experiment = fresh()
    state = experiment_sums.base_key(experiment.identity) + b"state"
    late = NOW + 30 * TELLABLE
    store.client.hset(state, mapping={"began": late})
    logged = [outcome("u", 1.0, "one", NOW)]
    told = [run(store, experiment, [exposure("u", NOW - HOUR)], logged, late + more) for more in (0, TELLABLE)]
    assert told == [[ACCEPTED], [DUPLICATE]]


def test_ids_last_as_long_as_an_outcome_beside_them_may_be_told(store: Store) -> None:
    experiment = fresh()
    run(store, experiment, [exposure("u")], [outcome("u", 1.0, "one")])
    key = experiment_sums.base_key(experiment.identity) + b"ids:%d" % experiment_sums.period(NOW)
    # The other outcome is received up to two periods later, and told up to TELLABLE after that.
    assert store.client.ttl(key) >= 2 * IDS_SECONDS + TELLABLE // 1_000_000 - 60


def test_a_second_exposure_changes_nothing_but_the_crossovers_where_the_arm_is_another(store: Store) -> None:
    experiment = fresh()
    run(store, experiment, [exposure("u"), exposure("v"), exposure("u", NOW + 1, epoch=1), exposure("v", NOW + 1, "b")])
    assert sums(store, experiment) == {"e\0000\000a": 2}
    assert store.client.smembers(experiment_sums.base_key(experiment.identity) + b"crossed") == {b"v"}


def test_a_unit_counts_where_it_was_exposed_first_though_a_log_tells_a_later_exposure_before(store: Store) -> None:
    experiment = fresh()
    run(store, experiment, [exposure("u", NOW + 9, "b", epoch=1)])
    run(store, experiment, [exposure("u", NOW), exposure("u", NOW + 5, epoch=1)], [outcome("u", 1.0, "one")])
    assert sums(store, experiment) == {
        "e\0000\000a": 1,
        "value\0000\000a\000n": 1,
        "value\0000\000a\000x": 1.0,
        "value\0000\000a\000xx": 1.0,
    }
    assert store.client.smembers(experiment_sums.base_key(experiment.identity) + b"crossed") == {b"u"}


def test_what_is_counted_stays_where_it_is(store: Store) -> None:
    experiment = fresh()
    run(store, experiment, [exposure("u", NOW)], [outcome("u", 1.0, "one")])
    before = sums(store, experiment)
    run(store, experiment, [exposure("u", NOW - 1, "b", epoch=1)])
    assert sums(store, experiment) == before


def test_late_outcomes_count_and_are_counted_and_earlier_ones_than_the_exposure_do_not(store: Store) -> None:
    experiment = fresh()
    run(store, experiment, [exposure("u", NOW - 3 * HOUR)])
    late = outcome("u", 1.0, "late", NOW - 2 * HOUR)
    before = outcome("u", 1.0, "before", NOW - 4 * HOUR)
    skewed = outcome("u", 1.0, "skewed", NOW - 3 * HOUR - 1)
    assert run(store, experiment, (), [late, before, skewed]) == [ACCEPTED, UNEXPOSED, ACCEPTED]
    found = sums(store, experiment)
    assert (found["late"], found["unexposed"], found["value\0000\000a\000x"]) == (2, 1, 2.0)
