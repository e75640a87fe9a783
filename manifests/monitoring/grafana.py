"""Grafana's JSON of a dashboard, from its panels; only what differs from Grafana's defaults is stated.

Source: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

_WIDTH: Final = 24
_HEIGHT: Final = 8
_PER_ROW: Final = 3
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


class Panel(NamedTuple):
    """A graph over time.

    Attributes:
        unit: Grafana's name of it, such as ``s``, ``reqps``, ``percentunit``.
        queries: PromQL by legend, in which ``{{label}}`` stands for a label's value.
    """

    title: str
    unit: str
    queries: Mapping[str, str]
    description: str = ""


class Row(NamedTuple):
    """Panels below one heading."""

    title: str
    panels: Sequence[Panel]


class Dashboard(NamedTuple):
    """A dashboard.

    Attributes:
        name: of its file, and its uid.
        choices: names of labels that a reader chooses values of, with a metric that has them.
    """

    name: str
    title: str
    choices: Mapping[str, str]
    rows: Sequence[Row]


def model(dashboard: Dashboard) -> dict[str, Any]:
    """The JSON model of a dashboard."""
    return {
        "uid": dashboard.name,
        "title": dashboard.title,
        "tags": ["millrace"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_source_choice(), *map(_choice, dashboard.choices, dashboard.choices.values())]},
        "panels": _panels(dashboard.rows),
    }


def _source_choice() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _choice(label: str, metric: str) -> dict[str, Any]:
    return {
        "name": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({metric}, {label})",
        "refresh": 2,  # when the time range changes
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels(rows: Sequence[Row]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": _WIDTH, "h": 1}
        made.append({"id": len(made) + 1, "type": "row", "title": row.title, "gridPos": place, "panels": []})
        top += 1
        for index, panel in enumerate(row.panels):
            line, column = divmod(index, _PER_ROW)
            wide = _WIDTH // _PER_ROW
            place = {"x": column * wide, "y": top + line * _HEIGHT, "w": wide, "h": _HEIGHT}
            made.append({"id": len(made) + 1, **_graph(panel), "gridPos": place})
        top += -(-len(row.panels) // _PER_ROW) * _HEIGHT
    return made


def _graph(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        **({"description": panel.description} if panel.description else {}),
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend}
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }
