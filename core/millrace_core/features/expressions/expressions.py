"""SQL scalar expressions: what a definition may compute from the values of one row.

DuckDB's own parser reads the text, and ``sql_writer`` writes it anew. The writer knows constants, operators, ``case``,
``cast``, lambdas and calls of the functions in ``functions``, and refuses all else. So nothing unknown reaches the
engine. The result is one canonical text, whatever the spacing, comments and spelling of keywords in the original.

A name is a tuple of its parts: ``("amount",)`` is the column or feature ``amount``, ``("request", "cart_amount")`` the
field ``cart_amount`` of a request. Names are matched exactly, capitals included. Over columns of a source (``fields``)
further parts name the field of a struct instead, and the name is that of the column alone.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import line, shown
from millrace_core.features.expressions.copies import parsed_size
from millrace_core.features.expressions.duckdb_settings import IN_MEMORY, NO_DOWNLOADS, ROW_BY_ROW
from millrace_core.features.expressions.functions import WHY_NOT
from millrace_core.features.expressions.growth import MOST_NODES, UNKNOWN, Growth, measure
from millrace_core.features.expressions.growth_rules import Bound, TooLargeError
from millrace_core.features.expressions.sql_writer import SELECT, Name, SqlWriter, Tree, literal, quoted

REQUEST: Final = "request"
MOST_CHARACTERS: Final = 8192

# Parts of a statement that an expression must not have.
_CLAUSES: Final = {
    "modifiers": "distinct, order by and limit",
    "where_clause": "where",
    "group_expressions": "group by",
    "group_sets": "group by",
    "having": "having",
    "sample": "using sample",
    "qualify": "qualify",
}
_SHOWN: Final = 30
# Of a message of the parser, which repeats the text.
_LONGEST_MESSAGE: Final = 1000
# What the parser takes for a space, and its tokens do not.
_SPACES: Final = re.compile("[\\s\u180e\u200b-\u200f\u2060\ufeff]+")


@dataclass(frozen=True)
class Expression:
    """A pure scalar expression.

    Attributes:
        text: its canonical text; parsed again it gives itself.
        names: the names that it reads, each once, in the order of first use.
        longest: how many bytes each value that it reads may have (8 for each element of a list), where names may be of
            any type; None where nothing limits it. See ``growth``.
    """

    text: str
    names: tuple[Name, ...]
    longest: int | None = field(compare=False)
    _tree: Tree = field(repr=False, compare=False)
    _fields: bool = field(default=False, repr=False, compare=False)

    def over(self, columns: Mapping[Name, str]) -> str:
        """The expression as SQL in which each name is the SQL that ``columns`` has for it."""

        def named(name: Name) -> str:
            return _within(columns[name[:1]], name[1:]) if self._fields else columns[name]

        return SqlWriter("", "", named).sql(self._tree)

    def growth(self, bounds: Callable[[Name], Bound] = lambda _: UNKNOWN) -> Growth:
        """What it needs over values of these bounds; by default of any type.

        Raises:
            TooLargeError: it is too much.
        """
        return measure(self._tree, bounds)


def parse(text: str, *, where: str, fields: bool = False) -> Expression:
    """Reads an expression.

    Args:
        text: what the user wrote.
        where: the field of the definition, for errors.
        fields: whether the parts of a name after the first are fields of a struct, and there is no request.

    Raises:
        RejectError: it is no pure scalar expression; names the field and the token.
    """
    if len(text) > MOST_CHARACTERS:
        raise _refused(f"{len(text)} characters came, {MOST_CHARACTERS} are the most", where, "Split it over features")
    if "\0" in text:
        raise _refused("a zero character came", where, "Leave it out")
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise _refused("half of a surrogate pair came, which is no character", where, "Leave it out")
    try:
        return _parse(text, where, fields)
    except RecursionError:
        raise _refused("it is nested too deeply", where, "Split it over several features") from None


@lru_cache(maxsize=2048)
def _parse(text: str, where: str, fields: bool) -> Expression:
    names: dict[Name, None] = {}

    def named(name: Name) -> str:
        if fields:
            names[name[:1]] = None
            return _within(quoted(name[0]), name[1:])
        if len(name) > 1 and (name[0] != REQUEST or len(name) > 2):  # noqa: PLR2004 request.<field>
            raise _refused(
                f"{'.'.join(name)!r} came, a name or {REQUEST}.<field> is expected", where, "Quote a name with a dot"
            )
        names[name] = None
        return ".".join([*name[:-1], quoted(name[-1])])

    tree = _tree(text, where)
    written = SqlWriter(text, where, named).sql(tree)
    try:
        grown = measure(tree)
        longest = None if grown.free else grown.longest()
    except TooLargeError as error:
        raise too_large(error, where) from None
    return Expression(written, tuple(names), longest, tree, fields)


def _within(column: str, fields: Name) -> str:
    """The SQL of a field of a struct, of a field of it, and so on."""
    return column + "".join(f"[{literal(each)}]" for each in fields)


def too_large(error: TooLargeError, where: str) -> RejectError:
    """The refusal of an expression that needs too much."""
    return RejectError(error.sentence, hint=error.hint, field=where, reason="ExpressionTooLarge")


def require_known(expression: Expression, known: Iterable[Name], *, where: str, what: str) -> None:
    """Refuses an expression with unknown names.

    Args:
        expression: as ``parse`` gave it.
        known: the names that it may read.
        where: the field of the definition, for errors.
        what: what the names are, such as "columns of the source".

    Raises:
        RejectError: names the first unknown name, and those that are known.
    """
    names = dict.fromkeys(known)
    for name in expression.names:
        if name in names:
            continue
        token = ".".join(name)
        if len(name) == 1 and token.lower() in WHY_NOT:
            raise _refused(f"{token!r} is not allowed in an expression: {WHY_NOT[token.lower()]}", where)
        alike = [each for each in names if ".".join(each).lower() == token.lower()]
        listed = ", ".join(".".join(each) for each in (alike or list(names))[:_SHOWN])
        begin = "Capitals count; the" if alike else "The"
        raise RejectError(
            f"{shown(token)} is not known",
            hint=f"{begin} {what} are: {listed}" if names else f"There are no {what}",
            field=where,
            reason="UnknownName",
        )


def type_of(expression: Expression, types: Mapping[Name, str], *, where: str) -> str:
    """The SQL type of the expression's result.

    Args:
        types: SQL types of the names that it reads.

    Raises:
        RejectError: the types do not go together; names the field, with DuckDB's message.
    """
    columns = {name: quoted(f"${index}") for index, name in enumerate(types)}
    typed = ", ".join(f"cast(null as {types[name]}) as {column}" for name, column in columns.items())
    written = expression.over(columns)
    query = f"describe select {written} from (select {typed or 'null'})"  # noqa: S608 written anew
    engine = _parser()
    with engine.lock:
        try:
            kind = str(engine.connection.execute(query).fetchall()[0][1])
            # Some functions look at their constants, such as patterns, only where rows come.
            engine.connection.execute(
                f"select try({{'v': {written}}}) is null from (select {typed or 'null'})"  # noqa: S608 written anew
            ).fetchall()
        except engine.error as error:
            message = str(error).splitlines()[0].partition(": ")[2].rstrip(". ")
            for name, column in columns.items():
                message = message.replace(column, ".".join(name))
            raise _refused(
                f"the types do not go together: {message}", where, "Cast the values to the types that are meant"
            ) from error
    return kind


def predicate(text: str, types: Mapping[str, str], *, where: str, what: str) -> Expression:
    """A condition over columns, for row filters and quality rules.

    Args:
        text: what the user wrote.
        types: SQL types of the columns by name; other names are refused.
        where: the field of the definition, for errors.
        what: what the columns are, such as "columns of the source".

    Raises:
        RejectError: it is no pure condition over these columns; names the field and the token.
    """
    found = parse(text, where=where)
    known: dict[Name, str] = {(name,): kind for name, kind in types.items()}
    require_known(found, known, where=where, what=what)
    kind = type_of(found, {name: known[name] for name in found.names}, where=where)
    if kind not in ("BOOLEAN", '"NULL"'):
        raise _refused(f"it gives {kind}, a condition (true or false) is expected", where, "Compare it with something")
    return found


def _tree(text: str, where: str) -> Tree:
    """The parser's tree of the one expression that the text is."""
    _require_small(text, where)
    answer = _serialized(text)
    if answer["error"] and answer["error_type"] == "parser":
        message = answer["error_message"] if text.strip() else "an expression is expected, nothing came"
        if "Max expression depth" in message:
            raise _refused("it is nested too deeply", where, "Split it over several features")
        raise _refused(message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…", where)
    if answer["error"] or len(answer["statements"]) != 1:
        raise _refused("several statements came, one expression is expected", where, "Leave out the semicolon")
    node = answer["statements"][0]["node"]
    if node["type"] != "SELECT_NODE" or node["cte_map"]["map"]:
        raise _refused("a query came, one expression is expected", where)
    if node["from_table"]["type"] != "EMPTY":
        raise _refused("'from' is not allowed in an expression: it sees the names of one row", where)
    for part, words in _CLAUSES.items():
        if node[part]:
            raise _refused(f"{words!r} is not allowed in an expression", where)
    if len(node["select_list"]) != 1:
        raise _refused(f"{len(node['select_list'])} expressions came, one is expected", where, "Leave out the comma")
    tree: Tree = node["select_list"][0]
    if tree["alias"]:
        raise _refused(
            f"'as {line(tree['alias'], 100)}' is not allowed in an expression", where, "The feature has a name"
        )
    return tree


def _words(text: str, tokens: Iterable[tuple[int, Any]]) -> Iterator[str]:
    """The tokens of a text as DuckDB finds them, without comments, in lower case."""
    source, listed = text.encode(), list(tokens)
    ends = [*(begin for begin, _ in listed), len(source)][1:]
    for (begin, kind), end in zip(listed, ends, strict=True):
        word = source[begin:end].strip().decode("utf-8", "replace").lower()
        if kind.name in ("identifier", "keyword") and not word.startswith('"'):
            yield from _SPACES.split(word)
        elif kind.name != "comment":
            yield word


def _require_small(text: str, where: str) -> None:
    """Refuses what the parser would copy until memory is full."""
    if "case" not in text.lower():
        return
    size = parsed_size(_words(text, _parser().tokenize(text)))
    if size is None:
        raise _refused(
            "'case' and 'end' do not pair off", where, "Each case needs its end; quote names that are called so"
        )
    if size > MOST_NODES:
        raise RejectError(
            f"it becomes {size:,} words, because each 'when' compares a copy of what stands after its 'case'",
            hint="Give what stands there a feature of its own",
            field=where,
            reason="ExpressionTooLarge",
        )


def _serialized(text: str) -> Any:
    engine = _parser()
    with engine.lock:
        row = engine.connection.execute("select json_serialize_sql(?)", [f"{SELECT}{text}"]).fetchone()
    return json.loads(row[0])


@dataclass(frozen=True)
class _Parser:
    connection: Any
    lock: threading.Lock
    error: type[Exception]
    tokenize: Callable[[str], list[tuple[int, Any]]]


@lru_cache(maxsize=1)
def _parser() -> _Parser:
    # Imported late: it takes 0.3 s and 40 MB, and operators and registry often have no expression to parse.
    import duckdb  # noqa: PLC0415

    connection = duckdb.connect(":memory:", config={"threads": 1, **IN_MEMORY, **NO_DOWNLOADS})
    connection.execute(ROW_BY_ROW)
    return _Parser(connection, threading.Lock(), duckdb.Error, duckdb.tokenize)


def _refused(sentence: str, where: str, hint: str = "") -> RejectError:
    return RejectError(sentence, hint=hint, field=where, reason="BadExpression")
