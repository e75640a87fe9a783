"""Keys of the online store. Runs and pushes write them; the gateway and the SDK read them.

The row of one entity in one view::

    {project}:{view}:{<entity key>}          default:user-stats:{1001}

The braces are part of the key: they enclose the hash tag of Redis Cluster, so the rows of one entity are in one slot in
all views. Project and view are DNS labels, so they hold neither ``:`` nor ``{``. All else that is known of a view::

    {project}:{view}:meta                    default:user-stats:meta   (a hash, see ``META_*``)

The entity key is the canonical text of the join keys in the definition's order, joined by ``|``:

==============  ============================================================================================
int32, int64    decimal, so 1001 is ``1001`` whichever width it came in
bool            ``true`` or ``false``
timestamp       microseconds since 1970 UTC, decimal
string          UTF-8, with ``\\``, ``|``, ``{`` and ``}`` written as ``\\\\``, ``\\p``, ``\\o`` and ``\\c``
bytes           the same, over the bytes themselves
==============  ============================================================================================

A view without entities has one row, whose entity key is ``0``.

Different entities of a view have different keys. This module makes keys one by one and needs only Python;
``key_columns`` makes them by column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from millrace_core.base.errors import RejectError, ReportError
from millrace_core.base.shown import shown
from millrace_core.features.definition.definition import GLOBAL, GLOBAL_VALUE, Definition, JoinKey
from millrace_core.features.types import times

SEPARATOR: Final = b"|"
# Braces would end the hash tag early; the order matters, because the escape itself must be escaped first.
ESCAPES: Final = ((b"\\", b"\\\\"), (b"|", b"\\p"), (b"{", b"\\o"), (b"}", b"\\c"))

# Fields of the meta hash: the event time up to which the view is complete (microseconds, decimal); the schema hash of
# the rows that are written now; and for each schema that rows may have (8 bytes in hex) its ``row.Layout`` as JSON.
META_WATERMARK: Final = b"watermark"
META_SCHEMA: Final = b"schema"
META_LAYOUT: Final = b"layout:"
# The newest created time (microseconds) that runs have seen, where the view has created times. By it the next run finds
# late rows, whatever their event time. It moves together with the watermark, atomically.
META_CREATED: Final = b"created"
# What quality checks compare a run with (``QualityBaseline`` as JSON). It moves together with the watermark, too.
META_QUALITY: Final = b"quality"
# Runs at work, each by one process or several. ``run:<id>`` is what all of them cover, ``run:<id>:verdict`` the
# verdict of quality checks, and ``run:<id>:<shard>`` the newest created time that a shard saw, written when all its
# rows are acknowledged. Each value begins with the time when the run began (microseconds, then a space). The last shard
# to end moves the watermark and removes these fields, atomically. What a failed run leaves is removed two days later.
META_RUN: Final = b"run:"
# The present generation of the view (``generation``), and of the last pass: all that its sweep needs as JSON; while it
# has not ended, the generation of the first pass that did not, and how far it is (``writing`` or ``sweeping``).
META_GENERATION: Final = b"generation"
META_PASS: Final = b"pass"
META_SINCE: Final = b"since"
META_PHASE: Final = b"phase"
# How much later than now rows were allowed to be that were pushed (microseconds), where that was more than usual.
META_TOLERANCE: Final = b"tolerance"
# ``Generation.doubtful``, while a full run has not ended.
META_DOUBTFUL: Final = b"doubtful"

_GLOBAL_TEXT: Final = b"%d}" % GLOBAL_VALUE
_INTEGERS: Final = {int}
_STRINGS: Final = {str}
_INT_BITS: Final = {"int32": 31, "int64": 63}


def prefix(project: str, view: str) -> bytes:
    """The beginning of the keys of all rows of a view, up to the opening brace."""
    return f"{project}:{view}:{{".encode()


def meta(project: str, view: str) -> bytes:
    """Key of the view's meta hash."""
    return f"{project}:{view}:meta".encode()


def store_keys(
    definition: Definition, columns: Mapping[str, Sequence[Any]], rows: int | None = None
) -> list[bytes | None]:
    """Store keys of many entities, from equally long columns of Python values or their JSON forms, by join key.

    Args:
        rows: the length of the columns, for where there may be none.

    Returns:
        One key per row; None where a join key is null, because a null matches nothing.

    Raises:
        RejectError: a join key is missing, or a value has another type than the definition says; names the join
            key, and the row by its index.
    """
    head = prefix(definition.project, definition.view)
    return [None if text is None else head + text for text in entity_texts(definition, columns, rows)]


