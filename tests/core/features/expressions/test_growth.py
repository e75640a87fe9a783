"""What values of any size, endless work or exponential parsing would need is refused before the engine sees it."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.expressions.copies import parsed_size
from millrace_core.features.expressions.expressions import parse, type_of
from millrace_core.features.expressions.growth import MOST_BYTES, UNKNOWN
from millrace_core.features.expressions.growth_rules import Bound
from millrace_core.features.expressions.pattern_states import states
from millrace_core.features.expressions.polynomial import constant

WHERE = "spec.features[2].expression"


def nested(form: str, depth: int, inner: str = "a") -> str:
    for _ in range(depth):
        inner = form.replace("{}", inner)
    return inner


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("lpad('x', 2000000000, 'y')", "lpad pads to 2000000000"),
        ("rpad(a, b, 'y')", "rpad pads to a length that is no constant"),
        ("printf('%2000000000d', 1)", "printf is given the number"),
        ("printf('%*d', 1, 2)", "a width of printf comes from an argument"),
        ("format('{:{}}', 1, 2000000000)", "a width of format comes from an argument"),
        ("format('{:>1000000}', 1)", "format is given the number"),
        ("format(a, 1)", "the first argument of format is no constant"),
        ("bar(1, 0, 1, 1000000000)", "values of any size"),
        ("to_base(1, 2, 1000000000)", "values of any size"),
        ("list_resize([1], 1000000000)", "values of any size"),
        ("list_reduce(l, lambda x, y: x || x)", "values of any size"),
        ("repeat(a, 1000000000)", "values of any size"),
        ("range(1000000000)", "values of any size"),
        ("null::int[100000][100000]", "an array of 100,000 elements"),
        ("regexp_matches(a, b)", "the pattern of regexp_matches is no constant"),
        ("regexp_matches(a, '((x{1000}){1000}){1000}')", "the pattern of regexp_matches has"),
        ("regexp_replace(a, 'x', b)", "what regexp_replace puts in is no constant"),
        (f"regexp_matches(a, '{'x{1000}' * 20}')", "the pattern of regexp_matches has"),
        ("replace(replace(replace(a, 'x', a), 'x', a), 'x', a)", "bytes"),
        (nested("({} || {})", 9), "bytes"),
        (nested("concat({}, {})", 9), "bytes"),
        (nested("[{}, {}]", 9), "bytes"),
        (nested("replace({}, 'x', 'xxxxxxxxxx')", 6), "bytes"),
        (nested("list_transform({}, lambda x: l)", 4, "l"), "bytes"),
        (nested("nullif({}, 1)", 30), "copy their arguments"),
        (nested("fmod({}, 2)", 30), "copy their arguments"),
        (nested("split_part({}, 'a', 1)", 30), "copy their arguments"),
        (nested("array_pop_back({})", 40), "copy their arguments"),
        (nested("({} between 1 and 2)", 40), "copy their arguments"),
        (nested("case {} when 1 then 1 when 2 then 2 end", 60), "stands after its 'case'"),
        (nested("case\u00a0{} when 1 then 1 when 2 then 2 end", 60), "stands after its 'case'"),
        (nested("CASE/**/{} when 1 then 1 when 2 then 2 end", 60), "stands after its 'case'"),
        (nested("list_transform([1], lambda x: {})", 4, "1"), "lambdas stand in lambdas more than 3 deep"),
        ("case case a when 1 then 1", "do not pair off"),
        (nested("not ({})", 150), "more than 100 deep"),
        (nested("{} + 1", 150), "more than 100 deep"),
        (nested("-({})", 150), "more than 100 deep"),
        (nested("({})", 3000), "nested too deeply"),
    ],
)
def test_what_could_be_of_any_size_is_refused_by_its_text_alone(written: str, said: str) -> None:
    with pytest.raises(RejectError) as refused:
        parse(written, where=WHERE)

    assert said in str(refused.value)
    assert refused.value.field == WHERE
    assert refused.value.hint or "values of any size" in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "written",
    [
        "a / nullif(b, 0)",
        "nullif(fmod(a, 7), 0)",
        "lpad(zip, 5, '0')",
        "printf('%05.2f', a)",
        "format('{}:{:>10}', a, b)",
        "a || ':' || b || ':' || c",
        "split_part(email, '@', 2)",
        "lower(trim(regexp_replace(a, '[^a-z0-9]+', '-', 'g')))",
        "case a when 1 then 'one' when 2 then 'two' when 3 then 'three' else 'many' end",
        "case case a when 1 then 2 when 2 then 3 end when 1 then 'one' when 2 then 'two' end",
        "list_transform(l, lambda x: x * 2)",
        "list_cosine_similarity(e, request.query)",
        "array_cosine_similarity(e::float[384], q::float[384])",
        "json_extract_string(a, '$.b.c')",
        "strftime(a, '%Y-%m-%d')",
        "md5(a || b)",
        "a in (" + ", ".join(map(str, range(1500))) + ")",
        " + ".join(["a"] * 90),
    ],
)
def test_what_grows_in_proportion_is_free(written: str) -> None:
    assert parse(written, where=WHERE).longest is None


@pytest.mark.parametrize(
    ("written", "least"),
    [
        ("levenshtein(a, b)", 1_000),
        ("replace(a, 'x', b)", 700),
        ("list_transform(tags, lambda t: prefix || t)", 1_000),
        ("list_filter(xs, lambda x: list_contains(ys, x))", 1_000),
        ("contains(a, request.q)", 10_000),
        ("a like b", 1_000),
        ("list_transform(l, lambda x: x / list_sum(l))", 1_000),
        ("array_to_string(list_sort(list_distinct(string_split(a, ' '))), ' ')", 5_000),
    ],
)
def test_what_grows_with_the_square_takes_values_up_to_a_length(written: str, least: int) -> None:
    longest = parse(written, where=WHERE).longest

    assert longest is not None
    assert longest >= least


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [
        ("abc", 3, 5),
        ("a{10}", 10, 12),
        ("(ab){10}", 20, 40),
        ("((a{10}){10}){10}", 1000, 2000),
        ("a{2,50}b", 50, 60),
        (r"\p{Greek}{10}", 1000, 10_000),
        ("[^@]+@[^@]+", 3, 40),
        ("(", 0, 2),
        (")(", 0, 3),
        ("a{99999999999999}", 10_000, 10**13),
    ],
)
def test_a_pattern_has_as_many_states_as_its_repetitions_written_out(pattern: str, least: int, most: int) -> None:
    assert least <= states(pattern) <= most


def test_words_of_case_that_are_names_pair_off_with_nothing() -> None:
    assert parse("request.end", where=WHERE).names == (("request", "end"),)
    assert parsed_size(["a", ".", "end", "+", "1"]) == 6
    assert parsed_size(["end"]) is None
    assert parsed_size(["case", "a", "b", "when", "1", "when", "2", "end"]) == 2 * 2 + 3 + 1


_FORMS = (
    "({} || {})",
    "replace({}, 'a', {})",
    "concat_ws({}, {}, {})",
    "lpad({}, 9, {})",
    "coalesce({}, {})",
    "upper({})",
    "array_to_string(string_split({}, 'e'), '::::')",
    "regexp_replace({}, 'x?', 'zz', 'g')",
    "printf('%20s%s', {}, {})",
    "url_encode({})",
    "array_to_string(list_transform(string_split({}, 'a'), lambda x: x || {}), '')",
)
_WRITTEN = st.recursive(
    st.sampled_from(["a", "l", "'text'"]),
    lambda inner: st.tuples(st.sampled_from(_FORMS), inner, inner, inner).map(lambda made: made[0].format(*made[1:])),
    max_leaves=8,
)


@pytest.mark.slow
@given(_WRITTEN)
def test_no_value_is_longer_than_its_bound(written: str) -> None:
    try:
        expression = parse(written, where=WHERE)
    except RejectError:
        return
    text = "aéae" * 20
    sql = expression.over({("a",): "a", ("l",): "l"})
    with duckdb.connect() as connection:
        query = f"select strlen(({sql})::varchar) from (select $1::varchar as a, $1::varchar as l)"
        (found,) = connection.execute(query, [text]).fetchall()[0]

    grown = expression.growth(lambda _: UNKNOWN)
    assert found <= grown.value.size.at(2 * len(text.encode()))
    assert expression.longest is None or grown.bytes.at(expression.longest) <= MOST_BYTES


@pytest.mark.parametrize(
    "written",
    [
        "regexp_replace(a, 'x*', 'zz', 'g')",
        "regexp_replace(a, 'b', '\\0\\0\\0\\0', 'g')",
        "regexp_replace(a, '(b)(b)', '\\1\\2\\1', 'g')",
        "concat_ws(a, string_split(a, ''))",
        "concat_ws(a, a, a, a)",
        "array_to_string(string_split(a, ''), a)",
        "replace(a, 'b', a)",
        "array_to_string(list_transform(string_split(a, ''), lambda x: x || a), '')",
    ],
)
def test_the_longest_value_that_a_function_makes_is_within_its_bound(written: str) -> None:
    expression = parse(written, where=WHERE)
    for text in ("b" * 60, "b"):
        with duckdb.connect() as connection:
            sql = expression.over({("a",): "$1::varchar"})
            [found] = connection.execute(f"select strlen(({sql})::varchar)", [text]).fetchall()[0]
        size = expression.growth(lambda _, text=text: Bound(constant(len(text)), constant(len(text)))).value.size.at(0)
        assert found <= size <= 100 * found + 5000, (found, size)


@pytest.mark.parametrize("text", ["split(", "concat_ws("])
def test_a_call_without_arguments_is_refused(text: str) -> None:
    with pytest.raises(RejectError, match="0 arguments, which are too few"):
        parse(f"{text})", where="x")


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(RejectError, match="surrogate"):
        parse("'\ud800'", where="x")


@pytest.mark.parametrize("text", ["regexp_replace(a, '(a|b0+', 'x')", "regexp_extract_all(a, '[')"])
def test_a_pattern_that_is_none_is_refused_by_the_field_and_not_at_a_read(text: str) -> None:
    with pytest.raises(RejectError, match="missing") as refused:
        type_of(parse(text, where=WHERE), {("a",): "VARCHAR"}, where=WHERE)
    assert refused.value.field == WHERE


def test_no_constant_is_computed_while_types_are_bound() -> None:
    for written in ("cast('x' as integer) + a", "case when true then error('folded') else a end is null", "1 / 0 + a"):
        try:
            parsed = parse(written, where=WHERE)
        except RejectError as refused:
            assert "not allowed" in str(refused)  # noqa: PT017 what may not be written is not computed either
            continue
        assert type_of(parsed, {("a",): "INTEGER"}, where=WHERE)
