"""Materialization in this process: the very run that a cluster's Jobs do, into the store that the caller names."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.sdk import time_arguments
from millrace_core.features.definition.definition import Definition
from millrace_core.features.offline.quality_verdict import CheckResult
from millrace_core.features.types import times
from millrace_data.materialization import job
from millrace_data.materialization.job import Progress, Result, RunRequest
from millrace_data.materialization.ledger import Ledger
from millrace_data.materialization.resources import EngineSettings
from millrace_data.online.store import Store
from millrace_data.sources.cell_log import open_cell_log
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source, read_whole

PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class MaterializeResult:
    """What a run did.

    Attributes:
        view: its name.
        start: exclusive lower end of the event times that it covered; None: from the beginning.
        end: inclusive upper end.
        rows: how many were the latest of their entity.
        written: how many of them the store took, because they were newer than what it had.
        skipped: how many it had already, or newer ones.
        keys: how many entities of the view the store holds now.
        removed: how many entities are gone, because the source no longer has them; only a rebuild, and the first run of
            a changed definition, remove any.
        later: how many rows of the source are later than now by more than 5 minutes; None where the run does not reach
            the present. Nobody sees such rows before their time comes.
        seconds: how long it took.
        quality: per quality check whether the rows passed it; where one that blocks fails, nothing is written.
        details: the whole report of the run, as its Job would send it (docs/parts.md).
    """

    view: str
    start: datetime | None
    end: datetime
    rows: int
    written: int
    skipped: int
    keys: int
    removed: int
    later: int | None
    seconds: float
    quality: Sequence[CheckResult]
    details: Mapping[str, Any]


def run(
    definition: Definition,
    store: Store,
    start: int | None,
    end: int | None,
    progress: Progress | None,
    *,
    full: bool = False,
) -> MaterializeResult:
    """Runs once. Without ``end`` it is the run that the view's schedule would start now; ``full`` reads everything, and
    removes what the source no longer has.

    Raises:
        MillraceError: why it failed; the watermark has then not moved.
    """
    began = time.monotonic()
    credentials = Credentials.load(os.environ)
    ledger, request = Ledger(store, definition), RunRequest(start, end, full)
    options: dict[str, Any] = {} if progress is None else {"progress": progress}

    def attempt() -> Result:
        covers = job.run_interval(definition, ledger.position(), time_arguments.now(), request)
        covers = job.begin(ledger, covers, None, PATIENCE_SECONDS)
        source, cells = open_source(definition, credentials), open_cell_log(definition, credentials)
        with EngineSettings.load(os.environ).engine(definition.view) as engine:
            return job.run(definition, source, store, engine, covers, patience=PATIENCE_SECONDS, cells=cells, **options)

    result = read_whole(attempt)
    seconds = time.monotonic() - began
    after = result.interval.after
    return MaterializeResult(
        view=definition.view,
        start=None if after is None else times.moment(after),
        end=times.moment(result.interval.upto),
        rows=result.rows,
        written=result.written,
        skipped=result.skipped,
        keys=result.keys,
        removed=result.removed,
        later=result.later,
        seconds=seconds,
        quality=result.quality,
        details=job.as_dict(result, seconds, time_arguments.now()),
    )
