"""Documents near to real ones: a seed's tree with a few values, keys and lists put wrong, written as JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hypothesis import strategies as st

_EDITS: Final = ("value", "value", "swap", "delete", "rename", "repeat", "wrap", "twice")
# A key that ends so is written without this end, so that an object may have a key twice.
_TWICE: Final = "\x01again"
# Stand for lists nested so deeply that no tree here could have them.
_DEEP: Final = {f"\x02{depth}": depth for depth in (400, 3000)}


def _nested(depth: int, step: Any) -> Any:
    made: Any = None
    for _ in range(depth):
        made = [made] if step is list else {"a": made}
    return made


VALUES: Final[Sequence[Any]] = (
    *(None, True, False, 0, 1, -1, 1.0, -0.0, 0.1, 1e308, 5e-324, float("nan"), float("inf"), 10**400),
    *(2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64),
    *(
        "",
        " ",
        "\0",
        "\ud800",
        "\u202e",
        "É",
        "e\u0301",
        "ß" * 70,
        "a" * 64,
        "x" * 300,
        "x" * 5000,
        "-",
        ".",
        "..",
        "/",
    ),
    *(
        "0",
        "1",
        "-1",
        "1e3",
        "0x10",
        "٣",
        "²",
        "true",
        "null",
        "NaN",
        "inf",
        "${A}",
        "$(A)",
        "{{x}}",
        "%s",
        "a\nb",
        "a,b",
    ),
    *("30s", "-5s", "0s", "1.5h", "99999999999999999999h", "1w", "1ns", "500m", "2Gi", "1e999", "-1Gi", "0.0000000001"),
    *("* * * * *", "0 0 31 2 *", "*/0 * * * *", "@daily", "TZ=Mars/Base 0 0 * * *", "0 0 1 1 *", "60 24 32 13 8"),
    *(
        "2026-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "2026-02-30T00:00:00Z",
        "10000-01-01",
    ),
    *(
        "file:///etc/passwd",
        "http://[::1",
        "s3://b/k?endpoint=x",
        "http://u:p@h/",
        "http://h:99999/",
        "models:/m@champion",
    ),
    *("stats:amount", "stats:*", ":", "a:b:c", "stats:", "1:materialize", "2:promote v2", "3:materialize x y z", "4:"),
    *(
        "a = 1 and",
        "request.x",
        "sum(1)",
        "';--",
        "(" * 300,
        "a in (b)",
        "!a",
        "a notin ()",
        "metadata.name=a",
        "/a/0/b",
    ),
    *(
        [],
        {},
        [[]],
        [{}],
        [None],
        {"": 1},
        {"a": {"b": []}},
        ["a", "a"],
        [1] * 300,
        {"a\0": 1},
        {"a/b": "c"},
        {"\ud800": 1},
    ),
    *(_nested(120, list), _nested(120, dict), *_DEEP),
)


def edited(documents: Sequence[Any]) -> st.SearchStrategy[bytes]:
    """One of the documents with one to four edits, as JSON that need not be valid (NaN, keys that come twice)."""
    place = st.integers(0, 2**16)
    edit = st.tuples(st.sampled_from(_EDITS), place, st.integers(0, len(VALUES) - 1), place)
    edits = st.lists(edit, min_size=1, max_size=4)
    return st.tuples(st.sampled_from(range(len(documents))), edits).map(
        lambda drawn: _written(documents[drawn[0]], drawn[1])
    )


def _written(document: Any, edits: Sequence[tuple[str, int, int, int]]) -> bytes:
    root = {"": copy.deepcopy(document)}
    for kind, place, value, other in edits:
        places = list(_places(root, 0))
        _edit(kind, places[place % len(places)], places[other % len(places)], copy.deepcopy(VALUES[value]))
    text = json.dumps(root[""]).replace(json.dumps(_TWICE)[1:-1], "")
    for word, depth in _DEEP.items():
        text = text.replace(json.dumps(word), "[" * depth + "]" * depth)
    return text.encode()


def _places(node: Any, depth: int) -> Iterator[tuple[Any, Any]]:
    """Each (container, key), as far down as edits may go."""
    if depth > 60:
        return
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key], depth + 1)


def _edit(kind: str, at: tuple[Any, Any], other: tuple[Any, Any], value: Any) -> None:
    node, key = at
    if kind == "swap":
        # A copy: a tree that has itself inside has no end.
        node[key] = copy.deepcopy(other[0][other[1]])
    elif kind == "delete" and key != "":
        del node[key]
    elif kind == "rename" and isinstance(node, dict) and key != "":
        node[value if isinstance(value, str) else f"{key}x"] = node.pop(key)
    elif kind == "repeat" and isinstance(node, list):
        node[key:key] = [node[key]] * 3
    elif kind == "wrap":
        node[key] = [node[key]] if isinstance(value, list) else {"a": node[key]}
    elif kind == "twice" and isinstance(node, dict) and key != "":
        node[f"{key}{_TWICE}"] = value
    else:
        node[key] = value
