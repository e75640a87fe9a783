"""The gateway's answer of sums, as the operator reads it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from millrace_core.experiments.sums import ExperimentSums

ANSWER: dict[str, Any] = {
    "asOf": "2026-11-30T10:00:00Z",
    "whole": True,
    "exposures": {"0": {"champion": 80, "v2": 20}},
    "metrics": {
        "ctr": {"0": {"v2": {"n": 3, "sum": 3.0, "sumSquares": 3.0}}},
        "price": {
            "0": {
                "v2": {"n": 2, "sum": 9.5, "sumSquares": 50.25, "sumOther": 4, "sumOtherSquares": 8, "sumProducts": 19}
            }
        },
    },
    "crossovers": 1,
    "unexposed": 2,
    "late": 3,
    "of a newer gateway": 1,
}


def test_epochs_are_numbers_and_a_metric_without_other_has_none() -> None:
    sums = ExperimentSums.model_validate(ANSWER)
    assert sums.exposures[0]["v2"] == 20
    assert sums.metrics["ctr"][0]["v2"].sum_other is None
    assert sums.metrics["price"][0]["v2"].sum_products == 19
    assert (sums.crossovers, sums.unexposed, sums.late) == (1, 2, 3)


def test_a_written_answer_is_read_as_it_was() -> None:
    sums = ExperimentSums.model_validate(ANSWER)
    assert ExperimentSums.model_validate_json(sums.model_dump_json(by_alias=True)) == sums


@pytest.mark.parametrize("wrong", [{"n": -1}, {"sum": float("nan")}, {"sumSquares": -1.0}])
def test_what_no_units_sum_up_to_is_refused(wrong: dict[str, float]) -> None:
    cell = {"n": 3, "sum": 3.0, "sumSquares": 3.0} | wrong
    with pytest.raises(ValidationError):
        ExperimentSums.model_validate(ANSWER | {"metrics": {"ctr": {"0": {"v2": cell}}}})
