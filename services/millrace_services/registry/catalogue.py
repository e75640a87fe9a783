"""The catalogue: objects in, searches and compiled definitions out."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, Table, and_, delete, exists, func, insert, select

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError
from millrace_core.base.shown import shown
from millrace_core.experiments.publishing import published_form
from millrace_core.features.online.edition import Edition
from millrace_services.registry import state
from millrace_services.registry.database import Database
from millrace_services.registry.documents import EXPERIMENT, FEATURE_SERVICE, KINDS, Entry
from millrace_services.registry.state import State
from millrace_services.registry.tables import objects, schemas, terms
from millrace_services.web.errors import ConflictError

logger = logging.getLogger(__name__)

# What definitions are made of, beside feature services.
_DEFINING: Final = ("FeatureView", "ModelDeployment")


class Search(NamedTuple):
    """What to look for; empty means anything. ``tags`` are ``key=value`` or ``key``; ``words`` must all occur."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    owner: str = ""
    entity: str = ""
    feature: str = ""
    tags: Sequence[str] = ()
    words: Sequence[str] = ()


class Part(NamedTuple):
    """Of what a whole list is.

    Attributes:
        release: who tells it; empty: nobody who comes back to see whether it is as it was left.
        namespaces: those whose objects are listed; None: all.
        scope: those that the release acts on; None: all. What it told of others before is gone.
    """

    release: str = ""
    namespaces: frozenset[str] | None = None
    scope: frozenset[str] | None = None


# All there is, told by nobody in particular.
WHOLE: Final = Part()


class Definitions(NamedTuple):
    """The answer to ``GET /v1/definitions``, its entity tag, and the newest edition of which it is."""

    body: bytes
    etag: str
    edition: Edition = Edition()


