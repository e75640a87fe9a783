"""What the CRD says of a schedule and what the parser says: robfig/cron's reading, which is Kubernetes' own."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from millrace_core.api.crdgen import root_schema
from millrace_core.api.featureview import FeatureView
from millrace_core.api.materialization import Materialization
from millrace_core.schema import compile_schema
from tests.examples import examples

SPEC = root_schema(FeatureView)["properties"]["spec"]["properties"]
SCHEDULE = SPEC["materialization"]["properties"]["schedule"]
SCHEMA = compile_schema({"type": "object", "properties": {"schedule": SCHEDULE}})
MODEL: TypeAdapter[Materialization] = TypeAdapter(Materialization)


def schema_says(line: str) -> str:
    """The errors of the API server; empty where it takes the line."""
    return "; ".join(f"{error.path}: {error.message}" for error in SCHEMA.validate({"schedule": line}))


def parser_says(line: str) -> str:
    try:
        MODEL.validate_python({"schedule": line})
    except ValidationError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "line",
    [
        "+1 * * * *",
        "1,,2 * * * *",
        "*-6 * * * *",
        " 0 0 * * *",
        "0\t0 * * *",
        "0\u00a00 * * *",
        "*-5-1/2 * * * *",
        "000 00 031 +1 *",
        ",1 * * * *",
        "1, * * * *",
        "*/5 */1 * jAn-FEB MON-6",
        "0 0 31 2 mon",
        "@hourly",
        "5/10 * * * *",
    ],
)
def test_what_robfig_reads_both_take(line: str) -> None:
    assert (schema_says(line), parser_says(line)) == ("", "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1-0 * * * *", "a range runs backwards"),
        ("0 0 * * sat-sun", "a range runs backwards"),
        ("0 0 * jun-2 *", "a range runs backwards"),
        ("0 0 * 1,+9-08 *", "a range runs backwards"),
        ("61 * * * *", "it is no cron line"),
        ("0 0 30 2 *", "it never comes"),
        ("0 0 30-31/2,31 feb ?", "it never comes"),
        ("0 0 31 4,Jun,009 0,*", "it never comes"),
        ("@every 1h", "it needs fixed times"),
        ("TZ=UTC 0 0 * * *", "it is in UTC"),
        ("0 0 * * 7", "it is no cron line"),
        ("@Hourly", "it is no cron line"),
        (" @hourly", "it is no cron line"),
        ("*/0 * * * *", "it is no cron line"),
        (", * * * *", "it is no cron line"),
        ("0\x1c0 * * *", "it is no cron line"),
    ],
)
def test_what_one_refuses_the_other_refuses_and_the_api_server_names_the_field(line: str, said: str) -> None:
    assert schema_says(line).startswith('schedule: Invalid value: "string": ' + said)
    assert parser_says(line)


characters = st.text("0123456789*?/-,+ fmonjaTuesat", max_size=8)
numbers = st.integers(0, 61).map(str) | st.sampled_from(["jan", "FEB", "jun", "sun", "Sat", "+1", "007", ""])
ranges = st.tuples(numbers | st.sampled_from("*?"), numbers).map("-".join) | numbers | st.sampled_from("*?")
items = ranges | st.tuples(ranges, st.integers(0, 70).map(str)).map("/".join)
fields = st.lists(items, min_size=1, max_size=3).map(",".join) | characters
blank = st.sampled_from([" ", "  ", "\t", "\u2003", "\x1f"])
lines = st.tuples(st.lists(fields, min_size=5, max_size=5), blank).map(lambda made: made[1].join(made[0]))
days = st.sampled_from(["30", "31", "30,31", "31-31", "29", "030/4"])
months = st.lists(st.sampled_from(["2", "feb", "4", "06", "sep", "11", "12"]), min_size=1, max_size=3).map(",".join)
weekdays = st.sampled_from(["*", "?", "1", "*/1", "*/2", "1,*", "*-3"])
late = st.tuples(days, months, weekdays).map(lambda made: f"0 0 {' '.join(made)}")


@settings(max_examples=examples(5))
@given(lines | late | characters)
@example("0 0 31 4/5 *")
def test_schema_and_parser_agree_but_for_months_with_steps_and_ranges_that_lack_the_day(line: str) -> None:
    schema, parser = schema_says(line), parser_says(line)
    if "never comes" in parser and not schema:
        assert re.search("[-/]", line.split()[3])
    else:
        assert bool(schema) == bool(parser), (schema, parser)
