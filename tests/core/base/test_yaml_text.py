"""YAML as kubectl reads it, and where things are in it. ``tests/local/apiserver/test_kubectl_yaml.py`` asks kubectl."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base import yaml_text
from millrace_core.base.yaml_text import Node, YamlError

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e9, 1e9) | TEXTS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def only(text: str) -> Node:
    [found] = yaml_text.documents(text)
    assert isinstance(found, Node), found
    return found


def fault(text: str) -> str:
    [found] = [each for each in yaml_text.documents(text) if isinstance(each, YamlError)]
    return str(found)


@given(st.dictionaries(TEXTS, JSON))
def test_what_is_written_with_quotes_is_read_as_it_was(value: dict[str, Any]) -> None:
    text = yaml.safe_dump(value, default_style='"', allow_unicode=True)
    expected = {key: _whole(item) for key, item in value.items()}
    assert yaml_text.values(text) == [expected]


def _whole(value: Any) -> Any:
    """JSON has one kind of numbers: 2.0 is 2."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {key: _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_lines_count_over_documents_and_columns_from_one() -> None:
    first, second = yaml_text.documents("a: 1\n---\n# more\nb:\n  - {c: 1}\n  - name: x\n    d: 2\n")
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    assert first.place("a") == (1, 1)
    assert second.place("b") == (4, 1)
    assert second.place("b[0].c") == (5, 6)
    assert second.place("b[x].d") == (7, 5)
    assert second.place("b[1].absent.deeper") == (6, 5)
    assert second.place("absent") == (4, 1)


def test_a_key_with_dots_is_found_in_brackets() -> None:
    assert only("tags:\n  a.b/c: 1\n").place("tags[a.b/c]") == (2, 3)


def test_a_fault_of_one_document_leaves_the_others_alone() -> None:
    found = list(yaml_text.documents("a: 1\n---\nb: [\n---\nc: 3\n"))
    assert [each.value for each in found if isinstance(each, Node)] == [{"a": 1}, {"c": 3}]
    assert [each.line for each in found if isinstance(each, YamlError)] == [4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb:\n  a: 2\n  a: 3\n", "line 4, column 3: the key 'a' is there twice"),
        ("yes: 1\ntrue: 2\n", "line 2, column 1: the key 'true' is there twice"),
        ("a:\n\tb: 1\n", "line 2, column 1: found character that cannot start any token"),
        ("a: [.inf]\n", "line 1, column 5: .inf came"),
        ("? [1]\n: a\n", "line 1, column 3: a key is a text; a list came"),
        ("a: *b\n", "line 1, column 4: there is no anchor &b"),
        ("a: &b [*b]\n", "line 1, column 8: the anchor &b contains itself"),
        ("<<: 5\n", "line 1, column 5: << takes a mapping"),
        (f"a: {'9' * 5000}\n", "line 1, column 4: a number of 5,000 characters came; 1,000 at most are expected"),
        ("a: !!int x\n", "line 1, column 4: 'x' is no !!int"),
        ("a: 1\n--- {b: 2}\n", "line 2, column 4: a line that begins with --- holds nothing else"),
        ('x: 1\na: "\x07"\n', "line 2, column 5: control characters are not allowed"),
        ("[" * 5000, "column 102: this is nested deeper than 100 levels"),
        ("a: 1\n...\nb: 2\n", "line 3, column 1: did not find expected <document start>"),
    ],
)
def test_a_fault_says_where_it_is(text: str, said: str) -> None:
    assert said in fault(text)


@pytest.mark.parametrize("text", ["754e5835", "-1e400", ".5e400", "1_0e400"])
def test_digits_that_no_double_holds_are_a_text(text: str) -> None:
    assert yaml_text.values(f"version: {text}\n") == [{"version": text}]


def test_aliases_that_multiply_are_refused_before_they_are_expanded() -> None:
    names = "abcdefghijklmnop"
    lines = [f"{c}: &{c} [{', '.join([f'*{p}'] * 10)}]" for p, c in pairwise(names)]
    assert "write them out" in fault("a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(lines))


@pytest.mark.parametrize("width", [9, 11, 30])
def test_a_few_hundred_bytes_of_aliases_take_no_memory_to_speak_of(width: int) -> None:
    names = "abcdefgh"
    lines = [f"a: &a [{', '.join(['x'] * width)}]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{before}'] * width)}]" for before, name in pairwise(names)]
    tracemalloc.start()
    with pytest.raises(yaml_text.YamlError, match="aliases make"):
        yaml_text.values("\n".join(lines))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5_000_000


def test_aliases_of_a_long_text_are_refused_before_they_are_written_out() -> None:
    long = f"a: &a {'x' * 100_000}\nb: &b [{', '.join(['*a'] * 40)}]\n"
    assert len(yaml_text.values(long)[0]["b"]) == 40
    with pytest.raises(yaml_text.YamlError, match="line 3, column 4: aliases make more than 4,194,304 characters"):
        yaml_text.values(f"{long}c: *b")
    with pytest.raises(yaml_text.YamlError, match="characters"):
        yaml_text.values(f"{long}c: {{? *a : 1, <<: *b}}\nd: *b")


def test_every_alias_has_a_value_of_its_own() -> None:
    [value] = yaml_text.values("a: &x {p: {q: 1}}\nb: *x\nc: {<<: *x, r: 2}\n")
    value["a"]["p"]["q"] = 5
    assert value["b"] == {"p": {"q": 1}}
    assert value["c"] == {"p": {"q": 1}, "r": 2}
