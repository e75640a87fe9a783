"""What the registry takes from a Kubernetes object: what it is found by, and what is kept. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.api import feature_reference
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.shown import shown

EXPERIMENT: Final = "Experiment"
KINDS: Final = ("FeatureView", "ModelDeployment", EXPERIMENT)
# Not of Kubernetes: ``feature_services`` has them.
FEATURE_SERVICE: Final = "FeatureService"
_CANONICAL: Final = {form: kind for kind in KINDS for form in (kind.lower(), f"{kind.lower()}s")}
_KINDS: Final = {str: "a text", dict: "an object"}
# Bookkeeping of the API server and of kubectl, of no use to a reader.
_DROPPED_METADATA: Final = ("managedFields", "selfLink", "resourceVersion")
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


class Term(NamedTuple):
    """One thing an object is found by: ``tag`` with key and value, ``entity`` or ``feature`` with its name as key."""

    field: str
    key: str
    value: str


class Entry(NamedTuple):
    """One object as it is stored."""

    kind: str
    namespace: str
    name: str
    owner: str
    text: str
    document: dict[str, Any]
    terms: list[Term]

    def row(self) -> dict[str, str]:
        """The columns of table ``objects``."""
        return {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "owner": self.owner,
            "text": self.text,
            "document": written(self.document),
        }


def written(document: object) -> str:
    """A document as it is kept.

    Raises:
        RejectError: it is nested too deeply.
    """
    try:
        return orjson.dumps(document).decode()
    except orjson.JSONEncodeError as error:
        raise RejectError("the object is nested deeper than 254 levels") from error


def rendered(recorded: int) -> str:
    """When something was recorded (microseconds), as answers have it."""
    return datetime.fromtimestamp(recorded / 1_000_000, UTC).isoformat(timespec="microseconds")


def canonical_kind(kind: str) -> str:
    """``FeatureView`` for any usual way to write it.

    Raises:
        NotFoundError: none of the three kinds.
    """
    found = _CANONICAL.get(kind.lower())
    if found is None:
        raise NotFoundError(
            f"there is no kind {shown(kind, 80)}", hint=f"The kinds are {', '.join(KINDS)}", field="kind"
        )
    return found


def entry(kind: str, document: object) -> Entry:
    """Takes an object apart.

    Raises:
        RejectError: it is no object of that kind with a name and a spec.
    """
    if not isinstance(document, dict):
        raise RejectError(f"a {kind} is {shown(document, 40)}, an object is expected", field="items")
    metadata, spec = document.get("metadata"), document.get("spec")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise RejectError("the object has no name", field="metadata.name")
    if not isinstance(spec, dict):
        raise RejectError(f"{metadata['name']} has no spec", field="spec")
    if document.get("kind", kind) != kind:
        raise RejectError(f"a {shown(document['kind'], 40)} came among objects of kind {kind}", field="kind")
    kept = {**document, "kind": kind, "metadata": _kept_metadata(metadata)}
    namespace, owner, status = metadata.get("namespace"), spec.get("owner"), document.get("status")
    for value, expected, field in (
        (namespace, str, "metadata.namespace"),
        (owner, str, "spec.owner"),
        (status, dict, "status"),
    ):
        if value is not None and not isinstance(value, expected):
            raise RejectError(f"{shown(value, 40)} came, {_KINDS[expected]} is expected", field=field)
    found = sorted(set(_terms(kind, spec)))
    return Entry(
        kind=kind,
        namespace=namespace or "default",
        name=metadata["name"],
        owner=owner or "",
        text=_text(metadata["name"], spec, found),
        document=kept,
        terms=found,
    )


def _kept_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in metadata.items() if key not in _DROPPED_METADATA}
    kept.setdefault("namespace", "default")
    if isinstance(kept.get("annotations"), dict):
        kept["annotations"] = {key: value for key, value in kept["annotations"].items() if key != _LAST_APPLIED}
    return kept


def _terms(kind: str, spec: Mapping[str, Any]) -> Iterator[Term]:
    tags = spec.get("tags")
    for key, value in tags.items() if isinstance(tags, dict) else ():
        yield Term("tag", key, _word(value))
    if kind == "FeatureView":
        for field, listed in (("entity", spec.get("entities")), ("feature", spec.get("features"))):
            for item in listed if isinstance(listed, list) else ():
                if isinstance(item, dict) and isinstance(item.get("name"), str):
                    yield Term(field, item["name"], "")
    features = spec if kind == FEATURE_SERVICE else spec.get("features")
    if kind in ("ModelDeployment", FEATURE_SERVICE) and isinstance(features, dict):
        for meant in feature_reference.readable(features.get("refs")):
            yield Term("feature", f"{meant.view}:{meant.feature}", "")
            yield Term("feature", meant.feature, "")


def _text(name: str, spec: Mapping[str, Any], terms: list[Term]) -> str:
    words = [name, *(_word(spec.get(field) or "") for field in ("description", "owner", "service"))]
    words += [word for term in terms for word in (term.key, term.value)]
    return " ".join(words).lower()


def _word(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)
