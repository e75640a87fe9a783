"""Definition of a feature view: what a stored row of it means.

It is the SHA-256 digest of what decides a stored row, and changes when, and only when, one of these changes:

- the join keys: their names, types and order (int32 and int64 are one type here, as they are one entity);
- the stored features (all but those on demand): their names, types, meanings and order;
- ``source.timestampField``, ``source.createdTimestampField`` and their units, and ``source.where``;
- of ``source.columns`` those that a key, a time, a stored feature or ``where`` reads: their names and expressions.

Two views with one definition read each other's rows rightly. It does not change with ``ttl`` (checked when a row is
read), the source's address, the schedule, or anything that is only about the view (description, owner, tags). It is
``status.schemaHash``; stored rows carry its first 8 bytes, runs and training sets the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from millrace_core.api.names import digest

_KEY_TYPES: Final = {"int32": "int", "int64": "int"}


def view_definition(
    join_keys: Iterable[tuple[str, str]],
    features: Iterable[tuple[str, str, str]],
    *,
    timestamp_field: str,
    created_field: str | None,
    where: str | None,
    columns: Iterable[tuple[str, str]] = (),
    units: tuple[str | None, str | None] = (None, None),
) -> str:
    """``sha256:`` and 64 hex digits.

    Args:
        join_keys: name and type, in order.
        features: name, type and meaning of each stored feature, in order.
        where: the row filter in its one form (``expressions.parse(…).text``); None: there is none.
        columns: name and expression, in its one form, of each computed column that is read.
        units: of the event time and of the created time.
    """
    computed = sorted([name, text] for name, text in columns)
    decisive = {
        "entities": [[name, _KEY_TYPES.get(kind, kind)] for name, kind in join_keys],
        "features": [list(feature) for feature in features],
        "timestamp": timestamp_field,
        "created": created_field,
        **({} if where is None else {"where": where}),
        **({"columns": computed} if computed else {}),
        **({"units": list(units)} if any(units) else {}),
    }
    return f"sha256:{digest(decisive)}"