def entity_texts(
    definition: Definition, columns: Mapping[str, Sequence[Any]], rows: int | None = None
) -> list[bytes | None]:
    """The ends of store keys, the same for all views with the same join keys.

    Arguments and errors are those of ``store_keys``.
    """
    if not definition.entities:
        return [_GLOBAL_TEXT] * (1 if rows is None else rows)
    parts = []
    for key in definition.entities:
        if key.request_column not in columns:
            raise RejectError(
                f"join key {key.request_column!r} of feature view {definition.view!r} is missing",
                hint=f"Send a list of {key.type} values for it",
                field=f"entities.{key.request_column}",
            )
        parts.append(canonical(key, columns[key.request_column]))
    if len(parts) == 1:
        return [None if part is None else part + b"}" for part in parts[0]]
    return [None if None in row else SEPARATOR.join(row) + b"}" for row in zip(*parts, strict=True)]


def canonical(key: JoinKey, values: Sequence[Any]) -> list[bytes | None]:
    """Canonical texts of one join key's values; a null stays null.

    Raises:
        RejectError: a value has another type than the definition says.
    """
    kind = key.type
    if kind in _INT_BITS:
        # The most frequent case by far. The exact type is compared, because in Python a bool is an int.
        if set(map(type, values)) == _INTEGERS:
            bound = 1 << _INT_BITS[kind]
            if -bound <= min(values) and max(values) < bound:
                return [b"%d" % value for value in values]
    elif kind == "string" and set(map(type, values)) == _STRINGS:
        return [_escaped(_utf8(key, row, value)) for row, value in enumerate(values)]
    return [None if value is None else _one(key, row, value) for row, value in enumerate(values)]


def _one(key: JoinKey, row: int, value: Any) -> bytes:
    match key.type:
        case "int32" | "int64" if isinstance(value, int) and not isinstance(value, bool):
            bound = 1 << _INT_BITS[key.type]
            if -bound <= value < bound:
                return b"%d" % value
        case "bool" if isinstance(value, bool):
            return b"true" if value else b"false"
        case "string" if isinstance(value, str):
            return _escaped(_utf8(key, row, value))
        case "bytes" if isinstance(value, bytes):
            return _escaped(value)
        case "timestamp" if isinstance(value, datetime):
            return b"%d" % times.microseconds(value)
        case "timestamp" if isinstance(value, str):
            return b"%d" % times.parse(value, field=f"entities.{key.request_column}[{row}]")
    raise _mistyped(key, row, value)


def _escaped(value: bytes) -> bytes:
    for plain, escape in ESCAPES:
        if plain in value:
            value = value.replace(plain, escape)
    return value


def _utf8(key: JoinKey, row: int, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise _mistyped(key, row, value) from error


def _mistyped(key: JoinKey, row: int, value: Any) -> RejectError:
    expected = {"timestamp": "an RFC 3339 time", "string": "a string of Unicode characters"}.get(key.type, key.type)
    return RejectError(
        f"{shown(value)} ({type(value).__name__}) came, {expected} is expected",
        field=f"entities.{key.request_column}[{row}]",
    )


def entity(definition: Definition, store_key: bytes) -> dict[str, Any]:
    """The join keys of a store key of the view; times are microseconds.

    Raises:
        ReportError: this is not the key of a row of the view.
    """
    head = prefix(definition.project, definition.view)
    inner = store_key[len(head) : -1]
    parts = inner.split(SEPARATOR)
    if not store_key.startswith(head) or not store_key.endswith(b"}") or len(parts) != len(definition.join_keys):
        raise _no_key(definition, store_key)
    try:
        found = {key.name: _parsed(key, part) for key, part in zip(definition.join_keys, parts, strict=True)}
    except (ValueError, KeyError) as error:
        raise _no_key(definition, store_key) from error
    found.pop(GLOBAL.name, None)
    return found


def _parsed(key: JoinKey, part: bytes) -> Any:
    match key.type:
        case "bool":
            return {b"true": True, b"false": False}[part]
        case "string" | "bytes":
            plain = _unescaped(part)
            return plain.decode() if key.type == "string" else plain
        case _:
            return int(part)


def _unescaped(part: bytes) -> bytes:
    plain = {escape[1:]: char for char, escape in ESCAPES}
    return re.sub(rb"\\(.)", lambda found: plain[found[1]], part, flags=re.DOTALL)


def _no_key(definition: Definition, store_key: bytes) -> ReportError:
    return ReportError(
        f"the online store has a key {shown(store_key, 100)} that is no row of feature view {definition.view!r}",
        hint="Something else writes under Millrace's keys",
        reason="CorruptKey",
    )
