"""The gateway's two logs, of exposures and of outcomes, and how their rows are read again. Arrow comes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace_core.base.errors import NotFoundError, RetryError
from millrace_core.evidence import layout, outcome_rows
from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.evidence.outcome_rows import EXPOSURE_COLUMNS, OUTCOME_COLUMNS
from millrace_core.experiments.published import PublishedExperiment
from millrace_data.evidence.commit_log import CommitLog
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.spool import Segment

FIELD: Final = "MILLRACE_EVIDENCE_LOG"
_MOST_PARTS: Final = 64
_HOUR: Final = 3600 * 1_000_000


class Logs:
    """Both logs of one part of a folder, which several gateways may share: each takes the first that nobody has, with
    what its last owner left there.

    Args:
        lake: opens the lake; None: there is none.
        limit: most bytes of each.

    Raises:
        RejectError: the folder cannot be written. RetryError: another process writes there.
    """

    def __init__(self, folder: Path, lake: Callable[[], Lake] | None, limit: int) -> None:
        self._lake = lake
        for number in range(_MOST_PARTS):
            part = folder / str(number)
            try:
                self.exposures = CommitLog(part / "exposures", FIELD, _exposure_places, lake, limit)
                break
            except RetryError:
                if number == _MOST_PARTS - 1:
                    raise
        self.outcomes = CommitLog(part / "outcomes", FIELD, _outcome_places, lake, limit)
        self._peers = part / "peers.json"

    @property
    def uid(self) -> str:
        """Of both, which are one log to the store: it stays with the folder."""
        return self.outcomes.uid

    def peers(self) -> dict[str, dict[str, str]]:
        """What ``keep_peers`` was given last, also by an earlier process; empty where that cannot be read."""
        try:
            found: dict[str, dict[str, str]] = orjson.loads(self._peers.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        return found

    def keep_peers(self, peers: Mapping[str, Mapping[str, str]]) -> None:
        """Notes the logs of other gateways by experiment, with their names: a store that is lost forgets them."""
        partial = self._peers.with_suffix(".new")
        partial.write_bytes(orjson.dumps(peers))
        partial.replace(self._peers)

    def log_exposures(self, records: Sequence[Exposure]) -> int:
        """Appends them; the sequence of their segment."""
        return self.exposures.append(outcome_rows.exposure_table(records), records[-1].time // _HOUR)

    def log_outcomes(self, records: Sequence[Outcome]) -> int:
        """Appends them; the sequence of their segment."""
        return self.outcomes.append(outcome_rows.outcome_table(records), records[-1].received // _HOUR)

    def known_exposures(self, experiment: PublishedExperiment) -> Iterator[list[Exposure]]:
        """All that this gateway's log and the lake have of an experiment, in lots; some more than once.

        Raises:
            RetryError: the lake does not answer.
        """
        # The log is read first, since what goes to the lake meanwhile is found there; it is told last, as it is newer.
        kept = [rows for block in self.exposures.blocks() if (rows := _of(block, experiment)).num_rows]
        folder = outcome_rows.experiment_folder(experiment.namespace, experiment.name)
        for rows in self._in_lake(folder, EXPOSURE_COLUMNS, experiment):
            yield list(outcome_rows.exposures(rows))
        for rows in kept:
            yield list(outcome_rows.exposures(rows))

    def known_outcomes(self, experiment: PublishedExperiment) -> Iterator[list[Outcome]]:
        """The same of outcomes."""
        kept = [rows for block in self.outcomes.blocks() if (rows := _of(block, experiment)).num_rows]
        folder = f"{outcome_rows.OUTCOMES}/{layout.part('namespace', experiment.namespace)}"
        for rows in self._in_lake(folder, OUTCOME_COLUMNS, experiment):
            yield list(outcome_rows.outcomes(rows))
        for rows in kept:
            yield list(outcome_rows.outcomes(rows))

    def ship(self) -> None:
        """Ships what may go."""
        self.exposures.ship()
        self.outcomes.ship()

    def bytes(self) -> int:
        """What both take."""
        return self.exposures.bytes() + self.outcomes.bytes()

    @property
    def behind(self) -> int:
        """Segments that have rows that are not in the store."""
        return self.exposures.behind + self.outcomes.behind

    def close(self) -> None:
        """Lets another process write here."""
        self.exposures.close()
        self.outcomes.close()

    def _in_lake(self, folder: str, schema: pa.Schema, experiment: PublishedExperiment) -> Iterator[pa.Table]:
        if self._lake is None:
            return
        lake = self._lake()
        for file in lake.files(folder, recursive=True):
            if not layout.is_data(file.name):
                continue
            try:
                with lake.explained(file.path):
                    source = lake.system.open_input_file(lake.full(file.path))
                    rows = pq.read_table(source, columns=schema.names, filters=pc.field("uid") == experiment.uid)
            except (
                NotFoundError
            ):  # merged meanwhile: the file that has its rows comes later in the listing, or next time
                continue
            if rows.num_rows:
                yield rows


def _of(table: pa.Table, experiment: PublishedExperiment) -> pa.Table:
    return table.filter(
        (pc.field("uid") == experiment.uid)
        & (pc.field("namespace") == experiment.namespace)
        & (pc.field("experiment") == experiment.name)
    )


def _exposure_places(segment: Segment, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    pairs = rows.select(["namespace", "experiment"]).group_by(["namespace", "experiment"]).aggregate([])
    for pair in pairs.to_pylist():
        some = rows.filter(
            (pc.field("namespace") == pair["namespace"]) & (pc.field("experiment") == pair["experiment"])
        )
        yield outcome_rows.exposure_folder(pair["namespace"], pair["experiment"], segment.hour), some


def _outcome_places(segment: Segment, rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for namespace in pc.unique(rows.column("namespace")).to_pylist():
        some = rows.filter(pc.field("namespace") == namespace)
        yield outcome_rows.outcome_folder(namespace, segment.hour), some
