"""Feature services: lists of references under a name, which people save here. No Kubernetes object stands behind them.

They are kept among the catalogue's objects, so that searches find them and the gateway gets them with all else.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from millrace_core.api import feature_reference
from millrace_core.api.names import LABEL
from millrace_core.base.errors import NotFoundError, RejectError, RetryError
from millrace_core.base.shown import shown
from millrace_services.registry.catalogue import Catalogue, Search
from millrace_services.registry.documents import FEATURE_SERVICE, entry
from millrace_services.web.errors import ConflictError

_FIELDS: Final = frozenset({"name", "namespace", "features", "owner"})
_MOST: Final = 2000


class FeatureServices:
    """Saves and gives them; one is ``{"name", "namespace", "features": ["view:feature"], "owner"}``."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def put(self, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Saves one in the place of the one with its name; gives it as it is now.

        Raises:
            RejectError: it is none; names the field.
        """
        given, name = name, feature_reference.view_name(name)
        for field, text, label in (("name", given, name), ("namespace", namespace, namespace)):
            if not LABEL.fullmatch(label):
                raise RejectError(
                    f"{shown(text, 80)} came", hint="Use lower case letters, digits, - and _, 63 at most", field=field
                )
        unknown = sorted(body.keys() - _FIELDS)
        if unknown:
            raise RejectError("there is no such field", hint="The fields are features and owner", field=unknown[0])
        owner = body.get("owner") or ""
        if not isinstance(owner, str):
            raise RejectError(f"{shown(owner, 40)} came, a text is expected", field="owner")
        metadata = {"name": name, "namespace": namespace}
        spec = {"refs": _references(body.get("features"))} | ({"owner": owner} if owner else {})
        document = {"kind": FEATURE_SERVICE, "metadata": metadata, "spec": spec}
        self._catalogue.put(entry(FEATURE_SERVICE, document))
        return _shown(document)

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        """One. Raises ``NotFoundError`` where there is none of the name."""
        return _shown(self._catalogue.get(FEATURE_SERVICE, namespace, feature_reference.view_name(name)))

    def remove(self, namespace: str, name: str) -> None:
        """Forgets one.

        Raises:
            NotFoundError: there is none of the name.
            ConflictError: nobody saved it: it is the list of a ModelDeployment.
        """
        name = feature_reference.view_name(name)
        try:
            self._catalogue.remove(FEATURE_SERVICE, namespace, name)
        except NotFoundError:
            with suppress(NotFoundError, RetryError):  # it may not know yet which deployments there are
                self._catalogue.get("ModelDeployment", namespace, name)
                raise ConflictError(
                    f"the feature service {name!r} is the list of the ModelDeployment {namespace}/{name}, which nobody "
                    "saved here",
                    hint="Change its spec.features.refs, or delete the ModelDeployment",
                    field="name",
                ) from None
            raise

    def list(self, namespace: str, limit: int) -> list[dict[str, Any]]:
        """Those of a namespace, or of all, by namespace and name."""
        found, _ = self._catalogue.search(Search(FEATURE_SERVICE, namespace), limit, 0)
        return [_shown(each) for each in found]


def _references(given: Any) -> list[str]:
    if not isinstance(given, list) or not given or len(given) > _MOST:
        raise RejectError(f"a list of 1 to {_MOST} references such as view:feature is expected", field="features")
    read = []
    for index, text in enumerate(given):
        field = f"features[{index}]"
        if not isinstance(text, str):
            raise RejectError(f"{shown(text, 40)} came, a text such as view:feature is expected", field=field)
        read.append(feature_reference.parse(text, field=field))
        if text in given[:index]:
            raise RejectError(f"{text} is there twice", hint="Name it once", field=field)
    feature_reference.refuse_shared_labels(read)
    return list(given)


def _shown(document: Mapping[str, Any]) -> dict[str, Any]:
    metadata, spec = document["metadata"], document["spec"]
    found = {"name": metadata["name"], "namespace": metadata["namespace"], "features": spec["refs"]}
    return found | ({"owner": spec["owner"]} if "owner" in spec else {})
