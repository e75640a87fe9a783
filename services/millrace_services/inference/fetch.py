"""Brings the model file to the pod: download, digest, a look whether it loads, atomic arrival."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from millrace_core.base.errors import MillraceError, RejectError
from millrace_services.inference import result, session, uri
from millrace_services.inference.download import Download, Downloaded, digest
from millrace_services.inference.settings import FetchSettings
from millrace_services.inference.sources import source_of
from millrace_services.web import logs

logger = logging.getLogger(__name__)


def main(environ: Mapping[str, str]) -> int:
    """The ``fetch`` command; the result goes to the termination log, an error also as one line to stderr."""
    termination_log = Path(environ.get("MILLRACE_TERMINATION_LOG") or result.KUBERNETES)
    try:
        settings = FetchSettings.load(environ)
        logs.configure(settings.log_level)
        fetched = fetch(settings)
    except MillraceError as error:
        print(f"millrace: {error}", file=sys.stderr)  # noqa: T201 the one line a person reads
        result.report(termination_log, result.of_error(error))
        return result.exit_code(error)
    result.report(termination_log, fetched._asdict())
    return 0


def fetch(settings: FetchSettings) -> Downloaded:
    """Fetches the model to ``settings.path``, with its digest in a file beside it.

    Raises:
        RejectError: no such file, no access, another digest, or no ONNX model.
        RetryError: unreachable, broken off, or no room.
    """
    source = uri.parse(settings.uri)
    if settings.digest and settings.path.is_file() and digest(settings.path).digest == settings.digest:
        return digest(settings.path)
    began = perf_counter()
    download = Download(source, source_of(source), settings.path)
    fetched = download.fetch()
    try:
        _check(fetched, settings.digest, source.shown, download.partial)
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


def _check(fetched: Downloaded, expected: str | None, shown: str, file: Path) -> None:
    if expected and fetched.digest != expected:
        raise RejectError(
            f"{shown} has the digest {fetched.digest}, {expected} is expected",
            hint="The file was replaced or damaged; upload the right one, or correct spec.model.digest",
            field="spec.model.digest",
            reason="DigestMismatch",
        )
    session.load(file, "cpu", 1, shown=shown, optimize=False)
