"""Writes expressions as SQL from the parser's tree. Whatever it does not know is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from millrace_core.base.errors import RejectError
from millrace_core.features.expressions import functions as pure

Name = tuple[str, ...]
Tree = Mapping[str, Any]

# Stands before the user's text when it is parsed.
SELECT: Final = "select "

_COMPARISONS: Final = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_DISTINCT_FROM": "is distinct from",
    "COMPARE_NOT_DISTINCT_FROM": "is not distinct from",
}
_OPERATORS: Final = {
    "ARRAY_CONSTRUCTOR": "[{all}]",
    "ARRAY_EXTRACT": "({0})[{rest}]",
    "COMPARE_IN": "({0} in ({rest}))",
    "COMPARE_NOT_IN": "({0} not in ({rest}))",
    "OPERATOR_COALESCE": "coalesce({all})",
    "OPERATOR_IS_NOT_NULL": "({0} is not null)",
    "OPERATOR_IS_NULL": "({0} is null)",
    "OPERATOR_NOT": "(not {0})",
    "OPERATOR_TRY": "try({0})",
}
# What the parser has for an open end of a slice.
_OPEN_END: Final = "list_value()"
_CONJUNCTIONS: Final = {"CONJUNCTION_AND": " and ", "CONJUNCTION_OR": " or "}
# Functions whose unquoted names mean something else in the grammar.
_QUOTED_FUNCTIONS: Final = frozenset(["if", "overlay", "position", "substring", "trim"])
# What stands between the words of ``x like y escape z``.
_ESCAPES: Final = {
    "like_escape": "like",
    "not_like_escape": "not like",
    "ilike_escape": "ilike",
    "not_ilike_escape": "not ilike",
}
_REFUSED: Final = {
    "COLLATE": "a collation is no part of an expression",
    "DEFAULT": "DEFAULT means nothing here",
    "PARAMETER": "there is nothing to fill a parameter with; send the value in a request field",
    "POSITIONAL_REFERENCE": "name the feature",
    "STAR": "a star stands for many columns; name the features",
    "SUBQUERY": "a subquery reads other rows, and an expression sees one",
    "WINDOW": "a window function reads other rows, and an expression sees one; use `aggregate`",
}
_IMPURE: Final = "it is no part of a pure scalar expression"
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN: Final = 60


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL constant."""
    return "'" + text.replace("'", "''") + "'"


