"""Examples of what each pattern of the schema takes: the API server's message shows a user the pattern alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from millrace_core.api import (
    base,
    experiment_assignment,
    experiment_metrics,
    feature_reference,
    gates,
    modeldeployment,
    modeldeployment_inference,
    modeldeployment_model,
    source,
)
from millrace_core.base import duration

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    duration.PATTERN: ("30s", "10m", "1h30m", "7d"),
    base.DNS_LABEL: ("challenger", "model-b2"),
    base.IDENTIFIER: ("user_id", "amount7d"),
    base.QUANTITY: ("500m", "2", "1.5Gi"),
    source.URI: ("file:///lake/events/", "s3://bucket/events/*.parquet"),
    source.CATALOG_URI: ("https://catalog.example.com", "postgresql://millrace@db.example.com/catalog"),
    source.ICEBERG_TABLE: ("lake.events",),
    source.TABLE_NAME: ("events", "public.events"),
    modeldeployment_model.MODEL_URI: ("s3://models/churn/3/model.onnx", "https://models.example.com/churn.onnx"),
    gates.HOLDOUT_URI: ("s3://eval/churn/holdout.parquet", "https://eval.example.com/churn.parquet"),
    modeldeployment_model.DIGEST_PATTERN: (f"sha256:{'0123456789abcdef' * 4}",),
    modeldeployment.SECONDS_TO_HOURS: ("30s", "5m", "1h30m"),
    modeldeployment_inference.MAX_DELAY: ("0s", "2ms"),
    modeldeployment_inference.CACHE_BYTES: ("64Mi", "1Gi"),
    modeldeployment_inference.LAKE_URI: ("s3://lake/evidence", "file:///lake/evidence"),
    modeldeployment_inference.LOG_COLUMN: ("unit", "entity.user_id", "input.text"),
    modeldeployment.SERVICE: ("churn", "churn-eu"),
    feature_reference.PATTERN: ("user-stats:visits", "user-stats as sender(user_id=sender_id):visits"),
    experiment_assignment.HEADER: ("x-arm", "x_tester"),
    experiment_metrics.MDE: ("2%", "0.01"),
    experiment_metrics.OUTCOME: ("click", "order.value"),
}


def written(pattern: str) -> str:
    """How what the pattern takes is written, in a sentence.

    Raises:
        LookupError: nobody has written an example of it here.
    """
    if pattern not in EXAMPLES:
        raise LookupError(f"the pattern {pattern} needs an example in {__name__}.EXAMPLES")
    *others, last = EXAMPLES[pattern]
    return f"Write it such as {', '.join(others)} or {last}." if others else f"Write it such as {last}."