class Catalogue:
    """Reads and writes of the catalogue, each one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cached = Definitions(b"", "")
        self._lock = threading.Lock()

    def state(self) -> State:
        """Which catalogue this is, and what it was told in full."""
        with self._database.reading() as connection:
            return state.read(connection)

    def replace(self, kind: str, entries: Sequence[Entry], empties: int = 0, part: Part = WHOLE) -> State:
        """Makes ``entries`` all there is of a kind in the part's namespaces.

        Args:
            kind: one of the three.
            entries: every object of it there.
            empties: the revision whose objects of the kind are gone, all of them; a release says its own. Only with it
                an empty list takes away what is there.

        Raises:
            ConflictError: the list is empty, there are objects of the kind, and ``empties`` is not the revision.
            RejectError: an object is of another namespace.
        """
        _must_be_within(entries, part.namespaces)
        with self._database.writing() as connection:
            now = state.read(connection)
            if not entries and empties != (revision := now.revision_of(part.release)):
                there = _there(objects, [kind], part.namespaces)
                held = connection.scalar(select(func.count()).select_from(objects).where(*there))
                if held:
                    raise _would_empty(kind, held, revision)
            left = now.left_by(part.release, part.scope)
            for table in (terms, objects):
                connection.execute(delete(table).where(*_there(table, [kind], part.namespaces)))
                connection.execute(delete(table).where(*_there(table, KINDS, left)))
            _insert(connection, entries)
            self._remember_schemas(connection, entries)
            state.mark_listed(connection, kind)
            if part.release:
                state.claim(connection, part.release, part.scope)
            return state.touch(connection, None if part.namespaces is None else part.namespaces | left)

    def put(self, entry: Entry) -> State:
        """Adds an object, or puts it in the place of the one with its name."""
        with self._database.writing() as connection:
            _remove(connection, entry.kind, entry.namespace, entry.name)
            _insert(connection, [entry])
            self._remember_schemas(connection, [entry])
            return _touched(connection, entry.kind, entry.namespace)

    def remove(self, kind: str, namespace: str, name: str) -> State:
        """Removes an object.

        Raises:
            NotFoundError: it is not there.
        """
        with self._database.writing() as connection:
            if not _remove(connection, kind, namespace, name):
                raise _absent(kind, namespace, name)
            return _touched(connection, kind, namespace)

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """One object.

        Raises:
            NotFoundError: it is not there.
            RetryError: nor has a whole list of the kind come.
        """
        with self._database.reading() as connection:
            wanted = (objects.c.kind == kind, objects.c.namespace == namespace, objects.c.name == name)
            document = connection.scalar(select(objects.c.document).where(*wanted))
            if document is None:
                state.read(connection).require({kind} & set(KINDS))
                raise _absent(kind, namespace, name)
        found: dict[str, Any] = orjson.loads(document)
        return found

    def search(self, search: Search, limit: int, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The objects that match, by kind, namespace and name, and how many there are in all.

        Raises:
            RetryError: of a kind that is looked for no whole list has come.
        """
        conditions = _conditions(search)
        listed = select(objects.c.document).where(*conditions).limit(limit).offset(offset)
        ordered = listed.order_by(objects.c.kind, objects.c.namespace, objects.c.name)
        with self._database.reading() as connection:
            state.read(connection).require({search.kind} & set(KINDS) if search.kind else KINDS)
            total = connection.scalar(select(func.count()).select_from(objects).where(*conditions))
            return [orjson.loads(document) for document in connection.scalars(ordered)], total or 0

    def definitions(self) -> Definitions:
        """What the gateway compiles: views with their schema hashes, deployments, feature services, experiments. Views
        are here as they were told, which is what the operator stands by.

        Rendered once per change of the catalogue; until then it costs one look at its revision.

        Raises:
            RetryError: no whole list has come of views, or of deployments.
        """
        with self._database.reading() as connection:
            now = state.read(connection)
            now.require(_DEFINING)
            edition = Edition(now.catalogue_id, now.revision)
            with self._lock:
                if self._cached.edition == edition:
                    return self._cached
            body = _rendered(connection)
        made = Definitions(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', edition)
        with self._lock:
            self._cached = made
        return made

    def schemas(self, namespace: str, name: str, prefix: str = "") -> list[dict[str, Any]]:
        """The definitions that a view had, newest first; with ``prefix`` those whose hash begins with it.

        Raises:
            NotFoundError: no such view, or none with such a hash.
            RetryError: nor has a whole list of views come.
        """
        wanted = [schemas.c.namespace == namespace, schemas.c.name == name]
        if prefix:
            wanted.append(schemas.c.hash.startswith(prefix, autoescape=True))
        listed = select(schemas.c.document).where(*wanted).order_by(schemas.c.recorded.desc(), schemas.c.hash)
        with self._database.reading() as connection:
            found = [orjson.loads(document) for document in connection.scalars(listed)]
            if not found:
                state.read(connection).require(["FeatureView"])
        if not found:
            about = f" with schema hash {prefix}" if prefix else ""
            raise NotFoundError(f"no feature view {namespace}/{name}{about} was ever here", field="hash")
        return found

    def _remember_schemas(self, connection: Connection, entries: Iterable[Entry]) -> None:
        now = time.time_ns() // 1000
        for entry in entries:
            if entry.kind != "FeatureView" or not (hashed := _hashed(entry.document)):
                continue
            row = {
                "namespace": entry.namespace,
                "name": entry.name,
                "hash": hashed["schemaHash"],
                "document": orjson.dumps(_definition(entry.document) | hashed).decode(),
                "recorded": now,
            }
            self._database.upsert(connection, schemas, row)


def _insert(connection: Connection, entries: Sequence[Entry]) -> None:
    # A name that came twice counts once, as its last object.
    unique = {(entry.kind, entry.namespace, entry.name): entry for entry in entries}
    if unique:
        connection.execute(insert(objects), [entry.row() for entry in unique.values()])
    found = [
        {"kind": kind, "namespace": namespace, "name": name, **term._asdict()}
        for (kind, namespace, name), entry in unique.items()
        for term in entry.terms
    ]
    if found:
        connection.execute(insert(terms), found)


def _must_be_within(entries: Iterable[Entry], namespaces: frozenset[str] | None) -> None:
    for each in entries:
        if namespaces is not None and each.namespace not in namespaces:
            where = shown(each.namespace, 80)
            raise RejectError(
                f"{each.name} is of {where}, which is not among the namespaces of the list", field="namespaces"
            )


def _there(table: Table, kinds: Collection[str], namespaces: Collection[str] | None) -> list[Any]:
    """The condition that a row is of these kinds and of these namespaces (None: of any)."""
    among = [] if namespaces is None else [table.c.namespace.in_(sorted(namespaces))]
    return [table.c.kind.in_(kinds), *among]


def _touched(connection: Connection, kind: str, namespace: str) -> State:
    # A feature service is nothing that a release tells.
    return state.touch(connection, [namespace] if kind in KINDS else ())


def _remove(connection: Connection, kind: str, namespace: str, name: str) -> int:
    counts = [
        connection.execute(
            delete(table).where(table.c.kind == kind, table.c.namespace == namespace, table.c.name == name)
        ).rowcount
        for table in (terms, objects)
    ]
    return counts[-1]


def _rendered(connection: Connection) -> bytes:
    ordered = select(objects.c.kind, objects.c.document).order_by(objects.c.namespace, objects.c.name)
    by_kind: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (*_DEFINING, EXPERIMENT, FEATURE_SERVICE)}
    for kind, document in connection.execute(ordered.where(objects.c.kind.in_(by_kind))):
        by_kind[kind].append(orjson.loads(document))
    views = [_definition(view) | _hashed(view) for view in by_kind["FeatureView"]]
    deployments = [_definition(deployment) for deployment in by_kind["ModelDeployment"]]
    services = [_definition(service) for service in by_kind[FEATURE_SERVICE]]
    experiments = [published_form(experiment) for experiment in by_kind[EXPERIMENT]]
    return orjson.dumps(
        {
            "featureViews": views,
            "modelDeployments": deployments,
            "featureServices": services,
            "experiments": experiments,
        }
    )


