"""The filters of MLflow's searches: what is understood, and that everything else is refused as the caller's fault."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.registry.mlflow.filters import Condition, Key, parse, parse_order


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        ("name='a'", [Condition(Key("", "name"), "=", "a")]),
        ('name <> "a b"', [Condition(Key("", "name"), "!=", "a b")]),
        ("tags.team like 'x%'", [Condition(Key("tags", "team"), "LIKE", "x%")]),
        ("tag.`mlflow.prompt.is_prompt` != 'true'", [Condition(Key("tag", "mlflow.prompt.is_prompt"), "!=", "true")]),
        ("tags.\"a b\"=''", [Condition(Key("tags", "a b"), "=", "")]),
        ("tags.a.b-c/d = 'x'", [Condition(Key("tags", "a.b-c/d"), "=", "x")]),
        ("`name` = 'x'", [Condition(Key("", "name"), "=", "x")]),
        ("version_number>=-2", [Condition(Key("", "version_number"), ">=", -2)]),
        ("metrics.m < .5e1", [Condition(Key("metrics", "m"), "<", 5.0)]),
        ("run_id IN ('a' , \"b\")", [Condition(Key("", "run_id"), "IN", ("a", "b"))]),
        ("run_id not  in ('a')", [Condition(Key("", "run_id"), "NOT IN", ("a",))]),
        ("a='AND' and b='x'", [Condition(Key("", "a"), "=", "AND"), Condition(Key("", "b"), "=", "x")]),
    ],
)
def test_what_a_filter_says(text: str, expected: list[Condition]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name=",
        "name=a",
        "name='a",
        "='a'",
        "name='a' OR name='b'",
        "name='a' AND",
        "AND name='a'",
        "name='a' name='b'",
        "(name='a')",
        "name IN 'a'",
        "name IN ()",
        "name IN ('a',)",
        "name IN ('a' 'b')",
        "name IN (1)",
        "name NOT LIKE 'a'",
        "tags. = 'x'",
        "name = 1x",
        "name='a';",
        " AND ".join(["name='a'"] * 101),
        f"name IN ({', '.join(['1'] * 1001)})".replace("1", "'1'"),
        f"name = '{'a' * 200_000}'",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(RejectError) as caught:
        parse(text)
    assert caught.value.field == "filter"


@given(st.text(min_size=1).filter(lambda text: "`" not in text), st.text(), st.sampled_from("'\""))
def test_any_key_and_any_text_can_be_asked_for(name: str, value: str, quote: str) -> None:
    quoted = quote + value.replace(quote, quote * 2) + quote
    assert parse(f"tags.`{name}` = {quoted}") == [Condition(Key("tags", name), "=", value)]


@given(st.text(alphabet="ab.`'\"=<>!()1-, \nANDINLIKE%"))
def test_whatever_comes_is_understood_or_refused(text: str) -> None:
    try:
        parse(text)
    except RejectError:
        return


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name", (Key("", "name"), False)),
        (" name  DESC ", (Key("", "name"), True)),
        ("metrics.`a b` asc", (Key("metrics", "a b"), False)),
        ("desc DESC", (Key("", "desc"), True)),
    ],
)
def test_what_an_order_says(text: str, expected: tuple[Key, bool]) -> None:
    assert parse_order(text) == expected


@pytest.mark.parametrize("text", ["", "name up", "name, b", "'name'", "name DESC DESC"])
def test_what_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(RejectError):
        parse_order(text)


def test_a_text_of_any_size_is_refused_before_it_is_read() -> None:
    for refused in (parse, parse_order):
        with pytest.raises(RejectError, match="are the most"):
            refused("," * 200_001)


@pytest.mark.parametrize("text", ["a{blanks}b", "name{blanks}des", "{blanks}a{blanks}b{blanks}"])
def test_blanks_without_end_are_refused_at_once(text: str) -> None:
    # Tried from each of them to the last, they would take hours.
    with pytest.raises(RejectError, match="a key with ASC or DESC is expected"):
        parse_order(text.format(blanks=" " * 50_000))
    assert parse_order(f"name{' ' * 50_000}desc") == (Key("", "name"), True)
