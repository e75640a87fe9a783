"""The order of a merged list: what the patch says, then what the list had.

Source: the design "preserve order in strategic merge patch".
"""

from __future__ import annotations

import json
from typing import Any


def identity(item: Any, merge_key: str) -> Any:
    """What tells list items apart: the merge key's value, or the item itself in a list of scalars."""
    value = item.get(merge_key) if merge_key and isinstance(item, dict) else item
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else (type(value), value)


def ordered(merged: list[Any], patch_order: list[Any], live_order: list[Any], merge_key: str) -> list[Any]:
    """Items in the patch come in its order; the others keep their order and their place among them."""
    named = _positions(patch_order, merge_key)
    live = _positions(live_order, merge_key)
    last = len(merged)
    patched = [item for item in merged if identity(item, merge_key) in named]
    others = [item for item in merged if identity(item, merge_key) not in named]
    patched.sort(key=lambda item: named[identity(item, merge_key)])
    others.sort(key=lambda item: live.get(identity(item, merge_key), last))
    return _interleaved(others, patched, live, merge_key)


def _positions(items: list[Any], merge_key: str) -> dict[Any, int]:
    positions: dict[Any, int] = {}
    for position, item in enumerate(items):
        positions.setdefault(identity(item, merge_key), position)
    return positions


def _interleaved(others: list[Any], patched: list[Any], live: dict[Any, int], merge_key: str) -> list[Any]:
    """Puts each other item before the first patched item that stood after it in the live list."""
    result: list[Any] = []
    waiting = list(others)
    for item in patched:
        position = live.get(identity(item, merge_key))
        while waiting and position is not None:
            first = live.get(identity(waiting[0], merge_key))
            if first is None or first >= position:
                break
            result.append(waiting.pop(0))
        result.append(item)
    return result + waiting