def _conditions(search: Search) -> list[Any]:
    made: list[Any] = [
        getattr(objects.c, column) == wanted
        for column, wanted in (("kind", search.kind), ("namespace", search.namespace), ("owner", search.owner))
        if wanted
    ]
    if search.name:
        made.append(func.lower(objects.c.name).contains(search.name.lower(), autoescape=True))
    made += [objects.c.text.contains(word.lower(), autoescape=True) for word in search.words]
    for field, key in (("entity", search.entity), ("feature", search.feature)):
        if key:
            made.append(_has_term(field, key))
    for tag in search.tags:
        key, given, value = tag.partition("=")
        made.append(_has_term("tag", key, value if given else None))
    return made


def _has_term(field: str, key: str, value: str | None = None) -> Any:
    same = [terms.c[column] == objects.c[column] for column in ("kind", "namespace", "name")]
    wanted = [terms.c.field == field, terms.c.key == key]
    if value is not None:
        wanted.append(terms.c.value == value)
    return exists().where(and_(*same, *wanted))


def _definition(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": document["metadata"]["name"], "namespace": document["metadata"]["namespace"]}
    return {"metadata": metadata, "spec": document["spec"]}


def _hashed(view: dict[str, Any]) -> dict[str, str]:
    """``{"schemaHash": …}`` of a view, or nothing where its spec means nothing."""
    # Imported at the first view rather than at the start, which the embedded mode waits for.
    from pydantic import ValidationError  # noqa: PLC0415

    from millrace_core.api.featureview import FeatureViewSpec  # noqa: PLC0415
    from millrace_core.features.definition.definition import schema_hash  # noqa: PLC0415

    try:
        return {"schemaHash": schema_hash(FeatureViewSpec.model_validate(view["spec"]))}
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        about = {"view": view["metadata"]["name"], "errors": error.error_count()}
        logger.warning("a feature view has no schema: %.100s: %.200s", where, first["msg"], extra=about)
        return {}
    except MillraceError as error:  # written past the operator, or accepted by another release
        logger.warning("a feature view has no schema: %.300s", error, extra={"view": view["metadata"]["name"]})
        return {}


def _would_empty(kind: str, held: int, revision: int) -> MillraceError:
    return ConflictError(
        f"the list is empty, and the catalogue has {held} of kind {kind}, which all stay",
        hint=f"If they are gone, say so by empties: {revision}, the revision that GET /v1/catalogue/state answers "
        "(to a release, its releaseRevision)",
        field="empties",
        reason="WouldEmpty",
    )


def _absent(kind: str, namespace: str, name: str) -> NotFoundError:
    return NotFoundError(f"there is no {kind} {namespace}/{name}", field="name")
