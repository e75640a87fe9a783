"""The Python client: ``FeatureStore`` for training sets, online reads and materialization; ``Dataset``."""

from typing import TYPE_CHECKING, Any

from millrace_core.base.later import later

if TYPE_CHECKING:
    from millrace.sdk.datasets import Dataset
    from millrace.sdk.feature_store import FeatureStore
    from millrace.sdk.historical import TrainingSet
    from millrace.sdk.materialization import Materialized
    from millrace.sdk.online import OnlineFeatures

__all__ = ["Dataset", "FeatureStore", "Materialized", "OnlineFeatures", "TrainingSet"]

_MODULES = {
    "Dataset": later("millrace.sdk.datasets"),
    "FeatureStore": later("millrace.sdk.feature_store"),
    "Materialized": later("millrace.sdk.materialization"),
    "OnlineFeatures": later("millrace.sdk.online"),
    "TrainingSet": later("millrace.sdk.historical"),
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for: each takes time that a program which does not use it need not spend."""
    if name in _MODULES:
        return getattr(_MODULES[name], name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
