"""Who moved an alias or a stage, when, from what to what: written in the transaction of the move itself."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, insert, select, update

from millrace_services.registry.model_tables import model_changes

Kind = Literal["alias", "stage"]
LIMIT: Final = 1000


class Author(NamedTuple):
    """Who makes a change, and why, as they say themselves; ``at`` in milliseconds since 1970."""

    at: int
    actor: str = ""
    client: str = ""
    reason: str = ""


def record(
    connection: Connection, author: Author, name: str, kind: Kind, subject: str, before: str, after: str
) -> None:
    """Notes a move; one to where it was is none."""
    if before == after:
        return
    row = {"name": name, "kind": kind, "subject": subject, "before": before, "after": after}
    connection.execute(insert(model_changes).values(**row, **author._asdict()))


def rename(connection: Connection, name: str, new_name: str) -> None:
    """The history goes with its model."""
    connection.execute(update(model_changes).where(model_changes.c.name == name).values(name=new_name))


def listed(connection: Connection, name: str, alias: str, limit: int) -> list[dict[str, Any]]:
    """The newest changes of a model, newest first; with ``alias`` those of this one alone."""
    wanted = [model_changes.c.name == name]
    if alias:
        wanted += [model_changes.c.kind == "alias", model_changes.c.subject == alias]
    rows = connection.execute(select(model_changes).where(*wanted).order_by(model_changes.c.id.desc()).limit(limit))
    return [
        {
            "at": row.at,
            row.kind if row.kind == "alias" else "version": row.subject,
            "kind": row.kind,
            "from": row.before or None,
            "to": row.after or None,
            "actor": row.actor or None,
            "client": row.client or None,
            "reason": row.reason or None,
        }
        for row in rows
    ]
