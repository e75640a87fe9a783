"""A Delta Lake table as a source: the files of one version of it, read as Parquet files are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from pyarrow import fs

from millrace.base.errors import NotFoundError, RejectError, ReportError
from millrace.features.definition import Definition
from millrace.sources import columns
from millrace.sources.columns import Place
from millrace.sources.filesystem import Credentials, explained, missing, open_filesystem
from millrace.sources.parquet import ParquetSource, read_footers

URI_FIELD: Final = "spec.source.delta.uri"


def open_source(definition: Definition, credentials: Credentials) -> tuple[ParquetSource, pa.Schema]:
    """Opens one version of a view's table: the one that the spec names, or the newest.

    Raises:
        NotFoundError: there is no table, or no such version. RejectError: access is denied, the table uses what cannot
        be read (deletion vectors, column mapping), or a column does not fit. RetryError: the storage cannot be reached.
    """
    spec = definition.source.delta
    if spec is None:  # the door opens by kind
        raise ReportError(f"feature view {definition.view!r} has no Delta source")
    with _explained(spec.uri, spec.version), explained(spec.uri, URI_FIELD):
        system, path = open_filesystem(spec.uri, credentials, URI_FIELD)
        table = DeltaTable(f"file://{path}" if _local(spec.uri) else spec.uri, spec.version, _options(credentials))
        dataset = table.to_pyarrow_dataset(filesystem=fs.SubTreeFileSystem(path, system))
        fragments = sorted(dataset.get_fragments(), key=lambda fragment: fragment.path)
        read_footers(fragments)
    name = f"{spec.uri} (version {table.version()})"
    places = [Place(name, dataset.schema)]
    schema = columns.checked(definition, places, address=name)
    return ParquetSource(definition, spec.uri, URI_FIELD, fragments, schema, columns.types(places)), schema


def _local(uri: str) -> bool:
    return urlsplit(uri).scheme == "file"


def _options(credentials: Credentials) -> dict[str, str]:
    """Names: https://docs.rs/object_store/latest/object_store/aws/enum.AmazonS3ConfigKey.html."""
    endpoint = credentials.endpoint_url
    options = {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
        "AWS_REGION": credentials.region,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true" if endpoint and urlsplit(endpoint).scheme == "http" else None,
    }
    return {name: value for name, value in options.items() if value}


@contextmanager
def _explained(uri: str, version: int | None) -> Iterator[None]:
    try:
        yield
    except TableNotFoundError as error:
        raise missing(uri, URI_FIELD) from error
    except DeltaError as error:
        said = str(error).splitlines()[0].rstrip(".")
        if version is not None and "version" in said.lower():
            raise NotFoundError(
                f"{uri} has no version {version}: {said}",
                hint="Leave version out for the newest",
                field="spec.source.delta.version",
                reason="SourceNotFound",
            ) from error
        raise RejectError(
            f"{uri} cannot be read as a Delta table: {said}",
            hint="Tables with deletion vectors or column mapping are not read; rewrite it without them",
            field=URI_FIELD,
            reason="UnreadableTable",
        ) from error
