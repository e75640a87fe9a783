"""Versions of registered models: what is done to them, each command one transaction.

A version is never changed but for its description, its tags and its stage, and its number is never given again.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, Row, delete, insert, select, update

from millrace_services.registry.database import Database
from millrace_services.registry.mlflow.errors import absent, conflict, invalid
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.model_tables import (
    model_version_tags,
    model_versions,
    registered_model_aliases,
    registered_models,
)
from millrace_services.registry.models import changes, names, sources
from millrace_services.registry.models.changes import Author
from millrace_services.registry.models.lookup import (
    Document,
    model_row,
    newest,
    version_document,
    version_documents,
    version_row,
)
from millrace_services.registry.models.registered import Clock
from millrace_services.registry.models.search import versions_query
from millrace_services.registry.models.sources import Reference
from millrace_services.registry.tracking import logged_model_values

# A client sends a create again, whose answer it did not get, for some minutes.
RETRIED_FOR: Final = 10 * 60 * 1000
_PROMPT: Final = "mlflow.prompt.is_prompt"


class NewVersion(NamedTuple):
    """What a version is made of, as it was given."""

    source: str
    run_id: str = ""
    run_link: str = ""
    description: str = ""
    model_id: str = ""
    tags: dict[str, str] = {}  # noqa: RUF012 never changed

    def checked(self) -> NewVersion:
        """The same, within bounds. Raises ``MlflowError``."""
        names.text("description", self.description)
        for field in ("source", "run_id", "run_link", "model_id"):
            names.short(field, getattr(self, field))
        if self.source not in sources.PROMPTS or self.tags.get(_PROMPT) != "true":
            sources.check(self.source, self.run_id)
        return self._replace(tags=names.tags(self.tags))

    def digest(self) -> str:
        """By which a request that is sent again is known."""
        return hashlib.sha256(orjson.dumps(self._asdict(), option=orjson.OPT_SORT_KEYS)).hexdigest()


class Versions:
    """Reads and writes of versions.

    Args:
        now: the present moment in milliseconds since 1970.
    """

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    def create(self, name: str, given: NewVersion, idempotency_key: str = "") -> Document:
        """Makes the next version of a model; the same request again has the same version.

        Without a key that holds for ``RETRIED_FOR`` milliseconds.

        Raises:
            MlflowError: there is no such model, the source is refused or leads to nothing, or the key came with another
                request.
        """
        given = given.checked()
        now, digest = self._now(), given.digest()
        with self._database.writing() as connection:
            model = model_row(connection, name)
            again = _made_before(connection, model.id, digest, idempotency_key, now - RETRIED_FOR)
            if again is not None:
                return version_document(connection, version_row(connection, name, again))
            given, location = _origin(connection, given)
            number = model.last_version + 1
            row = {field: value for field, value in given._asdict().items() if field != "tags"}
            row |= {"model": model.id, "version": number, "created": now, "updated": now, "stage": names.NONE}
            row |= {"location": location, "request": digest, "idempotency_key": idempotency_key}
            connection.execute(insert(model_versions).values(**row))
            tags = [{"model": model.id, "version": number, "key": k, "value": v} for k, v in given.tags.items()]
            if tags:
                connection.execute(insert(model_version_tags), tags)
            by_id = registered_models.c.id == model.id
            connection.execute(update(registered_models).where(by_id).values(last_version=number, updated=now))
            return version_document(connection, version_row(connection, name, number))

    def get(self, name: str, version: int) -> Document:
        """One version. Raises ``MlflowError`` where there is none."""
        with self._database.reading() as connection:
            return version_document(connection, version_row(connection, name, version))

    def download_uri(self, name: str, version: int) -> str:
        """Where a version's files are. Raises ``MlflowError`` where there is no such version."""
        with self._database.reading() as connection:
            return str(version_row(connection, name, version).location)

    def update(self, name: str, version: int, description: str | None) -> Document:
        """Changes the description, where one is given. Raises ``MlflowError`` where there is no such version."""
        changed = {} if description is None else {"description": names.text("description", description)}
        with self._database.writing() as connection:
            row = version_row(connection, name, version)
            connection.execute(update(model_versions).where(*_is(row)).values(**changed, updated=self._now()))
            return version_document(connection, version_row(connection, name, version))

    def delete(self, name: str, version: int, author: Author) -> None:
        """Deletes a version with its aliases. Raises ``MlflowError`` where there is none."""
        with self._database.writing() as connection:
            row = version_row(connection, name, version)
            aliases = registered_model_aliases.c
            held = (aliases.model == row.model, aliases.version == version)
            for alias in connection.scalars(select(aliases.alias).where(*held).order_by(aliases.alias)).all():
                changes.record(connection, author, name, "alias", alias, str(version), "")
            for table in (registered_model_aliases, model_version_tags, model_versions):
                connection.execute(delete(table).where(table.c.model == row.model, table.c.version == version))
            by_id = registered_models.c.id == row.model
            connection.execute(update(registered_models).where(by_id).values(updated=author.at))

    def latest(self, name: str, stages: list[str]) -> list[Document]:
        """The newest version of each stage, or of those given.

        Raises:
            MlflowError: there is no such model, or no such stage.
        """
        wanted = [names.stage(stage) for stage in stages]
        with self._database.reading() as connection:
            found = newest(connection, [model_row(connection, name).id], wanted)
            return [version_document(connection, row) for row in found]

    def transition(self, name: str, version: int, stage: str, author: Author, *, archive: bool) -> Document:
        """Gives a version its stage; with ``archive`` the others of that stage are archived.

        Raises:
            MlflowError: there is no such version or stage, or ``archive`` is for one that nothing serves of.
        """
        stage = names.stage(stage)
        if archive and stage not in names.ACTIVE:
            raise invalid(
                f"Model version transition cannot archive existing model versions because '{stage}' is not an Active "
                f"stage. Valid stages are {', '.join(sorted(names.ACTIVE))}"
            )
        with self._database.writing() as connection:
            row = version_row(connection, name, version)
            columns = model_versions.c
            if archive:
                others = (columns.model == row.model, columns.stage == stage, columns.version != version)
                for other in connection.execute(select(model_versions).where(*others).order_by(columns.version)).all():
                    _move(connection, other, "Archived", author, name)
            _move(connection, row, stage, author, name)
            by_id = registered_models.c.id == row.model
            connection.execute(update(registered_models).where(by_id).values(updated=author.at))
            return version_document(connection, version_row(connection, name, version))

    def search(self, text: str, order_by: list[str], page: Page) -> tuple[list[Document], str]:
        """The versions of one page of a search, and the token of the next page; empty where there is none.

        Raises:
            RejectError: filter, order or page mean nothing.
        """
        query = versions_query(text, order_by)
        with self._database.reading() as connection:
            rows, token = page.cut(connection.execute(page.applied(query)).all())
            return version_documents(connection, rows), token

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        """Writes a tag over the one of its key. Raises ``MlflowError`` where there is no such version."""
        names.tag(key, value)
        with self._database.writing() as connection:
            row = version_row(connection, name, version)
            tag = {"model": row.model, "version": version, "key": key, "value": value}
            self._database.upsert(connection, model_version_tags, tag)

    def delete_tag(self, name: str, version: int, key: str) -> None:
        """Deletes a tag, also one that is not there. Raises ``MlflowError`` where there is no such version."""
        names.tag(key, "")
        with self._database.writing() as connection:
            row, tags = version_row(connection, name, version), model_version_tags.c
            wanted = (tags.model == row.model, tags.version == version, tags.key == key)
            connection.execute(delete(model_version_tags).where(*wanted))


