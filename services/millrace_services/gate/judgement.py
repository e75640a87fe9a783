"""One judgement: the model, the holdout and the champion brought together, each rule put to what was measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from millrace_core.api.gates import GateRule, Holdout
from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.gates.judging import NoChampion, Outcome, Verdict, judge, overall
from millrace_core.gates.measured import Measured, mean
from millrace_core.gates.metrics import measure, too_few
from millrace_core.gates.predictions import not_finite
from millrace_core.stats.results import Inconclusive
from millrace_data.objects.door import Door
from millrace_services.gate import feeds, holdout, latency, predicting
from millrace_services.gate.holdout import HoldoutFile
from millrace_services.gate.predicting import Predicted
from millrace_services.gate.settings import GateSettings
from millrace_services.inference import feature_layout, model_files, session
from millrace_services.inference.cpu import cpu_count
from millrace_services.inference.served import measured
from millrace_services.inference.session import ModelSession
from millrace_services.inference.settings import FeatureSettings

T = TypeVar("T")

SIGNATURE: Final = "signature"


@dataclass(frozen=True)
class Evidence:
    """What was measured before the rules are put to it.

    Attributes:
        of_rows: the model's outputs over the holdout; None: there is no holdout.
        of_champion: the same of the model that serves now.
        runs: the seconds of runs, by their number of rows.
        size: bytes of the file.
    """

    of_rows: Predicted | Inconclusive | None
    of_champion: Predicted | Inconclusive | NoChampion
    runs: Mapping[int, list[float] | Inconclusive]
    size: int


def judgement(settings: GateSettings, environ: Mapping[str, str]) -> dict[str, Any]:
    """The result: ``verdict``, ``digest``, ``bytes``, ``rows``, ``champion`` and ``rules``.

    Raises:
        RejectError: the model cannot be loaded here.
        RetryError: the holdout cannot be reached.
    """
    digest = measured(settings.path)
    loaded = session.load_warm(settings.path, settings.device, cpu_count(), most_rows=settings.batch_rows)
    other = measured(settings.champion_path) if settings.champion_path else None
    evidence = _evidence(settings, environ, loaded, same=other == digest)
    outcomes = [
        *_signature(settings, loaded),
        *(_judged(rule, settings, evidence, loaded) for rule in settings.gates.entries),
    ]
    rows = evidence.of_rows.predictions.rows if isinstance(evidence.of_rows, Predicted) else None
    return {
        "verdict": overall(outcomes).value,
        "digest": digest,
        "bytes": evidence.size,
        "rows": rows,
        "champion": other,
        "rules": [outcome.as_dict() for outcome in outcomes],
    }


def _size(path: Path) -> int:
    """Bytes of a model's files together."""
    names = model_files.names_beside(path, path, path.name)
    return path.stat().st_size + sum((path.parent / name).stat().st_size for name in names)


def _evidence(settings: GateSettings, environ: Mapping[str, str], loaded: ModelSession, *, same: bool) -> Evidence:
    of_rows: Predicted | Inconclusive | None = None
    of_champion: Predicted | Inconclusive | NoChampion = NoChampion("the service has no champion yet")
    if same:
        of_champion = NoChampion("the champion is this very model")
    stated = settings.gates.holdout
    if stated is not None:
        with tempfile.TemporaryDirectory() as folder:
            file = _brought(settings, stated, environ, Path(folder) / "holdout.parquet")
            of_rows = _predicted(settings, stated, loaded, file, settings.features, champion=False)
            if settings.champion_path is not None and not same:
                of_champion = _of_champion(settings, stated, settings.champion_path, file)
    fed = of_rows.first if isinstance(of_rows, Predicted) else {}
    sizes = {rows for rule in settings.gates.entries for rows in _rows_of(rule, loaded)}
    runs = {rows: latency.measure(loaded, fed, rows, settings.latency_seconds) for rows in sorted(sizes)}
    return Evidence(of_rows, of_champion, runs, _size(settings.path))


def _rows_of(rule: GateRule, loaded: ModelSession) -> list[int]:
    """The rows of the runs that a rule is about: those it names, else one, and as many as requests share a run."""
    if not (rule.latency_p50 or rule.latency_p99):
        return []
    return [rule.rows] if rule.rows else sorted({1, loaded.batching.rows})


def _brought(
    settings: GateSettings, stated: Holdout, environ: Mapping[str, str], path: Path
) -> HoldoutFile | Inconclusive:
    return _or_not(lambda: holdout.bring(stated, environ, Door(settings.outgoing), path, settings.holdout_max_bytes))


