"""The Python client: training sets, online reads, materialization and pushes of feature views.

``FeatureStore`` is where everything starts. Every error that it raises on purpose is a ``MillraceError``. Its class
says what to do: ``RetryError`` try again later; ``RejectError`` change what was passed or defined, or, if it is a
``NotFoundError``, the name of what does not exist; ``ReportError`` a person has to look. Its text says what happened
and what to do about it. Its ``field`` names the argument, or the field of the definition, at fault.
"""

from typing import TYPE_CHECKING, Any

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError
from millrace_core.base.lazy_import import lazy_import

if TYPE_CHECKING:
    from millrace.sdk.datasets import Dataset
    from millrace.sdk.feature_store import FeatureStore
    from millrace.sdk.historical import TrainingSet
    from millrace.sdk.materialization import MaterializeResult
    from millrace.sdk.online import OnlineFeatures
    from millrace.sdk.outcomes import Outcomes
    from millrace.sdk.predictions import Predictions
    from millrace.sdk.pushing import PushResult
    from millrace_core.features.offline.verify import VerifyReport

__all__ = [
    "Dataset",
    "FeatureStore",
    "MaterializeResult",
    "MillraceError",
    "NotFoundError",
    "OnlineFeatures",
    "Outcomes",
    "Predictions",
    "PushResult",
    "RejectError",
    "ReportError",
    "RetryError",
    "TrainingSet",
    "VerifyReport",
]

_MODULES = {
    "Dataset": lazy_import("millrace.sdk.datasets"),
    "FeatureStore": lazy_import("millrace.sdk.feature_store"),
    "MaterializeResult": lazy_import("millrace.sdk.materialization"),
    "OnlineFeatures": lazy_import("millrace.sdk.online"),
    "Outcomes": lazy_import("millrace.sdk.outcomes"),
    "Predictions": lazy_import("millrace.sdk.predictions"),
    "PushResult": lazy_import("millrace.sdk.pushing"),
    "TrainingSet": lazy_import("millrace.sdk.historical"),
    "VerifyReport": lazy_import("millrace_core.features.offline.verify"),
}


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used: each takes time that a program which does not use it need not spend."""
    if name in _MODULES:
        return getattr(_MODULES[name], name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
