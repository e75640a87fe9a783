"""The queries that the pods' own metrics answer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from millrace_core.base.errors import RejectError
from millrace_local.controllers.scaling.promql import History, Series, parse, value
from millrace_operators.modeldeployment.scaler import load_query
from tests.local.controllers.world import START
from tests.operators.modeldeployment.test_scaler import spec


def history(*series: tuple[str, dict[str, str], list[float]], every: float = 10) -> History:
    """Points of each series, the last of them now."""
    return {
        Series(name, frozenset(labels.items())): [
            (START - timedelta(seconds=every * (len(values) - 1 - number)), point)
            for number, point in enumerate(values)
        ]
        for name, labels, values in series
    }


def answer(query: str, shown: History) -> float | None:
    return value(parse(query), shown, START)


def test_a_sum_takes_the_newest_point_of_the_series_that_all_matchers_select() -> None:
    shown = history(("q", {"pod": "a", "x": "1"}, [9, 2]), ("q", {"pod": "b"}, [3]), ("other", {"pod": "a"}, [50]))
    assert answer("sum(q)", shown) == 5
    assert answer('sum(q{pod="a"})', shown) == 2
    assert answer('sum(q{pod=~"a|b",x=""})', shown) == 3
    assert answer('sum(q{pod!~"a.*", pod!="c"})', shown) == 3
    assert answer("2.5 * sum(q)", shown) == 12.5
    assert answer("sum(nothing)", shown) is None


def test_a_rate_is_per_second_within_its_window_and_begins_anew_with_its_counter() -> None:
    assert answer("sum(rate(n[1m]))", history(("n", {}, [0, 100, 200]))) == 10
    assert answer("sum(rate(n[10s]))", history(("n", {}, [0, 100, 500]))) == 40
    assert answer("sum(rate(n[1m]))", history(("n", {}, [900, 50, 100]))) == 5
    assert answer("sum(rate(n[1m]))", history(("n", {}, [7]))) is None, "one point has no rate"


def test_the_first_operand_of_or_that_has_a_series_counts() -> None:
    shown = history(("a", {}, [1]), ("b", {}, [7]))
    assert answer("sum(none) or 0 * sum(b)", shown) == 0
    assert answer("sum(a) or sum(b)", shown) == 1


@pytest.mark.parametrize("metric", ["queueDepth", "inFlight", "requestRate"])
def test_what_millrace_scales_by_is_among_them(metric: str) -> None:
    terms = parse(load_query("m", "shop", "m-1", spec({"min": 1, "max": 2, "metric": metric})))
    labels = {"namespace": "shop", "deployment": "m", "route": "infer"}
    assert value(terms, history((terms[0].name, labels, [1, 2, 3])), START) is not None


@pytest.mark.parametrize("query", ["avg(q)", "sum(q", "sum by (pod) (q)", 'sum(q{a~"b"})', 'sum(q{a=~"("})', "q", ""])
def test_other_queries_are_refused_with_the_forms_that_there_are(query: str) -> None:
    with pytest.raises(RejectError, match="only a Prometheus"):
        parse(query)
