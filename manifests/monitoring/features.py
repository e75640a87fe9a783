"""Feature views: how fresh they are, their runs, and what the gateways answer."""

from __future__ import annotations

from typing import Final

from manifests.monitoring.grafana import Dashboard, Panel, Row
from manifests.monitoring.promql import latency, rate

_VIEW: Final = 'namespace=~"$namespace", view=~"$view"'

FEATURES: Final = Dashboard(
    "millrace-features",
    "Millrace / Features",
    {"namespace": "millrace_feature_view_watermark_age_seconds", "view": "millrace_feature_view_watermark_age_seconds"},
    [
        Row(
            "Views",
            [
                Panel(
                    "Age of the watermark",
                    "s",
                    {"{{namespace}}/{{view}}": f"millrace_feature_view_watermark_age_seconds{{{_VIEW}}}"},
                    "How far behind now the online store is complete",
                ),
                Panel(
                    "Not fresh",
                    "short",
                    {
                        "{{namespace}}/{{name}}": 'millrace_object_condition{kind="FeatureView", type="Fresh", '
                        'status!="True", namespace=~"$namespace", name=~"$view"}'
                    },
                ),
                Panel(
                    "Keys in the online store",
                    "short",
                    {"{{namespace}}/{{view}}": f"millrace_feature_view_online_keys{{{_VIEW}}}"},
                ),
            ],
        ),
        Row(
            "Runs",
            [
                Panel(
                    "Runs an hour",
                    "short",
                    {
                        "{{namespace}}/{{view}} {{outcome}}": "sum by (namespace, view, outcome) "
                        f"(increase(millrace_feature_view_runs_total{{{_VIEW}}}[1h]))"
                    },
                ),
                Panel(
                    "Duration of the last",
                    "s",
                    {"{{namespace}}/{{view}}": f"millrace_feature_view_last_run_seconds{{{_VIEW}}}"},
                ),
                Panel(
                    "Rows of the last",
                    "short",
                    {
                        "read {{namespace}}/{{view}}": f"millrace_feature_view_last_run_rows{{{_VIEW}}}",
                        "written {{namespace}}/{{view}}": f"millrace_feature_view_last_run_written_rows{{{_VIEW}}}",
                    },
                ),
                Panel(
                    "Quality checks that do not pass",
                    "short",
                    {
                        "{{namespace}}/{{view}} {{severity}}": (
                            f"millrace_feature_view_quality_failing_checks{{{_VIEW}}} > 0"
                        )
                    },
                ),
                Panel(
                    "Rows whose expression failed",
                    "short",
                    {
                        "run {{view}} {{feature}}": rate(
                            "millrace_feature_view_expression_errors_total", _VIEW, "view, feature"
                        ),
                        "read {{view}} {{feature}}": rate(
                            "millrace_gateway_expression_errors_total", _VIEW, "view, feature"
                        ),
                    },
                ),
            ],
        ),
        Row(
            "Online reads and pushes",
            [
                Panel(
                    "Requests to the gateways",
                    "reqps",
                    {
                        "{{route}} {{code}}": rate(
                            "millrace_http_request_seconds_count",
                            'route=~"/get-online-features|/push"',
                            "route, code",
                        )
                    },
                ),
                latency(
                    "Latency of reads", "millrace_http_request_seconds", 'route="/get-online-features"', "route", ""
                ),
                latency("Of it, the store", "millrace_gateway_store_seconds", "", "job", ""),
                Panel(
                    "Values by status",
                    "short",
                    {"{{status}}": rate("millrace_gateway_values_total", "", "status")},
                ),
                Panel(
                    "Pushed rows",
                    "short",
                    {"{{outcome}}": rate("millrace_gateway_pushed_rows_total", "", "outcome")},
                ),
                Panel(
                    "Age of the definitions",
                    "s",
                    {"{{pod}}": "millrace_gateway_definitions_age_seconds"},
                    "Since the registry last confirmed them",
                ),
            ],
        ),
    ],
)