def _is(row: Row[Any]) -> tuple[Any, Any]:
    return model_versions.c.model == row.model, model_versions.c.version == row.version


def _made_before(connection: Connection, model: int, digest: str, key: str, since: int) -> int | None:
    columns = model_versions.c
    if key:
        keyed = (columns.model == model, columns.idempotency_key == key)
        known = connection.execute(select(columns.version, columns.request).where(*keyed)).first()
        if known is not None and known.request != digest:
            raise conflict(f"The Idempotency-Key came with another request before, which made version {known.version}")
        return None if known is None else int(known.version)
    same = (columns.model == model, columns.request == digest, columns.created >= since, columns.idempotency_key == "")
    found: int | None = connection.scalar(select(columns.version).where(*same).order_by(columns.version.desc()))
    return found


def _move(connection: Connection, row: Row[Any], stage: str, author: Author, name: str) -> None:
    connection.execute(update(model_versions).where(*_is(row)).values(stage=stage, updated=author.at))
    changes.record(connection, author, name, "stage", str(row.version), row.stage, stage)


def _origin(connection: Connection, given: NewVersion) -> tuple[NewVersion, str]:
    """What is to be made with all that a source ``models:/…`` says, and where the files are."""
    reference = sources.reference(given.source)
    if reference is None:
        return given, given.source
    if reference.logged:
        model = logged_model_values.model_row(connection, reference.logged)
        if given.model_id not in ("", reference.logged):
            raise _mismatch(given)
        return given._replace(run_id=given.run_id or model.source_run_id, model_id=reference.logged), model.artifact_uri
    origin = _referred(connection, reference)
    for field in ("run_id", "model_id"):
        if getattr(given, field) not in ("", getattr(origin, field)):
            raise _mismatch(given)
    source = f"models:/{origin.name}/{origin.version}"
    return given._replace(source=source, run_id=origin.run_id, model_id=origin.model_id), origin.location


def _mismatch(given: NewVersion) -> Exception:
    return invalid(
        f"Invalid model version source: '{given.source}'. The run_id and model_id request parameters must match the "
        "referenced model."
    )


def _referred(connection: Connection, given: Reference) -> Row[Any]:
    if given.version:
        return version_row(connection, given.name, names.version(given.version))
    model = model_row(connection, given.name).id
    if given.alias:
        aliases = registered_model_aliases.c
        wanted = (aliases.model == model, aliases.alias == given.alias)
        number = connection.scalar(select(aliases.version).where(*wanted))
        if number is None:
            raise invalid(f"Registered model alias {given.alias} not found.")
        return version_row(connection, given.name, number)
    stages = () if given.stage.lower() == "latest" else (names.stage(given.stage),)
    found = newest(connection, [model], stages)
    if not found:
        raise absent(f"No versions of model with name '{given.name}' and stage '{given.stage}' found")
    return max(found, key=lambda row: int(row.version))
