"""CEL evaluates as the specification says; the Rust implementation on PyPI is the oracle where it is right."""

from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.schema.cel.checking import check
from millrace_core.schema.cel.evaluating import compile_expr
from millrace_core.schema.cel.parsing import parse
from millrace_core.schema.cel.syntax import CelError, CelIssue
from millrace_core.schema.cel.types import DYN

SELF: dict[str, Any] = {
    "name": "héllo",
    "n": 3,
    "f": 2.5,
    "yes": True,
    "list": [3, 1, 2],
    "words": ["b", "a"],
    "map": {"x": 1, "y": 2},
    "items": [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
    "empty": [],
    "nothing": None,
}


def run(source: str, value: Any = SELF, old: Any = None) -> Any:
    expr = parse(source)
    check(expr, {"self": DYN, "oldSelf": DYN})
    return compile_expr(expr)({"self": value, "oldSelf": old})


SHARED = [
    "self.n + 1",
    "self.n - 10 * 2",
    "-7 / 2",
    "-7 % 3",
    "7 % -3",
    "self.f * 2.0",
    "1.0 / 4.0",
    "self.name.startsWith('h') && self.n > 2",
    "self.missing == 1 || true",
    "true || self.missing == 1",
    "false && self.missing == 1",
    "self.missing == 1 && false",
    "self.list.all(x, x > 0)",
    "self.list.exists(x, x == 2)",
    "self.list.exists_one(x, x > 2)",
    "self.list.filter(x, x > 1)",
    "self.list.map(x, x * 2)",
    "self.list.map(x, x > 1, x * 2)",
    "self.items.map(i, i.k)",
    "self.map.all(k, self.map[k] > 0)",
    "self.map.exists(k, k == 'x')",
    "'x' in self.map",
    "2 in self.list",
    "size(self.list) + size(self.map) + self.list.size()",
    "has(self.n) && !has(self.missing)",
    "has(self.map.x)",
    "self.items[1].v",
    "self.map['y']",
    "self.n > 2 ? 'big' : 'small'",
    "[1, 2] + [3]",
    "{'a': 1}['a']",
    "'a' + 'b' == 'ab'",
    "b'ab' == b'ab'",
    r"r'\d+' == '\\d+'",
    "'abc'.contains('b') && 'abc'.endsWith('c')",
    "'abc'.matches('^a.c$')",
    "'a1b'.matches('[0-9]')",
    "int('42') + int(2.9)",
    "double('1.5')",
    "string(5) + 'x'",
    "type(self.n) == int",
    "self.nothing == null",
    "dyn(1) == dyn(1.0)",
    "self.list == [3, 1, 2]",
    "self.map == {'y': 2, 'x': 1}",
    "duration('90m').getHours()",
    "duration('1h') < duration('61m')",
    "timestamp('2026-01-02T03:04:05Z').getFullYear()",
    "timestamp('2026-01-02T03:04:05Z').getMonth()",
    "timestamp('2026-01-02T03:04:05Z') + duration('1h') == timestamp('2026-01-02T04:04:05Z')",
    "timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')",
    "!(self.n == 3)",
    "self.words.all(w, w in ['a', 'b'])",
    "[[1], [2]].all(l, l.size() == 1)",
    "'\\u00e9' == 'é'",
]


@pytest.mark.parametrize("source", SHARED)
def test_an_expression_gives_what_the_reference_implementation_gives(source: str) -> None:
    assert run(source) == cel.evaluate(source, {"self": SELF})


numbers = st.integers(-1000, 1000)


@given(st.lists(numbers, max_size=5), numbers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_quantifiers_agree_with_the_reference_on_any_list(items: list[int], limit: int, operator: str) -> None:
    for macro in ("all", "exists", "exists_one", "filter"):
        source = f"self.items.{macro}(x, x {operator} self.limit)"
        value = {"items": items, "limit": limit}
        assert run(source, value) == cel.evaluate(source, {"self": value})


@given(numbers, numbers.filter(bool), st.sampled_from(["+", "-", "*", "/", "%"]))
def test_integer_arithmetic_agrees_with_the_reference(left: int, right: int, operator: str) -> None:
    source = f"self.left {operator} self.right"
    value = {"left": left, "right": right}
    assert run(source, value) == cel.evaluate(source, {"self": value})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("size(self.name)", 5),
        ("self.items.exists(i, i.missing == 1 || i.v == 2)", True),
        ("self.items.exists(i, i.v == 2 || i.missing == 1)", True),
        ("self.list.sum()", 6),
        ("self.empty.sum()", 0),
        ("self.list.min() + self.list.max()", 4),
        ("self.list.isSorted()", False),
        ("self.list.indexOf(2) + self.list.lastIndexOf(9)", 1),
        ("'a,b,c'.split(',')", ["a", "b", "c"]),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("self.words.join('-')", "b-a"),
        ("'Ab'.lowerAscii() + 'Ab'.upperAscii()", "abAB"),
        ("'hello'.substring(1, 3)", "el"),
        ("'hello'.charAt(1)", "e"),
        ("'hello'.indexOf('l')", 2),
        ("'hello'.lastIndexOf('l')", 3),
        ("'hello'.replace('l', 'L', 1)", "heLlo"),
        ("'  x '.trim()", "x"),
        ("'a1b22'.find('[0-9]+')", "1"),
        ("'a1b22'.findAll('[0-9]+')", ["1", "22"]),
        ("'%s is %d and %.1f'.format(['x', 5, 2.25])", "x is 5 and 2.2"),
        ("string(1.0) + string(true) + string(duration('90s'))", "1true90s"),
        ("string(timestamp('2026-01-02T03:04:05Z'))", "2026-01-02T03:04:05Z"),
        ("bool('true')", True),
        ("int(timestamp('1970-01-01T00:01:00Z'))", 60),
        ("timestamp('2026-01-01T23:00:00Z').getDayOfMonth('Europe/Berlin')", 1),
        ("quantity('1Gi').isGreaterThan(quantity('1000M'))", True),
        ("quantity('500m').add(quantity('0.5')).asInteger()", 1),
        ("quantity('1k') == quantity('1000')", True),
        ("isQuantity('1Gi') && !isQuantity('1 Gi')", True),
        ("url('https://u@h.example:80/p%20q?a=1&a=2').getHost()", "h.example:80"),
        ("url('https://h.example:80/p').getHostname()", "h.example"),
        ("url('https://h/p?a=1&a=2').getQuery()", {"a": ["1", "2"]}),
        ("isURL('not a url')", False),
        ("sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && sets.intersects([1], [1, 2])", True),
        ("1u + 2u == 3u", True),
        ("type(1u) == uint && type([]) == list && type(null) == null_type", True),
        ("-9223372036854775808 < 0", True),
        ("0x1F", 31),
        ("'''a\n'b''' + \"\"\"c\"\"\" ", "a\n'bc"),
        ("// a comment\n1", 1),
        ("self.n == 3 ? self.list : []", [3, 1, 2]),
    ],
)
def test_kubernetes_libraries_and_counting_by_code_points(source: str, expected: Any) -> None:
    assert run(source) == expected


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("self.missing", "no such key: missing"),
        ("self.map['z']", "no such key: z"),
        ("self.list[7]", "index out of bounds: 7"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("self.name + 1", "no such overload"),
        ("self.n && true", "no such overload"),
        ("self.empty.min()", "min called on empty list"),
        ("int('x')", "type conversion error from string to int: 'x'"),
        ("quantity('x').sign()", "quantities must match the regular expression"),
        ("'abc'.substring(2, 1)", "invalid substring range. start: 2, end: 1"),
        ("'a'.matches(self.name + '(')", "error parsing regexp: missing closing ): `héllo(`"),
        ("self.list.all(x, x.k == 1)", "no such overload"),
    ],
)
def test_an_evaluation_that_fails_says_why(source: str, error: str) -> None:
    with pytest.raises(CelError) as failed:
        run(source)
    assert error in str(failed.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("self.a +", "ERROR: <input>:1:9: Syntax error: unexpected '<EOF>'\n | self.a +\n | ........^"),
        ("nobody == 1", "ERROR: <input>:1:1: undeclared reference to 'nobody' (in container '')\n | nobody == 1\n | ^"),
        ("self.x.nothing()", "undeclared reference to 'nothing' (in container '')"),
        ("1 == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("'a'.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("1.all(x, true)", "expression of type 'int' cannot be range of a comprehension"),
        ("[1].all(x, x)", "found no matching overload for '_&&_' applied to '(bool, int)'"),
        ("'a'.b", "type 'string' does not support field selection"),
        ("self.?x", "unsupported syntax '?': optional selection and indexing are not available"),
        ("self.all(x.y, true)", "argument must be a simple name"),
        ("has(self)", "invalid argument to has() macro"),
        ("namespace == 1", "reserved identifier: namespace"),
        ("duration('1x') > self", "invalid duration argument"),
        ("self.matches('(')", "invalid matches argument"),
        ("9223372036854775808", "invalid int literal"),
        ("'a", "token recognition error at: '''"),
        ("(" * 400 + "1" + ")" * 400, "expression recursion limit exceeded: 100"),
    ],
)
def test_a_wrong_expression_is_refused_with_a_pointer_to_the_place(source: str, message: str) -> None:
    with pytest.raises(CelIssue) as refused:
        run(source)
    assert message in refused.value.shown(source)
