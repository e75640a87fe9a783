"""The feature store as a data scientist meets it: one object, from YAML files, a registry or a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from millrace.sdk import definitions, overview, time_arguments
from millrace.sdk.catalogue import Catalogue
from millrace.sdk.time_arguments import TimeArgument
from millrace_core.base import bearer
from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.base.lazy_import import lazy_import
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online.plan import ReadPlan, ReadPlans
from millrace_core.features.online.published import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from millrace.sdk import embedded, frames, historical, materialization, pushing, skew
    from millrace.sdk import online as online_features
    from millrace.sdk import outcomes as outcome_log
    from millrace.sdk import predictions as prediction_log
    from millrace.sdk import registry as registry_client
    from millrace.sdk.historical import Period, TrainingSet
    from millrace.sdk.materialization import MaterializeResult
    from millrace.sdk.online import OnlineFeatures, Reader
    from millrace.sdk.outcomes import Outcomes
    from millrace.sdk.predictions import Predictions
    from millrace.sdk.pushing import Pusher, PushResult
    from millrace.sdk.registry import Registry
    from millrace_core.features.history.history import HistorySource
    from millrace_core.features.offline.verify import VerifyReport
    from millrace_data.materialization.job import Progress
    from millrace_data.online import store as online_store
    from millrace_data.online.store import Store
    from millrace_data.sources import credentials, opening
else:
    credentials, opening = (
        lazy_import("millrace_data.sources.credentials"),
        lazy_import("millrace_data.sources.opening"),
    )
    online_store = lazy_import("millrace_data.online.store")
    embedded, frames, historical, materialization, pushing, skew = (
        lazy_import(f"millrace.sdk.{name}")
        for name in ("embedded", "frames", "historical", "materialization", "pushing", "skew")
    )
    outcome_log = lazy_import("millrace.sdk.outcomes")
    prediction_log = lazy_import("millrace.sdk.predictions")
    online_features, registry_client = lazy_import("millrace.sdk.online"), lazy_import("millrace.sdk.registry")

_NO_STORE = 'Pass online="redis://host:6379", or online="embedded" for one of your own in .millrace'
_NO_GATEWAY = f"{_NO_STORE}; or a gateway's URL with gateway_url="


class FeatureStore(Catalogue):
    """Training sets, online reads and materialization of the feature views of one project (a namespace).

    Made by ``from_files``, ``connect`` or ``from_cluster``.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        documents: Mapping[tuple[str, str], Mapping[str, Any]],
        project: str,
        *,
        gateway: str | None = None,
        store_url: Callable[[], str] | None = None,
        registry: Registry | None = None,
        token: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(snapshot, documents, project, registry)
        self._token = token
        self._store_url = store_url
        self._gateway = gateway

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
        return cls(*definitions.from_files(paths), project, store_url=embedded.resolve(online) if online else None)

    @classmethod
    def connect(
        cls,
        registry_url: str,
        gateway_url: str | None = None,
        project: str = definitions.DEFAULT_PROJECT,
        online: str | None = None,
        token: str | os.PathLike[str] | None = None,
    ) -> Self:
        """From the registry; online reads and pushes go through the gateway.

        Args:
            registry_url: URL of the registry.
            gateway_url: URL of the gateway, for online reads and pushing.
            project: namespace of the views.
            online: URL of the online store, for ``materialize`` and ``verify``, and for reads without a gateway.
            token: for registries and gateways that ask for one; or, as a ``Path``, the file that has it on its first
                line, which is read again when it changes. Absent: ``MILLRACE_TOKEN``, or the file that
                ``MILLRACE_TOKEN_FILE`` names; without these none is sent.

        Raises:
            RetryError: the registry does not answer. RejectError: it asks for another token.
        """
        registry = registry_client.Registry(registry_url, token)
        url = embedded.resolve(online) if online else None
        snapshot = registry.snapshot()
        documents = {(project, each["metadata"]["name"]): each for each in registry.views(project)}
        return cls(snapshot, documents, project, gateway=gateway_url, store_url=url, registry=registry, token=token)

    @classmethod
    def from_cluster(
        cls,
        kubeconfig: str | os.PathLike[str] | None = None,
        namespace: str = definitions.DEFAULT_PROJECT,
        gateway_url: str | None = None,
        online: str | None = None,
        token: str | os.PathLike[str] | None = None,
    ) -> Self:
        """From a cluster's FeatureViews. The gateway gets ``token`` as in ``connect``.

        Raises:
            RejectError: no usable kubeconfig. RetryError: the API server does not answer.
            ReportError: the Kubernetes client is not installed (the extra ``cluster``).
        """
        url = embedded.resolve(online) if online else None
        found = definitions.from_cluster(kubeconfig, namespace)
        return cls(*found, namespace, gateway=gateway_url, store_url=url, token=token)

    def predictions(
        self,
        service: str,
        start: TimeArgument | None = None,
        end: TimeArgument | None = None,
        columns: Sequence[str] | None = None,
        lake: str | os.PathLike[str] | None = None,
    ) -> Predictions:
        """What was logged of a service's predictions, as ``predictions.read`` has it, in this project's namespace."""
        return prediction_log.read(service, namespace=self._project, start=start, end=end, columns=columns, lake=lake)

    def outcomes(
        self,
        experiment: str | None = None,
        start: TimeArgument | None = None,
        end: TimeArgument | None = None,
        lake: str | os.PathLike[str] | None = None,
    ) -> Outcomes:
        """What came of the units of an experiment, as ``outcomes.read`` has it, in this project's namespace."""
        return outcome_log.read(experiment, namespace=self._project, start=start, end=end, lake=lake)

    def describe(self, view: str) -> dict[str, Any]:
        """All that is known of a view: entities, features with their types and what they mean, source, ttl, schema
        hash; of the online store how far it is; where there is a registry, runs, datasets and deployments.

        Raises:
            NotFoundError: there is no such view.
        """
        definition = self.definition(view)
        found = overview.details(definition, self._document(view))
        if self._store_url is not None:
            found["onlineStore"] = overview.store_state(definition, self._store())
        if self._registry is not None:
            found |= overview.uses(self._registry, self._project, view)
        return found

    def get_historical_features(
        self,
        entity_df: Any = None,
        features: Iterable[str] = (),
        timestamp_column: str = "event_timestamp",
        created_cutoff: bool = False,
        *,
        full_feature_names: bool = False,
        entities: str | None = None,
        start: TimeArgument | None = None,
        end: TimeArgument | None = None,
        progress: Progress | None = None,
    ) -> TrainingSet:
        """The entity frame with the features as they were known at each row's time.

        Without a frame, ``entities="all"`` asks for every entity that the views know: as of ``end``, or with ``start``
        at each time from start to end at which something happened to it.

        Args:
            entity_df: pandas, Polars, Arrow, a dict of lists or the path of a Parquet file; has the join keys and the
                times. It may have no rows.
            features: references ``view:feature``, in a list or any other iterable; or the name of a feature service.
            timestamp_column: the column of times; a time without a zone is UTC.
            created_cutoff: see only rows that were written (created timestamp) by then.
            full_feature_names: call columns ``view__feature``.
            entities: ``all``, instead of a frame.
            start: of the changes that are wanted, inclusive; absent: each entity once, as of ``end``.
            end: inclusive; absent: now.
            progress: is called, also from other threads, with the rows read so far and the share of the work done.

        Returns:
            Exactly the frame's rows in its order; its columns, then one per feature.

        Raises:
            MillraceError: what is wrong with the frame, a reference or a source, and what to do.
        """
        refs = self._references(features)
        plan = self._plan(refs, full_feature_names=full_feature_names)
        loaded = credentials.Credentials.load(os.environ)

        rows: pa.Table | Period
        if entities is None and start is None and end is None:
            rows = frames.arrow_table(entity_df, "entity_df")
            frames.require(entity_df, rows, {timestamp_column: "timestamp", **_keys(plan)}, "entity_df")
        else:
            rows = historical.period(entities, entity_df, start, end)

        def opened(definition: Definition) -> HistorySource:
            return opening.open_source(definition, loaded)

        request = historical.HistoricalRequest(rows, timestamp_column, created_cutoff, full_feature_names, refs)
        return opening.read_whole(
            lambda: historical.join(plan, request, opened, self._known_watermark, self._registry, progress)
        )

    def get_online_features(
        self,
        features: Iterable[str],
        entity_rows: Any = None,
        request: Mapping[str, Sequence[Any]] | None = None,
        *,
        full_feature_names: bool = False,
    ) -> OnlineFeatures:
        """The latest values of the features for each entity row, such as ``{"user_id": 1001}``.

        Args:
            features: references ``view:feature``, in a list or any other iterable; or the name of a feature service.
            entity_rows: a list of such rows, a pandas or Polars DataFrame, an Arrow table or a dict of lists: one value
                per join key, and of request fields if you like. A NaN or NA as a key is a null, which is no entity.
                Features of views without entities need none; empty rows, ``[{}, {}]``, get the one row each.
            request: per request field of on-demand features a list with one value per entity row.
            full_feature_names: call columns ``view__feature``.

        Raises:
            MillraceError: what is wrong with a reference or an entity, or that the store does not answer.
        """
        if self._reader is None:
            raise RejectError(
                "this feature store knows no online store and no gateway", hint=_NO_GATEWAY, field="online"
            )
        plan = self._plan(self._references(features), full_feature_names=full_feature_names)
        rows = frames.rows([{}] if entity_rows is None else entity_rows, _keys(plan), "entity_rows")
        entities, request_columns = online_features.entity_columns(rows, plan, request)
        found = self._reader.read(plan, entities, request_columns, time_arguments.now())
        alike = len(rows) if not plan.join_keys and not plan.request_fields else 1
        return found.repeated(alike) if alike > 1 else found

    def materialize(
        self,
        view: str,
        end: TimeArgument | None = None,
        start: TimeArgument | None = None,
        *,
        progress: Progress | None = None,
    ) -> MaterializeResult:
        """Brings the latest row per entity of an interval of event time to the online store, in this process.

        Any interval may be materialized again, in any order: a row only ever gives way to a newer one.

        Args:
            view: name of the view.
            end: inclusive upper end; absent: what the view's schedule would bring now (since the last run, up to now
                less ``lag``).
            start: exclusive lower end; absent: from the beginning.
            progress: is called with the rows so far and the share of the source that was read.

        Raises:
            MillraceError: why it failed, and what to do.
        """
        definition = self.definition(view)
        since = None if start is None else time_arguments.microseconds(start, "start")
        upto = None if end is None else time_arguments.microseconds(end, "end")
        if since is not None and upto is not None and since >= upto:
            raise RejectError(f"start {start} is not before end {end}", field="start")
        return materialization.run(definition, self._store(), since, upto, progress)

    def rebuild(self, view: str, *, progress: Progress | None = None) -> MaterializeResult:
        """Makes the online rows of a view anew from its source, in this process: afterwards the store has what the
        source has, and nothing else from before.

        Rows that were newer than the source's are replaced, and those of entities that the source no longer has are
        removed. Rows that are pushed meanwhile stay. Readers see the old row of an entity until they see its new one.
        It may be stopped at any moment and called again.

        Args:
            view: name of the view.
            progress: as in ``materialize``.

        Raises:
            MillraceError: why it failed, and what to do.
        """
        return materialization.run(self.definition(view), self._store(), None, None, progress, full=True)

    def push(self, view: str, df: Any, to: str = "online_and_offline") -> PushResult:
        """Brings rows to the online store, to the view's log (``source.push``), or to both: through the gateway where
        there is one, else from here. The same rows pushed again change nothing.

        Args:
            view: name of the view.
            df: pandas, Polars, Arrow, a dict of lists or the path of a Parquet file, with the columns of the view's
                source.
            to: ``online``, ``offline`` or ``online_and_offline``.

        Returns:
            What became of the rows; those that do not fit are in ``rejected``, the others have landed.

        Raises:
            RejectError: the view cannot be pushed so, a column is missing, or no row fits.
            RetryError: store, log or gateway do not answer.
        """
        where = pushing.destination(to)
        definition, table = self.definition(view), frames.arrow_table(df, "df")
        declared = {**{key.name: key.type for key in definition.entities}, definition.timestamp_field: "timestamp"}
        there = {*table.column_names, *frames.index_names(df)}
        frames.require(df, table, {name: kind for name, kind in declared.items() if name in there}, "df")
        return self._pusher.push(definition, frames.typed(table), where)

    def verify(
        self, view: str, sample: int = 1000, as_of: TimeArgument | None = None, *, seed: int | None = None
    ) -> VerifyReport:
        """The skew check: draws rows of the online store and recomputes them from the source as of the same time.

        Args:
            view: name of the view.
            sample: how many rows.
            as_of: the time; absent: up to which the store is complete (and of later rows their own event time).
            seed: makes the draw repeatable.

        Raises:
            MillraceError: store or source do not answer.
        """
        at = None if as_of is None else time_arguments.microseconds(as_of, "as_of")
        return skew.check(self.definition(view), self._store(), sample, at, seed)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is open, so that a store goes to other processes, as joblib sends it."""
        return {name: value for name, value in vars(self).items() if name not in ("_reader", "_pusher", "_plans")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._plans = ReadPlans()

    @cached_property
    def _reader(self) -> Reader | None:
        if self._gateway is not None:
            return online_features.GatewayReader(self._gateway, self._project, bearer.of(os.environ, self._token))
        return online_features.StoreReader(self._store_url) if self._store_url else None

    @cached_property
    def _pusher(self) -> Pusher:
        if self._gateway is not None:
            return pushing.GatewayPusher(self._gateway, self._project, bearer.of(os.environ, self._token))
        return pushing.StorePusher(self._store_url)

    def _store(self) -> Store:
        if self._store_url is None:
            raise RejectError("this feature store knows no online store", hint=_NO_STORE, field="online")
        return online_store.Store(self._store_url())

    def _known_watermark(self, definition: Definition) -> int | None:
        """Up to where the view is materialized, as far as that is known; a training set needs no server."""
        try:
            if self._store_url is not None:
                return self._store().watermark(definition)
            status = self._document(definition.view).get("status") or {}
            if status.get("watermark") and status.get("schemaHash") == definition.schema_hash:
                return time_arguments.microseconds(status["watermark"], "status.watermark")
        except MillraceError:
            pass
        return None


def _keys(plan: ReadPlan) -> dict[str, str]:
    """The types of a plan's join keys."""
    return {key.request_column: key.type for view in plan.reads for key in view.definition.entities}
