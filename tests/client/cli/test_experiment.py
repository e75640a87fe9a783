"""`millrace experiment plan` and `analyze`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from millrace.cli.main import run

PROPORTION = ("plan", "--kind", "proportion", "--baseline", "0.10", "--mde", "10%")
MEANS: dict[str, Any] = {
    "kind": "mean",
    "arms": [
        {"name": "champion", "control": True, "n": 3407, "sum": 1396.87, "sumOfSquares": 52377.9767},
        {"name": "v2", "n": 3461, "sum": 2422.7, "sumOfSquares": 134698.29},
    ],
}


def experiment(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The exit code, and what is printed."""
    with pytest.raises(SystemExit) as ended:
        run(("experiment", *map(str, arguments)))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def written(folder: Path, content: object) -> Path:
    path = folder / "sums.json"
    path.write_text(json.dumps(content))
    return path


def changed(path: str, value: object) -> dict[str, Any]:
    """The means with another value at a path; None: without it."""
    content = json.loads(json.dumps(MEANS))
    *parents, last = path.split(".")
    place = content
    for each in parents:
        place = place[int(each)] if isinstance(place, list) else place[each]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content  # type: ignore[no-any-return]


def test_a_plan_says_units_and_whole_weeks_of_its_method_and_of_a_fixed_horizon(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = experiment(capsys, *PROPORTION, "--daily-units", 4000, "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert found["fixed"]["unitsPerChallenger"] == 14_749
    assert found["plan"] == {
        "method": "sequential",
        "unitsPerChallenger": 28_242,
        "unitsOfControl": 28_242,
        "units": 56_484,
        "days": 15,
        "weeks": 3,
    }
    table = experiment(capsys, *PROPORTION, "--daily-units", 4000)[1]
    assert "28,242 units per challenger, 3 whole weeks" in table
    assert "14,749" in table
    assert experiment(capsys, *PROPORTION, "-o", "csv")[1].splitlines()[1] == "sequential,28242,28242,56484,,"


def test_three_arms_and_a_small_weight_need_more(capsys: pytest.CaptureFixture[str]) -> None:
    def units(*arguments: object) -> dict[str, Any]:
        return json.loads(experiment(capsys, *PROPORTION, "-o", "json", *arguments)[1])["plan"]  # type: ignore[no-any-return]

    two, three, uneven = units(), units("--arms", 3), units("--weight", 20)
    assert three["unitsPerChallenger"] > two["unitsPerChallenger"]
    assert three["units"] == 3 * three["unitsPerChallenger"]
    assert uneven["unitsOfControl"] == pytest.approx(4 * uneven["unitsPerChallenger"], rel=1e-3)
    assert uneven["units"] > 1.5 * two["units"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--mde", "0"), "--mde: an effect of 0 is never found"),
        (("--mde", "ten"), "--mde: a number such as 0.01, or a share of the baseline such as 10%, is expected"),
        (("--mde", "0.95"), "--mde: 0.1 would become 1.05"),
        (("--alpha", "0.5"), "--alpha: a number between 0 and 0.5 is expected, 0.5 came"),
        (("--alpha", "nan"), "--alpha: a finite number is expected"),
        (("--power", "1"), "--power: "),
        (("--baseline", "1"), "--baseline: "),
        (("--daily-units", "0"), "--daily-units: a number above 0 is expected"),
        (("--variance", "1"), "--variance: a proportion has the variance p (1 − p)"),
        (("--kind", "mean"), "--variance: the variance of a unit is expected for a mean"),
        (("--arms", "1"), "--arms: 2 to 10 arms are expected, 1 came"),
        (("--weight", "100"), "--weight: a number between 0 and 100 is expected"),
        (("--method", "groupSequential", "--looks", "0"), "--looks: 1 to 100 looks are expected"),
        (("--looks", "7"), "--looks: only groupSequential has looks that are planned; the method is sequential"),
        (("--mde", "1e-9"), "--mde: more than 1e+15 units would be needed"),
    ],
)
def test_a_plan_that_cannot_be_names_the_option(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = experiment(capsys, *PROPORTION, *arguments)
    assert (code, out) == (2, "")
    assert f"millrace: {said}" in err
    assert "Traceback" not in err


def test_sums_are_judged_as_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, MEANS)
    code, out, _ = experiment(capsys, "analyze", path, "--method", "fixed", "-o", "json")
    found = json.loads(out)
    assert (code, found["verdict"], found["arm"]) == (0, "Promote", "v2")
    [_, challenger] = found["arms"]
    assert challenger["interval"] == pytest.approx([0.04538, 0.53462], abs=1e-5)
    assert challenger["p"] == pytest.approx(0.02016, abs=1e-5)
    table = experiment(capsys, "analyze", path, "--planned-units", 6868)[1]
    assert "Inconclusive: all planned units came (6,868)" in table
    assert "Continue: not decided yet" in experiment(capsys, "analyze", path, "--mde", "20%")[1]


def test_epochs_and_what_was_planned_may_stand_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def arms(control: tuple[int, int], weight: int, treatment: tuple[int, int]) -> dict[str, Any]:
        rows = [("champion", control, 100 - weight), ("v2", treatment, weight)]
        return {
            "arms": [
                {"name": name, "control": name == "champion", "n": each[0], "sum": each[1], "weight": share}
                for name, each, share in rows
            ]
        }

    epochs = [arms((9500, 1900), 5, (500, 100)), arms((5000, 500), 50, (5000, 500))]
    path = written(tmp_path, {"kind": "proportion", "plannedUnits": 100_000, "epochs": epochs})
    found = json.loads(experiment(capsys, "analyze", path, "-o", "json")[1])
    assert (found["reason"], found["plannedUnits"]) == ("NotDecided", 100_000)
    assert found["arms"][1]["difference"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (changed("arms.0.control", None), "arms: exactly one arm is the control, none is"),
        (changed("arms.1.control", True), "arms: exactly one arm is the control, champion, v2 are"),
        (changed("arms.1.control", "yes"), "arms[1].control: true or false is expected"),
        (changed("arms.1.name", "champion"), "arms[1].name: two arms are called 'champion'"),
        (changed("arms.1.name", ""), "arms[1].name: a text is expected"),
        (changed("arms.1.sumOfSquares", None), "arms[1].sumOfSquares: it is missing"),
        (changed("arms.1.sumOfSquares", 1.0), "arms[1].sumOfSquares: 1 came, but 3461 values"),
        (changed("arms.1.sumOfSquares", -1.0), "arms[1].sumOfSquares: "),
        (changed("arms.1.sum", "many"), "arms[1].sum: a finite number is expected, 'many' came"),
        (changed("arms.1.n", -1), "arms[1].n: a whole number of 0 or more is expected, -1 came"),
        (changed("arms.1.n", 0.5), "arms[1].n: "),
        (changed("arms.1.weight", -1), "weights: weights of 0 or more"),
        (changed("arms.1.successes", 3), "arms[1].successes: it is not known"),
        (changed("arms.1.denominatorSum", 3), "arms[1].denominatorSum: it is none of the sums of a mean"),
        (changed("kind", "median"), "--kind: one of proportion, mean, ratio is expected, 'median' came"),
        (changed("kind", None), "--kind: a text is expected"),
        (changed("kind", "proportion"), "arms[0].sum: a whole number"),
        (changed("arms", []), "arms: a list is expected"),
        (changed("arms", MEANS["arms"][:1]), "arms: two arms or more are expected"),
        (changed("epochs", []), "arms: either arms, or epochs"),
        (changed("plannedUnits", "many"), "--planned-units: a finite number is expected"),
        ([], "an object is expected"),
    ],
)
def test_sums_that_cannot_be_name_the_field(
    content: object, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = experiment(capsys, "analyze", written(tmp_path, content), "--method", "fixed")
    assert (code, out) == (2, "")
    assert f"millrace: {said}" in err
    assert "Traceback" not in err


def clicks() -> pa.Table:
    random = np.random.default_rng(11)
    arm = random.integers(0, 2, 20_000)
    value = (random.random(20_000) < np.where(arm == 1, 0.14, 0.10)).astype(int)
    return pa.table({"unit": np.arange(20_000), "arm": np.array(["a", "b"])[arm], "value": value})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_units_is_judged_and_units_in_two_arms_are_left_out(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = clicks()
    other = "b" if rows["arm"][0].as_py() == "a" else "a"
    more = pa.table({"unit": [0, 1], "arm": [other, rows["arm"][1].as_py()], "value": [1, 1]})
    rows = pa.concat_tables([rows, more])
    path = tmp_path / f"units.{suffix}"
    (pa_csv.write_csv if suffix == "csv" else pq.write_table)(rows, path)
    arguments = ("analyze", path, "--kind", "proportion", "--control", "a", "--planned-units", 25_000)
    found = json.loads(experiment(capsys, *arguments, "-o", "json")[1])
    assert (found["verdict"], found["arm"], found["unitsInTwoArms"]) == ("Promote", "b", 1)
    assert sum(arm["units"] for arm in found["arms"]) == 19_999
    split = experiment(capsys, *arguments, "--weight", "a=80", "--weight", "b=20")
    assert "Inconclusive: units did not come to the arms as the weights say" in split[1]


def test_a_table_with_denominators_or_covariates_is_a_ratio_or_is_adjusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(12)
    before = random.normal(10, 3, 4000)
    arm = np.array(["a", "b"])[np.arange(4000) % 2]
    columns = {"unit": np.arange(4000), "arm": arm, "value": before + random.normal(0, 1, 4000)}
    errors = {}
    for name in ("covariate", "denominator", "other"):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({**columns, name: before}), path)
        kind = "ratio" if name == "denominator" else "mean"
        arguments = ("analyze", path, "--kind", kind, "--control", "a", "--method", "fixed", "-o", "json")
        errors[name] = json.loads(experiment(capsys, *arguments)[1])["arms"][1]["error"]
    assert errors["covariate"] < errors["other"] / 2
    assert errors["denominator"] == pytest.approx(errors["covariate"] / 10, rel=0.05)


@pytest.mark.parametrize(
    ("text", "arguments", "said"),
    [
        ("unit,arm,value\n1,a,1\n", (), "--control: a table does not say which arm is the control"),
        ("unit,arm,value\n1,a,1\n", ("--control", "z", "--kind", "mean"), "--control: no arm is called 'z'"),
        ("unit,arm,value\n1,a,1\n", ("--control", "a"), "--kind: a table does not say what its values are"),
        ("unit,arm\n1,a\n", ("--control", "a", "--kind", "mean"), "value: "),
        ("unit,arm,value\n1,a,x\n", ("--control", "a", "--kind", "mean"), "value: numbers are expected"),
        ("unit,arm,value\n1,a,\n2,a,1\n", ("--control", "a", "--kind", "mean"), "value: "),
        ("unit,arm,value\n1,a,inf\n2,b,1\n", ("--control", "a", "--kind", "mean"), "value: finite numbers"),
        ("unit,arm,value\n1,a,2\n2,b,1\n", ("--control", "a", "--kind", "proportion"), "value: 0 or 1"),
        ("unit,arm,value\n1,a,2\n2,b,1\n", ("--control", "a", "--kind", "ratio"), "denominator: "),
        ("unit,arm,value\n1,a\n", ("--control", "a", "--kind", "mean"), "is no table"),
        (
            "unit,arm,value\n1,a,1\n2,b,1\n",
            ("--control", "a", "--kind", "mean", "--weight", "a=1"),
            "--weight: b has no",
        ),
        (
            "unit,arm,value\n1,a,1\n2,b,1\n",
            ("--control", "a", "--kind", "mean", "--weight", "c=1"),
            "--weight: ARM=WEIGHT",
        ),
        (
            "unit,arm,value\n1,a,1\n2,b,1\n",
            ("--control", "a", "--kind", "mean", "--weight", "a=x"),
            "--weight: a number",
        ),
        (
            "unit,arm,value\n1,a,1\n2,b,1\n",
            ("--control", "a", "--kind", "mean"),
            "--planned-units: the method sequential",
        ),
    ],
)
def test_a_table_that_cannot_be_names_the_column_or_the_option(
    text: str, arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "units.csv"
    path.write_text(text)
    code, out, err = experiment(capsys, "analyze", path, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_file_that_is_not_there_or_no_json_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, said in (
        ("none.json", "cannot be read"),
        ("none.csv", "there is no file"),
        ("none.parquet", "there is no file"),
    ):
        code, _, err = experiment(capsys, "analyze", tmp_path / name, "--kind", "mean", "--control", "a")
        assert code == 2
        assert said in err
    assert "there is no file" in experiment(capsys, "analyze", tmp_path / "none.csv")[2]
    (tmp_path / "text.json").write_text("{")
    assert "is no JSON" in experiment(capsys, "analyze", tmp_path / "text.json")[2]


def test_weights_leave_the_planned_units_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, MEANS | {"plannedUnits": 8000})
    code, out, err = experiment(capsys, "analyze", file, "--weight", "champion=50", "--weight", "v2=50", "-o", "json")
    assert (code, err) == (0, "")
    assert "6,868 of 8,000" in out


def test_a_covariate_of_some_arms_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    covariate = {"covariateSum": 5, "covariateSumOfSquares": 10, "sumOfProducts": 1}
    arms = [{**arm, **covariate} for arm in MEANS["arms"]]
    file = written(
        tmp_path, {"kind": "mean", "plannedUnits": 9000, "epochs": [{"arms": MEANS["arms"]}, {"arms": arms}]}
    )
    code, _, err = experiment(capsys, "analyze", file)
    assert code == 2
    assert "arms: some arms have a covariate and others have none" in err


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"unit": [[1], [2]], "arm": ["a", "b"], "value": [0.0, 1.0]}, "unit: a text or a number"),
        ({"unit": [1, 2], "arm": [["a"], ["b"]], "value": [0.0, 1.0]}, "arm: a text or a number"),
    ],
)
def test_a_table_of_lists_is_refused(
    columns: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "units.parquet")
    code, _, err = experiment(capsys, "analyze", tmp_path / "units.parquet", "--kind", "mean", "--control", "a")
    assert code == 2
    assert sentence in err


def test_a_table_with_two_columns_of_one_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "units.csv").write_text("unit,arm,value,value\n1,a,0,1\n2,b,1,1\n")
    code, _, err = experiment(capsys, "analyze", tmp_path / "units.csv", "--kind", "mean", "--control", "a")
    assert code == 2
    assert "value: " in err
    assert "more than one such column" in err


def test_of_a_unit_with_several_covariates_the_first_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"{unit},{'ab'[unit % 2]},{unit % 7},{unit % 5}\n" for unit in range(400)]
    later = [f"0,a,0,{late}\n" for late in (-900, 900)]
    found = []
    for index, lines in enumerate((rows, rows + later)):
        (file := tmp_path / f"{index}.csv").write_text("".join(["unit,arm,value,covariate\n", *lines]))
        found.append(experiment(capsys, "analyze", file, "--kind", "mean", "--control", "a", "--method", "fixed"))
    assert found[0] == found[1]


def test_so_few_daily_units_that_nobody_waits_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = experiment(capsys, *PROPORTION, "--daily-units", "1e-320")
    assert code == 2
    assert "--daily-units: " in err