class SqlWriter:
    """Writes the tree of one expression.

    Args:
        source: the user's text, for errors.
        where: the field of the definition, for errors.
        named: gives the SQL of a name.
    """

    def __init__(self, source: str, where: str, named: Callable[[Name], str]) -> None:
        self._source = f"{SELECT}{source}".encode()
        self._where = where
        self._named = named

    def sql(self, tree: Tree, bound: frozenset[str] = frozenset()) -> str:
        """SQL in which every operation stands in parentheses.

        Args:
            tree: the expression's.
            bound: parameters of the lambdas around it.

        Raises:
            RejectError: it is no pure scalar expression; names the field and the token.
        """
        write = _WRITERS.get(tree["class"])
        if write is None:
            raise self._refused(tree, _REFUSED.get(tree["class"], _IMPURE))
        return write(self, tree, bound)

    def _each(self, trees: Iterable[Tree], bound: frozenset[str]) -> list[str]:
        return [self.sql(tree, bound) for tree in trees]

    def _name(self, tree: Tree, bound: frozenset[str]) -> str:
        name = tuple(tree["column_names"])
        if len(name) == 1 and name[0] in bound:
            return quoted(name[0])
        return self._named(name)

    def _constant(self, tree: Tree, _: frozenset[str]) -> str:
        kind, text = tree["literal"]["kind"], tree["literal"].get("text", "")
        match kind:
            case "INTEGER" | "NUMERIC" | "BOOLEAN":
                return str(text)
            case "STRING":
                return literal(text)
            case "HEX":
                return f"x'{text}'"
            case "NULL_LITERAL":
                return "null"
        raise self._refused(tree, "constants are numbers, texts, bytes, true, false and null")

    def _comparison(self, tree: Tree, bound: frozenset[str]) -> str:
        left, right = self._each((tree["left"], tree["right"]), bound)
        return f"({left} {_COMPARISONS[tree['type']]} {right})"

    def _conjunction(self, tree: Tree, bound: frozenset[str]) -> str:
        return f"({_CONJUNCTIONS[tree['type']].join(self._each(tree['children'], bound))})"

    def _between(self, tree: Tree, bound: frozenset[str]) -> str:
        value, lower, upper = self._each((tree["input"], tree["lower"], tree["upper"]), bound)
        return f"({value} between {lower} and {upper})"

    def _case(self, tree: Tree, bound: frozenset[str]) -> str:
        checks = [self._each((check["when_expr"], check["then_expr"]), bound) for check in tree["case_checks"]]
        whens = " ".join(f"when {when} then {then}" for when, then in checks)
        return f"case {whens} else {self.sql(tree['else_expr'], bound)} end"

    def _cast(self, tree: Tree, bound: frozenset[str]) -> str:
        word = "try_cast" if tree["try_cast"] else "cast"
        return f"{word}({self.sql(tree['child'], bound)} as {self._type(tree['type_expr'])})"

    def _operator(self, tree: Tree, bound: frozenset[str]) -> str:
        first, *rest = parts = self._each(tree["children"], bound)
        if tree["type"] == "ARRAY_SLICE":
            begin, end, *step = ("" if part == _OPEN_END else part for part in rest)
            return f"({first})[{begin}:{end or '-'}:{step[0]}]" if step else f"({first})[{begin}:{end}]"
        form = _OPERATORS.get(tree["type"])
        if form is None:
            raise self._refused(tree, _IMPURE)
        return form.format(first, rest=", ".join(rest), all=", ".join(parts))

    def _function(self, tree: Tree, bound: frozenset[str]) -> str:
        name = tree["function_name"].lower()
        if tree["schema"] or tree["catalog"]:
            raise self._refused(tree, "functions have no schema before them")
        if tree["filter"] or tree["distinct"] or tree["order_bys"]["orders"] or tree["export_state"]:
            raise self._refused(tree, "filter, distinct and order by belong to aggregates")
        if any(argument["name"] for argument in tree["arguments"]):
            raise self._refused(tree, "arguments have no names")
        arguments = tree["arguments"]
        if name not in (pure.OPERATORS if tree["is_operator"] else pure.FUNCTIONS):
            raise self._refused(tree, pure.WHY_NOT.get(name, "it is not among the functions of expressions"), name)
        if len(arguments) < pure.LEAST_ARGUMENTS.get(name, 0):
            raise self._refused(tree, pure.WHY_NOT[name])
        parts = [self.sql(argument["expression"], bound) for argument in arguments]
        if not tree["is_operator"]:
            return f"{quoted(name) if name in _QUOTED_FUNCTIONS else name}({', '.join(parts)})"
        if name in _ESCAPES:
            return f"({parts[0]} {_ESCAPES[name]} {parts[1]} escape {parts[2]})"
        return f"({name} {parts[0]})" if len(parts) == 1 else f"({parts[0]} {name} {parts[1]})"

    def _lambda(self, tree: Tree, bound: frozenset[str]) -> str:
        if tree["syntax_type"] != "LAMBDA_KEYWORD":
            raise self._refused(tree, "write a lambda as `lambda x: …`, and JSON access as json_extract_string")
        left = tree["lhs"]
        parameters = [each["expression"] for each in left["arguments"]] if left["class"] == "FUNCTION" else [left]
        names = []
        for parameter in parameters:
            (name,) = parameter["column_names"]
            if not _IDENTIFIER.fullmatch(name):
                raise self._refused(tree, f"{name!r} is no name for a parameter")
            names.append(name)
        return f"lambda {', '.join(map(quoted, names))}: {self.sql(tree['expr'], bound | set(names))}"

    def _type(self, tree: Tree) -> str:
        name = tree["type_name"].lower()
        if tree["class"] != "TYPE" or tree["schema"] or tree["catalog"] or name not in pure.TYPES:
            raise self._refused(tree, "casts go to numbers, texts, bytes, times and lists of them", name)
        children = tree["children"]
        sizes = [each["literal"]["text"] for each in children if each["class"] == "CONSTANT"]
        if name == "list":
            return f"{self._type(children[0])}[]"
        if name == "array":
            return f"{self._type(children[0])}[{sizes[0]}]"
        return f"{name}({', '.join(sizes)})" if sizes else str(name)

    def _refused(self, tree: Tree, why: str, name: str = "") -> RejectError:
        at, length = tree.get("query_location", 0), tree.get("query_location_length", 0)
        token = self._source[at : at + length].decode("utf-8", "replace") if length else name
        if len(token) > _SHOWN:
            token = f"{token[:_SHOWN]}…"
        return RejectError(
            f"{token or tree['class'].lower()!r} is not allowed in an expression: {why}",
            field=self._where,
            reason="BadExpression",
        )


_WRITERS: Final[Mapping[str, Callable[[SqlWriter, Tree, frozenset[str]], str]]] = {
    "BETWEEN": SqlWriter._between,
    "CASE": SqlWriter._case,
    "CAST": SqlWriter._cast,
    "COLUMN_REF": SqlWriter._name,
    "COMPARISON": SqlWriter._comparison,
    "CONJUNCTION": SqlWriter._conjunction,
    "CONSTANT": SqlWriter._constant,
    "FUNCTION": SqlWriter._function,
    "LAMBDA": SqlWriter._lambda,
    "OPERATOR": SqlWriter._operator,
}
