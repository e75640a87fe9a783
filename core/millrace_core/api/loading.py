"""Objects from YAML text or dictionaries, with errors that name file, line, object and field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millrace_core.api.base import ApiModel
from millrace_core.api.experiment import Experiment
from millrace_core.api.featureview import FeatureView
from millrace_core.api.kinds import KINDS
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_core.api.models import load, name_of
from millrace_core.base import yaml_text
from millrace_core.base.errors import RejectError
from millrace_core.base.lazy_import import lazy_import
from millrace_core.base.yaml_text import Node, YamlError

# The schema and CEL, which are not needed where the API server has checked an object.
if TYPE_CHECKING:
    from millrace_core.api import checking
else:
    checking = lazy_import("millrace_core.api.checking")

ApiObject = FeatureView | ModelDeployment | Experiment
_MODELS: Final[dict[str, type[ApiModel]]] = {kind.name: kind.model for kind in KINDS}


Check = Callable[[Mapping[str, Any]], "checking.Checked"]


class Placed(NamedTuple):
    """An object of a YAML text, and where its fields are."""

    node: Node
    document: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name, for messages."""
        return name_of(self.document)


def load_yaml(text: str, *, origin: str = "", check: Check | None = None) -> list[ApiObject]:
    """The objects of Millrace's kinds in a YAML text of one or more documents. Objects of other kinds are skipped.

    They are checked as the cluster checks them: by schema and rules of the CRD, and as the operator does.

    Args:
        text: the YAML, as kubectl reads it.
        origin: where the text came from, such as a path, for messages.
        check: finds the faults of an object; ``checking.check``, or what says more.

    Raises:
        RejectError: the text is no YAML, or an object is wrong; names origin, line, column, object and field.
    """
    found = []
    for each in objects(text):
        if isinstance(each, YamlError):
            what = f"{origin} is no YAML" if origin else "the text is no YAML"
            raise RejectError(f"{what}: {each}", reason="InvalidYaml")
        if not checking.is_ours(each.document):
            continue
        checked = (check or checking.check)(each.document)
        for field, message in checked.faults:
            line, column = each.node.place(field)
            where = f"{origin}:{line}:{column}" if origin else f"line {line}, column {column}"
            raise RejectError(
                f"{where}: {each.document.get('kind', 'an object')} {each.name}: {message}",
                field=field,
                reason="InvalidObject",
            )
        found.append(load_object(checked.stored))
    return found


def objects(text: str) -> Iterator[Placed | YamlError]:
    """Every object of a YAML text, those within a ``List`` too, and why others cannot be read."""
    for node in yaml_text.documents(text):
        if isinstance(node, YamlError):
            yield node
        elif not isinstance(node.value, dict):
            yield YamlError(f"an object is expected, {_noun(node.value)} came", node.line, node.column)
        elif node.value.get("kind") == "List" and isinstance(node.value.get("items"), list):
            for _, item in node.children["items"][1].children.values():
                if isinstance(item.value, dict):
                    yield Placed(item, item.value)
                else:
                    yield YamlError(f"an object is expected, {_noun(item.value)} came", item.line, item.column)
        else:
            yield Placed(node, node.value)


def load_object(document: dict[str, Any]) -> ApiObject:
    """One object from its dictionary, which the API server has checked.

    Raises:
        RejectError: the kind is unknown or a field is wrong; names object and field.
    """
    kind = document.get("kind")
    model = _MODELS.get(str(kind))
    if model is None:
        raise RejectError(f"kind {kind!r} is not one of {', '.join(_MODELS)}", field="kind", reason="UnknownKind")
    return load(model, document)  # type: ignore[return-value]


def _noun(value: Any) -> str:
    return "a list" if isinstance(value, list) else "a text" if isinstance(value, str) else repr(value)
