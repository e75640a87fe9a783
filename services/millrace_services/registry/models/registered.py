"""Registered models: what is done to them, each command one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, insert, select, update

from millrace_core.base.errors import NotFoundError
from millrace_core.base.shown import shown
from millrace_services.registry.database import Database
from millrace_services.registry.mlflow.errors import exists
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.model_tables import (
    model_version_tags,
    model_versions,
    registered_model_aliases,
    registered_model_tags,
    registered_models,
)
from millrace_services.registry.models import changes, names
from millrace_services.registry.models.changes import Author
from millrace_services.registry.models.lookup import Document, model_document, model_documents, model_row
from millrace_services.registry.models.search import models_query

Clock = Callable[[], int]


class RegisteredModels:
    """Reads and writes of registered models.

    Args:
        now: the present moment in milliseconds since 1970.
    """

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    def create(self, name: str, tags: dict[str, str], description: str, deployment_job_id: str) -> Document:
        """Makes a model without versions.

        Raises:
            MlflowError: there is one of this name.
        """
        now = self._now()
        row = {"name": names.name(name), "created": now, "updated": now, "last_version": 0}
        row["description"] = names.text("description", description)
        row["deployment_job_id"] = names.short("deployment_job_id", deployment_job_id)
        named = names.tags(tags)
        with self._database.writing() as connection:
            if connection.scalar(select(registered_models.c.id).where(registered_models.c.name == name)) is not None:
                raise exists(f"Registered Model (name={name}) already exists.")
            made = insert(registered_models).values(**row).returning(registered_models.c.id)
            model = connection.scalar(made)
            rows = [{"model": model, "key": key, "value": value} for key, value in named.items()]
            if rows:
                connection.execute(insert(registered_model_tags), rows)
            return model_document(connection, model_row(connection, name))

    def get(self, name: str) -> Document:
        """One model. Raises ``MlflowError`` where there is none."""
        with self._database.reading() as connection:
            return model_document(connection, model_row(connection, name))

    def rename(self, name: str, new_name: str) -> Document:
        """Gives a model another name, under which its versions and its history are from then on.

        Raises:
            MlflowError: there is none, or one of the new name.
        """
        names.name(new_name, "new_name")
        now = self._now()
        with self._database.writing() as connection:
            model = model_row(connection, name).id
            taken = select(registered_models.c.id).where(registered_models.c.name == new_name)
            if connection.scalar(taken) not in (None, model):
                raise exists(f"Registered Model (name={new_name}) already exists.")
            by_id = registered_models.c.id == model
            connection.execute(update(registered_models).where(by_id).values(name=new_name, updated=now))
            connection.execute(update(model_versions).where(model_versions.c.model == model).values(updated=now))
            changes.rename(connection, name, new_name)
            return model_document(connection, model_row(connection, new_name))

    def update(self, name: str, given: dict[str, str]) -> Document:
        """Changes ``description``, ``deployment_job_id`` or both. Raises ``MlflowError`` where there is none."""
        changed: dict[str, Any] = {field: names.text(field, value) for field, value in given.items()}
        with self._database.writing() as connection:
            by_id = registered_models.c.id == model_row(connection, name).id
            connection.execute(update(registered_models).where(by_id).values(**changed, updated=self._now()))
            return model_document(connection, model_row(connection, name))

    def delete(self, name: str, author: Author) -> None:
        """Deletes a model with its versions. Raises ``MlflowError`` where there is none."""
        with self._database.writing() as connection:
            model = model_row(connection, name).id
            held = select(registered_model_aliases).where(registered_model_aliases.c.model == model)
            for row in connection.execute(held.order_by(registered_model_aliases.c.alias)).all():
                changes.record(connection, author, name, "alias", row.alias, str(row.version), "")
            for table in (registered_model_tags, registered_model_aliases, model_version_tags, model_versions):
                connection.execute(delete(table).where(table.c.model == model))
            connection.execute(delete(registered_models).where(registered_models.c.id == model))

    def search(self, text: str, order_by: list[str], page: Page) -> tuple[list[Document], str]:
        """The models of one page of a search, and the token of the next page; empty where there is none.

        Raises:
            RejectError: filter, order or page mean nothing.
        """
        query = models_query(text, order_by)
        with self._database.reading() as connection:
            rows, token = page.cut(connection.execute(page.applied(query)).all())
            return model_documents(connection, rows), token

    def set_tag(self, name: str, key: str, value: str) -> None:
        """Writes a tag over the one of its key. Raises ``MlflowError`` where there is no such model."""
        names.tag(key, value)
        with self._database.writing() as connection:
            row = {"model": model_row(connection, name).id, "key": key, "value": value}
            self._database.upsert(connection, registered_model_tags, row)

    def delete_tag(self, name: str, key: str) -> None:
        """Deletes a tag, also one that is not there. Raises ``MlflowError`` where there is no such model."""
        names.tag(key, "")
        with self._database.writing() as connection:
            tags = registered_model_tags.c
            model = model_row(connection, name).id
            connection.execute(delete(registered_model_tags).where(tags.model == model, tags.key == key))

    def changes(self, name: str, alias: str, limit: int) -> list[Document]:
        """Who moved which alias and stage of a model, newest first; also of one that is gone.

        Raises:
            NotFoundError: there is no model of this name, nor was one whose aliases or stages were moved.
        """
        with self._database.reading() as connection:
            found = changes.listed(connection, name, alias, limit)
            known = found or connection.scalar(select(registered_models.c.id).where(registered_models.c.name == name))
        if not known:
            raise NotFoundError(f"there is no registered model {shown(name, 80)}", field="name")
        return found
