"""Which reader a URI has. Each is imported when it is needed: Arrow and httpx take a while."""

from __future__ import annotations

from collections.abc import Mapping

from millrace_data.objects.base import ObjectReader
from millrace_data.objects.door import OPEN, Door
from millrace_data.objects.uri import ObjectUri


def reader_of(uri: ObjectUri, environ: Mapping[str, str], door: Door = OPEN) -> ObjectReader:
    """The reader of a URI.

    Args:
        environ: has the credentials (``filesystem.ObjectStoreSettings``, ``http.HttpSettings``).
        door: says where it may read.
    """
    if uri.scheme == "file":
        from millrace_data.objects.file import FileReader  # noqa: PLC0415

        return FileReader(uri, door)
    if uri.scheme == "s3":
        from millrace_data.objects.s3 import S3Reader  # noqa: PLC0415

        return S3Reader(uri, environ, door)
    from millrace_data.objects.http import HttpReader, HttpSettings  # noqa: PLC0415

    return HttpReader(uri, HttpSettings.load(environ), door)
