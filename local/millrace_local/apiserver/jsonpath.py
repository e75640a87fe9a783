"""The JSONPath subset of printer columns and scale paths: ``.a.b[0]['c.d'].e[?(@.type=="Ready")].status``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from millrace_core.base.errors import RejectError

_TOKEN = re.compile(
    r"""\.(?P<key>(?:\\.|[^.\[\]\\])+)
      | \[(?P<index>-?\d+)\]
      | \[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
      | (?P<all>\[\*\]|\.\*)
      | \[\?\(@(?P<path>(?:\.[^=!<>\s()]+)?)\s*(?:(?P<op>==|!=)\s*(?P<value>"[^"]*"|'[^']*'|[^)\s]+)\s*)?\)\]
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[re.Match[str], ...]:
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and text[0] not in ".[":
        text = f".{text}"
    steps, position = [], 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise RejectError(
                f"{path!r} is not a simple JSONPath: cannot read it from {text[position:]!r}", field="jsonPath"
            )
        steps.append(found)
        position = found.end()
    return tuple(steps)


def check(path: str) -> None:
    """Refuses a path that cannot be parsed.

    Raises:
        RejectError: says at which step.
    """
    _steps(path)


def find(document: Any, path: str) -> list[Any]:
    """All values that the path selects; empty where it selects none."""
    nodes = [document]
    for step in _steps(path):
        nodes = [found for node in nodes for found in _follow(node, step)]
    return nodes


def value_at(obj: Any, path: str) -> Any:
    """The value at a dotted path, ``None`` where absent."""
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return obj


def _follow(node: Any, step: re.Match[str]) -> Iterator[Any]:
    if step["key"] is not None or step["quoted"] is not None:
        key = re.sub(r"\\(.)", r"\1", step["key"]) if step["key"] is not None else step["quoted"]
        if key == "*":
            yield from node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        elif isinstance(node, dict) and key in node:
            yield node[key]
    elif step["index"] is not None:
        index = int(step["index"])
        if isinstance(node, list) and -len(node) <= index < len(node):
            yield node[index]
    elif step["all"] is not None:
        yield from node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    elif isinstance(node, list):
        yield from (item for item in node if _passes(item, step))


def _passes(item: Any, step: re.Match[str]) -> bool:
    held = find(item, step["path"]) if step["path"] else [item]
    if step["op"] is None:
        return bool(held)
    wanted = step["value"].strip("\"'")
    equal = any(_text(value) == wanted for value in held)
    return equal if step["op"] == "==" else not equal


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
