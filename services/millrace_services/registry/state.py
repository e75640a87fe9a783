"""What the registry says of its catalogue as a whole: which it is, which state of it, and what it was told in full."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, insert, select, update

from millrace_core.base.errors import RetryError
from millrace_services.registry.tables import meta

_LISTED: Final = "listed:"


class State(NamedTuple):
    """The state of the catalogue.

    Attributes:
        catalogue_id: stays the same for as long as the database lives.
        revision: rises with every change.
        listed: the kinds of which a whole list has come. Of others it is not known what there is.
    """

    catalogue_id: str
    revision: int
    listed: frozenset[str]

    def as_dict(self) -> dict[str, Any]:
        """As answers have it."""
        return {"catalogueId": self.catalogue_id, "revision": self.revision, "listed": sorted(self.listed)}

    def require(self, kinds: Iterable[str]) -> None:
        """That the catalogue lacks something says nothing before it was told all there is.

        Raises:
            RetryError: of one of the kinds no whole list has come.
        """
        missing = sorted(set(kinds) - self.listed)
        if missing:
            raise RetryError(
                f"the registry does not know yet which objects there are of the kinds {', '.join(missing)}",
                hint="The operator tells it within seconds of its own start; if this lasts, see what the operator logs",
                reason="NotListed",
                delay=2,
            )


def read(connection: Connection) -> State:
    """The state that the connection sees. It is asked of the database every time, since others write to it, too."""
    known: dict[str, str] = {row.key: row.value for row in connection.execute(select(meta))}
    listed = frozenset(key.removeprefix(_LISTED) for key in known if key.startswith(_LISTED))
    return State(known["catalogue_id"], int(known["revision"]), listed)


def touch(connection: Connection) -> State:
    """Gives the catalogue its next revision.

    It is the present moment in microseconds, or one more than the last: what is written after a backup was restored
    has a higher revision than all that was written before.
    """
    revision = max(read(connection).revision + 1, time.time_ns() // 1000)
    connection.execute(update(meta).where(meta.c.key == "revision").values(value=str(revision)))
    return read(connection)


def mark_listed(connection: Connection, kind: str) -> None:
    """Notes that all objects of the kind have come."""
    connection.execute(delete(meta).where(meta.c.key == _LISTED + kind))
    connection.execute(insert(meta).values(key=_LISTED + kind, value="yes"))
