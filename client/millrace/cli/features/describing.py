"""A view and a verify report in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from millrace.cli import output
from millrace_core.features.offline.verify import VerifyReport
from millrace_core.features.types import times

FEATURE: Final = ["name", "type", "kind", "of"]
_RUN: Final = ["name", "finishedAt", "succeeded", "rows", "written", "seconds", "error"]
_SHOWN_ELSEWHERE: Final = frozenset(
    {
        "features",
        "status",
        "runs",
        "datasets",
        "modelDeployments",
        "onlineStore",
        "entities",
        "source",
        "requestFields",
        "quality",
    }
)


def show(found: Mapping[str, Any]) -> None:
    """Prints what ``FeatureStore.describe`` knows."""
    console = output.console()
    console.print(_facts(found))
    console.print(output.table(found["features"], FEATURE, "features"))
    if found.get("quality"):
        checks = [
            {
                "check": {name: value for name, value in each.items() if name != "severity"},
                "severity": each.get("severity"),
            }
            for each in found["quality"]
        ]
        console.print(output.table(checks, ["check", "severity"], "quality"))
    status = found.get("status") or {}
    if status.get("conditions"):
        console.print(output.table(status["conditions"], ["type", "status", "reason", "message"], "conditions"))
    if status.get("intervals"):
        covered = [{"start": "the beginning", **interval} for interval in status["intervals"]]
        console.print(output.table(covered, ["start", "end"], "covered"))
    if found.get("runs"):
        runs = [{**run, "error": (run.get("error") or {}).get("message")} for run in found["runs"]]
        console.print(output.table(runs, _RUN, "newest runs"))
    if found.get("modelDeployments"):
        console.print(output.table(found["modelDeployments"], ["name", "service", "features"], "used by"))
    if found.get("datasets"):
        console.print(output.table(found["datasets"], ["id", "createdAt", "uri"], "datasets"))


def report(view: str, found: VerifyReport) -> str:
    """What a skew check found, in a sentence."""
    if not found.rows and not found.later:
        return f"{view}: the online store has no rows to compare; materialize the view first"
    sentence = f"{view}: {found.rows:,} rows, {found.values:,} values compared, {found.different:,} differ"
    if found.ahead:
        sentence += f"; {found.ahead:,} rows are ahead of the source (pushed, and not in it yet)"
    if found.waiting:
        sentence += f"; {found.waiting:,} rows wait for the next run"
    if found.later:
        rows = "1 entity has a row" if found.later == 1 else f"{found.later:,} entities have a row"
        sentence += (
            f"; {rows} later than now, up to {times.render(max(each.event_time for each in found.later_rows))}, which "
            f"nobody sees yet: `millrace features rebuild {view}` removes such rows"
        )
    if found.different > len(found.mismatches):
        sentence += f"; the first {len(found.mismatches)} are shown"
    return sentence


def _facts(found: Mapping[str, Any]) -> Table:
    facts = Table.grid(padding=(0, 2))
    listed = {name: value for name, value in found.items() if name not in _SHOWN_ELSEWHERE}
    listed["entities"] = ", ".join(f"{each['name']} ({each['type']})" for each in found["entities"])
    listed["source"] = _flat(found.get("source") or {})
    if found.get("requestFields"):
        listed["request fields"] = ", ".join(f"{each['name']} ({each['type']})" for each in found["requestFields"])
    store = {**(found.get("onlineStore") or {})}
    status = found.get("status") or {}
    listed["watermark"] = store.get("watermark") or status.get("watermark")
    listed["keys online"] = store.get("keys", (status.get("online") or {}).get("keys"))
    for name, value in listed.items():
        if value not in (None, "", {}):
            facts.add_row(Text(name, style="bold"), Text(_flat(value) if isinstance(value, Mapping) else str(value)))
    return facts


def _flat(value: Mapping[str, Any]) -> str:
    parts = [f"{name} {_flat(each) if isinstance(each, Mapping) else each}" for name, each in value.items()]
    return ", ".join(parts)
