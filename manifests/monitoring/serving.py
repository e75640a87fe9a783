"""Predictions: how many, how fast, what fails, and what waits for what."""

from __future__ import annotations

from typing import Final

from manifests.monitoring.grafana import Dashboard, Panel, Row
from manifests.monitoring.promql import latency, mean, rate, share

_PREDICTIONS: Final = 'route=~"infer|predict", namespace=~"$namespace", deployment=~"$deployment"'
_MODEL: Final = 'namespace=~"$namespace", deployment=~"$deployment"'
_BY_ARM: Final = "deployment, version, arm"
_ARM: Final = "{{deployment}} {{version}} {{arm}}"

SERVING: Final = Dashboard(
    "millrace-serving",
    "Millrace / Serving",
    {"namespace": "millrace_inference_in_flight", "deployment": "millrace_inference_in_flight"},
    [
        Row(
            "Predictions, by deployment, version and arm",
            [
                Panel("Rate", "reqps", {_ARM: rate("millrace_http_request_seconds_count", _PREDICTIONS, _BY_ARM)}),
                Panel(
                    "Errors of the server",
                    "percentunit",
                    {_ARM: share("millrace_http_request_seconds_count", 'code=~"5..|424"', _PREDICTIONS, _BY_ARM)},
                ),
                latency("Latency", "millrace_http_request_seconds", _PREDICTIONS, _BY_ARM, _ARM),
                Panel(
                    "Codes",
                    "reqps",
                    {
                        "{{deployment}} {{code}}": rate(
                            "millrace_http_request_seconds_count", _PREDICTIONS, "deployment, code"
                        )
                    },
                ),
                Panel(
                    "Refused, as too many waited",
                    "reqps",
                    {"{{deployment}}": rate("millrace_inference_shed_total", _MODEL, "deployment")},
                ),
                Panel(
                    "Crashes",
                    "short",
                    {
                        "{{deployment}} {{signal}}": "sum by (deployment, signal) "
                        f"(increase(millrace_inference_crashes_total{{{_MODEL}}}[$__rate_interval]))"
                    },
                ),
            ],
        ),
        Row(
            "Queue and batches",
            [
                Panel(
                    "In flight and waiting",
                    "short",
                    {
                        "in flight {{deployment}}": f"sum by (deployment) (millrace_inference_in_flight{{{_MODEL}}})",
                        "waiting {{deployment}}": f"sum by (deployment) (millrace_inference_queue_depth{{{_MODEL}}})",
                    },
                ),
                latency(
                    "Waiting for the model", "millrace_inference_queue_seconds", _MODEL, "deployment", "{{deployment}}"
                ),
                latency(
                    "Runs of the model", "millrace_inference_compute_seconds", _MODEL, "deployment", "{{deployment}}"
                ),
                Panel(
                    "Mean size of a run",
                    "short",
                    {
                        "rows {{deployment}}": mean("millrace_inference_batch_rows", _MODEL, "deployment"),
                        "requests {{deployment}}": mean("millrace_inference_batch_requests", _MODEL, "deployment"),
                    },
                ),
                Panel(
                    "Event loop busy",
                    "percentunit",
                    {"{{deployment}} {{pod}}": f"millrace_inference_busy_ratio{{{_MODEL}}}"},
                    "Near 100% a pod answers no more than it does: add pods, or send binary tensors",
                ),
                latency(
                    "Reads of features",
                    "millrace_inference_feature_join_seconds",
                    _MODEL,
                    "deployment",
                    "{{deployment}}",
                ),
            ],
        ),
        Row(
            "Log of predictions, devices",
            [
                Panel(
                    "Rows lost",
                    "short",
                    {"{{deployment}} {{reason}}": rate("millrace_log_dropped_total", _MODEL, "deployment, reason")},
                ),
                Panel(
                    "Not in the lake yet",
                    "bytes",
                    {"{{deployment}} {{pod}}": f"millrace_log_spool_bytes{{{_MODEL}}}"},
                ),
                Panel(
                    "Pods by device",
                    "short",
                    {
                        "{{deployment}} {{device}}": "count by (deployment, device) "
                        f"(millrace_inference_device_info{{{_MODEL}}})"
                    },
                ),
                Panel(
                    "GPU time",
                    "percent",
                    {"{{pod}} {{gpu}}": 'DCGM_FI_DEV_GPU_UTIL{namespace=~"$namespace"}'},
                    "Of NVIDIA's DCGM exporter, where there is one",
                ),
                Panel(
                    "GPU memory",
                    "percentunit",
                    {
                        "{{pod}} {{gpu}}": 'DCGM_FI_DEV_FB_USED{namespace=~"$namespace"} / (DCGM_FI_DEV_FB_USED'
                        '{namespace=~"$namespace"} + DCGM_FI_DEV_FB_FREE{namespace=~"$namespace"})'
                    },
                ),
            ],
        ),
    ],
)
