"""What records of the mesh may hold: what is looked at fast refuses exactly what is told in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from millrace_local.mesh import typed


@dataclass(frozen=True)
class Inner:
    name: str
    weight: int = 0


@dataclass(frozen=True)
class Narrower(Inner):
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    on: bool
    kind: Literal["a", "b"]
    seconds: float | None
    pair: tuple[str, int]
    parts: tuple[Inner, ...]
    either: tuple[str, ...] | Inner | None


inner = st.builds(Inner, st.text(max_size=2), st.integers(0, 3)) | st.builds(
    Narrower, st.just("n"), st.just(1), st.floats()
)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "on": st.booleans(),
    "kind": st.sampled_from(["a", "b"]),
    "seconds": st.none() | st.integers(0, 3) | st.floats(),
    "pair": st.tuples(st.text(max_size=1), st.integers(0, 3)),
    "parts": st.lists(inner, max_size=2).map(tuple),
    "either": st.none() | inner | st.lists(st.text(max_size=1), max_size=2).map(tuple),
}
BAD = st.sampled_from(
    [
        True,
        1,
        1.5,
        None,
        "a",
        "c",
        (),
        ("x",),
        ("x", True),
        (1, "x"),
        [1],
        {},
        (Inner(1),),
        Inner("x", True),
        Inner(None),
    ]
)


def said(check: Callable[[Any, Any], None], value: Any, declared: Any) -> str:
    """The refusal; empty where there is none."""
    try:
        check(value, declared)
    except TypeError as error:
        return str(error)
    return ""


@given(st.fixed_dictionaries(GOOD))
def test_a_record_of_what_is_declared_is_taken(values: dict[str, Any]) -> None:
    typed.require_types(Outer(**values), Outer)
    typed.require_types((Outer(**values),), tuple[Outer, ...])


@given(st.fixed_dictionaries(GOOD), st.sampled_from([each.name for each in fields(Outer)]), BAD)
def test_anything_else_in_a_record_is_refused_in_words_or_fits(values: dict[str, Any], name: str, bad: Any) -> None:
    record = Outer(**{**values, name: bad})
    assert said(typed._refuse, record, Outer) == said(typed.require_types, (record,), tuple[Outer, ...])
