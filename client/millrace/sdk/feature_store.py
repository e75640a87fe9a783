"""The feature store as a data scientist meets it: one object, from YAML files, a registry or a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from millrace.base.errors import MillraceError, RejectError
from millrace.features.definition import Definition
from millrace.features.verify import Verdict
from millrace.gateway.definitions import Snapshot
from millrace.gateway.plan import Plan, Plans
from millrace.materialize.job import Progress
from millrace.online.store import Store
from millrace.sdk import definitions, embedded, historical, materialization, moments, skew
from millrace.sdk.historical import Asked, TrainingSet
from millrace.sdk.materialization import Materialized
from millrace.sdk.moments import Moment
from millrace.sdk.online import GatewayReader, OnlineFeatures, Reader, StoreReader, entity_columns
from millrace.sdk.registry import Registry
from millrace.sdk.tabular import arrow_table
from millrace.sources.filesystem import Credentials
from millrace.sources.opening import open_source

_NO_STORE = 'Pass online="redis://host:6379", or online="embedded" for a store of your own in .millrace'


class FeatureStore:
    """Training sets, online reads and materialization of the feature views of one project (a namespace).

    Made by ``from_files``, ``connect`` or ``from_cluster``.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        project: str,
        *,
        reader: Reader | None = None,
        store_url: Callable[[], str] | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._project = project
        self._store_url = store_url
        self._reader = reader or (StoreReader(store_url) if store_url else None)
        self._registry = registry
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
            online: the online store: a URL (``redis://…``), or ``embedded`` for one of your own, whose data stay in
                ``.millrace/embedded-store`` (``embedded:<folder>`` elsewhere).
            project: namespace of the views; those without one are in ``default``.

        Raises:
            RejectError: a file is wrong; names file, object and field.
        """
        return cls(definitions.from_files(paths), project, store_url=embedded.resolve(online) if online else None)

    @classmethod
    def connect(
        cls,
        registry_url: str,
        gateway_url: str | None = None,
        project: str = definitions.DEFAULT_PROJECT,
        online: str | None = None,
    ) -> Self:
        """From the registry; online reads and pushes go through the gateway.

        Args:
            registry_url: URL of the registry.
            gateway_url: URL of the gateway, for online reads and pushes.
            project: namespace of the views.
            online: URL of the online store, for ``materialize`` and ``verify``, and for reads without a gateway.

        Raises:
            RetryError: the registry does not answer.
        """
        registry = Registry(registry_url)
        reader = GatewayReader(gateway_url, project) if gateway_url else None
        url = embedded.resolve(online) if online else None
        return cls(registry.snapshot(), project, reader=reader, store_url=url, registry=registry)

    @classmethod
    def from_cluster(
        cls,
        kubeconfig: str | os.PathLike[str] | None = None,
        namespace: str = definitions.DEFAULT_PROJECT,
        gateway_url: str | None = None,
        online: str | None = None,
    ) -> Self:
        """From a cluster's FeatureViews.

        Raises:
            RejectError: no usable kubeconfig. RetryError: the API server does not answer.
        """
        reader = GatewayReader(gateway_url, namespace) if gateway_url else None
        url = embedded.resolve(online) if online else None
        return cls(definitions.from_cluster(kubeconfig, namespace), namespace, reader=reader, store_url=url)

    @property
    def feature_views(self) -> list[str]:
        """Names of the project's views."""
        return sorted(view for project, view in self._snapshot.views if project == self._project)

    def describe(self, view: str) -> Definition:
        """The compiled definition of a view: join keys, features with their types and meanings, ttl, schema hash.

        Raises:
            NotFoundError: there is no such view.
        """
        return self._snapshot.view(self._project, view)

    def get_historical_features(
        self,
        entity_df: Any = None,
        features: Sequence[str] = (),
        timestamp_column: str = "event_timestamp",
        created_cutoff: bool = False,
        *,
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
        refs = _refs(features)
        plan = self._plan(refs, full_feature_names=full_feature_names)
        query = {
            "features": list(refs),
            "timestampColumn": timestamp_column,
            "createdCutoff": created_cutoff,
            "fullFeatureNames": full_feature_names,
        }
        asked = Asked(arrow_table(entity_df, "entity_df"), timestamp_column, created_cutoff, query)
        credentials = Credentials.load(os.environ)
        return historical.join(
            plan, asked, lambda view: open_source(view, credentials), self._known_watermark, self._registry
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
        if self._reader is None:
            raise RejectError("this feature store knows no online store and no gateway", hint=_NO_STORE, field="online")
        plan = self._plan(_refs(features), full_feature_names=full_feature_names)
        entities = entity_columns(entity_rows, plan.join_keys)
        return self._reader.read(plan, entities, moments.now())

    def materialize(
        self,
        view: str,
        end: Moment | None = None,
        start: Moment | None = None,
        *,
        progress: Progress | None = None,
    ) -> Materialized:
        """Brings the latest row per entity of a stretch of event time to the online store, in this process.

        Any stretch may be materialized again, in any order: a row only ever gives way to a newer one.

        Args:
            view: name of the view.
            end: inclusive upper end; absent: what the view's schedule would bring now (since the last run, up to now
                less ``lag``).
            start: exclusive lower end; absent: from the beginning.
            progress: is told the rows so far and the share of the source read.

        Raises:
            MillraceError: why it failed, and what to do.
        """
        definition = self.describe(view)
        since = None if start is None else moments.microseconds(start, "start")
        upto = None if end is None else moments.microseconds(end, "end")
        if since is not None and upto is not None and since >= upto:
            raise RejectError(f"start {start} is not before end {end}", field="start")
        return materialization.run(definition, self._store(), since, upto, progress)

    def verify(self, view: str, sample: int = 1000, as_of: Moment | None = None, *, seed: int | None = None) -> Verdict:
        """The skew check: draws rows of the online store and recomputes them from the source as of the same moment.

        Args:
            view: name of the view.
            sample: how many rows.
            as_of: the moment; absent: up to which the store is complete (and of later rows their own event time).
            seed: makes the draw repeatable.

        Raises:
            MillraceError: store or source do not answer.
        """
        moment = None if as_of is None else moments.microseconds(as_of, "as_of")
        return skew.check(self.describe(view), self._store(), sample, moment, seed)

    def _plan(self, refs: tuple[str, ...], *, full_feature_names: bool) -> Plan:
        return self._plans.get(self._snapshot, self._project, refs, full_names=full_feature_names)

    def _store(self) -> Store:
        if self._store_url is None:
            raise RejectError("this feature store knows no online store", hint=_NO_STORE, field="online")
        return Store(self._store_url())

    def _known_watermark(self, definition: Definition) -> int | None:
        """Up to where the view is materialized, as far as that can be asked; a training set needs no server."""
        if self._store_url is None:
            return None
        try:
            return self._store().watermark(definition)
        except MillraceError:
            return None


def _refs(features: Sequence[str]) -> tuple[str, ...]:
    if isinstance(features, str) or not all(isinstance(ref, str) for ref in features) or not features:
        raise RejectError("a list of references such as view:feature is expected", field="features")
    return tuple(features)
