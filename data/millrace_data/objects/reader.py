"""Which reader a URI has. Each is imported when it is needed: Arrow and httpx take a while."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from millrace_data.objects.base import ObjectReader
from millrace_data.objects.door import OPEN, Door
from millrace_data.objects.uri import ObjectUri


def reader_of(
    uri: ObjectUri, environ: Mapping[str, str], door: Door = OPEN, volume: Path | None = None
) -> ObjectReader:
    """The reader of a URI of any scheme but ``oci``, whose objects have to be looked up first.

    Args:
        environ: has the credentials (``filesystem.ObjectStoreSettings``, ``http.HttpSettings``, ``gs.GcsSettings``,
            ``az.AzureSettings``).
        door: says where it may read.
        volume: where the volume that a ``pvc`` URI names is mounted.

    Raises:
        RejectError: credentials are no such, or there is no volume.
    """
    if uri.scheme == "file":
        from millrace_data.objects.file import FileReader  # noqa: PLC0415

        return FileReader(uri, door)
    if uri.scheme == "pvc":
        from millrace_data.objects.file import mounted  # noqa: PLC0415

        return mounted(uri, volume)
    if uri.scheme == "s3":
        from millrace_data.objects import s3  # noqa: PLC0415

        return s3.reader(uri, environ, door)
    if uri.scheme == "gs":
        from millrace_data.objects import gs  # noqa: PLC0415

        return gs.reader(uri, environ, door)
    if uri.scheme == "az":
        from millrace_data.objects import az  # noqa: PLC0415

        return az.reader(uri, environ, door)
    from millrace_data.objects.http import HttpReader, HttpSettings  # noqa: PLC0415

    return HttpReader(uri, HttpSettings.load(environ), door)
