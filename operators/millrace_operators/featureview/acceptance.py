"""The checks of a definition that its schema cannot express. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millrace_core.api.featureview import FeatureView
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.api.models import load
from millrace_core.base.errors import RejectError
from millrace_core.features.definition import definition
from millrace_kube.resources import Object, annotations_of, name_of, namespace_of
from millrace_operators.featureview import desired
from millrace_operators.featureview.view import View

# Linux hands a process no environment variable of 128 KiB or more.
MAX_DEFINITION: Final = 120_000


def accept(document: Object) -> View:
    """The view that an object defines.

    Raises:
        RejectError: the definition is wrong; names the field and what to do.
    """
    loaded = load(FeatureView, {key: value for key, value in document.items() if key != "status"})
    compiled = definition.compile(name_of(document), namespace_of(document), loaded.spec)
    _refuse_too_large(document)
    status: Mapping[str, Any] = document.get("status") or {}
    return View(
        namespace=namespace_of(document),
        name=name_of(document),
        uid=document["metadata"]["uid"],
        spec=loaded.spec,
        definition=compiled,
        command=annotations_of(document).get(COMMAND_ANNOTATION, "").strip(),
        handled=status.get("handledCommand") or "",
        command_result=status.get("commandResult"),
        changed=status.get("observedGeneration") != document["metadata"]["generation"],
    )


def _refuse_too_large(document: Object) -> None:
    size = len(desired.definition_json(document).encode())
    if size > MAX_DEFINITION:
        raise RejectError(
            f"the definition has {size} bytes, and a Job can be given {MAX_DEFINITION}",
            hint="Split the view in two, or shorten names",
            field="spec.features",
            reason="DefinitionTooLarge",
        )
