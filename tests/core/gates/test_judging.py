"""From rules and measured values to verdicts with sentences."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.api.gates import GateRule
from millrace_core.gates.judging import NoChampion, Outcome, Verdict, judge, overall, title
from millrace_core.gates.measured import Measured
from millrace_core.gates.metrics import METRICS
from millrace_core.stats.results import Inconclusive
from tests.examples import examples


def rule(**fields: object) -> GateRule:
    return GateRule.model_validate(fields)


@pytest.mark.parametrize(
    ("stated", "value", "verdict"),
    [
        ({"metric": "f1", "min": 0.85}, 0.85, "Pass"),
        ({"metric": "f1", "min": 0.85}, 0.8499, "Fail"),
        ({"metric": "rmse", "max": 2.0}, 2.0, "Pass"),
        ({"metric": "rmse", "max": 2.0}, 2.01, "Fail"),
        ({"metric": "accuracy", "min": 0.5, "max": 0.99}, 0.999, "Fail"),
        ({"metric": "accuracy", "min": 0.5, "max": 0.99}, 0.4, "Fail"),
        ({"output": "loss", "max": 0.3}, 0.2, "Pass"),
        ({"latencyP99": "50ms"}, 0.05, "Pass"),
        ({"latencyP99": "50ms"}, 0.051, "Fail"),
        ({"latencyP50": "1ms", "rows": 64}, 0.002, "Fail"),
        ({"maxSize": "1Mi"}, 2.0**20, "Pass"),
        ({"maxSize": "1Mi"}, 2.0**20 + 1, "Fail"),
    ],
)
def test_a_bound_passes_up_to_itself(stated: dict[str, object], value: float, verdict: str) -> None:
    outcome = judge(rule(**stated), Measured(value, 500))
    assert outcome.verdict == verdict
    assert outcome.value == value
    assert "is asked for" in outcome.message


@given(st.sampled_from(sorted(METRICS)), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
@settings(max_examples=examples(0.5))
def test_a_model_fails_beside_the_champion_where_it_is_worse_by_more_than_the_margin(
    metric: str, value: float, champions: float, margin: float
) -> None:
    stated = rule(metric=metric, notWorseThan="champion", margin=margin)
    outcome = judge(stated, Measured(value, 500), Measured(champions, 500))
    worse = champions - value if METRICS[metric].more_is_better else value - champions
    if abs(worse - margin) > 1e-9:
        assert (outcome.verdict == Verdict.PASS) == (worse < margin)
    assert f"the champion's is {champions:.4g} on the same rows" in outcome.message


def test_without_a_champion_nothing_is_worse_than_it() -> None:
    outcome = judge(rule(metric="auc", notWorseThan="champion"), Measured(0.5, 9), NoChampion("there is none yet"))
    assert (outcome.verdict, outcome.message) == ("Pass", "there is none yet, so there is nothing to be worse than")


@pytest.mark.parametrize("champion", [Inconclusive("NotFound", "its file is gone"), None])
def test_what_is_not_known_of_either_model_is_inconclusive(champion: Inconclusive | None) -> None:
    compared = rule(metric="auc", notWorseThan="champion")
    assert judge(compared, Measured(0.9, 500), champion).verdict == "Inconclusive"
    one_class = judge(rule(metric="auc", min=0.8), Inconclusive("OneClass", "all 500 labels are 1"))
    assert (one_class.verdict, one_class.message) == ("Inconclusive", "auc is not known: all 500 labels are 1")
    assert (one_class.value, one_class.bound) == (None, None)
    assert (
        judge(compared, Inconclusive("NotANumber", "it is NaN"), NoChampion("there is none")).verdict == "Inconclusive"
    )


def test_a_sentence_has_value_interval_rows_and_bound() -> None:
    outcome = judge(rule(metric="f1", min=0.85), Measured(0.8123, 1200, 0.79, 0.834))
    assert outcome.message == "f1 is 0.8123 (0.79 to 0.834 at 95%, 1200 rows); at least 0.85 is asked for"
    outcome = judge(rule(latencyP99="50ms", rows=64), Measured(0.0613, 1000))
    assert outcome.message == "p99 of the latency of 64 rows is 61.3 ms (1000 runs); at most 50 ms is asked for"
    outcome = judge(rule(maxSize="500Mi"), Measured(600 * 2**20, 1))
    assert outcome.message == "the file's size is 600 MiB; at most 500 MiB is asked for"
    outcome = judge(rule(maxSize="2Gi"), Measured(174, 1))
    assert outcome.message == "the file's size is 174 bytes; at most 2 GiB is asked for"
    assert judge(rule(latencyP50="10s"), Measured(2.5, 30)).message.endswith(
        "is 2.5 s (30 runs); at most 10 s is asked for"
    )


def test_a_rule_is_named_by_what_it_says() -> None:
    assert title(rule(metric="auc", notWorseThan="champion", margin=0.005)) == "auc notWorseThan champion margin 0.005"
    assert title(rule(output="loss", min=0.1, max=0.3)) == "output loss min 0.1 max 0.3"
    assert title(rule(latencyP99="50ms", rows=64)) == "latencyP99 50ms rows 64"


@given(st.lists(st.sampled_from(list(Verdict))))
@settings(max_examples=examples(0.5))
def test_all_have_to_pass_and_one_failure_fails(verdicts: list[Verdict]) -> None:
    found = overall(Outcome("", verdict, "") for verdict in verdicts)
    assert (found is Verdict.FAIL) == (Verdict.FAIL in verdicts)
    assert (found is Verdict.PASS) == (bool(verdicts) and {*verdicts} == {Verdict.PASS})
