"""For each function of expressions: how large its result is at most, and how many steps it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from millrace_core.features.expressions.pattern_states import states
from millrace_core.features.expressions.polynomial import Polynomial, constant

Tree = Mapping[str, Any]


class TooLargeError(Exception):
    """An expression needs too much: why, and what to do."""

    def __init__(self, sentence: str, hint: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint


class Bound(NamedTuple):
    """How many bytes a value has at most, and how many elements where it is a list."""

    size: Polynomial
    elements: Polynomial

    def at(self, length: float) -> Bound:
        """The same where what is read is so long."""
        return Bound(constant(self.size.at(length)), constant(self.elements.at(length)))


class Argument(NamedTuple):
    """An argument of a call: its bound, and its tree."""

    bound: Bound
    tree: Tree


class Made(NamedTuple):
    """What a call gives, and its steps beside those of writing the result."""

    value: Bound
    steps: Polynomial


Rule = Callable[[str, Sequence[Argument]], Made]

_NOTHING: Final = constant(0)
NUMBER: Final = Bound(constant(8), _NOTHING)
_SHORT: Final = Bound(constant(64), _NOTHING)
# The text of a number, and of an element in the text of a list.
_DIGITS: Final = 32
# A text in a list has so many bytes beside its own.
_ELEMENT: Final = 16
_LETTER: Final = 4
_MOST_PADDED: Final = 1000
_MOST_ARRAY: Final = 4096
_FLOAT: Final = 350  # digits of the greatest double, written out
_PATTERN: Final = 10_000
_SEARCH: Final = 1 / 64
_TEXTS: Final = frozenset(["varchar", "char", "bpchar", "text", "string", "blob", "bytea", "binary", "varbinary"])


def constant_bound(tree: Tree) -> Bound:
    """The bound of a constant."""
    literal = tree["literal"]
    return NUMBER if literal["kind"] != "STRING" else Bound(constant(len(literal["text"].encode()) + 8), _NOTHING)


def greatest(found: Sequence[Bound]) -> Bound:
    """The bound of one of these."""
    size, count = _NOTHING, _NOTHING
    for each in found:
        size, count = size.or_greater(each.size), count.or_greater(each.elements)
    return Bound(size, count)


def together(found: Sequence[Bound]) -> Bound:
    """The bound of all of these in one value."""
    size, count = _NOTHING, _NOTHING
    for each in found:
        size, count = size + each.size, count + each.elements
    return Bound(size, count)


def cast(value: Bound, kind: Tree) -> Bound:
    """The bound of a value that is cast to a type."""
    name = kind["type_name"].lower()
    if name == "array":
        elements = array_length(kind)
        return Bound(value.size + constant(8 * elements), constant(elements))
    if name == "list":  # of a text each letter may be an element
        return Bound(value.size.times(_ELEMENT) + constant(8), value.size + value.elements)
    return Bound(_text(value).size, _NOTHING) if name in _TEXTS else NUMBER


def array_length(kind: Tree) -> int:
    """The elements of an array of arrays.

    Raises:
        TooLargeError: these are too many.
    """
    if kind["type_name"].lower() not in ("array", "list"):
        return 1
    inner, *size = kind["children"]
    found = array_length(inner) * (int(size[0]["literal"]["text"]) if size else 1)
    if found > _MOST_ARRAY:
        raise TooLargeError(f"an array of {found:,} elements came, {_MOST_ARRAY:,} are the most", "Use a list: type[]")
    return found


def operator(kind: str, found: Sequence[Bound]) -> Bound:
    """The bound of what the parser calls an operator."""
    match kind:
        case "ARRAY_CONSTRUCTOR":
            return _listed(found)
        case "ARRAY_EXTRACT" | "ARRAY_SLICE" | "OPERATOR_TRY":
            return found[0]
        case "OPERATOR_COALESCE":
            return greatest(found)
    return NUMBER


def filters(name: str) -> bool:
    """Whether a function with a lambda gives some of the elements as they are."""
    return name in _FILTERS


def function(name: str, arguments: Sequence[Argument]) -> Made:
    """What a call gives.

    Raises:
        TooLargeError: an argument that must be constant is none, or is too large.
    """
    try:
        return RULES.get(name, _number)(name, arguments)
    except IndexError:
        raise TooLargeError(
            f"{name} came with {len(arguments)} arguments, which are too few", "Give it all its arguments"
        ) from None


def _sizes(arguments: Sequence[Argument]) -> Polynomial:
    return together([each.bound for each in arguments]).size


def _text(value: Bound) -> Bound:
    return Bound(value.size + value.elements.times(_DIGITS) + constant(_DIGITS), value.elements)


def _listed(found: Sequence[Bound]) -> Bound:
    each = together(found)
    return Bound(each.size + constant(_ELEMENT * len(found)), each.elements + constant(len(found)))


def _number(_: str, arguments: Sequence[Argument]) -> Made:
    return Made(NUMBER, _sizes(arguments))


def _short(_: str, arguments: Sequence[Argument]) -> Made:
    return Made(_SHORT, _sizes(arguments).times(8))


def _times(factor: float, steps: float = 1) -> Rule:
    """All arguments together, and so many bytes for each of theirs."""

    def rule(_: str, arguments: Sequence[Argument]) -> Made:
        value = together([each.bound for each in arguments])
        made = Bound(value.size.times(factor) + constant(_DIGITS * len(arguments)), value.elements)
        return Made(made, value.size.times(steps))

    return rule


def _first(_: str, arguments: Sequence[Argument]) -> Made:
    """A part of the first argument, or its parts in another order."""
    return Made(arguments[0].bound if arguments else NUMBER, _sizes(arguments).times(16))


def _one(_: str, arguments: Sequence[Argument]) -> Made:
    return Made(greatest([each.bound for each in arguments]), _sizes(arguments))


def _values(_: str, arguments: Sequence[Argument]) -> Made:
    return Made(_listed([each.bound for each in arguments]), _sizes(arguments))


def _product(steps: float) -> Rule:
    """A number for which each byte of one argument is compared with each of another."""

    def rule(_: str, arguments: Sequence[Argument]) -> Made:
        return Made(NUMBER, _sizes(arguments) + _pairs(arguments).times(steps))

    return rule


def _pairs(arguments: Sequence[Argument]) -> Polynomial:
    return arguments[0].bound.size * arguments[1].bound.size if len(arguments) > 1 else _NOTHING


def _found(_: str, arguments: Sequence[Argument]) -> Made:
    return Made(arguments[0].bound, _sizes(arguments) + _pairs(arguments).times(_SEARCH))


def _parts(_: str, arguments: Sequence[Argument]) -> Made:
    """The parts between separators: each letter may be one."""
    text = arguments[0].bound.size
    value = Bound(text.times(1 + _ELEMENT) + constant(_ELEMENT), text + constant(1))
    return Made(value, _sizes(arguments) + _pairs(arguments).times(_SEARCH))


def _padded(name: str, arguments: Sequence[Argument]) -> Made:
    if len(arguments) < 2:  # noqa: PLR2004 DuckDB refuses it
        return _number(name, arguments)
    length = _whole(arguments[1].tree)
    if length is None or length > _MOST_PADDED:
        raise TooLargeError(
            f"{name} pads to {'a length that is no constant' if length is None else length}, "
            f"{_MOST_PADDED} letters are the most",
            "Write the length as a number",
        )
    return Made(Bound(constant(length * _LETTER), _NOTHING), _sizes(arguments))


def _replaced(name: str, arguments: Sequence[Argument]) -> Made:
    """Each letter may be replaced by the third argument."""
    if len(arguments) < 3:  # noqa: PLR2004 DuckDB refuses it
        return _number(name, arguments)
    text, _, by = (each.bound.size for each in arguments[:3])
    known = _constant_text(arguments[2].tree)
    grown = text.times(max(1, len(known.encode()))) if known is not None else text * by + text
    return Made(Bound(grown, _NOTHING), _sizes(arguments) + _pairs(arguments).times(_SEARCH))


def _translated(name: str, arguments: Sequence[Argument]) -> Made:
    return Made(_times(_LETTER)(name, arguments[:1]).value, _sizes(arguments).times(4))


def _separated(_: str, arguments: Sequence[Argument]) -> Made:
    """``concat_ws(separator, …)``."""
    separator, rest = arguments[0].bound, [each.bound for each in arguments[1:]]
    value = together(rest)
    gaps = constant(len(rest)) + value.elements
    return Made(Bound(value.size + separator.size * gaps + constant(_DIGITS * len(rest)), _NOTHING), value.size)


def _joined(name: str, arguments: Sequence[Argument]) -> Made:
    """``array_to_string(list, separator)``."""
    if len(arguments) < 2:  # noqa: PLR2004 DuckDB refuses it
        return _number(name, arguments)
    listed, separator = (each.bound for each in arguments[:2])
    return Made(Bound(_text(listed).size + listed.elements * separator.size, _NOTHING), listed.size.times(4))


def _formatted(name: str, arguments: Sequence[Argument]) -> Made:
    """``printf`` and ``format``: widths and precisions stand in the text, or in arguments where it has ``*`` or ``{}``
    within ``{}``."""
    form = _constant_text(arguments[0].tree) if arguments else None
    if form is None:
        raise TooLargeError(f"the first argument of {name} is no constant", "Write the form as a text")
    if (name == "printf" and "*" in form) or (name == "format" and re.search(r"\{[^}]*\{", form.replace("{{", ""))):
        raise TooLargeError(f"a width of {name} comes from an argument", "Write the width as a number")
    sizes = [int(each) for each in re.findall(r"[0-9]{1,9}", form)]
    if max(sizes, default=0) > _MOST_PADDED:
        raise TooLargeError(f"{name} is given the number {max(sizes)}, {_MOST_PADDED} is the most", "Write a lower one")
    places = form.count("%") + form.count("{")
    each = _sizes(arguments[1:]) + constant(_FLOAT + 2 * max(sizes, default=0))
    return Made(Bound(each.times(places) + constant(len(form.encode()) + sum(sizes)), _NOTHING), _NOTHING)


def _spelled(_: str, arguments: Sequence[Argument]) -> Made:
    """``strftime``: a letter of the form may become a date and a time; the form stands on either side."""
    forms = [each for each in arguments if _constant_text(each.tree) is not None] or arguments
    return Made(Bound(_sizes(forms).times(_DIGITS), _NOTHING), _NOTHING)


def _pattern(name: str, arguments: Sequence[Argument]) -> float:
    """How many states the automaton of a regular expression has at most."""
    text = _constant_text(arguments[1].tree) if len(arguments) > 1 else ""
    if text is None:
        raise TooLargeError(f"the pattern of {name} is no constant", "Write the pattern as a text")
    found = states(text)
    if found > _PATTERN:
        raise TooLargeError(
            f"the pattern of {name} has {found:,} states, repetitions written out; {_PATTERN:,} are the most",
            "Repeat less, for example + for {1,1000}",
        )
    return found


def _matched(name: str, arguments: Sequence[Argument]) -> Made:
    return Made(NUMBER, _search(name, arguments))


def _search(name: str, arguments: Sequence[Argument]) -> Polynomial:
    return arguments[0].bound.size.times(_pattern(name, arguments)) if arguments else _NOTHING


def _extracted(name: str, arguments: Sequence[Argument]) -> Made:
    return Made(arguments[0].bound, _search(name, arguments)) if arguments else _number(name, arguments)


def _extracted_all(name: str, arguments: Sequence[Argument]) -> Made:
    return Made(_parts(name, arguments[:1]).value, _search(name, arguments)) if arguments else _number(name, arguments)


def _substituted(name: str, arguments: Sequence[Argument]) -> Made:
    """``regexp_replace``: between any two letters may stand what replaces, which may hold what was found."""
    if len(arguments) < 3:  # noqa: PLR2004 DuckDB refuses it
        return _number(name, arguments)
    text, by = arguments[0].bound.size, _constant_text(arguments[2].tree)
    if by is None:
        raise TooLargeError(f"what {name} puts in is no constant", "Write it as a text")
    # A reference is two bytes, and all that it puts in was taken out: it gives no more than the byte that it has twice.
    grown = text.times(len(by.encode()) + 1) + constant(len(by.encode()))
    return Made(Bound(grown, _NOTHING), _search(name, arguments))


def _from_json(_: str, arguments: Sequence[Argument]) -> Made:
    """A path with ``*`` or ``..`` gives a list in which a value stands once with each that it is within."""
    text = arguments[0].bound.size
    path = _constant_text(arguments[1].tree) if len(arguments) > 1 else ""
    if path is not None and "*" not in path and ".." not in path:
        return Made(Bound(text, text), text.times(4))
    paths = constant(1) + (arguments[1].bound.elements if path is None else _NOTHING)
    return Made(Bound(text * text + text * paths, text * paths), text.times(4))


def _within_json(_: str, arguments: Sequence[Argument]) -> Made:
    return Made(NUMBER, _sizes(arguments).times(4) + _pairs(arguments))


def _whole(tree: Tree) -> int | None:
    literal = tree.get("literal") or {}
    try:
        return int(literal["text"]) if literal.get("kind") == "INTEGER" else None
    except ValueError:
        return None


def _constant_text(tree: Tree) -> str | None:
    literal = tree.get("literal") or {}
    return literal["text"] if literal.get("kind") == "STRING" else None


_FILTERS: Final = frozenset(["array_filter", "filter", "list_filter"])
_BY_RULE: Final[Sequence[tuple[Rule, str]]] = (
    (_one, "coalesce greatest if ifnull least nullif"),
    (_times(1), "|| concat array_cat array_concat list_cat list_concat array_append array_push_back list_append"),
    (_times(1, 4), "array_prepend array_push_front list_prepend overlay"),
    (_values, "array_value list_value"),
    (
        _first,
        """
        array_distinct array_intersect array_pop_back array_pop_front array_reverse array_reverse_sort array_slice
        array_sort array_unique flatten left left_grapheme list_distinct list_intersect list_reverse list_reverse_sort
        list_slice list_sort list_where ltrim reverse right right_grapheme rtrim split substr substring
        substring_grapheme trim unbin unhex from_hex from_base64 url_decode encode decode array_extract list_element
        list_extract list_any_value list_first list_last list_max list_median list_min
        """,
    ),
    (_times(3), "lcase lower ucase upper nfc_normalize strip_accents url_encode"),
    (_times(2), "base64 to_base64 hex to_hex regexp_escape"),
    (_times(8), "bin to_binary"),
    (_translated, "translate"),
    (_short, "chr dayname monthname md5 sha1 sha256 json_type"),
    (_product(1), "levenshtein editdist3 jaro_similarity jaro_winkler_similarity"),
    (_product(8), "damerau_levenshtein"),
    (
        _product(_SEARCH),
        "contains instr position strpos array_contains array_has array_indexof array_position list_contains list_has "
        "list_indexof list_position",
    ),
    (_product(1), "~~ !~~ ~~* !~~* ~~~ like_escape not_like_escape ilike_escape not_ilike_escape"),
    (_product(1), "array_has_all array_has_any list_has_all list_has_any && @> <@"),
    (_found, "split_part"),
    (_parts, "split str_split string_split string_to_array"),
    (_padded, "lpad rpad"),
    (_replaced, "replace"),
    (_separated, "concat_ws"),
    (_joined, "array_to_string"),
    (_formatted, "format printf"),
    (_spelled, "strftime"),
    (_matched, "regexp_full_match regexp_matches"),
    (_extracted, "regexp_extract"),
    (_extracted_all, "regexp_extract_all regexp_split_to_array str_split_regex string_split_regex"),
    (_substituted, "regexp_replace"),
    (_from_json, "json_extract_path_text json_extract_string ->>"),
    (_within_json, "json_contains"),
)
# All others give a number, a moment or a truth value, with work in proportion to their arguments.
RULES: Final[Mapping[str, Rule]] = {name: rule for rule, names in _BY_RULE for name in names.split()}
