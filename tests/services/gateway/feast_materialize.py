"""Feast's own client has views materialized, run in Feast's environment: ``feast_materialize.py FOLDER GATEWAY``.

Prints what each call came to: ``null``, or the error as Feast's client raises it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from feast_peer import store

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)


def came(call: Callable[[], object]) -> str | None:
    try:
        call()
    except RuntimeError as error:
        return str(error)
    return None


def main(folder: str, gateway: str) -> None:
    client = store(folder, {"type": "remote", "path": gateway})
    view = ["user_stats"]
    answers = [
        came(lambda: client.materialize(START, END, view)),
        came(lambda: client.materialize_incremental(END, view)),
        came(lambda: client.materialize(START, END, view, run_async=True)),
        came(lambda: client.materialize(START, END, view, run_async=True)),
        came(lambda: client.materialize(START, END, view, run_async=True, force=True)),
        came(lambda: client.materialize(START, END, ["none"])),
    ]
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
