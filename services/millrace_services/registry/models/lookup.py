"""Models and versions as they are found by name, and as answers have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, Table, func, select, tuple_

from millrace_services.registry.chunks import chunks
from millrace_services.registry.mlflow.errors import absent
from millrace_services.registry.model_tables import (
    model_version_tags,
    model_versions,
    registered_model_aliases,
    registered_model_tags,
    registered_models,
)
from millrace_services.registry.models import names

Document = dict[str, Any]
# Rows that one statement names.
_CHUNK: Final = 300


def model_row(connection: Connection, name: str) -> Row[Any]:
    """The row of a registered model.

    Raises:
        MlflowError: there is none.
    """
    found = connection.execute(select(registered_models).where(registered_models.c.name == names.name(name))).first()
    if found is None:
        raise absent(f"Registered Model with name={name} not found")
    return found


def version_row(connection: Connection, name: str, version: int) -> Row[Any]:
    """The row of a version, with its model's ``name``.

    Raises:
        MlflowError: there is none.
    """
    wanted = (registered_models.c.name == names.name(name), model_versions.c.version == version)
    found = connection.execute(versions().where(*wanted)).first()
    if found is None:
        raise absent(f"Model Version (name={name}, version={version}) not found")
    return found


def versions() -> Select[Any]:
    """All versions, each with its model's ``name``."""
    joined = model_versions.join(registered_models, registered_models.c.id == model_versions.c.model)
    return select(model_versions, registered_models.c.name).select_from(joined)


def newest(connection: Connection, models: Sequence[int], stages: Sequence[str] = ()) -> list[Row[Any]]:
    """The newest version of each stage, of some models."""
    found: list[Row[Any]] = []
    for chunk in chunks(models, _CHUNK):
        grouped = select(model_versions.c.model, func.max(model_versions.c.version)).where(
            model_versions.c.model.in_(chunk), *([model_versions.c.stage.in_(stages)] if stages else [])
        )
        key = tuple_(model_versions.c.model, model_versions.c.version)
        newest_of_each = grouped.group_by(model_versions.c.model, model_versions.c.stage)
        found += connection.execute(versions().where(key.in_(newest_of_each)).order_by(model_versions.c.version))
    return found


def model_documents(connection: Connection, rows: Sequence[Row[Any]]) -> list[Document]:
    """Registered models as answers have them, in the order of the rows."""
    ids = [row.id for row in rows]
    tags, aliases = (
        _by_model(connection, registered_model_tags, ids),
        _by_model(connection, registered_model_aliases, ids),
    )
    latest: dict[int, list[Document]] = defaultdict(list)
    found = newest(connection, ids)
    for row, document in zip(found, version_documents(connection, found), strict=True):
        latest[row.model].append(document)
    return [
        _present(
            name=row.name,
            creation_timestamp=row.created,
            last_updated_timestamp=row.updated,
            description=row.description or None,
            latest_versions=latest[row.id] or None,
            tags=[{"key": tag.key, "value": tag.value} for tag in tags[row.id]] or None,
            aliases=[{"alias": each.alias, "version": str(each.version)} for each in aliases[row.id]] or None,
            deployment_job_id=row.deployment_job_id or None,
        )
        for row in rows
    ]


def version_documents(connection: Connection, rows: Sequence[Row[Any]]) -> list[Document]:
    """Versions as answers that list them have them, in the order of the rows. As MLflow's, they lack aliases."""
    keys = [(row.model, row.version) for row in rows]
    tags = _by_version(connection, model_version_tags, keys)
    return [
        _present(
            name=row.name,
            version=str(row.version),
            creation_timestamp=row.created,
            last_updated_timestamp=row.updated,
            current_stage=row.stage,
            description=row.description,
            source=row.source,
            run_id=row.run_id,
            status="READY",
            run_link=row.run_link,
            model_id=row.model_id or None,
            tags=[{"key": tag.key, "value": tag.value} for tag in tags[row.model, row.version]] or None,
        )
        for row in rows
    ]


def model_document(connection: Connection, row: Row[Any]) -> Document:
    """One registered model."""
    return model_documents(connection, [row])[0]


def version_document(connection: Connection, row: Row[Any]) -> Document:
    """One version, with its aliases."""
    aliases = registered_model_aliases.c
    held = select(aliases.alias).where(aliases.model == row.model, aliases.version == row.version)
    found = connection.scalars(held.order_by(aliases.alias)).all()
    return version_documents(connection, [row])[0] | _present(aliases=[*found] or None)


def _present(**fields: Any) -> Document:
    return {name: value for name, value in fields.items() if value is not None}


def _by_model(connection: Connection, table: Table, models: Sequence[int]) -> dict[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for chunk in chunks(models, _CHUNK):
        for row in connection.execute(select(table).where(table.c.model.in_(chunk)).order_by(*table.primary_key)):
            found[row.model].append(row)
    return found


def _by_version(
    connection: Connection, table: Table, keys: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], list[Row[Any]]]:
    found: dict[tuple[int, int], list[Row[Any]]] = defaultdict(list)
    for chunk in chunks(keys, _CHUNK):
        wanted = tuple_(table.c.model, table.c.version).in_(chunk)
        for row in connection.execute(select(table).where(wanted).order_by(*table.primary_key)):
            found[row.model, row.version].append(row)
    return found
