"""What the registry says of its catalogue as a whole: which it is, which state of it, and what it was told in full.

Several releases of Millrace may write to it, each of the namespaces that it acts on. The last change in these is the
revision of the release, so that each sees whether its part is as it left it, and none is disturbed by another.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, delete, insert, select, update

from millrace_core.base.errors import RetryError
from millrace_services.registry.tables import meta

_LISTED: Final = "listed:"
_RELEASE: Final = "release:"

# Names of namespaces; None: all.
Namespaces = Collection[str] | None


class Release(NamedTuple):
    """What a release has told.

    Attributes:
        revision: of the last change in its namespaces.
        namespaces: those that it acts on; None: all.
    """

    revision: int
    namespaces: frozenset[str] | None

    def has_any(self, namespaces: Namespaces) -> bool:
        """Whether one of the namespaces is among its own."""
        if self.namespaces is None or namespaces is None:
            return namespaces is None or bool(namespaces)
        return not self.namespaces.isdisjoint(namespaces)


class State(NamedTuple):
    """The state of the catalogue.

    Attributes:
        catalogue_id: stays the same for as long as the database lives.
        revision: rises with every change.
        listed: the kinds of which a whole list has come. Of others it is not known what there is.
        releases: by name, those that have told a list.
    """

    catalogue_id: str
    revision: int
    listed: frozenset[str]
    releases: Mapping[str, Release]

    def as_dict(self, release: str = "") -> dict[str, Any]:
        """As answers have it; those to a release hold its own revision too."""
        own = {"releaseRevision": self.revision_of(release)} if release else {}
        return {"catalogueId": self.catalogue_id, "revision": self.revision, "listed": sorted(self.listed), **own}

    def revision_of(self, release: str) -> int:
        """The revision of a release's part, 0 where it has told nothing; without a name that of all."""
        if not release:
            return self.revision
        return self.releases[release].revision if release in self.releases else 0

    def left_by(self, release: str, scope: Namespaces) -> frozenset[str]:
        """The namespaces that the release had and has no more, now that it acts on ``scope``."""
        known = self.releases.get(release)
        if known is None or known.namespaces is None or scope is None:
            return frozenset()
        return known.namespaces.difference(scope)

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
    releases = {key.removeprefix(_RELEASE): _release(known[key]) for key in known if key.startswith(_RELEASE)}
    return State(known["catalogue_id"], int(known["revision"]), listed, releases)


def touch(connection: Connection, namespaces: Namespaces = None) -> State:
    """Gives the catalogue its next revision, and each release that has one of these namespaces, in which it changed.

    It is the present moment in microseconds, or one more than the last: what is written after a backup was restored
    has a higher revision than all that was written before.
    """
    before = read(connection)
    revision = max(before.revision + 1, time.time_ns() // 1000)
    connection.execute(update(meta).where(meta.c.key == "revision").values(value=str(revision)))
    for name, release in before.releases.items():
        if release.has_any(namespaces):
            _write(connection, _RELEASE + name, _shown(release._replace(revision=revision)))
    return read(connection)


def claim(connection: Connection, name: str, scope: Namespaces) -> None:
    """Notes which namespaces a release acts on.

    One that another had is no longer the other's, which sees that by its revision: it was never told this one. Of
    another that has none left nothing is kept.
    """
    known = read(connection).releases
    held = known.get(name, Release(0, frozenset()))
    mine = None if scope is None else frozenset(scope)
    _write(connection, _RELEASE + name, _shown(held._replace(namespaces=mine)))
    for other, release in known.items():
        if other != name and release.namespaces is not None and release.has_any(scope):
            rest = frozenset() if scope is None else release.namespaces.difference(scope)
            _write(connection, _RELEASE + other, _shown(Release(0, rest)) if rest else None)


def mark_listed(connection: Connection, kind: str) -> None:
    """Notes that all objects of the kind have come."""
    _write(connection, _LISTED + kind, "yes")


def _write(connection: Connection, key: str, value: str | None) -> None:
    connection.execute(delete(meta).where(meta.c.key == key))
    if value is not None:
        connection.execute(insert(meta).values(key=key, value=value))


def _release(text: str) -> Release:
    revision, namespaces = orjson.loads(text)
    return Release(revision, None if namespaces is None else frozenset(namespaces))


def _shown(release: Release) -> str:
    namespaces = None if release.namespaces is None else sorted(release.namespaces)
    return orjson.dumps([release.revision, namespaces]).decode()
