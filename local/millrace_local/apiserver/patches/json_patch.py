"""JSON patch (RFC 6902), with the error messages of the Go library that Kubernetes uses."""

from __future__ import annotations

import re
from typing import Any

from millrace_core.schema.defaulting import copied
from millrace_local.apiserver.patches.errors import PatchError

MAX_OPERATIONS = 10_000  # the limit of a Kubernetes API server

_INDEX = re.compile("0|[1-9][0-9]*")
_MISSING = object()


def apply_json_patch(doc: dict[str, Any], ops: Any) -> dict[str, Any]:
    """The document after all operations; ``doc`` is never changed. Raises PatchError."""
    if not isinstance(ops, list) or not all(isinstance(op, dict) for op in ops):
        raise PatchError.malformed("a JSON patch must be a list of operations")
    if len(ops) > MAX_OPERATIONS:
        limit = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        raise PatchError(limit, reason="RequestEntityTooLarge")
    holder: dict[str, Any] = {"": copied(doc)}
    for op in ops:
        _apply(holder, op)
    result = holder[""]
    if not isinstance(result, dict):
        raise PatchError("the patched document is not an object")
    return result


def _apply(holder: dict[str, Any], op: dict[str, Any]) -> None:
    kind = op.get("op")
    if kind in {"add", "replace", "test"}:
        if "value" not in op and kind != "test":
            raise PatchError.malformed(f'{kind} operation at "{op.get("path")}" has no value')
        value = copied(op.get("value"))
        {"add": _add, "replace": _replace, "test": _test}[kind](holder, _pointer(op, "path"), value)
    elif kind == "remove":
        _remove(holder, _pointer(op, "path"))
    elif kind in {"move", "copy"}:
        source, target = _pointer(op, "from"), _pointer(op, "path")
        value = _get(holder, source)
        if value is _MISSING:
            raise PatchError(
                f"{kind} operation does not apply: doc is missing from path: {_shown(source)}: missing value"
            )
        if kind == "move":
            if target[: len(source)] == source and target != source:
                raise PatchError(f"move operation does not apply: {_shown(source)} cannot move into itself")
            _remove(holder, source)
        _add(holder, target, copied(value))
    else:
        raise PatchError.malformed(f"Unexpected kind: {kind}")


def _pointer(op: dict[str, Any], member: str) -> tuple[str, ...]:
    """The reference tokens, below one for the document itself."""
    text = op.get(member)
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError.malformed(
            f'{op.get("op")} operation has the {member} {text!r}, expected a JSON pointer such as "/spec/x"'
        )
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in text.split("/"))


def _shown(pointer: tuple[str, ...]) -> str:
    return "/".join(key.replace("~", "~0").replace("/", "~1") for key in pointer)


def _step(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        return container.get(key, _MISSING)
    if isinstance(container, list) and _INDEX.fullmatch(key) and int(key) < len(container):
        return container[int(key)]
    return _MISSING


def _get(holder: Any, pointer: tuple[str, ...]) -> Any:
    value = holder
    for key in pointer:
        value = _step(value, key)
        if value is _MISSING:
            return _MISSING
    return value


def _container(holder: Any, pointer: tuple[str, ...], operation: str) -> Any:
    container = _get(holder, pointer[:-1])
    if not isinstance(container, dict | list):
        raise PatchError(
            f'{operation} operation does not apply: doc is missing path: "{_shown(pointer)}": missing value'
        )
    return container


def _add(holder: Any, pointer: tuple[str, ...], value: Any) -> None:
    container, key = _container(holder, pointer, "add"), pointer[-1]
    if isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    elif _INDEX.fullmatch(key) and int(key) <= len(container):
        container.insert(int(key), value)
    else:
        where = f"error in add for path: '{_shown(pointer)}'"
        raise PatchError(f"{where}: Unable to access invalid index: {key}: invalid index referenced")


def _remove(holder: Any, pointer: tuple[str, ...]) -> None:
    container, key = _container(holder, pointer, "remove"), pointer[-1]
    where = f"error in remove for path: '{_shown(pointer)}'"
    if _step(container, key) is _MISSING:
        if isinstance(container, dict):
            raise PatchError(f"{where}: Unable to remove nonexistent key: {key}: missing value")
        raise PatchError(f"{where}: Unable to access invalid index: {key}: invalid index referenced")
    del container[key if isinstance(container, dict) else int(key)]


def _replace(holder: Any, pointer: tuple[str, ...], value: Any) -> None:
    container, key = _container(holder, pointer, "replace"), pointer[-1]
    if _step(container, key) is _MISSING:
        raise PatchError(f"replace operation does not apply: doc is missing key: {_shown(pointer)}: missing value")
    container[key if isinstance(container, dict) else int(key)] = value


def _test(holder: Any, pointer: tuple[str, ...], value: Any) -> None:
    actual = _get(holder, pointer)
    if actual is _MISSING:
        actual = None  # as in Kubernetes' library, a test for null passes if there is no value
    if not _same(actual, value):
        raise PatchError(f"testing value {_shown(pointer)} failed: test failed")


def _same(left: Any, right: Any) -> bool:
    """JSON equality: true is not 1, but 1 is 1.0."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)
