"""The Python client: ``FeatureStore`` for training sets, online reads and materialization; ``Dataset``."""

from millrace.sdk.datasets import Dataset
from millrace.sdk.feature_store import FeatureStore
from millrace.sdk.historical import TrainingSet
from millrace.sdk.materialization import Materialized
from millrace.sdk.online import OnlineFeatures

__all__ = ["Dataset", "FeatureStore", "Materialized", "OnlineFeatures", "TrainingSet"]
