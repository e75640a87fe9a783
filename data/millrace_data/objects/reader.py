"""Which reader a URI has. Each is imported when it is needed: Arrow and httpx take a while."""

from __future__ import annotations

from collections.abc import Mapping

from millrace_data.objects.base import ObjectReader
from millrace_data.objects.uri import ObjectUri


def reader_of(uri: ObjectUri, environ: Mapping[str, str]) -> ObjectReader:
    """The reader of a URI. ``environ`` has the credentials of S3 (``filesystem.ObjectStoreSettings``)."""
    if uri.scheme == "file":
        from millrace_data.objects.file import FileReader  # noqa: PLC0415

        return FileReader(uri)
    if uri.scheme == "s3":
        from millrace_data.objects.s3 import S3Reader  # noqa: PLC0415

        return S3Reader(uri, environ)
    from millrace_data.objects.http import HttpReader  # noqa: PLC0415

    return HttpReader(uri)
