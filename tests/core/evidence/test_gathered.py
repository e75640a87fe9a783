"""Predictions gathered by column say what each of them says alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.evidence import gathered as gathering
from millrace_core.evidence.gathered import Gathered, Gathering, gathered
from millrace_core.evidence.record import FeatureValues, Origin, PredictionRecord
from millrace_core.evidence.rows import table_of

ORIGIN = Origin("shop", "ranker", "ranker-v1", "0badcafe", "sha256:" + "0" * 64)
TENSORS = {
    "flat": lambda n, rows: np.full(rows, n, np.int64),
    "one": lambda n, rows: np.full((rows, 1), n + 0.5, np.float32),
    "strided": lambda n, rows: np.arange(6 * rows, dtype=np.float64).reshape(3, 2 * rows).T[::2] + n,
    "none": lambda n, rows: np.zeros((rows, 0), np.float32),
    "half": lambda n, rows: np.full((rows, 2), n, np.float16),
    "flag": lambda n, rows: np.full(rows, n % 2 == 0),
    "text": lambda n, rows: np.array([[f"é{n}"]] * rows, dtype=object),
    "fixed": lambda n, rows: np.array(["x" * (n % 3 + 1)] * rows),
    "whole": lambda n, rows: np.full(3, n, np.int32),
    "scalar": lambda n, rows: np.array(n, np.float32),
    "large": lambda n, rows: np.full((rows, 5000), n, np.float32),
}


@st.composite
def records(draw: st.DrawFn, number: int) -> PredictionRecord:
    rows = draw(st.sampled_from([1, 1, 2]))
    names = draw(st.lists(st.sampled_from(sorted(TENSORS)), unique=True, max_size=2))
    tensors = {name: TENSORS[name](number, rows) for name in names}
    joins = draw(st.booleans())
    features = FeatureValues(
        {"v__a": [number] * rows}, {"v": ["2026-11-30T07:00:00Z"] * rows}, {"v": ["PRESENT"] * rows}
    )
    return PredictionRecord(
        f"{number:02}",
        1_700_000_000_000_000 + number,
        200,
        (0.0, 0.0, 0.001, 0.002),
        rows,
        arm=draw(st.sampled_from([None, "v2"])),
        entities={"u": [number] * rows} if joins else {},
        features=features if joins else None,
        inputs=tensors,
        outputs={"y": np.full((rows, 2), number, np.float32)},
    )


@given(st.integers(1, 6).flatmap(lambda count: st.tuples(*(records(number) for number in range(count)))))
def test_together_or_apart_they_are_the_same_rows(many: tuple[PredictionRecord, ...]) -> None:
    groups = gathered(many)
    apart = [one for group in groups for one in group.apart()]
    assert [len(each) for each in apart] == [1] * len(many)
    whole = table_of(groups, ORIGIN)
    assert whole.equals(table_of(apart, ORIGIN))
    alone = {row["id"]: row for each in many for row in table_of(gathered([each]), ORIGIN).to_pylist()[-1:]}
    last = {row["id"]: row for row in whole.to_pylist()}
    assert last == {name: {**dict.fromkeys(last[name]), **row} for name, row in alone.items()}


def test_what_holds_much_or_is_many_is_given_on_at_once() -> None:
    given_on: list[Gathered] = []
    log = Gathering(given_on.append)
    record = PredictionRecord("a", 0, 200, (0.0, 0.0, 0.0, 0.0))
    for _ in range(gathering.MOST - 1):
        log.add(record, 1)
    assert not given_on
    log.add(record, 1)
    assert [(len(each), each.size) for each in given_on] == [(gathering.MOST, gathering.MOST)]
    log.add(record, 4 * 1024**2)
    assert [len(each) for each in given_on] == [gathering.MOST, 1]
    log.flush()
    assert len(given_on) == 2


def test_a_tensor_that_changes_after_its_request_does_not_change_its_row() -> None:
    values = np.ones((1, 2), np.float32)
    groups = gathered([PredictionRecord("a", 0, 200, (0.0, 0.0, 0.0, 0.0), inputs={"x": values})])
    values[:] = 7
    assert table_of(groups, ORIGIN).column("input.x").to_pylist() == [[1, 1]]
