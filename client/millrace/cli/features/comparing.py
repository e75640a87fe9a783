"""What applying YAML files would change: field by field, and what follows from it for rows and users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.text import Text

from millrace import FeatureStore
from millrace.cli import output
from millrace.cli.features.target import Target
from millrace.cli.output import Output
from millrace.sdk import definitions
from millrace.sdk.registry import Registry
from millrace_core.api import feature_reference
from millrace_core.api.kinds import MODEL_DEPLOYMENT
from millrace_core.features.definition.evolution import evolution

NEW: Final = "new"
CHANGED: Final = "changed"
SAME: Final = "unchanged"
_STYLE: Final = {NEW: "green", CHANGED: "yellow", SAME: "dim"}


@dataclass(frozen=True)
class Change:
    """One view: the fields that differ as (path, present, new), and what applying it causes."""

    view: str
    kind: str
    fields: Sequence[tuple[str, Any, Any]] = ()
    effects: Sequence[str] = field(default_factory=list)


def compare(files: FeatureStore, target: Target) -> list[Change]:
    """The views of the files beside those of the registry or the cluster.

    Raises:
        RejectError: neither is named. RetryError: it does not answer.
    """
    deployed = target.deployed()
    users = _users(target)
    return [_change(files, deployed, view, users.get(view, {})) for view in files.feature_views]


def show(changes: Sequence[Change], form: Output) -> None:
    """Prints them."""
    if form is not Output.TABLE:
        found = [
            {
                "view": change.view,
                "change": change.kind,
                "fields": [{"field": path, "present": old, "new": new} for path, old, new in change.fields],
                "effects": change.effects,
            }
            for change in changes
        ]
        output.rows(found, form, ["view", "change", "fields", "effects"])
        return
    console = output.console()
    for change in changes:
        console.print(Text(f"{change.view}: {change.kind}", style=_STYLE[change.kind]))
        for path, old, new in change.fields:
            change_text = (
                f"+ {_short(new)}"
                if old is None
                else f"- {_short(old)}"
                if new is None
                else f"{_short(old)} → {_short(new)}"
            )
            console.print(Text(f"  {path}: {change_text}"))
        for effect in change.effects:
            console.print(Text(f"  ⇒ {effect}", style="bold"))


def _change(files: FeatureStore, deployed: FeatureStore, view: str, users: Mapping[str, Sequence[str]]) -> Change:
    if view not in deployed.feature_views:
        return Change(
            view,
            NEW,
            effects=["it is materialized from the beginning of its source, or spec.materialization.startFrom"],
        )
    before, after = deployed.describe_spec(view), files.describe_spec(view)
    fields = list(_differences("spec", before, after))
    if not fields:
        return Change(view, SAME)
    evolved = evolution(deployed.definition(view), files.definition(view))
    effects = [f"refused: {why}" for why in evolved.blocks(users)]
    if effects:
        effects.append("the definition accepted before stays in effect, whole; if the change is forced:")
    if evolved.schema:
        old, new = deployed.definition(view).schema_hash, files.definition(view).schema_hash
        effects.append(f"the schema hash changes ({old[:19]}… → {new[:19]}…): the view is materialized anew")
        effects.append(
            "until then rows are read as they were written: a feature that is new or means something else is NOT_FOUND"
        )
        if users and not effects[0].startswith("refused"):
            effects.append(f"it is used by {', '.join(sorted(users))}")
    return Change(view, CHANGED, fields, effects)


def _users(target: Target) -> dict[str, dict[str, list[str]]]:
    """By view the model deployments that read it, each with the features."""
    if target.registry:
        deployments = Registry(target.registry, target.token_file).deployments(target.namespace)
    else:
        deployments = definitions.listed(target.kubeconfig, target.namespace, MODEL_DEPLOYMENT.plural)
    users: dict[str, dict[str, list[str]]] = {}
    for deployment in deployments:
        for meant in feature_reference.readable((deployment["spec"].get("features") or {}).get("refs")):
            users.setdefault(meant.view, {}).setdefault(deployment["metadata"]["name"], []).append(meant.feature)
    return users


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """The leaves that differ; items of lists that have names are compared by these."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            yield from _differences(f"{path}.{name}", before.get(name), after.get(name))
    elif _is_named(before) and _is_named(after):
        old, new = ({each["name"]: each for each in items} for items in (before, after))
        for name in dict.fromkeys([*old, *new]):
            yield from _differences(f"{path}[{name}]", old.get(name), new.get(name))
        if [name for name in old if name in new] != [name for name in new if name in old]:
            yield f"{path} (order)", list(old), list(new)
    elif before != after:
        yield path, before, after


def _is_named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) and "name" in v for v in value)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_short(each)}" for name, each in value.items())
    return str(value)
