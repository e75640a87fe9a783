"""The one door to sources: from a definition to its rows, whichever kind of source it names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Final, TypeVar

from millrace_core.base.errors import ReportError, SourceChangedError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import DescribedSource
from millrace_data.sources.computed import ComputedSource
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.filtered import FilteredSource

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Per kind the module that opens it, and the extra of the distribution that it needs. Each has
# ``open_source(definition, credentials) -> (source, schema of the needed columns)``.
_KINDS: Final = {
    "parquet": ("millrace_data.sources.parquet", ""),
    "delta": ("millrace_data.sources.delta", "delta"),
    "iceberg": ("millrace_data.sources.iceberg", "iceberg"),
    "postgres": ("millrace_data.sources.warehouse", "postgres"),
    "sql": ("millrace_data.sources.warehouse", "sql"),
    "push": ("millrace_data.sources.push_log", ""),
}


def open_source(definition: Definition, credentials: Credentials) -> DescribedSource:
    """Opens a view's source and checks that it holds what the definition says.

    What the source holds is fixed here: rows that come later are not read, and ones that go are noticed.

    Raises:
        NotFoundError: the file, folder, bucket, table or column is not there.
        RejectError: access is denied, a file is corrupt, or a column has a type that does not fit.
        RetryError: the source cannot be reached, or it changed meanwhile.
        ReportError: a library that this kind of source needs is not installed.
    """
    kind = definition.source_kind
    source: DescribedSource
    source, schema = _module(kind).open_source(definition, credentials)
    if definition.computed:
        source = ComputedSource(source, schema, definition)
        schema = source.schema
    condition = definition.source.where
    return source if condition is None else FilteredSource(source, condition, schema)


def read_whole(read: Callable[[], T]) -> T:
    """What ``read`` makes of sources that it opens itself; where one changed meanwhile, it begins once more.

    Raises:
        SourceChangedError: a source changed again. Otherwise as ``read``.
    """
    try:
        return read()
    except SourceChangedError as error:
        logger.warning("%s; it is read once more", error.message)
        return read()


def _module(kind: str) -> ModuleType:
    name, extra = _KINDS[kind]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ReportError(
            f"sources of the kind {kind} need {error.name}, which is not installed",
            hint=f"Install it with: pip install 'millrace[{extra}]'",
            field=f"spec.source.{kind}",
            reason="LibraryMissing",
        ) from error
