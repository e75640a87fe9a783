"""What there is in a project: its feature views, and the lists of features that are saved under a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from millrace.sdk import overview
from millrace_core.api import feature_reference
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base.errors import RejectError
from millrace_core.base.lazy_import import lazy_import
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online.plan import ReadPlan, ReadPlans
from millrace_core.features.online.published import Snapshot

if TYPE_CHECKING:
    from millrace.sdk import frames
    from millrace.sdk.registry import Registry
else:
    frames = lazy_import("millrace.sdk.frames")


class Catalogue:
    """The definitions of one project.

    Args:
        snapshot: the compiled views and the lists of features.
        documents: the views as they are stored, by project and name.
        registry: keeps lists of features; None: there is none.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        documents: Mapping[tuple[str, str], Mapping[str, Any]],
        project: str,
        registry: Registry | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._documents = documents
        self._project = project
        self._registry = registry
        self._plans = ReadPlans()

    @property
    def feature_views(self) -> Sequence[str]:
        """Names of the project's views."""
        return sorted(view for project, view in self._snapshot.views if project == self._project)

    def definition(self, view: str) -> Definition:
        """The compiled definition of a view.

        Raises:
            NotFoundError: there is no such view.
        """
        return self._snapshot.view(self._project, view, field="view")

    def list(self) -> list[dict[str, Any]]:
        """One summary per view: name, entities, number of features, source, ttl, owner, and what its status says."""
        return [overview.summary(self.definition(view), self._document(view)) for view in self.feature_views]

    def describe_spec(self, view: str) -> dict[str, Any]:
        """The view's ``spec`` with every default filled in, as the API server keeps it."""
        spec = FeatureViewSpec.model_validate(self._document(view)["spec"])
        return spec.model_dump(by_alias=True, exclude_none=True, mode="json")

    def save_feature_service(self, name: str, features: Iterable[str], *, owner: str = "") -> None:
        """Saves a list of references under a name, which then stands for it wherever features are asked for: here, in
        the gateway's ``feature_service``, in Feast's clients. What was saved under the name before is replaced.

        Args:
            name: as Kubernetes has names; ``_`` stands for ``-``.
            features: references ``view:feature``, in a list or any other iterable.
            owner: team or person, by which the registry is searched.

        Raises:
            RejectError: there is no registry, or a reference or the name is none. NotFoundError: no such feature.
            RetryError: the registry does not answer.
        """
        refs = frames.references(features)
        self._plan(refs, full_feature_names=True)
        self._known_registry().put_feature_service(self._project, name, refs, owner)
        self._snapshot = self._known_registry().snapshot()

    def delete_feature_service(self, name: str) -> None:
        """Forgets a list of references that was saved.

        Raises:
            NotFoundError: there is none of the name. RejectError: there is no registry. RetryError: it does not answer.
        """
        self._known_registry().delete_feature_service(self._project, name)
        self._snapshot = self._known_registry().snapshot()

    @property
    def feature_services(self) -> Mapping[str, Sequence[str]]:
        """The project's lists of references by name: those that were saved, and those of ModelDeployments."""
        return {name: refs for (of, name), refs in self._snapshot.feature_services.items() if of == self._project}

    def _known_registry(self) -> Registry:
        if self._registry is None:
            raise RejectError(
                "feature services are kept by a registry, and this feature store knows none",
                hint="Use FeatureStore.connect(registry_url=…), or keep the list in a variable",
            )
        return self._registry

    def _references(self, features: Any) -> tuple[str, ...]:
        if isinstance(features, str) and ":" not in features:
            return self._snapshot.feature_service(self._project, features)
        return frames.references(features)

    def _plan(self, refs: tuple[str, ...], *, full_feature_names: bool) -> ReadPlan:
        return self._plans.get(self._snapshot, self._project, refs, full_names=full_feature_names)

    def _document(self, view: str) -> Mapping[str, Any]:
        return self._documents.get((self._project, feature_reference.view_name(view)), {})
