from __future__ import annotations

import contextlib

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.expressions import functions as pure_functions
from millrace_core.features.expressions.expressions import parse, predicate, require_known, type_of

WHERE = "spec.features[2].expression"


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("a+1  -- one more", '("a" + 1)'),
        ("/* ratio */ A / NULLIF(b, 0)", '("A" / nullif("b", 0))'),
        (
            "case when a > 1 then 'x' else b::varchar end",
            """case when ("a" > 1) then 'x' else cast("b" as varchar) end""",
        ),
        ("case a when 1 then 2 end", 'case when ("a" = 1) then 2 else null end'),
        ("request.cart_amount / nullif(last_amount, 0)", '(request."cart_amount" / nullif("last_amount", 0))'),
        ("coalesce(a, b) is null and not c", '((coalesce("a", "b") is null) and (not "c"))'),
        ("a between 1 and 2 or a not in (3, 4)", '(("a" between 1 and 2) or (not ("a" in (3, 4))))'),
        ("extract(hour from t)", """date_part('HOUR', "t")"""),
        ("list_cosine_similarity(e, request.query)", 'list_cosine_similarity("e", request."query")'),
        ("l[1] + l[:2][1] + l[1:-:2][1]", '((("l")[1] + (("l")[:2])[1]) + (("l")[1:-:2])[1])'),
        ("list_transform(l, lambda x, i: x * i + a)", 'list_transform("l", lambda "x", "i": (("x" * "i") + "a"))'),
        ("a like '1!%' escape '!'", """("a" like '1!%' escape '!')"""),
        ("substring(a from 1 for 2) || 'it''s'", """("substring"("a", 1, 2) || 'it''s')"""),
        ("try_cast(a as decimal(10, 2))", 'try_cast("a" as decimal(10, 2))'),
        ("a::float[]", 'cast("a" as float[])'),
        ('"Odd ""name"""', '"Odd ""name"""'),
    ],
)
def test_one_canonical_text_comes_out_of_every_way_to_write_an_expression(written: str, canonical: str) -> None:
    expression = parse(written, where=WHERE)

    assert expression.text == canonical
    assert parse(canonical, where=WHERE).text == canonical


@pytest.mark.parametrize(
    ("written", "token"),
    [
        ("now()", "now()"),
        ("a + random()", "random()"),
        ("uuid()", "uuid()"),
        ("nextval('s')", "nextval('s')"),
        ("getenv('HOME')", "getenv('HOME')"),
        ("current_setting('TimeZone')", "current_setting('TimeZone')"),
        ("age(a)", "age(a)"),
        ("hash(a)", "hash(a)"),
        ("sum(a)", "sum(a)"),
        ("count(*)", "count"),
        ("'é' || list(a)", "list(a)"),
        ("sum(a) over ()", "sum(a) over ()"),
        ("lower(distinct a)", "lower(distinct a)"),
        ("lower(a) filter (where b)", "lower(a) filter"),
        ("main.lower(a)", "main.lower(a)"),
        ("lower(a := b)", "lower(a := b)"),
        ("(select 1)", "(select 1)"),
        ("exists(select 1)", "exists(select 1)"),
        ("a = any([1, 2])", "any"),
        ("read_csv('/etc/passwd')", "read_csv('/etc/passwd')"),
        ("unnest(a)", "unnest(a)"),
        ("range(1000000000)", "range"),
        ("*", "*"),
        ("columns('a')", "columns('a')"),
        ("$1", "$1"),
        ("? + 1", "?"),
        ("#1", "#1"),
        ("default", "DEFAULT"),
        ("{'x': a}", "{'x': a}"),
        ("a::struct(x int)", "struct(x int)"),
        ("a::mood", "mood"),
        ("a collate nocase", "collate nocase"),
        ("list_transform(a, x -> x)", "x -> x"),
        ("list_transform(a, lambda x: random())", "random()"),
        ("no_such_function(a)", "no_such_function(a)"),
        ("a.b", "a.b"),
        ("a as b", "as b"),
        ("a, b", "2 expressions"),
        ("a from t", "from"),
        ("a where true", "where"),
        ("a limit 1", "limit"),
        ("distinct a", "distinct"),
        ("a union select 1", "a query"),
        ("1 from range(3) t(a)", "from"),
        ("a +", '"+"'),
        ("a; drop table t", "several statements"),
        ("a\0b", "zero character"),
        ("  ", "nothing came"),
        ("1" + " + 1" * 4000, "16001 characters"),
        ("1" + "+ 1" * 1500, "nested too deeply"),
    ],
)
def test_what_is_no_pure_scalar_expression_is_refused_by_field_and_token(written: str, token: str) -> None:
    with pytest.raises(RejectError) as refused:
        parse(written, where=WHERE)

    assert refused.value.field == WHERE
    assert token.lower() in str(refused.value).lower()


