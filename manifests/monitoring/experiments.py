"""Experiments: how traffic is split, and what each arm answers."""

from __future__ import annotations

from typing import Final

from manifests.monitoring.grafana import Dashboard, Panel, Row
from manifests.monitoring.promql import latency, rate, share

_PREDICTIONS: Final = 'route=~"infer|predict", namespace=~"$namespace"'

EXPERIMENTS: Final = Dashboard(
    "millrace-experiments",
    "Millrace / Experiments",
    {"namespace": "millrace_experiment_weight_percent", "experiment": "millrace_experiment_weight_percent"},
    [
        Row(
            "Split",
            [
                Panel(
                    "Weights",
                    "percent",
                    {
                        "{{experiment}} {{arm}}": "millrace_experiment_weight_percent"
                        '{namespace=~"$namespace", experiment=~"$experiment"}'
                    },
                ),
                Panel(
                    "Conditions that are not True",
                    "short",
                    {
                        "{{name}} {{type}} {{status}}": 'millrace_object_condition{kind="Experiment", status!="True", '
                        'namespace=~"$namespace", name=~"$experiment"}'
                    },
                ),
                Panel(
                    "Predictions by arm",
                    "reqps",
                    {
                        "{{model}} {{arm}}": rate(
                            "millrace_http_request_seconds_count",
                            _PREDICTIONS,
                            "model, arm",
                        )
                    },
                ),
            ],
        ),
        Row(
            "Assignments and outcomes",
            [
                Panel(
                    "Units assigned", "ops", {"{{reason}}": rate("millrace_gateway_assigned_units_total", "", "reason")}
                ),
                Panel("Outcomes", "ops", {"{{status}}": rate("millrace_gateway_outcomes_total", "", "status")}),
                Panel("Not in the lake yet", "bytes", {"{{pod}}": "millrace_gateway_evidence_log_bytes"}),
            ],
        ),
        Row(
            "Guardrails, by arm",
            [
                Panel(
                    "Errors of the server",
                    "percentunit",
                    {
                        "{{model}} {{arm}}": share(
                            "millrace_http_request_seconds_count",
                            'code=~"5..|424"',
                            _PREDICTIONS,
                            "model, arm",
                        )
                    },
                ),
                latency(
                    "Latency",
                    "millrace_http_request_seconds",
                    _PREDICTIONS,
                    "model, arm",
                    "{{model}} {{arm}}",
                ),
            ],
        ),
    ],
)
