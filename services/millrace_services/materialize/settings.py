"""Settings of the materialize job."""

from __future__ import annotations

import json

from pydantic import Field

from millrace_core.api.featureview import FeatureView
from millrace_core.api.loading import load_object
from millrace_core.base.bearer import TokenSettings
from millrace_core.base.destinations import OutgoingSettings
from millrace_core.base.errors import RejectError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online.shard import Shard
from millrace_data.materialization.ledger import RunShard
from millrace_data.materialization.resources import EngineSettings


class JobSettings(EngineSettings, OutgoingSettings, TokenSettings):
    """What to materialize, from where to where, and with which resources.

    ``MILLRACE_TERMINATION_LOG``, the file that receives the result as JSON, is read even where these are wrong.
    """

    feature_view: str = Field(alias="MILLRACE_FEATURE_VIEW", description="JSON of the view's metadata and spec")
    store_url: str = Field(
        alias="MILLRACE_STORE_URL",
        description="URL of the online store (millrace_core.features.online.store_url has the forms)",
    )
    registry_url: str | None = Field(
        None, alias="MILLRACE_REGISTRY_URL", description="Base URL of the registry that records runs; absent: none does"
    )
    patience_seconds: float = Field(
        30.0, alias="MILLRACE_STORE_PATIENCE_SECONDS", ge=0, description="How long an absent store is waited for"
    )

    run: str = Field("", alias="MILLRACE_RUN", description="What identifies the run, where several pods do it together")
    index: int | None = Field(
        None,
        alias="JOB_COMPLETION_INDEX",
        ge=0,
        description="Which shard of the run this is, as Kubernetes numbers pods of an Indexed Job; absent: all of it",
    )

    def part(self, definition: Definition) -> RunShard | None:
        """Which shard of a run this process does; None does all of it.

        Raises:
            RejectError: the index is none of the shards that the view has.
        """
        count = definition.parallelism
        if self.index is None:
            return None
        if not self.run or self.index >= count:
            raise RejectError(
                f"shard {self.index} of run {self.run!r} is asked for, and the view has {count}",
                hint="Set MILLRACE_RUN to what all pods of the run have in common, and an index below "
                "spec.materialization.parallelism",
                field="JOB_COMPLETION_INDEX",
                reason="BadSettings",
            )
        return RunShard(self.run, Shard(self.index, count))

    def definition(self) -> Definition:
        """The compiled view.

        Raises:
            RejectError: the view is wrong; names the field.
        """
        try:
            document = json.loads(self.feature_view)
        except ValueError as error:
            raise RejectError(f"no JSON: {error}", field="MILLRACE_FEATURE_VIEW", reason="BadSettings") from error
        view = load_object({"apiVersion": "millrace.dev/v1alpha1", "kind": "FeatureView", **document})
        if not isinstance(view, FeatureView):
            raise RejectError("a FeatureView is expected", field="MILLRACE_FEATURE_VIEW", reason="BadSettings")
        metadata = view.metadata
        return definition.compile(metadata["name"], metadata.get("namespace", "default"), view.spec)
