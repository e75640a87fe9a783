"""Definition of a feature view: what a stored row of it means.

It is the SHA-256 digest of what decides a stored row, and changes when, and only when, one of these changes:

- the join keys: their names, types and order (int32 and int64 are one type here, as they are one entity);
- the stored features (all but those on demand): their names, types, meanings and order;
- ``source.timestampField``, ``source.createdTimestampField`` and ``source.where``.

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
) -> str:
    """``sha256:`` and 64 hex digits.

    Args:
        join_keys: name and type, in order.
        features: name, type and meaning of each stored feature, in order.
        where: the row filter in its one form (``expressions.parse(…).text``); None: there is none.
    """
    decisive = {
        "entities": [[name, _KEY_TYPES.get(kind, kind)] for name, kind in join_keys],
        "features": [list(feature) for feature in features],
        "timestamp": timestamp_field,
        "created": created_field,
        **({} if where is None else {"where": where}),
    }
    return f"sha256:{digest(decisive)}"
