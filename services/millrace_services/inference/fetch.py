"""Brings the model file to the pod: download, digest, a look whether it loads, atomic arrival."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.base.settings import with_secret
from millrace_data.objects import uri
from millrace_data.objects.door import Door
from millrace_data.objects.reader import reader_of
from millrace_services.inference import result, session
from millrace_services.inference.download import Download, Downloaded, digest
from millrace_services.inference.settings import FetchSettings
from millrace_services.web import logs

logger = logging.getLogger(__name__)


def main(environ: Mapping[str, str]) -> int:
    """The ``fetch`` command; the result goes to the termination log, an error also as one line to stderr."""
    termination_log = Path(environ.get("MILLRACE_TERMINATION_LOG") or result.KUBERNETES)
    try:
        settings = FetchSettings.load(environ)
        logs.configure(settings.log_level)
        fetched = fetch(settings, environ)
    except MillraceError as error:
        print(f"millrace: {error}", file=sys.stderr)  # noqa: T201 the one line a person reads
        result.report(termination_log, result.of_error(error))
        return result.exit_code(error)
    result.report(termination_log, fetched._asdict())
    return 0


def fetch(settings: FetchSettings, environ: Mapping[str, str] = os.environ) -> Downloaded:
    """Fetches the model to ``settings.path``, with its digest in a file beside it.

    A file that this pod has fetched before stays, whatever lies at the source now: a pod serves one model.

    Raises:
        RejectError: no such file, no access, another digest, or no ONNX model.
        RetryError: unreachable, broken off, or no room.
    """
    source = uri.parse(settings.uri)
    if (present := _present(settings)) is not None:
        return present
    began = perf_counter()
    reader = reader_of(source, with_secret(environ), Door(settings.outgoing))
    download = Download(source, reader, settings.path, most=settings.max_bytes)
    fetched = download.fetch()
    try:
        _check(fetched, settings, source.shown)
        session.load(download.partial, "cpu", 1, shown=source.shown, optimize=False)
    except RejectError:
        download.discard()
        raise
    digest_file(settings.path).write_text(fetched.digest)
    download.arrive()
    seconds = perf_counter() - began
    logger.info("fetched", extra={"uri": source.shown, "seconds": round(seconds, 3), **fetched._asdict()})
    return fetched


def digest_file(model: Path) -> Path:
    """Where the digest of a fetched model is written, so that the server need not read the file twice."""
    return model.with_name(model.name + ".digest")


def _present(settings: FetchSettings) -> Downloaded | None:
    """The file that is there already, whole, and is the one wanted; None: it has to be fetched."""
    if not settings.path.is_file():
        return None
    found, note = digest(settings.path), digest_file(settings.path)
    wanted = settings.digest or settings.pinned or (note.read_text() if note.is_file() else "")
    if found.digest != wanted:
        return None
    note.write_text(found.digest)
    return found


def _check(fetched: Downloaded, settings: FetchSettings, shown: str) -> None:
    if settings.digest and fetched.digest != settings.digest:
        raise RejectError(
            f"{shown} has the digest {fetched.digest}, {settings.digest} is expected",
            hint="The file was replaced or damaged; upload the right one, or correct spec.model.digest",
            field="spec.model.digest",
            reason="DigestMismatch",
        )
    if settings.pinned and fetched.digest != settings.pinned:
        raise RejectError(
            f"{shown} has the digest {fetched.digest}, while this revision serves {settings.pinned}: the file was "
            "replaced",
            hint="Put the file back and give each version a URI of its own; or have the new one served by a new "
            'revision, by spec.model or the annotation millrace.dev/command="<id>:restart"',
            field="spec.model.uri",
            reason="ModelReplaced",
        )
