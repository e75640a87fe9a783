"""Brings the model to the pod: from the node's cache or its source, with its digest, whole or not at all."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from millrace_core.base.errors import MillraceError, RejectError
from millrace_data.objects import uri
from millrace_data.objects.uri import ObjectUri
from millrace_services.inference import model_files, result
from millrace_services.inference.incoming import Incoming, place_of
from millrace_services.inference.model_files import Downloaded
from millrace_services.inference.node_cache import NodeCache
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
    result.report(termination_log, {name: value for name, value in fetched._asdict().items() if value != ""})
    return 0


class Fetched(NamedTuple):
    """A model that is in its place: its digest as ``sha256:<hex>``, the bytes of all its files, and what the node's
    cache did: ``hit``, ``stored``, ``missed`` (it could not be kept), or "" where there is none."""

    digest: str
    bytes: int
    cache: str = ""


def fetch(settings: FetchSettings, environ: Mapping[str, str] = os.environ) -> Fetched:
    """Fetches the model to ``settings.path``, with its digest in a file beside it.

    A model that this pod has fetched before stays, whatever lies at the source now: a pod serves one model.

    Raises:
        RejectError: no such file, no access, another digest, or no ONNX model.
        RetryError: unreachable, broken off, or no room.
    """
    source = uri.parse(settings.uri)
    if (present := _present(settings)) is not None:
        return Fetched(*present)
    began = perf_counter()
    fetched = _fetched(source, settings, environ)
    seconds = perf_counter() - began
    logger.info("fetched", extra={"uri": source.shown, "seconds": round(seconds, 3), **fetched._asdict()})
    return fetched


def _fetched(source: ObjectUri, settings: FetchSettings, environ: Mapping[str, str]) -> Fetched:
    incoming = Incoming(settings.path, settings.max_bytes)

    def from_source() -> Downloaded:
        place = place_of(source, settings, environ)
        return incoming.fetch(place, lambda found: _check(found, settings, source.shown))

    if settings.cache is None or source.scheme == "file":  # a copy of what is here already would win nothing
        return Fetched(*from_source())
    cache = NodeCache(settings.cache, settings.cache_bytes)

    def taken() -> Downloaded | None:
        found = cache.take(wanted, settings.path)
        if found is not None:
            incoming.arrive(found)
        return found

    def kept(found: Downloaded) -> Fetched:
        names = model_files.names_beside(settings.path, settings.path, source.shown)
        return Fetched(*found, "stored" if cache.put(found.digest, settings.path, names) else "missed")

    wanted = settings.digest or settings.pinned or ""
    if not wanted:  # only the source knows which model it is
        return kept(from_source())
    if (found := taken()) is not None:
        return Fetched(*found, "hit")
    with cache.turn(wanted) as there:
        if not there:
            return kept(from_source())
    found = taken()
    return kept(from_source()) if found is None else Fetched(*found, "hit")


def _present(settings: FetchSettings) -> Downloaded | None:
    """The model that is there already, whole, and is the one wanted; None: it has to be fetched."""
    if not settings.path.is_file():
        return None
    try:
        found = model_files.measured(settings.path)
    except OSError:  # a file beside it is missing
        return None
    note = model_files.digest_file(settings.path)
    wanted = settings.digest or settings.pinned or (note.read_text() if note.is_file() else "")
    if found.digest != wanted:
        return None
    note.write_text(found.digest)
    return found


def _check(found: Downloaded, settings: FetchSettings, shown: str) -> None:
    if settings.digest and found.digest != settings.digest:
        raise RejectError(
            f"{shown} has the digest {found.digest}, {settings.digest} is expected",
            hint="The file was replaced or damaged; upload the right one, or correct spec.model.digest",
            field="spec.model.digest",
            reason="DigestMismatch",
        )
    if settings.pinned and found.digest != settings.pinned:
        raise RejectError(
            f"{shown} has the digest {found.digest}, while this revision serves {settings.pinned}: the file was "
            "replaced",
            hint="Put the file back and give each version a URI of its own; or have the new one served by a new "
            'revision, by spec.model or the annotation millrace.dev/command="<id>:restart"',
            field="spec.model.uri",
            reason="ModelReplaced",
        )
