"""No regular expression of ours takes much more than twice the steps for a text twice as long.

They are read from the source, each is tried on texts that repeat what its own signs match, and its steps are counted.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise, product
from pathlib import Path
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final, NamedTuple

import pytest

from tests.backtracking import MOST, steps

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("core", "http", "data", "kube", "operators", "services", "client", "local")
LOOKING: Final = frozenset({"search", "finditer", "findall", "sub", "subn", "split"})
WHOLE: Final = frozenset({"match", "fullmatch"})
SHORT, LONG = 24, 48
# With as many steps for each sign a pattern is linear, whatever the ratio of two small numbers.
FEW: Final = 15
# What is not tried: (file, what the pattern begins with) and what bounds it.
BOUNDED: Final = {
    ("local/millrace_local/apiserver/protobuf/generate.py", ""): "read from Kubernetes' own sources by who develops",
    ("data/millrace_data/objects/faults.py", "(?P<words>.{0,200}?status code"): "200 signs for each",
}


class Used(NamedTuple):
    """A pattern, where it stands, and whether it is looked for all over a text."""

    place: str
    pattern: re.Pattern[Any]
    looked_for: bool


def patterns(path: Path) -> Iterator[Used]:
    """The patterns of one file whose source can be known without running it."""
    source = path.read_text()
    if "re." not in source:
        return
    tree = ast.parse(source)
    known: dict[str, Any] = {"re": re}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(
            node.value, ast.Constant | ast.JoinedStr | ast.BinOp
        ):
            name = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(name, ast.Name):
                # What is no text that is known from this file alone is left out.
                with suppress(Exception):
                    known[name.id] = eval(compile(ast.Expression(node.value), str(path), "eval"), {}, known)
    for call in ast.walk(tree):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id == "re"
            and call.func.attr in {"compile", *LOOKING, *WHOLE}
            and call.args
        ):
            flags = [call.args[1]] if call.func.attr == "compile" and call.args[1:] else []
            flags += [keyword.value for keyword in call.keywords if keyword.arg == "flags"]
            made = ast.Call(ast.parse("re.compile", mode="eval").body, [call.args[0], *flags], [])
            try:
                whole = ast.fix_missing_locations(ast.Expression(made))
                pattern = eval(compile(whole, str(path), "eval"), {}, known)
            except (NameError, TypeError, AttributeError):
                continue
            looked_for = call.func.attr in LOOKING
            if call.func.attr == "compile":
                line = source.splitlines()[call.lineno - 1]
                held = re.match(r"\s*(\w+)(?:: Final)? = ", line)
                looked_for = held is None or bool(re.search(rf"\b{held[1]}\.(?:{'|'.join(LOOKING)})\b", source))
            yield Used(str(path.relative_to(ROOT)), pattern, looked_for)


def signs(nodes: Any) -> Iterator[str]:
    """Characters that the signs of a pattern match, in their order."""
    for kind, what in nodes:
        if kind in (sre.LITERAL, sre.IN, sre.NOT_LITERAL, sre.ANY):
            yield sign(kind, what)
        elif kind is sre.BRANCH:
            for each in what[1]:
                yield from signs(each)
        elif kind is sre.SUBPATTERN:
            yield from signs(what[3])
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            yield from signs(what[2])
        elif kind is sre.ATOMIC_GROUP:
            yield from signs(what)
        elif kind in (sre.ASSERT, sre.ASSERT_NOT):
            yield from signs(what[1])


def sign(kind: Any, what: Any) -> str:
    if kind is sre.LITERAL:
        return chr(what)
    source = parser.parse("")
    source.data = [(kind, what)]
    fits = re._compiler.compile(source, re.ASCII)  # type: ignore[attr-defined]
    return next((char for char in "a1 A-_.\"'/\\[{(:=x" if fits.fullmatch(char)), "é")


def example(nodes: Any) -> str:
    """A short text that the nodes match, as a rule."""
    text = ""
    for kind, what in nodes:
        if kind in (sre.LITERAL, sre.IN, sre.NOT_LITERAL, sre.ANY):
            text += sign(kind, what)
        elif kind is sre.BRANCH:
            text += example(what[1][0])
        elif kind is sre.SUBPATTERN:
            text += example(what[3])
        elif kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            text += example(what[2]) * min(what[0], 8)
        elif kind is sre.ATOMIC_GROUP:
            text += example(what)
    return text


def beginnings(nodes: Any) -> Iterator[str]:
    """Texts that lead to each repeat of the pattern."""
    before = ""
    for each in nodes:
        kind, what = each
        inside = what[3] if kind is sre.SUBPATTERN else what[2] if "REPEAT" in str(kind) else ()
        yield before
        if inside:
            yield from (before + below for below in beginnings(inside))
        if kind is sre.BRANCH:
            for branch in what[1]:
                yield from (before + below for below in beginnings(branch))
        before += example([each])


def growth(pattern: re.Pattern[Any], *, looked_for: bool) -> tuple[str, int, int] | None:
    """A beginning and what is repeated behind it, for which the steps grow faster than the text."""
    source = pattern.pattern.decode("latin-1") if isinstance(pattern.pattern, bytes) else pattern.pattern
    nodes = parser.parse(source, pattern.flags)
    if "MAXREPEAT" not in str(nodes):
        return None
    found = [*signs(nodes)]
    pumps = [*dict.fromkeys(found), *("".join(pair) for pair in dict.fromkeys(pairwise(found)))][:14]
    for begin, pump in product([*dict.fromkeys(beginnings(nodes))][:4], pumps):
        text = begin + pump * (LONG // len(pump)) + "\0"
        many = steps(pattern, text, whole=not looked_for)
        if many > FEW * len(text):
            few = steps(pattern, begin + pump * (SHORT // len(pump)) + "\0", whole=not looked_for)
            if many >= MOST or many > 2.7 * few:
                return (begin + pump, few, many)
    return None


@pytest.mark.slow
def test_no_pattern_takes_more_than_twice_the_steps_for_a_text_twice_as_long() -> None:
    files = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    everything = [used for path in files for used in patterns(path)]
    assert len(everything) > 80
    faults = [
        f"{used.place}: {used.pattern.pattern!r} on {found}"
        for used in everything
        if not any(used.place == place and str(used.pattern.pattern).startswith(start) for place, start in BOUNDED)
        and (found := growth(used.pattern, looked_for=used.looked_for))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("source", "looked_for"),
    [
        ("(a+)+", False),
        (r'"""(?:\\.|(?!""").)*"""', False),
        (r"[0-9]+\.?[0-9]*x", False),
        (r"\s+or\s+", True),
        (r",(?![^(]*\))", True),
    ],
)
def test_what_it_would_find(source: str, looked_for: bool) -> None:
    assert growth(re.compile(source, re.DOTALL), looked_for=looked_for)
