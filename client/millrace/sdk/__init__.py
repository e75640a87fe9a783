"""The Python client: ``FeatureStore`` for training sets and online reads."""

from millrace.sdk.feature_store import FeatureStore
from millrace.sdk.historical import TrainingSet
from millrace.sdk.online import OnlineFeatures

__all__ = ["FeatureStore", "OnlineFeatures", "TrainingSet"]
