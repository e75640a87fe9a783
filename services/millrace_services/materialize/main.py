"""The materialize job's command line: ``run [--full | [--start T] [--end T]]`` and ``purge``."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from millrace_core.base.errors import MillraceError, RejectError, ReportError
from millrace_core.base.settings import with_secret
from millrace_core.features.definition.definition import Definition
from millrace_core.features.types import times
from millrace_data.materialization import job
from millrace_data.materialization.examination import QualityBlockedError
from millrace_data.materialization.job import Result, RunRequest
from millrace_data.materialization.ledger import Ledger, RunShard
from millrace_data.objects.door import Door
from millrace_data.online.patience import patiently
from millrace_data.online.store import Store
from millrace_data.online.store_errors import Caller
from millrace_data.sources.cell_log import open_cell_log
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source, read_whole
from millrace_services.materialize.progress import ProgressLine
from millrace_services.materialize.reports import record_run, write_termination_log
from millrace_services.materialize.settings import JobSettings

logger = logging.getLogger(__name__)

FAILED = 1
REJECTED = 2
# What the owner of a view reads in its status.
JOB: Final = Caller(
    "MILLRACE_STORE_URL of the operator, which hands it to its Jobs",
    "To mend it, {advice}",
    "The run is tried again; if it lasts, {advice}",
)
_NANOSECONDS = 1000


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs the job.

    Returns:
        The exit code: 0 success, 2 the definition or the data is wrong, 1 anything else.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    settings = definition = None
    try:
        settings = JobSettings.load(environ)
        definition = settings.definition()
        document = (
            _purge(settings, definition) if options.verb == "purge" else _run(settings, definition, options, environ)
        )
    except Exception as error:  # each has its one form
        document, code = _failure(error)
        if settings is not None and definition is not None:
            record_run(settings, definition, {"succeeded": False, **document}, _now())
    else:
        code = 0
    write_termination_log(environ.get("MILLRACE_TERMINATION_LOG"), document)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m millrace_services.materialize", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="bring rows from the source to the online store")
    run.add_argument("--start", help="read rows after this event time; absent: after the watermark, or all up to --end")
    run.add_argument("--end", help="read rows up to this event time; absent: up to now minus the view's lag")
    run.add_argument(
        "--full",
        action="store_true",
        help="read everything again, up to now minus the view's lag, and remove what the source no longer has",
    )
    verbs.add_parser("purge", help="delete the view's rows from the online store")
    return parser


def _run(
    settings: JobSettings, definition: Definition, options: argparse.Namespace, environ: Mapping[str, str]
) -> dict[str, Any]:
    began = time.monotonic()
    patience, part = settings.patience_seconds, settings.part(definition)
    credentials = Credentials.load(with_secret(environ)).through(Door(settings.outgoing))
    request, store = _request(options), Store(settings.store_url, caller=JOB)
    ledger = Ledger(store, definition)
    line = ProgressLine(_named(definition, part), sys.stderr)

    def attempt() -> Result:
        covers = job.run_interval(definition, patiently(ledger.position, patience), _now(), request)
        covers = job.begin(ledger, covers, part, patience)
        source, cells = open_source(definition, credentials), open_cell_log(definition, credentials)
        with settings.engine(f"{definition.project}-{definition.view}") as engine:
            return job.run(
                definition, source, store, engine, covers, patience=patience, progress=line, part=part, cells=cells
            )

    result = read_whole(attempt)
    finished = _now()
    document = job.as_dict(result, time.monotonic() - began, finished)
    rate = result.rows / max(time.monotonic() - began, 1e-9)
    line.close(
        f"{_named(definition, part)}: {result.rows:,} rows, {result.written:,} newer than before, "
        f"{document['seconds']} s, {rate:,.0f} rows/s, up to {times.render(result.interval.upto)}"
    )
    record_run(settings, definition, {"succeeded": True, **_about(part), **document}, finished)
    return document


def _named(definition: Definition, part: RunShard | None) -> str:
    return definition.view if part is None else f"{definition.view}, shard {part.shard.index + 1} of {part.shard.count}"


def _about(part: RunShard | None) -> dict[str, Any]:
    """What the record of one shard says of the whole run."""
    return {} if part is None else {"run": part.run, "shard": part.shard.index, "shards": part.shard.count}


def _request(options: argparse.Namespace) -> RunRequest:
    if options.full and (options.start or options.end):
        raise RejectError(
            "--full came together with --start or --end", hint="Give --full alone, or --start and --end", field="--full"
        )
    return RunRequest(
        times.parse(options.start, field="--start") if options.start else None,
        times.parse(options.end, field="--end") if options.end else None,
        options.full,
    )


def _purge(settings: JobSettings, definition: Definition) -> dict[str, Any]:
    store = Store(settings.store_url, caller=JOB)
    purged = patiently(lambda: store.purge(definition.project, definition.view), settings.patience_seconds)
    print(f"{definition.view}: {purged:,} rows deleted", file=sys.stderr)  # noqa: T201 for the person who looks
    return {"view": definition.view, "purged": purged, "finishedAt": times.render(_now())}


def _failure(error: Exception) -> tuple[dict[str, Any], int]:
    """The result document of a failed run, and its exit code."""
    if not isinstance(error, MillraceError):
        logger.error("unexpected error", exc_info=error)
        error = ReportError(f"unexpected {type(error).__name__}: {error}", hint="The run's log has more")
    print(f"millrace: {error}", file=sys.stderr)  # noqa: T201 the one line a person reads
    document: dict[str, Any] = {"error": error.as_dict()}
    if isinstance(error, QualityBlockedError):
        document["quality"] = [each.as_dict() for each in error.outcomes]
    return document, REJECTED if isinstance(error, RejectError) else FAILED


def _now() -> int:
    return time.time_ns() // _NANOSECONDS
