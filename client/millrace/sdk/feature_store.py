"""The feature store as a data scientist meets it: one object, from YAML files, a registry or a cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from millrace.base.errors import RejectError
from millrace.gateway.definitions import Snapshot
from millrace.gateway.plan import Plans
from millrace.sdk import definitions, historical
from millrace.sdk.historical import TrainingSet
from millrace.sdk.online import GatewayReader, OnlineFeatures, Reader, StoreReader, entity_columns
from millrace.sources.filesystem import Credentials
from millrace.sources.parquet import open_source

_NANOSECONDS = 1000


class FeatureStore:
    """Training sets and online reads of the feature views of one project (a namespace)."""

    def __init__(self, snapshot: Snapshot, project: str, online: Reader | None) -> None:
        self._snapshot = snapshot
        self._project = project
        self._online = online
        self._plans = Plans()

    @classmethod
    def from_files(
        cls,
        paths: Sequence[str | os.PathLike[str]],
        online: str | None = None,
        project: str = definitions.DEFAULT_PROJECT,
    ) -> Self:
        """From YAML files or folders of them; needs no server.

        Args:
            paths: the files.
            online: URL of an online store (``redis://…``) for ``get_online_features``.
            project: namespace of the views; those without one are in ``default``.

        Raises:
            RejectError: a file is wrong; names file, object and field.
        """
        reader = StoreReader(online) if online else None
        return cls(definitions.from_files(paths), project, reader)

    @classmethod
    def connect(
        cls, registry_url: str, gateway_url: str | None = None, project: str = definitions.DEFAULT_PROJECT
    ) -> Self:
        """From the registry; online reads go through the gateway.

        Raises:
            RetryError: the registry does not answer.
        """
        reader = GatewayReader(gateway_url, project) if gateway_url else None
        return cls(definitions.from_registry(registry_url), project, reader)

    @classmethod
    def from_cluster(
        cls,
        kubeconfig: str | os.PathLike[str] | None = None,
        namespace: str = definitions.DEFAULT_PROJECT,
        gateway_url: str | None = None,
    ) -> Self:
        """From a cluster's FeatureViews.

        Raises:
            RejectError: no usable kubeconfig. RetryError: the API server does not answer.
        """
        reader = GatewayReader(gateway_url, namespace) if gateway_url else None
        return cls(definitions.from_cluster(kubeconfig, namespace), namespace, reader)

    @property
    def feature_views(self) -> list[str]:
        """Names of the project's views."""
        return sorted(view for project, view in self._snapshot.views if project == self._project)

    def get_historical_features(
        self,
        entity_df: Any,
        features: Sequence[str],
        timestamp_column: str = "event_timestamp",
        *,
        created_cutoff: bool = False,
        full_feature_names: bool = False,
    ) -> TrainingSet:
        """The entity frame with the features as they were known at each row's moment.

        Args:
            entity_df: pandas, Polars, Arrow or the path of a Parquet file; has the join keys and the moments.
            features: references ``view:feature``.
            timestamp_column: the column of moments; a time without a zone is UTC.
            created_cutoff: see only rows that were written (created timestamp) by the moment.
            full_feature_names: call columns ``view__feature``.

        Returns:
            Exactly the frame's rows in its order; its columns, then one per feature.

        Raises:
            MillraceError: what is wrong with the frame, a reference or a source, and what to do.
        """
        plan = self._plans.get(self._snapshot, self._project, _refs(features), full_names=full_feature_names)
        entities = historical.entity_table(entity_df)
        credentials = Credentials.load(os.environ)
        return historical.join(
            plan,
            entities,
            timestamp_column,
            lambda definition: open_source(definition, credentials),
            created_cutoff=created_cutoff,
        )

    def get_online_features(
        self,
        features: Sequence[str],
        entity_rows: Sequence[Mapping[str, Any]],
        *,
        full_feature_names: bool = False,
    ) -> OnlineFeatures:
        """The latest values of the features for each entity row, such as ``{"user_id": 1001}``.

        Raises:
            MillraceError: what is wrong with a reference or an entity, or that the store does not answer.
        """
        if self._online is None:
            raise RejectError(
                "this feature store was made without a way to read online",
                hint="Pass online= to from_files, or gateway_url= to connect and from_cluster",
            )
        plan = self._plans.get(self._snapshot, self._project, _refs(features), full_names=full_feature_names)
        entities = entity_columns(entity_rows, plan.join_keys)
        return self._online.read(plan, entities, time.time_ns() // _NANOSECONDS)


def _refs(features: Sequence[str]) -> tuple[str, ...]:
    if isinstance(features, str) or not all(isinstance(ref, str) for ref in features) or not features:
        raise RejectError("a list of references such as view:feature is expected", field="features")
    return tuple(features)
