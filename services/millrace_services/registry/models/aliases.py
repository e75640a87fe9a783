"""Aliases: names that stand for a version and can be moved to another, by whoever knows where they stand."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from millrace_services.registry.database import Database
from millrace_services.registry.mlflow.errors import absent, conflict, invalid
from millrace_services.registry.model_tables import registered_model_aliases
from millrace_services.registry.models import changes, names
from millrace_services.registry.models.changes import Author
from millrace_services.registry.models.lookup import Document, model_row, newest, version_document, version_row

_COLUMNS = registered_model_aliases.c


class Aliases:
    """Reads and writes of aliases, each one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, name: str, alias: str, version: int, author: Author, expected: int | None = None) -> None:
        """Has an alias stand for a version.

        Args:
            expected: the version that it stands for until then, 0 for none; None: whichever.

        Raises:
            MlflowError: there is no such version, or the alias does not stand for the one expected.
        """
        names.settable_alias(alias)
        with self._database.writing() as connection:
            model = version_row(connection, name, version).model
            before = _held(connection, model, alias, expected)
            row = {"model": model, "alias": alias, "version": version}
            self._database.upsert(connection, registered_model_aliases, row)
            changes.record(connection, author, name, "alias", alias, str(before or ""), str(version))

    def get(self, name: str, alias: str) -> Document:
        """The version that an alias stands for; ``latest`` is the one of the highest number.

        Raises:
            MlflowError: there is no such model or alias.
        """
        names.alias(alias)
        with self._database.reading() as connection:
            model = model_row(connection, name).id
            if alias.lower() == "latest":
                found = newest(connection, [model])
                if not found:
                    raise absent(f"Latest version not found for model {name}.")
                return version_document(connection, max(found, key=lambda row: int(row.version)))
            number = _held(connection, model, alias, None)
            if not number:
                raise invalid(f"Registered model alias {alias} not found.")
            return version_document(connection, version_row(connection, name, number))

    def delete(self, name: str, alias: str, author: Author, expected: int | None = None) -> None:
        """Deletes an alias, also one that is not there; ``expected`` as ``set`` has it.

        Raises:
            MlflowError: there is no such model, or the alias does not stand for the version expected.
        """
        names.alias(alias)
        with self._database.writing() as connection:
            model = model_row(connection, name).id
            before = _held(connection, model, alias, expected)
            wanted = (_COLUMNS.model == model, _COLUMNS.alias == alias)
            connection.execute(delete(registered_model_aliases).where(*wanted))
            changes.record(connection, author, name, "alias", alias, str(before or ""), "")


def _held(connection: Connection, model: int, alias: str, expected: int | None) -> int:
    wanted = (_COLUMNS.model == model, _COLUMNS.alias == alias)
    before: int = connection.scalar(select(_COLUMNS.version).where(*wanted)) or 0
    if expected is not None and expected != before:
        stands = f"stands for version {before}" if before else "stands for no version"
        meant = f"version {expected}" if expected else "no version"
        raise conflict(f"Registered model alias {alias} {stands}, and {meant} was expected; read it again")
    return before