@pytest.mark.parametrize("clock", ["current_date", "current_timestamp", "localtime", "CURRENT_USER"])
def test_keywords_that_read_the_clock_or_the_place_are_refused_unless_a_feature_is_called_so(clock: str) -> None:
    expression = parse(clock, where=WHERE)

    require_known(expression, [(clock,)], where=WHERE, what="features")
    with pytest.raises(RejectError, match=f"{clock}.*is not allowed"):
        require_known(expression, [("a",)], where=WHERE, what="features")


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    known = [("amount",), ("request", "cart")]
    with pytest.raises(RejectError, match=r"'amout' is not known\. The features are: amount, request.cart"):
        require_known(parse("amout + 1", where=WHERE), known, where=WHERE, what="features")
    with pytest.raises(RejectError, match=r"'request.Cart' is not known. Capitals count; the features are: request.c"):
        require_known(parse("request.Cart + 1", where=WHERE), known, where=WHERE, what="features")


def test_every_allowed_function_is_there_and_gives_the_same_for_the_same_arguments() -> None:
    query = "select function_name, function_type, stability from duckdb_functions()"
    rows = duckdb.sql(f"{query} where function_type in ('scalar', 'macro')").fetchall()
    stable = {name for name, kind, stability in rows if kind == "macro" or stability == "CONSISTENT"}
    volatile = {name for name, _, stability in rows if stability not in (None, "CONSISTENT")}
    written_otherwise = {"coalesce", "ifnull"}

    assert pure_functions.FUNCTIONS - stable == written_otherwise
    assert not pure_functions.FUNCTIONS & volatile
    for name in sorted(pure_functions.FUNCTIONS - written_otherwise):
        # Some take a constant where another value could make their result, or their work, of any size.
        text = parse(f""""{name}"('a', {1 if name in ("lpad", "rpad") else "'b'"})""", where=WHERE).text
        assert parse(text, where=WHERE).text == text, name


def test_the_type_over_columns_is_what_duckdb_says_and_a_mismatch_names_the_columns() -> None:
    types = {("amount",): "FLOAT", ("label",): "VARCHAR", ("request", "cart"): "DOUBLE"}

    assert type_of(parse("request.cart / nullif(amount, 0)", where=WHERE), types, where=WHERE) == "DOUBLE"
    assert type_of(parse("1 = 1", where=WHERE), {}, where=WHERE) == "BOOLEAN"
    with pytest.raises(RejectError, match=r"types do not go together: No function.*list_aggr") as refused:
        type_of(parse("list_sum(amount)", where=WHERE), types, where=WHERE)
    assert refused.value.field == WHERE


def test_a_predicate_is_a_condition_over_the_columns_that_are_there() -> None:
    types = {"status": "VARCHAR", "amount": "DOUBLE", "odd.name": "BOOLEAN"}

    def check(text: str) -> str:
        return predicate(text, types, where="spec.source.where", what="columns of the source").text

    assert check("status = 'paid' and amount > 0") == """(("status" = 'paid') and ("amount" > 0))"""
    assert check('"odd.name"') == '"odd.name"'
    with pytest.raises(RejectError, match=r"spec.source.where: it gives DOUBLE, a condition"):
        check("amount * 2")
    with pytest.raises(RejectError, match=r"'state' is not known.*columns of the source are: status, amount"):
        check("state = 'paid'")


def test_names_can_be_given_any_columns_whatever_they_are_called() -> None:
    expression = parse("""a + "A" + request.a""", where=WHERE)

    sql = expression.over({("a",): '"$0"', ("A",): '"$1"', ("request", "a"): '"$2"'})

    assert sql == '(("$0" + "$1") + "$2")'
    assert duckdb.sql(f'select {sql} from (select 1 as "$0", 20 as "$1", 300 as "$2")').fetchall() == [(321,)]


@given(st.text(max_size=20))
def test_any_text_survives_as_a_constant_and_as_a_name(text: str) -> None:
    text = text.replace("\0", "")
    constant = "'" + text.replace("'", "''") + "'"
    assert parse(constant, where=WHERE).text == constant
    if text:
        name = '"' + text.replace('"', '""') + '"'
        assert parse(name, where=WHERE).names == ((text,),)


@given(st.text(max_size=40))
def test_whatever_comes_is_parsed_or_refused_with_the_field(text: str) -> None:
    with contextlib.suppress(RejectError):
        assert parse(parse(text, where=WHERE).text, where=WHERE).text
