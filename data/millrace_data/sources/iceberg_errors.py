"""Errors of Iceberg's catalogs and storages, each of which has its own, as what is to be done about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import ValidationError as PydanticError
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    ForbiddenError,
    NoSuchNamespaceError,
    NoSuchTableError,
    NotInstalledError,
    OAuthError,
    RESTError,
    UnauthorizedError,
    ValidationError,
)
from sqlalchemy.exc import SQLAlchemyError

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError, SourceChangedError
from millrace_data.objects.faults import denied, gone, words
from millrace_data.sources import database_errors
from millrace_data.sources.credentials import CREDENTIALS_FIELD

FIELD: Final = "spec.source.iceberg"

_DENIALS: Final = (UnauthorizedError, ForbiddenError, OAuthError, AuthorizationExpiredError)
_UNREADABLE: Final = (ValidationError, PydanticError, ValueError, NotImplementedError)


@contextmanager
def explained(name: str, *, opened: bool) -> Iterator[None]:
    """Turns errors of a table into what is to be done about them.

    Args:
        name: of the table.
        opened: whether all of it has been there already.

    Raises:
        NotFoundError: there is no such table. RejectError: access is denied, or it cannot be read. ReportError: a
        library is not installed. RetryError: anything else; the network, as a rule.
    """
    try:
        yield
    except MillraceError:
        raise
    except Exception as error:
        raise _of_catalog(name, error) or _of_files(name, error, opened=opened) from error


def _of_catalog(name: str, error: Exception) -> MillraceError | None:
    if isinstance(error, NoSuchTableError | NoSuchNamespaceError):
        return NotFoundError(
            f"the catalog has no table {name}: {_said(error)}",
            hint="Check catalog and name",
            field=f"{FIELD}.table",
            reason="SourceNotFound",
        )
    if isinstance(error, NotInstalledError) and isinstance(error.__cause__, ImportError):
        error = error.__cause__
    if isinstance(error, ImportError):
        return database_errors.missing_library(error, f"{FIELD}.catalog")
    return database_errors.explain(f"{FIELD}.catalog", error) if isinstance(error, SQLAlchemyError) else None


def _of_files(name: str, error: Exception, *, opened: bool) -> MillraceError:
    said = _said(error)
    away = isinstance(error, OSError) and gone(error)
    if _is_denial(error):
        return RejectError(
            f"access to table {name} is denied: {said}",
            hint="Check ICEBERG_TOKEN or ICEBERG_CREDENTIAL, and the AWS keys (on a cluster in the Secret)",
            field=CREDENTIALS_FIELD,
            reason="AccessDenied",
        )
    if away and opened:
        return SourceChangedError(
            f"a file of table {name} was deleted while it was read",
            hint="Run it again; keep snapshots for as long as a run takes",
            field=FIELD,
        )
    if away or isinstance(error, _UNREADABLE):
        hint = "Let the table's engine rewrite its data files (compaction)" if "equality deletes" in said else ""
        return RejectError(f"table {name} cannot be read: {said}", hint=hint, field=FIELD, reason="UnreadableTable")
    return RetryError(f"table {name} could not be read: {said}", field=FIELD, reason="SourceUnavailable")


def _is_denial(error: Exception) -> bool:
    return isinstance(error, _DENIALS) or (not isinstance(error, _UNREADABLE) and denied(error))


def _said(error: Exception) -> str:
    if isinstance(error, RESTError | NoSuchTableError | NoSuchNamespaceError | OAuthError):
        return f"the catalog answers with {type(error).__name__}"  # whose text is the server's
    return words(error)