def _predicted(
    settings: GateSettings,
    stated: Holdout,
    loaded: ModelSession,
    file: HoldoutFile | Inconclusive,
    features: FeatureSettings | None,
    *,
    champion: bool,
) -> Predicted | Inconclusive:
    if isinstance(file, Inconclusive):
        return file
    named = {rule.output for rule in settings.gates.entries if rule.output} if not champion else set()
    nulls = features is None or features.on_missing == "default"

    def found() -> Predicted:
        laid_out = feeds.layout(loaded.signature, stated, features, file.columns, champion=champion)
        return predicting.predict(loaded, file, stated, laid_out, named, nulls=nulls)

    try:
        return _or_not(found)
    except MillraceError as error:  # the model fails on what the holdout holds; another try would end the same
        return Inconclusive(error.reason, str(error))


def _of_champion(
    settings: GateSettings, stated: Holdout, path: Path, file: HoldoutFile | Inconclusive
) -> Predicted | Inconclusive:
    loaded = _or_not(lambda: session.load_warm(path, settings.device, cpu_count()))
    if isinstance(loaded, Inconclusive):
        return loaded
    return _predicted(settings, stated, loaded, file, settings.champion_features, champion=True)


def _or_not(attempt: Callable[[], T]) -> T | Inconclusive:
    """What was asked for, or why it will not be had whatever is tried; what may work next time is raised."""
    try:
        return attempt()
    except RejectError as error:
        return Inconclusive(error.reason, str(error))


def _signature(settings: GateSettings, loaded: ModelSession) -> list[Outcome]:
    """Whether the model takes what the features of the spec give; asked wherever there are such."""
    if settings.features is None:
        return []
    try:
        feature_layout.layout(settings.features, loaded.signature)
    except RejectError as error:
        return [Outcome(SIGNATURE, Verdict.FAIL, str(error))]
    inputs = ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in loaded.signature.inputs.values())
    return [Outcome(SIGNATURE, Verdict.PASS, f"the {len(settings.features.refs)} features fit the inputs: {inputs}")]


def _judged(rule: GateRule, settings: GateSettings, evidence: Evidence, loaded: ModelSession) -> Outcome:
    if rule.max_size:
        return judge(rule, Measured(float(evidence.size), 1))
    if rule.latency_p50 or rule.latency_p99:
        return _worst([_of_runs(rule, rows, evidence.runs[rows]) for rows in _rows_of(rule, loaded)])
    found, fewest = evidence.of_rows, settings.gates.holdout.min_rows if settings.gates.holdout else 1
    if rule.output is not None:
        return judge(rule, _of_output(rule.output, found, fewest))
    name = str(rule.metric)
    if rule.not_worse_than is None:
        return judge(rule, _of_metric(name, found, fewest))
    other = evidence.of_champion
    return judge(
        rule,
        _of_metric(name, found, fewest),
        other if isinstance(other, NoChampion) else _of_metric(name, other, fewest),
    )


def _of_runs(rule: GateRule, rows: int, seconds: list[float] | Inconclusive) -> Outcome:
    share = 0.5 if rule.latency_p50 else 0.99
    return judge(rule.model_copy(update={"rows": rows}), latency.quantile(seconds, share))


def _worst(outcomes: list[Outcome]) -> Outcome:
    """The one that decides: of failures, else of what is not known, else of all, the slowest."""
    decides = overall(outcomes)
    return max((each for each in outcomes if each.verdict is decides), key=lambda each: each.value or 0.0)


def _of_metric(name: str, found: Predicted | Inconclusive | None, fewest: int) -> Measured | Inconclusive:
    if not isinstance(found, Predicted):
        return found or Inconclusive("NoHoldout", "there is no holdout")
    return measure(name, found.predictions, min_rows=fewest)


def _of_output(name: str, found: Predicted | Inconclusive | None, fewest: int) -> Measured | Inconclusive:
    if not isinstance(found, Predicted):
        return found or Inconclusive("NoHoldout", "there is no holdout")
    values, rows = found.outputs[name], found.predictions.rows
    if rows < fewest:
        return too_few(rows, fewest)
    if values.ndim != 1 or values.dtype.kind not in "fiub":
        return Inconclusive("NoValues", f"output {name!r} is not one number per row")
    return not_finite(values) or mean(values)
