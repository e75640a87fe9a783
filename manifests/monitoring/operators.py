"""The operators: reconciles, the queue, the Lease, and what the API server says."""

from __future__ import annotations

from typing import Final

from manifests.monitoring.grafana import Dashboard, Panel, Row
from manifests.monitoring.promql import latency, rate

OPERATORS: Final = Dashboard(
    "millrace-operators",
    "Millrace / Operators",
    {},
    [
        Row(
            "Reconciles",
            [
                Panel(
                    "By outcome",
                    "ops",
                    {
                        "{{controller}} {{outcome}}": rate(
                            "millrace_operator_reconciles_total", "", "controller, outcome"
                        )
                    },
                ),
                latency("Duration", "millrace_operator_reconcile_seconds", "", "controller", "{{controller}}"),
                Panel(
                    "Queue",
                    "short",
                    {
                        "waiting {{pod}}": "millrace_operator_queue_depth",
                        "for later {{pod}}": "millrace_operator_queue_delayed",
                    },
                ),
            ],
        ),
        Row(
            "API server",
            [
                Panel("Holds the Lease", "short", {"{{pod}}": "millrace_operator_leading"}),
                Panel(
                    "Requests that failed",
                    "reqps",
                    {
                        "{{method}} {{kind}} {{code}}": rate(
                            "millrace_kube_requests_total", 'code!~"2..|404|409"', "method, kind, code"
                        )
                    },
                    "Code 0: no answer",
                ),
                Panel("Writes", "ops", {"{{verb}} {{kind}}": rate("millrace_operator_writes_total", "", "verb, kind")}),
                Panel("Lists that are refused", "short", {"{{kind}} {{namespace}}": "millrace_operator_refused_lists"}),
                Panel(
                    "Objects that are not ready",
                    "short",
                    {
                        "{{kind}} {{status}}": "count by (kind, status) "
                        '(millrace_object_condition{type="Ready", status!="True"})'
                    },
                ),
            ],
        ),
    ],
)
