"""Parameters and tags of runs as rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, select

from millrace_services.registry.mlflow.errors import invalid
from millrace_services.registry.tracking_tables import HEAD, run_params, tracked_runs

_PARAM: Final = "INSERT INTO run_params (run, key, value, head) VALUES "
_TAG: Final = "INSERT INTO run_tags (run, key, value, head) VALUES "
_OVER: Final = " ON CONFLICT (run, key) DO UPDATE SET value = excluded.value, head = excluded.head"


def write_tags(connection: Connection, run: int, tags: Mapping[str, str]) -> None:
    """Writes tags over those of their keys."""
    _write(connection, _TAG, _OVER, run, tags)


def write_params(connection: Connection, run: int, params: Mapping[str, str]) -> None:
    """Writes parameters; one that is there with the same value is left.

    Raises:
        MlflowError: one is there with another value.
    """
    before = held(connection, run_params, run, [*params])
    changed = [
        {"key": key, "old_value": before[key], "new_value": value}
        for key, value in params.items()
        if key in before and before[key] != value
    ]
    if changed:
        raise invalid(
            "Changing param values is not allowed. Params were already logged="
            f"'{changed}' for run ID='{_run_id(connection, run)}'."
        )
    _write(connection, _PARAM, "", run, {key: value for key, value in params.items() if key not in before})


def held(connection: Connection, table: Table, run: int, keys: list[str]) -> dict[str, str]:
    """The values of some keys."""
    wanted = select(table.c.key, table.c.value).where(table.c.run == run, table.c.key.in_(keys))
    return dict(connection.execute(wanted).all()) if keys else {}


def _write(connection: Connection, begin: str, end: str, run: int, pairs: Mapping[str, str]) -> None:
    if not pairs:
        return
    rows: list[tuple[Any, ...]] = [(run, key, value, value[:HEAD]) for key, value in pairs.items()]
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    connection.exec_driver_sql(f"{begin}({mark}, {mark}, {mark}, {mark}){end}", rows)


def _run_id(connection: Connection, run: int) -> Any:
    return connection.scalar(select(tracked_runs.c.run_id).where(tracked_runs.c.id == run))
