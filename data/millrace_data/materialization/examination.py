"""The quality of what a run reads, examined before any of it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.definition.quality import Check
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import DescribedSource, TimeRange
from millrace_core.features.offline import quality_verdict
from millrace_core.features.offline.latest import latest
from millrace_core.features.offline.quality_counts import QualityCounts, count_checks
from millrace_core.features.offline.quality_verdict import CheckResult, QualityMeasurements, QualityVerdict
from millrace_data.materialization.ledger import Ledger, RunInterval, RunShard
from millrace_data.online.patience import patiently

_SHOWN: Final = 3


class QualityBlockedError(RejectError):
    """A check does not let the rows pass. Nothing was written, and the last good values stay."""

    reason = "QualityBlocked"

    def __init__(self, verdict: QualityVerdict) -> None:
        self.outcomes = verdict.outcomes
        blocking = [each for each in verdict.failing if each.severity == "block"]
        more = f"; and {len(blocking) - _SHOWN} more" if len(blocking) > _SHOWN else ""
        super().__init__(
            f"{len(blocking)} of {len(verdict.outcomes)} quality checks block the run: "
            + "; ".join(f"{each.name}: {each.message}" for each in blocking[:_SHOWN])
            + more,
            hint="The last good values stay. Mend the source, or loosen the rule or its severity",
            field="spec.quality",
        )


@dataclass(frozen=True)
class Examination:
    """Of one run; ``patience``: seconds that the store may be away."""

    definition: Definition
    source: DescribedSource
    ledger: Ledger
    engine: Engine
    covers: RunInterval
    patience: float

    def verdict(
        self, time_ranges: Sequence[TimeRange], pieces: Sequence[TimeRange], part: RunShard | None
    ) -> QualityVerdict:
        """What the view's checks say of all rows of the windows; an empty one where it has none.

        Of the checks of expressions only those that block are made here: the others are made while rows are written.

        Args:
            time_ranges: what is new to the run.
            pieces: what the run reads for the rows that it writes.
            part: the shard that this process writes.

        Every shard of a run judges by the rows of all of it, unless another shard has done so before.

        Raises:
            QualityBlockedError: a check with the severity ``block`` did not pass.
        """
        if not self.definition.quality and not self._blocking:
            return QualityVerdict()
        if part is None:
            found = self._judged(time_ranges, pieces)
        else:
            known = patiently(lambda: self.ledger.verdict(part), self.patience)
            found = known or self._settled(part, self._judged(time_ranges, pieces))
        if found.blocked:
            raise QualityBlockedError(found)
        return found

    def _settled(self, part: RunShard, own: QualityVerdict) -> QualityVerdict:
        return patiently(lambda: self.ledger.settle(part, self.covers, own), self.patience)

    @property
    def _blocking(self) -> list[Check]:
        return [check for check in self.definition.error_checks if check.rule.severity == "block"]

    def _errors(self, pieces: Sequence[TimeRange]) -> tuple[CheckResult, ...]:
        """The results of the checks of expressions that block: all rows that the run is to write are computed."""
        if not self._blocking:
            return ()
        rows, errors = 0, Counter[str]()
        for within in pieces:
            for batch in latest(self.definition, self.source, within, self.engine):
                rows += len(batch.event_times)
                errors.update(batch.errors)
        return quality_verdict.judge_errors(self._blocking, errors, rows)

    def _judged(self, time_ranges: Sequence[TimeRange], pieces: Sequence[TimeRange]) -> QualityVerdict:
        checks, covers = self.definition.quality, self.covers
        counting = [check for check in checks if check.counts_rows]
        # What columns a source has is known without a look at its rows.
        looks = any(check.kind != "schemaDrift" for check in checks)
        seen = (
            count_checks(self.definition, self.source, time_ranges, counting, self.engine)
            if looks
            else QualityCounts(0, None, [])
        )
        figures = QualityMeasurements(
            rows=seen.rows,
            newest=seen.newest,
            counts=seen.counts,
            columns=self.source.columns,
            stretch=(covers.after, covers.upto) if looks and covers.news and covers.after is not None else None,
            upto=covers.upto,
        )
        found = quality_verdict.judge(checks, figures, patiently(self.ledger.memory, self.patience))
        return replace(found, outcomes=(*found.outcomes, *self._errors(pieces)))
